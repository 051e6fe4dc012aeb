"""The addresses and routes of a network namespace (rtnetlink(7))."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.linux.netlink import Netlink, attributes

RTM_GETADDR, RTM_GETROUTE = 22, 26
IFADDRMSG_BYTES, RTMSG_BYTES = 8, 12
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF = 1, 4
RTPROT_KERNEL = 2
RTN_UNICAST = 1

Range = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class InterfaceAddress:
    """An address of an interface, up or down; `range` is its subnet."""

    interface: int
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    range: Range


@dataclass(frozen=True)
class Route:
    """A route of any table; `interface` is its index, 0 if it has none, such as a blackhole."""

    range: Range
    interface: int


def addresses(link: Netlink) -> Iterator[InterfaceAddress]:
    """Yield the IPv4 and IPv6 addresses of all interfaces."""
    for message in link.dump(RTM_GETADDR, struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0)):
        family, prefix, _flags, _scope, interface = struct.unpack_from("=BBBBI", message)
        if family not in (socket.AF_INET, socket.AF_INET6):
            continue
        told = dict(attributes(message, IFADDRMSG_BYTES))
        # on a point-to-point link IFA_ADDRESS is the peer's; without IFA_LOCAL (IPv6) it is our own
        reached = told.get(IFA_ADDRESS, told.get(IFA_LOCAL))
        if reached is not None:
            own = ipaddress.ip_address(told.get(IFA_LOCAL, reached))
            yield InterfaceAddress(interface, own, ipaddress.ip_network((reached, prefix), strict=False))


def has_default_route(link: Netlink) -> bool:
    """Whether a route is a default route."""
    return any(
        message[7] == RTN_UNICAST and RTA_DST not in dict(attributes(message, RTMSG_BYTES))
        for family in (socket.AF_INET, socket.AF_INET6)
        for message in link.dump(RTM_GETROUTE, _every_route(family))
    )


def _every_route(family: int) -> bytes:
    return struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)


def routes(link: Netlink) -> Iterator[Route]:
    """Yield the IPv4 and IPv6 routes of all tables, except default routes and those the kernel adds for addresses."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in link.dump(RTM_GETROUTE, _every_route(family)):
            told = dict(attributes(message, RTMSG_BYTES))
            if message[5] == RTPROT_KERNEL or RTA_DST not in told:
                continue
            (interface,) = struct.unpack("=I", told.get(RTA_OIF, bytes(4)))
            yield Route(ipaddress.ip_network((told[RTA_DST], message[1]), strict=False), interface)
