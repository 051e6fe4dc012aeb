"""Parses `driver_opts` of networks and endpoints (Docker's com.docker.network.*). Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.errors import BadRequestError

BRIDGE = "com.docker.network.bridge."
MTU = "com.docker.network.driver.mtu"
DEVICE_PREFIX = "com.docker.network.container_iface_prefix"
ENDPOINT = "com.docker.network.endpoint."
LONGEST_DEVICE_NAME = 15
NAT, UNPROTECTED, ROUTED, ISOLATED = "nat", "nat-unprotected", "routed", "isolated"
GATEWAY_MODES = (NAT, UNPROTECTED, ROUTED, ISOLATED)
"""How containers are reached from outside (Docker's "gateway mode"):

    nat              by the host's ports that are forwarded to them
    nat-unprotected  so, and at any port of their own addresses
    routed           at the published ports of their own addresses, which leave the machine as they are
    isolated         not at all, not even by the host: only on internal networks
"""


@dataclass(frozen=True)
class BridgeOptions:
    """The options of a network; `host_ip` is the default address for published ports, `mtu` in bytes.

    `neighbours_meet`: whether containers on the network can reach each other (enable_icc).
    """

    name: str = ""
    mtu: int = 1500
    masquerades: bool = True
    neighbours_meet: bool = True
    without_address: frozenset[int] = frozenset()
    """IP versions of which the host has no address on the bridge."""
    modes: Mapping[int, str] = field(default_factory=lambda: {4: NAT, 6: NAT})
    """The gateway modes by IP version."""
    host_ip: str = ""
    device_prefix: str = "eth"

    @classmethod
    def of(cls, options: Mapping[str, str]) -> BridgeOptions:
        """Parse `options`; unknown names are ignored. Raises BadRequestError on an invalid value."""
        modes = {version: _gateway_mode(options, f"{BRIDGE}gateway_mode_ipv{version}") for version in (4, 6)}
        without_address = {version for version, mode in modes.items() if mode == ISOLATED}
        if _is_on(options, f"{BRIDGE}inhibit_ipv4", default=False):
            without_address.add(4)
        host_ip = options.get(f"{BRIDGE}host_binding_ipv4", "")
        if host_ip:
            try:
                ipaddress.IPv4Address(host_ip)
            except ValueError:
                raise BadRequestError(f"{BRIDGE}host_binding_ipv4={host_ip} is not an IPv4 address") from None
        return cls(
            name=_device_name(f"{BRIDGE}name", options.get(f"{BRIDGE}name", "")),
            mtu=_mtu(options),
            masquerades=_is_on(options, f"{BRIDGE}enable_ip_masquerade", default=True),
            neighbours_meet=_is_on(options, f"{BRIDGE}enable_icc", default=True),
            without_address=frozenset(without_address),
            modes=modes,
            host_ip=host_ip,
            device_prefix=_device_name(DEVICE_PREFIX, options.get(DEVICE_PREFIX, "")) or "eth",
        )

    def of_mode(self, mode: str) -> frozenset[int]:
        """Return the IP versions whose gateway has this mode."""
        return frozenset(version for version, one in self.modes.items() if one == mode)


def _gateway_mode(options: Mapping[str, str], key: str) -> str:
    mode = options.get(key) or NAT
    if mode not in GATEWAY_MODES:
        raise BadRequestError(
            f"failed to parse {key} value: {mode} (unknown gateway mode {mode})", f"known: {', '.join(GATEWAY_MODES)}"
        )
    return mode


MODES: Mapping[str, Mapping[str, int]] = {
    "macvlan": {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8},
    "ipvlan": {"l2": 0, "l3": 1, "l3s": 2},
}
"""MACVLAN_MODE_* and IPVLAN_MODE_* of <linux/if_link.h>, by driver and Docker's names."""
DEFAULT_MODES = {"macvlan": "bridge", "ipvlan": "l2"}


def mode_of(driver: str, options: Mapping[str, str]) -> str:
    """Return the mode of a macvlan or ipvlan network. Raises BadRequestError."""
    key = f"{driver}_mode"
    mode = options.get(key) or DEFAULT_MODES[driver]
    if mode not in MODES[driver]:
        raise BadRequestError(
            f"requested {driver} mode '{mode}' is not valid, '{DEFAULT_MODES[driver]}' mode is the {driver} driver default",
            f"known modes: {', '.join(MODES[driver])}",
        )
    return mode


def device_name(options: Mapping[str, str]) -> str:
    """Return the name of the device in the container from an endpoint's options; "" if not set."""
    key = f"{ENDPOINT}ifname"
    return _device_name(key, options.get(key, ""))


def sysctls(options: Mapping[str, str], device: str) -> dict[str, str]:
    """Return the sysctls in an endpoint's options for `device`: path below /proc/sys → value."""
    key, found = f"{ENDPOINT}sysctls", {}
    for text in filter(None, options.get(key, "").split(",")):
        name, separator, value = text.partition("=")
        if not separator or not re.fullmatch(r"net\.(ipv4|ipv6|mpls)\.[a-z]+\.(?i:IFNAME)\.[a-z0-9_]+", name.strip()):
            raise BadRequestError(
                f"{key}: {text!r} is not a sysctl of an interface", "write net.ipv4.conf.IFNAME.log_martians=1"
            )
        kind, family, table, _, setting = name.strip().split(".")
        found["/".join((kind, family, table, device, setting))] = value.strip()
    return found


def _is_on(options: Mapping[str, str], key: str, *, default: bool) -> bool:
    text = options.get(key, "").lower()
    if text not in ("", "1", "t", "true", "0", "f", "false"):
        raise BadRequestError(f"{key}={options[key]} must be true or false")
    return text in ("1", "t", "true") if text else default


def _mtu(options: Mapping[str, str]) -> int:
    text = options.get(MTU, "") or "1500"
    if not text.isdecimal() or not 68 <= int(text) <= 65535:
        raise BadRequestError(f"{MTU}={text} is not a valid packet size", "write a number of bytes, such as 1450")
    return int(text)


def _device_name(key: str, name: str) -> str:
    if len(name) > LONGEST_DEVICE_NAME or name in (".", "..") or re.search(r"[/:\s]", name):
        raise BadRequestError(
            f"{key}={name} is not a valid name of an interface",
            f"at most {LONGEST_DEVICE_NAME} characters, no / : or blank",
        )
    return name
