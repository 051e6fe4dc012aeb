"""The defaults of a container, the same as Docker's: capabilities, masked paths, device rules, seccomp, mounts."""

from __future__ import annotations

import errno
from collections.abc import Collection
from functools import cache

from runtime.hints import TYPE_CHECKING
from runtime.linux import syscall_table

if TYPE_CHECKING:
    from runtime.oci.types import OciDeviceRule, OciMount, OciSeccomp, OciSeccompRule

CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT "
        "KILL AUDIT_WRITE"
    ).split()
)

MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def masked_paths(processors: int) -> list[str]:
    """Return the masked paths of a machine with `processors` CPUs: thermal data leaks the load of other containers."""
    throttles = [f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in range(processors)]
    return [*MASKED_PATHS, *throttles]


_USABLE: list[OciDeviceRule] = [
    {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
    for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1), (10, 200))
]
DEVICE_RULES: tuple[OciDeviceRule, ...] = (
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *_USABLE,
)
"""null, zero, full, random, urandom, tty, ptmx, all pseudo-terminals and tun; other nodes can be created, not opened."""

# System calls that reach beyond a container's namespaces, by the capabilities of which any one allows them.
_GUARDED = {
    "CAP_SYS_ADMIN": (
        "clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules "
        "lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr quotactl quotactl_fd setdomainname "
        "sethostname setns umount umount2 unshare"
    ),
    "CAP_SYS_ADMIN CAP_BPF": "bpf",
    "CAP_SYS_ADMIN CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN CAP_SYSLOG": "syslog",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "": (
        "add_key create_module get_kernel_syms io_uring_enter io_uring_register io_uring_setup kexec_file_load "
        "kexec_load keyctl migrate_pages move_pages nfsservctl personality pivot_root query_module request_key "
        "swapoff swapon sysfs _sysctl uselib userfaultfd ustat vm86 vm86old "
        # called only by old 32-bit programs, or by none
        "afs_syscall bdflush break ftime getpmsg gtty idle lock mpx nice oldfstat oldlstat oldolduname oldstat "
        "olduname prof profil putpmsg readdir security sgetmask sigaction signal sigpending sigsuspend ssetmask stty "
        "tuxcall ulimit vserver"
    ),
}
GUARDED = {name: tuple(names.split()) for names, calls in _GUARDED.items() for name in calls.split()}
"""System call → capabilities of which any one allows it; () if it is never allowed."""

# <linux/sched.h>: CLONE_NEWNS … CLONE_NEWNET, what `clone` may not carry without CAP_SYS_ADMIN
_NAMESPACE_FLAGS = 0x7E020000
# <linux/personality.h>: PER_LINUX, PER_LINUX32, UNAME26 of either, and the query (0xFFFFFFFF)
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_AF_VSOCK = 40


def seccomp(capabilities: Collection[str]) -> OciSeccomp:
    """Return the default filter, as `linux.seccomp` of the OCI document, for a process with `capabilities` ("CAP_…")."""
    return _seccomp(frozenset(capabilities))


@cache
def _seccomp(capabilities: frozenset[str]) -> OciSeccomp:
    denied = {name for name, guards in GUARDED.items() if not any(guard in capabilities for guard in guards)}
    special = {"clone", "socket"}
    known = dict.fromkeys(name for numbers in syscall_table.tables().values() for name in numbers)
    allowed = [name for name in known if name not in denied and name not in special]
    rules: list[OciSeccompRule] = [{"names": allowed, "action": "SCMP_ACT_ALLOW"}]
    rules += [
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}],
        }
        for value in _PERSONALITIES
    ]
    rules.append(
        {
            "names": ["socket"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": _AF_VSOCK, "op": "SCMP_CMP_NE"}],
        }
    )
    if "CAP_SYS_ADMIN" in capabilities:
        rules.append({"names": ["clone"], "action": "SCMP_ACT_ALLOW"})
    else:
        rules.append(
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": _NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
            }
        )
        # seccomp can't read clone3's argument structure. With ENOSYS libraries fall back to clone (as in Docker)
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno.EPERM, "syscalls": rules}


def mounts(shm_bytes: int) -> list[OciMount]:
    """Return the mounts of every container but for /sys/fs/cgroup, which depends on the cgroup version."""
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", f"size={shm_bytes}"],
        },
    ]
