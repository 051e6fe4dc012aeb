"""The published ports of all containers: reserved on the host, and forwarded by nftables or the forwarder."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence, Set
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

import anyio

from runtime.errors import KernelError
from runtime.linux.conntrack import forget_udp_flows
from runtime.network.firewall import Firewall, Forward
from runtime.network.forwarder.client import Carried, Forwarder
from runtime.network.namespace_thread import NamespaceThread
from runtime.network.ports import FindHolder, PortBinding, ReservedPort, hold


@dataclass(frozen=True)
class _Published:
    container_name: str
    addresses: tuple[str, str]
    held: Sequence[ReservedPort]
    forwards: Sequence[Forward]
    carried: Sequence[Carried]
    direct: Sequence[PortBinding] = ()
    """What is reached at the container's own address."""

    @property
    def bindings(self) -> list[PortBinding]:
        return [*self.direct, *(one.binding for one in self.held)]

    @property
    def udp_ports(self) -> set[int]:
        return {one.host_port for one in self.bindings if one.protocol == "udp" and one.host_port}

    def close(self) -> None:
        """Close the engine's sockets of the ports."""
        for one in self.held:
            one.close()


class Publishing:
    """Publishes and unpublishes ports of containers."""

    def __init__(
        self, firewall: Firewall, worker: NamespaceThread, forwarder: Forwarder, find_holder: FindHolder
    ) -> None:
        self._find_holder = find_holder
        self._forwarder = forwarder
        self._inherited: dict[str, socket.socket] = {}
        self._unclaimed: set[str] = set()
        self._firewall = firewall
        self._worker = worker
        self._published: dict[str, _Published] = {}

    async def inherit(self) -> None:
        """Get the sockets that the forwarder serves since an earlier engine, for `publish`."""
        self._inherited = await self._forwarder.inherit()
        self._unclaimed = set(self._inherited)

    async def drop_unclaimed(self) -> None:
        """Close inherited sockets that no container uses, and stop forwarding them."""
        for one in self._inherited.values():
            one.close()
        self._inherited.clear()
        claimed = {one.key for published in self._published.values() for one in published.carried}
        await self._forwarder.drop(list(self._unclaimed - claimed))
        self._unclaimed.clear()

    def check(self, bindings: Sequence[PortBinding]) -> None:
        """Raise ConflictError, with the process that has it, if a host port is not available."""
        for held in self._hold(bindings):
            held.close()

    def _hold(self, bindings: Sequence[PortBinding]) -> list[ReservedPort]:
        ours = {name.container_name: [one.binding for one in name.held] for name in self._published.values()}
        with ExitStack() as stack:
            held: list[ReservedPort] = []
            # fixed ports first, then ranges, then ports that the kernel chooses
            order = sorted(range(len(bindings)), key=lambda at: _freedom(bindings[at]))
            for at in order:
                taken = {**ours, "": [done.binding for done in held]}
                one = hold(bindings[at], taken, self._find_holder, self._inherited)
                stack.callback(one.close)
                held.append(one)
            stack.pop_all()
        return [held[order.index(at)] for at in range(len(bindings))]

    async def publish(
        self,
        container_id: str,
        container_name: str,
        ipv4: str,
        ipv6: str,
        bindings: Sequence[PortBinding],
        routed: Set[int] = frozenset(),
    ) -> list[PortBinding]:
        """Forward ports of the host to a container's addresses ("" for none), all or none.

        Of the IP versions in `routed` the container's own ports are opened instead: such a binding has host port 0.
        Return the bindings with the chosen host ports. A container that already has published ports keeps them, and they
        are forwarded to the new addresses. Raises ConflictError.
        """
        before = self._published.get(container_id)
        if before is not None:
            if before.addresses == (ipv4, ipv6):
                return before.bindings
            bindings = before.bindings
            await self.unpublish(container_id)
        if not bindings:
            return []
        by_host, direct = _split(bindings, routed)
        held = self._hold(by_host)
        forwards = _forwards([one.binding for one in held], ipv4, ipv6)
        addresses = {True: ipv4, False: ipv6}
        forwards += [
            Forward(one.protocol, "", 0, address, one.container_port, is_routed=True)
            for one in direct
            if (address := addresses[one.is_ipv4])
        ]
        published = _Published(
            container_name,
            (ipv4, ipv6),
            held,
            forwards,
            _carried(held, ipv4, ipv6, in_own_netns=self._worker.namespace is not None),
            direct,
        )
        try:
            await self._worker.run(partial(self._open, published))
            await self._forwarder.carry(published.carried)
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(KernelError):  # elements that were not added can't be deleted
                await self._withdraw(published)
            raise
        self._published[container_id] = published
        return published.bindings

    def by_family(self, container_id: str) -> list[PortBinding]:
        """Return the container's published ports, a binding for each address family."""
        published = self._published.get(container_id)
        if published is None:
            return []
        return [*published.direct, *(binding for one in published.held for binding in one.by_family)]

    def _open(self, published: _Published) -> None:
        self._firewall.publish(published.forwards)
        if published.udp_ports:
            forget_udp_flows(published.udp_ports)

    def _shut(self, published: _Published) -> None:
        self._firewall.unpublish(published.forwards)
        if published.udp_ports:
            forget_udp_flows(published.udp_ports)

    async def _withdraw(self, published: _Published) -> None:
        try:
            await self._worker.run(partial(self._shut, published))
        finally:
            await self._forwarder.drop([one.key for one in published.carried])
            published.close()

    async def unpublish(self, container_id: str) -> None:
        """Unpublish the container's ports."""
        published = self._published.pop(container_id, None)
        if published is not None:
            await self._withdraw(published)

    def close(self) -> None:
        """Close the engine's sockets; firewall and forwarder keep forwarding, as after the engine's exit."""
        self._forwarder.close()
        for published in self._published.values():
            published.close()
        for one in self._inherited.values():
            one.close()


def _freedom(binding: PortBinding) -> int:
    return 65536 if binding.host_port == 0 else len(binding.host_ports)


def _split(bindings: Sequence[PortBinding], routed: Set[int]) -> tuple[list[PortBinding], list[PortBinding]]:
    """Return the bindings for ports of the host, and those for addresses of the IP versions that are `routed`."""
    by_host, direct = [], []
    for one in bindings:
        for version, is_its, unspecified in ((4, one.is_ipv4, "0.0.0.0"), (6, one.is_ipv6, "::")):
            if is_its and version in routed:
                direct.append(replace(one, host_ip=one.host_ip or unspecified, host_port=0, host_port_last=0))
        left = sorted({4, 6} - set(routed))
        if one.host_ip or not routed:
            by_host += [one] if not routed or (4 if one.is_ipv4 else 6) in left else []
        else:
            by_host += [replace(one, host_ip={4: "0.0.0.0", 6: "::"}[version]) for version in left]
    return by_host, direct


def _forwards(bindings: Sequence[PortBinding], ipv4: str, ipv6: str) -> list[Forward]:
    """Return the nftables entries for `bindings`, for each family that host and container have."""
    found = []
    for one in bindings:
        host_ip = "" if not one.host_ip or ipaddress.ip_address(one.host_ip).is_unspecified else one.host_ip
        if one.is_ipv4 and ipv4:
            found.append(Forward(one.protocol, host_ip, one.host_port, ipv4, one.container_port))
        # ::1 can't be routed, even after NAT
        if one.is_ipv6 and ipv6 and host_ip != "::1":
            found.append(Forward(one.protocol, host_ip, one.host_port, ipv6, one.container_port))
    return found


def _carried(held: Sequence[ReservedPort], ipv4: str, ipv6: str, *, in_own_netns: bool) -> list[Carried]:
    """Return the sockets that the forwarder must serve: IPv6, and without root both (`in_own_netns`)."""
    found = []
    for one in held:
        port, protocol = one.binding.container_port, one.binding.protocol
        if one.ipv6 is not None:
            found.append(Carried(one.ipv6, protocol, (ipv6 or ipv4, port)))
        if one.ipv4 is not None and (in_own_netns or not ipv4):
            found.append(Carried(one.ipv4, protocol, (ipv4 or ipv6, port)))
    return found
