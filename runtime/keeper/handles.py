"""The engine's handle of a process that the keeper runs: its descriptors and its exit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.errors import EngineError

CANNOT_RUN, MISSING = 126, 127
"""Exit codes of what was not started: no program that may be executed, and none at all."""


@dataclass(frozen=True)
class ProcessExit:
    """How process `id` ended: `exit_code` is 128 + signal if a signal killed it, 255 if its status is not known."""

    id: str
    exit_code: int
    signal: int | None
    oom_killed: bool
    finished_at_ns: int
    pid: int = 0
    """The PID: a container has a new one after each restart. 0 if an earlier version's keeper does not send it."""


@dataclass(eq=False)
class Holders:
    """The reference count of a process's descriptors."""

    count: int = 1


@dataclass(frozen=True)
class ProcessHandle:
    """A process that the keeper runs, with its pidfd and the descriptors of its streams.

    The descriptors are reference-counted: the caller that received the handle and `KeeperClient`, which keeps it for a
    later keeper, each close it once. Duplicates instead would cost 1,500 more descriptors for 500 containers.
    """

    id: str
    container: str
    pid: int
    pidfd: int
    fds: dict[str, int]
    cgroup: str | None
    started_at_ns: int
    exit: ProcessExit | None
    holders: Holders = field(default_factory=Holders, compare=False, repr=False)
    may_miss_output: bool = False
    """Whether its pipes had no reader for a time."""

    def share(self) -> ProcessHandle:
        """Return the same handle with one reference more."""
        self.holders.count += 1
        return self

    def close(self) -> None:
        """Drop a reference; the last one closes the descriptors."""
        self.holders.count -= 1
        if self.holders.count:
            return
        for descriptor in (self.pidfd, *self.fds.values()):
            with suppress(OSError):
                os.close(descriptor)


class LaunchError(EngineError):
    """The process could not be started; `exit_code` is what Docker reports for it (126, 127 or 128).

    It is the request's fault (400) if there is no such program, or none that may be executed; otherwise the engine's (500).
    """

    def __init__(self, message: str, exit_code: int, hint: str | None = None) -> None:
        super().__init__(message, hint, 400 if exit_code in (CANNOT_RUN, MISSING) else 500)
        self.exit_code = exit_code


class Vault(Protocol):
    """A process that holds duplicates of descriptors while both engine and keeper are dead (`runtime.doorman`)."""

    async def put(self, key: str, descriptors: Mapping[str, int]) -> None:
        """Store duplicates of `descriptors` under `key`, in place of earlier ones."""

    async def drop(self, key: str) -> None:
        """Close what is stored under `key`."""

    async def retain(self, keys: Iterable[str]) -> None:
        """Close what is stored under any other key than `keys`."""

    async def get(self, key: str) -> dict[str, int]:
        """Return duplicates of the descriptors stored under `key`, by name; {} if there are none."""


def exit_of(id: str, message: Mapping[str, Any]) -> ProcessExit:
    """Return the exit of process `id` from a message of the keeper."""
    return ProcessExit(
        id,
        message["exit_code"],
        message["signal"],
        message["oom_killed"],
        message["finished_at_ns"],
        message.get("pid", 0),
    )


def handle_of(answer: Mapping[str, Any], descriptors: Sequence[int]) -> ProcessHandle:
    """Return the handle for an answer of the keeper; `descriptors` are the pidfd and, in order, those named in `fds`."""
    return ProcessHandle(
        answer["id"],
        answer["container"],
        answer["pid"],
        descriptors[0],
        dict(zip(answer["fds"], descriptors[1:], strict=True)),
        answer["cgroup"],
        answer["started_at_ns"],
        exit_of(answer["id"], answer["exit"]) if answer["exit"] else None,
    )
