"""The named volumes of one engine: a directory each, under the state root."""

from __future__ import annotations

import builtins
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.errors import BadRequestError, ConflictError, NotFoundError
from runtime.paths import Paths
from runtime.store import Store

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
ANONYMOUS_LABEL = "com.docker.volume.anonymous"


@dataclass(frozen=True)
class Volume:
    """A named volume; `options` of the local driver may make it a mount of something else (type, device, o)."""

    name: str
    created: str
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    driver: str = "local"


class Volumes:
    """Volumes over a store."""

    def __init__(self, paths: Paths, store: Store) -> None:
        self._paths = paths
        self._rows = store.collection("volume")

    def path(self, name: str) -> Path:
        """Return where the volume's data are."""
        volume = self.get(name)
        if volume.options.get("device") and "bind" in volume.options.get("o", "").split(","):
            return Path(volume.options["device"])
        return self._paths.volume(name) / "_data"

    def get(self, name: str) -> Volume:
        """Return a volume. Raises NotFoundError."""
        document = self._rows.get(name)
        if document is None:
            raise NotFoundError(f"get {name}: no such volume")
        return Volume(**document)

    def has(self, name: str) -> bool:
        """Whether there is such a volume."""
        return self._rows.get(name) is not None

    def list(self) -> list[Volume]:
        """Return all volumes, by name."""
        return [Volume(**document) for _, document in self._rows.items()]

    def create(
        self,
        name: str | None,
        *,
        driver: str = "local",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Volume:
        """Return the volume `name`, made when it is not there; without a name an anonymous one is made.

        Raises BadRequestError on a name or driver that can't be.
        """
        chosen = dict(labels or {})
        if not name:
            name = secrets.token_hex(32)
            chosen.setdefault(ANONYMOUS_LABEL, "")
        if not _NAME.fullmatch(name):
            raise BadRequestError(
                f'create {name}: "{name}" includes invalid characters for a local volume name',
                'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed; to bind a directory of the host, use an absolute path',
            )
        if driver not in ("", "local"):
            raise BadRequestError(
                f"volume driver {driver!r} is not known", 'volumes here are local: leave "driver" out'
            )
        if self.has(name):
            return self.get(name)
        given = dict(options or {})
        if given.get("device") and "bind" not in given.get("o", "").split(",") and given.get("type") != "tmpfs":
            raise BadRequestError(
                f"volume {name}: only bind and tmpfs devices are supported", "use driver_opts {type: none, o: bind}"
            )
        data = self._paths.volume(name) / "_data"
        data.mkdir(parents=True, exist_ok=True)
        volume = Volume(name, datetime.now(UTC).isoformat().replace("+00:00", "Z"), chosen, given)
        self._rows.put(name, asdict(volume), name)
        return volume

    def remove(self, name: str, users: builtins.list[str]) -> None:
        """Remove the volume and its data. Raises NotFoundError, ConflictError while `users` (containers) have it."""
        self.get(name)
        if users:
            raise ConflictError(
                f"remove {name}: volume is in use - [{', '.join(users)}]", "remove these containers first"
            )
        self._rows.delete(name)
        shutil.rmtree(self._paths.volume(name), ignore_errors=True)

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
