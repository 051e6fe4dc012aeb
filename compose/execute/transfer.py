"""How far a pull or push is as a whole, from the engine's messages about each layer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from compose.events import Emit, StepMeasured

TOLD_EVERY_S = 0.1
WINDOW_S = 5.0
"""The speed is that of the last seconds."""
EXISTS = ("Already exists", "Layer already exists", "Mounted from")
DONE = (*EXISTS, "Pull complete", "Pushed")
BEGUN = ("Pulling fs layer", "Preparing", "Waiting")
MOVING = ("Downloading", "Pushing")


@dataclass
class _Layer:
    total_bytes: int = 0
    moved_bytes: int = 0
    is_moved: bool = False
    is_done: bool = False


@dataclass
class Transfer:
    """How far the layers of one image are."""

    layers: dict[str, _Layer] = field(default_factory=dict)
    retrying: str = ""
    _moments: deque[tuple[float, int]] = field(default_factory=deque)

    def take(self, message: Mapping[str, Any], now_s: float) -> bool:
        """Take one of the engine's messages (Docker Engine API, "Create an image"); return whether it is about a layer."""
        status, id = str(message.get("status") or ""), str(message.get("id") or "")
        if not id or not status.startswith((*BEGUN, *MOVING, *DONE, *_OTHERS)):
            return False
        layer = self.layers.setdefault(id, _Layer())
        detail = message.get("progressDetail") or {}
        self.retrying = status.partition(": ")[2] if status.startswith("Retrying") else ""
        layer.total_bytes = int(message.get("size") or layer.total_bytes)
        if status.startswith(MOVING):
            layer.total_bytes = int(detail.get("total") or layer.total_bytes)
            layer.moved_bytes = int(detail.get("current") or 0)
        elif status.startswith(EXISTS):
            layer.total_bytes, layer.moved_bytes = 0, 0
        elif status.startswith(("Verifying", "Download complete", "Extracting", *DONE)):
            layer.moved_bytes = layer.total_bytes
        layer.is_moved = layer.is_moved or not status.startswith((*BEGUN, *MOVING, "Retrying"))
        layer.is_done = layer.is_done or status.startswith(DONE)
        self._moments.append((now_s, self.moved_bytes))
        while len(self._moments) > 2 and now_s - self._moments[1][0] > WINDOW_S:
            self._moments.popleft()
        return True

    @property
    def total_bytes(self) -> int:
        """The bytes of all layers that have to be moved, as far as they are known."""
        return sum(layer.total_bytes for layer in self.layers.values())

    @property
    def moved_bytes(self) -> int:
        """The bytes that were moved."""
        return sum(layer.moved_bytes for layer in self.layers.values())

    def measured(self, kind: str, name: str) -> StepMeasured:
        """Return how far it is."""
        done = sum(layer.is_done for layer in self.layers.values())
        moved = self.moved_bytes, self.total_bytes, self.speed
        return StepMeasured(kind, name, done, len(self.layers), "layers", *moved, self.retrying)

    @property
    def speed(self) -> float:
        """Bytes a second, of the last seconds."""
        if not self._moments:
            return 0.0
        (began_s, before), (now_s, now) = self._moments[0], self._moments[-1]
        return max(0, now - before) / (now_s - began_s) if now_s > began_s else 0.0


def measure(emit: Emit, kind: str, name: str, messages: Iterable[Mapping[str, Any]]) -> None:
    """Take the messages of a pull or push of the image `name`, and emit how far it is. Raises SkiffError."""
    transfer, told_s = Transfer(), 0.0
    for message in messages:
        now_s = time.monotonic()
        if transfer.take(message, now_s) and now_s - told_s >= TOLD_EVERY_S:
            told_s = now_s
            emit(transfer.measured(kind, name))


_OTHERS = ("Verifying", "Download complete", "Extracting", "Retrying")
