"""Which subnet a network takes, which address an endpoint. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from runtime.errors import BadRequestError, ConflictError, ForbiddenError
from runtime.network.model import Network, Subnet

POOLS = [f"172.{number}.0.0/16" for number in range(17, 32)] + [
    f"192.168.{number}.0/20" for number in range(0, 256, 16)
]


def free_subnet(networks: Iterable[Network], routes: Sequence[ipaddress.IPv4Network]) -> Subnet:
    """Return the first pool that meets neither a network nor a route of the host. Raises ConflictError."""
    taken = [
        *routes,
        *(
            ipaddress.IPv4Network(subnet.subnet)
            for network in networks
            for subnet in network.subnets
            if ":" not in subnet.subnet
        ),
    ]
    for pool in POOLS:
        candidate = ipaddress.IPv4Network(pool)
        if not any(candidate.overlaps(network) for network in taken):
            return Subnet(str(candidate), str(candidate[1]))
    raise ConflictError(
        "all predefined address pools have been fully subnetted", "remove networks: `docker network prune`"
    )


def complete_subnet(wanted: Subnet, networks: Iterable[Network]) -> Subnet:
    """Return the subnet that a user names, with its gateway. Raises BadRequestError, ForbiddenError on an overlap."""
    try:
        range = ipaddress.ip_network(wanted.subnet)
    except ValueError as error:
        raise BadRequestError(f"invalid subnet {wanted.subnet}: {error}") from error
    for network in networks:
        for subnet in network.subnets:
            other = ipaddress.ip_network(subnet.subnet)
            if other.version == range.version and range.overlaps(other):
                raise ForbiddenError(
                    f"subnet {wanted.subnet} overlaps with {subnet.subnet} of network {network.name}",
                    "choose another subnet, or leave it out to have a free one chosen",
                )
    return Subnet(wanted.subnet, wanted.gateway or str(range[1]), wanted.ip_range)


def choose_address(network: Network, subnet: Subnet | None, wanted: str, used: Iterable[str]) -> str:
    """Return an address of `subnet` with its prefix length: the `wanted` one, else the first that is not `used`.

    Without a subnet there is none: "". Raises BadRequestError, ForbiddenError (in use), ConflictError (all are).
    """
    if subnet is None:
        if wanted:
            raise BadRequestError(f"network {network.name} has no subnet for address {wanted}")
        return ""
    whole = ipaddress.ip_network(subnet.subnet)
    taken = {*used, subnet.gateway}
    if wanted:
        if ipaddress.ip_address(wanted) not in whole:
            raise BadRequestError(f"no configured subnet of network {network.name} contains IP address {wanted}")
        if wanted in taken:
            raise ForbiddenError(f"address {wanted} is already in use on network {network.name}")
        return f"{wanted}/{whole.prefixlen}"
    for host in (ipaddress.ip_network(subnet.ip_range) if subnet.ip_range else whole).hosts():
        if str(host) not in taken:
            return f"{host}/{whole.prefixlen}"
    raise ConflictError(f"no available addresses in {subnet.subnet} of network {network.name}")


def hardware_address(seed: bytes) -> str:
    """Return a locally administered hardware address that ends with four bytes of `seed`."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in seed[:4])
