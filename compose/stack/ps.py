"""`ps`, `ls`, `images` and `volumes`: what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from compose.plan.project import CONFIG_FILES, PROJECT, DesiredProject, ObservedContainer

if TYPE_CHECKING:
    from compose.stack.context import Context

KILLED = 137
"""The exit code of a process that SIGKILL ended: 128 and the signal's number."""


@dataclass(frozen=True)
class PsRequest:
    """Which containers to list: of `services` (none named: all), in one of `states` (none named: those that run).

    `all` lists stopped ones and those of `run` as well; without `orphans` those are left out that the files no longer
    name.
    """

    services: Sequence[str] = ()
    states: Sequence[str] = ()
    all: bool = False
    orphans: bool = True


def containers(
    context: Context, project: DesiredProject, request: PsRequest, *, has_files: bool = True
) -> list[ObservedContainer]:
    """Return the containers by name. Raises SkiffError for a service that nothing names."""
    everything = request.all or bool(request.states)
    found = context.containers(project, request.services, all=everything, oneoff=request.all)
    if has_files and not request.orphans and not request.services:
        found = [container for container in found if container.service in project.services]
    if request.states:
        found = [container for container in found if container.state in request.states]
    return sorted(found, key=lambda container: container.name)


class ProjectSummary(NamedTuple):
    """A project that has containers: how many are in which state, and the files it was made from."""

    name: str
    states: Mapping[str, int]
    config_files: str


def projects(context: Context, *, all: bool = False) -> list[ProjectSummary]:
    """Return the projects that have running containers, or any with `all`, by name."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in context.client.containers(all=all, filters={"label": [PROJECT]}):
        if name := (row.get("Labels") or {}).get(PROJECT):
            rows.setdefault(name, []).append(row)
    found = []
    for name, own in sorted(rows.items()):
        states: dict[str, int] = {}
        for each in own:
            states[each["State"]] = states.get(each["State"], 0) + 1
        files = dict.fromkeys(filter(None, ((row.get("Labels") or {}).get(CONFIG_FILES, "") for row in own)))
        found.append(ProjectSummary(name, dict(sorted(states.items())), ",".join(files)))
    return found


class ContainerImage(NamedTuple):
    """A container and its image as "Inspect an image" shows it (Docker Engine API)."""

    container: ObservedContainer
    image: Mapping[str, Any]


def images(context: Context, project: DesiredProject, services: Sequence[str] = ()) -> list[ContainerImage]:
    """Return the containers of `services` (none named: all) with their images. Raises SkiffError."""
    known: dict[str, Mapping[str, Any]] = {}
    found = []
    for container in context.containers(project, services):
        if container.image_id not in known:
            known[container.image_id] = context.client.image(container.image_id)
        found.append(ContainerImage(container, known[container.image_id]))
    return found


def volumes(context: Context, project: DesiredProject, services: Sequence[str] = ()) -> list[Mapping[str, Any]]:
    """Return the project's volumes, or those that containers of `services` mount, as "List volumes" shows them."""
    mounted = {
        mount.get("Name")
        for container in context.containers(project, services)
        for mount in container.document.get("Mounts") or ()
    }
    return [
        volume
        for volume in context.client.volumes({"label": [f"{PROJECT}={project.name}"]})
        if not services or volume["Name"] in mounted
    ]


def out_of_memory(context: Context, containers: Sequence[ObservedContainer]) -> set[str]:
    """Return the IDs of those that were killed because they were out of memory, which the engine's list does not say."""
    killed = [each.id for each in containers if each.exit_code == KILLED]
    return {id for id in killed if context.client.container(id)["State"].get("OOMKilled")}
