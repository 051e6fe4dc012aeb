"""Chooses and checks subnets of networks. Pure.

Docker's 31 default pools are used first, so that a machine with few networks looks like with Docker; then smaller subnets
of the private address space (RFC 1918) that are not in use.
"""

from __future__ import annotations

import ipaddress
import secrets
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from runtime.errors import BadRequestError, ConflictError, ForbiddenError
from runtime.network.addresses import parse_address
from runtime.network.model import Network, Subnet

POOLS = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        *(f"172.{number}.0.0/16" for number in range(17, 32)),
        *(f"192.168.{number}.0/20" for number in range(0, 256, 16)),
    )
)
"""Docker's default-address-pools (moby, libnetwork/ipamutils), one for each network."""
PRIVATE = tuple(ipaddress.IPv4Network(text) for text in ("172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"))
SMALLER_PREFIXES = (24, 26)
WIDEST_PREFIX = 8
"""Wider routes are ignored: VPN clients, for example, set 0.0.0.0/1 and 128.0.0.0/1 as default routes."""
MAX_COUNTED = (1 << 64) - 1
"""The highest number of addresses in a response of the API."""
CURE = (
    "remove unused networks (`docker network prune`, `skiff down`), or give this one a subnet "
    "(networks: NAME: ipam: config: - subnet: 10.20.0.0/24)"
)

Range = ipaddress.IPv4Network | ipaddress.IPv6Network


BRIDGE, INTERFACE, ROUTE = "bridge", "interface", "route"


@dataclass(frozen=True)
class Claim:
    """An address range in use on the machine; `holder` describes by what.

    `kind`: addresses of a BRIDGE, most likely of containers; of another INTERFACE; or a ROUTE.
    """

    range: Range
    holder: str
    kind: str = INTERFACE


def conflict(subnet: Subnet, claims: Iterable[Claim]) -> Claim | None:
    """Return a claim that conflicts with `subnet`, None if there is none.

    A part of a wider range may be used, since the kernel prefers the more specific route: always if it is a route, if the
    user named the subnet and it is an interface's (10.0.0.0/8, say), never if it is another bridge's.
    """
    return next((claim for claim in claims if _meets(claim, subnet)), None)


def _meets(claim: Claim, subnet: Subnet) -> bool:
    wanted = subnet.range
    if claim.range.version != wanted.version or not claim.range.overlaps(wanted):
        return False
    is_wider = claim.range.prefixlen < wanted.prefixlen
    return not is_wider or claim.kind == BRIDGE or (claim.kind == INTERFACE and subnet.is_chosen)


def free_subnet(networks: Iterable[Network], claims: Sequence[Claim], skipped: int = 0) -> Subnet:
    """Return the first unused subnet, after skipping `skipped` others. Raises ConflictError."""
    own = [subnet.range for network in networks for subnet in network.subnets_of(4)]
    used = _merged([*own, *(claim.range for claim in claims if claim.range.prefixlen >= WIDEST_PREFIX)])
    for pool in POOLS:
        if not _is_used(pool, used):
            if not skipped:
                return _chosen(pool)
            skipped -= 1
    for prefix in SMALLER_PREFIXES:
        for block in PRIVATE:
            if (found := _first_gap(block, prefix, used)) is not None:
                return _chosen(found)
    widest = sorted((c for c in claims if any(map(c.range.overlaps, PRIVATE))), key=lambda c: c.range.prefixlen)[:3]
    held = "; ".join(f"{claim.range}: {claim.holder}" for claim in widest)
    raise ConflictError(
        f"no private IPv4 addresses are left for a network: this engine's networks have {len(own)} subnets, "
        f"other ranges are used on this machine ({held or 'none'})",
        CURE,
    )


def _chosen(found: ipaddress.IPv4Network) -> Subnet:
    return Subnet(str(found), str(found[1]), is_chosen=True)


def free_ipv6_subnet() -> Subnet:
    """Return a random unique local subnet (RFC 4193, section 3.2)."""
    found = ipaddress.IPv6Network((0xFD << 120 | secrets.randbits(56) << 64, 64))
    return Subnet(str(found), str(found[1]), is_chosen=True)


def _merged(ranges: Iterable[Range]) -> list[tuple[int, int]]:
    """Merge the IPv4 `ranges` to sorted, disjoint intervals (first, last)."""
    found: list[tuple[int, int]] = []
    pairs = ((int(one.network_address), int(one.broadcast_address)) for one in ranges if one.version == 4)
    for first, last in sorted(pairs):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _run_before(address: int, used: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the last interval in `used` that starts at `address` or before."""
    at = bisect_right(used, address, key=lambda run: run[0])
    return used[at - 1] if at else None


def _is_used(candidate: ipaddress.IPv4Network, used: Sequence[tuple[int, int]]) -> bool:
    run = _run_before(int(candidate.broadcast_address), used)
    return run is not None and run[1] >= int(candidate.network_address)


def _first_gap(
    block: ipaddress.IPv4Network, prefix: int, used: Sequence[tuple[int, int]]
) -> ipaddress.IPv4Network | None:
    """Return the first network of length `prefix` in `block` that overlaps no interval in `used`."""
    size = 1 << 32 - prefix
    first, end = int(block.network_address), int(block.broadcast_address)
    while first < end:
        run = _run_before(first + size - 1, used)
        if run is None or run[1] < first:
            return ipaddress.IPv4Network((first, prefix))
        first = (run[1] // size + 1) * size
    return None


def complete_subnet(wanted: Subnet, networks: Iterable[Network]) -> Subnet:
    """Check a user's subnet, and add the default gateway. Raises BadRequestError, ForbiddenError on an overlap."""
    try:
        range = ipaddress.ip_network(wanted.subnet)
    except ValueError as error:
        raise BadRequestError(
            f"invalid subnet {wanted.subnet}: {error}", 'write it with its first address, such as "172.28.0.0/16"'
        ) from error
    for network in networks:
        for subnet in network.subnets:
            if subnet.range.version == range.version and range.overlaps(subnet.range):
                raise ForbiddenError(
                    f"subnet {wanted.subnet} overlaps with {subnet.subnet} of network {network.name}",
                    "choose another subnet, or omit it so that the engine chooses one",
                )
    for what, address in (("gateway", wanted.gateway), *(("aux address", one) for one in wanted.reserved.values())):
        if address and parse_address(what, address) not in range:
            raise BadRequestError(f"{what} {address} is not in subnet {wanted.subnet}", f"choose one of {range}")
    if wanted.ip_range:
        try:
            part = ipaddress.ip_network(wanted.ip_range)
        except ValueError as error:
            raise BadRequestError(f"invalid ip_range {wanted.ip_range}: {error}") from error
        if part.version != range.version or not part.subnet_of(range):  # type: ignore[arg-type]
            raise BadRequestError(f"ip_range {wanted.ip_range} is not in subnet {wanted.subnet}")
    return replace(wanted, gateway=wanted.gateway or str(range[1]))


def usage_of(subnet: Subnet, taken: Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> dict[str, int]:
    """Return how many addresses of `subnet` are in use or reserved, and how many are left to be given out (Docker's names).

    The network's own address and, of IPv4, that for all are reserved; as are the gateway and what the user keeps.
    """
    own = {subnet.range.network_address, *([subnet.range.broadcast_address] if subnet.range.version == 4 else [])}
    texts = [subnet.gateway.partition("/")[0], *(text.partition("/")[0] for text in subnet.reserved.values())]
    own |= {ipaddress.ip_address(text) for text in texts if text}
    used = own | {address for address in taken if address in subnet.range}
    pool = ipaddress.ip_network(subnet.ip_range) if subnet.ip_range else subnet.range
    free = pool.num_addresses - sum(address in pool for address in used)
    return {"IPsInUse": min(len(used), MAX_COUNTED), "DynamicIPsAvailable": min(free, MAX_COUNTED)}
