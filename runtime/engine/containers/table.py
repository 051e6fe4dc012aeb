"""The containers of one engine: in memory, in the store, and found by name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runtime.engine.containers.making import names
from runtime.engine.containers.state import Container
from runtime.engine.events import EventBus
from runtime.errors import BadRequestError, ConflictError, NotFoundError
from runtime.store import Collection

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class ContainerTable:
    """Every container by its ID; what changes is written to the store before it is told."""

    def __init__(self, rows: Collection, events: EventBus) -> None:
        self._rows = rows
        self._events = events
        self._containers: dict[str, Container] = rows.parsed(Container.of)

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._containers.values()))

    def __contains__(self, container: Container) -> bool:
        return container.id in self._containers

    def get(self, id: str) -> Container | None:
        """Return the container of a full ID, or None."""
        return self._containers.get(id)

    def named(self, name: str) -> Container | None:
        """Return the container of a full name, or None."""
        return next((one for one in self._containers.values() if one.name == name), None)

    def find(self, name: str) -> Container:
        """Return the container that `name` means: a name, an ID, or the beginning of one. Raises NotFoundError."""
        if name in self._containers:
            return self._containers[name]
        if (container := self.named(name.removeprefix("/"))) is not None:
            return container
        found = [container for id, container in self._containers.items() if name and id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise BadRequestError(f"multiple IDs found with provided prefix: {name}")
        raise NotFoundError(f"No such container: {name}")

    def free_name(self, wanted: str | None) -> str:
        """Return the name for a container that is to have `wanted`, or any. Raises BadRequestError, ConflictError."""
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
        """Take a new container in. Raises ConflictError when its name is taken."""
        self._write(container)
        self._containers[container.id] = container

    def save(self, container: Container) -> None:
        """Write the container to the store and wake who waits for it."""
        try:
            if container in self:  # one that is being removed is not to come back
                self._write(container)
        finally:
            container.notify()

    def _write(self, container: Container) -> None:
        # one that removes itself is gone after a power cut in any case: nothing waits for the disk on its account
        self._rows.put(container.id, container.document(), is_confirmed=not container.host.get("AutoRemove"))

    def delete(self, container: Container) -> None:
        """Take the container out; its directory, with its record, is gone already."""
        self._rows.delete(container.id)
        self._containers.pop(container.id, None)

    def tell(self, container: Container, action: str, **attributes: str) -> None:
        """Emit an event of the container."""
        self._events.emit(
            "container",
            action,
            container.id,
            {**container.labels, "image": container.image_name, "name": container.name, **attributes},
        )

    def users_of_volume(self, volume: str) -> list[str]:
        """Return the IDs of the containers that have the volume."""
        return [one.id for one in self if any(mount.get("Name") == volume for mount in one.mounts)]

    def user_of_image(self, image_id: str) -> str | None:
        """Return the name of a container that is made of the image or mounts it, or None."""
        for one in self:
            if one.image_id == image_id or any(mount.get("Image") == image_id for mount in one.mounts):
                return one.name
        return None
