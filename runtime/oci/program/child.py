r"""The forked child of `create` and `run`: the steps by which it becomes the container's init.

Its protocol with the parent over `sync` (SOCK_SEQPACKET, one packet a message):

    child → parent       parent → child   meaning
    "N"                  "g"              map my user namespace
    "D"                  "g"              move the network devices into my network namespace
    "P<pid>"             "g"              my sibling <pid> continues in my place
    "H"                  "g<pid>"         run the hooks of the runtime's namespace; <pid> is mine on the host
    "R"                  "g" or "g<pid>"  ready; the answer is the start, unless `start` connects later
    "F"                                   with the descriptor of the seccomp listener
    "E<code>\n<text>"                     failed
    "K<code>\n<text>"                     failed, because a hook did

The child exits when the other end is closed, so no child is left that its parent does not know.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Mapping

from runtime.errors import KernelError
from runtime.hints import TYPE_CHECKING, Any, NoReturn
from runtime.linux import syscalls as linux
from runtime.oci import console, init, launch, rootfs
from runtime.oci.cgroup import Cgroups
from runtime.oci.mount_options import PROPAGATION
from runtime.oci.process import PreExec, StartError, become
from runtime.oci.program import confinement, hooks, mappings, scheduling
from runtime.oci.program.document import PERSONALITIES
from runtime.oci.program.namespaces import NAMESPACES, ContainerNamespaces
from runtime.oci.root import Root

if TYPE_CHECKING:
    from runtime.oci.types import OciSpec

NEED_MAP, SIBLING, RUN_HOOKS, READY, FAILED, LISTENER, GO = b"N", b"P", b"H", b"R", b"E", b"F", b"g"
HOOK_FAILED, MOVE_DEVICES = b"K", b"D"
LONGEST_MESSAGE = 1 << 17


class ChildPlan:
    """The document, settings and descriptors that the child needs."""

    def __init__(self, document: OciSpec, bundle: str, namespaces: ContainerNamespaces, sync: socket.socket) -> None:
        self.document = document
        self.bundle = bundle
        self.namespaces = namespaces
        self.sync = sync
        self.cgroups: Cgroups | None = None
        self.cgroup: str | None = None
        self.filters: bytes | None = None
        self.state: dict[str, Any] = {}
        """The state for hooks, without pid and status."""
        self.is_root = True
        """Whether the parent is root, which may write into /proc/<pid> of a non-dumpable child."""
        self.start_socket: socket.socket | None = None
        """The listening socket for `start`; None if the answer to "R" is the start."""
        self.waiting = -1
        """The locked file `waiting`; execve(2) closes it, which releases the lock (see `store`)."""
        self.console: socket.socket | None = None
        self.preserved = 0
        self.pivots = True
        self.has_new_keyring = True

    def state_of(self, answer: bytes, status: str) -> dict[str, Any]:
        """Return the state for hooks; `answer` is the parent's "g<pid>"."""
        return {**self.state, "pid": int(answer.removeprefix(GO)), "status": status}

    def kept(self) -> list[int]:
        """Return the descriptors that the child must keep open."""
        sockets = [one.fileno() for one in (self.sync, self.start_socket, self.console) if one is not None]
        mounts = [entry["mount"] for entry in self.document["mounts"] if "mount" in entry]
        waiting = [self.waiting] if self.waiting >= 0 else []
        preserved = range(3, 3 + self.preserved)
        return [*sockets, *mounts, *waiting, *self.namespaces.joined.values(), *preserved]


class Channel:
    """The child's connection to its parent, and later to `start`."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer

    def send(self, message: bytes) -> None:
        """Send a message."""
        self.peer.send(message)

    def request(self, message: bytes) -> bytes:
        """Send a message and return the answer; exit if the peer is gone."""
        self.peer.send(message)
        return self.receive()

    def receive(self) -> bytes:
        """Return the next message; exit if the peer is gone."""
        answer = self.peer.recv(LONGEST_MESSAGE)
        if not answer:
            os._exit(1)
        return answer


def run(plan: ChildPlan) -> NoReturn:
    """Become the container's init; called in the forked child. On failure, report the error and exit."""
    channel = Channel(plan.sync)
    report_errors(channel, lambda: _become(plan, channel))


def report_errors(channel: Channel, become: Callable[[], None]) -> NoReturn:
    """Call `become`, which ends in execve(2). If it raises or returns, send the error to `channel` and exit."""
    kind, code, text = FAILED, 1, "the process was not executed"
    try:
        become()
    except StartError as error:
        code, text = error.exit_code, str(error)
    except hooks.HookError as error:
        kind, text = HOOK_FAILED, str(error)
    except BaseException as error:  # noqa: BLE001 - the child must never return into the program
        text = str(error) or type(error).__name__
    with contextlib.suppress(OSError):
        channel.send(kind + f"{code}\n{text}".encode()[: LONGEST_MESSAGE - 1])
    os._exit(code)


def _become(plan: ChildPlan, channel: Channel) -> NoReturn:
    launch.close_inherited_fds(plan.kept())
    document, settings, process = plan.document, plan.document["linux"], plan.document["process"]
    os.setsid()
    launch.forbid_imports()
    channel.receive()  # from here on the child is in its cgroup, and its user namespace is mapped
    if plan.is_root:
        _guard()
    _enter_namespaces(plan, channel)
    _guard()
    if "network" in plan.namespaces.new:
        linux.bring_up_loopback()
    if settings.get("netDevices"):
        channel.request(MOVE_DEVICES)
    _set_kernel_values(document)
    if plan.has_new_keyring:
        launch.leave_keyring()
    hierarchies: Mapping[str, str] | None = None
    if plan.cgroups is not None and plan.cgroup is not None:
        hierarchies = plan.cgroups.shown(plan.cgroup, "cgroup" in plan.namespaces.new)
    root = _prepare_root(plan, hierarchies)
    terminal = console.console_of(root, plan.console, process) if plan.console is not None else -1
    # a working directory that can't be created can't be entered: `become` reports that better
    with contextlib.suppress(KernelError, OSError):
        os.close(root.provide(process["cwd"], True))
    _call_hooks(plan, channel)
    label = confinement.label_file(process)
    _enter_root(root, plan)
    launch.take_streams((), terminal)
    if settings.get("personality"):
        linux.call("personality", PERSONALITIES[settings["personality"]["domain"]])
    scheduling.apply(process)
    scheduling.set_memory_policy(settings.get("memoryPolicy"))
    for descriptor in range(3, 3 + plan.preserved):
        os.set_inheritable(descriptor, True)
    last = Waiting(plan, channel, label)
    annotations = document.get("annotations") or {}
    if annotations.get("skiff.init") == "true":
        last.wait()
        last.is_started = True
        init.supervise(process["args"], lambda: launch.restrict_init(process))
    become(process, annotations, plan.filters, last)


class Waiting(PreExec):
    """Waits for `start`, then runs the startContainer hooks and writes the LSM labels."""

    default_limits: Mapping[str, int] = {}

    def __init__(self, plan: ChildPlan, channel: Channel, label: tuple[int, bytes] | None) -> None:
        self._plan = plan
        self._channel = channel
        self._label = label
        self.is_started = False

    def wait(self) -> None:
        """Report that the child is ready, and return when the container is started."""
        if not self.is_started:
            self._wait_for_start()
        if self._label is not None:
            os.write(*self._label)

    def _wait_for_start(self) -> None:
        message = self._channel.request(READY)
        if self._plan.start_socket is not None:
            message = self._accept_start(self._plan.start_socket)
        state = self._plan.state_of(message, "created")
        # the bundle's directory is not in the container's root
        wanted = (self._plan.document.get("hooks") or {}).get("startContainer") or ()
        hooks.run("startContainer", wanted, state, directory=None)

    def _accept_start(self, listener: socket.socket) -> bytes:
        """Wait for a `start` and return its message; one that disconnects without a message was killed."""
        self._plan.sync.close()
        while True:
            peer, _ = listener.accept()
            message = peer.recv(LONGEST_MESSAGE)
            if message.startswith(GO):
                self._channel.peer = peer
                return message
            peer.close()

    def restrict(self, filters: bytes) -> None:
        """Install the filter, and send its listener, if it has one, to the peer."""
        flags = confinement.filter_flags(self._plan.document["linux"].get("seccomp"))
        listener = linux.install_filter(filters, flags)
        if flags & confinement.NEW_LISTENER:
            socket.send_fds(self._channel.peer, [LISTENER], [listener])
            os.close(listener)


def _guard() -> None:
    """Protect this process, in the namespaces it enters, from ptrace and access to /proc/<pid>/fd."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)


def _enter_namespaces(plan: ChildPlan, channel: Channel) -> None:
    """Join the namespaces that the document names, and unshare the new ones that clone3(2) did not create."""
    namespaces = plan.namespaces
    # namespaces that the host's user namespace owns are joined before the user namespace, the others after it
    later = [kind for kind in namespaces.joined if kind != "user" and not _join(namespaces, kind)]
    if "user" in namespaces.joined:
        _join(namespaces, "user", may_fail=False)
    elif namespaces.makes_user_later:
        linux.call("unshare", linux.CLONE_NEWUSER)
        channel.request(NEED_MAP)
    for kind in later:
        _join(namespaces, kind, may_fail=False)
    if "user" in namespaces.joined or ("user" in namespaces.new and mappings.has_root(plan.document["linux"])):
        become_root()
    flags = 0
    for kind in namespaces.new - namespaces.born_into - {"user"}:
        flags |= NAMESPACES[kind]
    if flags:
        linux.call("unshare", flags)
    if "time" in namespaces.new:
        _set_clocks(plan.document["linux"].get("timeOffsets") or {})
    if namespaces.needs_sibling:
        _continue_as_sibling(channel)


def _join(namespaces: ContainerNamespaces, kind: str, *, may_fail: bool = True) -> bool:
    descriptor = namespaces.joined[kind]
    try:
        linux.call("setns", descriptor, NAMESPACES[kind])
    except KernelError as error:
        if may_fail and error.errno == errno.EPERM and "user" in namespaces.joined:
            return False
        raise StartError(f"the {kind} namespace {namespaces.paths[kind]} can't be joined: {error}") from error
    os.close(descriptor)
    return True


def become_root() -> None:
    """Become UID 0 and GID 0 of the user namespace that was entered."""
    with contextlib.suppress(PermissionError):  # setgroups is denied in a namespace that maps one user
        os.setgroups(())
    with contextlib.suppress(OSError):  # a joined namespace may have no root
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def _set_clocks(offsets: Mapping[str, Mapping[str, int]]) -> None:
    """Set the offsets of the new time namespace, which the next child will be in (time_namespaces(7))."""
    lines = [f"{clock} {one.get('secs', 0)} {one.get('nanosecs', 0)}\n" for clock, one in offsets.items()]
    if lines:
        with open("/proc/self/timens_offsets", "w") as file:
            file.write("".join(lines))


def _continue_as_sibling(channel: Channel) -> None:
    """Continue in a new sibling process: only new children are in a joined PID or new time namespace."""
    pid, _ = launch.clone(linux.CLONE_PARENT)
    if pid:
        channel.send(SIBLING + b"%d" % pid)
        os._exit(0)
    channel.receive()


def _set_kernel_values(document: OciSpec) -> None:
    for name, value in (document["linux"].get("sysctl") or {}).items():
        try:
            with open("/proc/sys/" + (name if "/" in name else name.replace(".", "/")), "w") as file:
                file.write(value)
        except OSError as error:
            raise StartError(f"sysctl {name} can't be set to {value!r}: {error.strerror}") from error
    if document.get("hostname"):
        linux.sethostname(document["hostname"])
    if document.get("domainname"):
        linux.setdomainname(document["domainname"])


def _prepare_root(plan: ChildPlan, hierarchies: Mapping[str, str] | None) -> Root:
    document = plan.document
    if "mount" in plan.namespaces.new or "mount" in plan.namespaces.joined:
        return rootfs.prepare(document, plan.bundle, hierarchies)
    if document["mounts"]:
        # as the specification has it, the namespace is the runtime's own; `delete` unmounts them
        root = rootfs.prepare(document, plan.bundle, hierarchies, is_inherited=True)
        root.make_read_only()
        return root
    return Root(os.path.join(plan.bundle, document["root"]["path"]))


def _call_hooks(plan: ChildPlan, channel: Channel) -> None:
    """Let the parent run the hooks of the runtime's namespaces, then run the createContainer hooks."""
    wanted = plan.document.get("hooks") or {}
    if any(wanted.get(kind) for kind in ("prestart", "createRuntime", "createContainer")):
        state = plan.state_of(channel.request(RUN_HOOKS), "creating")
        hooks.run("createContainer", wanted.get("createContainer") or (), state)


def _enter_root(root: Root, plan: ChildPlan) -> None:
    """Make `root` the process's root, then set its propagation."""
    if "mount" not in plan.namespaces.new and "mount" not in plan.namespaces.joined:
        os.fchdir(root.descriptor)
        os.chroot(".")
        return
    read_only = bool(plan.document["root"].get("readonly"))
    if plan.pivots:
        rootfs.finish(root, read_only=read_only)
    else:
        rootfs.finish_without_pivot(root, read_only=read_only)
    propagation = plan.document["linux"].get("rootfsPropagation")
    if propagation:
        linux.mount(None, "/", None, PROPAGATION[propagation])
