"""Namespaces and volumes that a service shares with containers of other services. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compose.plan.service import Service

SHARED = ("network_mode", "ipc", "pid")


def resolved(service: Service, container_of: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the document of `service` with the containers' IDs for the services whose namespaces and volumes it shares.

    `container_of` maps services to containers; where one is missing, the name stays. As docker compose has it, to hash
    it: there, volumes come first, and what follows the first that is missing stays as it is.
    """
    found: dict[str, Any] = dict(service.document)
    if service.volumes_from:
        found["volumes_from"] = volumes = list(service.volumes_from)
        for index, (source, id) in enumerate(_volume_donors(service, container_of)):
            if id is None:
                return found
            volumes[index] = id if source else service.volumes_from[index].split(":")[1]
    for key in SHARED:
        source = shares(service, key)
        if source and source not in container_of:
            return found
        if source:
            found[key] = f"container:{container_of[source]}"
    return found


def _volume_donors(service: Service, container_of: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    for entry in service.volumes_from:
        kind = entry.partition(":")[0]
        yield ("", "") if kind == "container" else (kind, container_of.get(kind))


def shares(service: Service, key: str) -> str:
    """Return the service whose namespace `key` (of SHARED) the service shares, or ""."""
    mode = service.namespace(key)
    return mode[8:] if mode.startswith("service:") else ""


def linked(service: Service) -> set[str]:
    """Return the services whose containers the service's name outright: links on the engine's default network."""
    return {each.partition(":")[0] for each in service.own_links if service.network_mode == "bridge"}


def donors(service: Service) -> set[str]:
    """Return the services whose namespaces or volumes the service shares."""
    found = {shares(service, key) for key in SHARED} - {""}
    return found | {each for each, id in _volume_donors(service, {}) if each}
