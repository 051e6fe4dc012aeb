"""What a build needs from the engine to run a RUN step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.oci.types import OciMount, OciProcess

HOSTNAME = "buildkitsandbox"
"""What RUN steps see as their host's name, as with BuildKit."""


@dataclass(frozen=True)
class RootFilesystem:
    """An overlay: layers topmost first, the directory that takes the changes, and overlayfs's own."""

    lower: tuple[Path, ...]
    upper: Path
    work: Path


class StepRunner(Protocol):
    """Runs one command in a container of its own that is gone afterwards, also when cancelled."""

    async def run(
        self,
        rootfs: RootFilesystem,
        process: OciProcess,
        mounts: Sequence[OciMount],
        network: str,
        output: Callable[[bytes, int], None],
        *,
        extra_hosts: Sequence[str] = (),
        shm_size_bytes: int = 0,
        is_privileged: bool = False,
        memory_bytes: int = 0,
        hostname: str = HOSTNAME,
    ) -> int:
        """Run an OCI `process` in `rootfs` and return its exit code.

        `process` holds args, env, cwd, user (numbers) and rlimits; capabilities and the rest are the engine's defaults.
        `mounts` are OCI mounts in addition to the usual ones; `network` is default, none, host or a network's name; `output`
        takes chunks of stdout (1) and stderr (2) as they come; `extra_hosts` are `name:address` lines for /etc/hosts; 0 for
        `shm_size_bytes` is the engine's default; `is_privileged` gives it all capabilities and devices; 0 for
        `memory_bytes` is no limit; `hostname` is the container's. Raises EngineError when the command could not be started.
        """
        ...
