"""Parses the options of a document's mounts (OCI runtime spec, "Linux mount options"). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.linux import syscalls as linux

FLAGS = {
    "ro": (linux.MS_RDONLY, True), "rw": (linux.MS_RDONLY, False),
    "nosuid": (linux.MS_NOSUID, True), "suid": (linux.MS_NOSUID, False),
    "nodev": (linux.MS_NODEV, True), "dev": (linux.MS_NODEV, False),
    "noexec": (linux.MS_NOEXEC, True), "exec": (linux.MS_NOEXEC, False),
    "sync": (linux.MS_SYNCHRONOUS, True), "async": (linux.MS_SYNCHRONOUS, False),
    "dirsync": (linux.MS_DIRSYNC, True), "mand": (linux.MS_MANDLOCK, True), "nomand": (linux.MS_MANDLOCK, False),
    "noatime": (linux.MS_NOATIME, True), "atime": (linux.MS_NOATIME, False),
    "nodiratime": (linux.MS_NODIRATIME, True), "diratime": (linux.MS_NODIRATIME, False),
    "relatime": (linux.MS_RELATIME, True), "norelatime": (linux.MS_RELATIME, False),
    "strictatime": (linux.MS_STRICTATIME, True), "nostrictatime": (linux.MS_STRICTATIME, False),
    "lazytime": (linux.MS_LAZYTIME, True), "nolazytime": (linux.MS_LAZYTIME, False),
    "iversion": (linux.MS_I_VERSION, True), "noiversion": (linux.MS_I_VERSION, False),
    "silent": (linux.MS_SILENT, True), "loud": (linux.MS_SILENT, False),
    "nosymfollow": (linux.MS_NOSYMFOLLOW, True), "symfollow": (linux.MS_NOSYMFOLLOW, False),
    "bind": (linux.MS_BIND, True), "rbind": (linux.MS_BIND | linux.MS_REC, True),
    "remount": (linux.MS_REMOUNT, True), "defaults": (0, True),
}  # fmt: skip
PROPAGATION = {
    "private": linux.MS_PRIVATE, "rprivate": linux.MS_PRIVATE | linux.MS_REC,
    "slave": linux.MS_SLAVE, "rslave": linux.MS_SLAVE | linux.MS_REC,
    "shared": linux.MS_SHARED, "rshared": linux.MS_SHARED | linux.MS_REC,
    "unbindable": linux.MS_UNBINDABLE, "runbindable": linux.MS_UNBINDABLE | linux.MS_REC,
}  # fmt: skip
ATTRIBUTES = (
    (linux.MS_RDONLY, linux.MOUNT_ATTR_RDONLY), (linux.MS_NOSUID, linux.MOUNT_ATTR_NOSUID),
    (linux.MS_NODEV, linux.MOUNT_ATTR_NODEV), (linux.MS_NOEXEC, linux.MOUNT_ATTR_NOEXEC),
    (linux.MS_NODIRATIME, linux.MOUNT_ATTR_NODIRATIME), (linux.MS_NOSYMFOLLOW, linux.MOUNT_ATTR_NOSYMFOLLOW),
)  # fmt: skip
_TIMES = linux.MOUNT_ATTR__ATIME
RECURSIVE = {
    "rro": (linux.MOUNT_ATTR_RDONLY, 0), "rrw": (0, linux.MOUNT_ATTR_RDONLY),
    "rnosuid": (linux.MOUNT_ATTR_NOSUID, 0), "rsuid": (0, linux.MOUNT_ATTR_NOSUID),
    "rnodev": (linux.MOUNT_ATTR_NODEV, 0), "rdev": (0, linux.MOUNT_ATTR_NODEV),
    "rnoexec": (linux.MOUNT_ATTR_NOEXEC, 0), "rexec": (0, linux.MOUNT_ATTR_NOEXEC),
    "rnodiratime": (linux.MOUNT_ATTR_NODIRATIME, 0), "rdiratime": (0, linux.MOUNT_ATTR_NODIRATIME),
    "rnosymfollow": (linux.MOUNT_ATTR_NOSYMFOLLOW, 0), "rsymfollow": (0, linux.MOUNT_ATTR_NOSYMFOLLOW),
    # access times are an enumeration, in which relatime is 0 (mount_setattr(2))
    "rrelatime": (0, _TIMES), "rnoatime": (linux.MOUNT_ATTR_NOATIME, _TIMES),
    "rstrictatime": (linux.MOUNT_ATTR_STRICTATIME, _TIMES), "ratime": (0, _TIMES), "rnorelatime": (0, _TIMES),
    "rnostrictatime": (0, _TIMES),
}  # fmt: skip
"""Options for all mounts of a tree: attributes to set and to clear (mount_setattr(2), AT_RECURSIVE)."""
SUPERBLOCK = (
    (linux.MS_RDONLY, "ro"), (linux.MS_SYNCHRONOUS, "sync"), (linux.MS_DIRSYNC, "dirsync"),
    (linux.MS_MANDLOCK, "mand"), (linux.MS_LAZYTIME, "lazytime"),
)  # fmt: skip
COPY_UP, MAP_IDS, MAP_ALL_IDS = "tmpcopyup", "idmap", "ridmap"
KNOWN = frozenset([*FLAGS, *PROPAGATION, *RECURSIVE, COPY_UP, MAP_IDS, MAP_ALL_IDS])


class MountOptions:
    """The parsed options of one mount.

    `flags` are those of mount(2), `filesystem_options` are the others, as written. `propagation` has changes of
    propagation in order; `recursive` the attributes to set and to clear in the whole tree. `copies_up`: a tmpfs starts
    with a copy of what it covers; `maps_ids`, `maps_all_ids`: the mount, or its whole tree, is ID-mapped.
    """

    __slots__ = ("copies_up", "filesystem_options", "flags", "maps_all_ids", "maps_ids", "propagation", "recursive")

    def __init__(self, options: Sequence[str]) -> None:
        self.flags = 0
        self.propagation: list[int] = []
        self.recursive = (0, 0)
        self.copies_up = COPY_UP in options
        self.maps_all_ids = MAP_ALL_IDS in options
        self.maps_ids = self.maps_all_ids or MAP_IDS in options
        self.filesystem_options: list[str] = []
        for option in options:
            if option in FLAGS:
                bits, on = FLAGS[option]
                self.flags = self.flags | bits if on else self.flags & ~bits
            elif option in PROPAGATION:
                self.propagation.append(PROPAGATION[option])
            elif option in RECURSIVE:
                on_bits, off_bits = RECURSIVE[option]
                so_far_on, so_far_off = self.recursive
                self.recursive = (so_far_on & ~off_bits | on_bits, so_far_off & ~on_bits | off_bits)
            elif option not in (COPY_UP, MAP_IDS, MAP_ALL_IDS):
                self.filesystem_options.append(option)

    @property
    def is_bind(self) -> bool:
        """Whether it is a bind mount."""
        return bool(self.flags & linux.MS_BIND)

    @property
    def parameters(self) -> list[tuple[str, str | None]]:
        """The filesystem's own options as (name, value), None for a flag. An entry may have several, with commas."""
        found: list[tuple[str, str | None]] = []
        for entry in self.filesystem_options:
            for option in [entry] if '"' in entry else entry.split(","):
                key, separator, value = option.partition("=")
                if key:
                    found.append((key, value if separator else None))
        return found

    @property
    def superblock_flags(self) -> list[tuple[str, str | None]]:
        """The flags that the filesystem has besides the mount, as options of fsconfig(2)."""
        return [(name, None) for flag, name in SUPERBLOCK if self.flags & flag]

    @property
    def attributes(self) -> tuple[int, int]:
        """The flags of a bind mount as mount_setattr(2) attributes: (to set, to clear)."""
        attributes = times = 0
        for flag, attribute in ATTRIBUTES:
            if self.flags & flag:
                attributes |= attribute
        if self.flags & (linux.MS_NOATIME | linux.MS_STRICTATIME | linux.MS_RELATIME):
            times = linux.MOUNT_ATTR__ATIME
            if not self.flags & linux.MS_RELATIME:
                attributes |= (
                    linux.MOUNT_ATTR_NOATIME if self.flags & linux.MS_NOATIME else linux.MOUNT_ATTR_STRICTATIME
                )
        return attributes, times
