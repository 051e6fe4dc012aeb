"""Devices asked for by their capabilities (`gpus`, `deploy.resources.reservations.devices`), not by a path. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

EVERY = -1


def device_requests(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a service's device requests as "Create a container" takes them."""
    return list(_requests(service))


def _requests(service: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    reservations = ((service.get("deploy") or {}).get("resources") or {}).get("reservations") or {}
    for device in reservations.get("devices") or ():
        yield _request(device, list(device.get("capabilities") or ()))
    for gpu in service.get("gpus") or ():
        yield _request(gpu, [*(gpu.get("capabilities") or ()), "gpu"])


def _request(device: Mapping[str, Any], capabilities: list[str]) -> dict[str, Any]:
    count = device.get("count")
    return {
        "Driver": device.get("driver") or "",
        "Count": EVERY if count == "all" else int(count or 0),
        "DeviceIDs": device.get("device_ids"),
        "Capabilities": [capabilities],
        "Options": device.get("options") or {},
    }
