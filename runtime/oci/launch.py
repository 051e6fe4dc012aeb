"""From an OCI runtime specification document to a running process: what the forked child does, step by step.

Once the root has changed nothing may be imported, as it would be looked up inside the container. The child never
returns: it becomes the process, or writes why not into `report` and exits.
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
from runtime.hints import Any, NoReturn
from runtime.linux import capability
from runtime.linux import syscalls as linux
from runtime.oci import console, init, rootfs
from runtime.oci.cgroup import Cgroups
from runtime.oci.premade_mount import PremadeMount
from runtime.oci.process import StartError, become

NAMESPACES = {
    "pid": linux.CLONE_NEWPID, "network": linux.CLONE_NEWNET, "mount": linux.CLONE_NEWNS, "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS, "user": linux.CLONE_NEWUSER, "cgroup": linux.CLONE_NEWCGROUP,
}  # fmt: skip
JOINED = (
    linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
)  # fmt: skip
HIGHEST_DESCRIPTOR = 1 << 20
NO_KEYRINGS = 38


def clone(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """fork() with `flags`: returns (pid, pidfd) in the parent, (0, -1) in the child.

    `cgroup` is a descriptor of the version 2 directory in which the child is born (CLONE_INTO_CGROUP), -1 for the
    caller's.
    """
    pidfd = array.array("i", [-1])
    arguments = linux.CloneArguments(
        flags=flags | linux.CLONE_PIDFD | (linux.CLONE_INTO_CGROUP if cgroup >= 0 else 0),
        pidfd=pidfd.buffer_info()[0],
        cgroup=max(cgroup, 0),
        # clone3(2): a sibling's exit signal is the caller's own
        exit_signal=0 if flags & linux.CLONE_PARENT else signal.SIGCHLD,
    )
    pid = linux.call("clone3", arguments, 88)
    return (pid, pidfd[0]) if pid else (0, -1)


LATER = ("mount", "network", "cgroup")
"""Namespaces that the child makes itself: the mounts of the last moment, and the cgroup it has entered."""


def namespace_flags(namespaces: Sequence[Mapping[str, Any]]) -> int:
    """Return the clone flags of those new namespaces of the document that a process can only be born into."""
    flags = 0
    for namespace in namespaces:
        if not namespace.get("path") and namespace["type"] not in LATER:
            flags |= NAMESPACES[namespace["type"]]
    return flags


def close_inherited_fds(kept: Iterable[int]) -> None:
    """Leave a forked child, of all that its parent has open, the standard streams and `kept`.

    What is open can be reached from inside a container by links to /proc/self/fd, and a pipe does not end while
    somebody has it.
    """
    signal.set_wakeup_fd(-1)
    close_all_but(kept)


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor but the standard streams and `kept`."""
    low = 3
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = max(low, descriptor + 1)
    os.closerange(low, HIGHEST_DESCRIPTOR)


def forbid_imports() -> None:
    """Have Python look up no more modules in files: the files are to become the container's."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "PathFinder"]


def container(
    spec: Mapping[str, Any],
    bundle: str,
    stdio: Sequence[int],
    console_socket: socket.socket | None,
    *,
    is_placed: bool = False,
    report: int = -1,
    made: Sequence[PremadeMount] = (),
    cgroups: Cgroups | None = None,
) -> NoReturn:
    """Become the container's process; called in the child that `clone` made, raises on failure.

    `linux.seccomp` of `spec` is the program that the document's was compiled to. With `is_placed` the child is in the
    container's cgroup already; `made` are mount trees that it made ahead, `cgroups` the machine's hierarchies where it
    knows them. Where the document names a PID namespace to join, the child clones a sibling into it and tells the
    sibling's number through `report`, as `execute_inside` does.
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
    # what can't be made can't be entered either, which is told better
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
    process: Mapping[str, Any],
    annotations: Mapping[str, str],
    filters: bytes | None,
    stdio: Sequence[int],
    console_socket: socket.socket | None,
    report: int,
) -> NoReturn:
    """Become another process of a running container; called in a forked child.

    The child joins the container's namespaces through its pidfd (setns(2)), then clones a sibling, as a process enters
    a PID namespace by birth alone; it tells the sibling's number through `report` ("P<pid>") and goes.
    """
    with _running_container():
        if cgroup:
            Cgroups().enter(cgroup)
        _guard()
        forbid_imports()
        _set_oom_score(process)
        leave_keyring()
        linux.call("setns", pidfd, JOINED)
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


def _continue_as_sibling(report: int) -> None:
    """Go on in a new process beside this one: a process enters a PID namespace by birth alone (setns(2))."""
    gate, ours = os.pipe2(os.O_CLOEXEC)
    pid, _ = clone(linux.CLONE_PARENT)
    if pid:
        os.write(report, b"P%d\n" % pid)
        os._exit(0)
    # the sibling says nothing before its number is told
    os.close(ours)
    os.read(gate, 1)
    os.close(gate)


@contextlib.contextmanager
def _running_container() -> Iterator[None]:
    """Raise StartError where the block fails because the container has ended meanwhile."""
    try:
        yield
    except (OSError, KernelError) as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ESRCH):
            raise StartError("the container is not running any more") from error
        raise


def _guard() -> None:
    """Keep the container's processes from tracing the child, or reaching what it has open, before it executes."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)


def _set_kernel_values(spec: Mapping[str, Any]) -> None:
    """Set what belongs to the new namespaces and to the process; the host's /proc is the one to be trusted."""
    _set_oom_score(spec["process"])
    for name, value in (spec["linux"].get("sysctl") or {}).items():
        _write("/proc/sys/" + name.replace(".", "/"), value)
    if spec.get("hostname"):
        linux.sethostname(spec["hostname"])
    if spec.get("domainname"):
        linux.setdomainname(spec["domainname"])


def _set_oom_score(process: Mapping[str, Any]) -> None:
    if process.get("oomScoreAdj") is not None:
        _write("/proc/self/oom_score_adj", process["oomScoreAdj"])


def _write(path: str, value: object) -> None:
    with open(path, "w") as file:
        file.write(str(value))


def leave_keyring() -> None:
    """Take a session keyring of its own: the one inherited is that of who started the engine (keyrings(7))."""
    try:
        linux.call("keyctl", linux.KEYCTL_JOIN_SESSION_KEYRING, None)
    except KernelError as error:
        if error.errno != NO_KEYRINGS:
            raise


def take_streams(stdio: Sequence[int], terminal: int) -> None:
    """Make `stdio` the standard streams, or the terminal where there is one (not -1)."""
    if terminal >= 0:
        console.control(terminal)
    for number, descriptor in enumerate(stdio):
        os.dup2(descriptor, number, inheritable=True)


def restrict_init(process: Mapping[str, Any]) -> None:
    """Leave init the container's capabilities, and nothing that an execution could give back."""
    capabilities = process.get("capabilities") or {}
    capability.drop_bounding(capability.mask(capabilities.get("bounding") or ()))
    capability.set_process({**capabilities, "ambient": ()}, capability.permitted())
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
