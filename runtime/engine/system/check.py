"""`skiff engine check`: what the disk, the engine, the keeper and the kernel each say, held against each other.

An engine that starts brings the four together by itself; afterwards they differ only when somebody changed one of them
by hand, or by a fault. Looking changes nothing. A repair never deletes data: what can't be understood is moved to
`set-aside` in the state root, and what is missing on disk is written again from what the engine knows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from runtime.engine.background import log_errors
from runtime.engine.containers.lifecycle import Lifecycle
from runtime.engine.containers.table import ContainerTable
from runtime.keeper.client import KeeperClient
from runtime.linux import netns
from runtime.network.model import Network
from runtime.network.networks import Networks
from runtime.oci.cgroup import Cgroups
from runtime.paths import Paths
from runtime.store import Problem, Store
from runtime.trash import Trash

KINDS = ("container", "volume", "network", "image")
DISK, ENGINE, KEEPER, KERNEL = "disk", "engine", "keeper", "kernel"
SETTLE_S = 0.3
SET_ASIDE = "set-aside"
STANDBY = "standby"
"""How the keeper's cgroups of processes that wait to become containers begin."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be: who says so, `what`, and the `remedy`; `repair` carries it out."""

    where: str
    what: str
    remedy: str
    repair: Callable[[], Awaitable[Any]] | None = None


@dataclass(frozen=True, eq=False)
class Check:
    """Looks at everything, and repairs what can be repaired without a loss."""

    paths: Paths
    store: Store
    table: ContainerTable
    networks: Networks
    keeper: KeeperClient
    lifecycle: Lifecycle
    trash: Trash

    async def run(self, *, repair: bool) -> dict[str, Any]:
        """Return `looked` (what each side has, as counts) and `differences`; with `repair`, some are repaired first."""
        survey, kept, first = await self._look()
        differences = first
        if first:
            # the four are not looked at in one moment: what is on its way looks like a difference, and is none later
            await anyio.sleep(SETTLE_S)
            survey, kept, second = await self._look()
            before = {one.what for one in first}
            differences = [one for one in second if one.what in before]
        told = []
        for found in differences:
            is_repaired = repair and found.repair is not None and await log_errors(found.repair) is None
            told.append(
                {
                    "where": found.where,
                    "what": found.what,
                    "remedy": found.remedy,
                    "can_be_repaired": found.repair is not None,
                    "is_repaired": is_repaired,
                }
            )
        await self.store.flush()
        looked = {
            DISK: {kind: len(list(survey.collection(kind))) for kind in KINDS},
            ENGINE: {kind: len(list(self.store.collection(kind))) for kind in KINDS},
            KEEPER: {"process": len(kept)},
            KERNEL: {"network namespace": len(self._namespaces()), "cgroup": len(self._cgroups())},
        }
        return {"looked": looked, "differences": told}

    async def _look(self) -> tuple[Store, set[str], list[Difference]]:
        await self.store.flush()
        survey = await anyio.to_thread.run_sync(Store.survey, self.paths)
        kept = set(await self.keeper.ids())
        strays, missing = await self.networks.compare_bridges()
        rules = await self.networks.compare_firewall()
        return survey, kept, [
            *map(self._not_understood, self._unknown(survey.problems)),
            *(found for kind in KINDS for found in self._records(kind, survey)),
            *self._processes(kept),
            *self._leftovers(kept),
            *map(self._stray, strays),
            *map(_missing, missing),
            *map(self._changed_rule, rules),
        ]  # fmt: skip

    def _unknown(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """Yield the problems that are not about something the engine knows: its record is written again instead."""
        collections = map(self.store.collection, KINDS)
        known = {collection.place(id) for collection in collections for id in collection}
        return (one for one in problems if not known & {one.path, one.path.parent})

    def _stray(self, device: str) -> Difference:
        repair = partial(self.networks.remove_stray, device)
        return Difference(KERNEL, f"the bridge {device} belongs to no network", "it is removed", repair)

    def _changed_rule(self, what: str) -> Difference:
        return Difference(KERNEL, what, "the table is made again", self.networks.restore_firewall)

    def _not_understood(self, problem: Problem) -> Difference:
        what = f"{problem.path}: {problem.what}"
        if not problem.is_removable or self.paths.root not in problem.path.parents:
            return Difference(DISK, what, problem.cure)
        remedy = f"{problem.cure}; a repair moves it to {self.paths.root / SET_ASIDE}"
        return Difference(DISK, what, remedy, partial(self._set_aside, problem.path))

    async def _set_aside(self, path: Path) -> None:
        place = self.paths.root / SET_ASIDE / time.strftime("%Y-%m-%dT%H-%M-%S") / path.relative_to(self.paths.root)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.rename(path, place)
        self.store.mark_directory(path.parent)
        self.store.mark_directory(place.parent)

    def _records(self, kind: str, survey: Store) -> Iterator[Difference]:
        on_disk, known = survey.collection(kind), self.store.collection(kind)
        for id in sorted(set(known) - set(on_disk)):
            name = (known.get(id) or {}).get("name") or id
            if known.has_place(id):
                yield Difference(
                    DISK, f"the record of {kind} {name} is gone or damaged", "it is written again",
                    partial(self._write_again, kind, id),
                )  # fmt: skip
            else:
                yield Difference(
                    DISK, f"the directory of {kind} {name} is gone: {known.place(id)}",
                    f"put it back, or remove the {kind}",
                )  # fmt: skip
        for id in sorted(set(on_disk) - set(known)):
            yield Difference(
                ENGINE, f"the {kind} at {on_disk.place(id)} came since the engine started",
                "the next engine takes it in: skiff engine stop",
            )  # fmt: skip

    async def _write_again(self, kind: str, id: str) -> None:
        self.store.collection(kind).write_again(id)

    def _processes(self, kept: set[str]) -> Iterator[Difference]:
        for container in self.table:
            if container.is_running and container.id not in kept:
                yield Difference(
                    KEEPER, f"container {container.name} counts as running, and there is no process of it",
                    "it counts as ended", partial(self._note_end, container.id),
                )  # fmt: skip

    async def _note_end(self, id: str) -> None:
        container = self.table.get(id)
        if container is not None and container.is_running:
            self.lifecycle.lost(container)

    def _leftovers(self, kept: set[str]) -> Iterator[Difference]:
        running = {container.id for container in self.table if container.is_running} | kept
        needed = running | {
            (container.host.get("NetworkMode") or "").partition(":")[2]
            for container in self.table
            if container.is_running
        }
        for id in sorted(self._namespaces() - needed):
            path = self.paths.netns / id
            yield Difference(
                KERNEL, f"the network namespace pinned to {path} is no container's that runs", "it is let go",
                partial(anyio.to_thread.run_sync, netns.remove, path),
            )  # fmt: skip
        for name in sorted(self._cgroups() - running):
            if not name.startswith(STANDBY):
                cgroup = f"/skiff-{self.paths.engine_id}/{name}"
                yield Difference(
                    KERNEL, f"the cgroup {cgroup} is no container's that runs", "what runs in it is ended, and it is removed",
                    partial(anyio.to_thread.run_sync, Cgroups().remove, cgroup),
                )  # fmt: skip
        bundles = set(os.listdir(self.paths.bundles)) if self.paths.bundles.is_dir() else set()
        for id in sorted(bundles - running):
            yield Difference(
                DISK, f"the bundle {self.paths.bundles / id} is no container's that runs", "it is removed",
                partial(anyio.to_thread.run_sync, self.trash.throw, self.paths.bundles / id),
            )  # fmt: skip

    def _namespaces(self) -> set[str]:
        return set(os.listdir(self.paths.netns)) if self.paths.netns.is_dir() else set()

    def _cgroups(self) -> set[str]:
        names: set[str] = set()
        for directory in Cgroups().directories(f"/skiff-{self.paths.engine_id}").values():
            if os.path.isdir(directory):
                names |= {entry.name for entry in os.scandir(directory) if entry.is_dir()}
        return names


def _missing(network: Network) -> Difference:
    return Difference(
        KERNEL, f"the bridge of network {network.name} is not there", "restart the containers on it: skiff restart"
    )
