"""Creates endpoints: chooses addresses, device and names. Pure, except for random IDs."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Collection, Sequence, Set
from itertools import count

from runtime.errors import ConflictError
from runtime.network.addresses import check_hardware_address, choose_address, hardware_address, link_local
from runtime.network.model import Endpoint, EndpointSettings, Network
from runtime.network.options import BridgeOptions, device_name


def new_endpoint(
    container_id: str,
    container_name: str,
    network: Network,
    settings: EndpointSettings,
    mine: Sequence[Endpoint],
    used: Collection[str],
) -> Endpoint:
    """Return a new endpoint of a container on `network`.

    `mine` are the container's present endpoints, `used` the addresses in use. Raises BadRequestError on invalid settings,
    ForbiddenError or ConflictError if an address or device name is taken.
    """
    ipv4 = choose_address(network, 4, settings.ipv4_address, used)
    ipv6 = choose_address(network, 6, settings.ipv6_address, used)
    mac = check_hardware_address(settings.mac_address) if settings.mac_address else ""
    names = (container_name, *settings.aliases, container_id[:12], *filter(None, [settings.hostname]))
    return Endpoint(
        id=secrets.token_hex(32),
        network_id=network.id,
        container_id=container_id,
        container_name=container_name,
        host_device=f"veth{secrets.token_hex(4)}",
        device=_device(network, settings, {endpoint.device for endpoint in mine}),
        mac_address=mac or hardware_address(ipaddress.ip_interface(ipv4 or ipv6).ip.packed[-4:]),
        ipv4=ipv4,
        ipv6=ipv6,
        aliases=settings.aliases,
        # no names on the default network, as in Docker
        dns_names=tuple(dict.fromkeys(names)) if network.name != "bridge" else (),
        links=settings.links,
        driver_opts=dict(settings.driver_opts),
        gw_priority=settings.gw_priority,
        link_local_ips=tuple(link_local(text) for text in settings.link_local_ips),
        dns_servers=settings.dns_servers,
        dns_options=settings.dns_options,
        position=max((endpoint.position for endpoint in mine), default=-1) + 1,
    )


def _device(network: Network, settings: EndpointSettings, taken: Set[str]) -> str:
    wanted = device_name(settings.driver_opts)
    if wanted in taken or wanted == "lo":
        raise ConflictError(f"the container already has an interface named {wanted}", "choose another name")
    prefix = BridgeOptions.of(network.options).device_prefix
    return wanted or next(name for number in count() if (name := f"{prefix}{number}") not in taken)
