"""Start this user's engine if it does not run."""

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
from runtime.root_lock import elsewhere, keeper_answers

SHOWN_LINES = 12
EXIT_S = 1.0
"""How long to wait for the exit status of an engine that failed to start."""
NOTICE = "skiff without root: "
"""The prefix of lines of the engine's log that are shown to the user."""


def is_served(paths: Paths) -> bool:
    """Whether the engine's socket accepts connections: by a running engine, or by socket activation."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(paths.engine_socket))
        except OSError:
            return False
    return True


def runs(paths: Paths) -> bool:
    """Whether an engine runs: its PID is in the lock file. Unlike connecting, this does not activate one."""
    try:
        pid = int((paths.locks / "engine.lock").read_text())
    except (OSError, ValueError):
        return False
    return os.path.exists(f"/proc/{pid}")


def runs_on_root(paths: Paths) -> bool:
    """Whether an engine runs on the root, whatever its run directory."""
    return runs(elsewhere(paths) or paths)


def has_containers(paths: Paths) -> bool:
    """Whether containers of the root run, with an engine or without one."""
    return keeper_answers((elsewhere(paths) or paths).keeper_socket)


def ensure_engine(paths: Paths) -> Paths:
    """Start the engine if its socket does not accept connections; return the engine's directories.

    These are `paths`, or others if the engine of this state root has another run directory. What is missing in
    rootless mode is printed to standard error when the engine starts, each with a remedy.

    Concurrent calls are safe: the second waits for the lock and finds the engine of the first. Raises SkiffError with
    the end of the engine's log if it does not start.
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
    """Open a file in the run directory. Raises SkiffError, such as for a lack of permission or space."""
    try:
        return open(path, mode, opener=_for_this_user)
    except OSError as error:
        raise SkiffError(
            f"{path}: {error.strerror}: the engine can't be started",
            "run this as the owner of the engine, or choose other directories with $SKIFF_ROOT and $SKIFF_RUN",
        ) from error


def _for_this_user(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _start(paths: Paths) -> None:
    reader, writer = os.pipe()
    with _opened(paths.engine_log, "ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime.daemon"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={
                **os.environ,
                "SKIFF_READY_FD": str(writer),
                "SKIFF_ROOT": str(paths.root),
                "SKIFF_RUN": str(paths.run),
            },
            pass_fds=[writer],
            start_new_session=True,
        )
    os.close(writer)
    is_ready = os.read(reader, 1)  # b"" if the engine exits before it is ready
    os.close(reader)
    if is_ready:
        for line in _log(paths, begin):
            if line.startswith(NOTICE):
                print(line, file=sys.stderr)
        return
    # in rootless mode this is the process outside the namespaces, which does not exit before those inside
    with suppress(subprocess.TimeoutExpired):
        process.wait(EXIT_S)
    ended = "" if process.returncode is None else f" (exit {process.returncode})"
    shown = "\n".join(f"    {line}" for line in _log(paths, begin)[-SHOWN_LINES:])
    raise SkiffError(
        f"the engine did not start{ended}" + (f":\n{shown}" if shown else ""),
        f"`skiff doctor` shows what is missing on this machine; the whole log is {paths.engine_log}",
    )


def _log(paths: Paths, begin: int) -> list[str]:
    """Return the lines of the engine's log after its first `begin` bytes."""
    with suppress(OSError), open(paths.engine_log, errors="replace") as file:
        file.seek(begin)
        return file.read().splitlines()
    return []
