"""The volumes of one engine, each in a directory below the state root."""

from __future__ import annotations

import builtins
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.errors import BadRequestError, ConflictError, KernelError, NotFoundError
from runtime.linux import syscalls as linux
from runtime.paths import Paths
from runtime.store import Store
from runtime.trash import Trash
from runtime.volume.options import Backing, backing

SHORTEST_NAME, LONGEST_NAME = 2, 255
"""Docker's minimum, and the maximum length of a directory's name (NAME_MAX)."""
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
ANONYMOUS_LABEL = "com.docker.volume.anonymous"


@dataclass(frozen=True)
class Volume:
    """A volume; by the `options` of the local driver (type, device, o) it may be a bind mount or a tmpfs."""

    name: str
    created: str
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    driver: str = "local"

    @classmethod
    def of(cls, name: str, document: Mapping[str, Any]) -> Volume:
        """Return the volume of a stored document; fields of a wrong type are ignored."""
        created, labels, options = (document.get(key) for key in ("created", "labels", "options"))
        return cls(
            name,
            created if isinstance(created, str) else "",
            _texts(labels),
            _texts(options),
        )

    @property
    def backing(self) -> Backing:
        """Its storage."""
        return backing(self.name, self.options)


def _texts(found: object) -> dict[str, str]:
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


_MOUNT_FLAGS = {
    "ro": linux.MS_RDONLY, "nosuid": linux.MS_NOSUID, "nodev": linux.MS_NODEV, "noexec": linux.MS_NOEXEC,
    "noatime": linux.MS_NOATIME, "relatime": linux.MS_RELATIME, "sync": linux.MS_SYNCHRONOUS,
}  # fmt: skip


class Volumes:
    """The volumes, in the store and on disk."""

    def __init__(self, paths: Paths, store: Store, trash: Trash) -> None:
        self._paths = paths
        self._trash = trash
        self._store = store
        self._rows = store.collection("volume")

    def path(self, name: str) -> Path:
        """Return the directory of the volume's data. Raises NotFoundError."""
        found = self.get(name).backing
        return Path(found.device) if found.kind == "bind" else self._paths.volume(name) / "_data"

    def provide(self, name: str) -> Path:
        """Return the directory of the volume's data, ready for use: mount a tmpfs if it is not mounted yet.

        Raises NotFoundError, BadRequestError if the device of a bind does not exist, KernelError.
        """
        volume = self.get(name)
        found, path = volume.backing, self.path(name)
        if found.kind == "bind" and not path.exists():
            raise BadRequestError(
                f"error while mounting volume {name!r}: failed to mount local volume: {path}: no such file or directory",
                "create the directory: it is not created automatically",
            )
        if found.kind == "tmpfs" and not path.is_mount():
            flags = 0
            for word in found.flags:
                flags |= _MOUNT_FLAGS.get(word, 0)
            linux.mount("tmpfs", str(path), "tmpfs", flags, ",".join(found.settings) or None)
        return path

    def mark_data(self) -> None:
        """Have files that were copied into a volume synced by the next flush of the store."""
        self._store.mark_trees()

    def is_read_only(self, name: str) -> bool:
        """Whether it is read-only by its options. Raises NotFoundError."""
        return self.get(name).backing.is_read_only

    def get(self, name: str) -> Volume:
        """Return a volume. Raises NotFoundError."""
        document = self._rows.get(name)
        if document is None:
            raise NotFoundError(f"get {name}: no such volume")
        return Volume.of(name, document)

    def has(self, name: str) -> bool:
        """Whether the volume exists."""
        return name in self._rows

    def list(self) -> list[Volume]:
        """Return all volumes, sorted by name."""
        return [Volume.of(name, document) for name, document in self._rows.items()]

    def create(
        self,
        name: str | None,
        *,
        driver: str = "local",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Volume:
        """Return the volume `name`, created if it does not exist; without a name create an anonymous volume.

        Raises BadRequestError on an invalid name, driver or option.
        """
        chosen = dict(labels or {})
        if not name:
            name = secrets.token_hex(32)
            chosen.setdefault(ANONYMOUS_LABEL, "")
        if len(name) < SHORTEST_NAME:
            raise BadRequestError(
                f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
            )
        if not _NAME.fullmatch(name):
            raise BadRequestError(
                f'create {name}: "{name}" includes invalid characters for a local volume name, only '
                '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
            )
        if len(name) > LONGEST_NAME:
            raise BadRequestError(f"create {name[:40]}…: a volume's name has at most {LONGEST_NAME} characters")
        if driver not in ("", "local"):
            raise BadRequestError(f"volume driver {driver!r} is not supported", 'omit "driver": all volumes are local')
        if self.has(name):
            return self.get(name)
        given = dict(options or {})
        backing(name, given)
        place = self._paths.volume(name)
        place.mkdir(parents=True, exist_ok=True)
        volume = Volume(name, datetime.now(UTC).isoformat().replace("+00:00", "Z"), chosen, given)
        self._rows.put(
            name, asdict(volume)
        )  # before `_data`: a directory with data and no record is taken for a volume
        (place / "_data").mkdir(exist_ok=True)
        return volume

    def remove(self, name: str, users: builtins.list[str]) -> None:
        """Remove the volume and its data. Raises NotFoundError, ConflictError if there are `users` (container IDs)."""
        self.get(name)
        if users:
            raise ConflictError(
                f"remove {name}: volume is in use - [{', '.join(users)}]", "remove these containers first"
            )
        data = self._paths.volume(name) / "_data"
        if data.is_mount():
            with suppress(KernelError):
                linux.umount2(str(data), linux.MNT_DETACH)
        self._trash.throw(self._paths.volume(name))
        self._rows.delete(name)

    def document(self, volume: Volume) -> dict[str, Any]:
        """Return Docker's Volume object."""
        return {
            "Name": volume.name,
            "Driver": volume.driver,
            "Mountpoint": str(self.path(volume.name)),
            "CreatedAt": volume.created,
            "Labels": volume.labels or None,
            "Options": volume.options or None,
            "Scope": "local",
        }
