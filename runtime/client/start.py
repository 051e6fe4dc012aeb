"""Starting this user's engine when it does not run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from runtime.errors import SkiffError
from runtime.paths import Paths
from runtime.root_lock import elsewhere

SHOWN_LINES = 12
EXIT_S = 1.0
"""How long an engine that failed has to end."""
NOTICE = "skiff without root: "
"""How a line of the engine's log begins that is for its user."""


def is_served(paths: Paths) -> bool:
    """Whether somebody who connects to the engine's socket is answered: by an engine, or by one that is started then."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(paths.engine_socket))
        except OSError:
            return False
    return True


def runs(paths: Paths) -> bool:
    """Whether an engine accepts connections itself: its number is in its lock file then. Starts none, unlike connecting."""
    try:
        pid = int((paths.locks / "engine.lock").read_text())
    except (OSError, ValueError):
        return False
    return os.path.exists(f"/proc/{pid}")


def ensure_engine(paths: Paths) -> Paths:
    """Return with the engine's socket served: by the engine that runs, or by one started now; returns its directories.

    These are `paths`, or others when the state root is served from another run directory.

    What an engine without root has to do without is told on standard error when it starts, with the cures.

    Two starters at once are safe: the second waits at the lock and finds the first one's engine. Raises SkiffError with
    the end of the engine's log when it does not come up.
    """
    if is_served(paths):
        return paths
    paths = elsewhere(paths) or paths
    if is_served(paths):
        return paths
    import fcntl

    try:
        paths.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths.locks.mkdir(exist_ok=True)
    except OSError as error:
        from runtime.unusable import unusable_error

        raise unusable_error(error, paths) from error
    with _opened(paths.locks / "start.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_served(paths):
            _start(paths)
    return paths


def _opened(path: Path, mode: str) -> IO[Any]:
    """Open a file of the run directory. Raises SkiffError when this user may not, or there is no room for it."""
    try:
        return open(path, mode, opener=_for_this_user)
    except OSError as error:
        raise SkiffError(
            f"{path}: {error.strerror}: the engine can't be started",
            "run as the user whose engine this is, or choose other directories with $SKIFF_ROOT and $SKIFF_RUN",
        ) from error


def _for_this_user(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _start(paths: Paths) -> None:
    ready, told = os.pipe()
    with _opened(paths.engine_log, "ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime.daemon"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "SKIFF_READY_FD": str(told), "SKIFF_ROOT": str(paths.root), "SKIFF_RUN": str(paths.run)},
            pass_fds=[told],
            start_new_session=True,
        )
    os.close(told)
    said = os.read(ready, 1)
    os.close(ready)
    if said:
        for line in _log(paths, begin):
            if line.startswith(NOTICE):
                print(line, file=sys.stderr)
        return
    # without root it is the process outside, which stays with what runs inside
    with suppress(subprocess.TimeoutExpired):
        process.wait(EXIT_S)
    ended = "" if process.returncode is None else f" (exit {process.returncode})"
    shown = "\n".join(f"    {line}" for line in _log(paths, begin)[-SHOWN_LINES:])
    raise SkiffError(
        f"the engine did not start{ended}" + (f":\n{shown}" if shown else ""),
        f"`skiff doctor` says what may be missing; the whole log is {paths.engine_log}",
    )


def _log(paths: Paths, begin: int) -> list[str]:
    """Return what the engine's log says after its first `begin` bytes."""
    with suppress(OSError), open(paths.engine_log, errors="replace") as file:
        file.seek(begin)
        return file.read().splitlines()
    return []
