"""Docker's views of a container (Docker Engine API, "Inspect a container", "List containers")."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence
from typing import Any

from runtime.container.spec import DEFAULT_SHM_BYTES, command
from runtime.engine.state import CREATED, EXITED, PAUSED, RESTARTING, RUNNING, Container
from runtime.engine.times import parse_rfc3339
from runtime.errors import NotFoundError
from runtime.network.model import Endpoint
from runtime.network.networks import Networks
from runtime.paths import Paths


def whole(container: Container, paths: Paths, networks: Networks) -> dict[str, Any]:
    """Return the answer of "Inspect a container"."""
    state = container.state
    arguments = command(container.config)
    directory = paths.container(container.id)
    document: dict[str, Any] = {
        "Id": container.id,
        "Created": container.created,
        "Path": arguments[0],
        "Args": arguments[1:],
        "State": {
            "Status": state.status,
            "Running": container.is_running or state.status == RESTARTING,
            "Paused": state.status == PAUSED,
            "Restarting": state.status == RESTARTING,
            "OOMKilled": state.oom_killed,
            "Dead": False,
            "Pid": state.pid,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": state.started_at,
            "FinishedAt": state.finished_at,
        },
        "Image": container.image_id,
        "ResolvConfPath": str(directory / "resolv.conf"),
        "HostnamePath": str(directory / "hostname"),
        "HostsPath": str(directory / "hosts"),
        "LogPath": str(directory / "log.data"),
        "Name": f"/{container.name}",
        "RestartCount": state.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": _host_config(container),
        "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": str(directory / "upper")}},
        "Mounts": [_mount(mount) for mount in container.mounts],
        "Config": {
            "Hostname": "",
            "Domainname": "",
            "User": "",
            "AttachStdin": False,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
            "OpenStdin": False,
            "StdinOnce": False,
            **{key: value for key, value in container.config.items() if value is not None},
            "Image": container.image_name,
        },
        "NetworkSettings": _network_settings(container, networks),
    }
    if container.health is not None:
        document["State"]["Health"] = container.health.document()
    return document


def _host_config(container: Container) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "Binds": None,
        "NetworkMode": "default",
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
        "Privileged": False,
        "ReadonlyRootfs": False,
        "LogConfig": {"Type": "json-file", "Config": {}},
        "ShmSize": DEFAULT_SHM_BYTES,
        "Memory": 0,
        "NanoCpus": 0,
        "IpcMode": "private",
        "CgroupnsMode": "private",
    }
    return {**defaults, **{key: value for key, value in container.host.items() if value is not None}}


def _mount(mount: dict[str, Any]) -> dict[str, Any]:
    shown = {
        key: mount.get(key) for key in ("Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation")
    }
    return {key: value for key, value in shown.items() if value is not None}


def _ports(container: Container) -> dict[str, list[dict[str, str]] | None]:
    exposed: dict[str, list[dict[str, str]] | None] = dict.fromkeys(container.config.get("ExposedPorts") or {})
    if container.is_running:
        for port in container.ports:
            key = f"{port['PrivatePort']}/{port['Type']}"
            held = exposed.get(key) or []
            held.append({"HostIp": port["IP"] or "0.0.0.0", "HostPort": str(port["PublicPort"])})
            exposed[key] = held
    return exposed


def _network_settings(container: Container, networks: Networks) -> dict[str, Any]:
    endpoints = {endpoint.network_id: endpoint for endpoint in networks.endpoints(container.id)}
    shown = {}
    for name, wanted in container.networks.items():
        try:
            network = networks.resolve(name)
        except NotFoundError:
            continue
        endpoint = endpoints.get(network.id)
        gateways = [
            network.gateway_of(a) if a else "" for a in ((endpoint.ipv4, endpoint.ipv6) if endpoint else ("", ""))
        ]
        shown[name] = {
            "IPAMConfig": wanted.get("IPAMConfig"),
            "Links": wanted.get("Links"),
            "Aliases": wanted.get("Aliases"),
            "MacAddress": endpoint.mac_address if endpoint else wanted.get("MacAddress") or "",
            "DriverOpts": wanted.get("DriverOpts"),
            "GwPriority": wanted.get("GwPriority") or 0,
            "NetworkID": network.id,
            "EndpointID": endpoint.id if endpoint else "",
            "Gateway": gateways[0],
            "IPv6Gateway": gateways[1],
            **_addresses(endpoint),
            "DNSNames": list(endpoint.dns_names) if endpoint else None,
        }
    bridge = shown.get("bridge", {})
    return {
        "Bridge": "",
        "SandboxID": container.id,
        "SandboxKey": str(networks.namespace(container.id)),
        "Ports": _ports(container),
        "Gateway": bridge.get("Gateway", ""),
        "IPAddress": bridge.get("IPAddress", ""),
        "IPPrefixLen": bridge.get("IPPrefixLen", 0),
        "MacAddress": bridge.get("MacAddress", ""),
        "Networks": shown,
    }


def _addresses(endpoint: Endpoint | None) -> dict[str, Any]:
    ipv4 = ipaddress.ip_interface(endpoint.ipv4) if endpoint and endpoint.ipv4 else None
    ipv6 = ipaddress.ip_interface(endpoint.ipv6) if endpoint and endpoint.ipv6 else None
    return {
        "IPAddress": str(ipv4.ip) if ipv4 else "",
        "IPPrefixLen": ipv4.network.prefixlen if ipv4 else 0,
        "GlobalIPv6Address": str(ipv6.ip) if ipv6 else "",
        "GlobalIPv6PrefixLen": ipv6.network.prefixlen if ipv6 else 0,
    }


def short(container: Container, networks: Networks) -> dict[str, Any]:
    """Return one row of "List containers"."""
    settings = _network_settings(container, networks)
    ports: list[dict[str, Any]] = []
    for key, held in settings["Ports"].items():
        number, _, protocol = key.partition("/")
        base = {"PrivatePort": int(number.partition("-")[0]), "Type": protocol}
        ports += [{**base, "IP": one["HostIp"], "PublicPort": int(one["HostPort"])} for one in held or ()] or [base]
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": container.image_name,
        "ImageID": container.image_id,
        "Command": " ".join(command(container.config)),
        "Created": parse_rfc3339(container.created) // 1_000_000_000,
        "Ports": ports if container.is_running else [],
        "Labels": container.labels,
        "State": container.state.status,
        "Status": status_text(container),
        "HostConfig": {"NetworkMode": container.host.get("NetworkMode") or "default"},
        "NetworkSettings": {"Networks": settings["Networks"]},
        "Mounts": [_mount(mount) for mount in container.mounts],
    }


def status_text(container: Container) -> str:
    """Return the state in words: "Up 3 minutes (healthy)", "Exited (1) 2 hours ago"."""
    state = container.state
    if state.status in (RUNNING, PAUSED):
        text = f"Up {_duration(_since(state.started_at))}"
        if state.status == PAUSED:
            return f"{text} (Paused)"
        if container.health is not None:
            health = container.health.status
            return f"{text} ({'health: starting' if health == 'starting' else health})"
        return text
    if state.status == RESTARTING:
        return f"Restarting ({state.exit_code}) {_duration(_since(state.finished_at))} ago"
    if state.status == EXITED:
        return f"Exited ({state.exit_code}) {_duration(_since(state.finished_at))} ago"
    return {CREATED: "Created"}.get(state.status, state.status.capitalize())


def _since(stamp: str) -> float:
    return time.time() - parse_rfc3339(stamp) / 1e9


UNITS: Sequence[tuple[int, str]] = ((60, "second"), (60, "minute"), (24, "hour"), (7, "day"), (10**9, "week"))


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "Less than a second"
    value = int(seconds)
    for size, unit in UNITS:
        if value < size:
            if value == 1:
                return {"minute": "About a minute", "hour": "About an hour"}.get(unit, f"1 {unit}")
            return f"{value} {unit}s"
        value //= size
    return f"{value} weeks"
