"""Options of a build; a module of its own, as most plans have options for builds and nothing to build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BuildFlags:
    """Options of a build that are not in the file: flags, a memory limit in bytes, arguments (None: from the engine).

    `ssh` are agents for all services, `ID` or `ID=PATH`. With `host_ca` the steps trust the CA certificates of this
    machine, and have its proxies. With `check` nothing is built: its warnings are reported.
    """

    no_cache: bool = False
    pull: bool = False
    quiet: bool = False
    memory_bytes: int = 0
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    ssh: tuple[str, ...] = ()
    host_ca: bool = False
    check: bool = False
