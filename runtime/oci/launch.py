"""From an OCI document to a running process: the steps of the forked child.

Once the root has changed nothing may be imported: the module would be read from inside the container. The child never
returns: it ends in execve(2), or its caller writes the error into `report` and exits.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from runtime.errors import KernelError
from runtime.hints import TYPE_CHECKING, NoReturn
from runtime.linux import capability
from runtime.linux import syscalls as linux
from runtime.oci import console, init, rootfs
from runtime.oci.cgroup import Cgroups
from runtime.oci.premade_mount import PremadeMount
from runtime.oci.process import StartError, become

if TYPE_CHECKING:
    from runtime.oci.types import OciNamespace, OciProcess, OciSpec

NAMESPACES = {
    "pid": linux.CLONE_NEWPID, "network": linux.CLONE_NEWNET, "mount": linux.CLONE_NEWNS, "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS, "user": linux.CLONE_NEWUSER, "cgroup": linux.CLONE_NEWCGROUP,
}  # fmt: skip
JOINED = (
    linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
)  # fmt: skip
HIGHEST_DESCRIPTOR = 1 << 20
SYSCTLS = "see sysctl(8) for names and values"
CLONE_ARGS_SIZE_VER2 = 88  # <linux/sched.h>


def clone(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """Fork with clone3(2): return (pid, pidfd) in the parent, (0, -1) in the child.

    `cgroup` is a descriptor of a version 2 directory, in which the child starts (CLONE_INTO_CGROUP); -1 for the caller's.
    """
    pidfd = array.array("i", [-1])
    arguments = linux.CloneArguments(
        flags=flags | linux.CLONE_PIDFD | (linux.CLONE_INTO_CGROUP if cgroup >= 0 else 0),
        pidfd=pidfd.buffer_info()[0],
        cgroup=max(cgroup, 0),
        # clone3(2): with CLONE_PARENT the child has the caller's exit signal, and this must be 0
        exit_signal=0 if flags & linux.CLONE_PARENT else signal.SIGCHLD,
    )
    pid = linux.call("clone3", arguments, CLONE_ARGS_SIZE_VER2)
    return (pid, pidfd[0]) if pid else (0, -1)


LATER = ("mount", "network", "cgroup")
"""Namespaces that the child unshares later. A cgroup namespace's root is the cgroup of the process at that moment."""


def namespace_flags(namespaces: Sequence[OciNamespace]) -> int:
    """Return the flags for clone3(2) of the document's new namespaces, except those in LATER."""
    flags = 0
    for namespace in namespaces:
        if not namespace.get("path") and namespace["type"] not in LATER:
            flags |= NAMESPACES[namespace["type"]]
    return flags


def close_inherited_fds(kept: Iterable[int]) -> None:
    """Close, in a forked child, all inherited descriptors but the standard streams and `kept`.

    Open files can be reached from inside a container through /proc/<pid>/fd, and a pipe has no EOF while any process
    holds its other end.
    """
    signal.set_wakeup_fd(-1)
    close_all_but(kept)


def close_all_but(kept: Iterable[int]) -> None:
    """Close all descriptors but the standard streams and `kept`."""
    low = 3
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = max(low, descriptor + 1)
    os.closerange(low, HIGHEST_DESCRIPTOR)


def forbid_imports() -> None:
    """Make Python import no more modules from files: the file system will be the container's."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "PathFinder"]


def container(
    spec: OciSpec,
    bundle: str,
    stdio: Sequence[int],
    console_socket: socket.socket | None,
    *,
    is_placed: bool = False,
    report: int = -1,
    made: Sequence[PremadeMount] = (),
    cgroups: Cgroups | None = None,
) -> NoReturn:
    """Become the container's init; called in the child of `clone`. Raises if it fails.

    `linux.seccomp` in `spec` is a compiled program (bytes). With `is_placed` the child is already in the container's
    cgroup; `made` are mounts made in advance; `cgroups` are the machine's hierarchies, None to read them. If the
    document names a PID namespace to join, the child continues as a sibling, as in `execute_inside`.
    """
    settings, process = spec["linux"], spec["process"]
    os.setsid()
    _guard()
    forbid_imports()
    unshared = 0
    for namespace in settings["namespaces"]:
        if namespace.get("path"):
            with open(namespace["path"]) as file:
                linux.call("setns", file.fileno(), NAMESPACES[namespace["type"]])
        elif namespace["type"] in LATER:
            unshared |= NAMESPACES[namespace["type"]]
    cgroups = cgroups or Cgroups()
    if not is_placed:
        cgroups.enter(settings["cgroupsPath"])
    linux.call("unshare", unshared)
    if any(namespace["type"] == "pid" and namespace.get("path") for namespace in settings["namespaces"]):
        _continue_as_sibling(report)
    _set_kernel_values(spec)
    leave_keyring()
    hierarchies = cgroups.shown(settings["cgroupsPath"], bool(unshared & linux.CLONE_NEWCGROUP))
    root = rootfs.prepare(spec, bundle, hierarchies, made)
    terminal = console.console_of(root, console_socket, process) if console_socket is not None else -1
    # a working directory that can't be created can't be entered: `become` reports that better
    with contextlib.suppress(KernelError, OSError):
        os.close(root.provide(process.get("cwd") or "/", True))
    rootfs.finish(root, read_only=bool(spec["root"].get("readonly")))
    take_streams(stdio, terminal)
    annotations = spec.get("annotations") or {}
    if annotations.get("skiff.init") == "true":
        init.supervise(process["args"], lambda: restrict_init(process))
    become(process, annotations, settings.get("seccomp"))


def execute_inside(
    pidfd: int,
    cgroup: str | None,
    process: OciProcess,
    annotations: Mapping[str, str],
    filters: bytes | None,
    stdio: Sequence[int],
    console_socket: socket.socket | None,
    report: int,
) -> NoReturn:
    """Become another process of a running container (an exec); called in a forked child.

    The child joins the container's namespaces through its pidfd (setns(2)). Only children of a process that has joined a
    PID namespace are in it, so it clones a sibling, writes the sibling's PID to `report` ("P<pid>") and exits.
    """
    with _running_container():
        if cgroup:
            Cgroups().enter(cgroup)
        _guard()
        forbid_imports()
        _set_oom_score(process)
        leave_keyring()
        _join(pidfd)
    os.close(pidfd)
    _continue_as_sibling(report)
    os.setsid()
    os.chdir("/")
    terminal = -1
    if console_socket is not None:
        ptmx = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(ptmx, True)
        terminal = console.open_console(ptmx, console_socket, process.get("consoleSize"))
    take_streams(stdio, terminal)
    become(process, annotations, filters)


def _join(pidfd: int) -> None:
    """Join the namespaces of process `pidfd`. Raises KernelError."""
    try:
        linux.call("setns", pidfd, JOINED)
    except KernelError as error:
        # without root: that it is in the host's cgroup namespace, as this process is, which may not be joined again
        if error.errno != errno.EPERM:
            raise
        linux.call("setns", pidfd, JOINED & ~linux.CLONE_NEWCGROUP)


def _continue_as_sibling(report: int) -> None:
    """Continue in a new sibling process, which is in the PID namespace that this one has joined (setns(2))."""
    gate, ours = os.pipe2(os.O_CLOEXEC)
    pid, _ = clone(linux.CLONE_PARENT)
    if pid:
        os.write(report, b"P%d\n" % pid)
        os._exit(0)
    # EOF once the old process has exited: the sibling must not write to `report` before its PID is in there
    os.close(ours)
    os.read(gate, 1)
    os.close(gate)


@contextlib.contextmanager
def _running_container() -> Iterator[None]:
    """Raise StartError if the block fails because the container has exited."""
    try:
        yield
    except (OSError, KernelError) as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ESRCH):
            raise StartError("the container is no longer running") from error
        raise


def _guard() -> None:
    """Protect the child, until execve(2), from ptrace and /proc/<pid>/fd of the container's processes."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)


def _set_kernel_values(spec: OciSpec) -> None:
    """Set sysctls, host name and OOM score, while /proc is the host's, which can be trusted."""
    _set_oom_score(spec["process"])
    for name, value in (spec["linux"].get("sysctl") or {}).items():
        try:
            _write("/proc/sys/" + name.replace(".", "/"), value)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            if error.errno == errno.ENOENT:
                raise StartError(f"open sysctl {name} file: {reason}", hint=SYSCTLS) from error
            raise StartError(f'failed to write sysctl {name} = "{value}": {reason}') from error
    if spec.get("hostname"):
        linux.sethostname(spec["hostname"])
    if spec.get("domainname"):
        linux.setdomainname(spec["domainname"])


def _set_oom_score(process: OciProcess) -> None:
    if process.get("oomScoreAdj") is not None:
        _write("/proc/self/oom_score_adj", process["oomScoreAdj"])


def _write(path: str, value: object) -> None:
    with open(path, "w") as file:
        file.write(str(value))


def leave_keyring() -> None:
    """Join a new session keyring: the inherited one belongs to the session that started the engine (keyrings(7))."""
    try:
        linux.call("keyctl", linux.KEYCTL_JOIN_SESSION_KEYRING, None)
    except KernelError as error:
        if error.errno != errno.ENOSYS:  # a kernel without keyrings
            raise


def take_streams(stdio: Sequence[int], terminal: int) -> None:
    """Make `stdio`, or the terminal if it is not -1, the standard streams."""
    if terminal >= 0:
        console.control(terminal)
    for number, descriptor in enumerate(stdio):
        os.dup2(descriptor, number, inheritable=True)


def restrict_init(process: OciProcess) -> None:
    """Reduce init to the container's capabilities; none can be regained by execve(2)."""
    capabilities = process.get("capabilities") or {}
    capability.drop_bounding(capability.mask(capabilities.get("bounding") or ()))
    capability.set_process({**capabilities, "ambient": ()}, capability.permitted())
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
