"""Children forked in advance for the next containers: in new namespaces and cgroups, with mounts already made."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from runtime.errors import KernelError
from runtime.hints import TYPE_CHECKING, Any
from runtime.keeper import wire
from runtime.keeper.emptying import CgroupEmptier
from runtime.keeper.launches import Launch, read, report_pipe, run_child
from runtime.keeper.managed_process import Stdio
from runtime.linux import pidfd as pidfds
from runtime.oci import launch
from runtime.oci.cgroup import Cgroups
from runtime.oci.prepared import make_trees
from runtime.oci.root import RootError

if TYPE_CHECKING:
    from runtime.oci.types import OciDeviceRule, OciPreforkTemplate, OciResources

READY = b"r"
STANDBY = "standby-"
POOL_SIZE = 2
"""How many wait: one becomes ready in about the time in which a container is created, started and removed."""
EVERY_DEVICE: OciDeviceRule = {"allow": True, "access": "rwm"}
NAMESPACES = {"pid", "ipc", "uts"}


class PreforkedChild:
    """A child that waits, inside a cgroup of its own, to become the next container's process.

    With cgroup version 1 a process that enters a cgroup waits for the kernel: cgroup_threadgroup_rwsem is a percpu
    lock, and its first writer waits for an RCU grace period (6 to 16 ms). This child has waited already; its cgroup is
    renamed to the container's. Version 2 needs none: clone3(2) creates the child inside its cgroup.
    """

    def __init__(self, cgroups: Cgroups, parent: str, number: int, template: OciPreforkTemplate, place: str) -> None:
        self.cgroup = f"{parent}/{STANDBY}{os.getpid()}-{number}"
        self._cgroups = cgroups
        self._has_entered = False
        self._template = template
        self._devices: list[Any] = template.get("devices") or []
        self._job, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid, self.pidfd = launch.clone(launch.namespace_flags([{"type": one} for one in NAMESPACES]))
        if self.pid == 0:
            try:
                self._wait(theirs, place)
            except BaseException as error:  # noqa: BLE001 - the child must never return into the keeper's loop
                os.write(2, f"skiff keeper: the standby failed: {error!r}\n".encode())
            os._exit(128)
        theirs.close()

    def _wait(self, job: socket.socket, place: str) -> None:
        launch.close_inherited_fds([job.fileno()])
        self._cgroups.create(self.cgroup, {"devices": self._devices})
        self._cgroups.enter(self.cgroup)
        try:
            made = make_trees(self._template, place, self._cgroups.shown(self.cgroup, True))
        except (KernelError, OSError, RootError):  # the launch makes the mounts itself, and reports the error
            made = []
        job.send(READY)
        try:
            message, descriptors = wire.receive(job)
        except ConnectionResetError:  # the keeper retired this child before it read READY
            message, descriptors = None, []
        job.close()
        if message is None:
            os._exit(0)
        report, spec, *stdio = descriptors
        console = None
        if message["terminal"]:
            console = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=stdio.pop())
        run_child(
            report,
            lambda: launch.container(
                read(spec), message["bundle"], stdio, console, is_placed=True, made=made, cgroups=self._cgroups
            ),
        )

    def is_ready(self) -> bool:
        """Whether the child has entered its cgroup and waits for a container."""
        if not self._has_entered:
            try:
                # read, not peeked at: closing a socket with unread data discards what was sent to the peer
                self._has_entered = self._job.recv(1, socket.MSG_DONTWAIT) == READY
            except OSError:
                return False
        return self._has_entered

    def fits(self, message: Mapping[str, Any]) -> bool:
        """Whether the container of `message` needs the child's namespaces and the same parent cgroup."""
        made = {one["type"] for one in message["namespaces"] if not one.get("path")}
        return (
            made - {"mount", "cgroup", "network"} == NAMESPACES
            and "user" not in {one["type"] for one in message["namespaces"]}
            and os.path.dirname(message["cgroup"]) == os.path.dirname(self.cgroup)
        )

    def move(self, cgroup: str, resources: OciResources) -> None:
        """Rename the child's cgroup to `cgroup` and set the container's limits. Raises OSError."""
        self._cgroups.rename(self.cgroup, cgroup)
        self.cgroup = cgroup
        has, wanted = self._devices, resources.get("devices") or []
        more = wanted[len(has) :] if wanted[: len(has)] == has else [EVERY_DEVICE, *wanted]
        self._cgroups.update(cgroup, {**resources, "devices": more})

    def become(self, message: Mapping[str, Any], spec: int, stdio: Stdio) -> Launch:
        """Let the child become the container of `message`. Raises OSError if the child is gone."""
        report, report_child = report_pipe()
        consoles = [] if stdio.console_child is None else [stdio.console_child.fileno()]
        try:
            wire.send(
                self._job,
                {"bundle": message["bundle"], "terminal": bool(consoles)},
                [report_child, spec, *stdio.inner, *consoles],
            )
        except OSError:
            os.close(report)
            raise
        finally:
            os.close(report_child)
        self._job.close()
        stdio.close_inner()
        return Launch(message, self.pid, self.pidfd, report, stdio, self.cgroup)

    def retire(self, emptier: CgroupEmptier) -> None:
        """Kill the child; its cgroup is removed once it is dead, as it may still be about to create it."""
        self._job.close()
        pidfds.kill(self.pidfd)
        emptier.remove(self.cgroup, once_ended=self.pidfd)
        os.close(self.pidfd)


class PreforkPool:
    """The children that wait. There are none with cgroup version 2, or before an engine has sent a template."""

    def __init__(self, cgroups: Cgroups, place: str, emptier: CgroupEmptier) -> None:
        """`place` is a directory on which the children mount, each in its own mount namespace."""
        self._cgroups = cgroups
        self._place = place
        self._emptier = emptier
        self._waiting: list[PreforkedChild] = []
        self._parent = ""
        self._template: OciPreforkTemplate = {}
        self._made = 0
        self._may_be = False

    def prepare_for(self, parent: str, template: OciPreforkTemplate) -> None:
        """Fork children for containers that suit `template` and have their cgroups in `parent`."""
        self._parent, self._template = parent, template
        if not self._waiting and not self._cgroups.is_unified:
            self._remove_left_over()
        self._may_be = not self._cgroups.is_unified

    @property
    def are_wanted(self) -> bool:
        """Whether fewer wait than should."""
        return self._may_be and len(self._waiting) < POOL_SIZE

    @property
    def cgroup_paths(self) -> set[str]:
        """The cgroups of the waiting children."""
        return {one.cgroup for one in self._waiting}

    def add(self) -> None:
        """Fork one more. If that fails, no other is forked before the next launch (`take`)."""
        try:
            self._made += 1
            self._waiting.append(PreforkedChild(self._cgroups, self._parent, self._made, self._template, self._place))
        except BaseException:
            self._may_be = False
            raise

    def take(self, message: Mapping[str, Any]) -> PreforkedChild | None:
        """Remove and return a child that is ready and suits the container of `message`, if there is one."""
        self._may_be = bool(self._parent) and not self._cgroups.is_unified
        found = next((one for one in self._waiting if one.is_ready() and one.fits(message)), None)
        if found is not None:
            self._waiting.remove(found)
        return found

    def lose(self, pid: int) -> bool:
        """Handle the exit of process `pid`; return whether it was one of the children."""
        lost = [one for one in self._waiting if one.pid == pid]
        for one in lost:
            self._waiting.remove(one)
            one.retire(self._emptier)
            self._may_be = False  # until the next launch: a child that fails is not forked over and over
        return bool(lost)

    def retire(self) -> None:
        """Kill all of them, and fork no others before the next `prepare_for`."""
        self._may_be = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.retire(self._emptier)

    def _remove_left_over(self) -> None:
        """Remove cgroups of the preforked children of an earlier keeper, which was killed."""
        parents = self._cgroups.directories(self._parent).values()
        names = {name for parent in parents if os.path.isdir(parent) for name in os.listdir(parent)}
        for name in names:
            if name.startswith(STANDBY):
                self._emptier.remove(f"{self._parent}/{name}")
