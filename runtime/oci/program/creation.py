"""`create`: from a bundle to a container whose process waits for `start`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import time

from runtime.hints import TYPE_CHECKING
from runtime.oci import defaults, launch, mount_table
from runtime.oci.cgroup import Cgroups
from runtime.oci.program import child, confinement, document, ending, hooks, mappings, sources, store
from runtime.oci.program.child import (
    FAILED,
    GO,
    HOOK_FAILED,
    LONGEST_MESSAGE,
    MOVE_DEVICES,
    NEED_MAP,
    READY,
    RUN_HOOKS,
    SIBLING,
)
from runtime.oci.program.errors import ProgramError
from runtime.oci.program.log import Log
from runtime.oci.program.namespaces import ContainerNamespaces
from runtime.oci.program.store import ContainerStore, StoredContainer

if TYPE_CHECKING:
    from runtime.oci.types import OciDeviceRule, OciResources, OciSpec

PARENT_CGROUP = "/skiff.oci"
"""The parent of the cgroups of containers that name none, or a relative one."""
DELEGATED = "/sys/kernel/cgroup/delegate"
CONSOLE: OciDeviceRule = {"allow": True, "type": "c", "major": 5, "minor": 1, "access": "rwm"}
DEFAULT_DEVICES = [*(rule for rule in defaults.DEVICE_RULES if rule["allow"]), CONSOLE]


class CreateRequest:
    """The options of a new container; `config` is the bundle's checked document."""

    def __init__(self, identity: str, bundle: str, config: OciSpec) -> None:
        self.id = identity
        self.bundle = bundle
        self.config = config
        self.console: socket.socket | None = None
        self.preserved = 0
        self.pivots = True
        self.has_new_keyring = True
        self.waits_for_command = True
        """Whether another command, `skiff oci start`, starts the container; otherwise this process does."""

    @property
    def has_terminal(self) -> bool:
        """Whether the process has a terminal."""
        return bool(self.config["process"].get("terminal"))


class Created:
    """A container whose process waits; `channel` is the connection for `start`, if this process starts it."""

    def __init__(self, container: StoredContainer, pid: int, pidfd: int, channel: socket.socket) -> None:
        self.container = container
        self.pid = pid
        self.pidfd = pidfd
        self.channel = channel


def create(kept: ContainerStore, request: CreateRequest, log: Log) -> Created:
    """Create the container of `request`. Raises ProgramError, after removing everything again."""
    config = request.config
    for name in document.drop_unknown_capabilities(config["process"]):
        log.warning(f"unknown capability {name} is left out")
    if not os.path.isdir(os.path.join(request.bundle, config["root"]["path"])):
        raise ProgramError(f"the root filesystem {config['root']['path']} of {request.bundle} is not a directory")
    filters = confinement.compiled(config["linux"].get("seccomp"))
    cgroup = _cgroup_path(request.id, config)
    resources: OciResources = {**(config["linux"].get("resources") or {})}
    if resources.get("devices"):
        # "the runtime MUST also supply" the default devices, whatever the rules deny (OCI runtime spec, "Default Devices")
        resources["devices"] = [*resources["devices"], *DEFAULT_DEVICES]
    created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09}Z"
    record = store.record_of(request.id, request.bundle, config, cgroup, created)
    if config["mounts"] and all(one["type"] != "mount" for one in config["linux"]["namespaces"]):
        record["mounts_before"] = list(mount_table.mounts_below(record["rootfs"]))
    container, lock = kept.add(record)
    forked = None
    try:
        cgroups = _make_cgroup(container, cgroup, resources)
        forked = _Launch(container, request, cgroups, filters)
        return forked.complete()
    except BaseException as error:
        if forked is not None:
            forked.abort()
        ending.destroy(kept, container, log)
        if isinstance(error, OSError):
            raise ProgramError(f"container {request.id} can't be created: {_text(error)}") from error
        raise
    finally:
        os.close(lock)


def _text(error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}" if error.filename else reason


def _cgroup_path(identity: str, config: OciSpec) -> str:
    """Return the path of the container's cgroup below the hierarchies' mounts."""
    wanted: str = config["linux"].get("cgroupsPath") or identity
    if wanted.count(":") == 2:
        raise ProgramError(
            f"linux.cgroupsPath {wanted} is for the systemd cgroup manager, which is not supported",
            "use a path such as /containers/" + identity,
        )
    path = wanted if wanted.startswith("/") else f"{PARENT_CGROUP}/{wanted}"
    if ".." in path.split("/") or not path.strip("/"):
        raise ProgramError(f"linux.cgroupsPath {wanted} must not be empty or contain ..")
    return os.path.normpath("/" + path.strip("/"))


def _make_cgroup(container: StoredContainer, path: str, resources: OciResources) -> Cgroups | None:
    """Create the container's cgroup; None if a user without delegated cgroups asks for no limits."""
    try:
        cgroups = Cgroups(has_systemd_tree=True)
        if cgroups.are_ours:
            if any(os.path.isdir(directory) for directory in cgroups.directories(path).values()) and (
                others := cgroups.processes(path)
            ):
                container.record["cgroup"] = None  # not ours to remove
                raise ProgramError(f"the container's cgroup {path} is not empty: it has {len(others)} processes")
            cgroups.create(path, resources)
            if cgroups.is_unified and os.geteuid() == 0:
                _delegate(container.document, cgroups.directories(path)["unified"])
            return cgroups
    except OSError as error:
        if os.geteuid() == 0:
            raise ProgramError(f"the cgroup {path} can't be created: {_text(error)}") from error
    if any(value for name, value in resources.items() if name != "devices"):
        raise ProgramError("linux.resources: limits need a cgroup, and none is delegated to this user")
    container.record["cgroup"] = None
    container.save()
    return None


def _delegate(config: OciSpec, directory: str) -> None:
    """Chown the cgroup to the container's user if it is mounted writable there (OCI runtime spec, "Cgroup ownership")."""
    is_own = any(one["type"] == "cgroup" and not one.get("path") for one in config["linux"]["namespaces"])
    is_writable = any(
        one.get("source") == "cgroup"
        and one["destination"] == "/sys/fs/cgroup"
        and "ro" not in (one.get("options") or ())
        for one in config["mounts"]
    )
    owner = mappings.host_id(config["linux"].get("uidMappings") or (), config["process"]["user"]["uid"])
    if not is_own or not is_writable or not owner:
        return
    try:
        with open(DELEGATED) as file:
            names = file.read().split()
    except OSError:
        names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
    os.chown(directory, owner, -1)
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.chown(os.path.join(directory, name), owner, -1)


class _Launch:
    """The parent's side of a container's init, from fork until it is ready."""

    def __init__(
        self, container: StoredContainer, request: CreateRequest, cgroups: Cgroups | None, filters: bytes | None
    ) -> None:
        self.container = container
        self.request = request
        self.settings = container.document["linux"]
        self.namespaces = ContainerNamespaces(self.settings["namespaces"])
        self.cgroups = cgroups
        self.pid, self.pidfd = 0, -1
        self.sync, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan = child.ChildPlan(container.document, request.bundle, self.namespaces, theirs)
        plan.cgroups, plan.cgroup, plan.filters = cgroups, container.cgroup, filters
        plan.console, plan.preserved = request.console, request.preserved
        plan.pivots, plan.has_new_keyring = request.pivots, request.has_new_keyring
        plan.state, plan.is_root = container.state(store.CREATING), os.geteuid() == 0
        plan.waiting = os.open(os.path.join(container.directory, store.WAITING), os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(plan.waiting, fcntl.LOCK_EX)
        if request.waits_for_command:
            plan.start_socket = _listen_for_start(container)
        born_in = -1 if cgroups is None or container.cgroup is None else cgroups.descriptor(container.cgroup)
        try:
            self.namespaces.open()
            sources.prepare(container.document)
            self.pid, self.pidfd = launch.clone(self.namespaces.clone_flags(), born_in)
            if self.pid == 0:
                child.run(plan)
        finally:
            self.namespaces.close()
            sources.close(container.document)
            theirs.close()
            os.close(plan.waiting)
            if plan.start_socket is not None:
                plan.start_socket.close()
            if born_in >= 0:
                os.close(born_in)
        if cgroups is not None and container.cgroup is not None and born_in < 0:
            cgroups.enter(container.cgroup, self.pid)
        if "user" in self.namespaces.born_into:
            mappings.write(self.pid, self.settings)
        self._set_oom_score()
        self.sync.send(GO)

    def _set_oom_score(self) -> None:
        score = self.container.document["process"].get("oomScoreAdj")
        if score is not None:
            with open(f"/proc/{self.pid}/oom_score_adj", "w") as file:
                file.write(str(score))

    def complete(self) -> Created:
        """Serve the child's requests until it is ready, then store the container's record."""
        while True:
            message = self.sync.recv(LONGEST_MESSAGE)
            if message.startswith(SIBLING):
                self._take_sibling(int(message[1:]))
            elif message == NEED_MAP:
                mappings.write(self.pid, self.settings)
            elif message == MOVE_DEVICES:
                from runtime.oci.program import devices

                devices.move(self.settings["netDevices"], self.pid)
            elif message == RUN_HOOKS:
                self._run_hooks()
                continue
            elif message == READY:
                return self._keep()
            elif message.startswith((FAILED, HOOK_FAILED)):
                raise ProgramError(_reason(message))
            else:
                raise ProgramError(f"the container's process exited before it was ready{self._how_it_ended()}")
            self.sync.send(GO)

    def _take_sibling(self, pid: int) -> None:
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pid, self.pidfd = pid, os.pidfd_open(pid)

    def _run_hooks(self) -> None:
        """Run the hooks of the runtime's namespaces; then the child runs its own with the same state."""
        self._note_process()
        state = self.container.state(store.CREATING)
        wanted = self.container.document.get("hooks") or {}
        for kind in ("prestart", "createRuntime"):
            hooks.run(kind, wanted.get(kind) or (), state)
        self.sync.send(GO + b"%d" % self.pid)

    def _note_process(self) -> None:
        self.container.record["pid"] = self.pid
        self.container.record["started_at"] = store.started_at(self.pid)
        self.container.save()

    def _keep(self) -> Created:
        self.container.record["is_made"] = True
        self._note_process()
        if self.request.waits_for_command:
            self.sync.send(GO)
            self.sync.close()
        return Created(self.container, self.pid, self.pidfd, self.sync)

    def _how_it_ended(self) -> str:
        """Reap the child, and return how it died, as a part of the error message."""
        status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            return f": {name}" + (" (is its memory limit too low?)" if name == "SIGKILL" else "")
        return ""

    def abort(self) -> None:
        """Kill and reap the child."""
        self.sync.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


def _reason(message: bytes) -> str:
    return message[1:].decode("utf-8", "replace").partition("\n")[2]


def _listen_for_start(container: StoredContainer) -> socket.socket:
    """Return the listening socket for `start`; bound through /proc/self/fd, as unix paths have at most 107 bytes."""
    directory = os.open(container.directory, os.O_PATH | os.O_CLOEXEC)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(f"/proc/self/fd/{directory}/{store.START_SOCKET}")
        listener.listen()
        return listener
    finally:
        os.close(directory)


def start(container: StoredContainer, channel: socket.socket) -> None:
    """Let the process at the other end of `channel` call execve(2). Raises ProgramError if it fails.

    After a HookError, of a startContainer or poststart hook, the caller must destroy the container.
    """
    channel.send(GO + b"%d" % container.record["pid"])
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, LONGEST_MESSAGE, 1)
        if message == child.LISTENER:
            send_listener(container, descriptors[0], container.record["pid"])
        elif message.startswith(HOOK_FAILED):
            raise hooks.HookError(_reason(message))
        elif message.startswith(FAILED):
            raise ProgramError(_reason(message))
        elif not message:
            break
    channel.close()
    hooks.run("poststart", (container.document.get("hooks") or {}).get("poststart") or (), container.state())


def send_listener(container: StoredContainer, listener: int, pid: int) -> None:
    """Send the seccomp listener of process `pid` to the agent (OCI runtime spec, "The Container Process State")."""
    filters = container.document["linux"]["seccomp"]
    process_state = {
        "ociVersion": document.NEWEST,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": filters.get("listenerMetadata") or "",
        "state": container.state(store.CREATED),
    }
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.connect(filters["listenerPath"])
            socket.send_fds(agent, [json.dumps(process_state).encode()], [listener])
    except OSError as error:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise ProgramError(f"the seccomp agent at {filters['listenerPath']}: {error.strerror}") from error
    finally:
        os.close(listener)


def connect(container: StoredContainer) -> socket.socket:
    """Connect to a process that waits for `start`. Raises ProgramError if it is gone."""
    directory = os.open(container.directory, os.O_PATH | os.O_CLOEXEC)
    try:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.connect(f"/proc/self/fd/{directory}/{store.START_SOCKET}")
        return channel
    except OSError as error:
        raise ProgramError(f"container {container.id} can't be started: {error.strerror}") from error
    finally:
        os.close(directory)
