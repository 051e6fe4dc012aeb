"""Gives networks their subnets and bridges, and makes sure that no other interface or route has the same subnet.

A bridge is missing after a reboot, after the engine has exited without containers, or after somebody has removed it. Until
it is created again, its subnet is free in the kernel, and another network, engine or interface may take it. With the same
subnet on two networks, traffic of published ports could go to the wrong container.
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
from runtime.network.options import ISOLATED, BridgeOptions
from runtime.network.resolver import host_resolvers
from runtime.network.subnets import Claim, conflict, free_ipv6_subnet, free_subnet
from runtime.network.table import NetworkTable

logger = logging.getLogger(__name__)

ATTEMPTS = 8
"""How often a chosen subnet may be taken by another engine at the same time."""


class Placement:
    """Places networks. Callers hold the lock of `Networks`."""

    def __init__(self, table: NetworkTable, bridges: Bridges, worker: NamespaceThread) -> None:
        self._table = table
        self._bridges = bridges
        self._worker = worker
        self._absent: dict[str, SkiffError] = {}

    def is_absent(self, network: Network) -> bool:
        """Whether the network has no bridge, because its subnet or the bridge's name is used by others."""
        return network.id in self._absent

    def check(self, network: Network) -> None:
        """Raise the reason if the network has no bridge."""
        if network.id in self._absent:
            raise self._absent[network.id]

    def forget(self, network: Network) -> None:
        """Forget a removed network."""
        self._absent.pop(network.id, None)

    async def bring_back_all(self, networks: Sequence[Network]) -> None:
        """Recreate the firewall and missing bridges; log the networks for which that fails."""
        missing = await self._worker.run(partial(self._bridges.rebuild, networks))
        claims = await self._worker.run(self._bridges.claims) if missing else ()
        for network in missing:
            try:
                await self._return(network, claims)
            except SkiffError as error:
                logger.error("%s", error)

    async def bring_back(self, network: Network) -> Network:
        """Recreate the missing bridge of `network`; return the network with its present subnets, as `place` does."""
        if network.id not in self._absent:  # otherwise the firewall has no rules for it
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
        """Create the bridge of `network` and store the network; return it with its present subnets.

        If a subnet that the engine chose is used by others now, another is chosen, unless containers have addresses in it.
        `claims` are the ranges in use, None to ask the kernel. Raises ConflictError with the other user of a subnet that
        can't be changed.
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
            raise ConflictError(f"network {network.name}: every chosen subnet was taken by other programs", "try again")
        if attached:
            await self._worker.run(partial(self._bridges.enslave, placed, attached))
        self._log_moves(network, placed)
        self._table.save(placed)
        return placed

    def _subnet(
        self, network: Network, subnet: Subnet, claims: Sequence[Claim], skipped: int, *, is_fixed: bool
    ) -> Subnet:
        found = self._free(network, subnet, claims, skipped, is_fixed=is_fixed)
        is_isolated = found.range.version in BridgeOptions.of(network.options).of_mode(ISOLATED)
        return replace(found, gateway="") if is_isolated else found

    def _free(
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

    def _log_moves(self, before: Network, after: Network) -> None:
        for old, new in zip(before.subnets, after.subnets, strict=True):
            if old.subnet and old.subnet != new.subnet:
                logger.warning(
                    "network %s: moved from %s to %s, as the former is used by others",
                    after.name,
                    old.subnet,
                    new.subnet,
                )


def _taken(network: Network, subnet: Subnet, claim: Claim, *, is_fixed: bool) -> ConflictError:
    cure = (
        "restart its containers when that is gone, or stop all of them, so that the network can get another subnet"
        if is_fixed and subnet.is_chosen
        else "remove that, or recreate the network with another subnet (networks: NAME: ipam: config: - subnet: …)"
    )
    return ConflictError(
        f"network {network.name} can't use its subnet {subnet.subnet}: {claim.range} is used by {claim.holder}", cure
    )
