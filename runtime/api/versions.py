"""What answers have in which version of the API (moby's published "Engine API version history"). Pure.

Documents are made as the newest of the older versions has them; functions here take away what a version dropped, and add
what it brought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from runtime.bodies import CreateBody, HostConfig, Resources
from runtime.image.reference import Reference

Version = tuple[int, int]

HIGHEST, LOWEST = (1, 56), (1, 24)
UNNAMED: Version = (1, 51)
"""What a request without a version in its path is answered as, and what /version answers to such a one.

Clients that negotiate go by the header of /_ping. Those that do not (docker-py, curl) know no newer version than this,
which is dockerd 28's, and read what 1.52 takes away.
"""

GONE_FROM_NETWORK_SETTINGS = (
    "Bridge", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "SecondaryIPAddresses",
    "SecondaryIPv6Addresses", "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress",
    "IPPrefixLen", "IPv6Gateway", "MacAddress",
)  # fmt: skip
IMAGE_CONFIG: Mapping[str, Any] = {
    "Cmd": None, "Entrypoint": None, "Env": None, "Labels": None, "OnBuild": None, "User": "", "Volumes": None,
    "WorkingDir": "",
}  # fmt: skip
"""What an image's configuration always has in 1.50 and 1.51; from 1.52 on nothing is there that is not set."""
EVENT_KINDS: Sequence[tuple[Version, str]] = (
    ((1, 53), "application/jsonl"), ((1, 52), "application/x-ndjson"), ((1, 52), "application/json-seq"),
)  # fmt: skip
USAGES = {
    "Images": "ImageUsage",
    "Containers": "ContainerUsage",
    "Volumes": "VolumeUsage",
    "BuildCache": "BuildCacheUsage",
}
BLOCK_DEVICES = (
    "BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps",
)  # fmt: skip


def shown(version: Version) -> str:
    """Return a version as Docker writes it."""
    return f"{version[0]}.{version[1]}"


def container(document: dict[str, Any], version: Version) -> dict[str, Any]:
    """Return "Inspect a container"."""
    if version < (1, 52):
        return document
    settings = {key: one for key, one in document["NetworkSettings"].items() if key not in GONE_FROM_NETWORK_SETTINGS}
    config = {key: one for key, one in document["Config"].items() if one or key != "OnBuild"}
    return {**document, "NetworkSettings": settings, "Config": config}


def container_request(body: CreateBody, version: Version) -> tuple[CreateBody, list[str]]:
    """Return the body of "Create a container" as it is understood, and the warnings."""
    kept = body.copy()
    if version < (1, 56) and (host := body.get("HostConfig")) and "Umask" in host:
        kept["HostConfig"] = cast(HostConfig, {key: one for key, one in host.items() if key != "Umask"})
    if version < (1, 52):
        return kept, []
    kept.pop("MacAddress", None)
    bindings = (body.get("HostConfig") or {}).get("PortBindings") or {}
    empty = sorted(port for port, entries in bindings.items() if not entries)
    if not empty:
        return kept, []
    return kept, [
        f"The following container ports have an empty list of port bindings: {', '.join(empty)}. They are published on "
        "ports that are chosen; a future version of the API will discard them."
    ]


def update_request(body: Resources, version: Version) -> Resources:
    """Return the body of "Update a container" as it is understood: limits of single devices since 1.55."""
    kept = {key: one for key, one in body.items() if version >= (1, 55) or key not in BLOCK_DEVICES}
    return cast(Resources, kept)


def statistics(document: dict[str, Any], version: Version) -> dict[str, Any]:
    """Return one of "Get container stats"."""
    return {**document, "os_type": "linux"} if version >= (1, 52) else document


def image_rows(rows: list[dict[str, Any]], users: Mapping[str, int], version: Version) -> list[dict[str, Any]]:
    """Return "List images"; `users` counts the containers of each image."""
    if version < (1, 51):
        return rows
    return [{**row, "Containers": users.get(row["Id"], 0)} for row in rows]


def image(document: dict[str, Any], version: Version) -> dict[str, Any]:
    """Return "Inspect an image", which has all that a container's configuration has before 1.50."""
    config = document["Config"]
    if version < (1, 50):
        return document
    own = {key: one for key, one in config.items() if key in IMAGE_CONFIG or one}
    own = {key: one for key, one in own.items() if key not in ALWAYS_EMPTY}
    if version < (1, 52):
        return {**document, "Config": {**IMAGE_CONFIG, **own}}
    kept = {
        key: one for key, one in document.items() if one or key not in ("Parent", "Comment", "DockerVersion", "Author")
    }
    identity = _identity(document) if version >= (1, 53) else {}
    return {**kept, "Config": {key: one for key, one in own.items() if one}} | identity


ALWAYS_EMPTY = (
    "Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Image",
    "NetworkDisabled", "MacAddress", "StopTimeout",
)  # fmt: skip


def _identity(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return where an image came from, which the digests that registries have for it say."""
    found = {one.name: f"{one.domain}/{one.path}" for one in map(Reference.parse, document["RepoDigests"])}
    return {"Identity": {"Pull": [{"Repository": found[name]} for name in sorted(found)]}} if found else {}


def event(document: dict[str, Any], version: Version) -> dict[str, Any]:
    """Return one of "Monitor events"."""
    if version < (1, 52):
        return document
    return {key: one for key, one in document.items() if key not in ("status", "id", "from")}


def event_kind(accepted: str, version: Version) -> str:
    """Return the type in which events are sent to a client that accepts `accepted` (its header)."""
    for entry in accepted.split(","):
        wanted = entry.partition(";")[0].strip().lower()
        if any(version >= since and wanted == kind for since, kind in EVENT_KINDS):
            return wanted
    return "application/json"


def network(document: dict[str, Any], status: Mapping[str, Mapping[str, int]], version: Version) -> dict[str, Any]:
    """Return "Inspect a network"; `status` counts the addresses of its subnets."""
    return {**document, "Status": {"IPAM": {"Subnets": status}}} if version >= (1, 52) else document


def disk_usage(found: dict[str, Any], version: Version, *, is_verbose: bool) -> dict[str, Any]:
    """Return "Get data usage information": a summary of each kind since 1.52, without the lists since 1.53."""
    if version < (1, 52):
        return found
    summaries = {
        name: _usage(kind, found[kind], found["LayersSize"], is_verbose=is_verbose)
        for kind, name in USAGES.items()
        if found[kind] is not None
    }
    return summaries if is_verbose or version >= (1, 53) else {**found, **summaries}


def _usage(kind: str, rows: Sequence[Mapping[str, Any]], layers_bytes: int, *, is_verbose: bool) -> dict[str, Any]:
    active = [row for row in rows if _is_used(kind, row)]
    total = layers_bytes if kind == "Images" else sum(_size(kind, row) for row in rows)
    used = sum(_size(kind, row) - _shared(kind, row) for row in active)
    summary = {
        "ActiveCount": len(active),
        "TotalCount": len(rows),
        "TotalSize": total,
        "Reclaimable": max(total - used, 0),
    }
    return {**summary, "Items": list(rows)} if is_verbose else summary


def _size(kind: str, row: Mapping[str, Any]) -> int:
    if kind == "Containers":
        return int(row.get("SizeRw") or 0)
    if kind == "Volumes":
        return int(row["UsageData"]["Size"])
    return int(row["Size"])


def _shared(kind: str, row: Mapping[str, Any]) -> int:
    return max(int(row.get("SharedSize") or 0), 0) if kind == "Images" else 0


def _is_used(kind: str, row: Mapping[str, Any]) -> bool:
    if kind == "Images":
        return bool(row["Containers"] > 0)
    if kind == "Containers":
        return row["State"] in ("running", "paused", "restarting")
    return bool(row["UsageData"]["RefCount"]) if kind == "Volumes" else bool(row["InUse"] or row["Shared"])
