"""A container's attachments to the networks of its service, as the Docker Engine API's EndpointSettings. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from compose.plan.project import DesiredProject
from compose.plan.service import Service

if TYPE_CHECKING:
    from runtime.bodies import EndpointBody

INTERFACE_NAME = "com.docker.network.endpoint.ifname"


def endpoints(target: DesiredProject, service: Service, container: str) -> dict[str, EndpointBody]:
    """Return by network name how the container called `container` of the service is attached to each.

    In the order in which it is: of `priority`, then by key.
    """
    ordered = sorted(service.networks.items(), key=lambda item: (-item[1].priority, item[0]))
    return {target.resource_name("networks", key): endpoint(service, key, container) for key, _ in ordered}


def endpoint(service: Service, key: str, container: str) -> EndpointBody:
    """Return how the container called `container` of the service is attached to its network `key`."""
    how = service.networks[key]
    options = dict(how.driver_options or {})
    if how.interface_name:
        options[INTERFACE_NAME] = how.interface_name
    settings: dict[str, Any] = {
        "Aliases": [container, service.name, *how.aliases],
        "Links": [link if ":" in link else f"{link}:{link}" for link in service.links] or None,
        "DriverOpts": options or None,
        "GwPriority": how.gateway_priority,
    }
    if how.ipv4_address or how.ipv6_address or how.link_local_ips:
        settings["IPAMConfig"] = {
            "IPv4Address": how.ipv4_address,
            "IPv6Address": how.ipv6_address,
            "LinkLocalIPs": how.link_local_ips,
        }
    if how.mac_address:
        settings["MacAddress"] = how.mac_address
    return cast("EndpointBody", {key: value for key, value in settings.items() if value not in (None, 0)})
