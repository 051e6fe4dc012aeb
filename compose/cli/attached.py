"""`up` in the foreground: merged logs until the stack ends or is interrupted."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from compose.cli.context import Globals
from compose.execute.hooks import PRE_STOP, run_hooks
from compose.plan.project import Existing, Target
from compose.render.logs import LogPrinter
from runtime.client import Client
from runtime.errors import SkiffError

INTERRUPTED = 130


def follow_stack(
    common: Globals,
    target: Target,
    services: Sequence[str],
    *,
    unchanged: Collection[str],
    abort_on_exit: bool,
    exit_code_from: str,
    prefix: bool,
    colour: bool | None,
    timestamps: bool,
    timeout_s: int | None,
) -> int:
    """Write the stack's output until all containers ended; Ctrl-C stops them gracefully, a second one kills them."""
    containers = common.containers(target, services)
    printer = LogPrinter([container.name for container in containers], prefix=prefix, colour=colour)
    began = f"{time.time():.9f}"
    ended = threading.Event()
    codes: dict[str, int] = {}
    left = {container.name for container in containers}

    def follow(container: Existing) -> None:
        client = Client(common.where)
        try:
            # what ran before shows what comes from now on, the others all since their start
            since = began if container.name in unchanged else client.container(container.id)["State"]["StartedAt"]
            with client.logs(container.id, follow=1, timestamps=int(timestamps), since=since) as stream:
                for number, data in stream.frames():
                    printer.write(container.name, number, data)
            printer.finish(container.name)
            codes[container.name] = client.wait(container.id)
            print(f"{container.name} exited with code {codes[container.name]}", flush=True)
        except (SkiffError, OSError):
            codes.setdefault(container.name, 1)
        left.discard(container.name)
        if not left or abort_on_exit:
            ended.set()

    interrupts = 0

    def interrupt(*_: object) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts == 1:
            print("\nGracefully stopping... (press Ctrl+C again to force)", file=sys.stderr, flush=True)
            threading.Thread(target=stop, daemon=True).start()
        else:
            for container in containers:
                with suppress(SkiffError):
                    Client(common.where).kill(container.id)

    def stop() -> None:
        threads = [threading.Thread(target=stop_one, args=(container,)) for container in containers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended.set()

    def stop_one(container: Existing) -> None:
        client = Client(common.where)
        with suppress(SkiffError):
            service = target.services.get(container.service) or {}
            run_hooks(
                client, service, PRE_STOP, container.id, container.name, lambda line: print(line, file=sys.stderr)
            )
            client.stop(container.id, timeout_s)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    for container in containers:
        threading.Thread(target=follow, args=(container,), daemon=True).start()
    while not ended.wait(1):  # a wait without an end would not let signals in
        pass
    if interrupts:
        return INTERRUPTED
    if abort_on_exit:
        print("Aborting on container exit...", file=sys.stderr, flush=True)
        stop()
        wanted = [container.name for container in containers if container.service == exit_code_from]
        if wanted:
            return int(common.client.container(wanted[0])["State"]["ExitCode"])
        return next(iter(codes.values()), 0)
    return 0
