"""Which resource limits this machine supports."""

from __future__ import annotations

import anyio
import anyio.to_thread

from runtime.bodies import HostConfig
from runtime.container.resources import features, parse_list, settle, without_root
from runtime.linux import userns
from runtime.oci.cgroup import Cgroups


class MachineLimits:
    """The features (`runtime.container.resources.FEATURES`) of this machine, found once by creating a cgroup."""

    def __init__(self, engine_id: str) -> None:
        # always the same name: a cgroup that a killed engine left is removed by the next one
        self._path = f"/skiff-{engine_id}-probe/one"
        self._offered: frozenset[str] = frozenset()
        self._lock = anyio.Lock()
        self._is_unified = True

    async def offered(self) -> frozenset[str]:
        """Return the features; none if no cgroup can be created."""
        async with self._lock:
            if not self._offered:
                self._offered = await anyio.to_thread.run_sync(self._find)
            return self._offered

    def _find(self) -> frozenset[str]:
        try:
            cgroups = Cgroups()
            self._is_unified = cgroups.is_unified
            return features(cgroups.offered(self._path))
        except OSError:
            return frozenset()

    async def settle(self, host: HostConfig) -> tuple[HostConfig, list[str]]:
        """Return HostConfig `host` without unsupported limits, and warnings (see `container.resources.settle`).

        It has the mode of the cgroup namespace that is the default here.
        """
        offered, discarded = await self.offered(), list[str]()
        if not userns.is_initial():
            host, discarded = without_root(host, offered)
        processors = _online("cpu") if host.get("NanoCpus") or host.get("CpusetCpus") else frozenset()
        nodes = _online("node") if host.get("CpusetMems") else frozenset()
        kept, warnings = settle(host, offered, processors, nodes)
        # as in Docker, whose containers see the host's paths in version 1
        kept["CgroupnsMode"] = kept.get("CgroupnsMode") or (
            "private" if self._is_unified or not userns.is_initial() else "host"
        )
        return kept, [*discarded, *warnings]


def _online(kind: str) -> frozenset[int]:
    """Return the IDs of the machine's online CPUs ("cpu") or memory nodes ("node")."""
    try:
        with open(f"/sys/devices/system/{kind}/online") as file:
            return parse_list(file.read())
    except FileNotFoundError:  # a kernel without NUMA has one node and no such file
        return frozenset((0,))


def can_pause() -> bool:
    """Whether containers have cgroups, which freezing needs."""
    return Cgroups().are_ours
