"""The containers of one engine: in memory, in the store, and found by name."""

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
        # its state is that of every new one, and has no record until it changes: one file less to bring to the disk
        self._rows.put(container.id, container.definition(), is_confirmed=_is_lasting(container))
        self._containers[container.id] = container

    def save(self, container: Container, *, is_confirmed: bool = True) -> None:
        """Write the container to the store and wake who waits for it.

        What is not `is_confirmed` may be lost in a power cut: the version before it says enough.
        """
        try:
            if container in self:  # one that is being removed is not to come back
                is_confirmed = is_confirmed and _is_lasting(container)
                self._rows.put(container.id, container.document(), is_confirmed=is_confirmed)
        finally:
            container.notify()

    def save_starting(self, container: Container) -> None:
        """Write that the container runs before it does.

        So the record is on its way to the disk while the process is launched. All that a power cut leaves to know of a
        container is that it was started; an engine that finds it so written and without a process takes it for ended.
        """
        state = replace(container.state, status=RUNNING, pid=0, started_at=rfc3339(time.time_ns()))
        self._rows.put(container.id, container.document(state), is_confirmed=_is_lasting(container))

    def delete(self, container: Container) -> None:
        """Take the container out; its directory, with its record, is gone already."""
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
        """Return the IDs of the containers that have the volume."""
        return [one.id for one in self if any(mount.get("Name") == volume for mount in one.mounts)]

    def user_of_image(self, image_id: str) -> str | None:
        """Return the name of a container that is made of the image or mounts it, or None."""
        for one in self:
            if one.image_id == image_id or any(mount.get("Image") == image_id for mount in one.mounts):
                return one.name
        return None


def _is_lasting(container: Container) -> bool:
    # one that removes itself is gone after a power cut in any case: nothing waits for the disk on its account
    return not container.host.get("AutoRemove")
