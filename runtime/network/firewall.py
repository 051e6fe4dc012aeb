"""Our nftables table: address translation for networks and published ports, and isolation between networks.

One table an engine, changed by single elements of sets and maps, so that a change costs the same with one published
port as with a thousand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.linux.nftables import Nftables, NftablesError

ANY_ADDRESSES = ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class Forward:
    """One published port: what arrives for it goes to `address`:`port` in a container."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int

    @property
    def element(self) -> tuple[str, str, str]:
        """The map, key and value of this port."""
        target = f"{self.address} . {self.port}"
        if self.host_ip in ANY_ADDRESSES:
            return "published", f"{self.protocol} . {self.host_port}", target
        return "published_at", f"{self.host_ip} . {self.protocol} . {self.host_port}", target


class Firewall:
    """The table of one engine; it exists while a network does."""

    def __init__(self, engine_id: str) -> None:
        self.table = f"skiff-{engine_id}"
        self._nftables: Nftables | None = None
        self._exists = False

    def _run(self, commands: str) -> None:
        if self._nftables is None:
            self._nftables = Nftables()
        self._nftables.run(commands)

    def create(self) -> None:
        """Make the table, empty, in place of one that an earlier engine left."""
        t = self.table
        self._run(
            f"""
add table ip {t}
delete table ip {t}
table ip {t} {{
  set bridges {{ type ifname; }}
  set closed {{ type ifname; }}
  set same {{ type ifname . ifname; }}
  set subnets {{ type ipv4_addr; flags interval; }}
  map published {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map published_at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  chain translate {{
    fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @published_at
    fib daddr type local dnat ip to meta l4proto . th dport map @published
  }}
  chain arriving {{ type nat hook prerouting priority dstnat; policy accept; jump translate; }}
  chain leaving_host {{ type nat hook output priority -100; policy accept; jump translate; }}
  chain leaving {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @subnets oifname != @bridges masquerade
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
    ct status dnat ip saddr @subnets oifname @bridges masquerade
  }}
  chain no_loopback {{
    type filter hook prerouting priority raw; policy accept;
    iifname @bridges ip daddr 127.0.0.0/8 drop
  }}
  chain passing {{
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    iifname . oifname @same accept
    iifname @closed drop
    oifname @closed drop
    ct status dnat accept
    iifname @bridges oifname @bridges drop
    oifname @bridges drop
  }}
}}
"""
        )
        self._exists = True

    def add_network(self, bridge: str, subnets: Sequence[str], internal: bool) -> None:
        """Let a network out (not an `internal` one), apart from the others."""
        if not self._exists:
            self.create()
        commands = [
            f'add element ip {self.table} bridges {{ "{bridge}" }}',
            # where bridged traffic passes the firewall too (br_netfilter), neighbours still reach each other
            f'add element ip {self.table} same {{ "{bridge}" . "{bridge}" }}',
        ]
        if internal:
            commands.append(f'add element ip {self.table} closed {{ "{bridge}" }}')
        else:
            commands += [f"add element ip {self.table} subnets {{ {subnet} }}" for subnet in subnets]
        self._run("\n".join(commands))

    def remove_network(self, bridge: str, subnets: Sequence[str], internal: bool, is_last: bool) -> None:
        """Take a network out; the table goes with the last one."""
        if is_last:
            self.remove()
            return
        commands = [
            f'delete element ip {self.table} bridges {{ "{bridge}" }}',
            f'delete element ip {self.table} same {{ "{bridge}" . "{bridge}" }}',
        ]
        if internal:
            commands.append(f'delete element ip {self.table} closed {{ "{bridge}" }}')
        else:
            commands += [f"delete element ip {self.table} subnets {{ {subnet} }}" for subnet in subnets]
        self._run("\n".join(commands))

    def publish(self, forwards: Sequence[Forward]) -> None:
        """Publish ports, all or none."""
        self._elements("add", forwards)

    def unpublish(self, forwards: Sequence[Forward]) -> None:
        """Take published ports back."""
        if self._exists:
            self._elements("delete", forwards)

    def _elements(self, verb: str, forwards: Sequence[Forward]) -> None:
        commands = []
        for forward in forwards:
            name, key, target = forward.element
            value = f" : {target}" if verb == "add" else ""
            commands.append(f"{verb} element ip {self.table} {name} {{ {key}{value} }}")
        if commands:
            self._run("\n".join(commands))

    def discard(self) -> None:
        """Remove the table that an earlier engine may have left; where nftables is missing there is none."""
        with contextlib.suppress(NftablesError):
            self._run(f"add table ip {self.table}\ndelete table ip {self.table}")
        self._exists = False

    def remove(self) -> None:
        """Remove the table."""
        try:
            self._run(f"delete table ip {self.table}")
        except NftablesError:
            if self._exists:
                raise
        self._exists = False
