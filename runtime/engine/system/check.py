"""`skiff engine check`: compares the state on disk, in the engine, in the keeper and in the kernel.

An engine reconciles the four at its start; later they differ only if somebody changed one of them by hand, or by a bug.
The check changes nothing. A repair never deletes data: files that can't be read are moved to `set-aside` in the state
root, and records that are missing on disk are written again from the engine's memory.
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
from runtime.image.images import Images
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
"""Prefix of the cgroups of the keeper's preforked children."""


@dataclass(frozen=True)
class Difference:
    """A difference: `where` it is, `what` it is, and its `remedy`, which `repair` carries out."""

    where: str
    what: str
    remedy: str
    repair: Callable[[], Awaitable[Any]] | None = None


@dataclass(frozen=True, eq=False)
class Check:
    """Finds differences, and repairs those that can be repaired without losing data."""

    paths: Paths
    store: Store
    table: ContainerTable
    networks: Networks
    keeper: KeeperClient
    lifecycle: Lifecycle
    trash: Trash
    images: Images

    async def run(self, *, repair: bool) -> dict[str, Any]:
        """Return `looked` (counts of objects on each side) and `differences`, which `repair` repairs if possible."""
        survey, kept, first = await self._look()
        differences = first
        if first:
            # the four are not read at the same moment: only differences that remain are real
            await anyio.sleep(SETTLE_S)
            survey, kept, second = await self._look()
            before = {one.what for one in first}
            differences = [one for one in second if one.what in before]
        reports = []
        for found in differences:
            is_repaired = repair and found.repair is not None and await log_errors(found.repair) is None
            reports.append(
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
        return {"looked": looked, "differences": reports}

    async def _look(self) -> tuple[Store, set[str], list[Difference]]:
        await self.store.flush()
        survey = await anyio.to_thread.run_sync(Store.survey, self.paths)
        kept = set(await self.keeper.ids())
        strays, missing = await self.networks.compare_bridges()
        rules = await self.networks.compare_firewall()
        return survey, kept, [
            *map(self._not_understood, self._unknown(survey.problems)),
            *(found for kind in KINDS for found in self._records(kind, survey)),
            *self._layers(),
            *self._processes(kept),
            *self._leftovers(kept),
            *map(self._stray, strays),
            *map(_missing, missing),
            *map(self._changed_rule, rules),
        ]  # fmt: skip

    def _unknown(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """Yield the problems that do not concern objects the engine knows, whose records can be written again."""
        collections = map(self.store.collection, KINDS)
        known = {collection.place(id) for collection in collections for id in collection}
        return (one for one in problems if not known & {one.path, one.path.parent})

    def _stray(self, device: str) -> Difference:
        repair = partial(self.networks.remove_stray, device)
        return Difference(KERNEL, f"the bridge {device} belongs to no network", "it is removed", repair)

    def _changed_rule(self, what: str) -> Difference:
        return Difference(KERNEL, what, "the table is created again", self.networks.restore_firewall)

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
        # a volume's directory is one without its record, too, but then lacks its labels and options
        without = {id for id in known if id in on_disk and not on_disk.has_record(id)}
        for id in sorted(set(known) - set(on_disk) | without):
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
                ENGINE, f"the {kind} at {on_disk.place(id)} was added after the engine's start",
                "the next engine reads it: skiff engine stop",
            )  # fmt: skip

    def _layers(self) -> Iterator[Difference]:
        for image in self.images.list():
            for diff_id in dict.fromkeys(image.diff_ids):
                if (fault := self.images.layers.fault(diff_id)) is not None:
                    name = (*image.references, image.id)[0]
                    yield Difference(
                        DISK, f"layer {diff_id} of image {name} is damaged: {fault}",
                        f"pull, load or build {name} again",
                    )  # fmt: skip

    async def _write_again(self, kind: str, id: str) -> None:
        self.store.collection(kind).write_again(id)

    def _processes(self, kept: set[str]) -> Iterator[Difference]:
        for container in self.table:
            if container.is_running and container.id not in kept:
                yield Difference(
                    KEEPER, f"container {container.name} is recorded as running, but has no process",
                    "it is recorded as exited", partial(self._note_end, container.id),
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
                KERNEL, f"the network namespace pinned to {path} belongs to no running container", "it is removed",
                partial(anyio.to_thread.run_sync, netns.remove, path),
            )  # fmt: skip
        for name in sorted(self._cgroups() - running):
            if not name.startswith(STANDBY):
                cgroup = f"/skiff-{self.paths.engine_id}/{name}"
                yield Difference(
                    KERNEL, f"the cgroup {cgroup} belongs to no running container", "its processes are killed, and it is removed",
                    partial(anyio.to_thread.run_sync, Cgroups().remove, cgroup),
                )  # fmt: skip
        bundles = set(os.listdir(self.paths.bundles)) if self.paths.bundles.is_dir() else set()
        for id in sorted(bundles - running):
            yield Difference(
                DISK, f"the bundle {self.paths.bundles / id} belongs to no running container", "it is removed",
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
        KERNEL, f"the bridge of network {network.name} does not exist", "restart the containers on it: skiff restart"
    )
