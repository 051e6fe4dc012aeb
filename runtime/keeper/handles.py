"""What the engine has of a process that the keeper runs: its descriptors, and how it ended."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.errors import EngineError


@dataclass(frozen=True)
class ProcessExit:
    """How process `id` ended: `exit_code` is 128 + signal when one killed it, 255 when nobody was there to learn it."""

    id: str
    exit_code: int
    signal: int | None
    oom_killed: bool
    finished_at_ns: int
    pid: int = 0
    """Which of the container's processes it was, one after the other; 0 where an earlier version's keeper does not say."""


@dataclass(eq=False)
class Holders:
    """How many hold the descriptors of a process."""

    count: int = 1


@dataclass(frozen=True)
class ProcessHandle:
    """A process of the keeper's, and descriptors of it: open until whoever was given it, and `KeeperClient`, have closed it.

    `KeeperClient` holds it for a keeper that may follow, by the same descriptors: with duplicates 500 containers would have
    1,500 more.
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
    """Whether nobody held its streams for a time."""

    def share(self) -> ProcessHandle:
        """Return the same, to be closed once more before its descriptors are."""
        self.holders.count += 1
        return self

    def close(self) -> None:
        """Let go of the descriptors: the last that does closes them."""
        self.holders.count -= 1
        if self.holders.count:
            return
        for descriptor in (self.pidfd, *self.fds.values()):
            with suppress(OSError):
                os.close(descriptor)


class LaunchError(EngineError):
    """The process could not be started; `exit_code` is what stands for it (126, 127 or 128)."""

    status = 400

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Vault(Protocol):
    """What holds descriptors for when both engine and keeper are gone (runtime.doorman)."""

    async def put(self, key: str, descriptors: Mapping[str, int]) -> None:
        """Have duplicates of `descriptors` held by the name `key`, instead of those that have it."""

    async def drop(self, key: str) -> None:
        """Have what is held as `key` closed."""

    async def retain(self, keys: Iterable[str]) -> None:
        """Have all that is held by other names than `keys` closed."""

    async def get(self, key: str) -> dict[str, int]:
        """Return fresh duplicates of what is held as `key`; none where nothing is."""


def exit_of(id: str, told: Mapping[str, Any]) -> ProcessExit:
    """Return how process `id` ended, as the keeper says it."""
    return ProcessExit(
        id, told["exit_code"], told["signal"], told["oom_killed"], told["finished_at_ns"], told.get("pid", 0)
    )


def handle_of(answer: Mapping[str, Any], descriptors: Sequence[int]) -> ProcessHandle:
    """Return the process that an answer of the keeper's describes; the descriptors are the pidfd's and those of `fds`."""
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
