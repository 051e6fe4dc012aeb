"""`top`, `port`, `stats` and `events`: what containers do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from compose.plan.project import ONEOFF, PROJECT, SERVICE
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject, ObservedContainer
    from compose.stack.context import Context


class ProcessList(NamedTuple):
    """Processes of a container: a row of cells for each, under `titles` (ps(1))."""

    container: ObservedContainer
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


def top(context: Context, project: DesiredProject, services: Sequence[str] = ()) -> Iterator[ProcessList]:
    """Yield the processes of each running container of `services` (none named: all). Raises SkiffError."""
    for container in context.containers(project, services, all=False):
        found = context.client.top(container.id)
        yield ProcessList(container, found["Titles"], found["Processes"])


WORST_FIRST = ("unhealthy", "failed", "restarting", "starting", "exited", "missing", "healthy", "running")
"""States of services, by how much they need to be looked at."""


def service_states(context: Context, project: DesiredProject) -> dict[str, str]:
    """Return the state of each service, one of WORST_FIRST: that of its container that is worst off. Raises SkiffError."""
    found = {name: "missing" if service.replicas else "exited" for name, service in project.services.items()}
    for container in context.containers(project):
        if container.service in found:
            before, now = found[container.service], _state(container)
            order = WORST_FIRST.index
            found[container.service] = now if before == "missing" or order(now) < order(before) else before
    return found


def _state(container: ObservedContainer) -> str:
    if container.state == "exited":
        return "exited" if container.exit_code == 0 else "failed"
    return container.health or (container.state if container.state in WORST_FIRST else "exited")


class HostPort(NamedTuple):
    """An address of the host that a container's port is published on."""

    address: str
    port: str


def port(
    context: Context, project: DesiredProject, service: str, private_port: int, protocol: str = "tcp", index: int = 0
) -> HostPort:
    """Return where the port of the service's container number `index` is published. Raises SkiffError."""
    container = context.one_container(project, service, index)
    ports = context.client.container(container.id)["NetworkSettings"]["Ports"] or {}
    bindings = ports.get(f"{private_port}/{protocol.lower()}")
    if not bindings:
        others = ", ".join(f"{one['HostIp']}:{one['HostPort']}->{key}" for key in ports for one in ports[key] or ())
        raise SkiffError(
            f"no port {private_port}/{protocol} for container {container.name}", f"published: {others or 'none'}"
        )
    return HostPort(bindings[0]["HostIp"], bindings[0]["HostPort"])


class Usage(NamedTuple):
    """What a container uses, as "Get container stats" shows it (Docker Engine API)."""

    container: ObservedContainer
    document: Mapping[str, Any]


def stats(context: Context, project: DesiredProject, services: Sequence[str] = (), *, all: bool = False) -> list[Usage]:
    """Return what each container uses, all measured over the same second. Raises SkiffError."""
    containers = context.containers(project, services, all=all)
    documents: dict[str, Mapping[str, Any]] = {}

    def measure(container: ObservedContainer) -> None:
        from runtime.client import Client

        documents[container.id] = Client(context.where).stats(container.id)

    threads = [threading.Thread(target=measure, args=(container,), daemon=True) for container in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # a container that was removed during the measurement has nothing to show
    return [Usage(container, documents[container.id]) for container in containers if container.id in documents]


class ContainerEvent(NamedTuple):
    """An event of a container of `service`, as "Monitor events" shows it (Docker Engine API)."""

    service: str
    document: Mapping[str, Any]


def events(
    context: Context, project: DesiredProject, services: Sequence[str] = (), *, since: str = "", until: str = ""
) -> Iterator[ContainerEvent]:
    """Yield events of the containers of `services` (none named: all) as they happen, those of `run` left out.

    `since` and `until` are times as the Docker Engine API writes them, "" for no bound. Raises SkiffError.
    """
    wanted = {"label": [f"{PROJECT}={project.name}"], "type": ["container"]}
    query: dict[str, Any] = {"since": since or None, "until": until or None}
    with context.client.events(wanted, **query) as stream:
        for event in stream.documents():
            attributes = event["Actor"]["Attributes"]
            service = attributes.get(SERVICE, "")
            if attributes.get(ONEOFF) != "True" and (not services or service in services):
                yield ContainerEvent(service, event)
