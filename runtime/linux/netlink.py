"""Route netlink: links, addresses and routes, without running ip(8) (rtnetlink(7))."""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import KernelError

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTMGRP_LINK = 1
RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE = 20, 22, 24
NLM_F_REQUEST, NLM_F_ACK, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x1, 0x4, 0x100, 0x200, 0x400, 0x300
NLM_F_DUMP_INTR = 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 10, 18, 20
LONGEST_ALIAS = 255
"""IFALIASZ of <linux/if.h>, without the terminating null byte."""
IFLA_OPERSTATE, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_EXT_MASK = 16, 27, 28, 29
RTEXT_FILTER_SKIP_STATS = 8
IF_OPER_UNKNOWN, IF_OPER_UP = b"\0", b"\6"
NLMSGHDR_BYTES, IFINFOMSG_BYTES = 16, 16
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFLA_LINK, IFLA_CHILD_MODE = 5, 1
"""The second is IFLA_MACVLAN_MODE, and IFLA_IPVLAN_MODE, too."""
IFLA_PROTINFO, NLA_F_NESTED = 12, 0x8000
IFLA_BRPORT_STATE, IFLA_BRPORT_MODE, IFLA_BRPORT_FLUSH, IFLA_BRPORT_ISOLATED = 1, 4, 24, 33
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_PERMANENT, IFADDRMSG_BYTES = 0x80, 8
HOST_PREFIXES = 31
"""From this IPv4 prefix on there is no address for all (RFC 3021)."""
RTA_OIF, RTA_GATEWAY = 4, 5
IFF_UP = 1
AF_BRIDGE = 7
RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, RT_TABLE_MAIN = 3, 0, 1, 254

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


class Netlink:
    """A route netlink socket of the network namespace in which it was created."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _ask(self, kind: int, flags: int, body: bytes, what: Sequence[object]) -> None:
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, self._sequence, 0)
        self._socket.send(header + body)
        answer = self._socket.recv(65536)
        _length, answered, _flags, _sequence, _pid = struct.unpack_from("=IHHII", answer)
        if answered == NLMSG_ERROR:
            (code,) = struct.unpack_from("=i", answer, 16)
            if code:
                raise KernelError("rtnetlink", what, -code)

    def index(self, name: str) -> int:
        """Return the index of the interface `name` in the current namespace. Raises KeyError if there is none."""
        try:
            return socket.if_nametoindex(name)
        except OSError:
            raise KeyError(name) from None

    def add_bridge(self, name: str, mac: str | None = None, group: int = 0) -> None:
        """Create the bridge `name` in the device group `group`."""
        info = _attribute(IFLA_LINKINFO, _text(IFLA_INFO_KIND, "bridge"))
        body = _link(0) + _text(IFLA_IFNAME, name) + info + (_mac(mac) if mac else b"")
        self._ask(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body + _number(IFLA_GROUP, group), ("add bridge", name))

    def set_alias(self, name: str, alias: str) -> None:
        """Set the alias of the interface, its purpose as shown by `ip link`, and remove it from its group.

        A long alias is truncated.
        """
        shown = _attribute(IFLA_IFALIAS, alias.encode()[:LONGEST_ALIAS].decode(errors="ignore").encode())
        body = _link(0) + _text(IFLA_IFNAME, name) + shown + _number(IFLA_GROUP, 0)
        self._ask(RTM_SETLINK, 0, body, ("set alias", name))

    def add_veth(self, name: str, master: int, peer: str, peer_mac: str, namespace: int, mtu: int = 1500) -> None:
        """Create a veth pair: `name` here, up, on the bridge `master`; `peer` in the namespace of a descriptor."""
        other = _link(0) + _text(IFLA_IFNAME, peer) + _mac(peer_mac) + _number(IFLA_NET_NS_FD, namespace)
        other += _number(IFLA_MTU, mtu)
        data = _attribute(IFLA_INFO_DATA, _attribute(VETH_INFO_PEER, other))
        info = _attribute(IFLA_LINKINFO, _text(IFLA_INFO_KIND, "veth") + data)
        body = (
            _link(0, IFF_UP) + _text(IFLA_IFNAME, name) + _number(IFLA_MASTER, master) + _number(IFLA_MTU, mtu) + info
        )
        self._ask(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, ("add veth", name, peer))

    def add_pair(self, name: str, peer: str) -> None:
        """Make a veth pair of which both ends stay here; neither is up."""
        other = _attribute(VETH_INFO_PEER, _link(0) + _text(IFLA_IFNAME, peer))
        info = _attribute(IFLA_LINKINFO, _text(IFLA_INFO_KIND, "veth") + _attribute(IFLA_INFO_DATA, other))
        self._ask(
            RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _link(0) + _text(IFLA_IFNAME, name) + info, ("add pair", name)
        )

    def add_child(self, kind: str, mode: int, parent: int, name: str, mac: str, namespace: int) -> None:
        """Make a macvlan or ipvlan device on the interface `parent`, in the namespace of a descriptor.

        An ipvlan device has its parent's hardware address. Raises KernelError.
        """
        value = struct.pack("=H", mode) if kind == "ipvlan" else struct.pack("=I", mode)
        info = _text(IFLA_INFO_KIND, kind) + _attribute(IFLA_INFO_DATA, _attribute(IFLA_CHILD_MODE, value))
        body = _link(0) + _text(IFLA_IFNAME, name) + _number(IFLA_LINK, parent) + _number(IFLA_NET_NS_FD, namespace)
        body += _mac(mac) if kind != "ipvlan" else b""
        body += _attribute(IFLA_LINKINFO, info)
        self._ask(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, (f"add {kind}", name))

    def set_port(self, index: int, *, reflects: bool, is_isolated: bool) -> None:
        """Configure the bridge port `index`.

        A port that `reflects` (hairpin mode) gets frames back that it sent; one that `is_isolated` does not forward to
        other isolated ports of its bridge.
        """
        flags = _attribute(IFLA_BRPORT_MODE, bytes([reflects])) + _attribute(IFLA_BRPORT_ISOLATED, bytes([is_isolated]))
        self._set_port(index, flags)

    def disable_port(self, index: int) -> None:
        """Disable the bridge port `index`, and flush its learned addresses."""
        self._set_port(index, _attribute(IFLA_BRPORT_STATE, bytes([0])) + _attribute(IFLA_BRPORT_FLUSH, b""))

    def _set_port(self, index: int, settings: bytes) -> None:
        body = struct.pack("=BBHiII", AF_BRIDGE, 0, 0, index, 0, 0) + _attribute(IFLA_PROTINFO | NLA_F_NESTED, settings)
        self._ask(RTM_SETLINK, 0, body, ("set bridge port", index))

    def up(self, index: int) -> None:
        """Set the interface up."""
        self._ask(RTM_NEWLINK, 0, _link(index, IFF_UP), ("up", index))

    def operates(self, index: int) -> bool:
        """Whether the interface is operational: the kernel has set its operstate after a carrier."""
        self._sequence += 1
        body = _link(index) + _number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        header = struct.pack("=IHHII", 16 + len(body), RTM_GETLINK, NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(header + body)
        data = self._socket.recv(65536)
        length, kind = struct.unpack_from("=IH", data)
        found = dict(attributes(data[:length], NLMSGHDR_BYTES + IFINFOMSG_BYTES)) if kind == RTM_NEWLINK else {}
        return found.get(IFLA_OPERSTATE, b"") in (IF_OPER_UP, IF_OPER_UNKNOWN)

    def enslave(self, name: str, master: int) -> None:
        """Make the interface a port of the bridge `master`, and set it up."""
        body = _link(0, IFF_UP) + _text(IFLA_IFNAME, name) + _number(IFLA_MASTER, master)
        self._ask(RTM_SETLINK, 0, body, ("enslave", name, master))

    def delete(self, index: int) -> None:
        """Remove the interface."""
        self._ask(RTM_DELLINK, 0, _link(index), ("delete link", index))

    def delete_together(self, names: Sequence[str], group: int) -> None:
        """Remove interfaces in one request, by moving them to the device group `group`; missing ones are skipped.

        Measured: a removal waits for RCU grace periods; a group of a hundred takes as long as a single interface.
        """
        for name in names:
            try:
                self._ask(RTM_SETLINK, 0, _link(0) + _text(IFLA_IFNAME, name) + _number(IFLA_GROUP, group), (name,))
            except KernelError as error:
                if error.errno != errno.ENODEV:
                    raise
        try:
            self._ask(RTM_DELLINK, 0, _link(0) + _number(IFLA_GROUP, group), ("delete group", group))
        except KernelError as error:
            if error.errno != errno.ENODEV:
                raise

    def add_address(self, index: int, address: Address) -> None:
        """Add an address to the interface."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        flags = 0 if address.version == 4 else 0x02  # IFA_F_NODAD: the address is ours alone, there is no wait for it
        head = struct.pack("=BBBBI", family, address.network.prefixlen, flags, 0, index)
        packed = address.ip.packed
        body = head + _attribute(IFA_LOCAL, packed) + _attribute(IFA_ADDRESS, packed)
        if address.version == 4 and address.network.prefixlen < HOST_PREFIXES:
            body += _attribute(IFA_BROADCAST, address.network.broadcast_address.packed)
        self._ask(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, ("add address", index, address))

    def permanent_addresses(self, index: int) -> list[Address]:
        """Return the addresses of the interface that have no end and are valid everywhere."""
        found: list[Address] = []
        for message in self.dump(RTM_GETADDR, struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0)):
            _family, prefix, _flags, scope, of = struct.unpack_from("=BBBBI", message)
            values = dict(attributes(message, IFADDRMSG_BYTES))
            (flags,) = struct.unpack("=I", values.get(IFA_FLAGS, bytes(4)))
            packed = values.get(IFA_LOCAL) or values.get(IFA_ADDRESS)
            if of == index and packed and flags & IFA_F_PERMANENT and scope == RT_SCOPE_UNIVERSE:
                found.append(ipaddress.ip_interface((packed, prefix)))
        return found

    def move(self, index: int, name: str, namespace: int) -> None:
        """Move an interface into the namespace of a descriptor, where it is called `name`."""
        body = _link(index) + _text(IFLA_IFNAME, name) + _number(IFLA_NET_NS_FD, namespace)
        self._ask(RTM_SETLINK, 0, body, ("move", name))

    def set_default_route(self, index: int, gateway: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        """Set or replace the default route, via `gateway`."""
        family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
        head = struct.pack("=BBBBBBBBI", family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
        body = head + _attribute(RTA_GATEWAY, gateway.packed) + _number(RTA_OIF, index)
        self._ask(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, ("set default route", gateway))

    def interfaces(self) -> list[Interface]:
        """Return all interfaces."""
        wanted = _link(0) + _number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        return [_interface(message) for message in self.dump(RTM_GETLINK, wanted)]

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Return the messages, without headers, of all objects of a kind. Repeated if the dump was interrupted."""
        while True:
            found, is_whole = self._dump_once(kind, body)
            if is_whole:
                return found

    def _dump_once(self, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        """Return the messages of a dump, and whether it is consistent: not interrupted by a change (NLM_F_DUMP_INTR)."""
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0)
        self._socket.send(header + body)
        found: list[bytes] = []
        is_whole = True
        while True:
            data = self._socket.recv(65536)
            offset = 0
            while offset < len(data):
                length, answered, flags = struct.unpack_from("=IHH", data, offset)
                is_whole = is_whole and not flags & NLM_F_DUMP_INTR
                if answered in (NLMSG_DONE, NLMSG_ERROR):
                    return found, is_whole
                found.append(data[offset + 16 : offset + length])
                offset += (length + 3) & ~3


@dataclass(frozen=True)
class Interface:
    """A network interface: index, name, alias and kind ("bridge"; each "" if there is none), and device group."""

    index: int
    name: str
    alias: str
    group: int
    kind: str = ""


def _interface(message: bytes) -> Interface:
    """Parse an RTM_NEWLINK message without its header."""
    (index,) = struct.unpack_from("=i", message, 4)
    name, alias, group, kind = "", "", 0, ""
    for attribute, value in attributes(message, IFINFOMSG_BYTES):
        if attribute == IFLA_IFNAME:
            name = value.rstrip(b"\0").decode(errors="replace")
        elif attribute == IFLA_IFALIAS:
            alias = value.rstrip(b"\0").decode(errors="replace")
        elif attribute == IFLA_GROUP:
            (group,) = struct.unpack("=I", value)
        elif attribute == IFLA_LINKINFO:
            kind = dict(attributes(value, 0)).get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
    return Interface(index, name, alias, group, kind)


def attributes(message: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of the attributes after the first `offset` bytes of a message."""
    while offset + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, offset)
        yield kind, message[offset + 4 : offset + size]
        offset += (size + 3) & ~3 or 4


def await_operation(index: int, timeout_s: float) -> bool:
    """Wait until the interface `index` of the current namespace is operational; return whether it is.

    The kernel handles a new carrier asynchronously (some ms on a busy machine). Packets that are sent before are lost,
    and TCP and ARP resend them only after a second.
    """
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    link = Netlink()
    try:
        events.bind((0, RTMGRP_LINK))
        deadline_s = time.monotonic() + timeout_s
        while not link.operates(index):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([events], (), (), left_s)[0]:
                return False
            events.recv(65536)
        return True
    finally:
        events.close()
        link.close()


def _link(index: int, flags: int = 0) -> bytes:
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, flags, flags)


def _mac(text: str) -> bytes:
    return _attribute(IFLA_ADDRESS, bytes.fromhex(text.replace(":", "")))


def forward_ipv6() -> None:
    """Enable IPv6 forwarding on this machine, and keep the router advertisements that it accepts.

    With forwarding enabled, an interface ignores router advertisements unless its `accept_ra` is 2 (kernel
    Documentation/networking/ip-sysctl.rst).
    """
    if Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text().strip() == "1":
        return
    for interface in Path("/proc/sys/net/ipv6/conf").iterdir():
        accepts = interface / "accept_ra"
        if accepts.read_text().strip() == "1":
            accepts.write_text("2")
    write_sysctl("net/ipv6/conf/all/forwarding", "1")


def write_sysctl(path: str, value: str) -> None:
    """Write a network sysctl of the current namespace, if it differs. Raises KernelError."""
    full = f"/proc/sys/{path}"
    try:
        descriptor = os.open(full, os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.read(descriptor, 64).decode().strip() != value:
                os.pwrite(descriptor, value.encode(), 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KernelError(
            "sysctl", (path.replace("/", "."), value), error.errno or 0, "see sysctl(8) for names and values"
        ) from error
