"""The engine's nftables table: NAT for networks and published ports, and isolation between networks.

Each engine has one table. It changes only by elements of its sets and maps, so a change costs the same with one published
port as with a thousand. As nft(8) shows it (IPv6 rules, which are like those for IPv4, are left out):

    table inet skiff-<engine id> {
        set bridges  { type ifname }                        # all bridges of the engine
        set closed   { type ifname }                        # bridges of internal networks
        set same     { type ifname . ifname }               # each bridge with itself
        set subnets4 { type ipv4_addr; flags interval }     # subnets to masquerade
        map published4    { type inet_proto . inet_service : ipv4_addr . inet_service }
        map published4_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }

        chain arriving     { type nat hook prerouting priority dstnat; jump translate }
        chain leaving_host { type nat hook output priority dstnat; jump translate }
        chain translate {                                   # published ports (not ::1, which can't be routed)
            fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @published4_at
            fib daddr type local dnat ip to meta l4proto . th dport map @published4
        }
        chain leaving { type nat hook postrouting priority srcnat;
            ip saddr @subnets4 oifname != @bridges masquerade                # containers to the outside
            ct status dnat ip saddr @subnets4 oifname @bridges masquerade    # to a neighbour's published port
            ip saddr 127.0.0.0/8 oifname @bridges masquerade                 # ports published on 127.0.0.1
        }
        chain no_loopback { type filter hook prerouting priority raw;
            iifname @bridges ip daddr 127.0.0.0/8 drop      # route_localnet is on
        }
        chain passing { type filter hook forward priority filter;
            ct state established,related accept
            iifname . oifname @same accept                  # br_netfilter: traffic on one bridge
            iifname @closed drop
            oifname @closed drop
            ct status dnat accept                           # published ports
            iifname @bridges oifname @bridges drop          # other networks
            oifname @unprotected4 meta nfproto ipv4 accept  # from outside: gateway mode nat-unprotected; also IPv6
            ip daddr . meta l4proto . th dport @open4 accept    # published ports of networks with mode routed; also IPv6
            oifname @bridges drop
        }
        chain arriving_here { type filter hook input priority filter;
            ct state invalid drop                           # only without root, see `_quiet`
        }
    }
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runtime.errors import KernelError
from runtime.linux import nftables as nft
from runtime.linux.nfnetlink import Message, Nfnetlink
from runtime.network.host_firewalls import HostFirewalls

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
R = nft.REGISTER
SETS = (
    "bridges", "closed", "same", "subnets4", "subnets6", "published4", "published6", "published4_at", "published6_at",
    "unprotected4", "unprotected6", "open4", "open6",
)  # fmt: skip


@dataclass(frozen=True)
class Forward:
    """One published port: `host_ip`:`host_port` is forwarded to `address`:`port` of a container.

    `host_ip` has the same family as `address`; "" means all addresses of this machine. One that `is_routed` is reached at
    `address` itself.
    """

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int
    is_routed: bool = False

    @property
    def version(self) -> int:
        """The IP version."""
        return ipaddress.ip_address(self.address).version

    @property
    def element(self) -> tuple[str, bytes, bytes]:
        """(map, key, value) of this port."""
        if self.is_routed:
            own = nft.joined(bytes([PROTOCOLS[self.protocol]]), nft.port(self.port))
            return f"open{self.version}", ipaddress.ip_address(self.address).packed + own, b""
        key = nft.joined(bytes([PROTOCOLS[self.protocol]]), nft.port(self.host_port))
        value = nft.joined(ipaddress.ip_address(self.address).packed, nft.port(self.port))
        if not self.host_ip:
            return f"published{self.version}", key, value
        return f"published{self.version}_at", ipaddress.ip_address(self.host_ip).packed + key, value


@dataclass(frozen=True)
class FirewallNetwork:
    """The firewall's view of a network: `is_internal` ones have no traffic to the outside."""

    bridge: str
    subnets: tuple[str, ...] = ()
    is_internal: bool = False
    masquerades: bool = True
    routed: frozenset[int] = frozenset()
    unprotected: frozenset[int] = frozenset()
    """The IP versions with these gateway modes."""

    @property
    def members(self) -> list[tuple[str, bytes]]:
        """(set, element) for each set that contains the bridge."""
        bridge = nft.interface(self.bridge)
        # "same": with br_netfilter, bridged traffic passes the forward hook too, and must be accepted
        found = [("bridges", bridge), ("same", bridge + bridge)]
        found += [(f"unprotected{version}", bridge) for version in sorted(self.unprotected)]
        return [*found, ("closed", bridge)] if self.is_internal else found

    @property
    def translated(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The subnets to masquerade."""
        if self.is_internal or not self.masquerades:
            return ()
        found = map(ipaddress.ip_network, self.subnets)
        return tuple(subnet for subnet in found if subnet.version not in self.routed)


class Firewall:
    """The table of one engine, which exists while there are networks.

    `in_own_netns`: the bridges are in a network namespace of their own, with pasta(1) as the way out (without root).
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
        """Create the table, empty, replacing one of an earlier engine."""
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
        """Add a network; create the table for the first one."""
        if not self._exists:
            self.create()
        self._run(self._network(network, is_new=True))
        self._networks[network.bridge] = network
        self._others.admit(self._link(), network.bridge)

    def remove_network(self, network: FirewallNetwork, *, is_last: bool) -> None:
        """Remove a network; remove the table with the last one."""
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
        """Publish ports, all or none (one transaction)."""
        if forwards:
            self._run([self._table.add_elements(f.element[0], [f.element[1:]]) for f in forwards])
            self._forwards.update(forwards)

    def unpublish(self, forwards: Sequence[Forward]) -> None:
        """Unpublish ports."""
        if forwards and self._exists:
            self._run([self._table.delete_elements(f.element[0], [f.element[1]]) for f in forwards])
            self._forwards.difference_update(forwards)

    def discard(self) -> None:
        """Remove a table of an earlier engine, if there is one."""
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

    # --- check and repair

    def differences(self) -> list[str]:
        """Return the differences between the kernel's table and ours, as sentences."""
        if not self._exists:
            return []
        name = f"the nftables table {self._table.name}"
        counts = self._rule_counts()
        try:
            found = {one: dict(self._table.elements(self._link(), one)) for one in SETS}
            rules = {chain: len(list(self._table.rules(self._link(), chain))) for chain in counts}
        except KernelError:
            return [f"{name} is gone, or was replaced"]
        changed = [chain for chain, count in counts.items() if rules[chain] != count]
        lines = [f"{name} has other rules in its chain {chain}" for chain in changed]
        wanted = self._elements()
        for one in SETS:
            lines += [
                f"{name} lacks {_readable(one, key)}" for key in wanted[one] if found[one].get(key) != wanted[one][key]
            ]
            lines += [
                f"{name} has {_readable(one, key)}, which the engine has not added"
                for key in found[one]
                if key not in wanted[one]
            ]
        return lines

    def restore(self) -> None:
        """Recreate the table with all networks and ports."""
        networks, forwards = list(self._networks.values()), list(self._forwards)
        self.create()
        for network in networks:
            self.add_network(network)
        self.publish(forwards)

    def _rule_counts(self) -> Counter[str]:
        return Counter(chain for message in self._rules() if (chain := nft.chain_of_rule(message)))

    def _elements(self) -> dict[str, dict[bytes, bytes]]:
        """Return set or map → key → value, as they should be in the kernel."""
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
    """Format an element of the set or map `name`."""
    if name in ("bridges", "closed", "same") or name.startswith("unprotected"):
        return f"the bridge {key[: nft.IFNAME_BYTES].rstrip(bytes(1)).decode(errors='replace')} in {name}"
    if name.startswith("subnets"):
        return f"the subnet of {ipaddress.ip_address(key)}"
    address = ipaddress.ip_address(key[:-8]) if name.endswith("_at") or name.startswith("open") else "every address"
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
        t.set("unprotected4", 10, [nft.INTERFACE]),
        t.set("unprotected6", 11, [nft.INTERFACE]),
        t.set("open4", 12, [nft.IPV4_ADDRESS, *port]),
        t.set("open6", 13, [nft.IPV6_ADDRESS, *port]),
    ]


def _translation(t: nft.Table) -> list[Message]:
    """Return the NAT chains and rules."""
    messages = [t.chain("translate")]
    for family, version, destination, length in ((nft.IPV4, 4, 16, 4), (nft.IPV6, 6, 24, 16)):
        behind = R + length // 4
        target = nft.translate(family, R, behind)
        here = [*nft.family(family), *nft.to_this_machine()]
        if version == 6:
            # ::1 can't be routed to a container: the forwarder serves it
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
            # a container that connects to a neighbour or itself through a published port
            t.rule("leaving", nft.translated_connection(), from_container, to_bridge, nft.masquerade()),
        ]
    from_loopback = [*nft.family(nft.IPV4), nft.payload(1, 12, 1), nft.equal(b"\x7f")]
    messages.append(t.rule("leaving", from_loopback, to_bridge, nft.masquerade()))
    return messages


def _isolation(t: nft.Table) -> list[Message]:
    """Return the filter chains and rules."""
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
        *(t.rule("passing", *match, accept) for match in _open_from_outside()),
        t.rule("passing", to_bridge, drop),
    ]


def _open_from_outside() -> Iterator[list[Sequence[nft.Expression] | nft.Expression]]:
    """Yield what is let in from outside without being forwarded: networks, and published ports of containers."""
    for family, version, destination, length in ((nft.IPV4, 4, 16, 4), (nft.IPV6, 6, 24, 16)):
        behind = R + length // 4
        port = [nft.payload(1, destination, length), nft.meta(16, behind), nft.payload(2, 2, 2, behind + 1)]
        yield [nft.family(family), nft.outgoing(), nft.is_in(f"unprotected{version}")]
        yield [nft.family(family), port, nft.is_in(f"open{version}")]


def _quiet(t: nft.Table) -> list[Message]:
    """Return a chain that drops invalid packets to this namespace itself.

    Measured with Debian 12's passt: its window updates have no ACK flag, so conntrack assigns them to no connection. The
    namespace would answer with a reset, and pasta would close the container's connection.
    """
    return [
        t.base_chain("arriving_here", "filter", nft.INPUT, nft.FILTER),
        t.rule("arriving_here", nft.malformed_connection(), nft.verdict(nft.DROP)),
    ]
