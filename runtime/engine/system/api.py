"""Version and information of the engine and its machine (Docker Engine API, "System")."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass
from typing import Any

from runtime.container.logs import options as log_options
from runtime.doorman.client import DoormanClient
from runtime.engine.containers.making.checks import RUNTIMES
from runtime.engine.containers.state import PAUSED, RUNNING
from runtime.engine.containers.table import ContainerTable
from runtime.engine.containers.views.configuration import DEFAULT_LOG_DRIVER, DEFAULT_RUNTIME
from runtime.engine.events import EventBus
from runtime.engine.system import machine
from runtime.engine.system.limits import MachineLimits
from runtime.engine.times import rfc3339
from runtime.image.images import Images
from runtime.keeper.client import KeeperClient
from runtime.linux import userns
from runtime.paths import Paths
from runtime.version import version as skiff_version

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
NO_SWARM: dict[str, Any] = {
    "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "",
    "RemoteManagers": None,
}  # fmt: skip
LOOPBACK = ("::1/128", "127.0.0.0/8")


@dataclass(frozen=True, eq=False)
class System:
    """Docker's system operations."""

    paths: Paths
    keeper: KeeperClient
    table: ContainerTable
    images: Images
    events: EventBus
    limits: MachineLimits
    doorman: DoormanClient | None

    def version(self, api_version: str, lowest_api_version: str) -> dict[str, Any]:
        """Return the answer of "Get version"."""
        own, uname = skiff_version(), os.uname()
        machine = {
            "ApiVersion": api_version,
            "MinAPIVersion": lowest_api_version,
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": _ARCHITECTURES.get(uname.machine, uname.machine),
            "KernelVersion": uname.release,
            "BuildTime": "",
        }
        details = {**machine, "Experimental": "false", "PythonVersion": platform.python_version()}
        return {
            "Platform": {"Name": "Skiff"},
            "Components": [
                {"Name": "Engine", "Version": own, "Details": details},
                *({"Name": name, "Version": own, "Details": {"GitCommit": ""}} for name in ("skiff-oci", "skiff-init")),
            ],
            "Version": own,
            "PythonVersion": platform.python_version(),
            **machine,
        }

    async def info(self) -> dict[str, Any]:
        """Return the answer of "Get system information"."""
        states = [container.state.status for container in self.table]
        version = machine.cgroup_version()
        offered, warnings = machine.limits(await self.limits.offered(), version)
        forwards = machine.forwards_ipv4()
        release = machine.release()
        return {
            "ID": self.paths.engine_id,
            "Containers": len(states),
            "ContainersRunning": states.count(RUNNING),
            "ContainersPaused": states.count(PAUSED),
            "ContainersStopped": len(states) - states.count(RUNNING) - states.count(PAUSED),
            "Images": len(self.images.list()),
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", machine.filesystem_of(self.paths.root)]],
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "ipvlan", "macvlan", "null"],
                "Authorization": None,
                "Log": sorted(name for name in log_options.DRIVERS if name not in ("", "default")),
            },
            **offered,
            "IPv4Forwarding": forwards,
            "NFd": len(os.listdir("/proc/self/fd")),
            "NGoroutines": 0,
            "NEventsListener": self.events.listeners,
            "SystemTime": rfc3339(time.time_ns()),
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": _registries(),
            "GenericResources": None,
            "HttpProxy": os.environ.get("HTTP_PROXY") or "",
            "HttpsProxy": os.environ.get("HTTPS_PROXY") or "",
            "NoProxy": os.environ.get("NO_PROXY") or "",
            "Labels": [],
            "ExperimentalBuild": False,
            "InitBinary": "skiff-init",
            "Debug": False,
            "LoggingDriver": DEFAULT_LOG_DRIVER,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": version,
            "OperatingSystem": release.get("PRETTY_NAME", "Linux"),
            "OSVersion": release.get("VERSION_ID", ""),
            **machine.processor(),
            "DockerRootDir": str(self.paths.root),
            "ServerVersion": skiff_version(),
            "DefaultRuntime": DEFAULT_RUNTIME,
            "Runtimes": {name: _runtime() for name in RUNTIMES if name},
            "Containerd": {  # who keeps the containers here, and under which name
                "Address": str(self.paths.keeper_socket),
                "Namespaces": {"Containers": self.paths.engine_id, "Plugins": ""},
            },
            "SecurityOptions": [
                "name=seccomp,profile=builtin",
                *(() if userns.is_initial() else ("name=rootless",)),
                "name=cgroupns",
            ],
            "Swarm": NO_SWARM,
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "ProductLicense": "",
            **{commit: {"ID": ""} for commit in ("ContainerdCommit", "RuncCommit", "InitCommit")},
            "FirewallBackend": {"Driver": "nftables"},
            "CDISpecDirs": [],
            "Warnings": [*warnings, *(() if forwards else ("WARNING: IPv4 forwarding is disabled",))] or None,
        }

    def engine(self) -> dict[str, Any]:
        """Return what `skiff engine status` shows: PIDs and paths."""
        paths = self.paths
        return {
            "engine_pid": os.getpid(),
            "keeper_pid": self.keeper.pid,
            "doorman_pid": self.doorman.pid if self.doorman is not None else 0,
            "root": str(paths.root),
            "run": str(paths.run),
            "socket": str(paths.engine_socket),
            "log": str(paths.engine_log),
        }


def _registries() -> dict[str, Any]:
    """Return how registries are reached, from the daemon's configuration file."""
    from runtime.image.registry_settings import RegistrySettings

    settings = RegistrySettings.read(os.environ)
    mirrors = [f"{mirror.rstrip('/')}/" for mirror in settings.mirrors]
    networks = [one for one in settings.insecure if "/" in one]
    indexes = {"docker.io": {"Name": "docker.io", "Mirrors": mirrors, "Secure": True, "Official": True}}
    for host in settings.insecure:
        if host not in networks:
            indexes[host] = {"Name": host, "Mirrors": [], "Secure": False, "Official": False}
    return {
        "IndexConfigs": indexes,
        "InsecureRegistryCIDRs": [*LOOPBACK, *networks],
        "Mirrors": mirrors or None,
    }


def _runtime() -> dict[str, Any]:
    """Return what there is to say of the one runtime: its program, and what it can do (OCI runtime spec, features.md)."""
    from runtime.oci.program.features import features

    return {"path": "skiff", "status": {"org.opencontainers.runtime-spec.features": json.dumps(features())}}
