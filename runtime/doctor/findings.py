"""The result of one check of the doctor."""

from __future__ import annotations

from dataclasses import dataclass

NEEDED, WANTED = "missing", "limited"


@dataclass(frozen=True)
class Finding:
    """The result of a check: `state` is "ok", "limited" (works with restrictions) or "missing" (stacks can't run)."""

    subject: str
    state: str
    detail: str
    cure: str | None = None


def verdict(subject: str, holds: bool, detail: str, otherwise: str, cure: str, state: str = NEEDED) -> Finding:
    """Return the finding "ok" with `detail` if it `holds`, else `state` with `otherwise` and `cure`."""
    return Finding(subject, "ok", detail) if holds else Finding(subject, state, otherwise, cure)
