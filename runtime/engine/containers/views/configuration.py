"""A container's configuration as Docker shows it, with defaults for what the request omitted. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.bodies import ContainerConfig, HostConfig
from runtime.container.spec import DEFAULT_SHM_BYTES, hidden_paths

DEFAULT_LOG_DRIVER, DEFAULT_RUNTIME = "json-file", "skiff"

CONFIG: Mapping[str, Any] = {
    "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False,
    "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": [], "Cmd": None, "Image": "", "Volumes": None,
    "WorkingDir": "", "Entrypoint": None, "OnBuild": None, "Labels": {},
}  # fmt: skip
"""The members of ContainerConfig that are always present, and their defaults (Docker Engine API, "ContainerConfig")."""

HOST: Mapping[str, Any] = {
    "Binds": None, "ContainerIDFile": "", "LogConfig": {}, "NetworkMode": "bridge", "PortBindings": None,
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": False, "VolumeDriver": "",
    "VolumesFrom": None, "ConsoleSize": [0, 0], "CapAdd": None, "CapDrop": None, "CgroupnsMode": "private", "Dns": None,
    "DnsOptions": None, "DnsSearch": None, "ExtraHosts": None, "GroupAdd": None, "IpcMode": "private", "Cgroup": "",
    "Links": None, "OomScoreAdj": 0, "PidMode": "", "Privileged": False, "PublishAllPorts": False,
    "ReadonlyRootfs": False, "SecurityOpt": None, "UTSMode": "", "UsernsMode": "", "ShmSize": DEFAULT_SHM_BYTES,
    "Runtime": DEFAULT_RUNTIME, "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "",
    "BlkioWeight": 0, "BlkioWeightDevice": None, "BlkioDeviceReadBps": None, "BlkioDeviceWriteBps": None,
    "BlkioDeviceReadIOps": None, "BlkioDeviceWriteIOps": None, "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0,
    "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": None, "DeviceCgroupRules": None,
    "DeviceRequests": None, "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": None, "OomKillDisable": False,
    "PidsLimit": None, "Ulimits": None, "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
}  # fmt: skip
"""The members of HostConfig that are always present, and their defaults (Docker Engine API, "HostConfig")."""

CHOSEN_FOR = ("CgroupnsMode", "IpcMode", "NetworkMode", "Runtime", "ShmSize")
"""Members for which an empty value means the default."""


ONLY_WHEN_SET = ("ExposedPorts", "NetworkDisabled")


def config_view(config: ContainerConfig, image_name: str) -> dict[str, Any]:
    """Return a container's own configuration as Docker shows it."""
    given = {key: value for key, value in config.items() if value is not None and (value or key not in ONLY_WHEN_SET)}
    return {**CONFIG, **given, "Image": image_name, "Volumes": config.get("Volumes") or None}


def host_view(host: HostConfig) -> dict[str, Any]:
    """Return a HostConfig as Docker shows it."""
    given: dict[str, Any] = {
        key: value for key, value in host.items() if value is not None and (value or key not in CHOSEN_FOR)
    }
    log = given.get("LogConfig") or {}
    hidden, protected = hidden_paths(host)
    shown = {**HOST, **given, "MaskedPaths": hidden, "ReadonlyPaths": protected}
    shown["LogConfig"] = {"Type": log.get("Type") or DEFAULT_LOG_DRIVER, "Config": log.get("Config") or {}}
    if shown["PortBindings"] is not None:
        shown["PortBindings"] = {port: _bindings(entries) for port, entries in shown["PortBindings"].items()}
    policy = host.get("RestartPolicy") or {}
    shown["RestartPolicy"] = {
        "Name": policy.get("Name") or "no",
        "MaximumRetryCount": policy.get("MaximumRetryCount") or 0,
    }
    if shown["Memory"] and not shown["MemorySwap"]:
        shown["MemorySwap"] = 2 * shown["Memory"]
    # as in Docker, -1 means no limit, and for PidsLimit also 0
    if (shown["MemorySwappiness"] or 0) < 0:
        shown["MemorySwappiness"] = None
    if (shown["PidsLimit"] or 0) <= 0:
        shown["PidsLimit"] = None
    return shown


def _bindings(entries: Sequence[Mapping[str, str]] | None) -> list[dict[str, str]] | None:
    if entries is None:
        return None
    return [{"HostIp": one.get("HostIp") or "", "HostPort": one.get("HostPort") or ""} for one in entries]


def graph_driver(directory: Path, layers: list[Path], pid: int) -> dict[str, Any]:
    """Return where a container's files lie: its own in `directory`, over the image's `layers`, the topmost first.

    They are put together in the container's own mount namespace: what its process `pid` has for its root.
    """
    data = {
        "ID": directory.name,
        "LowerDir": ":".join(map(str, layers)),
        "MergedDir": f"/proc/{pid}/root" if pid else str(directory / "merged"),
        "UpperDir": str(directory / "upper"),
        "WorkDir": str(directory / "work"),
    }
    return {"Name": "overlay2", "Data": data}
