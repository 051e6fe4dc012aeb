"""Network namespaces: created, pinned to a file, and entered for the duration of a call (network_namespaces(7))."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from runtime.errors import KernelError
from runtime.linux import syscalls as linux

T = TypeVar("T")

_OWN = "/proc/thread-self/ns/net"


def make(set_up: Callable[[], object]) -> int:
    """Create a network namespace, run `set_up` in it, and return its descriptor. Call it in a worker thread."""
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.call("unshare", linux.CLONE_NEWNET)
        try:
            set_up()
            return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            linux.call("setns", home, linux.CLONE_NEWNET)
    finally:
        os.close(home)


def enter(path: Path) -> None:
    """Move the calling thread into the namespace pinned to `path`."""
    target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.call("setns", target, linux.CLONE_NEWNET)
    finally:
        os.close(target)


def pin(path: Path, namespace: int = -1) -> None:
    """Pin a namespace (of a descriptor, else of the calling thread) to the new file `path` with a bind mount."""
    try:
        path.touch(exist_ok=False)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
    try:
        linux.mount(_OWN if namespace < 0 else f"/proc/self/fd/{namespace}", str(path), None, linux.MS_BIND)
    except BaseException:
        remove(path)
        raise


def is_pinned(path: Path) -> bool:
    """Whether a network namespace is pinned to `path`, in this mount namespace and not unmounted since."""
    with suppress(OSError):
        return os.stat(path).st_dev == os.stat(_OWN).st_dev
    return False


def pin_again(path: Path, pid: int | None) -> None:
    """Pin the namespace of process `pid` to `path` again if its mount is gone; without the process, remove the file."""
    path.unlink(missing_ok=True)
    if pid is not None:
        # it has exited: the namespace files of a zombie can't be opened
        with suppress(FileNotFoundError, PermissionError):
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                pin(path, namespace)
            finally:
                os.close(namespace)


def inside(path: Path, action: Callable[[], T]) -> T:
    """Run `action` in the namespace pinned to `path`. Call it in a worker thread."""
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.call("setns", target, linux.CLONE_NEWNET)
        try:
            return action()
        finally:
            linux.call("setns", home, linux.CLONE_NEWNET)
    finally:
        os.close(target)
        os.close(home)


def remove(path: Path) -> None:
    """Unpin the namespace of `path` and remove the file; a missing one is not an error."""
    try:
        linux.umount2(str(path), linux.MNT_DETACH)
    except KernelError:
        if not path.exists():
            return
    path.unlink(missing_ok=True)
