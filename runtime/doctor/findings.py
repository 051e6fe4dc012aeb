"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass

NEEDED, WANTED = "missing", "limited"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `state` is "ok", "limited" (works, with less) or "missing" (stacks can't run)."""

    subject: str
    state: str
    detail: str
    cure: str | None = None


def verdict(subject: str, holds: bool, detail: str, otherwise: str, cure: str, state: str = NEEDED) -> Finding:
    """Return a finding: `detail` where it `holds`, else `otherwise`, `state` and `cure`."""
    return Finding(subject, "ok", detail) if holds else Finding(subject, state, otherwise, cure)
