"""`use_api_socket`: a service that speaks to the engine itself, with the user's credentials for registries. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from compose.plan.project import DesiredProject, Service

SOCKET = "/var/run/docker.sock"
CONFIG, CONFIG_FOLDER = "#apisocket", "/run/secrets/docker"


def uses_api_socket(target: DesiredProject) -> list[str]:
    """Return the services that want the engine's socket."""
    return [name for name, service in target.services.items() if service.get("use_api_socket")]


def with_api_socket(target: DesiredProject, socket: str, credentials: Mapping[str, Any]) -> DesiredProject:
    """Return `target` with the engine's `socket` and a client's configuration in the services that want them.

    `credentials` are those of the user, by registry, as `auths` of Docker's config.json has them. A service that sets
    DOCKER_CONFIG looks for its configuration there.
    """
    names = uses_api_socket(target)
    services = {name: _given(one, socket) if name in names else one for name, one in target.services.items()}
    content = {"content": json.dumps({"auths": credentials}, sort_keys=True)}
    configs = {**(target.model.get("configs") or {}), CONFIG: content}
    return replace(target, model={**target.model, "services": services, "configs": configs})


def _given(service: Service, socket: str) -> dict[str, Any]:
    mount = {"type": "bind", "source": socket, "target": SOCKET}
    return {
        **service,
        "volumes": [*(service.get("volumes") or ()), mount],
        "environment": {"DOCKER_CONFIG": CONFIG_FOLDER, **(service.get("environment") or {})},
        "configs": [*(service.get("configs") or ()), {"source": CONFIG, "target": f"{CONFIG_FOLDER}/config.json"}],
    }
