"""The default filter against Docker's: what a container may call, with and without capabilities."""

import errno

import pytest

from runtime.linux import seccomp, syscall_table
from runtime.oci import defaults
from tests.unit.linux.test_seccomp import run

X86_64, I386 = 0xC000003E, 0x40000003
TABLES = syscall_table.tables("x86_64")
ALLOWED, EPERM, ENOSYS = "allowed", "EPERM", "ENOSYS"


def decide(call, *arguments, capabilities=defaults.CAPABILITIES, architecture=X86_64):
    """Return what the default filter says of `call`, by name or number."""
    program = seccomp.assemble(defaults.seccomp(capabilities), TABLES)
    number = call if isinstance(call, int) else TABLES[architecture][call]
    found = run(program, architecture, number, (*arguments, *[0] * (6 - len(arguments))))
    if found == seccomp.RET["SCMP_ACT_ALLOW"]:
        return ALLOWED
    if found & 0xFFFF0000 == seccomp.RET["SCMP_ACT_ERRNO"]:
        return errno.errorcode[found & 0xFFFF]
    return f"{found:#x}"


@pytest.mark.parametrize(
    "call",
    (
        "mount umount2 unshare setns pivot_root bpf perf_event_open keyctl add_key request_key kexec_load kexec_file_load "
        "init_module finit_module delete_module reboot swapon swapoff acct settimeofday clock_settime io_uring_setup "
        "io_uring_enter io_uring_register open_by_handle_at fsopen fsmount fsconfig open_tree open_tree_attr move_mount "
        "mount_setattr userfaultfd iopl ioperm syslog vhangup quotactl kcmp pidfd_getfd process_madvise mbind "
        "set_mempolicy move_pages migrate_pages sethostname setdomainname fanotify_init lookup_dcookie nfsservctl uselib "
        "lsm_get_self_attr lsm_list_modules _sysctl vserver"
    ).split(),
)
def test_what_reaches_past_the_container_is_not_permitted(call):
    assert decide(call) == EPERM


@pytest.mark.parametrize(
    "call",
    (
        "read openat execve ptrace process_vm_readv chroot seccomp landlock_create_ruleset memfd_secret statx openat2 "
        "clock_adjtime name_to_handle_at fanotify_mark statmount listmount mseal futex_wait cachestat fchmodat2 "
        "setxattrat modify_ldt arch_prctl pidfd_open close_range rseq uretprobe"
    ).split(),
)
def test_what_programs_need_is_allowed(call):
    assert decide(call) == ALLOWED


@pytest.mark.parametrize(
    ("capability", "calls"),
    [
        ("CAP_SYS_ADMIN", "mount umount2 unshare setns bpf perf_event_open syslog clone3 fsopen sethostname quotactl"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
        ("CAP_SYS_MODULE", "init_module finit_module delete_module"),
        ("CAP_SYS_TIME", "settimeofday clock_settime"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_NICE", "mbind set_mempolicy get_mempolicy"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_SYS_RAWIO", "iopl ioperm"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ],
)
def test_a_capability_gives_its_calls_back(capability, calls):
    for call in calls.split():
        assert decide(call, capabilities=[*defaults.CAPABILITIES, capability]) == ALLOWED
        assert decide(call) == (ENOSYS if call == "clone3" else EPERM)


@pytest.mark.parametrize("call", ["keyctl", "io_uring_setup", "kexec_load", "userfaultfd", "pivot_root"])
def test_some_calls_no_capability_gives_back(call):
    from runtime.linux.capability import NUMBERS

    assert decide(call, capabilities=list(NUMBERS)) == EPERM


def test_without_the_capability_to_change_the_root_nothing_does():
    assert decide("chroot", capabilities=[]) == EPERM


def test_clone_makes_threads_and_processes_but_no_namespaces():
    assert decide("clone", 0x3D0F00) == decide("clone", 17) == ALLOWED
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide("clone", flag | 17) == EPERM
        assert decide("clone", flag | 17, capabilities=["CAP_SYS_ADMIN"]) == ALLOWED
    # libraries fall back to clone, whose flags a filter can see
    assert decide("clone3") == ENOSYS


def test_personality_allows_only_queries_and_lower_privileges():
    for known in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert decide("personality", known) == ALLOWED
    for other in (0x0040000, 0x0400000, 1, 0x20001):
        assert decide("personality", other) == EPERM


def test_sockets_of_the_hypervisor_are_not_made():
    assert decide("socket", 40) == EPERM
    for family in (1, 2, 10, 16, 17, 38):
        assert decide("socket", family) == ALLOWED


def test_calls_newer_than_the_table_are_as_on_an_older_kernel():
    assert decide(max(TABLES[X86_64].values()) + 1) == ENOSYS
    assert decide(9999) == ENOSYS


def test_programs_for_32_bits_run_under_the_same_rules():
    for call in ("read", "socketcall", "_llseek", "waitpid", "fstat64", "sigreturn", "ipc", "ugetrlimit"):
        assert decide(call, architecture=I386) == ALLOWED
    for call in ("mount", "umount", "umount2", "vm86", "bdflush", "stime", "keyctl", "oldstat", "unshare"):
        assert decide(call, architecture=I386) == EPERM
    assert decide("clone", 0x10000000 | 17, architecture=I386) == EPERM
    assert decide("clone3", architecture=I386) == ENOSYS


def test_another_architecture_and_x32_are_refused():
    assert decide(0x40000000, architecture=X86_64) == ENOSYS
    program = seccomp.assemble(defaults.seccomp(()), TABLES)
    assert run(program, 0xC00000B7, 0, [0] * 6) == seccomp.RET["SCMP_ACT_KILL_PROCESS"]


def test_masked_paths_are_dockers():
    assert set(defaults.masked_paths(2)) == {
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
        "/sys/firmware", "/sys/devices/system/cpu/cpu0/thermal_throttle",
        "/sys/devices/system/cpu/cpu1/thermal_throttle",
    }  # fmt: skip
    assert set(defaults.READ_ONLY_PATHS) == {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
