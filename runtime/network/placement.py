"""Where networks lie: their bridges are made, at first and again after they went, only where they are alone.

A bridge goes with a reboot, with the last container when the engine ends, or by somebody's hand. Until it is made again
nothing in the kernel says that its subnet is taken: another network, another engine or the machine's own may take it.
Two networks with one subnet would mean that a published port leads to whoever the kernel finds first.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from runtime.errors import ConflictError, SkiffError
from runtime.network.bridges import Bridges
from runtime.network.claims import name_server_claims
from runtime.network.model import Network, Subnet
from runtime.network.namespace_thread import NamespaceThread
from runtime.network.resolver import host_resolvers
from runtime.network.subnets import Claim, conflict, free_ipv6_subnet, free_subnet
from runtime.network.table import NetworkTable

logger = logging.getLogger(__name__)

ATTEMPTS = 8
"""So often another engine may take the subnet that was chosen in the same moment."""


class Placement:
    """Gives networks their subnets and bridges. Callers hold the lock of the networks."""

    def __init__(self, table: NetworkTable, bridges: Bridges, worker: NamespaceThread) -> None:
        self._table = table
        self._bridges = bridges
        self._worker = worker
        self._absent: dict[str, SkiffError] = {}

    def is_absent(self, network: Network) -> bool:
        """Whether the network has no bridge now, because somebody else has its subnet or its bridge's name."""
        return network.id in self._absent

    def check(self, network: Network) -> None:
        """Raise why the network has no bridge, if it has none."""
        if network.id in self._absent:
            raise self._absent[network.id]

    def forget(self, network: Network) -> None:
        """Take note that the network is removed."""
        self._absent.pop(network.id, None)

    async def bring_back_all(self, networks: Sequence[Network]) -> None:
        """Build the firewall anew and the bridges that are missing; what can't be brought back is told in the log."""
        missing = await self._worker.run(partial(self._bridges.rebuild, networks))
        claims = await self._worker.run(self._bridges.claims) if missing else ()
        for network in missing:
            try:
                await self._return(network, claims)
            except SkiffError as error:
                logger.error("%s", error)

    async def bring_back(self, network: Network) -> Network:
        """Make the missing bridge of `network` again; returns it with the subnets that it has now, as `place` does."""
        if network.id not in self._absent:  # else the firewall does not have it
            await self._worker.run(partial(self._bridges.shut, network, is_last=False))
        return await self._return(network)

    async def _return(self, network: Network, claims: Sequence[Claim] | None = None) -> Network:
        try:
            placed = await self.place(network, claims)
        except SkiffError as error:
            self._absent[network.id] = error
            raise
        self._absent.pop(network.id, None)
        return placed

    async def choose(self, network: Network) -> Network:
        """Return `network`, which needs no bridge, with free subnets where none are given.

        One that is given may well be used on this machine: it is that of the parent interface.
        """
        claims = await self._worker.run(self._bridges.claims)
        subnets = tuple(
            subnet if subnet.subnet else self._subnet(network, subnet, claims, 0, is_fixed=False)
            for subnet in network.subnets
        )
        return replace(network, subnets=subnets)

    async def place(self, network: Network, claims: Sequence[Claim] | None = None) -> Network:
        """Make the bridge of `network` and keep the network; returns it with the subnets that it has now.

        A subnet that the engine chose is chosen again where somebody else on the machine has it meanwhile, unless
        containers have addresses of it. `claims` are what is known to be used, asked of the kernel where missing.
        Raises ConflictError, naming the holder, when addresses are another's that the network can't do without.
        """
        attached = [endpoint.host_device for endpoint in self._table.attached(network)]
        for attempt in range(ATTEMPTS):
            if claims is None or attempt:
                claims = await self._worker.run(self._bridges.claims)
            skipped = secrets.randbelow(attempt * 2 + 1)
            subnets = tuple(
                self._subnet(network, subnet, claims, skipped, is_fixed=bool(attached)) for subnet in network.subnets
            )
            placed = replace(network, subnets=subnets)
            if await self._worker.run(partial(self._bridges.make, placed)) is None:
                break
        else:
            raise ConflictError(f"network {network.name}: other programs take every subnet that is tried", "try again")
        if attached:
            await self._worker.run(partial(self._bridges.enslave, placed, attached))
        self._tell_moves(network, placed)
        self._table.save(placed)
        return placed

    def _subnet(
        self, network: Network, subnet: Subnet, claims: Sequence[Claim], skipped: int, *, is_fixed: bool
    ) -> Subnet:
        if subnet.subnet:
            claim = conflict(subnet, claims)
            if claim is None:
                return subnet
            if is_fixed or not subnet.is_chosen:
                raise _taken(network, subnet, claim, is_fixed=is_fixed)
            if ":" in subnet.subnet:
                return free_ipv6_subnet()
        others = [one for one in self._table.networks.values() if one.id != network.id]
        return free_subnet(others, [*claims, *name_server_claims(host_resolvers())], skipped)

    def _tell_moves(self, before: Network, after: Network) -> None:
        for old, new in zip(before.subnets, after.subnets, strict=True):
            if old.subnet and old.subnet != new.subnet:
                logger.warning(
                    "network %s: moved from %s to %s, as others use the former now", after.name, old.subnet, new.subnet
                )


def _taken(network: Network, subnet: Subnet, claim: Claim, *, is_fixed: bool) -> ConflictError:
    cure = (
        "restart its containers once that is gone, or stop them all: then the network moves"
        if is_fixed and subnet.is_chosen
        else "take that away, or remove the network and make it with another subnet "
        "(networks: NAME: ipam: config: - subnet: …)"
    )
    return ConflictError(
        f"network {network.name} can't have its subnet {subnet.subnet}: {claim.range} is used by {claim.holder}", cure
    )
