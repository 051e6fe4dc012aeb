"""Networks, endpoints and what is asked of them, as data."""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Subnet:
    """An address range of a network (Docker's IPAM.Config)."""

    subnet: str
    gateway: str
    ip_range: str = ""


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

    @property
    def bridge(self) -> str:
        """The bridge's device name."""
        if self.driver != "bridge":
            return ""
        return self.options.get("com.docker.network.bridge.name") or f"br-{self.id[:12]}"

    @property
    def ipv4(self) -> Subnet | None:
        """The IPv4 range."""
        return next((subnet for subnet in self.subnets if ":" not in subnet.subnet), None)

    @property
    def ipv6(self) -> Subnet | None:
        """The IPv6 range."""
        return next((subnet for subnet in self.subnets if ":" in subnet.subnet), None)

    def document(self) -> dict[str, Any]:
        """Return what the store keeps."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Network:
        """Return the network that the store kept."""
        return cls(**{**document, "subnets": tuple(Subnet(**subnet) for subnet in document["subnets"])})


@dataclass(frozen=True)
class EndpointSettings:
    """What a container asks of its attachment to a network."""

    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""
    ipv6_address: str = ""
    mac_address: str = ""
    links: tuple[str, ...] = ()
    driver_opts: dict[str, str] = field(default_factory=dict)
    gw_priority: int = 0


@dataclass(frozen=True)
class Endpoint:
    """A container's attachment to a network; addresses with their prefix length ("172.18.0.2/16")."""

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

    @property
    def addresses(self) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        """The plain addresses."""
        return [ipaddress.ip_interface(text).ip for text in (self.ipv4, self.ipv6) if text]

    def document(self) -> dict[str, Any]:
        """Return what the store keeps."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Endpoint:
        """Return the endpoint that the store kept."""
        lists = {key: tuple(document[key]) for key in ("aliases", "dns_names", "links")}
        return cls(**{**document, **lists})
