"""`up` in the foreground: merged logs until the stack ends or is interrupted."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.cli.context import Globals
from compose.cli.following import Follower, Run
from compose.cli.reading import engine_time_ns
from compose.cli.stack import StackUp
from compose.plan.project import ONEOFF, SERVICE, DesiredProject, ObservedContainer
from compose.plan.selection import select
from compose.plan.up import UpOptions
from compose.render.logs import LogPrinter
from compose.render.progress import Progress
from compose.render.stamped import moment
from runtime.client import Client
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.cli.watch import BackgroundWatch

INTERRUPTED = 130
LAST_LINES_S = 2.0
"""How long to wait for the last lines of stopped containers."""


@dataclass(frozen=True)
class AttachOptions:
    """How output is shown and when following ends; `shown`: the services whose output is shown."""

    shown: frozenset[str]
    aborts_on_exit: bool = False
    aborts_on_failure: bool = False
    exit_code_from: str = ""
    prefix: bool = True
    colour: bool | None = None
    timestamps: bool = False
    timeout_s: int | None = None


def shown_services(
    target: DesiredProject,
    services: Sequence[str],
    only: Sequence[str],
    never: Collection[str],
    with_dependencies: bool,
) -> frozenset[str]:
    """Return the services whose output `up` shows: the selected ones, except those with `attach: false`."""
    if only:
        return frozenset(only) - frozenset(never)
    named = select(target, services, with_dependencies=with_dependencies)
    return frozenset(name for name in named if target.services[name].get("attach") is not False) - frozenset(never)


class Attached:
    """A stack in the foreground: Ctrl-C stops it gracefully, a second one kills it."""

    def __init__(
        self,
        common: Globals,
        target: DesiredProject,
        stack_up: StackUp,
        options: UpOptions,
        behavior: AttachOptions,
        watching: BackgroundWatch | None = None,
    ) -> None:
        self._common = common
        self._target = target
        self._stack_up = stack_up
        self._options = options
        self._behavior = behavior
        self._watching = watching
        self._ended = threading.Event()
        self._interrupts = 0
        self._exit_code: int | None = None
        self._is_aborting = False
        self._failure: BaseException | None = None
        self._watched: list[ObservedContainer] = []
        self._following = threading.Thread()
        self._follower: Follower | None = None

    def run(self) -> int:
        """Create everything, show its output from the first line, and return the exit code. Raises SkiffError."""
        common, behavior = self._common, self._behavior
        self._stack_up.create(self._options)
        wanted = select(self._target, self._options.services, with_dependencies=self._options.with_dependencies)
        self._watched = common.containers(self._target, wanted) if wanted else []
        shown = [container for container in self._watched if container.service in behavior.shown]
        printer = LogPrinter(
            [container.short_name() for container in shown],
            prefix=behavior.prefix,
            colour=behavior.colour,
            timestamps=behavior.timestamps,
            errors=sys.stderr.buffer,
        )
        if shown:
            print(f"Attaching to {', '.join(sorted(container.short_name() for container in shown))}", flush=True)
        now = {"since": moment(engine_time_ns(common.client))}
        follower = self._follower = Follower(
            common.where, printer, now, on_exit=self._exited, joins=self._joins if self._watching else None
        )
        follower.stays = self._watching is not None
        follower.watch(shown, ending_with=self._watched_for_end(shown), from_now=True)
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._interrupt)
        threading.Thread(target=self._start, args=(follower,), daemon=True).start()
        self._following = threading.Thread(target=self._follow, args=(follower,), daemon=True)
        self._following.start()
        self._ended.wait()
        if self._interrupts:
            return INTERRUPTED
        if self._failure is not None:
            raise self._failure
        return self._exit_code or 0

    def _joins(self, labels: Mapping[str, str]) -> bool:
        """Whether a container that is made meanwhile, by a rebuild, is shown like the one before."""
        return labels.get(SERVICE) in self._behavior.shown and labels.get(ONEOFF, "").lower() != "true"

    def _watched_for_end(self, shown: Sequence[ObservedContainer]) -> list[ObservedContainer]:
        """Return the containers without which there is nothing to wait for any more."""
        if self._options.services:
            return [container for container in self._watched if container.service in self._options.services]
        return list(shown) or self._watched

    def _start(self, follower: Follower) -> None:
        try:
            self._stack_up.start(self._options)
        except BaseException as error:  # noqa: BLE001 - carried over to the main thread
            if not self._interrupts and not self._is_aborting:
                self._failure = error
                self._ended.set()
        else:
            if self._watching is not None:
                self._watching.begin(self._stack_up.target, self._fail)
        follower.all_started()

    def _fail(self, error: BaseException) -> None:
        """End with an error of what goes on beside."""
        self._failure = error
        self._ended.set()

    def _follow(self, follower: Follower) -> None:
        try:
            follower.follow()
        except BaseException as error:  # noqa: BLE001 - carried over to the main thread
            self._failure = error
        if not self._interrupts and not self._is_aborting:
            self._ended.set()

    def _exited(self, run: Run) -> None:
        """Note a container's end: it may be the end of all."""
        if run.container.service == self._behavior.exit_code_from and self._exit_code is None:
            self._exit_code = run.exit_code
        aborts = self._behavior.aborts_on_exit or (self._behavior.aborts_on_failure and run.exit_code)
        if not aborts or self._is_aborting or self._interrupts:
            return
        self._is_aborting = True
        if not self._behavior.exit_code_from:
            self._exit_code = run.exit_code
        print("Aborting on container exit...", file=sys.stderr, flush=True)
        threading.Thread(target=self._stop, daemon=True).start()

    def _interrupt(self, *_: object) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            # not print: the signal may have come in the midst of another write to the same buffer
            os.write(2, b"\nGracefully stopping... (press Ctrl+C again to force)\n")
            threading.Thread(target=self._stop, daemon=True).start()
        elif self._interrupts == 2:
            threading.Thread(target=self._kill, daemon=True).start()

    def _stop(self) -> None:
        """Stop the stack in its order, dependants first."""
        from compose.execute.observe import observe
        from compose.execute.operations import Executor
        from compose.execute.runner import run
        from compose.plan.down import plan_stop
        from compose.plan.operations import Plan

        if self._stack_up.executor is not None:
            self._stack_up.executor.cancel()
        if self._watching is not None:
            self._watching.end()
        if self._follower is not None:
            self._follower.stays = False
        try:
            client = Client(self._common.where)
            observed = observe(client, self._target, ())
            chosen = [container for container in observed.containers if self._is_ours(container)]
            plan = Plan.of(plan_stop(observed, chosen, remove=False))
            executor = Executor(
                self._common.where, self._target, observed, Progress(), stop_timeout_s=self._behavior.timeout_s
            )
            run(plan, executor.perform, self._common.limit())
            self._note_exit_code(client)
        except SkiffError as error:
            self._failure = self._failure or error
        else:
            self._following.join(LAST_LINES_S)
        self._ended.set()

    def _is_ours(self, container: ObservedContainer) -> bool:
        """Whether it is one of those that were brought up, or stands in the place of one since."""
        return not container.is_oneoff and container.service in {each.service for each in self._watched}

    def _note_exit_code(self, client: Client) -> None:
        service = self._behavior.exit_code_from
        if service and self._exit_code is None:
            ids = [container.id for container in self._watched if container.service == service]
            self._exit_code = int(client.container(ids[0])["State"]["ExitCode"]) if ids else 0

    def _kill(self) -> None:
        client = Client(self._common.where)
        for container in filter(self._is_ours, self._common.containers(self._target)):
            with suppress(SkiffError):
                client.kill(container.id)
        self._ended.set()
