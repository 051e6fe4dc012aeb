"""Capability sets (capabilities(7))."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterable, Mapping

from runtime.errors import KernelError
from runtime.linux import syscalls as linux

NAMES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]
NUMBERS = {f"CAP_{name}": number for number, name in enumerate(NAMES)}

_VERSION_3 = 0x20080522
LAST_POSSIBLE = 63
"""The highest bit of a capability set (capget(2), version 3)."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def mask(names: Iterable[str]) -> int:
    """Return the bit mask of `names` ("CAP_CHOWN" …). Raises KeyError for unknown ones."""
    bits = 0
    for name in names:
        bits |= 1 << NUMBERS[name]
    return bits


def drop_bounding(keep: int) -> None:
    """Drop every capability that the kernel knows and that is not in `keep` from the bounding set."""
    # up to the first that the kernel rejects: /proc/sys/kernel/cap_last_cap can't be trusted inside a container
    for number in range(LAST_POSSIBLE + 1):
        if not keep >> number & 1:
            try:
                linux.prctl(linux.PR_CAPBSET_DROP, number)
            except KernelError as error:
                if error.errno != errno.EINVAL or number == 0:
                    raise
                return


def permitted() -> int:
    """Return the mask of permitted capabilities of the calling process, the most that it can give to a container."""
    data = (_Data * 2)()
    linux.call("capget", _Header(_VERSION_3, 0), data)
    return int(data[0].permitted | data[1].permitted << 32)


def hold_for_filter(sets: Mapping[str, Iterable[str]], held: int) -> None:
    """Permit what `sets` permit of `held`, and CAP_SYS_ADMIN, which is needed to install a seccomp filter."""
    names = {*(sets.get("permitted") or ()), "CAP_SYS_ADMIN"}
    _set(mask(names) & held, mask(names) & held, mask(sets.get("inheritable") or ()) & held)


def set_process(sets: Mapping[str, Iterable[str]], held: int) -> None:
    """Set the capabilities that are both in the OCI configuration's `process.capabilities` and in `held` (capset(2)).

    Ambient ones are set last: the kernel requires them to be permitted and inheritable; others are left out.
    """
    effective, permitted, inheritable = (
        mask(sets.get(kind) or ()) & held for kind in ("effective", "permitted", "inheritable")
    )
    _set(effective, permitted, inheritable)
    linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
    for name in sets.get("ambient") or ():
        if not permitted & inheritable & mask([name]):
            continue
        linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_RAISE, NUMBERS[name])


def _set(effective: int, permitted: int, inheritable: int) -> None:
    data = (_Data * 2)(
        *(
            _Data(effective >> s & 0xFFFFFFFF, permitted >> s & 0xFFFFFFFF, inheritable >> s & 0xFFFFFFFF)
            for s in (0, 32)
        )
    )
    linux.call("capset", _Header(_VERSION_3, 0), data)
