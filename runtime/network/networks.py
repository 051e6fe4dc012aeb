"""The networks of one engine: made, joined, left and removed, in the kernel and in the store alike."""

from __future__ import annotations

import builtins
import contextlib
import errno
import ipaddress
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.abc
import anyio.to_thread

from runtime.errors import BadRequestError, ConflictError, ForbiddenError, KernelError, NotFoundError
from runtime.linux import netns
from runtime.linux.netlink import Netlink, write_sysctl
from runtime.linux.nftables import Nftables
from runtime.network.dns_message import Address
from runtime.network.firewall import Firewall, Forward
from runtime.network.model import Endpoint, EndpointSettings, Network, Subnet
from runtime.network.ports import PortBinding, hold, holders_among
from runtime.network.resolver import Resolver, host_resolvers
from runtime.paths import Paths
from runtime.store import Store

T = TypeVar("T")

RESOLVER_ADDRESS = "127.0.0.11"
POOLS = [f"172.{number}.0.0/16" for number in range(17, 32)] + [
    f"192.168.{number}.0/20" for number in range(0, 256, 16)
]
PREDEFINED = ("bridge", "host", "none")
DEFAULT_LINGERS_S = 5.0


class Networks:
    """Networks and endpoints. `open` comes first: it brings kernel and store together."""

    def __init__(self, paths: Paths, store: Store, group: anyio.abc.TaskGroup) -> None:
        self._paths = paths
        self._store = store
        self._group = group
        self._rows = store.collection("network")
        self._endpoint_rows = store.collection("endpoint")
        self._networks: dict[str, Network] = {}
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self._lock = anyio.Lock()
        self._worker = anyio.CapacityLimiter(1)
        self._firewall = Firewall(paths.engine_id)
        self._netlink: Netlink | None = None
        self._resolvers: dict[str, anyio.CancelScope] = {}
        self._published: dict[str, tuple[list[PortBinding], list[Forward], list[socket.socket]]] = {}
        self._names: dict[str, str] = {}

    async def _in_thread(self, action: Callable[[], T]) -> T:
        """Run blocking kernel work; one piece at a time, never cut short halfway."""
        with anyio.CancelScope(shield=True):
            result = await anyio.to_thread.run_sync(action, limiter=self._worker)
        return result  # noqa: RET504 (to mypy a scope may swallow what is raised in it)

    def _link(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink()
        return self._netlink

    # --- networks

    async def open(self, live: Mapping[str, str]) -> None:
        """Bring kernel and store together; `live` are the names of running containers by ID.

        Endpoints of others are dropped, bridges that a reboot took are made again, the firewall is built anew.
        """
        for id, document in self._rows.items():
            self._networks[id] = Network.of(document)
        for name in PREDEFINED:
            if not any(network.name == name for network in self._networks.values()):
                network = Network(secrets.token_hex(32), name, "null" if name == "none" else name, _now())
                self._save(network)
        # rows come in the order of their random IDs; the devices tell in which order they were attached
        rows = sorted(self._endpoint_rows.items(), key=lambda row: int(row[1]["device"].removeprefix("eth")))
        for id, document in rows:
            endpoint = Endpoint.of(document)
            if endpoint.container_id in live:
                self._endpoints[endpoint.network_id, endpoint.container_id] = endpoint
            else:
                self._endpoint_rows.delete(id)
        pinned = set(self._paths.netns.iterdir()) if self._paths.netns.is_dir() else set()
        for path in pinned:
            if path.name not in live:
                await self._in_thread(partial(netns.remove, path))
        bridges = [network for network in self._networks.values() if network.subnets]
        if bridges:
            await self._in_thread(partial(self._rebuild, bridges))
        else:
            await self._in_thread(self._firewall.discard)
        for id, name in live.items():
            self._names[id] = name
            if self._paths.netns.joinpath(id).exists() and self.endpoints(id):
                await self._start_resolver(id)

    def _rebuild(self, networks: Sequence[Network]) -> None:
        self._firewall.create()
        for network in networks:
            try:
                self._link().index(network.bridge)
            except KeyError:
                self._make_bridge(network)
                continue
            self._open_firewall(network)

    def _save(self, network: Network) -> None:
        self._rows.put(network.id, network.document(), network.name)
        self._networks[network.id] = network

    def list(self) -> builtins.list[Network]:
        """Return all networks."""
        return list(self._networks.values())

    def resolve(self, name: str) -> Network:
        """Return the network of a name, an ID or its beginning. Raises NotFoundError."""
        for network in self._networks.values():
            if name in (network.id, network.name):
                return network
        found = [network for id, network in self._networks.items() if name and id.startswith(name)]
        if len(found) != 1:
            raise NotFoundError(f"network {name} not found")
        return found[0]

    async def create(
        self,
        *,
        name: str,
        driver: str = "bridge",
        subnets: Sequence[Subnet] = (),
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        internal: bool = False,
        enable_ipv6: bool = False,
        attachable: bool = False,
    ) -> Network:
        """Make a bridge network; without `subnets` one is chosen that no route of the host meets.

        Raises ConflictError when the name is taken, BadRequestError on a driver or a range that can't be.
        """
        if driver != "bridge":
            raise BadRequestError(
                f"network driver {driver!r} is not known", "networks here are bridges: leave the driver out"
            )
        async with self._lock:
            if any(network.name == name for network in self._networks.values()):
                raise ConflictError(f"network with name {name} already exists")
            chosen = [await self._complete(subnet) for subnet in subnets]
            if not any(":" not in subnet.subnet for subnet in chosen):
                chosen.insert(0, await self._free_subnet())
            if enable_ipv6 and not any(":" in subnet.subnet for subnet in chosen):
                prefix = ipaddress.IPv6Network((0xFD << 120 | secrets.randbits(56) << 64, 64))
                chosen.append(Subnet(str(prefix), str(prefix[1])))
            network = Network(
                secrets.token_hex(32),
                name,
                driver,
                _now(),
                tuple(chosen),
                dict(options or {}),
                dict(labels or {}),
                internal,
                enable_ipv6,
                attachable,
            )
            await self._in_thread(partial(self._make_bridge, network))
            self._save(network)
            return network

    async def _complete(self, wanted: Subnet) -> Subnet:
        if not wanted.subnet:
            return await self._free_subnet()
        try:
            network = ipaddress.ip_network(wanted.subnet)
        except ValueError as error:
            raise BadRequestError(f"invalid subnet {wanted.subnet}: {error}") from error
        for other in self._networks.values():
            for subnet in other.subnets:
                if ipaddress.ip_network(subnet.subnet).version == network.version and network.overlaps(
                    ipaddress.ip_network(subnet.subnet)
                ):
                    raise ForbiddenError(
                        f"subnet {wanted.subnet} overlaps with {subnet.subnet} of network {other.name}",
                        "choose another subnet, or leave it out to have a free one chosen",
                    )
        return Subnet(wanted.subnet, wanted.gateway or str(network[1]), wanted.ip_range)

    async def _free_subnet(self) -> Subnet:
        taken = await self._in_thread(lambda: self._link().routes())
        taken += [
            ipaddress.IPv4Network(subnet.subnet)
            for network in self._networks.values()
            for subnet in network.subnets
            if ":" not in subnet.subnet
        ]
        for pool in POOLS:
            candidate = ipaddress.IPv4Network(pool)
            if not any(candidate.overlaps(network) for network in taken):
                return Subnet(str(candidate), str(candidate[1]))
        raise ConflictError(
            "all predefined address pools have been fully subnetted", "remove networks: `docker network prune`"
        )

    def _make_bridge(self, network: Network) -> None:
        link = self._link()
        # a bridge without an address of its own takes its lowest port's, and changes it with the ports
        link.add_bridge(network.bridge, _mac(secrets.token_bytes(4)))
        try:
            index = link.index(network.bridge)
            for subnet in network.subnets:
                prefix = ipaddress.ip_network(subnet.subnet).prefixlen
                link.add_address(index, ipaddress.ip_interface(f"{subnet.gateway}/{prefix}"))
            link.up(index)
            write_sysctl("net/ipv4/ip_forward", "1")
            # published ports on 127.0.0.1 reach the bridge with a loopback address until it is translated
            write_sysctl(f"net/ipv4/conf/{network.bridge}/route_localnet", "1")
            self._open_firewall(network)
        except BaseException:
            link.delete(link.index(network.bridge))
            raise

    def _open_firewall(self, network: Network) -> None:
        ranges = [subnet.subnet for subnet in network.subnets if ":" not in subnet.subnet]
        self._firewall.add_network(network.bridge, ranges, network.internal)

    async def remove(self, network: Network) -> None:
        """Remove a network that nothing is attached to. Raises ForbiddenError."""
        if network.name in PREDEFINED:
            raise ForbiddenError(f"{network.name} is a pre-defined network and cannot be removed")
        async with self._lock:
            attached = [endpoint for (id, _), endpoint in self._endpoints.items() if id == network.id]
            if attached:
                names = ", ".join(sorted(endpoint.container_name for endpoint in attached))
                raise ForbiddenError(
                    f"error while removing network: network {network.name} has active endpoints ({names})",
                    "stop or disconnect these containers first",
                )
            await self._in_thread(partial(self._unmake_bridge, network))
            self._rows.delete(network.id)
            self._networks.pop(network.id, None)

    def _unmake_bridge(self, network: Network) -> None:
        link = self._link()
        with contextlib.suppress(KeyError):
            link.delete(link.index(network.bridge))
        others = [other for other in self._networks.values() if other.subnets and other.id != network.id]
        ranges = [subnet.subnet for subnet in network.subnets if ":" not in subnet.subnet]
        self._firewall.remove_network(network.bridge, ranges, network.internal, not others)

    async def _wake_default(self, network: Network) -> Network:
        """Give the predefined "bridge" network its device, which it has only while it is in use."""
        if network.name != "bridge" or network.subnets:
            return network
        woken = Network(
            network.id,
            network.name,
            network.driver,
            network.created,
            (await self._free_subnet(),),
            {"com.docker.network.bridge.name": f"skiff-{self._paths.engine_id}"},
        )
        await self._in_thread(partial(self._make_bridge, woken))
        self._save(woken)
        return woken

    async def _let_default_sleep_later(self) -> None:
        # a device made and removed for each of a row of short containers would cost more than they do
        await anyio.sleep(DEFAULT_LINGERS_S)
        await self.settle()

    async def settle(self) -> None:
        """Remove the device of the predefined "bridge" network when nothing is attached to it."""
        async with self._lock:
            network = next((one for one in self._networks.values() if one.name == "bridge"), None)
            if network is not None and network.subnets and not any(id == network.id for id, _ in self._endpoints):
                await self._in_thread(partial(self._unmake_bridge, network))
                self._save(Network(network.id, network.name, network.driver, network.created))

    async def withdraw(self) -> None:
        """Take bridges and firewall out of the kernel when nothing is attached; the next engine makes them again."""
        await self.settle()
        async with self._lock:
            if not self._endpoints:
                await self._in_thread(self._unmake_all)

    def _unmake_all(self) -> None:
        link = self._link()
        bridges = [network.bridge for network in self._networks.values() if network.subnets]
        for bridge in bridges:
            with contextlib.suppress(KeyError):
                link.delete(link.index(bridge))
        if bridges:
            self._firewall.remove()

    # --- namespaces and endpoints

    def namespace(self, container_id: str) -> Path:
        """Return where the container's network namespace is pinned."""
        return self._paths.netns / container_id

    async def open_namespace(self, container_id: str, name: str, sysctls: Mapping[str, str]) -> Path:
        """Make and pin the network namespace of a container, with its loopback up."""
        path = self.namespace(container_id)

        def set_up() -> None:
            link = Netlink()
            try:
                link.up(1)
            finally:
                link.close()
            write_sysctl("net/ipv4/ip_unprivileged_port_start", "0")
            write_sysctl("net/ipv4/ping_group_range", "0\t2147483647")
            for key, value in sysctls.items():
                write_sysctl(key.replace(".", "/"), value)

        self._names[container_id] = name
        await self._in_thread(partial(netns.create, path, set_up))
        return path

    async def close_namespace(self, container_id: str) -> None:
        """Leave every network and unpin the namespace."""
        self._names.pop(container_id, None)
        scope = self._resolvers.pop(container_id, None)
        if scope is not None:
            scope.cancel()
        await self.unpublish(container_id)
        async with self._lock:
            for network_id, id in list(self._endpoints):
                if id == container_id:
                    await self._detach(self._networks[network_id], container_id)
        await self._in_thread(partial(netns.remove, self.namespace(container_id)))

    def endpoints(self, container_id: str) -> builtins.list[Endpoint]:
        """Return the container's attachments, in the order in which they were made."""
        return [endpoint for (_, id), endpoint in self._endpoints.items() if id == container_id]

    def attached(self, network: Network) -> builtins.list[Endpoint]:
        """Return what is attached to `network`."""
        return [endpoint for (id, _), endpoint in self._endpoints.items() if id == network.id]

    async def connect(
        self, container_id: str, container_name: str, network: Network, settings: EndpointSettings
    ) -> Endpoint:
        """Attach the container's namespace to `network`: a veth, addresses, routes and names.

        Raises ConflictError when it is attached already or the wanted address is taken.
        """
        async with self._lock:
            if (network.id, container_id) in self._endpoints:
                raise ForbiddenError(f"endpoint with name {container_name} already exists in network {network.name}")
            network = await self._wake_default(self._networks[network.id])
            devices = {endpoint.device for endpoint in self.endpoints(container_id)}
            ipv4 = self._address(network, network.ipv4, settings.ipv4_address)
            ipv6 = self._address(network, network.ipv6, settings.ipv6_address)
            packed = ipaddress.ip_interface(ipv4).ip.packed
            names = [container_name, container_id[:12]]
            endpoint = Endpoint(
                secrets.token_hex(32),
                network.id,
                container_id,
                container_name,
                f"veth{secrets.token_hex(4)}",
                next(name for number in count() if (name := f"eth{number}") not in devices),
                settings.mac_address or _mac(packed),
                ipv4,
                ipv6,
                settings.aliases,
                tuple(dict.fromkeys([*settings.aliases, *names])) if network.name != "bridge" else (),
                settings.links,
                dict(settings.driver_opts),
            )
            await self._in_thread(partial(self._plug, network, endpoint))
            self._endpoint_rows.put(endpoint.id, endpoint.document())
            self._endpoints[network.id, container_id] = endpoint
        if container_id not in self._resolvers:
            await self._start_resolver(container_id)
        return endpoint

    def _address(self, network: Network, subnet: Subnet | None, wanted: str) -> str:
        if subnet is None:
            if wanted:
                raise BadRequestError(f"network {network.name} has no subnet for address {wanted}")
            return ""
        whole = ipaddress.ip_network(subnet.subnet)
        taken = {str(address) for endpoint in self.attached(network) for address in endpoint.addresses}
        taken.add(subnet.gateway)
        if wanted:
            if ipaddress.ip_address(wanted) not in whole:
                raise BadRequestError(f"no configured subnet of network {network.name} contains IP address {wanted}")
            if wanted in taken:
                raise ForbiddenError(f"address {wanted} is already in use on network {network.name}")
            return f"{wanted}/{whole.prefixlen}"
        hosts = (ipaddress.ip_network(subnet.ip_range) if subnet.ip_range else whole).hosts()
        for host in hosts:
            if str(host) not in taken:
                return f"{host}/{whole.prefixlen}"
        raise ConflictError(f"no available addresses in {subnet.subnet} of network {network.name}")

    def _plug(self, network: Network, endpoint: Endpoint) -> None:
        path = self.namespace(endpoint.container_id)
        link = self._link()
        mtu = int(network.options.get("com.docker.network.driver.mtu", 1500))
        with open(path) as namespace:
            bridge = link.index(network.bridge)
            link.add_veth(endpoint.host_device, bridge, endpoint.device, endpoint.mac_address, namespace.fileno(), mtu)

        def inside() -> None:
            inner = Netlink()
            try:
                index = inner.index(endpoint.device)
                for text in (endpoint.ipv4, endpoint.ipv6):
                    if text:
                        inner.add_address(index, ipaddress.ip_interface(text))
                inner.up(index)
                if not network.internal:
                    _add_way_out(inner, index, network)
            finally:
                inner.close()

        try:
            netns.inside(path, inside)
        except BaseException:
            link.delete(link.index(endpoint.host_device))
            raise

    async def disconnect(self, container_id: str, network: Network) -> None:
        """Take the container off `network`. Raises NotFoundError."""
        async with self._lock:
            if (network.id, container_id) not in self._endpoints:
                raise NotFoundError(f"container {container_id[:12]} is not connected to network {network.name}")
            await self._detach(network, container_id)
            heir = next((e for e in self.endpoints(container_id) if not self._networks[e.network_id].internal), None)
            if heir is not None:
                await self._in_thread(partial(self._inherit_way_out, heir))

    def _inherit_way_out(self, endpoint: Endpoint) -> None:
        def inside() -> None:
            inner = Netlink()
            try:
                _add_way_out(inner, inner.index(endpoint.device), self._networks[endpoint.network_id])
            finally:
                inner.close()

        netns.inside(self.namespace(endpoint.container_id), inside)

    async def _detach(self, network: Network, container_id: str) -> None:
        endpoint = self._endpoints.pop((network.id, container_id))

        def unplug() -> None:
            try:
                self._link().delete(self._link().index(endpoint.host_device))
            except (KeyError, KernelError):
                return  # it went with its namespace

        await self._in_thread(unplug)
        self._endpoint_rows.delete(endpoint.id)
        if network.name == "bridge":
            self._group.start_soon(self._let_default_sleep_later)

    # --- names

    async def _start_resolver(self, container_id: str) -> None:
        path = self.namespace(container_id)
        udp, tcp, nftables = await self._in_thread(partial(netns.inside, path, _resolver_sockets))
        # measured: closing an nftables socket waits 10 to 20 ms for the kernel; nobody else has to
        self._group.start_soon(anyio.to_thread.run_sync, nftables.close)
        resolver = Resolver(
            udp, tcp, partial(self._lookup, container_id), partial(self._reverse, container_id), host_resolvers()
        )
        scope = anyio.CancelScope()
        self._resolvers[container_id] = scope

        async def serve() -> None:
            with scope:
                await resolver.serve()

        self._group.start_soon(serve)

    def _neighbours(self, container_id: str) -> builtins.list[Endpoint]:
        mine = {endpoint.network_id for endpoint in self.endpoints(container_id)}
        return [endpoint for (network_id, _), endpoint in self._endpoints.items() if network_id in mine]

    def _lookup(self, container_id: str, name: str) -> Sequence[Address] | None:
        for own in self.endpoints(container_id):
            for link in own.links:
                target, _, alias = link.partition(":")
                if name == alias:
                    name = target
        found = [e for e in self._neighbours(container_id) if name in (one.lower() for one in e.dns_names)]
        if not found and "." in name:
            host, _, zone = name.rpartition(".")
            zones = {n.id for n in self._networks.values() if n.name.lower() == zone}
            found = [
                e
                for e in self._neighbours(container_id)
                if e.network_id in zones and host in (one.lower() for one in e.dns_names)
            ]
        return [address for endpoint in found for address in endpoint.addresses] if found else None

    def _reverse(self, container_id: str, address: Address) -> str | None:
        for endpoint in self._neighbours(container_id):
            if address in endpoint.addresses:
                return f"{endpoint.container_name}.{self._networks[endpoint.network_id].name}"
        return None

    # --- published ports

    def check_ports(self, bindings: Sequence[PortBinding]) -> None:
        """Raise ConflictError, naming the holder, when one of the host ports can't be had now."""
        self._refuse_held(bindings)
        for binding in bindings:
            if binding.host_port:
                for held in hold(binding)[1]:
                    held.close()

    def _refuse_held(self, bindings: Sequence[PortBinding]) -> None:
        ours = {self._names.get(id, id[:12]): published for id, (published, _, _) in self._published.items()}
        for binding in bindings:
            name = holders_among(ours, binding)
            if name is not None:
                where = f"{binding.host_ip or '0.0.0.0'}:{binding.host_port}/{binding.protocol}"
                raise ConflictError(
                    f"port {where} is already in use by container {name}",
                    "stop that container, or publish another port",
                )

    async def publish(self, container_id: str, bindings: Sequence[PortBinding]) -> builtins.list[PortBinding]:
        """Publish ports of the container on the host, all or none; returns them with the chosen host ports."""
        self._refuse_held(bindings)
        # an internal network is closed to the outside, so a port is published over one that is not, or not at all
        endpoint = next(
            (e for e in self.endpoints(container_id) if e.ipv4 and not self._networks[e.network_id].internal), None
        )
        if endpoint is None or not bindings:
            return []
        address = str(ipaddress.ip_interface(endpoint.ipv4).ip)
        done: builtins.list[PortBinding] = []
        sockets: builtins.list[socket.socket] = []
        try:
            for binding in bindings:
                held, opened = hold(binding)
                done.append(held)
                sockets += opened
            forwards = [Forward(b.protocol, b.host_ip, b.host_port, address, b.container_port) for b in done]
            await self._in_thread(partial(self._firewall.publish, forwards))
        except BaseException:
            for one in sockets:
                one.close()
            raise
        self._published[container_id] = (done, forwards, sockets)
        return done

    async def unpublish(self, container_id: str) -> None:
        """Take the container's published ports back."""
        _, forwards, sockets = self._published.pop(container_id, ([], [], []))
        if forwards:
            await self._in_thread(partial(self._firewall.unpublish, forwards))
        for one in sockets:
            one.close()


def _add_way_out(link: Netlink, index: int, network: Network) -> None:
    """Make the network's gateways the default routes, for each family that has none yet."""
    for subnet in (network.ipv4, network.ipv6):
        if subnet is not None:
            try:
                link.add_default_route(index, ipaddress.ip_address(subnet.gateway))
            except KernelError as error:
                if error.errno != errno.EEXIST:
                    raise


def _resolver_sockets() -> tuple[socket.socket, socket.socket, Nftables]:
    """Bind the resolver's sockets in the current namespace, on ports that leave port 53 to the container itself."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        for one in (udp, tcp):
            one.bind((RESOLVER_ADDRESS, 0))
        tcp.listen(16)
        nftables = Nftables()
        nftables.run(
            f"""
add table ip skiff_resolver
delete table ip skiff_resolver
table ip skiff_resolver {{
  chain leaving {{
    type nat hook output priority -100; policy accept;
    ip daddr {RESOLVER_ADDRESS} udp dport 53 dnat to {RESOLVER_ADDRESS}:{udp.getsockname()[1]}
    ip daddr {RESOLVER_ADDRESS} tcp dport 53 dnat to {RESOLVER_ADDRESS}:{tcp.getsockname()[1]}
  }}
}}
"""
        )
    except BaseException:
        udp.close()
        tcp.close()
        raise
    return udp, tcp, nftables


def _mac(seed: bytes) -> str:
    """Return a locally administered hardware address that ends with four bytes of `seed`."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in seed[:4])


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
