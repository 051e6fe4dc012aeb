"""`python -m runtime.daemon`: serve the Docker Engine API for one state root until idle or stopped.

One byte is written to the descriptor $SKIFF_READY_FD, if set, when the API is served; $NOTIFY_SOCKET is notified as well
(sd_notify(3)). $SKIFF_IDLE_S is the time after which an engine without containers and clients exits (default 30).

The listening socket is shared with the doorman, which starts the next engine for the next client. With $LISTEN_FDS and
$LISTEN_PID (sd_listen_fds(3)) it is that of the service manager, which watches it while no engine runs. Then only the
service manager starts engines: an engine started otherwise is stopped, and keeper and doorman restart none.
"""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import anyio

from runtime import logs, root_lock
from runtime.activation import notify_ready, take_listener
from runtime.client.start import runs
from runtime.daemon.first_start import check_first_start, check_rights
from runtime.daemon.permissions import close_directories, open_socket, socket_group
from runtime.doorman.client import DoormanClient
from runtime.engine.engine import IDLE_S, Engine
from runtime.errors import SkiffError
from runtime.paths import Paths
from runtime.refusal import refuse_waiting
from runtime.rootless.inside import Rootless
from runtime.unusable import check_socket_paths, unusable_error

LOOK_AGAIN_S = 0.02
SWITCH_S = 0.001
"""How long a thread may hold the GIL while the event loop waits for it (Python's default is 5 ms). Worker threads unpack,
hash and walk trees, and the loop needs the GIL several times for each answer."""
E = TypeVar("E", bound=BaseException)


def main() -> None:
    """Run the engine of the directories in the environment."""
    if os.getuid() != 0:  # without root the engine runs as root in a user namespace
        os.execv(sys.executable, [sys.executable, "-m", "runtime.rootless"])
    paths = Paths.from_environment(os.environ, os.getuid())
    inherited = _inherited_listener()
    failures: list[str] = []
    try:
        logs.configure(os.environ)
        check_socket_paths(paths)
        anyio.run(_run, paths, inherited)
    except* SkiffError as group:
        failures += [f"skiff engine: {error}" for error in _leaves(group)]
    except* OSError as group:
        failures += [f"skiff engine: {unusable_error(error, paths)}" for error in _leaves(group)]
    if failures:  # not inside `except*`: Python 3.11 of Debian 12 wraps SystemExit in a group
        print("\n".join(failures), file=sys.stderr, flush=True)
        if inherited is not None:
            refuse_waiting(inherited, "\n".join(line.removeprefix("skiff engine: ") for line in failures))
        sys.exit(1)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _leaves(group: BaseExceptionGroup[E]) -> list[E]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


async def _run(paths: Paths, inherited: socket.socket | None) -> None:
    from runtime.api import serve

    sys.setswitchinterval(SWITCH_S)
    # the usual soft limit of 1,024 files would allow 300 containers. It exists for programs that use select(2) (systemd,
    # "File Descriptor Limits"), which the engine does not; containers get their own limits
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    gid = socket_group()
    close_directories(paths, gid)
    paths.locks.mkdir(exist_ok=True)
    lock = os.open(paths.locks / "engine.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    is_other_stopped = False
    while not _locked(lock):
        if runs(paths) and inherited is not None:
            if not is_other_stopped:
                is_other_stopped = _stop_other(paths)
        elif runs(paths):
            print("another engine serves this run directory", file=sys.stderr)
            _report_ready(os.environ.get("SKIFF_READY_FD"))
            return
        await anyio.sleep(LOOK_AGAIN_S)  # the lock's holder is starting or exiting; there is no event for either
    os.ftruncate(lock, 0)
    root_lock.hold(paths)
    # removed from the environment, with which the keeper restarts a crashed engine
    ready = os.environ.pop("SKIFF_READY_FD", None)
    notified = os.environ.pop("NOTIFY_SOCKET", None)
    restart = [sys.executable, "-m", "runtime.daemon"] if inherited is None else []
    check_rights()
    check_first_start(paths)

    def make_listener() -> tuple[socket.socket, str]:
        return _listen(paths.engine_socket, gid), str(paths.engine_socket)

    async with DoormanClient.connect(paths, restart, make_listener, inherited) as doorman:
        async with (
            Engine.open(paths, restart, Rootless.of(paths, os.environ), doorman) as engine,
            anyio.create_task_group() as group,
        ):
            # modules and other objects that exist now stay: a full garbage collection of them would block for 30 ms
            gc.freeze()
            group.start_soon(serve, engine, doorman.listener)
            group.start_soon(_stop_on_signal, engine)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
            await doorman.ready()
            _report_ready(ready)
            notify_ready(notified)
            await engine.wait_until_idle(float(os.environ.get("SKIFF_IDLE_S") or IDLE_S))
            os.ftruncate(lock, 0)
            group.cancel_scope.cancel()
        await doorman.bye(is_stopped=engine.stopping.is_set())
        doorman.listener.close()


def _inherited_listener() -> socket.socket | None:
    descriptor = take_listener(os.environ)
    if descriptor is None:
        return None
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    return listener


def _stop_other(paths: Paths) -> bool:
    """Stop the engine of this run directory, with containers running on; return whether there was one."""
    with suppress(OSError, ValueError):
        os.kill(int((paths.locks / "engine.lock").read_text()), signal.SIGTERM)
        return True
    return False


def _listen(path: Path, gid: int | None) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    umask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(umask)
    open_socket(path, gid)
    listener.listen(1024)
    return listener


def _report_ready(descriptor: str | None) -> None:
    if descriptor is not None:
        with suppress(OSError):
            os.write(int(descriptor), b"r")
            os.close(int(descriptor))


async def _stop_on_signal(engine: Engine) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            await engine.stop(force=False)


if __name__ == "__main__":
    main()
