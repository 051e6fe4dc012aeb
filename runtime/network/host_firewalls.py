"""Other firewalls on this machine that drop forwarded packets: Docker's, ufw's, firewalld's.

A packet passes only if every base chain of the hook accepts it, so their chains would drop what ours accepts. Therefore we
insert rules that accept traffic of our bridges at the top of their chains, as Docker does for its own; our chain
then decides alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import KernelError
from runtime.linux import nftables as nft
from runtime.linux.nfnetlink import Message, Nfnetlink

logger = logging.getLogger(__name__)

REJECTING = ("firewalld",)
"""Tables whose chains reject by a last rule instead of by policy."""


@dataclass(frozen=True)
class _Chain:
    table: nft.Table
    name: str
    is_closed: bool
    """Whether it drops packets by default."""


class HostFirewalls:
    """Our rules in other chains, each with a comment for finding it again: "skiff-<engine id> <bridge>"."""

    def __init__(self, engine_id: str) -> None:
        self._owner = f"skiff-{engine_id}"

    def admit(self, link: Nfnetlink, bridge: str) -> None:
        """Insert rules that accept traffic from and to `bridge` into chains that drop packets by default.

        If a chain can't be changed, because it belongs to a running program, that is logged.
        """
        device, accept = nft.interface(bridge), nft.verdict(nft.ACCEPT)
        for chain in _foreign(link):
            if not chain.is_closed:
                continue
            rules = [
                chain.table.rule(
                    chain.name, direction(), nft.equal(device), accept, comment=self._comment(bridge), first=True
                )
                for direction in (nft.incoming, nft.outgoing)
            ]
            _change(link, chain, rules)

    def withdraw(self, link: Nfnetlink, bridge: str = "") -> None:
        """Delete the rules for `bridge`, or for all bridges of the engine, from other chains."""
        wanted = self._comment(bridge)
        # from all chains, also those whose policy has changed
        for chain in _foreign(link):
            found = [
                handle
                for handle, comment in chain.table.rules(link, chain.name)
                if (comment == wanted if bridge else comment.startswith(wanted))
            ]
            if found:
                _change(link, chain, [chain.table.delete_rule(chain.name, handle) for handle in found])

    def _comment(self, bridge: str) -> str:
        return f"{self._owner} {bridge}"


def _change(link: Nfnetlink, chain: _Chain, messages: Sequence[Message]) -> None:
    try:
        link.batch(messages)
    except KernelError as error:
        logger.warning(
            "the firewall %s, chain %s, drops packets of containers and can't be changed: %s",
            chain.table.name,
            chain.name,
            error,
        )


def _foreign(link: Nfnetlink) -> list[_Chain]:
    """Return the base chains of other tables at the forward hook."""
    return [
        _Chain(nft.Table(family, found.table), found.name, found.policy == nft.DROP or found.table in REJECTING)
        for family in (nft.INET, nft.IPV4, nft.IPV6)
        for found in nft.base_chains(link, family)
        if found.kind == "filter" and found.hook == nft.FORWARD and not found.table.startswith("skiff-")
    ]
