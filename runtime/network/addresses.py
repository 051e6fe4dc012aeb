"""Choosing and checking addresses of endpoints. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container

from runtime.errors import BadRequestError, ConflictError, ForbiddenError
from runtime.network.model import Network

SMALLEST_WITH_EDGES = 2
"""Addresses of the largest subnet all of whose addresses may be used (RFC 3021)."""


def parse_address(what: str, address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse an address of a user; `what` names it in the error. Raises BadRequestError."""
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        raise BadRequestError(f"invalid {what} {address!r}") from None


def choose_address(network: Network, version: int, wanted: str, used: Container[str]) -> str:
    """Return an address of the network with its prefix length: `wanted` if given, else the first that is not `used`.

    Returns "" if the network has no subnet of this IP `version`. Raises BadRequestError, ForbiddenError (address in use),
    ConflictError (all addresses in use).
    """
    subnets = network.subnets_of(version)
    reserved = {*(subnet.gateway for subnet in subnets), *(a for s in subnets for a in s.reserved.values())}
    if wanted:
        address = parse_address(f"IPv{version} address", wanted)
        subnet = next((subnet for subnet in subnets if address in subnet.range), None)
        if subnet is None:
            held = ", ".join(subnet.subnet for subnet in subnets) or "none"
            raise BadRequestError(
                f"no configured subnet of network {network.name} contains IP address {wanted}",
                f"its IPv{version} subnets: {held}",
            )
        # as for who asks for none: neither the network's own address, nor that for all of it
        edges = {subnet.range.network_address, *([subnet.range.broadcast_address] if version == 4 else [])}
        is_edge = address in edges and subnet.range.num_addresses > SMALLEST_WITH_EDGES
        if is_edge or str(address) in reserved or str(address) in used:
            raise ForbiddenError("Address already in use", f"choose another than {wanted} on network {network.name}")
        return f"{address}/{subnet.range.prefixlen}"
    for subnet in subnets:
        for host in (ipaddress.ip_network(subnet.ip_range) if subnet.ip_range else subnet.range).hosts():
            if (text := str(host)) not in reserved and text not in used:
                return f"{text}/{subnet.range.prefixlen}"
    if not subnets:
        return ""
    full = ", ".join(subnet.ip_range or subnet.subnet for subnet in subnets)
    raise ConflictError(
        f"no available IPv{version} addresses on this network's address pools: {network.name} ({network.id})",
        f"remove containers from the network, or create it with a larger subnet than {full}",
    )


def link_local(text: str) -> str:
    """Parse a link-local address and return it with its prefix length. Raises BadRequestError."""
    address = parse_address("link-local address", text)
    if not address.is_link_local:
        raise BadRequestError(f"{text} is not a link-local address", "these are in 169.254.0.0/16 and fe80::/10")
    return f"{address}/{16 if address.version == 4 else 64}"


def check_hardware_address(text: str) -> str:
    """Return the unicast MAC address `text` in normal form. Raises BadRequestError."""
    if not re.fullmatch(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", text) or int(text[:2], 16) & 1:
        raise BadRequestError(
            f"invalid MAC address {text!r}", 'write it as "02:42:ac:11:00:02"; the first byte is even'
        )
    return text.replace("-", ":").lower()


def hardware_address(seed: bytes) -> str:
    """Return a locally administered MAC address that ends with the first four bytes of `seed`."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in seed[:4])
