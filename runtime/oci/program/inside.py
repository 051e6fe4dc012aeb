"""`exec`: runs another process in a container's namespaces and cgroup, with its restrictions."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from argparse import Namespace
from collections.abc import Mapping

from runtime.hints import TYPE_CHECKING, NoReturn
from runtime.linux import syscalls as linux
from runtime.oci import console as terminals
from runtime.oci import launch
from runtime.oci.cgroup import Cgroups
from runtime.oci.process import PreExec, become
from runtime.oci.program import child, confinement, document, scheduling, store
from runtime.oci.program.child import FAILED, GO, LISTENER, LONGEST_MESSAGE, SIBLING, Channel
from runtime.oci.program.errors import ProgramError, StateError
from runtime.oci.program.foreground import Foreground
from runtime.oci.program.launching import console, preserved
from runtime.oci.program.log import Log
from runtime.oci.program.namespaces import FILES, NAMESPACES
from runtime.oci.program.store import ContainerStore, StoredContainer

if TYPE_CHECKING:
    from runtime.oci.types import OciProcess, OciUser


def execute(options: Namespace, kept: ContainerStore, log: Log) -> int:
    """Run the process described by `options`; return its exit code, 0 with --detach."""
    container = kept.find(options.id)
    status = container.status()
    if status not in (store.CREATED, store.RUNNING) and not (status == store.PAUSED and options.ignore_paused):
        raise StateError(f"container {container.id} is {status}: no process can be started in it")
    process = _process(options, container)
    for name in document.drop_unknown_capabilities(process):
        log.warning(f"unknown capability {name} is left out")
    count = preserved(options.preserve_fds, os.environ)
    has_terminal = bool(process.get("terminal"))
    connection = console(options.console_socket, has_terminal, attached=not options.detach)
    if options.detach:
        pid, _ = _launch(container, process, connection, count, options.cgroup)
        _write_pid(options.pid_file, pid)
        return 0
    with Foreground(has_terminal, reaps=False) as foreground:
        pid, pidfd = _launch(container, process, foreground.console, count, options.cgroup)
        _write_pid(options.pid_file, pid)
        foreground.take_terminal()
        return foreground.wait(pid, pidfd)


def _write_pid(path: str, pid: int) -> None:
    if path:
        store.write_whole(path, str(pid))


def _process(options: Namespace, container: StoredContainer) -> OciProcess:
    """Return the process: from the file --process, or the container's own as changed by the options."""
    if options.process:
        try:
            with open(options.process, "rb") as file:
                text = file.read()
        except OSError as error:
            raise ProgramError(f"{options.process}: {(error.strerror or str(error)).lower()}") from error
        return document.checked_process(document.decoded(text, options.process), options.process)
    arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    if not arguments:
        raise ProgramError("the command is missing", "`skiff oci exec ID COMMAND ...`, or --process FILE")
    process = {**container.document["process"], "args": arguments, "terminal": options.tty}
    for unwanted in ("consoleSize", "oomScoreAdj"):
        process.pop(unwanted, None)
    if options.cwd:
        process["cwd"] = options.cwd
    process["env"] = [*(process.get("env") or ()), *options.env]
    process["user"] = _user(options.user, process["user"])
    if options.additional_gids:
        process["user"]["additionalGids"] = [*(process["user"].get("additionalGids") or ()), *options.additional_gids]
    if options.cap:
        sets = process.get("capabilities") or {}
        process["capabilities"] = {
            **sets,
            **{kind: [*(sets.get(kind) or ()), *options.cap] for kind in ("bounding", "effective", "permitted")},
            "ambient": [*(sets.get("ambient") or ()), *options.cap],
            "inheritable": [*(sets.get("inheritable") or ()), *options.cap],
        }
    if options.no_new_privs:
        process["noNewPrivileges"] = True
    if options.process_label:
        process["selinuxLabel"] = options.process_label
    if options.apparmor:
        process["apparmorProfile"] = options.apparmor
    return document.checked_process(process, "exec")


def _user(wanted: str, user: OciUser) -> OciUser:
    if not wanted:
        return user.copy()
    uid, colon, gid = wanted.partition(":")
    if not uid.isdigit() or (colon and not gid.isdigit()):
        raise ProgramError(f"--user {wanted} must be UID or UID:GID, as numbers", "the caller must look up names")
    return {"uid": int(uid), "gid": int(gid) if colon else user["gid"]}


def _launch(
    container: StoredContainer, process: OciProcess, connection: socket.socket | None, count: int, below: str
) -> tuple[int, int]:
    """Fork the process; return its PID and pidfd once it has called execve(2). Raises ProgramError."""
    filters = container.document["linux"].get("seccomp")
    program = confinement.compiled(filters)
    inhabitant = container.pid
    try:
        target = os.pidfd_open(inhabitant or -1)
        flags = _namespaces_of(inhabitant)
    except OSError:
        inhabitant = 0
    if not inhabitant or container.pid != inhabitant:
        raise StateError(f"container {container.id} is stopped: no process can be started in it")
    cgroup = container.cgroup
    if cgroup is not None and below:
        cgroup = f"{cgroup}/{below.strip('/')}"
        if ".." in below.split("/") or not all(
            map(os.path.isdir, Cgroups(has_systemd_tree=True).directories(cgroup).values())
        ):
            raise ProgramError(f"--cgroup {below}: the container has no such cgroup")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid, pidfd = launch.clone(0)
    if pid == 0:
        _run(_Execution(container, process, target, flags, cgroup, program, connection, count), Channel(theirs))
    theirs.close()
    os.close(target)
    if connection is not None:
        connection.close()
    try:
        if cgroup is not None:
            Cgroups(has_systemd_tree=True).enter(cgroup, pid)
        ours.send(GO)
        while True:
            message, descriptors, _, _ = socket.recv_fds(ours, LONGEST_MESSAGE, 1)
            if message.startswith(SIBLING):
                os.waitpid(pid, 0)
                os.close(pidfd)
                pid = int(message[1:])
                pidfd = os.pidfd_open(pid)
                score = process.get("oomScoreAdj")
                if score is not None:
                    with open(f"/proc/{pid}/oom_score_adj", "w") as file:
                        file.write(str(score))
                ours.send(GO)
            elif message == LISTENER:
                from runtime.oci.program import creation

                creation.send_listener(container, descriptors[0], pid)
            elif message.startswith(FAILED):
                raise ProgramError(message[1:].decode("utf-8", "replace").partition("\n")[2])
            else:
                return pid, pidfd
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        raise


def _namespaces_of(pid: int) -> int:
    """Return the clone flags of the namespaces in which process `pid` is and we are not."""
    flags = 0
    for kind, file in FILES.items():
        with contextlib.suppress(FileNotFoundError):  # a kernel without time namespaces
            if not os.path.samestat(os.stat(f"/proc/{pid}/ns/{file}"), os.stat(f"/proc/self/ns/{file}")):
                flags |= NAMESPACES[kind]
    return flags


class _Execution:
    """The settings and descriptors that the forked child needs."""

    def __init__(
        self,
        container: StoredContainer,
        process: OciProcess,
        target: int,
        flags: int,
        cgroup: str | None,
        filters: bytes | None,
        console_socket: socket.socket | None,
        count: int,
    ) -> None:
        self.container = container
        self.process = process
        self.target = target
        self.flags = flags
        self.cgroup = cgroup
        self.filters = filters
        self.console = console_socket
        self.preserved = range(3, 3 + count)


def _run(execution: _Execution, channel: Channel) -> NoReturn:
    child.report_errors(channel, lambda: _become(execution, channel))


def _become(execution: _Execution, channel: Channel) -> NoReturn:
    sockets = [channel.peer.fileno(), *([execution.console.fileno()] if execution.console is not None else [])]
    launch.close_inherited_fds([*sockets, execution.target, *execution.preserved])
    process = execution.process
    scheduling.pin(process, "initial")
    launch.forbid_imports()
    channel.receive()  # from here on the child is in the container's cgroup
    scheduling.pin(process, "final")
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    launch.leave_keyring()
    scheduling.apply(process)
    scheduling.set_memory_policy(execution.container.document["linux"].get("memoryPolicy"))
    label = confinement.label_file(process)
    linux.call("setns", execution.target, execution.flags)
    os.close(execution.target)
    pid, _ = launch.clone(linux.CLONE_PARENT)
    if pid:
        channel.send(SIBLING + b"%d" % pid)
        os._exit(0)
    channel.receive()
    os.setsid()
    os.chdir("/")
    if execution.flags & linux.CLONE_NEWUSER:
        child.become_root()
    terminal = -1
    if execution.console is not None:
        ptmx = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(ptmx, True)
        terminal = terminals.open_console(ptmx, execution.console, process.get("consoleSize"))
    launch.take_streams((), terminal)
    for descriptor in execution.preserved:
        os.set_inheritable(descriptor, True)
    become(process, {}, execution.filters, _Last(execution, channel, label))


class _Last(PreExec):
    """Writes the LSM labels and sends the filter's listener."""

    default_limits: Mapping[str, int] = {}

    def __init__(self, execution: _Execution, channel: Channel, label: tuple[int, bytes] | None) -> None:
        self._execution = execution
        self._channel = channel
        self._label = label

    def wait(self) -> None:
        """Write the labels, without waiting."""
        if self._label is not None:
            os.write(*self._label)

    def restrict(self, filters: bytes) -> None:
        """Install the filter."""
        flags = confinement.filter_flags(self._execution.container.document["linux"].get("seccomp"))
        listener = linux.install_filter(filters, flags)
        if flags & confinement.NEW_LISTENER:
            socket.send_fds(self._channel.peer, [LISTENER], [listener])
            os.close(listener)
