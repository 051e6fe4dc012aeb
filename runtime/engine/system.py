"""What the engine says of itself and of the machine (Docker Engine API, "System")."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.engine.sizes import trees_bytes
from runtime.engine.state import PAUSED, RUNNING
from runtime.engine.times import rfc3339
from runtime.errors import BadRequestError

if TYPE_CHECKING:
    from runtime.engine.engine import Engine

API_VERSION, LOWEST_API_VERSION = "1.50", "1.24"
DISK_TYPES = ("container", "image", "volume", "build-cache")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class System:
    """What the engine says of itself and of the machine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def version(self) -> dict[str, Any]:
        """Return "Get version"."""
        own, uname = installed_version("skiff"), os.uname()
        machine = {
            "ApiVersion": API_VERSION,
            "MinAPIVersion": LOWEST_API_VERSION,
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
            "Components": [{"Name": "Engine", "Version": own, "Details": details}],
            "Version": own,
            "PythonVersion": platform.python_version(),
            "Experimental": False,
            **machine,
        }

    def info(self) -> dict[str, Any]:
        """Return "Get system information"."""
        engine = self._engine
        states = [container.state.status for container in engine.table]
        uname = os.uname()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        unified = not Path("/sys/fs/cgroup/memory").exists()
        return {
            "ID": engine.paths.engine_id,
            "Containers": len(states),
            "ContainersRunning": states.count(RUNNING),
            "ContainersPaused": states.count(PAUSED),
            "ContainersStopped": len(states) - states.count(RUNNING) - states.count(PAUSED),
            "Images": len(engine.images.list()),
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", "overlayfs"]],
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": None,
                "Log": ["json-file", "local", "none"],
            },
            "MemoryLimit": True,
            "SwapLimit": True,
            "CpuCfsQuota": True,
            "CPUShares": True,
            "CPUSet": True,
            "PidsLimit": True,
            "IPv4Forwarding": True,
            "OomKillDisable": not unified,
            "CpuCfsPeriod": True,
            "NFd": len(os.listdir("/proc/self/fd")),
            "NEventsListener": engine.events.listeners,
            "SystemTime": rfc3339(time.time_ns()),
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": {"IndexConfigs": {}, "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128"]},
            "Labels": [],
            "ExperimentalBuild": False,
            "InitBinary": "skiff-init",
            "Debug": False,
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if unified else "1",
            "KernelVersion": uname.release,
            "OperatingSystem": _operating_system(),
            "OSType": "linux",
            "Architecture": uname.machine,
            "NCPU": os.cpu_count() or 1,
            "MemTotal": memory,
            "DockerRootDir": str(engine.paths.root),
            "Name": uname.nodename,
            "ServerVersion": installed_version("skiff"),
            "DefaultRuntime": "skiff",
            "Runtimes": {"skiff": {"path": "skiff"}},
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
            "Swarm": {"LocalNodeState": "inactive"},
            "LiveRestoreEnabled": True,
            "Warnings": None,
        }

    async def df(self, types: Sequence[str] = ()) -> dict[str, Any]:
        """Return "Get data usage information", of some `types` of objects or all. Raises BadRequestError."""
        for kind in types:
            if kind not in DISK_TYPES:
                raise BadRequestError(f"unknown object type: {kind}")
        wanted = frozenset(types or DISK_TYPES)
        found: dict[str, Any] = {
            "LayersSize": 0,
            "Images": None,
            "Containers": None,
            "Volumes": None,
            "BuildCache": None,
        }
        if "image" in wanted:
            found |= self._images()
        if "container" in wanted:
            found["Containers"] = await self._engine.containers.list(stopped=True, size=True)
        if "volume" in wanted:
            found["Volumes"] = await self._volumes()
        if "build-cache" in wanted:
            found["BuildCache"] = self._build_cache()
        return found

    def _images(self) -> dict[str, Any]:
        engine = self._engine
        layers = engine.images.layers
        holders = Counter(diff_id for image in engine.images.list() for diff_id in set(image.diff_ids))
        users = Counter(container.image_id for container in engine.table)
        by_id = {image.id: image for image in engine.images.list()}
        rows = []
        for row in engine.image_api.list({}):
            shared = sum(layers.size(one) for one in set(by_id[row["Id"]].diff_ids) if holders[one] > 1)
            rows.append({**row, "SharedSize": shared, "Containers": users[row["Id"]]})
        return {"LayersSize": sum(layers.size(diff_id) for diff_id in holders), "Images": rows}

    async def _volumes(self) -> list[dict[str, Any]]:
        engine = self._engine
        rows = []
        for volume in engine.volumes_api.list({})["Volumes"]:
            size = await trees_bytes([engine.paths.volume(volume["Name"])])
            users = engine.table.users_of_volume(volume["Name"])
            rows.append({**volume, "UsageData": {"Size": size, "RefCount": len(users)}})
        return rows

    def _build_cache(self) -> list[dict[str, Any]]:
        engine = self._engine
        held = {diff_id for image in engine.images.list() for diff_id in image.diff_ids}
        rows = []
        for id, step in engine.store.collection("build_cache").items():
            layer = step.get("layer")
            rows.append(
                {
                    "ID": id[:25],
                    "Type": "regular",
                    "Description": step.get("text") or "",
                    "InUse": False,
                    "Shared": layer in held,
                    "Size": engine.images.layers.size(layer) if layer else 0,
                    "CreatedAt": step.get("created"),
                    "LastUsedAt": None,
                    "UsageCount": 0,
                }
            )
        return rows

    def engine(self) -> dict[str, Any]:
        """Return what `skiff engine` shows: processes and places."""
        paths = self._engine.paths
        return {
            "engine_pid": os.getpid(),
            "keeper_pid": self._engine.keeper.pid,
            "root": str(paths.root),
            "run": str(paths.run),
            "socket": str(paths.engine_socket),
            "log": str(paths.engine_log),
        }


def _operating_system() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return "Linux"
    return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "Linux")
