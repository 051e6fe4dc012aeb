"""What this machine can limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import anyio.to_thread

from runtime.container.resources import features, parse_list, settle, without_root
from runtime.linux import userns
from runtime.oci.cgroup import Cgroups


class MachineLimits:
    """The features (`runtime.container.resources.FEATURES`) of this machine, found out once by making a cgroup."""

    def __init__(self, engine_id: str) -> None:
        # one name for all times: what an engine left that was killed meanwhile goes with the next one's
        self._path = f"/skiff-{engine_id}-probe/one"
        self._offered: frozenset[str] = frozenset()
        self._lock = anyio.Lock()

    async def offered(self) -> frozenset[str]:
        """Return the features; none where no cgroup can be made."""
        async with self._lock:
            if not self._offered:
                self._offered = await anyio.to_thread.run_sync(self._find)
            return self._offered

    def _find(self) -> frozenset[str]:
        try:
            return features(Cgroups().offered(self._path))
        except OSError:
            return frozenset()

    async def settle(self, host: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return HostConfig `host` without what the machine can't limit, and a warning of each; as `settle`."""
        offered, discarded = await self.offered(), list[str]()
        if not userns.is_initial():
            host, discarded = without_root(host, offered)
        processors = _online("cpu") if host.get("NanoCpus") or host.get("CpusetCpus") else frozenset()
        nodes = _online("node") if host.get("CpusetMems") else frozenset()
        kept, warnings = settle(host, offered, processors, nodes)
        return kept, [*discarded, *warnings]


def _online(kind: str) -> frozenset[int]:
    """Return the numbers of the machine's CPUs ("cpu") or memory nodes ("node") that run."""
    try:
        with open(f"/sys/devices/system/{kind}/online") as file:
            return parse_list(file.read())
    except FileNotFoundError:  # a kernel without NUMA tells of no nodes: there is the one
        return frozenset((0,))


def can_pause() -> bool:
    """Whether containers have a control group, without which their processes can't be stopped all at once."""
    return Cgroups().are_ours
