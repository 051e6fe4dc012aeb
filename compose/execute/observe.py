"""What the engine has of a project."""

from __future__ import annotations

from collections.abc import Sequence

from compose.plan.project import PROJECT, Existing, Observed, Target, image_name
from runtime.client import Client
from runtime.errors import NotFoundError


def observe(client: Client, target: Target, services: Sequence[str] | None = None) -> Observed:
    """Return the project's containers, networks and volumes, and the images that its services name."""
    wanted = {"label": [f"{PROJECT}={target.name}"]}
    rows = client.containers(all=True, filters=wanted)
    names = {image_name(target, name) for name in (target.services if services is None else services)}
    images = {}
    for name in names:
        try:
            images[name] = client.image(name)["Id"]
        except NotFoundError:
            continue
    externals = {n["Name"]: n for n in client.networks()}
    return Observed(
        [Existing.of(row) for row in rows],
        {
            name: network
            for name, network in externals.items()
            if (network.get("Labels") or {}).get(PROJECT) == target.name
        },
        {volume["Name"]: volume for volume in client.volumes(wanted)},
        images,
    )
