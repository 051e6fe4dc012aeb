"""A container's namespaces: which are created by clone3(2), which are unshared later, which are joined."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence

from runtime.hints import TYPE_CHECKING
from runtime.linux import syscalls as linux
from runtime.oci import launch
from runtime.oci.program.errors import ProgramError

if TYPE_CHECKING:
    from runtime.oci.types import OciNamespace

NAMESPACES = {**launch.NAMESPACES, "time": linux.CLONE_NEWTIME}
FILES = {
    "pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "user": "user", "cgroup": "cgroup",
    "time": "time",
}  # fmt: skip
"""Names in /proc/<pid>/ns."""
NS_GET_NSTYPE = 0xB703  # <linux/nsfs.h>
LATER = {*launch.LATER, "time"}
"""Namespaces that the child unshares later, see `launch.LATER`; clock offsets are set before the first process enters."""


class ContainerNamespaces:
    """The parsed `linux.namespaces`: `new` types, `paths` of those to join, and after `open` their descriptors, `joined`."""

    def __init__(self, entries: Sequence[OciNamespace]) -> None:
        self.new = {entry["type"] for entry in entries if not entry.get("path")}
        self.paths: dict[str, str] = {entry["type"]: entry["path"] for entry in entries if entry.get("path")}
        self.joined: dict[str, int] = {}

    @property
    def makes_user_later(self) -> bool:
        """Whether the user namespace is created after others were joined, which needs the caller's capabilities."""
        return "user" in self.new and bool(self.paths)

    @property
    def needs_sibling(self) -> bool:
        """Whether the child must continue as a sibling to be in its PID or time namespace."""
        return "time" in self.new or "pid" in self.paths or (self._is_late and "pid" in self.new)

    @property
    def _is_late(self) -> bool:
        """Whether the new namespaces are created later, since the user namespace that owns them is."""
        return self.makes_user_later or "user" in self.paths

    @property
    def born_into(self) -> set[str]:
        """The new namespaces that clone3(2) creates."""
        if self._is_late:
            return set()
        # init of a PID namespace can't have a sibling (clone(2), CLONE_PARENT)
        return self.new - LATER - ({"pid"} if "time" in self.new else set())

    def clone_flags(self) -> int:
        """Return the flags for clone3(2)."""
        flags = 0
        for kind in self.born_into:
            flags |= NAMESPACES[kind]
        return flags

    def open(self) -> None:
        """Open the namespaces to join. Raises ProgramError if one is not of its type."""
        for kind, path in self.paths.items():
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as error:
                raise ProgramError(f"the {kind} namespace {path}: {(error.strerror or '').lower()}") from error
            self.joined[kind] = descriptor
            try:
                is_one = fcntl.ioctl(descriptor, NS_GET_NSTYPE) == NAMESPACES[kind]
            except OSError:
                is_one = False
            if not is_one:
                raise ProgramError(f"{path} is not a {kind} namespace")
            # joining one's own namespace changes nothing, and fails for user namespaces (setns(2))
            if os.path.samestat(os.fstat(descriptor), os.stat(f"/proc/self/ns/{FILES[kind]}")):
                os.close(self.joined.pop(kind))
                if kind == "user":
                    raise ProgramError(f"{path} is the user namespace of the caller", "leave the namespace out")
                if kind == "mount":
                    raise ProgramError(f"{path} is the mount namespace of the caller: its root would be replaced")

    def close(self) -> None:
        """Close what was opened."""
        for descriptor in self.joined.values():
            os.close(descriptor)
        self.joined.clear()
