"""Which subnet a network takes, which address an endpoint. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from runtime.errors import BadRequestError, ConflictError, ForbiddenError
from runtime.network.model import Network, Subnet

POOLS = [f"172.{number}.0.0/16" for number in range(17, 32)] + [
    f"192.168.{number}.0/20" for number in range(0, 256, 16)
]


def free_subnet(networks: Iterable[Network], routes: Sequence[ipaddress.IPv4Network]) -> Subnet:
    """Return the first pool that meets neither a network nor a route of the host. Raises ConflictError."""
    taken = [
        *routes,
        *(ipaddress.IPv4Network(subnet.subnet) for network in networks for subnet in network.subnets_of(4)),
    ]
    for pool in POOLS:
        candidate = ipaddress.IPv4Network(pool)
        if not any(candidate.overlaps(network) for network in taken):
            return Subnet(str(candidate), str(candidate[1]))
    raise ConflictError(
        "all predefined address pools have been fully subnetted",
        "remove networks that nobody needs (`docker network prune`), or give this one a subnet of its own "
        "(networks: NAME: ipam: config: - subnet: 10.20.0.0/24)",
    )


def complete_subnet(wanted: Subnet, networks: Iterable[Network]) -> Subnet:
    """Return the subnet that a user names, with its gateway. Raises BadRequestError, ForbiddenError on an overlap."""
    try:
        range = ipaddress.ip_network(wanted.subnet)
    except ValueError as error:
        raise BadRequestError(
            f"invalid subnet {wanted.subnet}: {error}", 'write it with its first address, as "172.28.0.0/16"'
        ) from error
    for network in networks:
        for subnet in network.subnets:
            if subnet.range.version == range.version and range.overlaps(subnet.range):
                raise ForbiddenError(
                    f"subnet {wanted.subnet} overlaps with {subnet.subnet} of network {network.name}",
                    "choose another subnet, or leave it out to have a free one chosen",
                )
    for what, address in (("gateway", wanted.gateway), *(("aux address", one) for one in wanted.reserved.values())):
        if address and _parse(what, address) not in range:
            raise BadRequestError(f"{what} {address} is not in subnet {wanted.subnet}", f"choose one of {range}")
    if wanted.ip_range:
        try:
            part = ipaddress.ip_network(wanted.ip_range)
        except ValueError as error:
            raise BadRequestError(f"invalid ip_range {wanted.ip_range}: {error}") from error
        if part.version != range.version or not part.subnet_of(range):  # type: ignore[arg-type]
            raise BadRequestError(f"ip_range {wanted.ip_range} is not in subnet {wanted.subnet}")
    return replace(wanted, gateway=wanted.gateway or str(range[1]))


def _parse(what: str, address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        raise BadRequestError(f"invalid {what} {address!r}") from None


def choose_address(network: Network, version: int, wanted: str, used: Iterable[str]) -> str:
    """Return an address of the network with its prefix length: the `wanted` one, else the first that is not `used`.

    A network without subnets of this IP `version` gives none: "". Raises BadRequestError, ForbiddenError (in use),
    ConflictError (all are).
    """
    subnets = network.subnets_of(version)
    taken = {*used, *(subnet.gateway for subnet in subnets), *(a for s in subnets for a in s.reserved.values())}
    if wanted:
        address = _parse(f"IPv{version} address", wanted)
        subnet = next((subnet for subnet in subnets if address in subnet.range), None)
        if subnet is None:
            held = ", ".join(subnet.subnet for subnet in subnets) or "none"
            raise BadRequestError(
                f"no configured subnet of network {network.name} contains IP address {wanted}",
                f"its IPv{version} subnets: {held}",
            )
        if str(address) in taken:
            raise ForbiddenError(f"address {wanted} is already in use on network {network.name}")
        return f"{address}/{subnet.range.prefixlen}"
    for subnet in subnets:
        for host in (ipaddress.ip_network(subnet.ip_range) if subnet.ip_range else subnet.range).hosts():
            if str(host) not in taken:
                return f"{host}/{subnet.range.prefixlen}"
    if not subnets:
        return ""
    full = ", ".join(subnet.ip_range or subnet.subnet for subnet in subnets)
    raise ConflictError(
        f"no available addresses in {full} of network {network.name}",
        "remove containers from the network, or make it with a larger subnet",
    )


def link_local(text: str) -> str:
    """Return a link-local address with its prefix length. Raises BadRequestError."""
    address = _parse("link-local address", text)
    if not address.is_link_local:
        raise BadRequestError(f"{text} is no link-local address", "these are in 169.254.0.0/16 and fe80::/10")
    return f"{address}/{16 if address.version == 4 else 64}"


def check_hardware_address(text: str) -> str:
    """Return `text` when a network card could have it. Raises BadRequestError."""
    if not re.fullmatch(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", text) or int(text[:2], 16) & 1:
        raise BadRequestError(
            f"invalid MAC address {text!r}", 'write it as "02:42:ac:11:00:02"; the first byte is even'
        )
    return text.replace("-", ":").lower()


def hardware_address(seed: bytes) -> str:
    """Return a locally administered hardware address that ends with four bytes of `seed`."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in seed[:4])
