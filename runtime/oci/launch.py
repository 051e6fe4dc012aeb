"""From an OCI runtime specification document to a running process: what the forked child does, step by step.

Nothing may be imported once the root has changed: it would be looked up inside the container. The child never returns:
it becomes the process, or writes why not into `report` and exits.
"""

from __future__ import annotations

import array
import fcntl
import os
import resource
import signal
import socket
import struct
import termios
from collections.abc import Mapping, Sequence

from runtime.hints import Any, NoReturn
from runtime.linux import capability, seccomp
from runtime.linux import syscalls as linux
from runtime.oci import init, rootfs, user
from runtime.oci.cgroup import Cgroups

NAMESPACES = {
    "pid": linux.CLONE_NEWPID, "network": linux.CLONE_NEWNET, "mount": linux.CLONE_NEWNS, "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS, "user": linux.CLONE_NEWUSER, "cgroup": linux.CLONE_NEWCGROUP,
}  # fmt: skip
TIOCSPTLCK, TIOCGPTN = 0x40045431, 0x80045430  # <asm-generic/ioctls.h>; Python's termios lacks them
JOINED = (
    linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
)  # fmt: skip
LAST_SIGNAL = 64
NOT_FOUND, NOT_EXECUTABLE = 127, 126


class LaunchError(Exception):
    """Why the process could not be started, and the exit code that stands for it."""

    def __init__(self, message: str, exit_code: int = 128) -> None:
        super().__init__(message)
        self.exit_code = exit_code


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


def container(
    spec: Mapping[str, Any],
    bundle: str,
    stdio: Sequence[int],
    console: socket.socket | None,
    *,
    is_placed: bool = False,
    report: int = -1,
) -> NoReturn:
    """Become the container's process; called in the child that `clone` made, raises on failure.

    `linux.seccomp` of `spec` is the document's, or bytes: the program that it was compiled to. With `is_placed` the
    child is in the container's cgroup already. Where the document names a PID namespace to join, the child clones a
    sibling into it and tells the sibling's number through `report`, as `execute_inside` does.
    """
    settings, process = spec["linux"], spec["process"]
    os.setsid()
    _guard()
    unshared = 0
    for namespace in settings["namespaces"]:
        if namespace.get("path"):
            with open(namespace["path"]) as file:
                linux.call("setns", file.fileno(), NAMESPACES[namespace["type"]])
        elif namespace["type"] in LATER:
            unshared |= NAMESPACES[namespace["type"]]
    cgroups = Cgroups()
    if not is_placed:
        cgroups.enter(settings["cgroupsPath"])
    linux.call("unshare", unshared)
    if any(namespace["type"] == "pid" and namespace.get("path") for namespace in settings["namespaces"]):
        _continue_as_sibling(report)
    hierarchies = {} if cgroups.is_unified else cgroups.directories(settings["cgroupsPath"])
    root = rootfs.prepare(spec, bundle, hierarchies)
    rootfs.pivot(root)
    for name, value in (settings.get("sysctl") or {}).items():
        with open("/proc/sys/" + name.replace(".", "/"), "w") as file:
            file.write(str(value))
    if spec.get("hostname"):
        linux.sethostname(spec["hostname"])
    rootfs.hide(settings.get("maskedPaths") or (), settings.get("readonlyPaths") or ())
    if spec["root"].get("readonly"):
        linux.mount(None, "/", None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)
    if process.get("terminal"):
        _open_console(console, process.get("consoleSize"))
    else:
        for number, descriptor in enumerate(stdio):
            os.dup2(descriptor, number, inheritable=True)
    annotations = spec.get("annotations") or {}
    if annotations.get("skiff.init") == "true":
        init.supervise(lambda: _restrict_init(process))
    become(process, annotations, settings.get("seccomp"))


def _continue_as_sibling(report: int) -> None:
    """Go on in a new process beside this one: a process enters a PID namespace by birth alone (setns(2))."""
    pid, _ = clone(linux.CLONE_PARENT)
    if pid:
        os.write(report, b"P%d\n" % pid)
        os._exit(0)


def _guard() -> None:
    """Keep the container's processes from tracing the child, or reaching what it has open, before it executes."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)


def _restrict_init(process: Mapping[str, Any]) -> None:
    """Leave init the container's capabilities, and nothing that an execution could give back."""
    capabilities = process.get("capabilities") or {}
    capability.drop_bounding(capability.mask(capabilities.get("bounding") or ()), capability.last_capability())
    capability.set_process({**capabilities, "ambient": ()})
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)


def _open_console(console: socket.socket | None, size: Mapping[str, int] | None) -> None:
    """Make a pseudo-terminal of the container's own devpts the process's console and send its other end out."""
    main = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(main, TIOCSPTLCK, struct.pack("i", 0))
    number = struct.unpack("i", fcntl.ioctl(main, TIOCGPTN, struct.pack("i", 0)))[0]
    side = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if size and size.get("height"):
        fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("4H", size["height"], size["width"], 0, 0))
    assert console is not None
    socket.send_fds(console, [b"c"], [main])
    os.close(main)
    for target in range(3):
        os.dup2(side, target, inheritable=True)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def become(
    process: Mapping[str, Any], annotations: Mapping[str, str], filters: Mapping[str, Any] | bytes | None
) -> NoReturn:
    """Take on the limits, identity and restrictions of `process` and execute it."""
    for limit in process.get("rlimits") or ():
        resource.setrlimit(getattr(resource, limit["type"]), (limit["soft"], limit["hard"]))
    if process.get("oomScoreAdj") is not None:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(process["oomScoreAdj"]))
    environment = dict(pair.split("=", 1) for pair in process.get("env") or () if "=" in pair)
    if "skiff.user" in annotations:
        extra = [group for group in annotations.get("skiff.group_add", "").split(",") if group]
        who = user.resolve(annotations["skiff.user"], extra)
        environment.setdefault("HOME", who.home)
    else:
        wanted = process["user"]
        who = user.Identity(wanted["uid"], wanted["gid"], tuple(wanted.get("additionalGids") or ()), "/")
    cwd = process.get("cwd") or "/"
    if not os.path.isdir(cwd):
        os.makedirs(cwd, exist_ok=True)
    capabilities = process.get("capabilities") or {}
    program = process["args"]
    if process.get("noNewPrivileges"):
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    last = capability.last_capability()
    compiled: bytes | None = None
    if filters:
        compiled = filters if isinstance(filters, bytes) else seccomp.compile_for_this_machine(filters)
    if compiled is not None and not process.get("noNewPrivileges"):
        seccomp.install(compiled)
    capability.drop_bounding(capability.mask(capabilities.get("bounding") or ()), last)
    linux.prctl(linux.PR_SET_KEEPCAPS, 1)
    os.setgroups(who.groups)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    os.umask((process.get("user") or {}).get("umask", 0o022))
    if who.uid:
        capabilities = {
            **capabilities,
            "effective": capabilities.get("ambient") or (),
            "permitted": capabilities.get("ambient") or (),
        }
    capability.set_process(capabilities)
    os.chdir(cwd)
    if compiled is not None and process.get("noNewPrivileges"):
        seccomp.install(compiled)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in range(1, LAST_SIGNAL + 1):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            linux.default_signal(number)
    _execute(program, environment)


def _execute(arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    name = arguments[0]
    if "/" in name:
        candidates = [name]
    else:
        folders = environment.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").split(":")
        candidates = [f"{folder or '.'}/{name}" for folder in folders]
    refused: OSError | None = None
    for candidate in candidates:
        try:
            os.execve(candidate, list(arguments), environment)
        except (FileNotFoundError, NotADirectoryError) as error:
            if "/" in name:
                raise LaunchError(f'exec: "{name}": {_reason(error)}', NOT_FOUND) from error
        except OSError as error:
            refused = error
    if refused is not None:
        raise LaunchError(f'exec: "{name}": {_reason(refused)}', NOT_EXECUTABLE) from refused
    raise LaunchError(f'exec: "{name}": executable file not found in $PATH', NOT_FOUND)


def _reason(error: OSError) -> str:
    return (
        f"stat {error.filename}: {os.strerror(error.errno or 0).lower()}"
        if error.errno == 2
        else os.strerror(error.errno or 0).lower()
    )


def execute_inside(
    pidfd: int,
    cgroup: str | None,
    process: Mapping[str, Any],
    annotations: Mapping[str, str],
    filters: Mapping[str, Any] | bytes | None,
    stdio: Sequence[int],
    console: socket.socket | None,
    report: int,
) -> NoReturn:
    """Become another process of a running container; called in a forked child.

    The child joins the container's namespaces through its pidfd (setns(2)), then clones a sibling, as a process enters
    a PID namespace by birth alone; it tells the sibling's number through `report` ("P<pid>") and goes.
    """
    if cgroup:
        Cgroups().enter(cgroup)
    _guard()
    linux.call("setns", pidfd, JOINED)
    _continue_as_sibling(report)
    os.setsid()
    os.chdir("/")
    if process.get("terminal"):
        _open_console(console, process.get("consoleSize"))
    else:
        for number, descriptor in enumerate(stdio):
            os.dup2(descriptor, number, inheritable=True)
    become(process, annotations, filters)
