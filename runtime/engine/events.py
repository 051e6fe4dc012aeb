"""The event bus (Docker Engine API, "Monitor events")."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from runtime.engine.filters import labels_match

if TYPE_CHECKING:
    from runtime.image.images import Image

logger = logging.getLogger(__name__)

KEPT_EVENTS = 1024
UNREAD_EVENTS = 4096
"""How many events a subscriber may leave unread before it is disconnected."""
KINDS = ("builder", "container", "daemon", "image", "network", "plugin", "volume")
FILTERS = frozenset(("config", "event", "label", "node", "scope", "secret", "service", "type", *KINDS))
Event = dict[str, Any]


class EventBus:
    """Sends events to subscribers, and keeps the last ones for `since`."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._subscribers: set[MemoryObjectSendStream[Event]] = set()

    @property
    def listeners(self) -> int:
        """The number of subscribers."""
        return len(self._subscribers)

    def emit_image(self, action: str, image: Image, name: str) -> None:
        """Emit an event of an image, which is called `name`, with its labels."""
        self.emit("image", action, image.id, {**(image.defaults.get("Labels") or {}), "name": name})

    def emit(self, kind: str, action: str, id: str, attributes: Mapping[str, str]) -> None:
        """Emit an event: `action` happened to the object `id` of `kind` ("container", "network", "volume", "image")."""
        now_ns = time.time_ns()
        event: Event = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": id, "Attributes": dict(attributes)},
            "scope": "local",
            "time": now_ns // 1_000_000_000,
            "timeNano": now_ns,
        }
        if id and kind in ("container", "image"):  # as in Docker: fields of old API versions
            event |= {"status": action, "id": id}
        if id and kind == "container":
            event["from"] = attributes.get("image", "")
        self._kept.append(event)
        for subscriber in list(self._subscribers):
            try:
                subscriber.send_nowait(event)
            except (anyio.WouldBlock, anyio.BrokenResourceError):
                # it does not read: the client notices the end of its stream, but would not notice missing events
                logger.warning("a subscriber of events that did not read them was disconnected")
                self._subscribers.discard(subscriber)
                subscriber.close()

    def subscribe(
        self, *, filters: Mapping[str, Sequence[str]], since_ns: int | None = None, until_ns: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """Return the events that match `filters`: kept ones from `since_ns` on, then new ones until `until_ns`.

        As of Docker, a filter that is not known lets everything through.
        """
        filters = {key: values for key, values in filters.items() if key in FILTERS}
        return self._events(filters, since_ns, until_ns)

    async def _events(
        self, filters: Mapping[str, Sequence[str]], since_ns: int | None, until_ns: int | None
    ) -> AsyncGenerator[Event, None]:
        sender, receiver = anyio.create_memory_object_stream[Event](UNREAD_EVENTS)
        past = [event for event in self._kept if since_ns is not None and event["timeNano"] >= since_ns]
        self._subscribers.add(sender)
        try:
            for event in past:
                if (until_ns is None or event["timeNano"] <= until_ns) and matches(event, filters):
                    yield event
            remaining_s = math.inf if until_ns is None else (until_ns - time.time_ns()) / 1e9
            deadline = anyio.current_time() + remaining_s
            while anyio.current_time() < deadline:
                new: Event | None = None
                with anyio.CancelScope(deadline=deadline):
                    try:
                        new = await receiver.receive()
                    except anyio.EndOfStream:
                        return
                if new is not None and matches(new, filters):
                    yield new
        finally:
            self._subscribers.discard(sender)
            sender.close()
            receiver.close()


def matches(event: Event, filters: Mapping[str, Sequence[str]]) -> bool:
    """Whether `event` matches Docker's event filters."""
    return all(_passes(event, key, values) for key, values in filters.items() if values)


def _passes(event: Event, key: str, values: Sequence[str]) -> bool:
    attributes, id, kind = event["Actor"]["Attributes"], event["Actor"]["ID"], event["Type"]
    if key == "type":
        return kind in values
    if key == "event":
        return any(event["Action"] == value or event["Action"].startswith(f"{value}:") for value in values)
    if key == "label":
        return labels_match(attributes, values)
    if key == "scope":
        return event["scope"] in values
    if key == "container" and kind != "container":
        return attributes.get("container", "") in values
    if key == "image":
        names = {attributes.get("image"), attributes.get("name") if kind == "image" else None}
        return any(_is_image(value, id if kind == "image" else "", names) for value in values)
    return kind == key and any(id.startswith(value) or value == attributes.get("name") for value in values)


def _is_image(wanted: str, id: str, names: set[str | None]) -> bool:
    """Whether the filter `wanted` is the image's ID, its name, or its name without the tag."""
    if id and (id == wanted or id.removeprefix("sha256:").startswith(wanted.removeprefix("sha256:"))):
        return True
    return any(name in (wanted, f"{wanted}:latest") or _untagged(name) == wanted for name in names if name)


def _untagged(name: str) -> str:
    return name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
