"""ID maps of the user namespace: the user itself, and the ranges in subuid(5) and subgid(5). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Extent:
    """A line of an ID map (user_namespaces(7)): `count` IDs from `inside` on are mapped to those from `outside` on."""

    inside: int
    outside: int
    count: int


def extents(own: int, text: str, names: Sequence[str]) -> tuple[Extent, ...]:
    """Return the map for the user with ID `own`: root inside is the user, the ranges follow without gaps.

    `text` is the content of /etc/subuid or /etc/subgid, of which lines for any of `names` (the login name, the ID as text)
    are used. Malformed lines are ignored, as by newuidmap(1). Without a range the map has only `own`.
    """
    found = [Extent(0, own, 1)]
    for line in text.splitlines():
        fields = line.strip().split(":")
        if (
            len(fields) != 3
            or fields[0] not in names
            or not all(one.isascii() and one.isdecimal() for one in fields[1:])
        ):
            continue
        first, count = int(fields[1]), int(fields[2])
        if count > 0:
            found.append(Extent(found[-1].inside + found[-1].count, first, count))
    return tuple(found)


def arguments(rows: Sequence[Extent]) -> list[str]:
    """Return `rows` as arguments of newuidmap(1)."""
    return [str(number) for row in rows for number in (row.inside, row.outside, row.count)]
