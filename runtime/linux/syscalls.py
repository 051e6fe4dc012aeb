"""System calls that Python's `os` lacks, by ctypes; constants have their names in the kernel's headers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct

from runtime.errors import KernelError
from runtime.hints import Any

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

# <linux/sched.h>
CLONE_NEWTIME = 0x00000080
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
MS_MANDLOCK, MS_DIRSYNC, MS_NOSYMFOLLOW, MS_SILENT = 64, 128, 256, 32768
MS_I_VERSION, MS_LAZYTIME = 1 << 23, 1 << 25
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MS_RELATIME, MS_STRICTATIME = 1 << 21, 1 << 24
MNT_DETACH = 2
FSOPEN_CLOEXEC = 1
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
FSMOUNT_CLOEXEC = 1
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_SYMLINKS, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x10, 0x40
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
AT_FDCWD, AT_RECURSIVE, AT_EMPTY_PATH = -100, 0x8000, 0x1000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME, MOUNT_ATTR_NODIRATIME = 0x10, 0x20, 0x70, 0x80
MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOSYMFOLLOW = 0x100000, 0x200000

# <linux/openat2.h>
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x02, 0x04, 0x08, 0x10

# <linux/prctl.h>
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME, PR_CAPBSET_DROP = 1, 4, 8, 15, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4

# <linux/magic.h>
PROC_SUPER_MAGIC = 0x9FA0

# <linux/limits.h>
LONGEST_PATH = 4096

# <linux/keyctl.h>
KEYCTL_JOIN_SESSION_KEYRING = 1

# <asm-generic/unistd.h>; from 424 on all architectures agree
SYS = {
    "pidfd_send_signal": 424, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "clone3": 435, "close_range": 436, "openat2": 437, "mount_setattr": 442,
    **(
        {
            "getcwd": 17, "pivot_root": 41, "splice": 76, "capget": 90, "capset": 91, "unshare": 97,
            "rt_sigaction": 134, "keyctl": 219, "setns": 268, "seccomp": 277, "bpf": 280,
            "ioprio_set": 30, "personality": 92, "sched_setattr": 274, "syncfs": 267, "set_mempolicy": 237,
        }
        if os.uname().machine == "aarch64"
        else {
            "getcwd": 79, "pivot_root": 155, "splice": 275, "capget": 125, "capset": 126, "unshare": 272,
            "rt_sigaction": 13, "keyctl": 250, "setns": 308, "seccomp": 317, "bpf": 321,
            "ioprio_set": 251, "personality": 135, "sched_setattr": 314, "syncfs": 306, "set_mempolicy": 238,
        }
    ),
}  # fmt: skip


OPEN_ATTEMPTS = 1000
LONG_BITS = 8 * ctypes.sizeof(ctypes.c_ulong)
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # <linux/sockios.h>, <linux/if.h>


class OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class MountAttributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


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
    """Call the system call `name`. Raises KernelError with its arguments."""
    converted = [
        ctypes.byref(a) if isinstance(a, ctypes.Structure) else (ctypes.c_long(a) if isinstance(a, int) else a)
        for a in arguments
    ]
    result: int = _syscall(ctypes.c_long(SYS[name]), *converted)
    if result < 0:
        raise KernelError(name, arguments, ctypes.get_errno())
    return result


def open_inside(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """Open `path` below the directory of a descriptor with openat2(2); `resolve` has its RESOLVE_* flags.

    Raises KernelError. The kernel returns EAGAIN if anything on the machine is renamed or mounted while it resolves a
    "..": the call is repeated then, long enough to succeed next to a process that renames in a loop.
    """
    how = OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(OPEN_ATTEMPTS - 1):
        try:
            return call("openat2", directory, path, how, ctypes.sizeof(how))
        except KernelError as error:
            if error.errno != errno.EAGAIN:
                raise
    return call("openat2", directory, path, how, ctypes.sizeof(how))


def _checked(name: str, result: int, *arguments: object) -> int:
    if result < 0:
        raise KernelError(name, arguments, ctypes.get_errno())
    return result


SECCOMP_SET_MODE_FILTER = 1


class FilterProgram(ctypes.Structure):
    """struct sock_fprog of seccomp(2)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install_filter(packed: bytes, flags: int = 0) -> int:
    """Install a seccomp filter, an array of struct sock_filter, for the calling thread (seccomp(2)).

    Returns the listener's descriptor if `flags` has SECCOMP_FILTER_FLAG_NEW_LISTENER, else 0.
    """
    return call("seccomp", SECCOMP_SET_MODE_FILTER, flags, FilterProgram(len(packed) // 8, packed))


SIGACTION_BYTES, SIGSET_BYTES = 32, 8


def default_signal(number: int) -> None:
    """Reset a signal to its default action, including those that the C library reserves (sigaction(2))."""
    call("rt_sigaction", number, bytes(SIGACTION_BYTES), None, SIGSET_BYTES)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _checked(
        "mount",
        _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]),
        source, target, kind, hex(flags), data,
    )  # fmt: skip


def clone_mount(directory: int, path: str, *, recursive: bool) -> int:
    """Return a descriptor of a detached copy of the mount at `path` (open_tree(2)); "" means `directory` itself.

    Raises KernelError, ENOENT for no path at all: a mount without a source must not show the current directory.
    """
    if not path and directory == AT_FDCWD:
        raise KernelError("open_tree", (directory, path), errno.ENOENT)
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    return call("open_tree", directory, os.fsencode(path), flags | (0 if path else AT_EMPTY_PATH))


def set_mount(mounted: int, attributes: int, *, clear: int = 0, propagation: int = 0, recursive: bool) -> None:
    """Set and `clear` attributes (MOUNT_ATTR_…) of the mount of a descriptor, and its propagation (MS_PRIVATE …)."""
    what = MountAttributes(attributes, clear, propagation, 0)
    call("mount_setattr", mounted, b"", AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0), what, 32)


def map_mount(mounted: int, users: int, *, recursive: bool) -> None:
    """Make the detached mount of a descriptor ID-mapped, by the user namespace `users` (mount_setattr(2))."""
    what = MountAttributes(MOUNT_ATTR_IDMAP, 0, 0, users)
    call("mount_setattr", mounted, b"", AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0), what, 32)


def attach_mount(mounted: int, target: int) -> None:
    """Attach the detached mount of a descriptor to the file or directory of another (move_mount(2))."""
    call("move_mount", mounted, b"", target, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    _checked("umount2", _libc.umount2(os.fsencode(target), flags), target, flags)


class FilesystemStatus(ctypes.Structure):
    """struct statfs of fstatfs(2): its first field, and room for the others."""

    _fields_ = (("type", ctypes.c_long), ("others", ctypes.c_long * 31))


def filesystem_type(descriptor: int) -> int:
    """Return the magic number of the filesystem of a descriptor (fstatfs(2))."""
    status = FilesystemStatus()
    _checked("fstatfs", _libc.fstatfs(descriptor, ctypes.byref(status)), descriptor)
    return int(status.type)


def set_memory_policy(mode: int, nodes: int) -> None:
    """Set the memory policy of this process; `nodes` has a bit for each NUMA node (set_mempolicy(2))."""
    longs = nodes.bit_length() // LONG_BITS + 1
    mask = (ctypes.c_ulong * longs)(*(nodes >> LONG_BITS * place & (1 << LONG_BITS) - 1 for place in range(longs)))
    # the kernel uses one bit less than the number that it gets
    call("set_mempolicy", mode, mask if nodes else None, longs * LONG_BITS + 1 if nodes else 0)


def bring_up_loopback() -> None:
    """Set the loopback interface of this network namespace up (netdevice(7)). Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    """prctl(2)."""
    values = [ctypes.c_ulong(v) for v in (a, b, c, d)]
    return _checked("prctl", _libc.prctl(option, *values), option, a, b, c, d)


def working_directory() -> bytes:
    """Return the result of getcwd(2): not a path, but "(unreachable)…", if the directory is outside the root."""
    place = ctypes.create_string_buffer(LONGEST_PATH)
    call("getcwd", place, LONGEST_PATH)
    return place.value


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = name.encode()
    _checked("sethostname", _libc.sethostname(encoded, len(encoded)), name)


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    encoded = name.encode()
    _checked("setdomainname", _libc.setdomainname(encoded, len(encoded)), name)
