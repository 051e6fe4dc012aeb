"""Reasons to recreate a container. Pure."""

from __future__ import annotations

from collections.abc import Set

from compose.plan.differences import reason
from compose.plan.foreign import UNKNOWN
from compose.plan.hashes import former_service_digests, service_digest
from compose.plan.images import mounted_digest
from compose.plan.inputs import Inputs, changed_contents, changed_settings, from_label, inputs_of
from compose.plan.project import (
    CONFIG_HASH,
    IMAGE,
    INPUTS,
    MOUNTED_IMAGES,
    DesiredProject,
    EngineState,
    ObservedContainer,
    image_name,
)
from compose.plan.service import Service
from compose.plan.sharing import SHARED, donors, resolved, shares


def why_recreate(
    target: DesiredProject,
    observed: EngineState,
    name: str,
    container: ObservedContainer,
    *,
    recreated: set[str],
    moved: Set[str] = frozenset(),
    lost_volumes: Set[str] = frozenset(),
) -> str | None:
    """Return the reason to recreate a container of the service `name`; None if it may stay.

    `recreated` are services whose containers are recreated, `moved` networks that containers are moved to, and
    `lost_volumes` volumes that are recreated.
    """
    service = target.services[name]
    before = from_label(container.labels.get(INPUTS, ""))
    if not _has_digest(service, container, observed):
        return _new_settings(target, name, container, before)
    if before is not None and (changed := changed_contents(before, inputs_of(target, name))):
        return reason(changed)
    wanted = image_name(target, name)
    image = observed.images.get(wanted)
    if image is not None and container.labels.get(IMAGE) not in ("", None, image):
        return f"the image {wanted} changed"
    mounted = mounted_digest(service, observed.images)
    if MOUNTED_IMAGES in container.labels and container.labels[MOUNTED_IMAGES] != mounted:
        return "an image that it mounts changed"
    for key in SHARED:
        if (donor := shares(service, key)) in recreated:
            return f"it shares {key} with {donor}, which is recreated"
    if gone := sorted(donors(service) & recreated):
        return f"it has volumes from {gone[0]}, which is recreated"
    if service.volume_keys & lost_volumes:
        return "a volume of it changed"
    if container.state == "running":
        held = (container.document.get("NetworkSettings") or {}).get("Networks") or {}
        connected = {network.get("NetworkID") for network in held.values()}
        for key in sorted(service.network_keys - moved):
            network = observed.networks.get(target.resource_name("networks", key))
            if network is None or network.get("Id") not in connected:
                return f"it is not connected to the network {key}"
    elif held := (container.document.get("NetworkSettings") or {}).get("Networks"):
        for key in sorted(service.network_keys - moved):
            if target.resource_name("networks", key) not in held:
                return f"it was not connected to the network {key}"
    volumes = {mount.get("Name") for mount in container.document.get("Mounts") or () if mount.get("Type") == "volume"}
    for key in sorted(service.volume_keys):
        if key in target.section("volumes") and target.resource_name("volumes", key) not in volumes:
            return f"it does not mount the volume {key}"
    return None


def _new_settings(target: DesiredProject, name: str, container: ObservedContainer, before: Inputs | None) -> str:
    """Return which settings changed, as far as the container says what it was made of: one of docker compose does not."""
    if before is not None:
        now = inputs_of(target, name)
        if changed := [*changed_settings(before, now, target.working_directory), *changed_contents(before, now)]:
            return reason(changed)
    return UNKNOWN


def _has_digest(service: Service, container: ObservedContainer, observed: EngineState) -> bool:
    """Whether `container` was made of what `service` is now, the containers included whose namespaces it shares."""
    digest = container.labels.get(CONFIG_HASH)
    own, now = service.document, resolved(service, observed.container_of())
    if digest in (service_digest(now), *former_service_digests(now)):
        return True
    if not donors(service) or digest not in (service_digest(own), *former_service_digests(own)):
        return False
    # docker compose 2 hashed the names of services: whose namespace it is says the container itself
    mode = (container.document.get("HostConfig") or {}).get("NetworkMode")
    return not shares(service, "network_mode") or mode == now["network_mode"]
