"""Operations on networks as in the Docker Engine API."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from runtime.bodies import ConnectBody, DisconnectBody, EndpointBody, NetworkBody
from runtime.engine.containers.state import Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.events import EventBus
from runtime.engine.filters import DELETED, Filters, Report, check_known, flag, labels_match, may_be_pruned
from runtime.engine.networks.endpoint_checks import check_endpoint
from runtime.engine.networks.networking import ContainerNetworks, endpoint_settings
from runtime.engine.times import parse_rfc3339
from runtime.errors import BadRequestError, ForbiddenError, InternalError, NotFoundError, SkiffError
from runtime.network.model import Network, Subnet
from runtime.network.networks import PREDEFINED, Networks
from runtime.network.subnets import usage_of

LIST_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
PRUNE_FILTERS = ("label", "label!", "until")
DEFAULT_BRIDGE_OPTIONS: Mapping[str, str] = {
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
    "com.docker.network.driver.mtu": "1500",
}
"""What Docker says of its default bridge, which here has them all by default."""
NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and '
    "try again."
)
"""Docker's message outside of a swarm."""


@dataclass(frozen=True, eq=False)
class NetworkApi:
    """Docker's network operations."""

    networks: Networks
    table: ContainerTable
    networking: ContainerNetworks
    events: EventBus

    def _emit(self, action: str, network: Network) -> None:
        self.events.emit("network", action, network.id, {"name": network.name, "type": network.driver})

    def list(self, filters: Filters) -> list[dict[str, Any]]:
        """Return the answer of "List networks". Raises BadRequestError on an unknown filter."""
        check_known(filters, LIST_FILTERS)
        for kind in filters.get("type") or ():
            if kind not in ("builtin", "custom"):
                raise InternalError(f"invalid filter: 'type'='{kind}'")
        if not {*(filters.get("dangling") or ())} <= {"1", "true", "0", "false"}:
            raise BadRequestError('invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")')
        return [self._document(network) for network in self.networks.list() if self._passes(network, filters)]

    def _passes(self, network: Network, filters: Filters) -> bool:
        checks = {
            "name": lambda values: any(value in network.name for value in values),
            "id": lambda values: any(network.id.startswith(value) for value in values),
            "driver": lambda values: network.driver in values,
            "label": lambda values: labels_match(network.labels, values),
            "type": lambda values: ("builtin" if network.name in PREDEFINED else "custom") in values,
            "scope": lambda values: "local" in values,
            "dangling": lambda values: flag("dangling", values) != self._is_used(network),
        }
        return all(checks[key](values) for key, values in filters.items() if values)

    def inspect(self, name: str, *, scope: str = "") -> dict[str, Any]:
        """Return the answer of "Inspect a network". Raises NotFoundError, also if it is not of `scope`."""
        network = self.networks.resolve(name)
        if scope not in ("", "local"):
            raise NotFoundError(f"network {name} not found")
        document = self._document(network)
        document["Containers"] = {
            endpoint.container_id: {
                "Name": endpoint.container_name,
                "EndpointID": endpoint.id,
                "MacAddress": endpoint.mac_address,
                "IPv4Address": endpoint.ipv4,
                "IPv6Address": endpoint.ipv6,
            }
            for endpoint in self.networks.attached(network)
        }
        return document

    def addresses(self, name: str) -> dict[str, dict[str, int]]:
        """Return how many addresses of each of the network's subnets are taken and free."""
        network = self.networks.resolve(name)
        taken = [address for endpoint in self.networks.attached(network) for address in endpoint.addresses]
        return {subnet.subnet: usage_of(subnet, taken) for subnet in network.subnets if subnet.subnet}

    def _document(self, network: Network) -> dict[str, Any]:
        ranges = [
            {"Subnet": s.subnet, "Gateway": s.gateway, "IPRange": s.ip_range, "AuxiliaryAddresses": s.reserved}
            for s in (network.subnets if network.template is None else network.template)
        ]
        return {
            "Name": network.name,
            "Id": network.id,
            "Created": network.created,
            "Scope": "local",
            "Driver": network.driver,
            "EnableIPv4": network.enable_ipv4,
            "EnableIPv6": network.enable_ipv6,
            "IPAM": {
                "Driver": network.ipam_driver,
                "Options": network.ipam_options or None,
                "Config": [{key: value for key, value in one.items() if value} for one in ranges] or None,
            },
            "Internal": network.internal,
            "Attachable": network.attachable,
            "Ingress": False,
            "ConfigFrom": {"Network": network.config_from},
            "ConfigOnly": network.is_configuration,
            "Containers": {},
            "Options": {**(DEFAULT_BRIDGE_OPTIONS if network.name == "bridge" else {}), **network.options},
            "Labels": network.labels,
        }

    async def create(self, body: NetworkBody) -> dict[str, Any]:
        """Create a network; return the answer of "Create a network". Raises EngineError."""
        ipam = body.get("IPAM") or {}
        _check_offered(body, ipam.get("Driver") or "default")
        source = (body.get("ConfigFrom") or {}).get("Network") or ""
        enable_ipv4 = body.get("EnableIPv4") is not False
        settings = self._configured(source, body) if source else {**_settings(body), "enable_ipv4": enable_ipv4}
        if body.get("ConfigOnly"):
            if source:
                raise ForbiddenError(
                    "a configuration network cannot depend on another configuration network", "omit one of the two"
                )
            network = await self.networks.create_configuration(name=body.get("Name") or "", **settings)
        else:
            network = await self.networks.create(
                name=body.get("Name") or "",
                driver=body.get("Driver") or "bridge",
                internal=bool(body.get("Internal")),
                attachable=bool(body.get("Attachable")),
                config_from=source,
                **settings,
            )
        self._emit("create", network)
        return {"Id": network.id, "Warning": ""}

    def _configured(self, source: str, body: NetworkBody) -> dict[str, Any]:
        """Return the settings that the configuration `source` has for a network. Raises NotFoundError, ForbiddenError."""
        found = next((one for one in self.networks.list() if source in (one.name, one.id)), None)
        if found is None or found.template is None:
            raise NotFoundError(f'configuration network "{source}" does not exist')
        given = _settings(body)
        if any(given.values()):
            raise ForbiddenError(
                "user supplied configurations are not supported if the network depends on a configuration network",
                f"set them in {source}, or omit config_from",
            )
        return {
            "subnets": list(found.template),
            "options": found.options,
            "labels": found.labels,
            "enable_ipv4": found.enable_ipv4,
            "enable_ipv6": found.enable_ipv6,
            "ipam_options": found.ipam_options,
        }

    async def remove(self, name: str) -> None:
        """Remove a network. Raises EngineError."""
        network = self.networks.resolve(name)
        await self.networks.remove(network)
        self._emit("destroy", network)

    async def prune(self, filters: Filters, report: Report) -> dict[str, Any]:
        """Remove the networks without containers."""
        check_known(filters, PRUNE_FILTERS)
        now_ns = time.time_ns()
        removed = []
        for network in self.networks.list():
            if network.name in PREDEFINED or network.is_configuration or self._is_used(network):
                continue
            if may_be_pruned(filters, network.labels, parse_rfc3339(network.created), now_ns):
                await self.remove(network.id)
                removed.append(network.name)
                report(network.name, DELETED)
        self.events.emit("network", "prune", "", {"reclaimed": "0"})
        return {"NetworksDeleted": removed or None}

    def _is_used(self, network: Network) -> bool:
        return bool(self.networks.attached(network)) or any(network.name in one.networks for one in self.table)

    async def connect(self, name: str, body: ConnectBody) -> None:
        """Connect a container, running or not, to the network. Raises EngineError."""
        network = self.networks.resolve(name)
        container = self.table.find(body.get("Container") or "")
        _check_joinable(container, network)
        settings = (body.get("EndpointConfig") or EndpointBody()).copy()
        check_endpoint(network.name, settings, network)
        async with self._held(container):
            if container.is_running:
                wanted = endpoint_settings(settings, container)
                await self.networks.connect(container.id, container.name, network, wanted)
                await self.networking.publish_ports(container)
            had_names = not set(container.networks) <= {"bridge"}
            container.networks[network.name] = settings
            if container.is_running and not had_names:
                self.networking.write_resolv_conf(container)
            if container.is_running:
                self.networking.update_hosts(container)
            self.table.save(container)
        self.networking.emit("connect", network, container)

    async def disconnect(self, name: str, body: DisconnectBody) -> None:
        """Disconnect a container from the network. Raises EngineError."""
        network = self.networks.resolve(name)
        try:
            container = self.table.find(body.get("Container") or "")
        except NotFoundError:
            if not body.get("Force"):
                raise
            raise NotFoundError(f"endpoint {body['Container']} not found") from None
        if network.driver == "host":
            raise BadRequestError(HOST_NETWORK.format("disconnect container from"))
        async with self._held(container):
            if network.name not in container.networks:
                article = "" if container.is_running else "the "
                raise InternalError(f"container {container.id} is not connected to {article}network {network.name}")
            if container.is_running:
                try:
                    await self.networks.disconnect(container.id, network)
                    await self.networking.publish_ports(container)
                except SkiffError:
                    if not body.get("Force"):
                        raise
            container.networks.pop(network.name, None)
            if container.is_running:
                self.networking.update_hosts(container)
            self.table.save(container)
        self.networking.emit("disconnect", network, container)

    @asynccontextmanager
    async def _held(self, container: Container) -> AsyncIterator[None]:
        """Lock the container, so that it is not started, stopped or removed while the block runs."""
        async with container.lock:
            if container not in self.table:
                raise NotFoundError(f"No such container: {container.name}")
            yield


HOST_NETWORK = "cannot {} host network - container must be created in host network mode"


def _check_joinable(container: Container, network: Network) -> None:
    """Raise BadRequestError if the container's network mode does not allow another network."""
    mode = container.host.get("NetworkMode") or ""
    if mode == "host" or mode.startswith("container:"):
        raise BadRequestError(
            "container sharing network namespace with another container or host cannot be connected to any other network"
        )
    if network.is_configuration:
        raise ForbiddenError("cannot create endpoint on configuration-only network")
    if network.driver == "host":
        raise BadRequestError(HOST_NETWORK.format("connect container to"))
    if mode == "none" or network.driver == "null":
        raise BadRequestError(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )


def _check_offered(body: NetworkBody, ipam_driver: str) -> None:
    """Refuse kinds of networks that need a swarm, and drivers of plugins."""
    if body.get("Ingress"):
        raise ForbiddenError("Ingress network can only be global scope network", "omit `ingress`")
    if body.get("Scope") not in (None, "", "local"):
        raise ForbiddenError("cannot create a swarm scoped network when swarm is not active", "leave the scope out")
    if body.get("Driver") == "overlay":
        raise ForbiddenError(NO_SWARM, "networks here are of this machine alone: leave the driver out")
    if ipam_driver != "default":
        raise NotFoundError(f'plugin "{ipam_driver}" not found', "omit it: the engine assigns addresses itself")


def _settings(body: NetworkBody) -> dict[str, Any]:
    """Return what a request says of subnets, options, labels and IPv6."""
    ipam = body.get("IPAM") or {}
    return {
        "subnets": [
            Subnet(
                one.get("Subnet") or "",
                one.get("Gateway") or "",
                one.get("IPRange") or "",
                dict(one.get("AuxiliaryAddresses") or {}),
            )
            for one in ipam.get("Config") or ()
        ],
        "options": body.get("Options"),
        "labels": body.get("Labels"),
        "enable_ipv6": bool(body.get("EnableIPv6")),
        "ipam_options": ipam.get("Options"),
    }
