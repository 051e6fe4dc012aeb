"""Networks, endpoints and their settings, as data."""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Subnet:
    """A subnet of a network (Docker's IPAM.Config); one that the engine chose (`is_chosen`) may change later."""

    subnet: str
    gateway: str
    ip_range: str = ""
    reserved: dict[str, str] = field(default_factory=dict)
    is_chosen: bool = False

    @cached_property
    def range(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The subnet, parsed."""
        return ipaddress.ip_network(self.subnet)


PARENT_DRIVERS = ("macvlan", "ipvlan")
TO_BE_CHOSEN = Subnet("", "", is_chosen=True)
"""Placeholder for an IPv4 subnet that the engine will choose."""


@dataclass(frozen=True)
class Network:
    """A network by `id`; `bridge` is its device on the host, empty for "host" and "none"."""

    id: str
    name: str
    driver: str
    created: str
    subnets: tuple[Subnet, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    internal: bool = False
    enable_ipv6: bool = False
    attachable: bool = False
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = field(default_factory=dict)
    template: tuple[Subnet, ...] | None = None
    """The subnets that other networks get which are made from this one: it is a configuration, with no device."""
    config_from: str = ""
    """The name of the configuration that it was made from."""
    enable_ipv4: bool = True

    @property
    def is_configuration(self) -> bool:
        """Whether it only configures other networks (Docker's "config-only")."""
        return self.template is not None

    @property
    def bridge(self) -> str:
        """The bridge's device name."""
        if self.driver != "bridge":
            return ""
        return self.options.get("com.docker.network.bridge.name") or f"br-{self.id[:12]}"

    @property
    def is_on_parent(self) -> bool:
        """Whether its containers have devices of their own on an interface of the host, without a bridge."""
        return self.driver in PARENT_DRIVERS

    @property
    def parent(self) -> str:
        """The interface that devices of a macvlan or ipvlan network are on; without a given one, one of its own."""
        return self.options.get("parent") or f"dm-{self.id[:12]}"

    @property
    def has_own_parent(self) -> bool:
        """Whether the interface is the network's own, which leads nowhere."""
        return self.is_on_parent and not self.options.get("parent")

    @property
    def ipv4(self) -> Subnet | None:
        """The first IPv4 subnet."""
        return next(iter(self.subnets_of(4)), None)

    @property
    def ipv6(self) -> Subnet | None:
        """The first IPv6 subnet."""
        return next(iter(self.subnets_of(6)), None)

    def subnets_of(self, version: int) -> list[Subnet]:
        """Return the subnets of an IP version."""
        return [subnet for subnet in self.subnets if (":" in subnet.subnet) == (version == 6)]

    def gateway_of(self, address: str) -> str:
        """Return the gateway for an endpoint's `address` ("172.18.0.2/16")."""
        ip = ipaddress.ip_interface(address).ip
        return next((subnet.gateway for subnet in self.subnets if ip in subnet.range), "")

    def document(self) -> dict[str, Any]:
        """Return the stored form."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Network:
        """Return the network of a stored document."""
        subnets = {
            key: tuple(Subnet(**subnet) for subnet in document[key])
            for key in ("subnets", "template")
            if document.get(key) is not None
        }
        return cls(**{**document, **subnets})


@dataclass(frozen=True)
class EndpointSettings:
    """A container's settings for its endpoint on a network.

    `dns_servers` are asked for names that are not containers', `dns_options` are options of resolv.conf(5); `hostname` is
    an additional name of the container on the network.
    """

    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""
    ipv6_address: str = ""
    mac_address: str = ""
    links: tuple[str, ...] = ()
    driver_opts: dict[str, str] = field(default_factory=dict)
    gw_priority: int = 0
    link_local_ips: tuple[str, ...] = ()
    dns_servers: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    hostname: str = ""


LISTS = ("aliases", "dns_names", "links", "link_local_ips", "dns_servers", "dns_options")


@dataclass(frozen=True)
class Endpoint:
    """A container's endpoint on a network; addresses have their prefix length ("172.18.0.2/16").

    `position` is its number among the container's endpoints, in the order of creation.
    """

    id: str
    network_id: str
    container_id: str
    container_name: str
    host_device: str
    device: str
    mac_address: str
    ipv4: str
    ipv6: str = ""
    aliases: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    driver_opts: dict[str, str] = field(default_factory=dict)
    gw_priority: int = 0
    link_local_ips: tuple[str, ...] = ()
    dns_servers: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    position: int = 0

    @cached_property
    def addresses(self) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        """The addresses without prefix lengths."""
        return [ipaddress.ip_interface(text).ip for text in (self.ipv4, self.ipv6) if text]

    def document(self) -> dict[str, Any]:
        """Return the stored form."""
        # by hand: asdict copies every value, and this runs at each start
        return {key: getattr(self, key) for key in self.__dataclass_fields__}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Endpoint:
        """Return the endpoint of a stored document."""
        lists = {key: tuple(document[key]) for key in LISTS if key in document}
        return cls(**{**document, **lists})
