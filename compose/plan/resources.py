"""Networks and volumes of the canonical model as the Docker Engine API's bodies, and how they differ from what is there.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from compose.plan import project as labels
from compose.plan.hashes import network_digest, volume_digest
from compose.plan.project import COMPOSE_VERSION, DesiredProject, EngineState, labelled
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from runtime.bodies import NetworkBody, VolumeBody

DIGESTS = {labels.NETWORK: network_digest, labels.VOLUME: volume_digest}


def network_body(target: DesiredProject, key: str) -> NetworkBody:
    """Return the body of "Create a network" for the project's network `key`."""
    declared = target.section("networks").get(key) or {}
    ipam = declared.get("ipam") or {}
    body = {
        "Name": target.resource_name("networks", key),
        "Driver": declared.get("driver") or "bridge",
        "Options": declared.get("driver_opts"),
        "Internal": bool(declared.get("internal")),
        "Attachable": bool(declared.get("attachable")),
        "EnableIPv4": declared.get("enable_ipv4"),
        "EnableIPv6": bool(declared.get("enable_ipv6")),
        "IPAM": {
            "Driver": ipam.get("driver") or "default",
            "Config": [
                {
                    "Subnet": one.get("subnet") or "",
                    "Gateway": one.get("gateway") or "",
                    "IPRange": one.get("ip_range") or "",
                    **({"AuxiliaryAddresses": one["aux_addresses"]} if one.get("aux_addresses") else {}),
                }
                for one in ipam.get("config") or ()
            ],
        },
        "Labels": _labels(target, declared, labels.NETWORK, key),
    }
    return cast("NetworkBody", {name: value for name, value in body.items() if value is not None})


def volume_body(target: DesiredProject, key: str) -> VolumeBody:
    """Return the body of "Create a volume" for the project's volume `key`."""
    declared = target.section("volumes").get(key) or {}
    body: VolumeBody = {
        "Name": target.resource_name("volumes", key),
        "Driver": declared.get("driver") or "local",
        "Labels": _labels(target, declared, labels.VOLUME, key),
    }
    if (options := declared.get("driver_opts")) is not None:
        body["DriverOpts"] = options
    return body


def _labels(target: DesiredProject, declared: Mapping[str, Any], kind: str, key: str) -> dict[str, str]:
    return {
        **(declared.get("labels") or {}),
        labels.PROJECT: target.name,
        kind: key,
        labels.VERSION: COMPOSE_VERSION,
        labels.CONFIG_HASH: DIGESTS[kind](declared),
    }


class ChangedResources(NamedTuple):
    """Networks and volumes (keys) that are there, but were made with other settings than the project's now."""

    networks: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()


def diverged(target: DesiredProject, observed: EngineState) -> ChangedResources:
    """Return what no longer matches the project; what has no config hash is accepted as it is."""
    found: dict[str, set[str]] = {"networks": set(), "volumes": set()}
    sections = (("networks", labels.NETWORK, observed.networks), ("volumes", labels.VOLUME, observed.volumes))
    for section, kind, existing in sections:
        for key, declared in target.section(section).items():
            here = existing.get(target.resource_name(section, key))
            if here is None or target.is_external(section, key):
                continue
            digest = labelled(here, labels.CONFIG_HASH)
            if digest and digest != DIGESTS[kind](declared or {}):
                found[section].add(key)
    return ChangedResources(frozenset(found["networks"]), frozenset(found["volumes"]))


def former_network(target: DesiredProject, observed: EngineState, key: str) -> str:
    """Return the name that the project's network `key` had before it got another, "" where there is none such."""
    found = [
        name
        for name, network in observed.networks.items()
        if labelled(network, labels.PROJECT) == target.name
        and labelled(network, labels.NETWORK) == key
        and labelled(network, labels.CONFIG_HASH)
    ]
    return min(found, default="")


def check_resources(target: DesiredProject, observed: EngineState) -> Iterator[str]:
    """Yield a warning for each network and volume of the project's names that the project did not make.

    Raises SkiffError for an external one that is not there, and for a network made for another key of the project.
    """
    for key in target.section("networks"):
        name = target.resource_name("networks", key)
        here = observed.networks.get(name)
        if target.is_external("networks", key):
            if here is None and not any(network.get("Id") == name for network in observed.networks.values()):
                raise SkiffError(
                    f"network {name} declared as external, but could not be found",
                    "make it, or take `external` away",
                )
        elif here is not None:
            owner, made_as = labelled(here, labels.PROJECT), labelled(here, labels.NETWORK)
            hint = "set `external: true` to use an existing network"
            if owner is None:
                yield f"WARN a network with name {name} exists but was not created by compose: {hint}"
            elif owner != target.name:
                yield f"WARN a network with name {name} exists but was not created for project {target.name!r}: {hint}"
            if owner is not None and made_as != key:
                raise SkiffError(
                    f"network {name} was found but has incorrect label {labels.NETWORK} set to "
                    f"{made_as or ''!r} (expected: {key!r})",
                    hint,
                )
    for key in target.section("volumes"):
        name = target.resource_name("volumes", key)
        here = observed.volumes.get(name)
        if target.is_external("volumes", key):
            if here is None:
                raise SkiffError(f'external volume "{name}" not found', "make it, or take `external` away")
        elif here is not None and (owner := labelled(here, labels.PROJECT)) != target.name:
            how = "was not created by compose" if owner is None else f"was created for project {owner!r}"
            yield f"WARN volume {name!r} already exists but {how}: set `external: true` to use an existing volume"
