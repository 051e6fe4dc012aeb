"""Names for containers that were given none."""

from __future__ import annotations

import secrets

_FIRST = ["agile", "amber", "bold", "brave", "bright", "calm", "clear", "crisp", "eager", "early", "fair", "fine", "fresh", "gentle", "glad", "keen", "kind", "light", "lively", "lucid", "mellow", "nimble", "patient", "proud", "quick", "quiet", "ready", "sharp", "smart", "steady", "swift", "warm", "wise"]
_SECOND = ["anchor", "bay", "beacon", "bow", "canoe", "cape", "coast", "compass", "current", "deck", "delta", "dock", "estuary", "ferry", "fjord", "harbour", "haven", "helm", "island", "keel", "lagoon", "lighthouse", "mast", "oar", "pier", "port", "raft", "reef", "rudder", "sail", "shore", "skiff", "tide", "wave", "wharf"]


def generate() -> str:
    """Return a random name of two words."""
    return f"{secrets.choice(_FIRST)}_{secrets.choice(_SECOND)}"
