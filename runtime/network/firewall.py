"""Our nftables table: address translation for networks and published ports, and isolation between networks.

One table an engine, changed by single elements of sets and maps, so that a change costs the same with one published
port as with a thousand.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import KernelError
from runtime.linux import nftables as nft
from runtime.linux.nfnetlink import Message, Nfnetlink
from runtime.network.host_firewalls import HostFirewalls

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
R = nft.REGISTER
SETS = (
    "bridges", "closed", "same", "subnets4", "subnets6", "published4", "published6", "published4_at", "published6_at",
)  # fmt: skip


@dataclass(frozen=True)
class Forward:
    """One published port: what arrives for it goes to `address`:`port` in a container.

    `host_ip` is of the same family as `address`; empty, it stands for every address of this machine.
    """

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int

    @property
    def version(self) -> int:
        """The version of IP."""
        return ipaddress.ip_address(self.address).version

    @property
    def element(self) -> tuple[str, bytes, bytes]:
        """The map, key and value of this port."""
        key = nft.joined(bytes([PROTOCOLS[self.protocol]]), nft.port(self.host_port))
        value = nft.joined(ipaddress.ip_address(self.address).packed, nft.port(self.port))
        if not self.host_ip:
            return f"published{self.version}", key, value
        return f"published{self.version}_at", ipaddress.ip_address(self.host_ip).packed + key, value


@dataclass(frozen=True)
class FirewallNetwork:
    """What the firewall knows of a network: its bridge and how open it is."""

    bridge: str
    subnets: tuple[str, ...] = ()
    is_internal: bool = False
    masquerades: bool = True

    @property
    def members(self) -> list[tuple[str, bytes]]:
        """The sets that its bridge is in, with the elements that stand for it."""
        bridge = nft.interface(self.bridge)
        # where bridged traffic passes the firewall too (br_netfilter), neighbours still reach each other
        found = [("bridges", bridge), ("same", bridge + bridge)]
        return [*found, ("closed", bridge)] if self.is_internal else found

    @property
    def translated(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The subnets whose addresses are changed into the host's on the way out."""
        if self.is_internal or not self.masquerades:
            return ()
        return tuple(ipaddress.ip_network(subnet) for subnet in self.subnets)


class Firewall:
    """The table of one engine; it exists while a network does.

    `in_own_netns` is said of a network namespace that has nothing but the bridges, and pasta(1) for a way out.
    """

    def __init__(self, engine_id: str, *, in_own_netns: bool = False) -> None:
        self._in_own_netns = in_own_netns
        self._table = nft.Table(nft.INET, f"skiff-{engine_id}")
        self._others = HostFirewalls(engine_id)
        self._netlink: Nfnetlink | None = None
        self._exists = False
        self._networks: dict[str, FirewallNetwork] = {}
        self._forwards: set[Forward] = set()

    def _link(self) -> Nfnetlink:
        if self._netlink is None:
            self._netlink = Nfnetlink()
        return self._netlink

    def _run(self, messages: Sequence[Message]) -> None:
        self._link().batch(messages)

    def create(self) -> None:
        """Make the table, empty, in place of one that an earlier engine left."""
        t = self._table
        self._run([t.add(), t.delete(), t.add(), *_sets(t), *self._rules()])
        self._others.withdraw(self._link())
        self._exists = True
        self._forget()

    def _rules(self) -> list[Message]:
        t = self._table
        return [*_translation(t), *_isolation(t), *(_quiet(t) if self._in_own_netns else ())]

    def _forget(self) -> None:
        self._networks.clear()
        self._forwards.clear()

    def add_network(self, network: FirewallNetwork) -> None:
        """Let a network out (not an internal one), apart from the others."""
        if not self._exists:
            self.create()
        self._run(self._network(network, is_new=True))
        self._networks[network.bridge] = network
        self._others.admit(self._link(), network.bridge)

    def remove_network(self, network: FirewallNetwork, *, is_last: bool) -> None:
        """Take a network out; the table goes with the last one."""
        if is_last:
            self.remove()
        else:
            self._run(self._network(network, is_new=False))
            self._networks.pop(network.bridge, None)
            self._others.withdraw(self._link(), network.bridge)

    def _network(self, network: FirewallNetwork, *, is_new: bool) -> list[Message]:
        t = self._table
        messages = [
            t.add_elements(name, [(key, b"")]) if is_new else t.delete_elements(name, [key])
            for name, key in network.members
        ]
        change = t.add_range if is_new else t.delete_range
        for subnet in network.translated:
            after = int(subnet.broadcast_address) + 1
            packed = after.to_bytes(subnet.max_prefixlen // 8, "big")
            messages.append(change(f"subnets{subnet.version}", subnet.network_address.packed, packed))
        return messages

    def publish(self, forwards: Sequence[Forward]) -> None:
        """Publish ports, all or none."""
        if forwards:
            self._run([self._table.add_elements(f.element[0], [f.element[1:]]) for f in forwards])
            self._forwards.update(forwards)

    def unpublish(self, forwards: Sequence[Forward]) -> None:
        """Take published ports back."""
        if forwards and self._exists:
            self._run([self._table.delete_elements(f.element[0], [f.element[1]]) for f in forwards])
            self._forwards.difference_update(forwards)

    def discard(self) -> None:
        """Remove the table that an earlier engine may have left; where nftables is missing there is none."""
        with contextlib.suppress(KernelError):
            self._run([self._table.add(), self._table.delete()])
            self._others.withdraw(self._link())
        self._exists = False

    def remove(self) -> None:
        """Remove the table."""
        try:
            self._run([self._table.delete()])
            self._others.withdraw(self._link())
        except KernelError:
            if self._exists:
                raise
        self._exists = False
        self._forget()

    # --- what the kernel has of it

    def differences(self) -> list[str]:
        """Return how the kernel's table differs from what was put into it, a line each."""
        if not self._exists:
            return []
        name = f"the nftables table {self._table.name}"
        counts = self._rule_counts()
        try:
            found = {one: dict(self._table.elements(self._link(), one)) for one in SETS}
            rules = {chain: len(list(self._table.rules(self._link(), chain))) for chain in counts}
        except KernelError:
            return [f"{name} is gone, or is not what the engine made"]
        changed = [chain for chain, count in counts.items() if rules[chain] != count]
        told = [f"{name} has other rules in its chain {chain}" for chain in changed]
        wanted = self._elements()
        for one in SETS:
            told += [
                f"{name} lacks {_readable(one, key)}" for key in wanted[one] if found[one].get(key) != wanted[one][key]
            ]
            told += [
                f"{name} has {_readable(one, key)}, which is nobody's" for key in found[one] if key not in wanted[one]
            ]
        return told

    def restore(self) -> None:
        """Make the table again as it should be."""
        networks, forwards = list(self._networks.values()), list(self._forwards)
        self.create()
        for network in networks:
            self.add_network(network)
        self.publish(forwards)

    def _rule_counts(self) -> Counter[str]:
        return Counter(chain for message in self._rules() if (chain := nft.chain_of_rule(message)))

    def _elements(self) -> dict[str, dict[bytes, bytes]]:
        """Return what the table's sets and maps should have."""
        wanted: dict[str, dict[bytes, bytes]] = {one: {} for one in SETS}
        for network in self._networks.values():
            for name, key in network.members:
                wanted[name][key] = b""
            for subnet in network.translated:
                wanted[f"subnets{subnet.version}"][subnet.network_address.packed] = b""
        for forward in self._forwards:
            name, key, value = forward.element
            wanted[name][key] = value
        return wanted


def _readable(name: str, key: bytes) -> str:
    """Return an element of the set or map `name` as a person reads it."""
    if name in ("bridges", "closed", "same"):
        return f"the bridge {key[: nft.IFNAME_BYTES].rstrip(bytes(1)).decode(errors='replace')} in {name}"
    if name.startswith("subnets"):
        return f"the subnet of {ipaddress.ip_address(key)}"
    address = ipaddress.ip_address(key[:-8]) if name.endswith("_at") else "every address"
    protocol = {number: protocol for protocol, number in PROTOCOLS.items()}.get(key[-8], str(key[-8]))
    return f"the published port {int.from_bytes(key[-4:-2], 'big')}/{protocol} of {address}"


def _sets(t: nft.Table) -> list[Message]:
    port = (nft.PROTOCOL, nft.SERVICE)
    return [
        t.set("bridges", 1, [nft.INTERFACE]),
        t.set("closed", 2, [nft.INTERFACE]),
        t.set("same", 3, [nft.INTERFACE, nft.INTERFACE]),
        t.set("subnets4", 4, [nft.IPV4_ADDRESS], is_interval=True),
        t.set("subnets6", 5, [nft.IPV6_ADDRESS], is_interval=True),
        t.set("published4", 6, port, [nft.IPV4_ADDRESS, nft.SERVICE]),
        t.set("published6", 7, port, [nft.IPV6_ADDRESS, nft.SERVICE]),
        t.set("published4_at", 8, [nft.IPV4_ADDRESS, *port], [nft.IPV4_ADDRESS, nft.SERVICE]),
        t.set("published6_at", 9, [nft.IPV6_ADDRESS, *port], [nft.IPV6_ADDRESS, nft.SERVICE]),
    ]


def _translation(t: nft.Table) -> list[Message]:
    """The host's address instead of the container's on the way out, the container's instead of the host's inwards."""
    messages = [t.chain("translate")]
    for family, version, destination, length in ((nft.IPV4, 4, 16, 4), (nft.IPV6, 6, 24, 16)):
        behind = R + length // 4
        target = nft.translate(family, R, behind)
        here = [*nft.family(family), *nft.to_this_machine()]
        if version == 6:
            # no route leads from ::1 to a container, so the forwarder has that one
            here += [nft.payload(1, destination, length), nft.differs(bytes(15) + b"\1")]
        to_address = [nft.payload(1, destination, length), nft.meta(16, behind), nft.payload(2, 2, 2, behind + 1)]
        to_any = [nft.meta(16), nft.payload(2, 2, 2, R + 1)]
        messages += [
            t.rule("translate", here, to_address, nft.mapped(f"published{version}_at"), target),
            t.rule("translate", here, to_any, nft.mapped(f"published{version}"), target),
        ]
    messages += [
        t.base_chain("arriving", "nat", nft.PREROUTING, nft.DSTNAT),
        t.base_chain("leaving_host", "nat", nft.OUTPUT, nft.DSTNAT),
        t.rule("arriving", nft.verdict(nft.JUMP, "translate")),
        t.rule("leaving_host", nft.verdict(nft.JUMP, "translate")),
        t.base_chain("leaving", "nat", nft.POSTROUTING, nft.SRCNAT),
    ]
    to_bridge = [nft.outgoing(), nft.is_in("bridges")]
    for family, source, length, subnets in ((nft.IPV4, 12, 4, "subnets4"), (nft.IPV6, 8, 16, "subnets6")):
        from_container = [*nft.family(family), nft.payload(1, source, length), nft.is_in(subnets)]
        messages += [
            t.rule("leaving", from_container, nft.outgoing(), nft.is_in("bridges", inverted=True), nft.masquerade()),
            # a container that reaches a neighbour, or itself, over the host's port
            t.rule("leaving", nft.translated_connection(), from_container, to_bridge, nft.masquerade()),
        ]
    from_loopback = [*nft.family(nft.IPV4), nft.payload(1, 12, 1), nft.equal(b"\x7f")]
    messages.append(t.rule("leaving", from_loopback, to_bridge, nft.masquerade()))
    return messages


def _isolation(t: nft.Table) -> list[Message]:
    """Loopback stays the host's own; networks are apart; only published ports let in."""
    accept, drop = nft.verdict(nft.ACCEPT), nft.verdict(nft.DROP)
    from_bridge = [nft.incoming(), nft.is_in("bridges")]
    to_bridge = [nft.outgoing(), nft.is_in("bridges")]
    to_loopback = [*nft.family(nft.IPV4), nft.payload(1, 16, 1), nft.equal(b"\x7f")]
    return [
        t.base_chain("no_loopback", "filter", nft.PREROUTING, nft.RAW),
        t.rule("no_loopback", from_bridge, to_loopback, drop),
        t.base_chain("passing", "filter", nft.FORWARD, nft.FILTER),
        t.rule("passing", nft.known_connection(), accept),
        t.rule("passing", nft.incoming(), nft.outgoing(R + 4), nft.is_in("same"), accept),
        t.rule("passing", nft.incoming(), nft.is_in("closed"), drop),
        t.rule("passing", nft.outgoing(), nft.is_in("closed"), drop),
        t.rule("passing", nft.translated_connection(), accept),
        t.rule("passing", from_bridge, to_bridge, drop),
        t.rule("passing", to_bridge, drop),
    ]


def _quiet(t: nft.Table) -> list[Message]:
    """Leave what fits no connection unanswered.

    Measured with Debian 12's passt: its updates of a window carry no ACK flag, so they belong to no container's
    connection; this namespace itself would answer them with a reset, and pasta end the connection.
    """
    return [
        t.base_chain("arriving_here", "filter", nft.INPUT, nft.FILTER),
        t.rule("arriving_here", nft.malformed_connection(), nft.verdict(nft.DROP)),
    ]
