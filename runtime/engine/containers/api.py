"""Operations on containers as in the Docker Engine API: start, stop, restart, kill, wait, update, remove, list, …"""

from __future__ import annotations

import builtins
import signal
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel

from runtime.bodies import HostConfig, Resources
from runtime.container.resources import THROTTLES, resources
from runtime.engine.background import log_errors
from runtime.engine.containers.lifecycle import STOP_TIMEOUT_S, Lifecycle
from runtime.engine.containers.making import checks, links
from runtime.engine.containers.remover import ContainerRemover
from runtime.engine.containers.signals import resize_console, signal_number, signal_text
from runtime.engine.containers.state import CREATED, DEAD, EXITED, PAUSED, REMOVING, RESTARTING, RUNNING, Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.containers.views import inspection, usage
from runtime.engine.containers.views.listing import Listing
from runtime.engine.containers.views.sizes import Sizes
from runtime.engine.events import EventBus
from runtime.engine.filters import DELETED, Filters, Report, check_known, may_be_pruned
from runtime.engine.system.limits import MachineLimits, can_pause
from runtime.engine.times import parse_rfc3339
from runtime.errors import (
    BadRequestError,
    ConflictError,
    EngineError,
    InternalError,
    NotFoundError,
    NotModifiedError,
    SkiffError,
)
from runtime.image.images import Images
from runtime.keeper.client import KeeperClient
from runtime.network.networks import Networks
from runtime.paths import Paths

WAIT_CONDITIONS = ("not-running", "next-exit", "removed")
ROWS_AT_ONCE = 50
"""After how many rows of a list other tasks may run."""


@dataclass(frozen=True, eq=False)
class Containers:
    """The containers of one engine. `name` arguments are a name, an ID or an unambiguous prefix of an ID."""

    paths: Paths
    table: ContainerTable
    keeper: KeeperClient
    images: Images
    networks: Networks
    limits: MachineLimits
    lifecycle: Lifecycle
    remover: ContainerRemover
    events: EventBus
    listing: Listing
    sizes: Sizes

    def find(self, name: str) -> Container:
        """Return the container `name`. Raises NotFoundError, or BadRequestError if a prefix is ambiguous."""
        return self.table.find(name)

    # --- lifecycle

    async def start(self, name: str) -> None:
        """Start a container. Raises NotModifiedError if it is running."""
        container = self.find(name)
        if container.state.status == PAUSED:
            raise ConflictError("cannot start a paused container, try unpause instead")
        if container.is_running:
            raise NotModifiedError(f"container {container.name} is running already")
        if container.state.status in (REMOVING, DEAD):
            raise ConflictError(f"container {container.name} is marked for removal and cannot be started")
        container.state.restart_count, container.restart_delay_s = 0, 0.0
        await self.lifecycle.start(container)

    async def stop(self, name: str, *, signal_name: str | None = None, timeout_s: float | None = None) -> str:
        """Stop a container. Raises NotModifiedError if it is not running.

        Return the name of the stop signal if the kernel dropped it, otherwise "".
        """
        container = self.find(name)
        with _naming(f"cannot stop container: {name}", InternalError):
            chosen = _stop_signal(container, signal_name)
        if not container.is_running and container.state.status != RESTARTING:
            raise NotModifiedError(f"container {container.name} is stopped already")
        is_dropped = await self.lifecycle.stop(container, chosen, _stop_timeout_s(container, timeout_s))
        return signal_text(chosen) if is_dropped else ""

    async def stop_all(self) -> None:
        """Stop all running containers in parallel, on shutdown: their restart policies apply when the engine starts."""

        async def end(container: Container) -> None:
            await log_errors(
                partial(self.lifecycle.stop, by_user=False),
                container,
                _stop_signal(container, None),
                _stop_timeout_s(container, None),
            )

        async with anyio.create_task_group() as group:
            for container in self.table:
                if container.is_running:
                    group.start_soon(end, container)

    async def restart(self, name: str, *, signal_name: str | None = None, timeout_s: float | None = None) -> None:
        """Stop the container if it runs, and start it."""
        container = self.find(name)
        with _naming(f"Cannot restart container {name}", InternalError):
            _stop_signal(container, signal_name)
        container.keep_after_exit = True
        container.is_restarted = container.is_running
        try:
            try:
                with suppress(NotModifiedError):
                    await self.stop(container.id, signal_name=signal_name, timeout_s=timeout_s)
            finally:
                container.keep_after_exit = False
            with _naming(f"Cannot restart container {name}", InternalError):
                await self.lifecycle.start(container)
        finally:
            container.is_restarted = False
        self.table.emit(container, "restart")

    async def kill(self, name: str, signal_name: str | None) -> None:
        """Send a signal. Raises ConflictError if the container is not running."""
        container = self.find(name)
        with _naming(f"cannot kill container: {name}", BadRequestError):
            number = signal_number(signal_name or "SIGKILL")
        if not container.is_running:
            raise ConflictError(f"cannot kill container: {name}: container {container.id} is not running")
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            # as in Docker, a container that the user has killed is not restarted
            container.state.stopped_by_user = True
        self.table.emit(container, "kill", signal=str(number))
        if number == signal.SIGKILL:
            await self.lifecycle.kill(container)
        else:
            await self.keeper.signal(container.id, number)
            await self.lifecycle.thaw(container)

    async def pause(self, name: str, frozen: bool) -> None:
        """Freeze or thaw every process of the container."""
        container = self.find(name)
        async with container.lock:  # the exit must not be recorded in between
            if not frozen and container.state.status != PAUSED:
                raise InternalError(f"Container {container.id} is not paused")
            if not container.is_running:
                raise ConflictError(f"container {container.id} is not running")
            if frozen and container.state.status == PAUSED:
                raise ConflictError(f"Container {container.id} is already paused")
            if not can_pause():
                raise InternalError(
                    f"container {container.name} can't be paused: that needs a cgroup",
                    "none is delegated to this user: `skiff doctor` says how",
                )
            await self.keeper.freeze(container.id, frozen)
            container.state.status = PAUSED if frozen else RUNNING
            self.table.save(container)
        self.table.emit(container, "pause" if frozen else "unpause")

    def rename(self, name: str, wanted: str) -> None:
        """Rename the container."""
        container = self.find(name)
        if not wanted:
            raise BadRequestError("Neither old nor new names may be empty")
        if wanted.removeprefix("/") == container.name:
            raise BadRequestError("Renaming a container with the same name as its current name")
        try:
            free = self.table.free_name(wanted)
        except EngineError as error:
            message = f"Error when allocating new name: {error.message}"
            raise EngineError.from_status(error.status, message, error.hint) from error
        old, container.name = container.name, free
        self.table.save(container)
        self.table.emit(container, "rename", oldName=f"/{old}")

    async def update(self, name: str, body: Resources) -> dict[str, Any]:
        """Change limits and restart policy."""
        container = self.find(name)
        # an empty list of devices takes their limits away, which no other empty value does
        kept = {
            key: value
            for key, value in body.items()
            if value or (key == "PidsLimit" and value is not None) or value == []
        }
        changed = cast(Resources, kept)
        memory, swap = changed.get("Memory") or 0, container.host.get("MemorySwap") or 0
        if 0 < swap < memory and not changed.get("MemorySwap"):
            raise ConflictError(
                f"Cannot update container {container.id}: Memory limit should be smaller than already set memoryswap "
                "limit, update the memoryswap at the same time"
            )
        if (changed.get("RestartPolicy") or {}).get("Name") and container.host.get("AutoRemove"):
            raise BadRequestError("Restart policy cannot be updated because AutoRemove is enabled for the container")
        checks.check_host({**container.host, **changed})
        host, warnings = await self.limits.settle({**container.host, **changed})
        if container.is_running:
            try:
                # "privileged" omits the device rules, so that those of the container stay as they are
                await self.keeper.update(container.id, resources(_without_old(container.host, host), privileged=True))
            except InternalError as error:
                raise ConflictError(f"Cannot update container {container.id}: {error.message}", error.hint) from error
        container.host = host
        self.table.save(container)
        self.table.emit(container, "update")
        return {"Warnings": warnings}

    async def wait(self, name: str, condition: str) -> dict[str, Any]:
        """Wait for a `condition` of WAIT_CONDITIONS; return the exit code."""
        container = self.find(name)
        exits = container.exits

        def is_over() -> bool:
            if container not in self.table:
                return True
            if condition == "removed":
                return False
            is_active = container.is_running or container.state.status == RESTARTING
            return container.exits > exits or (condition == "not-running" and not is_active)

        while not is_over():
            await container.changed.wait()
        answer: dict[str, Any] = {"StatusCode": container.state.exit_code}
        if container.state.error and condition != "removed":
            answer["Error"] = {"Message": container.state.error}
        return answer

    # --- removal

    async def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container. Raises ConflictError if it is running and `force` is not set."""
        container = self.find(name)
        is_removed = False
        while not is_removed:  # again if it was started in between
            await self._make_removable(container, name, force)
            is_removed = await self.remover.remove(container, volumes)

    def remove_link(self, name: str) -> None:
        """Remove a link, named "/CONTAINER/ALIAS", and leave both containers. Raises NotFoundError, InternalError."""
        of, _, alias = name.strip("/").rpartition("/")
        if not of:
            self.find(name)
            raise InternalError("Conflict, cannot remove the default link name of the container")
        try:
            container = self.find(of)
        except NotFoundError:
            raise NotFoundError(f"No such container: {name}") from None
        kept = [text for text in container.host.get("Links") or () if not links.is_called(text, alias)]
        if len(kept) == len(container.host.get("Links") or ()):
            raise NotFoundError(f"No such container: {name}")
        if kept:
            container.host["Links"] = kept
        else:
            del container.host["Links"]
        self.table.save(container)

    async def _make_removable(self, container: Container, name: str, force: bool) -> None:
        if container.is_running or container.state.status == RESTARTING:
            if not force:
                doing = container.state.status
                advice = ": stop the container before removing or force remove"
                if doing == PAUSED:
                    advice = " and must be unpaused first"
                raise ConflictError(f'cannot remove container "{name}": container is {doing}{advice}')
            container.state.stopped_by_user = True
            container.notify()
            if container.is_running:
                self.table.emit(container, "kill", signal=str(int(signal.SIGKILL)))
                await self.lifecycle.kill(container)
        if container.state.status == REMOVING and container.host.get("AutoRemove"):
            while container in self.table and container.state.status == REMOVING:
                await container.changed.wait()

    async def prune(self, filters: Filters, report: Report) -> dict[str, Any]:
        """Remove the stopped containers; return their IDs and the bytes freed."""
        check_known(filters, ("label", "label!", "until"))
        now_ns = time.time_ns()
        removed, freed = [], 0
        for container in self.table:
            if container.state.status not in (CREATED, EXITED, DEAD):
                continue
            if may_be_pruned(filters, container.labels, parse_rfc3339(container.created), now_ns):
                written = await self.sizes.written(container)
                if await self.remover.remove(container, False):
                    freed += written
                    removed.append(container.id)
                    report(container.id, DELETED)
        self.events.emit("container", "prune", "", {"reclaimed": str(freed)})
        return {"ContainersDeleted": removed or None, "SpaceReclaimed": freed}

    # --- views

    async def inspect(self, name: str, *, size: bool = False) -> dict[str, Any]:
        """Return the answer of "Inspect a container"."""
        container = self.find(name)
        document = inspection.whole(container, self.paths, self.networks, self._layers(container))
        if container.host.get("Links"):
            document["HostConfig"]["Links"] = links.shown(links.existing(container, self.table))
        return document | (await self.sizes.document(container) if size else {})

    def _layers(self, container: Container) -> builtins.list[Path]:
        try:
            return [*self.images.layer_places(self.images.resolve(container.image_id))]
        except NotFoundError:  # the image was removed by force
            return []

    async def list(
        self, *, stopped: bool = False, limit: int | None = None, filters: Filters | None = None, size: bool = False
    ) -> list[dict[str, Any]]:
        """Return the answer of "List containers": those that `filters` select, newest first."""
        rows = []
        by_links = links.names_by_links(self.table)
        image_names: dict[tuple[str, str], str] = {}  # many containers have the same image
        for number, container in enumerate(self.listing.find(stopped=stopped, limit=limit, filters=filters), 1):
            if not number % ROWS_AT_ONCE:
                await anyio.lowlevel.checkpoint()
            key = (container.image_name, container.image_id)
            if key not in image_names:
                image_names[key] = self._image_name(container)
            row = inspection.short(container, self.networks, image_names[key])
            row["Names"] += by_links.get(container.id, [])
            rows.append(row | (await self.sizes.document(container) if size else {}))
        return rows

    def _image_name(self, container: Container) -> str:
        """Return the name of the container's image; the image's ID if the name refers to another image now."""
        try:
            image = self.images.resolve(container.image_name)
        except NotFoundError:
            return container.image_id
        return container.image_name if image.id == container.image_id else container.image_id

    async def top(self, name: str, ps_arguments: str) -> dict[str, Any]:
        """Return the container's processes. Raises ConflictError if it is not running."""
        container = self.find(name)
        if not container.is_running:
            raise ConflictError(f"container {container.id} is not running")
        found = await usage.processes(self.paths.engine_id, container, ps_arguments)
        self.table.emit(container, "top")
        return found

    async def stats(self, name: str, *, stream: bool, one_shot: bool) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the container's statistics every second, or once without `stream`."""
        container = self.find(name)
        before: dict[str, Any] | None = None
        if not stream and not container.is_running and container.state.status != RESTARTING:
            yield usage.nothing(container)
            return
        while container in self.table:
            numbers = usage.NOTHING
            if container.is_running:
                with suppress(SkiffError):  # it has just exited
                    numbers = await self.keeper.stats(container.id)
            before = usage.statistics(container, numbers, before)
            if stream or one_shot or before["preread"][:4] != "0001" or not container.is_running:
                yield before
                if not stream:
                    return
            await anyio.sleep(1)

    def resize(self, name: str, height: int, width: int) -> None:
        """Set the size of the container's terminal."""
        container = self.find(name)
        if container.process is None:
            raise ConflictError(f"container {container.id} is not running")
        if "console" in container.process.fds:  # without one, as of Docker, nothing happens
            resize_console(container.process.fds["console"], height, width)
        self.table.emit(container, "resize", height=str(height), width=str(width))


def _without_old(before: Mapping[str, Any], after: Mapping[str, Any]) -> HostConfig:
    """Return HostConfig `after` with a rate of 0, none for the kernel, for each device that only `before` limits."""
    found: dict[str, Any] = dict(after)
    for key in THROTTLES:
        named = {entry["Path"] for entry in after.get(key) or ()}
        old = [{"Path": entry["Path"], "Rate": 0} for entry in before.get(key) or () if entry["Path"] not in named]
        found[key] = [*(after.get(key) or ()), *old]
    return cast(HostConfig, found)


@contextmanager
def _naming(what: str, kind: type[EngineError]) -> Iterator[None]:
    """Have an error of the block begin with `what` was asked for, as one of `kind`, where it is the request's."""
    try:
        yield
    except EngineError as error:
        if error.status >= InternalError.status:
            raise EngineError.from_status(error.status, f"{what}: {error.message}", error.hint) from error
        raise kind(f"{what}: {error.message}", error.hint) from error


def _stop_signal(container: Container, wanted: str | None) -> int:
    return signal_number(wanted or container.config.get("StopSignal") or "SIGTERM")


def _stop_timeout_s(container: Container, wanted_s: float | None) -> float:
    configured_s = container.config.get("StopTimeout") if wanted_s is None else wanted_s
    return STOP_TIMEOUT_S if configured_s is None else configured_s
