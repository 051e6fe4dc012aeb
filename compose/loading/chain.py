"""How files include and services extend each other, step by step: to find cycles, and to show them. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from compose.loading.model import SourceLocation

MAXIMUM_DEPTH = 100
"""The longest chain of `extends` or `include`."""


class ChainStep(NamedTuple):
    """A step of a chain of `extends` or `include`: from where to where, and the place that says so."""

    place: SourceLocation | None
    source: str
    target: str


def chain_text(links: Sequence[ChainStep]) -> str:
    """Return the further lines that show how a chain leads back to where it was."""
    lines = []
    for link, following in zip(links, (*links[1:], None), strict=True):
        if link.target:
            lines.append(f"{link.place}: {_short(link.source)} includes {_short(link.target)}")
        elif following:
            lines.append(f"{link.place}: {_short(link.source)} extends {_short(following.source)}")
    return "".join(f"\n    {line}" for line in lines)


def _short(name: str) -> str:
    file, _, service = name.partition("\0")
    return service or os.path.basename(file)
