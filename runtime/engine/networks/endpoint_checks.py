"""Checks of a container's endpoint settings: values that Docker refuses, with its messages."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping

from runtime.bodies import EndpointBody
from runtime.errors import BadRequestError, NotFoundError
from runtime.network.model import Network
from runtime.network.networks import PREDEFINED, Networks

MAC_ADDRESS = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")


def check_endpoints(wanted: Mapping[str, EndpointBody], networks: Networks) -> None:
    """Check EndpointSettings by network name; the networks may not exist. Raises BadRequestError."""
    for name, settings in wanted.items():
        try:
            network = networks.resolve(name)
        except NotFoundError:
            network = None
        check_endpoint(name, settings, network)


def check_endpoint(name: str, settings: EndpointBody, network: Network | None) -> None:
    """Check the EndpointSettings for one network. Raises BadRequestError with all problems found."""
    wrong = "\n".join(_wrong(name, settings, network))
    if wrong:
        raise BadRequestError(f"invalid config for network {name}: invalid endpoint settings:\n{wrong}")


def _wrong(name: str, settings: EndpointBody, network: Network | None) -> Iterator[str]:
    ipam = settings.get("IPAMConfig") or {}
    asked = ((ipam.get("IPv4Address"), 4), (ipam.get("IPv6Address"), 6))
    given = [(address, version) for address, version in asked if address]
    addresses = []
    for text, version in given:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            address = None
        if address is None or address.version != version:
            yield f"invalid IPv{version} address: {text}"
        else:
            addresses.append(address)
    for text in ipam.get("LinkLocalIPs") or ():
        try:
            ipaddress.ip_address(text)
        except ValueError:
            yield f"invalid link-local IP address: {text}"
    if settings.get("MacAddress") and not MAC_ADDRESS.fullmatch(settings["MacAddress"]):
        yield f"invalid MAC address: {settings['MacAddress']}"
    if name in PREDEFINED:
        if given:
            yield "user specified IP address is supported on user defined networks only"
        if settings.get("Aliases"):
            yield "network-scoped alias is supported only for containers in user defined networks"
    elif network is not None:
        for address in addresses:
            subnets = [one for one in network.subnets_of(address.version) if not one.is_chosen]
            if not subnets:
                yield (
                    "user specified IP address is supported only when connecting to networks with user configured subnets"
                )
            elif not any(address in subnet.range for subnet in subnets):
                yield f"no configured subnet contains IP address {address}"
