"""The namespaces of a container's process: which it is born into, makes, or joins."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence

from runtime.hints import Any
from runtime.linux import syscalls as linux
from runtime.oci import launch
from runtime.oci.program.errors import ProgramError

NAMESPACES = {**launch.NAMESPACES, "time": linux.CLONE_NEWTIME}
FILES = {
    "pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "user": "user", "cgroup": "cgroup",
    "time": "time",
}  # fmt: skip
"""Names in /proc/<pid>/ns."""
NS_GET_NSTYPE = 0xB703  # <linux/nsfs.h>
LATER = {*launch.LATER, "time"}
"""What the child makes itself: the mounts of the last moment, the cgroup it has entered, clocks that are to be set."""


class ContainerNamespaces:
    """What the document's `linux.namespaces` come to; `joined` has a descriptor a namespace that the document names."""

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self.new = {entry["type"] for entry in entries if not entry.get("path")}
        self.paths: dict[str, str] = {entry["type"]: entry["path"] for entry in entries if entry.get("path")}
        self.joined: dict[str, int] = {}

    @property
    def makes_user_later(self) -> bool:
        """Whether the new user namespace comes after namespaces of the host were joined, which takes the host's rights."""
        return "user" in self.new and bool(self.paths)

    @property
    def needs_sibling(self) -> bool:
        """Whether the child makes namespaces for a sibling to be born into."""
        return "time" in self.new or "pid" in self.paths or (self._is_late and "pid" in self.new)

    @property
    def _is_late(self) -> bool:
        """Whether the new namespaces must wait for the user namespace that is to own them."""
        return self.makes_user_later or "user" in self.paths

    @property
    def born_into(self) -> set[str]:
        """The new namespaces that the child is cloned into."""
        if self._is_late:
            return set()
        # the first process of a PID namespace can have no sibling (clone(2), CLONE_PARENT)
        return self.new - LATER - ({"pid"} if "time" in self.new else set())

    def clone_flags(self) -> int:
        """Return the flags to clone the child with."""
        flags = 0
        for kind in self.born_into:
            flags |= NAMESPACES[kind]
        return flags

    def open(self) -> None:
        """Open the namespaces that are to be joined. Raises ProgramError on what is none of its type."""
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
                raise ProgramError(f"{path} is no {kind} namespace")
            # joining one's own is no change, and refused for user namespaces (setns(2))
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
