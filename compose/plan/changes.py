"""Why a container that exists can't stay as it is. Pure."""

from __future__ import annotations

from compose.plan.content import service_hash
from compose.plan.project import CONFIG_HASH, IMAGE, DesiredProject, EngineState, ObservedContainer, image_name
from compose.plan.resources import ChangedResources, network_keys, volume_keys

SHARED = ("network_mode", "ipc", "pid")


def why_recreate(
    target: DesiredProject,
    observed: EngineState,
    name: str,
    container: ObservedContainer,
    *,
    recreated: set[str],
    lost: ChangedResources,
) -> str | None:
    """Return the reason for which a container of the service `name` must be made anew; None when it may stay.

    `recreated` are services whose containers are made anew, `lost` are networks and volumes that are made anew.
    """
    service = target.services[name]
    if container.labels.get(CONFIG_HASH) != service_hash(target, name):
        return "its configuration changed"
    image = observed.images.get(image_name(target, name))
    if image is not None and container.labels.get(IMAGE) not in ("", None, image):
        return "its image changed"
    for key in SHARED:
        mode = str(service.get(key) or "")
        if mode.startswith("service:") and mode[8:] in recreated:
            return f"it shares {key} with {mode[8:]}, which is recreated"
    if network_keys(service) & lost.networks:
        return "a network of it changed"
    if volume_keys(service) & lost.volumes:
        return "a volume of it changed"
    if container.state == "running":
        held = (container.document.get("NetworkSettings") or {}).get("Networks") or {}
        connected = {network.get("NetworkID") for network in held.values()}
        for key in sorted(network_keys(service)):
            network = observed.networks.get(target.resource_name("networks", key))
            if network is None or network.get("Id") not in connected:
                return f"it is not connected to the network {key}"
    mounted = {mount.get("Name") for mount in container.document.get("Mounts") or () if mount.get("Type") == "volume"}
    for key in sorted(volume_keys(service)):
        if key in (target.model.get("volumes") or {}) and target.resource_name("volumes", key) not in mounted:
            return f"it does not mount the volume {key}"
    return None
