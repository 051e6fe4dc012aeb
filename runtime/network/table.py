"""The networks and endpoints of one engine, in memory and in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Set

from runtime.errors import NotFoundError
from runtime.network.model import Endpoint, Network
from runtime.store import Store


class NetworkTable:
    """Networks by ID, endpoints by network and by container.

    Endpoints are found by indexes, so that starting a container takes the same time with 500 others running.
    """

    def __init__(self, store: Store) -> None:
        self._rows = store.collection("network")
        self._endpoint_rows = store.collection("endpoint")
        self._networks: dict[str, Network] = {}
        self._by_network: defaultdict[str, dict[str, Endpoint]] = defaultdict(dict)
        self._by_container: defaultdict[str, dict[str, Endpoint]] = defaultdict(dict)
        self._used: defaultdict[str, set[str]] = defaultdict(set)

    def load(self, live: Container[str]) -> None:
        """Read the store; drop endpoints of containers that are not `live`."""
        self._networks = self._rows.parsed(Network.of)
        endpoints = self._endpoint_rows.parsed(Endpoint.of)
        for id, endpoint in sorted(endpoints.items(), key=lambda row: (row[1].position, row[1].device)):
            if endpoint.container_id in live:
                self._index(endpoint)
            else:
                self._endpoint_rows.delete(id)

    # --- networks

    @property
    def networks(self) -> Mapping[str, Network]:
        """All networks by ID."""
        return self._networks

    def named(self, name: str) -> Network | None:
        """Return the network with exactly this name, or None."""
        return next((network for network in self._networks.values() if network.name == name), None)

    def resolve(self, name: str) -> Network:
        """Return the network with this name, ID or ID prefix. Raises NotFoundError."""
        for network in self._networks.values():
            if name in (network.id, network.name):
                return network
        found = [network for id, network in self._networks.items() if name and id.startswith(name)]
        if len(found) != 1:
            raise NotFoundError(f"network {name} not found")
        return found[0]

    def save(self, network: Network) -> None:
        """Store a new or changed network."""
        self._rows.put(network.id, network.document())
        self._networks[network.id] = network

    def drop(self, network: Network) -> None:
        """Delete a network."""
        self._rows.delete(network.id)
        self._networks.pop(network.id, None)

    # --- endpoints

    @property
    def has_endpoints(self) -> bool:
        """Whether there are any endpoints."""
        return bool(self._by_container)

    def endpoint(self, network: Network, container_id: str) -> Endpoint | None:
        """Return the container's endpoint on `network`, or None."""
        return self._by_network.get(network.id, {}).get(container_id)

    def endpoints(self, container_id: str) -> list[Endpoint]:
        """Return the container's endpoints in the order of their creation."""
        return list(self._by_container.get(container_id, {}).values())

    def attached(self, network: Network) -> list[Endpoint]:
        """Return the endpoints on `network`."""
        return list(self._by_network.get(network.id, {}).values())

    def used_addresses(self, network: Network) -> Set[str]:
        """Return the addresses of the endpoints on `network`."""
        return self._used.get(network.id, frozenset())

    def neighbours(self, container_id: str) -> Iterator[Endpoint]:
        """Yield the endpoints on the container's networks, including its own."""
        for network_id in tuple(self._by_container.get(container_id, ())):
            yield from tuple(self._by_network[network_id].values())

    def attach(self, endpoint: Endpoint) -> None:
        """Store an endpoint."""
        self._endpoint_rows.put(endpoint.id, endpoint.document())
        self._index(endpoint)

    def detach(self, endpoint: Endpoint) -> None:
        """Delete an endpoint."""
        for index, key, other in (
            (self._by_network, endpoint.network_id, endpoint.container_id),
            (self._by_container, endpoint.container_id, endpoint.network_id),
        ):
            index[key].pop(other, None)
            if not index[key]:
                del index[key]
        self._used[endpoint.network_id].difference_update(map(str, endpoint.addresses))
        self._endpoint_rows.delete(endpoint.id)

    def _index(self, endpoint: Endpoint) -> None:
        self._by_network[endpoint.network_id][endpoint.container_id] = endpoint
        self._by_container[endpoint.container_id][endpoint.network_id] = endpoint
        self._used[endpoint.network_id].update(map(str, endpoint.addresses))
