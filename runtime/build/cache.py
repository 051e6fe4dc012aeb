"""The build cache: what a step made, under the digest of all that went into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.store import Store


@dataclass(frozen=True)
class CachedStep:
    """What a step left: when it was made (RFC 3339), and the diff ID of its layer, None when it made none."""

    created: str
    diff_id: str | None


def step_key(parent: str, *parts: Any) -> str:
    """Return the key of a step: its parent's key and everything that decides its result, as JSON values."""
    document = json.dumps([parent, *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(document.encode()).hexdigest()


class BuildCache:
    """Cached steps in the store; one whose layer is gone counts as absent."""

    def __init__(self, store: Store, has_layer: Callable[[str], bool]) -> None:
        self._steps = store.collection("build_cache")
        self._has_layer = has_layer

    def find(self, key: str) -> CachedStep | None:
        """Return the step of `key`, or None."""
        document = self._steps.get(key)
        if document is None:
            return None
        diff_id = document["layer"]
        if diff_id is not None and not self._has_layer(diff_id):
            return None
        return CachedStep(document["created"], diff_id)

    def keep(self, key: str, step: CachedStep, instruction: str) -> None:
        """Keep a step; `instruction` is for people who look."""
        self._steps.put(key, {"created": step.created, "layer": step.diff_id, "instruction": instruction})
