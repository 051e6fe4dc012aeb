"""What this machine can limit, asked of the kernel each time: controllers can be mounted and modules loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import anyio.to_thread

from runtime.container.resources import features, parse_list, settle
from runtime.oci.cgroup import Cgroups


def offered(engine_id: str) -> frozenset[str]:
    """Return which of `runtime.container.resources.FEATURES` the machine has; none where no cgroup can be made."""
    try:
        return features(Cgroups().offered(f"/skiff-{engine_id}-probe/{os.getpid()}"))
    except OSError:
        return frozenset()


def processors() -> frozenset[int]:
    """Return the numbers of the machine's CPUs that run."""
    with open("/sys/devices/system/cpu/online") as file:
        return parse_list(file.read())


async def settled(engine_id: str, host: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return HostConfig `host` without what the machine can't limit, and a warning of each; as `settle`."""
    return await anyio.to_thread.run_sync(lambda: settle(host, offered(engine_id), processors()))
