"""What happens in the engine, told to whoever listens (Docker Engine API, "Monitor events")."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from runtime.engine.filters import labels_match

KEPT_EVENTS = 1024
Event = dict[str, Any]


class EventBus:
    """Tells events to subscribers, and keeps the last ones for `since`."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._subscribers: set[MemoryObjectSendStream[Event]] = set()

    def emit(self, kind: str, action: str, id: str, attributes: Mapping[str, str]) -> None:
        """Tell that `action` happened to the object `id` of `kind` ("container", "network", "volume", "image")."""
        now_ns = time.time_ns()
        event: Event = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": id, "Attributes": dict(attributes)},
            "scope": "local",
            "time": now_ns // 1_000_000_000,
            "timeNano": now_ns,
        }
        if kind == "container":
            event |= {"status": action, "id": id, "from": attributes.get("image", "")}
        self._kept.append(event)
        for subscriber in list(self._subscribers):
            subscriber.send_nowait(event)

    async def subscribe(
        self, *, filters: Mapping[str, Sequence[str]], since_ns: int | None = None, until_ns: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield the events that `filters` let through: kept ones from `since_ns` on, then as they come, to `until_ns`."""
        sender, receiver = anyio.create_memory_object_stream[Event](math.inf)
        past = [event for event in self._kept if since_ns is not None and event["timeNano"] >= since_ns]
        self._subscribers.add(sender)
        try:
            for event in past:
                if (until_ns is None or event["timeNano"] <= until_ns) and matches(event, filters):
                    yield event
            remaining_s = math.inf if until_ns is None else (until_ns - time.time_ns()) / 1e9
            deadline = anyio.current_time() + remaining_s
            while anyio.current_time() < deadline:
                with anyio.move_on_at(deadline) if math.isfinite(deadline) else anyio.CancelScope():
                    event = await receiver.receive()
                    if matches(event, filters):
                        yield event
        finally:
            self._subscribers.discard(sender)
            sender.close()
            receiver.close()


def matches(event: Event, filters: Mapping[str, Sequence[str]]) -> bool:
    """Whether `event` passes Docker's event filters."""
    attributes = event["Actor"]["Attributes"]
    id, kind = event["Actor"]["ID"], event["Type"]
    for key, values in filters.items():
        if not values:
            continue
        if key == "type":
            passed = kind in values
        elif key == "event":
            passed = any(event["Action"] == value or event["Action"].startswith(f"{value}:") for value in values)
        elif key == "label":
            passed = labels_match(attributes, values)
        elif key in ("container", "network", "volume", "image"):
            named = {attributes.get("name"), attributes.get("image") if key == "image" else None}
            if key == "container" and kind != "container":
                passed = attributes.get("container", "") in values
            else:
                passed = kind == key and any(id.startswith(value) or value in named for value in values)
        else:
            passed = True
        if not passed:
            return False
    return True
