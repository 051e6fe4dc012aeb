"""`use_api_socket`: a service that speaks to the engine itself, with the user's credentials for registries. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compose.plan.project import DesiredProject

if TYPE_CHECKING:
    from compose.plan.service import Service

SOCKET = "/var/run/docker.sock"
CONFIG, CONFIG_FOLDER = "#apisocket", "/run/secrets/docker"


def uses_api_socket(target: DesiredProject) -> list[str]:
    """Return the services that want the engine's socket."""
    return [name for name, service in target.services.items() if service.uses_api_socket]


def with_api_socket(target: DesiredProject, socket: str, credentials: Mapping[str, Any]) -> DesiredProject:
    """Return `target` with the engine's `socket` and a client's configuration in the services that want them.

    `credentials` are those of the user, by registry, as `auths` of Docker's config.json has them. A service that sets
    DOCKER_CONFIG looks for its configuration there.
    """
    services = [_given(target.services[name], socket) for name in uses_api_socket(target)]
    content = {"content": json.dumps({"auths": credentials}, sort_keys=True)}
    return target.with_services(*services, configs={**target.section("configs"), CONFIG: content})


def _given(service: Service, socket: str) -> Service:
    document = service.document
    mount = {"type": "bind", "source": socket, "target": SOCKET}
    return service.changed(
        volumes=[*(document.get("volumes") or ()), mount],
        environment={"DOCKER_CONFIG": CONFIG_FOLDER, **service.environment},
        configs=[*(document.get("configs") or ()), {"source": CONFIG, "target": f"{CONFIG_FOLDER}/config.json"}],
    )
