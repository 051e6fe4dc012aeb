"""The filters of `docker ps` (Docker Engine API, "List containers")."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from runtime.engine import filters as docker_filters
from runtime.engine.containers.state import CREATED, DEAD, EXITED, PAUSED, REMOVING, RESTARTING, RUNNING, Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.filters import labels_match
from runtime.errors import BadRequestError, NotFoundError
from runtime.image.images import Images
from runtime.network.networks import Networks

STATUSES = (CREATED, RUNNING, PAUSED, RESTARTING, REMOVING, EXITED, DEAD)
HEALTHS = ("none", "starting", "healthy", "unhealthy")
Check = Callable[[Container, Sequence[str]], bool]


class Listing:
    """Finds containers by filters."""

    def __init__(self, table: ContainerTable, networks: Networks, images: Images) -> None:
        self._table = table
        self._networks = networks
        self._images = images
        self._checks: dict[str, Check] = {
            "label": lambda one, values: labels_match(one.labels, values),
            "annotation": lambda one, values: labels_match(one.host.get("Annotations") or {}, values),
            "status": lambda one, values: one.state.status in values,
            "name": lambda one, values: any(_matches(value, one.name) for value in values),
            "id": lambda one, values: any(one.id.startswith(value) for value in values),
            "ancestor": lambda one, values: any(self._is_of_image(one, value) for value in values),
            "exited": lambda one, values: one.state.status == EXITED and str(one.state.exit_code) in values,
            "health": lambda one, values: (one.health.status if one.health else "none") in values,
            "network": self._is_on_network,
            "volume": lambda one, values: any(
                value in (mount.get("Name"), mount["Destination"]) for mount in one.mounts for value in values
            ),
            "before": lambda one, values: all(one.created < self._table.find(name).created for name in values),
            "since": lambda one, values: all(one.created > self._table.find(name).created for name in values),
            "expose": lambda one, values: any(_covers(value, _exposed(one)) for value in values),
            "publish": lambda one, values: any(_covers(value, _published(one)) for value in values),
            "is-task": lambda one, values: not docker_filters.flag("is-task", values),
            "isolation": lambda one, values: True,
        }

    def find(
        self, *, stopped: bool = False, limit: int | None = None, filters: Mapping[str, Sequence[str]] | None = None
    ) -> list[Container]:
        """Return the containers that `filters` select, newest first; stopped ones only with `stopped`.

        Raises BadRequestError on an unknown filter or an invalid value.
        """
        filters = filters or {}
        docker_filters.check_known(filters, self._checks)
        _check_values(filters)
        found = sorted(self._table, key=lambda container: container.created, reverse=True)
        # as in Docker, a filter for states or a limit includes stopped containers
        if not stopped and not filters.get("status") and (limit or 0) <= 0:
            found = [container for container in found if container.is_running or container.state.status == RESTARTING]
        found = [
            container
            for container in found
            if all(self._checks[key](container, values) for key, values in filters.items() if values)
        ]
        return found[:limit] if limit and limit > 0 else found

    def _is_of_image(self, container: Container, name: str) -> bool:
        try:
            image = self._images.resolve(name)
        except NotFoundError:
            return container.image_name == name
        if image.id == container.image_id:
            return True
        try:
            own = self._images.resolve(container.image_id)
        except NotFoundError:
            return False
        # built on top of it: its layers are the lowest of ours
        return bool(image.diff_ids) and own.diff_ids[: len(image.diff_ids)] == image.diff_ids

    def _is_on_network(self, container: Container, values: Sequence[str]) -> bool:
        names = set(container.networks)
        for name in container.networks:
            try:
                names.add(self._networks.resolve(name).id)
            except NotFoundError:  # removed, or not created yet
                continue
        return any(value in names for value in values)


def _check_values(filters: Mapping[str, Sequence[str]]) -> None:
    for key, kind, known in (("status", "state", STATUSES), ("health", "health", HEALTHS)):
        for value in filters.get(key) or ():
            if value not in known:
                raise BadRequestError(
                    f"invalid filter '{key}={value}': invalid value for {kind} ({value}): must be one of "
                    + ", ".join(known)
                )
    for value in filters.get("exited") or ():
        if not re.fullmatch(r"[+-]?[0-9]+", value):
            raise BadRequestError(f"invalid filter 'exited={value}': strconv.Atoi: parsing \"{value}\": invalid syntax")
    for key in ("expose", "publish"):
        for value in filters.get(key) or ():
            _port_range(value)


def _matches(pattern: str, name: str) -> bool:
    """Whether the pattern matches in the name, with or without Docker's leading slash."""
    try:
        return any(re.search(pattern, text) for text in (name, f"/{name}"))
    except re.error:
        return pattern in name


def _port_range(text: str) -> tuple[int, int, str]:
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and protocol in ("", "tcp", "udp", "sctp")):
        raise BadRequestError(f"invalid port filter: {text!r}", "write 80, 80/udp or 8000-8010/tcp")
    return int(first), int(last or first), protocol or "tcp"


def _covers(wanted: str, ports: Sequence[tuple[int, str]]) -> bool:
    first, last, protocol = _port_range(wanted)
    return any(first <= port <= last and kind == protocol for port, kind in ports)


def _exposed(container: Container) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    if not container.is_running:  # as of Docker, what does not run has no ports
        return found
    for text in container.config.get("ExposedPorts") or ():
        number, _, protocol = text.partition("/")
        if number.isdecimal():
            found.append((int(number), protocol or "tcp"))
    return found


def _published(container: Container) -> list[tuple[int, str]]:
    return [(port["PublicPort"], port["Type"]) for port in container.ports]
