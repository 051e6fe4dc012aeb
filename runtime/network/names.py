"""Name resolution between containers: a resolver in each container's network namespace."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import anyio
import anyio.abc

from runtime.errors import KernelError
from runtime.linux import netns, userns
from runtime.linux import nftables as nft
from runtime.linux.nfnetlink import Nfnetlink
from runtime.network.dns_message import Address
from runtime.network.model import Endpoint
from runtime.network.namespace_thread import NamespaceThread
from runtime.network.resolver import Resolver, host_resolvers, is_reached_from_containers
from runtime.network.table import NetworkTable
from runtime.network.upstream import NameServer, Upstream

RESOLVER_ADDRESS = "127.0.0.11"

ResolverSockets = tuple[socket.socket, socket.socket]
"""(UDP socket, TCP listener)."""


def default_resolvers() -> list[str]:
    """Return the name servers for a container on the default network, where containers have no names.

    They are the host's. If all of these are on the host's loopback (systemd-resolved, dnsmasq), or without root, where
    containers may have no route to them, it is our resolver, which forwards to the host's.
    """
    if not userns.is_initial():
        return [RESOLVER_ADDRESS]
    return [server for server in host_resolvers() if is_reached_from_containers(server)] or [RESOLVER_ADDRESS]


class Names:
    """The resolvers of all containers; `namespace(id)` is the path of a container's pinned namespace.

    `bridges` is the bridges' own network namespace, without root. If that has no route to the outside (`has_way_out`), the
    host's name servers are asked from the host's namespace.
    """

    def __init__(
        self,
        table: NetworkTable,
        group: anyio.abc.TaskGroup,
        namespace: Callable[[str], Path],
        bridges: Path | None = None,
    ) -> None:
        self._table = table
        self._group = group
        self._namespace = namespace
        # not the thread that creates bridges, so that neither waits for the other
        self._worker = NamespaceThread(bridges)
        self.has_way_out = True
        self._scopes: dict[str, anyio.CancelScope] = {}

    def are_needed(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint needs our resolver: it has names, or containers can't reach the host's resolvers."""
        return bool(endpoint.dns_names) or RESOLVER_ADDRESS in default_resolvers()

    def is_served(self, container_id: str) -> bool:
        """Whether the container has a resolver."""
        return container_id in self._scopes

    def serve(self, container_id: str, sockets: ResolverSockets) -> None:
        """Start the container's resolver on `sockets`, which `listen` has bound in its namespace."""
        resolver = Resolver(
            *sockets,
            partial(self._lookup, container_id),
            partial(self._reverse, container_id),
            Upstream(partial(self._servers, container_id), partial(self._make_sockets, container_id)),
            partial(self._keeps_short_names, container_id),
        )
        scope = anyio.CancelScope()
        self._scopes[container_id] = scope

        async def serve() -> None:
            with scope:
                await resolver.serve()

        self._group.start_soon(serve)

    def stop(self, container_id: str) -> None:
        """Stop the container's resolver, if it has one."""
        scope = self._scopes.pop(container_id, None)
        if scope is not None:
            scope.cancel()

    def _servers(self, container_id: str) -> list[NameServer]:
        """Return the upstream servers; none for a container on internal networks only."""
        endpoints = self._table.endpoints(container_id)
        if all(self._table.networks[endpoint.network_id].internal for endpoint in endpoints):
            return []
        named = next((one.dns_servers for one in endpoints if one.dns_servers), ())
        if named:
            return [NameServer(address) for address in named]
        has_ipv6 = any(endpoint.ipv6 for endpoint in endpoints)
        return [
            NameServer(address, is_on_host=not (self.has_way_out and _is_reached(address, has_ipv6=has_ipv6)))
            for address in host_resolvers()
        ]

    async def _make_sockets(self, container_id: str, family: int, kind: int, count: int) -> list[socket.socket]:
        def make() -> list[socket.socket]:
            with ExitStack() as stack:
                kind_now = kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
                made = [stack.enter_context(socket.socket(family, kind_now)) for _ in range(count)]
                stack.pop_all()
            return made

        return await self._worker.run(partial(netns.inside, self._namespace(container_id), make))

    def _keeps_short_names(self, container_id: str) -> bool:
        """Whether the container has the option "ndots" with a number above 0."""
        options = (option for one in self._table.endpoints(container_id) for option in one.dns_options)
        dots = [option.partition(":")[2] for option in options if option.startswith("ndots:")]
        return any(number.isdecimal() and int(number) > 0 for number in dots)

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


def _is_reached(server: str, *, has_ipv6: bool) -> bool:
    """Whether a name server of the host can be reached from a container's network namespace."""
    return is_reached_from_containers(server) and "%" not in server and (has_ipv6 or ":" not in server)


def listen() -> ResolverSockets:
    """Bind the resolver's sockets in the current namespace, on random ports: port 53 stays free for the container."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        for one in (udp, tcp):
            one.bind((RESOLVER_ADDRESS, 0))
        tcp.listen(16)
        _redirect(udp.getsockname()[1], tcp.getsockname()[1])
    except BaseException:
        udp.close()
        tcp.close()
        raise
    return udp, tcp


def _redirect(udp_port: int, tcp_port: int) -> None:
    """Redirect port 53 of the resolver's address to its real ports, with nftables in the container's namespace."""
    table = nft.Table(nft.IPV4, "skiff_resolver")
    address = socket.inet_aton(RESOLVER_ADDRESS)
    messages = [table.base_chain("leaving", "nat", nft.OUTPUT, nft.DSTNAT)]
    for protocol, port in ((socket.IPPROTO_UDP, udp_port), (socket.IPPROTO_TCP, tcp_port)):
        asks = [nft.payload(1, 16, 4), nft.equal(address), *nft.transport(protocol)]
        asks += [nft.payload(2, 2, 2), nft.equal(nft.port(53))]
        there = [nft.load(address), nft.load(nft.port(port), nft.REGISTER + 1)]
        messages.append(table.rule("leaving", asks, there, nft.translate(nft.IPV4, nft.REGISTER, nft.REGISTER + 1)))
    link = Nfnetlink()
    try:
        try:
            link.batch([table.create(), *messages])
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            # an earlier engine's table. Deleted only in this case, since then close(2) takes 10 to 20 ms
            link.batch([table.delete(), table.add(), *messages])
    finally:
        link.close()
