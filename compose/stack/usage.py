"""What everything takes on the disk, by kind and by project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compose.plan.project import PROJECT

NOBODY = "-"


@dataclass(frozen=True)
class KindUsage:
    """Objects of one kind: how many, how many of them are in use, the bytes of all, and of those that could go."""

    kind: str
    total: int
    active: int
    size_bytes: int
    reclaimable_bytes: int


@dataclass(frozen=True)
class ProjectUsage:
    """What one project needs: containers, with what they wrote, volumes, and its images (some may be others' as well)."""

    name: str
    containers: int
    containers_bytes: int
    volumes: int
    volumes_bytes: int
    images: int
    images_bytes: int


def by_kind(usage: Mapping[str, Any]) -> list[KindUsage]:
    """Return the usage of each kind from "Get data usage information" (Docker Engine API)."""
    images, containers = usage.get("Images") or (), usage.get("Containers") or ()
    volumes, cache = usage.get("Volumes") or (), usage.get("BuildCache") or ()
    unused = [image for image in images if not image["Containers"]]
    stopped = [one for one in containers if one["State"] not in ("running", "paused", "restarting")]
    free = [volume for volume in volumes if not volume["UsageData"]["RefCount"]]
    idle = [one for one in cache if not one["InUse"]]
    return [
        KindUsage(
            "Images",
            len(images),
            len(images) - len(unused),
            int(usage.get("LayersSize") or 0),
            sum(image["Size"] - max(image["SharedSize"], 0) for image in unused),
        ),
        KindUsage(
            "Containers", len(containers), len(containers) - len(stopped), _written(containers), _written(stopped)
        ),
        KindUsage("Local Volumes", len(volumes), len(volumes) - len(free), _held(volumes), _held(free)),
        KindUsage(
            "Build Cache",
            len(cache),
            len(cache) - len(idle),
            sum(one["Size"] for one in cache if not one["Shared"]),
            sum(one["Size"] for one in idle if not one["Shared"]),
        ),
    ]


def by_project(usage: Mapping[str, Any]) -> list[ProjectUsage]:
    """Return what each project needs, by name; what is of none comes last."""
    containers, volumes = usage.get("Containers") or (), usage.get("Volumes") or ()
    images = {image["Id"]: image for image in usage.get("Images") or ()}
    names = {_project(one) for one in (*containers, *volumes, *images.values())}
    found = []
    for name in sorted(names, key=lambda name: (name == NOBODY, name)):
        own = [one for one in containers if _project(one) == name]
        held = [one for one in volumes if _project(one) == name]
        used = {one["ImageID"] for one in own} | {id for id, image in images.items() if _project(image) == name}
        if name == NOBODY:  # what projects' containers run is theirs
            used -= {one["ImageID"] for one in containers if _project(one) != NOBODY}
        sizes = [images[id]["Size"] for id in used if id in images]
        found.append(ProjectUsage(name, len(own), _written(own), len(held), _held(held), len(sizes), sum(sizes)))
    return found


def _project(document: Mapping[str, Any]) -> str:
    return str((document.get("Labels") or {}).get(PROJECT) or NOBODY)


def _written(containers: Iterable[Mapping[str, Any]]) -> int:
    return sum(int(one.get("SizeRw") or 0) for one in containers)


def _held(volumes: Iterable[Mapping[str, Any]]) -> int:
    return sum(max(int(one["UsageData"]["Size"]), 0) for one in volumes)
