"""What is refused before anything is made: services that can't be run, host files that are not there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from compose.plan.project import DesiredProject
from compose.plan.service import Service
from runtime.errors import SkiffError


def check_services(target: DesiredProject, names: Sequence[str], *, is_ours: bool) -> None:
    """Raise SkiffError for the first of the services `names` that can't be run; `is_ours`: by our own engine."""
    taken: dict[str, str] = {}
    for name in names:
        service = target.services[name]
        _check_kind(name, service, is_ours)
        _check_binds(name, service, is_ours)
        for index, hook in enumerate(service.pre_start):
            if hook.is_per_replica:
                raise SkiffError(
                    f'service "{name}" pre_start[{index}]: per_replica is not yet supported',
                    "remove per_replica or set it to false: the hook runs once for the service",
                )
        check = service.healthcheck
        if check and check.start_interval_ns and not check.start_period_ns:
            raise SkiffError(
                f"service {name!r}: healthcheck.start_interval requires healthcheck.start_period to be set",
                "add start_period, or leave start_interval out",
            )
        wanted = service.container_name
        if wanted and taken.setdefault(wanted, name) != name:
            raise SkiffError(
                f'services "{taken[wanted]}" and "{name}" both want the container name "{wanted}"',
                "give one of them another, or leave container_name out",
            )


def check_ports(target: DesiredProject, names: Sequence[str], replicas: Mapping[str, int]) -> None:
    """Raise SkiffError for a port of the host that two containers of the services `names` want; `replicas`: how many."""
    taken: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name in names:
        service = target.services[name]
        count = replicas.get(name, service.replicas)
        for port in service.ports if count and not service.network_mode else ():
            if not port.published.isdigit():  # none, or a range that the engine chooses from
                continue
            others = taken.setdefault((port.published, port.protocol), [])
            rival = next((other for other, ip in others if _overlap(ip, port.host_ip)), None)
            where = f"port {port.published}/{port.protocol} of this machine"
            if rival is not None and rival != name:
                raise SkiffError(
                    f'services "{rival}" and "{name}" both publish {where}', "give one of them another port"
                )
            if count > 1:
                raise SkiffError(
                    f'the {count} containers of service "{name}" can\'t all have {where}',
                    f'let the engine choose: ports: ["{port.target}"], or give a range: "8000-8010:{port.target}"',
                )
            others.append((name, port.host_ip))


def _overlap(one: str, other: str) -> bool:
    if one and other and (":" in one) != (":" in other):  # a family each
        return False
    return one == other or {one, other} & {"", "0.0.0.0", "::"} != set()


def _check_kind(name: str, service: Service, is_ours: bool) -> None:
    if is_ours and service.device_requests:
        raise SkiffError(
            f'service "{name}" asks for devices like GPUs (gpus, deploy.resources.reservations.devices): the engine '
            "can't give them",
            "name device files instead: `devices: [/dev/...]`",
        )


def _check_binds(name: str, service: Service, is_ours: bool) -> None:
    for mount in service.mounts:
        if mount.type != "bind":
            continue
        source = mount.source
        if not mount.creates_host_path and not os.path.lexists(source):
            raise SkiffError(
                f"service {name!r}: the bind source does not exist: {source}",
                "make it, or let it be made: bind: {create_host_path: true}",
            )
        if near := _near_file(source, mount.target):
            raise SkiffError(
                f"service {name!r}: the bind source does not exist: {source}",
                f"did you mean {near}? An empty directory would be made in its place: for that, make it yourself",
            )
        if is_ours and (why := _why_unusable(source)):
            raise SkiffError(f"service {name!r}: the bind source {source} can't be used: {why}", "correct the path")


def _near_file(source: str, target: str) -> str:
    """Return the file that a missing `source` of a bind mount is a misspelling of: both it and `target` name files."""
    if os.path.lexists(source) or not os.path.splitext(source)[1] or not os.path.splitext(target)[1]:
        return ""
    from difflib import get_close_matches

    folder, name = os.path.split(source)
    try:
        files = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return ""
    return next((os.path.join(folder, near) for near in get_close_matches(name, files, n=1)), "")


def _why_unusable(path: str) -> str:
    """Return why a path of this machine can be neither read nor made by this user; "" when it can."""
    try:
        os.stat(path)
    except FileNotFoundError:
        parent = os.path.dirname(path)
        while not os.path.lexists(parent):  # all that is missing is made
            parent = os.path.dirname(parent)
        return _why_unusable(parent) or ("" if os.access(parent, os.W_OK) else f"{parent} can't be written to")
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "" if os.access(path, os.R_OK) else "permission denied"
