"""Firewalls of others on this machine that drop what passes through it: Docker's, ufw's, firewalld's.

A packet passes only if every base chain lets it: what ours accepts, theirs would still drop. So our bridges are let
through at the head of theirs, as Docker does for its own; what may pass is decided by our chain alone.
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
"""Tables whose chains refuse by a last rule instead of by policy."""


@dataclass(frozen=True)
class _Chain:
    table: nft.Table
    name: str
    is_closed: bool
    """Whether it lets only chosen packets pass."""


class HostFirewalls:
    """Our rules in others' chains, each with a comment by which it is found again: the engine and the bridge."""

    def __init__(self, engine_id: str) -> None:
        self._owner = f"skiff-{engine_id}"

    def admit(self, link: Nfnetlink, bridge: str) -> None:
        """Let what comes from `bridge` and goes to it through the chains that would drop it.

        A chain that can't be changed, because it belongs to a running program, is told of in the engine's log.
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
        """Take the rules for `bridge`, or for every bridge of the engine, out of others' chains."""
        wanted = self._comment(bridge)
        # also out of chains that were opened since
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
            "the firewall %s, chain %s, drops what containers send and can't be changed: %s",
            chain.table.name,
            chain.name,
            error,
        )


def _foreign(link: Nfnetlink) -> list[_Chain]:
    """Return the base chains of others that see what passes through this machine."""
    return [
        _Chain(nft.Table(family, found.table), found.name, found.policy == nft.DROP or found.table in REJECTING)
        for family in (nft.INET, nft.IPV4, nft.IPV6)
        for found in nft.base_chains(link, family)
        if found.kind == "filter" and found.hook == nft.FORWARD and not found.table.startswith("skiff-")
    ]
