"""The mounts of a mount namespace, as the kernel lists them (proc_pid_mountinfo(5))."""

from __future__ import annotations

from runtime.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class MountInfo:
    """A mount: device as "major:minor", where it is mounted, optional fields ("shared:1"), filesystem, ID in this boot."""

    # not a NamedTuple: importing `typing` would cost the keeper a megabyte
    __slots__ = ("device", "kind", "number", "point", "tags")

    def __init__(self, device: str, point: str, tags: Sequence[str], kind: str, number: int = 0) -> None:
        self.number = number
        self.device = device
        self.point = point
        self.tags = tags
        self.kind = kind


def own_mounts() -> list[MountInfo]:
    """Return the mounts of our own mount namespace, the oldest first."""
    # a path need not be UTF-8; only "\n" ends a line, as "\r" in a path is not escaped
    with open("/proc/self/mountinfo", errors="surrogateescape", newline="\n") as file:
        return [parse(line) for line in file]


def parse(line: str) -> MountInfo:
    """Return the mount of a line: ID, parent, device, root, point, options, tags, "-", type, source, more options."""
    about, _, filesystem = line.partition(" - ")
    number, _, device, _, point, _, *tags = about.split(" ")
    for letter in " \t\n\\":  # escaped as octal numbers; the backslash last
        point = point.replace(f"\\{ord(letter):03o}", letter)
    return MountInfo(device, point, tags, filesystem.partition(" ")[0], int(number))
