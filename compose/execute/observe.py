"""The state of a project in the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from compose.plan.images import further_images, image_sources
from compose.plan.platforms import platform_of
from compose.plan.project import HOOK, PROJECT, DesiredProject, EngineState, ObservedContainer, image_name, own_labels
from runtime.client import Client
from runtime.errors import NotFoundError


def observe(
    client: Client, target: DesiredProject, services: Sequence[str] | None = None, *, with_hooks: bool = False
) -> EngineState:
    """Return the project's containers, all networks and volumes, and the images that `services` (all: None) name.

    Containers of hooks are asked for `with_hooks` alone: most projects have none.
    """
    rows = client.containers(all=True, filters={"label": own_labels(target.name)})
    hooks = client.containers(all=True, filters={"label": [f"{PROJECT}={target.name}", HOOK]}) if with_hooks else ()
    wanted = list(target.services if services is None else services)
    names = {image_name(target, name): platform_of(target, name) for name in (*wanted, *image_sources(target, wanted))}
    names = {**{image: "" for name in wanted for image in further_images(target, name)}, **names}
    images: dict[str, str] = {}
    tagged_s: dict[str, float] = {}
    others: dict[str, str] = {}
    for name, platform in names.items():
        try:
            image = client.image(name)
        except NotFoundError:
            continue
        if not is_for(image, platform):  # to be pulled, as one that is missing
            others[name] = f"{image.get('Os') or 'linux'}/{image.get('Architecture')}"
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
        others,
        [ObservedContainer.of(row) for row in hooks],
    )


def is_for(image: Mapping[str, Any], platform: str) -> bool:
    """Whether an image is for `platform` (OS/ARCHITECTURE[/VARIANT]); any is where that is empty."""
    if not platform:
        return True
    system, _, rest = platform.lower().partition("/")
    architecture = rest.partition("/")[0]
    if not architecture:  # an architecture alone
        system, architecture = "linux", system
    own = str(image.get("Architecture") or "")
    return (system, _OCI.get(architecture, architecture)) == (image.get("Os") or "linux", _OCI.get(own, own))


_OCI = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386", "armhf": "arm"}
"""OCI's names of architectures that have others."""
