"""Published ports for people, as the docker command shows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def ports(listed: Sequence[Mapping[str, Any]]) -> str:
    """Return the `Ports` of a container list row (Docker Engine API, "Port") as text: neighbours as ranges.

    Ports that lead to others of another number stand at the end, each for itself.
    """
    ranges: dict[tuple[str, str], list[list[int]]] = {}
    others = []
    for port in sorted(listed, key=_order):
        private, public, host = port["PrivatePort"], port.get("PublicPort") or 0, port.get("IP") or ""
        if public and public != private:
            others.append(f"{_host(host)}:{public}->{private}/{port['Type']}")
            continue
        found = ranges.setdefault((host if public else "", port["Type"]), [])
        if found and private == found[-1][1] + 1:
            found[-1][1] = private
        elif not found or private != found[-1][1]:
            found.append([private, private])
    # what was left behind first, then the last of each
    done = [_range(key, each) for key, found in ranges.items() for each in found[:-1]]
    return ", ".join([*done, *(_range(key, found[-1]) for key, found in ranges.items()), *others])


def _order(port: Mapping[str, Any]) -> tuple[int, str, int, str]:
    return port["PrivatePort"], port.get("IP") or "", port.get("PublicPort") or 0, port["Type"]


def _range(key: tuple[str, str], ends: Sequence[int]) -> str:
    (host, kind), (first, last) = key, ends
    numbers = f"{first}-{last}" if last > first else str(first)
    return f"{_host(host)}:{numbers}->{numbers}/{kind}" if host else f"{numbers}/{kind}"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
