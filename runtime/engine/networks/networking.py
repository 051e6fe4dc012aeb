"""A container's networking: its namespace, endpoints, published ports, hosts and resolv.conf files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.bodies import ContainerConfig, EndpointBody, HostConfig
from runtime.engine.containers import failures
from runtime.engine.containers.making.hosts import commented, host_names, hosts_file, resolv_conf
from runtime.engine.containers.making.links import existing, linked_to, links_of
from runtime.engine.containers.state import Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.events import EventBus
from runtime.engine.networks.name_files import NAME_FILES, write_name_file
from runtime.errors import BadRequestError, ConflictError, InternalError, NotFoundError, SkiffError
from runtime.network.model import EndpointSettings, Network
from runtime.network.names import RESOLVER_ADDRESS, default_resolvers
from runtime.network.networks import Networks
from runtime.network.ports import PortBinding, PortTakenError, parse_bindings
from runtime.network.resolver import host_resolvers, host_search
from runtime.paths import Paths


@dataclass(frozen=True, eq=False)
class ContainerNetworks:
    """Connects containers to their networks at start, and disconnects them at exit."""

    paths: Paths
    table: ContainerTable
    networks: Networks
    events: EventBus

    def emit(self, action: str, network: Network, container: Container) -> None:
        """Emit an event of the network and a container ("connect", "disconnect")."""
        about = {"container": container.id, "name": network.name, "type": network.driver}
        self.events.emit("network", action, network.id, about)

    async def join(self, container: Container) -> Path | None:
        """Connect the container to its networks; return its network namespace, None for the host's."""
        directory = self.paths.container(container.id)
        mode = container.host.get("NetworkMode") or "bridge"
        if mode.startswith("container:"):
            return self._share(container, self._donor(mode.partition(":")[2]))
        write_name_file(directory / "hostname", (container.config.get("Hostname") or container.id[:12]) + "\n")
        if mode == "host":
            hosts = hosts_file((), container.host.get("ExtraHosts") or (), base=host_names())
            write_name_file(directory / "hosts", hosts)
            write_name_file(directory / "resolv.conf", _resolv_conf(container, host_resolvers()))
            return None
        sysctls = {k: v for k, v in (container.host.get("Sysctls") or {}).items() if k.startswith("net.")}
        path = self.networks.namespace(container.id)
        if not path.exists():  # it exists, with all endpoints, if another container that shares it is still running
            with failures.setting_sysctls():
                await self.networks.open_namespace(container.id, container.name, sysctls)
        if mode != "none":
            with failures.networking():
                await self._connect_all(container)
        self._check_linked(container)
        self.write_resolv_conf(container)
        self.update_hosts(container)
        self.networks.expect_more()
        return path

    async def _connect_all(self, container: Container) -> None:
        """Connect the container to those of its networks to which it is not connected, and publish its ports."""
        attached = {endpoint.network_id for endpoint in self.networks.endpoints(container.id)}
        for name, wanted in list(container.networks.items()):
            network = self.networks.resolve(name)
            if network.id not in attached:
                settings = endpoint_settings(wanted, container)
                await self.networks.connect(container.id, container.name, network, settings)
                self.emit("connect", network, container)
        await self.publish_ports(container)

    def _donor(self, name: str) -> Container:
        try:
            return self.table.find(name)
        except NotFoundError as error:
            raise InternalError(f"joining network namespace of container: {error.message}") from error

    def _share(self, container: Container, owner: Container) -> Path | None:
        if not owner.is_running:
            raise ConflictError(
                f"cannot join network namespace of a non running container: container {owner.name} is "
                f"{owner.state.status}"
            )
        container.config["Hostname"] = owner.config.get("Hostname") or ""
        source, directory = self.paths.container(owner.id), self.paths.container(container.id)
        for name in NAME_FILES:
            if (source / name).exists():
                write_name_file(directory / name, (source / name).read_text())
        namespace = self.networks.namespace(owner.id)
        return namespace if namespace.exists() else None  # None: the other container is on the host's network

    def _check_linked(self, container: Container) -> None:
        for link in links_of(container, self.table):
            if not link.container.is_running:
                raise InternalError(f"Cannot link to a non running container: /{link.container.name} AS {link.name}")

    def environment(self, container: Container) -> list[str]:
        """Return the container's environment, with the variables of its links."""
        own = list(container.config.get("Env") or ())
        names = {pair.partition("=")[0] for pair in own}
        linked = []
        for link in existing(container, self.table):
            addresses = self._on_default_bridge(link.container)
            linked += link.environment(addresses[0]) if addresses else []
        return [*(pair for pair in linked if pair.partition("=")[0] not in names), *own]

    def _on_default_bridge(self, container: Container) -> list[str]:
        bridge = self.networks.resolve("bridge")
        attached = (one for one in self.networks.endpoints(container.id) if one.network_id == bridge.id)
        return [str(address) for endpoint in attached for address in endpoint.addresses]

    def update_hosts(self, container: Container) -> None:
        """Write the hosts files of the container and of those that link to it."""
        for one in (container, *linked_to(container, self.table)):
            self._write_hosts(one)

    def _write_hosts(self, container: Container) -> None:
        """Write the container's hosts file for its networks, in place: the file is bind-mounted."""
        own, gateway = [], ""
        for link in existing(container, self.table):
            own += [(address, link.host_names()) for address in self._on_default_bridge(link.container)]
        names = own_names(container)
        for endpoint in self.networks.endpoints(container.id):
            own += [(str(address), names) for address in endpoint.addresses]
            network = self.networks.resolve(endpoint.network_id)
            subnet = network.ipv4 or network.ipv6
            gateway = gateway or (subnet.gateway if subnet else "")
        path = self.paths.container(container.id) / "hosts"
        write_name_file(path, hosts_file(own, container.host.get("ExtraHosts") or (), gateway))

    async def publish_ports(self, container: Container) -> None:
        """Publish the container's ports."""
        bindings = held_ports(container) or port_bindings(container.config, container.host)
        await self._publish(container, bindings)

    async def _publish(self, container: Container, bindings: Sequence[PortBinding]) -> None:
        try:
            await self.networks.publish(container.id, bindings)
        except (PortTakenError, BadRequestError) as error:
            endpoint = next((one.id for one in self.networks.endpoints(container.id)), "")
            reason, hint = error.message, error.hint
            if isinstance(error, PortTakenError):
                reason, hint = error.reason, f"{error.message}: {error.hint}"
            what = f"driver failed programming external connectivity on endpoint {container.name} ({endpoint})"
            raise InternalError(f"{what}: {reason}", hint) from error
        container.ports = [
            {"IP": b.host_ip, "PrivatePort": b.container_port, "PublicPort": b.host_port, "Type": b.protocol}
            for b in self.networks.published(container.id)
        ]

    def write_resolv_conf(self, container: Container) -> None:
        """Write the container's resolv.conf for its networks, in place: the file is bind-mounted."""
        servers = host_resolvers() if "none" in container.networks else [RESOLVER_ADDRESS]
        if set(container.networks) <= {"bridge"}:
            servers = default_resolvers()
        write_name_file(self.paths.container(container.id) / "resolv.conf", _resolv_conf(container, servers))

    async def leave(self, container: Container) -> None:
        """Disconnect the container from its networks, unless other containers run in its network namespace."""
        if not self._sharers(container):
            await self.forget(container)
            container.ports = []
        owner = self.owner(container)
        if owner is not None and not owner.is_running and not self._sharers(owner, excluding=container):
            await self.leave(owner)
            self.table.save(owner)

    async def forget(self, container: Container) -> None:
        """Remove the container's network namespace with all endpoints, if there is one."""
        attached = self.networks.endpoints(container.id)
        if not attached and not self.networks.namespace(container.id).exists():
            return
        left = [self.networks.resolve(endpoint.network_id) for endpoint in attached]
        await self.networks.close_namespace(container.id)
        for network in left:
            self.emit("disconnect", network, container)

    async def adopt(self, container: Container) -> None:
        """Publish the ports of a container started by an earlier engine, and of the owner of its namespace, again."""
        for one in (container, self.owner(container)):
            if one is not None:
                await self._publish(one, held_ports(one))
                self.table.save(one)

    def owner(self, container: Container) -> Container | None:
        """Return the container whose network namespace this one shares, None if it has its own."""
        mode = container.host.get("NetworkMode") or ""
        try:
            return self.table.find(mode.partition(":")[2]) if mode.startswith("container:") else None
        except SkiffError:
            return None

    def _sharers(self, owner: Container, excluding: Container | None = None) -> list[Container]:
        """Return the running containers, except `excluding`, that share the network namespace of `owner`."""
        return [one for one in self.table if one.is_running and one is not excluding and self.owner(one) is owner]


def _resolv_conf(container: Container, servers: Sequence[str]) -> str:
    return commented(resolv_conf(servers, container.host, host_search()), host_resolvers(), container.host)


def own_names(container: Container) -> str:
    """Return the container's own names for its hosts file: the whole host name, and its first label."""
    whole: str = container.config.get("Hostname") or container.id[:12]
    if container.config.get("Domainname"):
        whole += f".{container.config['Domainname']}"
    first, dot, _ = whole.partition(".")
    return f"{whole} {first}" if dot else whole


def endpoint_settings(wanted: EndpointBody, container: Container) -> EndpointSettings:
    """Convert Docker's EndpointSettings for `container`."""
    ipam = wanted.get("IPAMConfig") or {}
    return EndpointSettings(
        aliases=tuple(wanted.get("Aliases") or ()),
        ipv4_address=ipam.get("IPv4Address") or "",
        ipv6_address=ipam.get("IPv6Address") or "",
        mac_address=wanted.get("MacAddress") or "",
        links=tuple(wanted.get("Links") or ()),
        driver_opts=dict(wanted.get("DriverOpts") or {}),
        gw_priority=wanted.get("GwPriority") or 0,
        link_local_ips=tuple(ipam.get("LinkLocalIPs") or ()),
        dns_servers=tuple(container.host.get("Dns") or ()),
        dns_options=tuple(container.host.get("DnsOptions") or ()),
        hostname=container.config.get("Hostname") or "",
    )


def port_bindings(config: ContainerConfig, host: HostConfig) -> list[PortBinding]:
    """Return the ports to publish: HostConfig's, and with PublishAllPorts all other exposed ones."""
    wanted = dict(host.get("PortBindings") or {})
    if host.get("PublishAllPorts"):
        for exposed in config.get("ExposedPorts") or ():
            wanted.setdefault(exposed if "/" in exposed else f"{exposed}/tcp", [{"HostIp": "", "HostPort": ""}])
    return parse_bindings(wanted)


def held_ports(container: Container) -> list[PortBinding]:
    """Return the container's published ports, with the host ports that were chosen for it."""
    return [PortBinding(port["PrivatePort"], port["Type"], port["IP"], port["PublicPort"]) for port in container.ports]
