"""Seccomp filters and labels of security modules (LSM): checks of the document, and what init does with them."""

from __future__ import annotations

import os

from runtime.hints import TYPE_CHECKING
from runtime.oci.program.errors import DocumentError

if TYPE_CHECKING:
    from runtime.oci.types import OciLinux, OciProcess, OciSeccomp

ARCHITECTURES = {"SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_AARCH64": 0xC00000B7}
"""AUDIT_ARCH_… of <linux/audit.h>, for the architectures whose system calls we know."""
OTHER_ARCHITECTURES = frozenset(
    f"SCMP_ARCH_{name}"
    for name in (
        "X32 ARM MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64 "
        "RISCV64 LOONGARCH64 M68K SH SHEB"
    ).split()
)
# <linux/seccomp.h>
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0, "SECCOMP_FILTER_FLAG_LOG": 1 << 1, "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}  # fmt: skip
NEW_LISTENER = 1 << 3
NOTIFY = "SCMP_ACT_NOTIFY"
NEVER_NOTIFIED = ("sendmsg",)
"""The system call with which the process sends its listener: at that time nobody could answer a notification."""
APPARMOR = "/sys/module/apparmor/parameters/enabled"
SELINUX = "/sys/fs/selinux/enforce"


def check_process(process: OciProcess, where: str) -> None:
    """Raise DocumentError if `process` has a label of a security module that is not enabled on this machine."""
    if process.get("apparmorProfile") and not _has_apparmor():
        raise DocumentError(f"{where}: process.apparmorProfile is set, and AppArmor is not enabled on this machine")
    if process.get("selinuxLabel") and not os.path.exists(SELINUX):
        raise DocumentError(f"{where}: process.selinuxLabel is set, and SELinux is not enabled on this machine")


def check_settings(settings: OciLinux, where: str) -> None:
    """Raise DocumentError if the mount label or the filter in `linux` can't be applied on this machine."""
    if settings.get("mountLabel") and not os.path.exists(SELINUX):
        raise DocumentError(f"{where}: linux.mountLabel is set, and SELinux is not enabled on this machine")
    filters = settings.get("seccomp")
    if filters:
        _check_filters(filters, where)


def _check_filters(filters: OciSeccomp, where: str) -> None:
    from runtime.linux import seccomp

    for flag in filters.get("flags") or ():
        if flag not in FLAGS:
            raise DocumentError(f"{where}: linux.seccomp.flags: {flag!r} must be one of {', '.join(FLAGS)}")
    for architecture in filters.get("architectures") or ():
        if architecture not in ARCHITECTURES and architecture not in OTHER_ARCHITECTURES:
            raise DocumentError(f"{where}: linux.seccomp.architectures: {architecture!r} is unknown")
    rules = [("", filters["defaultAction"], filters.get("defaultErrnoRet"))]
    rules += [
        (name, rule["action"], rule.get("errnoRet"))
        for rule in filters.get("syscalls") or ()
        for name in rule["names"] or [""]
    ]
    for name, action, errno in rules:
        if errno is not None and action not in seccomp.WITH_DATA:
            raise DocumentError(f"{where}: linux.seccomp: {action} takes no errno")
        if action == NOTIFY and name in ("", *NEVER_NOTIFIED):
            what = name or "the default action"
            raise DocumentError(f"{where}: linux.seccomp: {NOTIFY} can't be the action of {what}")
    if any(action == NOTIFY for _, action, _ in rules) and not filters.get("listenerPath"):
        raise DocumentError(f"{where}: linux.seccomp: {NOTIFY} needs listenerPath")
    if filters.get("listenerMetadata") and not filters.get("listenerPath"):
        raise DocumentError(f"{where}: linux.seccomp: listenerMetadata needs listenerPath")
    try:
        seccomp.check(filters, has_listener=True)
    except ValueError as error:
        raise DocumentError(f"{where}: linux.seccomp: {error}") from error


def compiled(filters: OciSeccomp | None) -> bytes | None:
    """Compile the document's filter for this machine's architecture and the others that it names."""
    if not filters:
        return None
    from runtime.linux import seccomp, syscall_table

    tables = syscall_table.tables()
    own = next(iter(tables))
    wanted = {ARCHITECTURES[name] for name in filters.get("architectures") or () if name in ARCHITECTURES}
    chosen = {number: calls for number, calls in tables.items() if number == own or number in wanted}
    try:
        return seccomp.pack(seccomp.assemble(filters, chosen, has_listener=True))
    except ValueError as error:
        raise DocumentError(f"linux.seccomp: {error}") from error


def filter_flags(filters: OciSeccomp | None) -> int:
    """Return the flags of seccomp(2) for the document's filter."""
    if not filters:
        return 0
    flags = 0
    for flag in filters.get("flags") or ():
        # without TSYNC: the process has one thread, and TSYNC's return value conflicts with that of NEW_LISTENER
        flags |= FLAGS[flag] & ~FLAGS["SECCOMP_FILTER_FLAG_TSYNC"]
    if any(rule["action"] == NOTIFY for rule in filters.get("syscalls") or ()):
        flags |= NEW_LISTENER
    return flags


def label_file(process: OciProcess) -> tuple[int, bytes] | None:
    """Return (descriptor, data) to write for a label at execve(2). Called while /proc is the host's."""
    if process.get("apparmorProfile"):
        own = "/proc/self/attr/apparmor/exec"
        path = own if os.path.exists(own) else "/proc/self/attr/exec"
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC), b"exec " + process["apparmorProfile"].encode()
    if process.get("selinuxLabel"):
        return os.open("/proc/self/attr/exec", os.O_WRONLY | os.O_CLOEXEC), process["selinuxLabel"].encode()
    return None


def _has_apparmor() -> bool:
    try:
        with open(APPARMOR) as file:
            return file.read(1) == "Y"
    except OSError:
        return False
