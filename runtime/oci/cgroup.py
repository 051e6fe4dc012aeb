"""The cgroups of a container: in version 1 one hierarchy for each controller, in version 2 a single tree."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import signal
import time
from collections.abc import Iterator

from runtime.hints import TYPE_CHECKING
from runtime.linux import bpf, userns
from runtime.oci import device_filter, limits

if TYPE_CHECKING:
    from runtime.oci.types import OciCpu, OciResources

CONTROLLERS = (
    "memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer", "blkio", "hugetlb", "net_cls", "net_prio", "rdma",
)  # fmt: skip
UNIFIED_CONTROLLERS = ("memory", "io", "hugetlb", "rdma", "cpu", "cpuset", "pids")
"""In the order of enabling. The last three are threaded controllers, which processes in the cgroup do not block."""
SYSTEMD = "systemd"
"""Version 1's hierarchy without a controller, "name=systemd", in which systemd keeps its units, in containers too."""
UNIFIED = "unified"
"""Version 2's tree."""
SETTLE_S = 2.0
"""How long to wait for the kernel to freeze or kill the processes of a cgroup."""
PARENTS_LOST = 100
"""Attempts to create a cgroup whose parent may be removed at the same time by others."""
LEAF = "init"
"""The child cgroup to which processes in a delegated root are moved (cgroup-v2, "No Internal Process Constraint")."""


class Cgroups:
    """The cgroup hierarchies of this machine: where each controller is mounted.

    With version 2, paths are relative to the topmost writable cgroup: the root, or the one that was delegated to us.

    `has_systemd_tree`: containers are in version 2's tree, too, if it is mounted next to version 1's controllers (as
    systemd's "hybrid" set-up does): a systemd in the container then keeps its units there. It has no controllers, and
    its cgroups can't be renamed, so those of `rename` do without.
    """

    def __init__(self, *, has_systemd_tree: bool = False) -> None:
        self.v1: dict[str, str] = {}
        self.v2: str | None = None
        self._systemd: str | None = None
        with open("/proc/self/mounts") as mounts:
            for line in mounts:
                _device, point, kind, options = line.split()[:4]
                if kind == "cgroup":
                    for option in options.split(","):
                        if option in CONTROLLERS:
                            self.v1.setdefault(option, point)
                        elif option == f"name={SYSTEMD}" and self._systemd is None:
                            self._systemd = point
                elif kind == "cgroup2" and self.v2 is None:
                    self.v2 = point
        if not self.v1 and self.v2 is None:
            raise OSError(errno.ENOENT, "no cgroup hierarchy is mounted")
        self._mounted_at = str(self.v2)
        self._systemd_tree: str | None = None
        if has_systemd_tree and self.v1 and self.v2 is not None and os.access(self.v2, os.W_OK):
            self._systemd_tree = self.v2
        if self.is_unified:
            self.v2 = _topmost_writable(self._mounted_at)
        is_root = os.geteuid() == 0 and userns.is_initial()
        self.are_ours = is_root or any(os.access(point, os.W_OK) for point in self.v1.values() or [str(self.v2)])
        """Whether cgroups can be created. If not (no root, nothing delegated), containers run without one."""

    @property
    def is_unified(self) -> bool:
        """Whether all controllers are version 2's."""
        return not self.v1

    def directories(self, path: str) -> dict[str, str]:
        """Return the directories of cgroup `path` by controller; {} if cgroups can't be created.

        With version 2 the only key is "unified". With version 1 "systemd" is included if that hierarchy is mounted, and
        "unified" with `has_systemd_tree`.
        """
        if not self.are_ours:
            return {}
        if self.is_unified:
            return {"unified": f"{self.v2}{path}"}
        points = self.v1 if self._systemd is None else {**self.v1, SYSTEMD: self._systemd}
        if self._systemd_tree is not None:
            points = {**points, UNIFIED: self._systemd_tree}
        return {controller: f"{point}{path}" for controller, point in points.items()}

    def shown(self, path: str, has_namespace: bool) -> dict[str, str] | None:
        """Return the directories to bind-mount at the container's /sys/fs/cgroup, by name below it.

        {} if it mounts version 2's tree itself, in a cgroup namespace. None if nothing can be shown: version 1 without
        a cgroup of ours.
        """
        if not self.is_unified:
            return self.directories(path) or None
        return {} if has_namespace else {"unified": self._mounted_at}

    def create(self, path: str, resources: OciResources) -> None:
        """Create cgroup `path` with the limits and device rules of the OCI document's `linux.resources`."""
        for controller, directory in self.directories(path).items():
            _make_directory(directory)
            if self.is_unified:
                self._delegate(path)
                # in a user namespace it is neither permitted nor needed: device nodes can't be created there
                if resources.get("devices") and userns.is_initial():
                    bpf.confine_devices(directory, device_filter.assemble(resources["devices"]))
            elif controller == "cpuset":
                self._inherit_cpuset(path)
        self.update(path, resources)

    def _delegate(self, path: str) -> None:
        """Enable the controllers in every ancestor (version 2: "Top-down Constraint")."""
        directory = str(self.v2)
        for part in path.strip("/").split("/"):
            offered, enabled = (_words(f"{directory}/cgroup.{name}") for name in ("controllers", "subtree_control"))
            for controller in UNIFIED_CONTROLLERS:
                if controller in offered and controller not in enabled:
                    self._enable(directory, controller)
            directory = f"{directory}/{part}"

    def _enable(self, directory: str, controller: str) -> None:
        """Enable `controller` for the children of a cgroup. A failure is reported later, by the limit that needs it."""
        with contextlib.suppress(OSError):
            try:
                _write(f"{directory}/cgroup.subtree_control", f"+{controller}")
            except OSError as error:
                if error.errno != errno.EBUSY or directory != self.v2:
                    raise
                # "No Internal Process Constraint": the root of a cgroup namespace is an ordinary cgroup, so processes
                # in it (we may run in a container) prevent that it has children with controllers
                _move_processes(directory, f"{directory}/{LEAF}")
                _write(f"{directory}/cgroup.subtree_control", f"+{controller}")

    def _inherit_cpuset(self, path: str) -> None:
        """Copy CPUs and memory nodes from parent to child at each level: in version 1 they are empty at first."""
        directory = self.v1["cpuset"]
        for part in path.strip("/").split("/"):
            for name in ("cpuset.cpus", "cpuset.mems"):
                with open(f"{directory}/{name}") as file:
                    inherited = file.read().strip()
                with open(f"{directory}/{part}/{name}") as file:
                    if not file.read().strip():
                        _write(f"{directory}/{part}/{name}", inherited)
            directory = f"{directory}/{part}"

    def update(self, path: str, resources: OciResources) -> None:
        """Set the limits in `resources`; with version 2, device rules are set by `create` only.

        Raises OSError if the machine lacks a controller or file for a limit, or if the kernel rejects its value.
        """
        directories = self.directories(path)
        if not directories:
            return
        form = limits.unified if self.is_unified else limits.legacy
        if not self.is_unified and resources.get("unified"):
            raise OSError(errno.ENOTSUP, "cgroup version 2 settings (unified) need a machine with version 2 alone")
        again = []
        for controller, name, value in form(
            resources, lambda name: any(os.path.exists(f"{one}/{name}") for one in directories.values())
        ):
            directory = directories.get("unified" if self.is_unified else controller)
            if directory is None or not os.path.exists(f"{directory}/{name}"):
                raise OSError(errno.ENOENT, f"this machine's {controller} cgroup controller offers no {name}")
            try:
                _write(f"{directory}/{name}", value)
            except OSError as error:
                if error.errno == errno.EINVAL and name == "cpu.rt_runtime_us":
                    self._share_realtime(path, resources["cpu"])
                elif error.errno != errno.EINVAL or controller != "memory":
                    raise
                again.append((f"{directory}/{name}", value))
        # version 1 requires memory.limit <= memory.memsw.limit at any time: which to write first depends on both
        for file, value in again:
            _write(file, value)

    def _share_realtime(self, path: str, cpu: OciCpu) -> None:
        """Add the real-time share to each ancestor of `path`: in version 1 cgroups start with none."""
        share = cpu["realtimeRuntime"] / (cpu.get("realtimePeriod") or 1_000_000)
        directory = self.v1["cpu"]
        for part in os.path.dirname(path).strip("/").split("/"):
            directory = f"{directory}/{part}"
            period, runtime = (int(_text(f"{directory}/cpu.rt_{name}_us")) for name in ("period", "runtime"))
            _write(f"{directory}/cpu.rt_runtime_us", runtime + math.ceil(share * period))

    def enter(self, path: str, pid: int = 0) -> None:
        """Move process `pid` (0: the caller) into cgroup `path`."""
        for controller, directory in self.directories(path).items():
            try:
                _write(f"{directory}/cgroup.procs", pid)
            except OSError as error:
                if error.errno == errno.ENOENT and controller in (SYSTEMD, UNIFIED) and not self.is_unified:
                    continue  # a container that an earlier version of this program created has none
                if error.errno != errno.EBUSY:
                    raise
                # the container has created cgroups below its own: join the first that has processes
                below = next((folder for folder in _tree(directory) if _words(f"{folder}/cgroup.procs")), None)
                if below is None:
                    raise
                _write(f"{below}/cgroup.procs", pid)

    def descriptor(self, path: str) -> int:
        """Return a descriptor of version 2's cgroup `path` for CLONE_INTO_CGROUP; -1 with version 1."""
        if not (self.is_unified and self.are_ours):
            return -1
        return os.open(f"{self.v2}{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def rename(self, path: str, wanted: str) -> None:
        """Rename cgroup `path` to `wanted`, which has the same parent (only version 1 can do this)."""
        others = self.directories(wanted)
        for controller, directory in self.directories(path).items():
            os.rename(directory, others[controller])

    def freeze(self, path: str, frozen: bool) -> None:
        """Freeze or thaw cgroup `path`; return once the kernel has done so.

        Raises TimeoutError, after thawing it again, if a process can't be stopped; OSError without a cgroup.
        """
        directories = self.directories(path)
        if not directories:
            raise OSError(errno.EOPNOTSUPP, "pausing needs a cgroup, and none is delegated to this user")
        if self.is_unified:
            file, wanted, back = f"{directories['unified']}/cgroup.freeze", str(int(frozen)), "0"
            events = f"{directories['unified']}/cgroup.events"
            _write(file, wanted)
            settled = _await_event(events, f"frozen {wanted}")
        else:
            file, wanted, back = f"{directories['freezer']}/freezer.state", "FROZEN" if frozen else "THAWED", "THAWED"
            settled = _set_until(file, wanted)
        if not settled:
            _write(file, back)
            raise TimeoutError(errno.ETIMEDOUT, "a process of the container can't be stopped: it waits for a device")

    def is_frozen(self, path: str) -> bool:
        """Return whether cgroup `path` is frozen or freezing, by `freeze` or by others."""
        directories = self.directories(path)
        if self.is_unified:
            return _words(f"{directories['unified']}/cgroup.freeze") == ["1"]
        return _words(f"{directories.get('freezer')}/freezer.state") in (["FREEZING"], ["FROZEN"])

    def processes(self, path: str) -> list[int]:
        """Return the PIDs in cgroup `path` and in those that the container created below it."""
        directories = self.directories(path)
        if not directories:
            return []
        top = directories.get("pids") or next(iter(directories.values()))
        return [int(number) for folder in _tree(top) for number in _words(f"{folder}/cgroup.procs")]

    def kill(self, path: str) -> None:
        """Kill every process of cgroup `path`; return once they are gone, or after SETTLE_S."""
        directories = self.directories(path)
        at_once = f"{directories.get('unified')}/cgroup.kill"
        if self.is_unified and os.path.exists(at_once):
            _write(at_once, 1)
            _await_event(f"{directories['unified']}/cgroup.events", "populated 0")
            return
        if "freezer" in directories:
            with contextlib.suppress(OSError):  # version 1: a frozen process does not die of SIGKILL
                _write(f"{directories['freezer']}/freezer.state", "THAWED")
        deadline_s = time.monotonic() + SETTLE_S
        # repeat: a process may fork while the others are killed
        while (pids := self.processes(path)) and time.monotonic() < deadline_s:
            for pid in pids:
                _end(pid, deadline_s)

    def remove(self, path: str) -> None:
        """Kill everything in cgroup `path` and remove it; remove its parent too if that is empty then."""
        if not self.remove_if_empty(path):
            self.kill(path)
            self.remove_if_empty(path)

    def remove_if_empty(self, path: str) -> bool:
        """Like `remove`, without killing or waiting; return False if a process is still in the cgroup."""
        is_removed = True
        for directory in self.directories(path).values():
            is_removed = _remove_tree(directory) and is_removed
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(directory))
        return is_removed

    def offered(self, path: str) -> frozenset[str]:
        """Return the names of the files that a cgroup at `path` would have; creates and removes it."""
        self.create(path, {})
        try:
            return frozenset(name for folder in self.directories(path).values() for name in os.listdir(folder))
        finally:
            self.remove(path)


def _topmost_writable(point: str) -> str:
    """Return the topmost writable ancestor of the caller's cgroup, or that itself; the mount point if none is writable."""
    directory = point
    own = next((line[3:].strip() for line in _text("/proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
    for part in ["", *own.strip("/").split("/")]:
        directory = f"{directory}/{part}" if part else directory
        if os.access(directory, os.W_OK) and os.access(f"{directory}/cgroup.subtree_control", os.W_OK):
            return directory
    return point


def _make_directory(path: str) -> None:
    """Create cgroup directory `path` with its parents; retry if others remove an empty parent at the same time."""
    for _ in range(PARENTS_LOST):
        try:
            os.makedirs(path, exist_ok=True)
        except FileNotFoundError:
            continue
        return
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _move_processes(source: str, target: str) -> None:
    os.makedirs(target, exist_ok=True)
    deadline_s = time.monotonic() + SETTLE_S
    while (pids := _words(f"{source}/cgroup.procs")) and time.monotonic() < deadline_s:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                _write(f"{target}/cgroup.procs", pid)


def _tree(directory: str) -> Iterator[str]:
    """Yield `directory` and every cgroup below it, parents first."""
    return (folder for folder, _, _ in os.walk(directory))


def _remove_tree(directory: str) -> bool:
    """Remove a cgroup and those below it; return False if one has a process."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        below = list(_tree(directory))[1:]
        try:
            for folder in (*reversed(below), directory):
                os.rmdir(folder)
        except OSError:
            return False
    return True


def _await_event(file: str, line: str) -> bool:
    """Wait until cgroup.events contains `line` (kernel: "Un-populated Notification"); return False after SETTLE_S."""
    deadline_s = time.monotonic() + SETTLE_S
    with open(file) as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while line not in events.read().splitlines():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            poll.poll(left_s * 1000)
            events.seek(0)
    return True


def _set_until(file: str, wanted: str) -> bool:
    """Write version 1's freezer.state until it reads back as `wanted`: each write is an attempt, there is no event."""
    deadline_s = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline_s:
        _write(file, wanted)
        if _text(file).strip() == wanted:
            return True
        time.sleep(0.001)
    return False


def _end(pid: int, deadline_s: float) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def _write(path: str, value: object) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(value).encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()


def _words(path: str) -> list[str]:
    try:
        return _text(path).split()
    except OSError:
        return []
