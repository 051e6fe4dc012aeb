"""The state of a project in the engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from compose.plan.images import image_sources
from compose.plan.project import DesiredProject, EngineState, ObservedContainer, image_name, own_labels
from runtime.client import Client
from runtime.errors import NotFoundError


def observe(client: Client, target: DesiredProject, services: Sequence[str] | None = None) -> EngineState:
    """Return the project's containers, all networks and volumes, and the images that `services` (all: None) name."""
    rows = client.containers(all=True, filters={"label": own_labels(target.name)})
    wanted = list(target.services if services is None else services)
    names = {image_name(target, name) for name in (*wanted, *image_sources(target, wanted))}
    images: dict[str, str] = {}
    tagged_s: dict[str, float] = {}
    for name in names:
        try:
            image = client.image(name)
        except NotFoundError:
            continue
        images[name] = image["Id"]
        tagged = (image.get("Metadata") or {}).get("LastTagTime") or ""
        if tagged and not tagged.startswith("0001-"):
            tagged_s[name] = datetime.fromisoformat(tagged[:19] + "+00:00").timestamp()
    return EngineState(
        [ObservedContainer.of(row) for row in rows],
        {network["Name"]: network for network in client.networks()},
        {volume["Name"]: volume for volume in client.volumes()},
        images,
        tagged_s,
    )
