"""The names that containers find each other by: one resolver in each container's network namespace."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread

from runtime.linux import netns
from runtime.linux.nftables import Nftables
from runtime.network.dns_message import Address
from runtime.network.resolver import Resolver, host_resolvers
from runtime.network.table import NetworkTable
from runtime.network.worker import Worker

RESOLVER_ADDRESS = "127.0.0.11"


class Names:
    """The resolvers of all containers, over one table."""

    def __init__(self, table: NetworkTable, worker: Worker, group: anyio.abc.TaskGroup) -> None:
        self._table = table
        self._worker = worker
        self._group = group
        self._scopes: dict[str, anyio.CancelScope] = {}

    def is_served(self, container_id: str) -> bool:
        """Whether the container has its resolver."""
        return container_id in self._scopes

    async def serve(self, container_id: str, namespace: Path) -> None:
        """Answer in the container's `namespace` from now on."""
        udp, tcp, nftables = await self._worker.run(partial(netns.inside, namespace, _resolver_sockets))
        # measured: closing an nftables socket waits 10 to 20 ms for the kernel; nobody else has to
        self._group.start_soon(anyio.to_thread.run_sync, nftables.close)
        resolver = Resolver(
            udp, tcp, partial(self._lookup, container_id), partial(self._reverse, container_id), host_resolvers()
        )
        scope = anyio.CancelScope()
        self._scopes[container_id] = scope

        async def serve() -> None:
            with scope:
                await resolver.serve()

        self._group.start_soon(serve)

    def stop(self, container_id: str) -> None:
        """Answer no more."""
        scope = self._scopes.pop(container_id, None)
        if scope is not None:
            scope.cancel()

    def _lookup(self, container_id: str, name: str) -> Sequence[Address] | None:
        for own in self._table.endpoints(container_id):
            for link in own.links:
                target, _, alias = link.partition(":")
                if name == alias:
                    name = target
        neighbours = list(self._table.neighbours(container_id))
        found = [e for e in neighbours if name in (one.lower() for one in e.dns_names)]
        if not found and "." in name:
            host, _, zone = name.rpartition(".")
            zones = {id for id, network in self._table.networks.items() if network.name.lower() == zone}
            found = [e for e in neighbours if e.network_id in zones and host in (one.lower() for one in e.dns_names)]
        return [address for endpoint in found for address in endpoint.addresses] if found else None

    def _reverse(self, container_id: str, address: Address) -> str | None:
        for endpoint in self._table.neighbours(container_id):
            if address in endpoint.addresses:
                return f"{endpoint.container_name}.{self._table.networks[endpoint.network_id].name}"
        return None


def _resolver_sockets() -> tuple[socket.socket, socket.socket, Nftables]:
    """Bind the resolver's sockets in the current namespace, on ports that leave port 53 to the container itself."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        for one in (udp, tcp):
            one.bind((RESOLVER_ADDRESS, 0))
        tcp.listen(16)
        nftables = Nftables()
        nftables.run(
            f"""
add table ip skiff_resolver
delete table ip skiff_resolver
table ip skiff_resolver {{
  chain leaving {{
    type nat hook output priority -100; policy accept;
    ip daddr {RESOLVER_ADDRESS} udp dport 53 dnat to {RESOLVER_ADDRESS}:{udp.getsockname()[1]}
    ip daddr {RESOLVER_ADDRESS} tcp dport 53 dnat to {RESOLVER_ADDRESS}:{tcp.getsockname()[1]}
  }}
}}
"""
        )
    except BaseException:
        udp.close()
        tcp.close()
        raise
    return udp, tcp, nftables
