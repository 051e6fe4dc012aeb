"""Which users and groups a user namespace has: the user's own, and ranges given in subuid(5) and subgid(5). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Extent:
    """A row of a map (user_namespaces(7)): `count` IDs that begin with `inside` stand for those from `outside` on."""

    inside: int
    outside: int
    count: int


def extents(own: int, text: str, names: Sequence[str]) -> tuple[Extent, ...]:
    """Return the map of the user whose ID is `own`: root inside is the user, the ranges follow without a gap.

    `text` is the content of /etc/subuid or /etc/subgid; its lines for any of `names` (the login name, the number as
    text) count. Lines that are malformed are passed over, as newuidmap(1) does. Without a range the map is the own ID
    alone.
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
    """Return `rows` as newuidmap(1) takes them."""
    return [str(number) for row in rows for number in (row.inside, row.outside, row.count)]
