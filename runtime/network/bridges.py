"""Networks and endpoints in the kernel: bridges, veth pairs, addresses, routes. All calls block: use a thread."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from runtime.errors import BadRequestError, ConflictError, KernelError
from runtime.linux import netns
from runtime.linux.netlink import Netlink, await_operation, forward_ipv6, write_sysctl
from runtime.linux.routes import has_default_route
from runtime.network.addresses import hardware_address
from runtime.network.claims import live_claims, rival
from runtime.network.firewall import Firewall, FirewallNetwork
from runtime.network.model import Endpoint, Network
from runtime.network.options import BRIDGE, MODES, ROUTED, UNPROTECTED, BridgeOptions, mode_of, sysctls
from runtime.network.subnets import Claim

T = TypeVar("T")
OPERATION_S = 1.0
"""Timeout for a device to become operational, which it does not if somebody has set it down."""


class NoBridgeError(Exception):
    """The network's bridge does not exist: somebody has removed it."""


class Bridges:
    """The devices of one engine's networks; `firewall` has rules for each bridge."""

    def __init__(self, firewall: Firewall, engine_id: str) -> None:
        self._firewall = firewall
        self._engine_id = engine_id
        self._alias = f"skiff-{engine_id} "
        # device group of devices to delete; groups of users are small numbers
        self._going = int(engine_id, 16) & 0x7FFFFFFF | 0x40000000
        # device group of devices without an alias yet: it can't be set at creation, and we may be killed in between
        self._coming = self._going ^ 0x20000000
        self._netlink: Netlink | None = None

    def _link(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink()
        return self._netlink

    def claims(self) -> list[Claim]:
        """Return the address ranges in use in the bridges' network namespace."""
        return live_claims(self._link(), self._engine_id)

    def has_way_out(self) -> bool:
        """Whether the bridges' network namespace has a default route."""
        return has_default_route(self._link())

    # --- bridges

    def sweep(self, networks: Sequence[Network]) -> None:
        """Remove bridges of an engine that was killed before it could store their network."""
        known = {network.bridge for network in networks}
        interfaces = self._link().interfaces()
        ours = {one.name for one in interfaces if one.alias.startswith(self._alias) or one.group == self._coming}
        if ours - known:
            self.delete(list(ours - known))

    def compare(self, networks: Sequence[Network]) -> tuple[list[str], list[Network]]:
        """Return (our bridges that belong to none of `networks`, those networks whose bridge is missing)."""
        ours = {one.name for one in self._link().interfaces() if one.alias.startswith(self._alias)}
        known = {network.bridge for network in networks}
        return sorted(ours - known), [network for network in networks if network.bridge not in ours]

    def rebuild(self, networks: Sequence[Network]) -> list[Network]:
        """Recreate the firewall for the existing bridges; return the networks whose bridge is missing."""
        self._firewall.create()
        ours = {one.name for one in self._link().interfaces() if one.alias.startswith(self._alias)}
        for network in networks:
            if network.bridge in ours:
                self._open_firewall(network)
        return [network for network in networks if network.bridge not in ours]

    def make(self, network: Network) -> Claim | None:
        """Create the network's bridge with its gateway addresses, or nothing.

        If another interface has addresses of its subnets, return that claim and create nothing. This is checked after our
        addresses are set, so that of two engines that choose the same subnet at least one notices.
        """
        link = self._link()
        # a bridge without a MAC address of its own has the lowest of its ports', which changes with them
        try:
            link.add_bridge(network.bridge, hardware_address(secrets.token_bytes(4)), self._coming)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            raise ConflictError(
                f"network {network.name}: an interface named {network.bridge} already exists",
                f"choose another name ({BRIDGE}name)",
            ) from error
        try:
            link.set_alias(network.bridge, self._alias + network.name)
            index = link.index(network.bridge)
            without = BridgeOptions.of(network.options).without_address
            for subnet in network.subnets:
                if subnet.range.version not in without:
                    address = ipaddress.ip_interface(f"{subnet.gateway}/{subnet.range.prefixlen}")
                    link.add_address(index, address)
            if (found := rival(link, index, [subnet.range for subnet in network.subnets])) is not None:
                link.delete(index)
                return found
            link.up(index)
            write_sysctl("net/ipv4/ip_forward", "1")
            if network.ipv6 is not None:
                forward_ipv6()
            # packets for ports published on 127.0.0.1 have a loopback source address when they are routed to the bridge
            write_sysctl(f"net/ipv4/conf/{network.bridge}/route_localnet", "1")
            self._open_firewall(network)
        except BaseException:
            link.delete(link.index(network.bridge))
            raise
        return None

    def enslave(self, network: Network, devices: Sequence[str]) -> None:
        """Connect the host's ends of veth pairs to the network's bridge, which was created again."""
        link = self._link()
        bridge = link.index(network.bridge)
        for device in devices:
            with contextlib.suppress(KernelError):  # removed together with its namespace
                link.enslave(device, bridge)

    def _open_firewall(self, network: Network) -> None:
        self._firewall.add_network(_firewall_network(network))

    def shut(self, network: Network, *, is_last: bool) -> None:
        """Remove the network's rules from the firewall; with the last network remove the table."""
        self._firewall.remove_network(_firewall_network(network), is_last=is_last)

    def remove_all(self, networks: Sequence[Network]) -> None:
        """Remove the bridges of all `networks`, and the firewall."""
        if networks:
            self.delete([network.bridge for network in networks])
            self._firewall.remove()

    def delete(self, devices: Sequence[str]) -> None:
        """Delete devices together. May run in another thread than the other calls."""
        link = Netlink()
        try:
            link.delete_together(devices, self._going)
        finally:
            link.close()

    # --- endpoints

    def plug(
        self,
        network: Network,
        endpoint: Endpoint,
        namespace: Path,
        versions: Sequence[int],
        also: Callable[[], T],
    ) -> T:
        """Connect `namespace` to the network's bridge (veth pair, addresses, routes), or change nothing.

        The network gets the default route for the IP `versions`. `also` is called inside the namespace at the end, and its
        result returned. Raises NoBridgeError.
        """
        link = self._link()
        options = BridgeOptions.of(network.options)
        settings = sysctls(endpoint.driver_opts, endpoint.device)
        try:
            bridge = link.index(network.bridge)
        except KeyError:
            raise NoBridgeError(network.bridge) from None
        with open(namespace) as file:
            link.add_veth(
                endpoint.host_device, bridge, endpoint.device, endpoint.mac_address, file.fileno(), options.mtu
            )

        has_ipv6 = any(":" in text for text in (endpoint.ipv6, *endpoint.link_local_ips))

        def inside() -> T:
            with contextlib.closing(Netlink()) as inner:
                # without an IPv6 address there is none of the link either, which nobody asked for
                index = _bring_up(inner, network, endpoint, settings, versions, keeps_ipv6=has_ipv6)
                _await_operation(inner, index)
            return also()

        try:
            if not options.neighbours_meet or _bridged_traffic_is_filtered():
                # with br_netfilter, the answer to a container that connects to itself through a published port leaves
                # the bridge by the port on which it arrived (hairpin)
                port = link.index(endpoint.host_device)
                link.set_port(port, reflects=options.neighbours_meet, is_isolated=not options.neighbours_meet)
            made = netns.inside(namespace, inside)
            _await_operation(link, link.index(endpoint.host_device))
            _await_operation(link, bridge)
        except BaseException:
            link.delete(link.index(endpoint.host_device))
            raise
        return made

    def prepare_parent(self, network: Network) -> int:
        """Return the number of the interface that the network's devices are on; its own is made where it is missing.

        Raises BadRequestError when the one that the user names is not there.
        """
        link = self._link()
        try:
            return link.index(network.parent)
        except KeyError:
            if not network.has_own_parent:
                raise BadRequestError(
                    f"the parent interface {network.parent} of network {network.name} was not found",
                    "name an interface of this machine (`ip link` lists them)",
                ) from None
        # one end of a pair leads nowhere but carries, and every kernel that runs containers has such; not so Docker's dummy
        peer = network.parent.replace("dm-", "dp-", 1)
        link.add_pair(network.parent, peer)
        for device in (peer, network.parent):
            link.up(link.index(device))
        return link.index(network.parent)

    def plug_on_parent(
        self,
        network: Network,
        endpoint: Endpoint,
        namespace: Path,
        versions: Sequence[int],
        also: Callable[[], T],
    ) -> T:
        """Give `namespace` a device on the network's parent interface: addresses, routes; all or nothing.

        As `plug`, but there is no bridge. Raises BadRequestError, KernelError.
        """
        mode = mode_of(network.driver, network.options)
        number = MODES[network.driver][mode]
        settings = sysctls(endpoint.driver_opts, endpoint.device)
        parent = self.prepare_parent(network)
        with open(namespace) as file:
            try:
                self._link().add_child(
                    network.driver, number, parent, endpoint.device, endpoint.mac_address, file.fileno()
                )
            except KernelError as error:
                if error.errno == errno.EOPNOTSUPP:
                    raise BadRequestError(
                        f"this kernel has no {network.driver}", f"load its module: modprobe {network.driver}"
                    ) from error
                raise

        def inside() -> T:
            with contextlib.closing(Netlink()) as inner:
                _bring_up(inner, network, endpoint, settings, versions, keeps_ipv6=True)
            return also()

        try:
            return netns.inside(namespace, inside)
        except BaseException:
            self.unplug_inside(namespace, endpoint.device)
            raise

    def unplug_inside(self, namespace: Path, device: str) -> None:
        """Remove a device that lies in `namespace` alone; it may be gone already."""

        def inside() -> None:
            with contextlib.closing(Netlink()) as inner, contextlib.suppress(KeyError, KernelError):
                inner.delete(inner.index(device))

        netns.inside(namespace, inside)

    def unplug(self, devices: Sequence[str]) -> None:
        """Disable the host's ends of veth pairs, so that their addresses can be reused; `delete` takes longer."""
        link = self._link()
        for device in devices:
            with contextlib.suppress(KeyError, KernelError):  # removed with its namespace, or never up
                link.disable_port(link.index(device))

    def set_default_route(self, network: Network, endpoint: Endpoint, namespace: Path, versions: Sequence[int]) -> None:
        """Set the default route of `namespace` for the IP `versions` to the gateway of `network`."""

        def inside() -> None:
            with contextlib.closing(Netlink()) as inner:
                _set_way_out(inner, inner.index(endpoint.device), network, endpoint, versions)

        netns.inside(namespace, inside)


def _bring_up(
    link: Netlink,
    network: Network,
    endpoint: Endpoint,
    settings: Mapping[str, str],
    versions: Sequence[int],
    *,
    keeps_ipv6: bool,
) -> int:
    """Give an endpoint's device, in whose namespace `link` is, addresses, sysctls and routes; return its number.

    Without `keeps_ipv6` it gets no link-local address either.
    """
    index = link.index(endpoint.device)
    for text in (endpoint.ipv4, endpoint.ipv6, *endpoint.link_local_ips):
        if text:
            link.add_address(index, ipaddress.ip_interface(text))
    for path, value in settings.items():
        write_sysctl(path, value)
    if not keeps_ipv6:
        _disable_ipv6(endpoint.device)
    link.up(index)
    _set_way_out(link, index, network, endpoint, versions)
    return index


def _disable_ipv6(device: str) -> None:
    try:
        write_sysctl(f"net/ipv6/conf/{device}/disable_ipv6", "1")
    except KernelError as error:
        if error.errno != errno.ENOENT:  # the kernel has no IPv6
            raise


def _await_operation(link: Netlink, index: int) -> None:
    if not link.operates(index):
        await_operation(index, OPERATION_S)


def _bridged_traffic_is_filtered() -> bool:
    try:
        return Path("/proc/sys/net/bridge/bridge-nf-call-iptables").read_text().strip() == "1"
    except OSError:
        return False  # br_netfilter is not loaded


def _firewall_network(network: Network) -> FirewallNetwork:
    options = BridgeOptions.of(network.options)
    subnets = tuple(subnet.subnet for subnet in network.subnets)
    return FirewallNetwork(
        network.bridge,
        subnets,
        network.internal,
        options.masquerades,
        options.of_mode(ROUTED),
        options.of_mode(UNPROTECTED),
    )


def _set_way_out(link: Netlink, index: int, network: Network, endpoint: Endpoint, versions: Sequence[int]) -> None:
    for version in versions:
        gateway = network.gateway_of(endpoint.ipv4 if version == 4 else endpoint.ipv6)
        link.set_default_route(index, ipaddress.ip_address(gateway))
