"""The networks of one engine, in the kernel and in the store: create, connect, publish, disconnect, remove."""

from __future__ import annotations

import builtins
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType

import anyio
import anyio.abc

from runtime.errors import BadRequestError, ConflictError, ForbiddenError, InternalError, NotFoundError
from runtime.linux import netns
from runtime.linux.netlink import write_sysctl
from runtime.linux.ports import holder
from runtime.network.bridges import Bridges, NoBridgeError
from runtime.network.endpoints import new_endpoint
from runtime.network.firewall import Firewall
from runtime.network.forwarder.client import Forwarder
from runtime.network.model import PARENT_DRIVERS, TO_BE_CHOSEN, Endpoint, EndpointSettings, Network, Subnet
from runtime.network.names import Names, ResolverSockets, listen
from runtime.network.namespace_thread import NamespaceThread
from runtime.network.netns_pool import NetnsPool
from runtime.network.options import ISOLATED, ROUTED, BridgeOptions, mode_of
from runtime.network.placement import Placement
from runtime.network.ports import FindHolder, PortBinding
from runtime.network.publishing import Publishing
from runtime.network.removals import PendingDeviceRemovals
from runtime.network.subnets import complete_subnet, free_ipv6_subnet
from runtime.network.table import NetworkTable
from runtime.paths import Paths
from runtime.store import Store

PREDEFINED = ("bridge", "host", "none")
DEFAULT_LINGERS_S = 5.0


class Networks:
    """Networks and endpoints. Call `open` first, which reconciles kernel and store.

    Bridges are in this process's network namespace, or in the one pinned to `bridge_netns`; `find_holder` returns the
    process that has a port of the host.
    """

    def __init__(
        self,
        paths: Paths,
        store: Store,
        group: anyio.abc.TaskGroup,
        *,
        bridge_netns: Path | None = None,
        find_holder: FindHolder = holder,
    ) -> None:
        self._paths = paths
        self._group = group
        self._table = NetworkTable(store)
        self._lock = anyio.Lock()
        self._worker = NamespaceThread(bridge_netns)
        self._netns_pool = NetnsPool(self._worker, group)
        self._firewall = Firewall(paths.engine_id, in_own_netns=bridge_netns is not None)
        self._bridges = Bridges(self._firewall, paths.engine_id)
        self._removals = PendingDeviceRemovals(self._bridges, self._worker, group)
        self._placement = Placement(self._table, self._bridges, self._worker)
        self._names = Names(self._table, group, self.namespace, bridge_netns)
        forwarder = Forwarder(paths, self._worker, group)
        self._publishing = Publishing(self._firewall, self._worker, forwarder, find_holder)
        self._container_names: dict[str, str] = {}
        self._lingering: anyio.CancelScope | None = None

    # --- networks

    async def open(self, live: Mapping[str, str], processes: Mapping[str, int] = MappingProxyType({})) -> None:
        """Reconcile kernel and store; `live` are the running containers (ID → name), `processes` their PIDs (ID → PID).

        Endpoints of other containers are dropped, missing bridges (after a reboot) and the firewall are created again.
        """
        self._table.load(live)
        for name in PREDEFINED:
            if self._table.named(name) is None:
                self._table.save(Network(secrets.token_hex(32), name, "null" if name == "none" else name, _now()))
        pinned = set(self._paths.netns.iterdir()) if self._paths.netns.is_dir() else set()
        for path in pinned:
            if path.name not in live:
                await self._worker.run(partial(netns.remove, path))
            elif not netns.is_pinned(path):  # without root, mounts end with the mount namespace of the earlier engine
                await self._worker.run(partial(netns.pin_again, path, processes.get(path.name)))
        bridged = self._bridged()
        await self._worker.run(partial(self._bridges.sweep, bridged))
        if bridged:
            await self._placement.bring_back_all(bridged)
        else:
            await self._worker.run(self._firewall.discard)
        if self._worker.namespace is not None:
            self._names.has_way_out = await self._worker.run(self._bridges.has_way_out)
        for id, name in live.items():
            self._container_names[id] = name
            if self.namespace(id).exists() and any(map(self._names.are_needed, self.endpoints(id))):
                inside = partial(netns.inside, self.namespace(id), listen)
                self._names.serve(id, await self._worker.run(inside))

        await self._publishing.inherit()

    async def adopted(self) -> None:
        """Called after the ports of all running containers are published again: drop inherited ones that are not used."""
        await self._publishing.drop_unclaimed()

    def _bridged(self) -> builtins.list[Network]:
        return [network for network in self._table.networks.values() if network.subnets and network.bridge]

    def list(self) -> builtins.list[Network]:
        """Return all networks."""
        return list(self._table.networks.values())

    def resolve(self, name: str) -> Network:
        """Return the network with this name, ID or ID prefix. Raises NotFoundError."""
        return self._table.resolve(name)

    async def create(
        self,
        *,
        name: str,
        driver: str = "bridge",
        subnets: Sequence[Subnet] = (),
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        internal: bool = False,
        enable_ipv4: bool = True,
        enable_ipv6: bool = False,
        attachable: bool = False,
        ipam_options: Mapping[str, str] | None = None,
        config_from: str = "",
    ) -> Network:
        """Create a bridge network; without `subnets` one is chosen that is not used on the host.

        Without `enable_ipv4` IPv4 subnets that are given are left out.

        Raises ConflictError if the name or a subnet is taken, BadRequestError on an invalid driver or subnet.
        """
        if not name.strip():
            raise BadRequestError("invalid name: name is empty")
        if driver in ("host", "null"):
            raise ForbiddenError(f'only one instance of "{driver}" network is allowed')
        if driver != "bridge" and driver not in PARENT_DRIVERS:
            raise NotFoundError(
                f'could not find plugin {driver} in v1 plugin registry: plugin "{driver}" not found',
                "known drivers: bridge, macvlan, ipvlan",
            )
        async with self._lock:
            if name in PREDEFINED:
                raise ForbiddenError(f"operation is not permitted on predefined {name} network ")
            if self._table.named(name) is not None:
                raise ConflictError(f"network with name {name} already exists")
            if not enable_ipv4 and not enable_ipv6:
                raise BadRequestError("IPv4 or IPv6 must be enabled", "set one of enable_ipv4 and enable_ipv6")
            parsed = BridgeOptions.of(options or {})
            if parsed.of_mode(ISOLATED) and not internal:
                raise InternalError(
                    "gateway mode 'isolated' can only be used for an internal network", "set `internal: true`"
                )
            if not enable_ipv4:
                subnets = [subnet for subnet in subnets if ":" in subnet.subnet]
            if subnets or parsed.name:
                await (
                    self._removals.finish()
                )  # the requested subnet or device may be in use by one that is being removed
            wanted: builtins.list[Subnet] = []
            for subnet in subnets:
                others = [*self.list(), Network("", name, driver, "", tuple(one for one in wanted if one.subnet))]
                wanted.append(complete_subnet(subnet, others) if subnet.subnet else TO_BE_CHOSEN)
            if enable_ipv4 and all(":" in subnet.subnet for subnet in wanted):
                wanted.insert(0, TO_BE_CHOSEN)
            has_ipv6 = any(":" in subnet.subnet for subnet in wanted)
            if enable_ipv6 and not has_ipv6:
                wanted.append(free_ipv6_subnet())
            network = Network(
                secrets.token_hex(32),
                name,
                driver,
                _now(),
                tuple(wanted),
                dict(options or {}),
                dict(labels or {}),
                internal,
                enable_ipv6 or has_ipv6,
                attachable,
                ipam_options=dict(ipam_options or {}),
                config_from=config_from,
                enable_ipv4=enable_ipv4,
            )
            if network.is_on_parent:
                return await self._create_on_parent(network)
            return await self._placement.place(network)

    async def _create_on_parent(self, network: Network) -> Network:
        """Keep a network of devices on an interface of the host. Raises BadRequestError, ForbiddenError."""
        mode_of(network.driver, network.options)
        if network.parent == "lo":
            raise BadRequestError(
                f"loopback interface is not a valid {network.driver} parent link",
                "name the interface of a network card",
            )
        for other in self.list():
            if other.is_on_parent and other.parent == network.parent and other.driver != network.driver:
                raise ForbiddenError(f"network {other.id} is already using parent interface {network.parent}")
        chosen = await self._placement.choose(network)
        await self._worker.run(partial(self._bridges.prepare_parent, chosen))
        self._table.save(chosen)
        return chosen

    async def create_configuration(
        self,
        *,
        name: str,
        subnets: Sequence[Subnet] = (),
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        enable_ipv4: bool = True,
        enable_ipv6: bool = False,
        ipam_options: Mapping[str, str] | None = None,
    ) -> Network:
        """Keep a configuration for other networks. Raises ConflictError when the name is taken, BadRequestError."""
        if not name.strip():
            raise BadRequestError("invalid name: name is empty")
        BridgeOptions.of(options or {})
        async with self._lock:
            if self._table.named(name) is not None:
                raise ConflictError(f"network with name {name} already exists")
            network = Network(
                secrets.token_hex(32),
                name,
                "null",
                _now(),
                options=dict(options or {}),
                labels=dict(labels or {}),
                enable_ipv6=enable_ipv6,
                ipam_options=dict(ipam_options or {}),
                template=tuple(subnets),
                enable_ipv4=enable_ipv4,
            )
            self._table.save(network)
        return network

    async def remove(self, network: Network) -> None:
        """Remove a network without endpoints. Raises ForbiddenError."""
        if network.name in PREDEFINED:
            raise ForbiddenError(f"{network.name} is a pre-defined network and cannot be removed")
        if network.is_configuration:
            if any(other.config_from == network.name for other in self.list()):
                raise ForbiddenError(
                    f'error while removing network: configuration network "{network.name}" is in use',
                    "remove the networks that were made from it first",
                )
            self._table.drop(network)
            return
        async with self._lock:
            self._table.resolve(network.id)  # raises if it has been removed in between
            attached = self._table.attached(network)
            if attached:
                shown = sorted(f'name:"{endpoint.container_name}" id:"{endpoint.id[:12]}"' for endpoint in attached)
                names = ", ".join(shown)
                raise ForbiddenError(
                    f"error while removing network: network {network.name} has active endpoints ({names})",
                    "stop or disconnect these containers first",
                )
            if network.has_own_parent:
                self._removals.add(network.parent)
            elif not network.is_on_parent:
                await self._shut(network)
            self._table.drop(network)
        await self._removals.finish()

    async def _shut(self, network: Network) -> None:
        """Remove the network's firewall rules and bridge; the latter is gone after `_removals.finish`."""
        is_last = all(other.id == network.id for other in self._bridged())
        if is_last or not self._placement.is_absent(network):
            await self._worker.run(partial(self._bridges.shut, network, is_last=is_last))
        if not self._placement.is_absent(network):  # otherwise a device with its bridge's name belongs to others
            self._removals.add(network.bridge)
        self._placement.forget(network)

    # --- the default network, which has a bridge only while it is in use

    async def _provide_default(self, network: Network) -> Network:
        if network.name != "bridge" or network.subnets:
            return network
        await self._removals.finish()
        provided = Network(
            network.id,
            network.name,
            network.driver,
            network.created,
            (TO_BE_CHOSEN,),
            {"com.docker.network.bridge.name": f"skiff-{self._paths.engine_id}"},
        )
        return await self._placement.place(provided)

    def _settle_later(self) -> None:
        # creating and deleting a bridge takes longer than a short container runs: it is removed only after it was
        # unused for a while
        deadline = anyio.current_time() + DEFAULT_LINGERS_S
        if self._lingering is not None:
            self._lingering.deadline = deadline
        else:
            self._lingering = anyio.CancelScope(deadline=deadline)
            self._group.start_soon(self._settle_after, self._lingering)

    async def _settle_after(self, lingering: anyio.CancelScope) -> None:
        with lingering:
            await anyio.sleep_forever()
        self._lingering = None
        await self.settle()

    async def settle(self) -> None:
        """Remove the bridge of the predefined network "bridge" if that has no endpoints."""
        async with self._lock:
            network = self._table.named("bridge")
            if network is not None and network.subnets and not self._table.attached(network):
                await self._shut(network)
                self._table.save(Network(network.id, network.name, network.driver, network.created))
        await self._removals.finish()

    async def compare_bridges(self) -> tuple[builtins.list[str], builtins.list[Network]]:
        """Return (our bridges in the kernel without a network, networks with endpoints whose bridge is missing)."""
        async with self._lock:
            await self._removals.finish()
            strays, missing = await self._worker.run(partial(self._bridges.compare, self._bridged()))
        return strays, [network for network in missing if self.attached(network)]

    async def compare_firewall(self) -> builtins.list[str]:
        """Return the differences between the kernel's nftables table and the engine's, as sentences."""
        async with self._lock:
            return await self._worker.run(self._firewall.differences)

    async def restore_firewall(self) -> None:
        """Recreate the nftables table."""
        async with self._lock:
            await self._worker.run(self._firewall.restore)

    async def remove_stray(self, device: str) -> None:
        """Remove a bridge of ours that belongs to no network."""
        async with self._lock:
            await self._worker.run(partial(self._bridges.delete, [device]))

    async def withdraw(self) -> None:
        """Remove bridges and firewall from the kernel if there are no endpoints; the next engine recreates them."""
        await self.settle()
        async with self._lock:
            if not self._table.has_endpoints:
                present = [network for network in self._bridged() if not self._placement.is_absent(network)]
                await self._worker.run(partial(self._bridges.remove_all, present))
                parents = [network.parent for network in self.list() if network.has_own_parent]
                await self._worker.run(partial(self._bridges.delete, parents))
        self._publishing.close()

    # --- namespaces and endpoints

    def namespace(self, container_id: str) -> Path:
        """Return the path to which the container's network namespace is pinned."""
        return self._paths.netns / container_id

    async def open_namespace(self, container_id: str, name: str, sysctls: Mapping[str, str]) -> Path:
        """Create and pin the network namespace of a container, with lo up."""
        path = self.namespace(container_id)
        self._container_names[container_id] = name
        namespace = await self._netns_pool.take()
        try:
            netns.pin(path, namespace)
        finally:
            os.close(namespace)
        if sysctls:
            try:
                await self._worker.run(partial(netns.inside, path, partial(_set, sysctls)))
            except BaseException:
                netns.remove(path)
                raise
        return path

    def expect_more(self) -> None:
        """Create a network namespace in advance for the next container."""
        self._netns_pool.refill()

    async def close_namespace(self, container_id: str) -> None:
        """Disconnect from all networks and unpin the namespace."""
        self._container_names.pop(container_id, None)
        self._names.stop(container_id)
        await self.unpublish(container_id)
        async with self._lock:
            endpoints = self.endpoints(container_id)
            await self._worker.run(partial(self._bridges.unplug, [one.host_device for one in endpoints]))
            for endpoint in endpoints:
                self._detach(endpoint)
        await self._worker.run(partial(netns.remove, self.namespace(container_id)))

    def endpoints(self, container_id: str) -> builtins.list[Endpoint]:
        """Return the container's endpoints in the order of their creation."""
        return self._table.endpoints(container_id)

    def attached(self, network: Network) -> builtins.list[Endpoint]:
        """Return the endpoints on `network`."""
        return self._table.attached(network)

    async def connect(
        self, container_id: str, container_name: str, network: Network, settings: EndpointSettings
    ) -> Endpoint:
        """Connect the container's namespace to `network`: veth pair, addresses, routes and names.

        A missing bridge is created again (see `Placement`). Raises ForbiddenError if the container is already connected or
        the address is taken, ConflictError if the network's subnet is used by others.
        """
        if network.is_configuration:
            raise ForbiddenError("cannot create endpoint on configuration-only network")
        async with self._lock:
            if self._table.endpoint(network, container_id) is not None:
                raise ForbiddenError(f"endpoint with name {container_name} already exists in network {network.name}")
            network = await self._provide_default(self._table.resolve(network.id))  # raises if it has been removed
            if network.is_on_parent:
                return await self._plug(container_id, container_name, network, settings)
            if not self._placement.is_absent(network):
                with suppress(NoBridgeError):
                    return await self._plug(container_id, container_name, network, settings)
            network = await self._placement.bring_back(network)
            return await self._plug(container_id, container_name, network, settings)

    async def _plug(
        self, container_id: str, container_name: str, network: Network, settings: EndpointSettings
    ) -> Endpoint:
        used = self._table.used_addresses(network)
        mine = self.endpoints(container_id)
        endpoint = new_endpoint(container_id, container_name, network, settings, mine, used)
        versions = [version for version in (4, 6) if self._way_out(container_id, version, endpoint) == endpoint]
        needs_names = self._names.are_needed(endpoint) and not self._names.is_served(container_id)
        also = listen if needs_names else _nothing
        connect = self._bridges.plug_on_parent if network.is_on_parent else self._bridges.plug
        plug = partial(connect, network, endpoint, self.namespace(container_id), versions, also)
        sockets = await self._worker.run(plug)
        self._table.attach(endpoint)
        if sockets is not None:
            self._names.serve(container_id, sockets)
        return endpoint

    def _way_out(self, container_id: str, version: int, new: Endpoint | None = None) -> Endpoint | None:
        """Return the endpoint with the default route: that with the highest gateway priority, then the first by name."""
        found = [*self.endpoints(container_id), *([new] if new is not None else [])]
        found = [e for e in found if (e.ipv4 if version == 4 else e.ipv6) and not self._is_internal(e)]
        return min(
            found, key=lambda each: (-each.gw_priority, self._table.networks[each.network_id].name), default=None
        )

    def _is_internal(self, endpoint: Endpoint) -> bool:
        network = self._table.networks[endpoint.network_id]
        return network.internal or network.has_own_parent

    async def disconnect(self, container_id: str, network: Network) -> None:
        """Disconnect the container from `network`. Raises NotFoundError."""
        async with self._lock:
            endpoint = self._table.endpoint(network, container_id)
            if endpoint is None:
                raise NotFoundError(f"container {container_id[:12]} is not connected to network {network.name}")
            if network.is_on_parent:
                unplug = partial(self._bridges.unplug_inside, self.namespace(container_id), endpoint.device)
                await self._worker.run(unplug)
            self._detach(endpoint)
            await self._removals.finish()
            for version in (4, 6):
                other = self._way_out(container_id, version)
                if other is not None:
                    way_out = self._table.networks[other.network_id]
                    set_route = self._bridges.set_default_route
                    await self._worker.run(partial(set_route, way_out, other, self.namespace(container_id), [version]))

    def _detach(self, endpoint: Endpoint) -> None:
        self._removals.add(endpoint.host_device)
        self._table.detach(endpoint)
        if self._table.networks[endpoint.network_id].name == "bridge":
            self._settle_later()

    # --- published ports

    def check_ports(self, bindings: Sequence[PortBinding]) -> None:
        """Raise ConflictError, with the process that has it, if one of the host ports is not available."""
        self._publishing.check(bindings)

    async def publish(self, container_id: str, bindings: Sequence[PortBinding]) -> builtins.list[PortBinding]:
        """Publish ports of the container on the host, all or none; return them with the chosen host ports.

        Called again, the container keeps its host ports, which are forwarded to its present address.
        """
        # not through an internal network; without any other the ports are not published
        endpoint = self._way_out(container_id, 4) or self._way_out(container_id, 6)
        if endpoint is None:
            await self.unpublish(container_id)
            return []
        network = self._table.networks[endpoint.network_id]
        if network.is_on_parent:  # its containers are neighbours of the host's neighbours, nothing stands between
            await self.unpublish(container_id)
            return []
        self._placement.check(network)
        options = BridgeOptions.of(network.options)
        host_ip, routed = options.host_ip, options.of_mode(ROUTED)
        if not endpoint.ipv4:  # as in Docker: only an address that is named is forwarded across
            host_ip = "::"
        wanted = [replace(binding, host_ip=binding.host_ip or host_ip) for binding in bindings]
        ipv4, ipv6 = (text.partition("/")[0] for text in (endpoint.ipv4, endpoint.ipv6))
        name = self._container_names.get(container_id, container_id[:12])
        return await self._publishing.publish(container_id, name, ipv4, ipv6, wanted, routed)

    def published(self, container_id: str) -> builtins.list[PortBinding]:
        """Return the container's published ports, a binding for each address family."""
        return self._publishing.by_family(container_id)

    async def unpublish(self, container_id: str) -> None:
        """Unpublish the container's ports."""
        await self._publishing.unpublish(container_id)


def _nothing() -> ResolverSockets | None:
    return None


def _set(sysctls: Mapping[str, str]) -> None:
    for key, value in sysctls.items():
        write_sysctl(key.replace(".", "/"), value)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
