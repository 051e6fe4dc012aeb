"""A container's networks and ports as Docker shows them (Docker Engine API, "NetworkSettings")."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from runtime.engine.containers.state import Container
from runtime.errors import NotFoundError
from runtime.network.model import Endpoint
from runtime.network.networks import Networks

OF_DEFAULT_BRIDGE: Mapping[str, Any] = {
    "EndpointID": "", "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "",
    "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
}  # fmt: skip
"""Fields of the default bridge's endpoint that NetworkSettings repeats, with their values without such an endpoint."""


def network_settings(container: Container, networks: Networks) -> dict[str, Any]:
    """Return the NetworkSettings of "Inspect a container"."""
    shown = attachments(container, networks)
    bridge = shown.get("bridge", {})
    namespace = networks.namespace(container.id)
    has_namespace = container.is_running and namespace.exists()
    return {
        "Bridge": "",
        "SandboxID": container.id if has_namespace else "",
        "SandboxKey": str(namespace) if has_namespace else "",
        "Ports": ports(container),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{key: bridge.get(key, default) for key, default in OF_DEFAULT_BRIDGE.items()},
        "Networks": shown,
    }


def attachments(container: Container, networks: Networks) -> dict[str, Any]:
    """Return the container's EndpointSettings by network name."""
    endpoints = {endpoint.network_id: endpoint for endpoint in networks.endpoints(container.id)}
    shown = {}
    for name, wanted in container.networks.items():
        try:
            network = networks.resolve(name)
        except NotFoundError:
            continue
        endpoint = endpoints.get(network.id)
        gateways = [
            network.gateway_of(a) if a else "" for a in ((endpoint.ipv4, endpoint.ipv6) if endpoint else ("", ""))
        ]
        shown[name] = {
            "IPAMConfig": wanted.get("IPAMConfig"),
            "Links": wanted.get("Links"),
            "Aliases": wanted.get("Aliases"),
            "MacAddress": endpoint.mac_address if endpoint else wanted.get("MacAddress") or "",
            "DriverOpts": wanted.get("DriverOpts"),
            "GwPriority": wanted.get("GwPriority") or 0,
            "NetworkID": network.id if endpoint or container.state.was_started else "",
            "EndpointID": endpoint.id if endpoint else "",
            "Gateway": gateways[0],
            "IPv6Gateway": gateways[1],
            **_addresses(endpoint),
            "DNSNames": (list(endpoint.dns_names) or None) if endpoint else None,
        }
    return shown


def _addresses(endpoint: Endpoint | None) -> dict[str, Any]:
    ipv4 = ipaddress.ip_interface(endpoint.ipv4) if endpoint and endpoint.ipv4 else None
    ipv6 = ipaddress.ip_interface(endpoint.ipv6) if endpoint and endpoint.ipv6 else None
    return {
        "IPAddress": str(ipv4.ip) if ipv4 else "",
        "IPPrefixLen": ipv4.network.prefixlen if ipv4 else 0,
        "GlobalIPv6Address": str(ipv6.ip) if ipv6 else "",
        "GlobalIPv6PrefixLen": ipv6.network.prefixlen if ipv6 else 0,
    }


def ports(container: Container) -> dict[str, list[dict[str, str]] | None]:
    """Return the container's exposed ports ("80/tcp"), each with its host addresses, None if it is not published."""
    if not container.is_running:
        return {}
    exposed: dict[str, list[dict[str, str]] | None] = dict.fromkeys(container.config.get("ExposedPorts") or {})
    for port in container.ports:
        key = f"{port['PrivatePort']}/{port['Type']}"
        held = exposed.get(key) or []
        held.append({"HostIp": port["IP"] or "0.0.0.0", "HostPort": str(port["PublicPort"] or "")})
        exposed[key] = held
    return exposed


def _port_order(entry: tuple[str, object]) -> tuple[int, str]:
    number, _, protocol = entry[0].partition("/")
    return int(number.partition("-")[0]), protocol


def port_rows(container: Container) -> list[dict[str, Any]]:
    """Return the same as in "List containers"."""
    rows: list[dict[str, Any]] = []
    for key, held in sorted(ports(container).items(), key=_port_order):
        number, _, protocol = key.partition("/")
        base = {"PrivatePort": int(number.partition("-")[0]), "Type": protocol}
        rows += [
            {**base, "IP": one["HostIp"], **({"PublicPort": int(one["HostPort"])} if one["HostPort"] else {})}
            for one in held or ()
        ] or [base]
    return rows
