"""The containers of one engine, in memory and in the store, with look-up by name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

from runtime.engine.containers.making import names
from runtime.engine.containers.state import RUNNING, Container
from runtime.engine.events import EventBus
from runtime.engine.times import rfc3339
from runtime.errors import BadRequestError, ConflictError, NotFoundError
from runtime.store import Collection

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class ContainerTable:
    """All containers by ID; changes are written to the store before waiters are woken."""

    def __init__(self, rows: Collection, events: EventBus) -> None:
        self._rows = rows
        self._events = events
        self._containers: dict[str, Container] = rows.parsed(Container.of)

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._containers.values()))

    def __contains__(self, container: Container) -> bool:
        return container.id in self._containers

    def get(self, id: str) -> Container | None:
        """Return the container with the full ID `id`, or None."""
        return self._containers.get(id)

    def named(self, name: str) -> Container | None:
        """Return the container with the full name `name`, or None."""
        return next((one for one in self._containers.values() if one.name == name), None)

    def find(self, name: str) -> Container:
        """Return the container with this name, ID or ID prefix. Raises NotFoundError, BadRequestError."""
        if not name:
            raise BadRequestError('invalid name or ID supplied: ""')
        if name in self._containers:
            return self._containers[name]
        if (container := self.named(name.removeprefix("/"))) is not None:
            return container
        found = [container for id, container in self._containers.items() if id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise BadRequestError(f"multiple IDs found with provided prefix: {name}")
        raise NotFoundError(f"No such container: {name}")

    def free_name(self, wanted: str | None) -> str:
        """Return the name `wanted` if it is valid and free, or a generated one. Raises BadRequestError, ConflictError."""
        if wanted:
            if not _NAME.fullmatch(wanted):
                raise BadRequestError(f"Invalid container name ({wanted}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            wanted = wanted.removeprefix("/")
            if (holder := self.named(wanted)) is not None:
                raise ConflictError(
                    f'Conflict. The container name "/{wanted}" is already in use by container "{holder.id}". '
                    "You have to remove (or rename) that container to be able to reuse that name."
                )
            return wanted
        while self.named(chosen := names.generate()) is not None:
            pass
        return chosen

    def add(self, container: Container) -> None:
        """Add a new container."""
        # without its state, which is stored at the first change: one file less to sync
        self._rows.put(container.id, container.definition(), is_confirmed=_is_lasting(container))
        self._containers[container.id] = container

    def save(self, container: Container, *, is_confirmed: bool = True) -> None:
        """Write the container to the store and wake waiters.

        Without `is_confirmed` it is not synced before returning: a power cut may leave the version before.
        """
        try:
            if container in self:  # otherwise it was removed and must not be written again
                is_confirmed = is_confirmed and _is_lasting(container)
                self._rows.put(container.id, container.document(), is_confirmed=is_confirmed)
        finally:
            container.notify()

    def save_starting(self, container: Container) -> None:
        """Store the state "running" before the process is launched.

        So the record is synced while the process is launched. An engine that finds the record, but no process, takes the
        container for exited.
        """
        state = replace(container.state, status=RUNNING, pid=0, started_at=rfc3339(time.time_ns()))
        self._rows.put(container.id, container.document(state), is_confirmed=_is_lasting(container))

    def delete(self, container: Container) -> None:
        """Forget the container, whose directory with its record is already in the trash."""
        self._rows.delete(container.id)
        self._containers.pop(container.id, None)

    def emit(self, container: Container, action: str, **attributes: str) -> None:
        """Emit an event of the container."""
        self._events.emit(
            "container",
            action,
            container.id,
            {**container.labels, "image": container.image_name, "name": container.name, **attributes},
        )

    def users_of_volume(self, volume: str) -> list[str]:
        """Return the IDs of the containers that mount the volume."""
        return [one.id for one in self if any(mount.get("Name") == volume for mount in one.mounts)]

    def user_of_image(self, image_id: str) -> str | None:
        """Return the name of a container that was created from the image or mounts it, or None."""
        for one in self:
            if one.image_id == image_id or any(mount.get("Image") == image_id for mount in one.mounts):
                return one.name
        return None


def _is_lasting(container: Container) -> bool:
    # a container with AutoRemove does not survive a power cut anyway, so it need not be synced
    return not container.host.get("AutoRemove")
