"""System calls that Python's `os` lacks, through one thin ctypes layer; constants named as in the kernel's headers."""

from __future__ import annotations

import ctypes
import os

from runtime.errors import KernelError
from runtime.hints import Any

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

# <linux/sched.h>
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

# <linux/mount.h>
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_SYNCHRONOUS, MS_REMOUNT = 1, 2, 4, 8, 16, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_MOVE, MS_REC = 1024, 2048, 4096, 8192, 16384
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MS_RELATIME, MS_STRICTATIME = 1 << 21, 1 << 24
MNT_DETACH = 2
FSOPEN_CLOEXEC = 1
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
FSMOUNT_CLOEXEC = 1
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
AT_RECURSIVE, AT_EMPTY_PATH = 0x8000, 0x1000

# <linux/openat2.h>
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10

# <linux/prctl.h>
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP = 1, 4, 8, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4

SYS = {
    "pivot_root": 155, "setns": 308, "clone3": 435, "unshare": 272, "openat2": 437, "pidfd_send_signal": 424,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "move_mount": 429, "open_tree": 428, "mount_setattr": 442,
    "seccomp": 317, "capset": 126, "splice": 275, "close_range": 436,
    "rt_sigaction": 13, "bpf": 321,
}  # fmt: skip


class OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class CloneArguments(ctypes.Structure):
    """struct clone_args of clone3(2)."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in [
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        ]
    )


def call(name: str, *arguments: int | bytes | ctypes.Array[Any] | ctypes.Structure | None) -> int:
    """Make system call `name`; raises KernelError with what it was called with."""
    converted = [
        ctypes.byref(a) if isinstance(a, ctypes.Structure) else (ctypes.c_long(a) if isinstance(a, int) else a)
        for a in arguments
    ]
    result: int = _syscall(ctypes.c_long(SYS[name]), *converted)
    if result < 0:
        raise KernelError(name, arguments, ctypes.get_errno())
    return result


def _checked(name: str, result: int, *arguments: object) -> int:
    if result < 0:
        raise KernelError(name, arguments, ctypes.get_errno())
    return result


SIGACTION_BYTES, SIGSET_BYTES = 32, 8


def default_signal(number: int) -> None:
    """Give a signal its default action, also one of those that the C library keeps to itself (sigaction(2))."""
    call("rt_sigaction", number, bytes(SIGACTION_BYTES), None, SIGSET_BYTES)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _checked(
        "mount",
        _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]),
        source, target, kind, hex(flags), data,
    )  # fmt: skip


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    _checked("umount2", _libc.umount2(os.fsencode(target), flags), target, flags)


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    """prctl(2)."""
    values = [ctypes.c_ulong(v) for v in (a, b, c, d)]
    return _checked("prctl", _libc.prctl(option, *values), option, a, b, c, d)


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = name.encode()
    _checked("sethostname", _libc.sethostname(encoded, len(encoded)), name)
