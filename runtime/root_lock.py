"""The lock of a state root: it is used by one engine only, whatever run directory that has.

The engine locks (flock(2)) the file `engine.lock` in the root, and writes its PID and its run directory into it as
JSON. A keeper outlives its engines, with containers of the root: so while a keeper answers in the run directory that
the file names, engines with another run directory are refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from pathlib import Path

from runtime.errors import ConflictError
from runtime.paths import Paths


def hold(paths: Paths) -> int:
    """Lock the root for this process; return the descriptor that holds the lock. Raises ConflictError, OSError."""
    descriptor = os.open(paths.root_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        other = _named(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(paths, other, "is served by another engine") from None
        if other is not None and other.run != paths.run and keeper_answers(other.keeper_socket):
            raise _taken(paths, other, "has containers that run")
        about = json.dumps({"pid": os.getpid(), "run": str(paths.run)})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{about}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _taken(paths: Paths, other: Paths | None, why: str) -> ConflictError:
    where = f", at {other.engine_socket}" if other is not None else ""
    cure = "name another state directory with --root or $SKIFF_ROOT"
    if other is not None:
        cure = f"use that engine: skiff -H unix://{other.engine_socket} …, or {cure}"
    return ConflictError(f"{paths.root} {why}{where}", cure)


def elsewhere(paths: Paths) -> Paths | None:
    """Return the paths of the engine that uses the root of `paths`, if its run directory is another one."""
    try:
        descriptor = os.open(paths.root_lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        other = _named(descriptor)
        if other is None or other.run == paths.run:
            return None
        return other if _is_locked(descriptor) or keeper_answers(other.keeper_socket) else None
    finally:
        os.close(descriptor)


def _named(descriptor: int) -> Paths | None:
    with suppress(ValueError, KeyError, TypeError):
        about = json.loads(os.pread(descriptor, 1 << 16, 0))
        root = Path(os.readlink(f"/proc/self/fd/{descriptor}")).parent
        return Paths(root, Path(about["run"]))
    return None


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def keeper_answers(path: Path) -> bool:
    """Whether a keeper listens at `path`. For the keeper, this is a client that connects and disconnects."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
