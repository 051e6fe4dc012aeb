"""Docker's views of a container (Docker Engine API, "Inspect a container", "List containers")."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.container.logs.options import JSON_FILE
from runtime.container.spec import command
from runtime.engine.containers.making.mount_options import target_of
from runtime.engine.containers.state import CREATED, DEAD, EXITED, PAUSED, REMOVING, RESTARTING, RUNNING, Container
from runtime.engine.containers.views.configuration import config_view, graph_driver, host_view
from runtime.engine.networks.view import attachments, network_settings, port_rows
from runtime.engine.times import parse_rfc3339
from runtime.network.networks import Networks
from runtime.paths import Paths

FILES: Mapping[str, str] = {
    "ResolvConfPath": "resolv.conf", "HostnamePath": "hostname", "HostsPath": "hosts",
}  # fmt: skip
"""The files in a container's directory that Docker names, once they are made."""


def _has_log_file(container: Container) -> bool:
    return ((container.host.get("LogConfig") or {}).get("Type") or JSON_FILE) == JSON_FILE


def whole(container: Container, paths: Paths, networks: Networks, layers: list[Path]) -> dict[str, Any]:
    """Return the answer of "Inspect a container"; `layers` are its image's directories, topmost first."""
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
            "Running": container.is_running or container.is_restarted or state.status == RESTARTING,
            "Paused": state.status == PAUSED,
            "Restarting": state.status == RESTARTING,
            "OOMKilled": state.oom_killed,
            "Dead": state.status == DEAD,
            "Pid": state.pid,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": state.started_at,
            "FinishedAt": state.finished_at,
        },
        "Image": container.image_id,
        **{key: str(directory / name) if state.was_started else "" for key, name in FILES.items()},
        # other drivers name no file, as in Docker
        "LogPath": str(directory / "log.data") if state.was_started and _has_log_file(container) else "",
        "Name": f"/{container.name}",
        "RestartCount": state.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": host_view(container.host),
        "GraphDriver": graph_driver(directory, layers, state.pid),
        "Mounts": _mounts(container),
        "Config": config_view(container.config, container.image_name),
        "NetworkSettings": network_settings(container, networks),
    }
    if container.health is not None:
        document["State"]["Health"] = container.health.document()
    return document


def _mounts(container: Container) -> list[dict[str, Any]]:
    """Return the container's mount points, without those in HostConfig's Tmpfs, which are shown only there."""
    elsewhere = {target_of(path) for path in container.host.get("Tmpfs") or ()}
    return [_mount(mount) for mount in container.mounts if mount["Destination"] not in elsewhere]


def _mount(mount: dict[str, Any]) -> dict[str, Any]:
    shown = {
        key: mount.get(key) for key in ("Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation")
    }
    return {key: value for key, value in shown.items() if value is not None}


def short(container: Container, networks: Networks, image_name: str) -> dict[str, Any]:
    """Return an item of "List containers"; `image_name` is the image's present name or ID."""
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": image_name,
        "ImageID": container.image_id,
        "Command": _command_line(command(container.config)),
        "Created": parse_rfc3339(container.created) // 1_000_000_000,
        "Ports": port_rows(container),
        "Labels": container.labels,
        "State": container.state.status,
        "Status": status_text(container),
        "HostConfig": {
            "NetworkMode": container.host.get("NetworkMode") or "bridge",
            **({"Annotations": container.host["Annotations"]} if container.host.get("Annotations") else {}),
        },
        "NetworkSettings": {"Networks": attachments(container, networks)},
        "Mounts": _mounts(container),
    }


def status_text(container: Container) -> str:
    """Return the status text: "Up 3 minutes (healthy)", "Exited (1) 2 hours ago"."""
    state = container.state
    if state.status in (RUNNING, PAUSED):
        text = f"Up {duration(_since(state.started_at))}"
        if state.status == PAUSED:
            return f"{text} (Paused)"
        if container.health is not None:
            health = container.health.status
            return f"{text} ({'health: starting' if health == 'starting' else health})"
        return text
    if state.status == RESTARTING:
        return f"Restarting ({state.exit_code}) {duration(_since(state.finished_at))} ago"
    if state.status == EXITED:
        return f"Exited ({state.exit_code}) {duration(_since(state.finished_at))} ago"
    return {CREATED: "Created", REMOVING: "Removal In Progress", DEAD: "Dead"}[state.status]


def _since(stamp: str) -> float:
    return time.time() - parse_rfc3339(stamp) / 1e9


HOUR_S, DAY_S = 3600, 24 * 3600
UNITS: Sequence[tuple[float, int, str]] = (
    (60, 1, "second"),
    (HOUR_S, 60, "minute"),
    (2 * DAY_S, HOUR_S, "hour"),
    (14 * DAY_S, DAY_S, "day"),
    (60 * DAY_S, 7 * DAY_S, "week"),
    (2 * 365 * DAY_S, 30 * DAY_S, "month"),
    (math.inf, 365 * DAY_S, "year"),
)
"""(upper limit in seconds of durations shown in a unit, the unit in seconds, its name)."""


def duration(seconds: float) -> str:
    """Return a duration as Docker shows it: "About an hour"."""
    if seconds < 1:
        return "Less than a second"
    if seconds >= HOUR_S:
        seconds = int(seconds / HOUR_S + 0.5) * HOUR_S
    unit_s, unit = next((unit_s, unit) for below_s, unit_s, unit in UNITS if seconds < below_s)
    count = int(seconds // unit_s)
    if count == 1 and unit in ("minute", "hour"):
        return f"About {'an' if unit == 'hour' else 'a'} {unit}"
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _command_line(arguments: Sequence[str]) -> str:
    return " ".join([arguments[0], *(f"'{one}'" if " " in one else one for one in arguments[1:])])
