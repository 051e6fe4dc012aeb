"""The build cache: what a step made, under the digest of all that went into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.image.images import now
from runtime.store import Store


@dataclass(frozen=True)
class CachedStep:
    """What a step left: when it was made (RFC 3339), and the diff ID of its layer, None when it made none."""

    created: str
    diff_id: str | None


@dataclass(frozen=True)
class CachedUnder:
    """A cached step with its key."""

    key: str
    step: CachedStep


INLINE = "skiff.build.cache.v1"
"""Member of an image configuration with the steps that made it: who pulls the image can build from there."""


def inline_cache(steps: Iterable[CachedUnder]) -> list[dict[str, Any]]:
    """Return `steps` as an image configuration lists them."""
    return [{"key": one.key, "created": one.step.created, "layer": one.step.diff_id} for one in steps]


def step_key(parent: str, *parts: Any) -> str:
    """Return the key of a step: its parent's key and everything that decides its result, as JSON values."""
    document = json.dumps([parent, *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(document.encode()).hexdigest()


class BuildCache:
    """Cached steps in the store; one whose layer is gone counts as absent."""

    def __init__(self, store: Store, has_layer: Callable[[str], bool]) -> None:
        self._steps = store.build_cache
        self._has_layer = has_layer
        self._used: dict[str, str] = {}

    def find(self, key: str) -> CachedStep | None:
        """Return the step of `key`, or None."""
        document = self._steps.get(key)
        if document is None:
            return None
        diff_id = document["layer"]
        if diff_id is not None and not self._has_layer(diff_id):
            return None
        self._use(key, document)
        return CachedStep(document["created"], diff_id)

    def _use(self, key: str, document: Mapping[str, Any]) -> None:
        # on the disk once a day: a build that finds all its steps writes nothing
        moment = now()
        if moment[:10] > (document.get("used") or document["created"])[:10]:
            self._steps.put(key, {**document, "used": moment})
        self._used[key] = moment

    def last_used(self, key: str) -> str:
        """Return when the step of `key` was made or found last (RFC 3339), of engines before to the day."""
        document = self._steps.get(key) or {}
        return self._used.get(key) or document.get("used") or document.get("created") or ""

    def steps(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return all steps with their keys, the one that was not used for longest first."""
        return sorted(self._steps.items(), key=lambda step: self.last_used(step[0]))

    def forget(self, key: str) -> None:
        """Remove the step of `key`."""
        self._steps.delete(key)
        self._used.pop(key, None)

    def keep(self, key: str, step: CachedStep, instruction: str) -> None:
        """Keep a step, unless it is here as it is; `instruction` is for people who look."""
        document = {"created": step.created, "layer": step.diff_id, "instruction": instruction}
        known = self._steps.get(key) or {}
        if {name: known.get(name) for name in document} != document:
            self._steps.put(key, document)
        self._used[key] = now()

    def learn(self, config: Mapping[str, Any]) -> int:
        """Take over the steps that an image configuration lists and whose layers are here; return how many."""
        count = 0
        for entry in config.get(INLINE) or ():
            if not isinstance(entry, Mapping):
                continue
            key, created, layer = entry.get("key"), entry.get("created"), entry.get("layer")
            if not isinstance(key, str) or not isinstance(created, str) or not isinstance(layer, str | None):
                continue
            if self.find(key) is None and (layer is None or self._has_layer(layer)):
                self.keep(key, CachedStep(created, layer), "taken over from an image")
                count += 1
        return count

    def was_done(self, identity: str, text: str) -> bool:
        """Whether a step without a layer was done before, by the digest of all that led there; remember it."""
        key = step_key("configured", identity)
        if self._steps.get(key) is not None:
            return True
        self.remember(key, {"created": now(), "instruction": text})
        return False

    def remember(self, key: str, document: Mapping[str, Any]) -> None:
        """Keep what else a build wants to know again, under a key of its own kind."""
        self._steps.put(key, {"layer": None, **document})

    def recall(self, key: str) -> Mapping[str, Any]:
        """Return what `remember` kept; empty when it is nothing."""
        return self._steps.get(key) or {}
