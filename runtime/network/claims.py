"""Which address ranges interfaces and routes of this machine use (rtnetlink(7))."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from runtime.linux.netlink import Interface, Netlink
from runtime.linux.routes import InterfaceAddress, Route, addresses, routes
from runtime.network.subnets import BRIDGE, INTERFACE, ROUTE, Claim

OUR_ALIAS = re.compile(r"skiff-(?P<engine>[0-9a-f]{8}) (?P<network>.*)", re.DOTALL)
"""The alias of bridges of all Skiff engines."""


def live_claims(link: Netlink, engine_id: str) -> list[Claim]:
    """Return the claims of interfaces and routes in the namespace of `link`; `engine_id` is this engine's."""
    interfaces = {one.index: one for one in link.interfaces()}
    found = [_claim_of_address(one, interfaces.get(one.interface), engine_id) for one in addresses(link)]
    return found + [_claim_of_route(one, interfaces.get(one.interface), engine_id) for one in routes(link)]


def rival(link: Netlink, index: int, subnets: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> Claim | None:
    """Return the claim of another interface than `index` on addresses of `subnets`, None if there is none."""
    for one in addresses(link):
        if one.interface != index and any(one.range.overlaps(subnet) for subnet in subnets):
            found = next((interface for interface in link.interfaces() if interface.index == one.interface), None)
            return _claim_of_address(one, found, "")
    return None


def name_server_claims(servers: Sequence[str]) -> list[Claim]:
    """Return the host's name servers as claims: a chosen network must not make one unreachable for the host."""
    return [
        Claim(ipaddress.ip_network(server.partition("%")[0]), f"name server {server} of /etc/resolv.conf")
        for server in servers
    ]


def _claim_of_address(one: InterfaceAddress, interface: Interface | None, engine_id: str) -> Claim:
    kind = BRIDGE if interface is not None and interface.kind == "bridge" else INTERFACE
    return Claim(one.range, _named(interface, engine_id, f" with {one.address}/{one.range.prefixlen}"), kind)


def _claim_of_route(one: Route, interface: Interface | None, engine_id: str) -> Claim:
    where = f" over {_named(interface, engine_id, '')}" if interface is not None else ""
    return Claim(one.range, f"the route {one.range}{where}", ROUTE)


def _named(interface: Interface | None, engine_id: str, address: str) -> str:
    if interface is None:
        return f"an interface{address}"
    ours = OUR_ALIAS.fullmatch(interface.alias)
    if ours is None:
        return f"interface {interface.name}{address}"
    engine = "this engine" if ours["engine"] == engine_id else f"the Skiff engine {ours['engine']}"
    return f"network {ours['network']} of {engine} (interface {interface.name}{address})"
