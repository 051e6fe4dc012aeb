"""Containers as the Docker Engine API knows them: made, changed, waited for, removed; their other rooms by name."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread

from runtime.container.resources import resources
from runtime.container.spec import capabilities, command, merge_image
from runtime.engine import checks, inspection, names, usage
from runtime.engine.files import Files
from runtime.engine.filters import Filters, check_known, may_be_pruned
from runtime.engine.lifecycle import STOP_TIMEOUT_S, Lifecycle
from runtime.engine.limits import MachineLimits
from runtime.engine.listing import Listing
from runtime.engine.mounts import Mounts
from runtime.engine.networking import ContainerNetworks, port_bindings
from runtime.engine.removal import Removal
from runtime.engine.signals import resize_console, signal_number
from runtime.engine.sizes import Sizes
from runtime.engine.state import CREATED, DEAD, EXITED, PAUSED, REMOVING, RESTARTING, RUNNING, Container
from runtime.engine.streams import Streams
from runtime.engine.table import ContainerTable
from runtime.engine.times import parse_rfc3339, rfc3339
from runtime.errors import BadRequestError, ConflictError, InternalError, NotFoundError, NotModifiedError, SkiffError
from runtime.image.images import Image, Images
from runtime.keeper.client import Keeper
from runtime.network.networks import Networks
from runtime.paths import Paths
from runtime.volume.volumes import Volumes

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
WAIT_CONDITIONS = ("not-running", "next-exit", "removed")


class Containers:
    """The containers of one engine. Names and IDs may be given whole, IDs by their beginning."""

    def __init__(
        self,
        paths: Paths,
        table: ContainerTable,
        keeper: Keeper,
        images: Images,
        networks: Networks,
        volumes: Volumes,
        mounts: Mounts,
        networking: ContainerNetworks,
        lifecycle: Lifecycle,
        removal: Removal,
    ) -> None:
        self._paths = paths
        self._table = table
        self._keeper = keeper
        self._images = images
        self._networks = networks
        self._volumes = volumes
        self._mounts = mounts
        self._networking = networking
        self._lifecycle = lifecycle
        self._removal = removal
        self._limits = MachineLimits(paths.engine_id)
        self._listing = Listing(table, networks, images)
        self.streams = Streams(paths, table, keeper)
        self.files = Files(paths, images, keeper)
        self.sizes = Sizes(paths, images)

    def find(self, name: str) -> Container:
        """Return the container that `name` means. Raises NotFoundError."""
        return self._table.find(name)

    # --- made

    async def create(self, name: str | None, body: Mapping[str, Any], platform: str | None = None) -> dict[str, Any]:
        """Make a container (Docker Engine API, "Create a container"); returns its Id and Warnings."""
        host = dict(body.get("HostConfig") or {})
        checks.check_config(body)
        checks.check_host(host)
        checks.check_conflicts(body, host)
        image = self._images.resolve(body.get("Image") or "")
        checks.check_platform(image, body.get("Image") or "", platform)
        config = merge_image(body, image.defaults)
        command(config)
        capabilities(host)
        port_bindings(config, host)
        host, warnings = await self._limits.settle(host)
        id = secrets.token_hex(32)
        name = self._free_name(name)
        config["Hostname"] = config.get("Hostname") or ("" if host.get("NetworkMode") == "host" else id[:12])
        host.setdefault("NetworkMode", "default")
        directory = self._paths.container(id)
        directory.mkdir(parents=True)
        made: list[str] = []
        try:
            container = await self._make(id, name, image, body, config, host, made)
            for log in ("log.data", "log.index"):
                (directory / log).touch()
            self._table.add(container)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            for volume in made:
                with suppress(SkiffError):
                    self._volumes.remove(volume, [])
            raise
        self._table.tell(container, "create")
        return {"Id": id, "Warnings": warnings}

    async def _make(
        self,
        id: str,
        name: str,
        image: Image,
        body: Mapping[str, Any],
        config: dict[str, Any],
        host: dict[str, Any],
        made: list[str],
    ) -> Container:
        networks = self._wanted_networks(body, host)
        mounts = await self._mounts.provide(config, host, image, made)
        created = rfc3339(time.time_ns())
        return Container(id, name, image.id, body.get("Image") or "", created, config, host, networks, mounts)

    def _free_name(self, wanted: str | None) -> str:
        if wanted:
            if not _NAME.fullmatch(wanted):
                raise BadRequestError(f"Invalid container name ({wanted}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            wanted = wanted.removeprefix("/")
            if (holder := self._table.named(wanted)) is not None:
                raise ConflictError(
                    f'Conflict. The container name "/{wanted}" is already in use by container "{holder.id}". '
                    "You have to remove (or rename) that container to be able to reuse that name."
                )
            return wanted
        while self._table.named(chosen := names.generate()) is not None:
            pass
        return chosen

    def _wanted_networks(self, body: Mapping[str, Any], host: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the container's networks by name, with its settings on each; one that is missing is told at start."""
        mode = host.get("NetworkMode") or "default"
        wanted = dict((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {})
        if mode in ("default", "bridge"):
            wanted = wanted or {"bridge": {}}
        elif mode in ("host", "none"):
            wanted = {mode: {}}
        elif not mode.startswith("container:"):
            known = {self._network_name(key) for key in wanted}
            wanted = wanted if self._network_name(mode) in known else {mode: {}, **wanted}
        found = {}
        for name, settings in wanted.items():
            found[self._network_name("bridge" if name == "default" else name)] = dict(settings or {})
        if body.get("MacAddress") and found:
            next(iter(found.values())).setdefault("MacAddress", body["MacAddress"])
        return found

    def _network_name(self, name: str) -> str:
        try:
            return self._networks.resolve(name).name
        except NotFoundError:  # 404 would say that the image is missing
            return name

    # --- moved

    async def start(self, name: str) -> None:
        """Start a container. Raises NotModifiedError when it runs."""
        container = self.find(name)
        if container.is_running:
            raise NotModifiedError(f"container {container.name} is running already")
        if container.state.status in (REMOVING, DEAD):
            raise ConflictError(f"container {container.name} is marked for removal and cannot be started")
        container.state.restart_count, container.restart_delay_s = 0, 0.0
        await self._lifecycle.start(container)

    async def stop(self, name: str, *, signal_name: str | None = None, timeout_s: int | None = None) -> None:
        """Stop a container. Raises NotModifiedError when it does not run."""
        container = self.find(name)
        chosen = signal_number(signal_name or container.config.get("StopSignal") or "SIGTERM")
        if not container.is_running and container.state.status != RESTARTING:
            raise NotModifiedError(f"container {container.name} is stopped already")
        configured = container.config.get("StopTimeout")
        wanted = timeout_s if timeout_s is not None else configured
        await self._lifecycle.stop(container, chosen, STOP_TIMEOUT_S if wanted is None else wanted)

    async def restart(self, name: str, *, signal_name: str | None = None, timeout_s: int | None = None) -> None:
        """Stop the container if it runs, and start it."""
        container = self.find(name)
        container.stays = True
        try:
            with suppress(NotModifiedError):
                await self.stop(container.id, signal_name=signal_name, timeout_s=timeout_s)
        finally:
            container.stays = False
        await self._lifecycle.start(container)
        self._table.tell(container, "restart")

    async def kill(self, name: str, signal_name: str | None) -> None:
        """Send a signal. Raises ConflictError when the container does not run."""
        container = self.find(name)
        number = signal_number(signal_name or "SIGKILL")
        if not container.is_running:
            raise ConflictError(f"cannot kill container: {name}: container {container.id} is not running")
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            # Docker: who kills by hand does not want it back
            container.state.stopped_by_user = True
        self._table.tell(container, "kill", signal=str(number))
        if number == signal.SIGKILL:
            await self._lifecycle.kill(container)
        else:
            await self._keeper.signal(container.id, number)

    async def pause(self, name: str, frozen: bool) -> None:
        """Freeze or thaw every process of the container."""
        container = self.find(name)
        if not container.is_running:
            raise ConflictError(f"Container {container.id} is not running")
        if (container.state.status == PAUSED) == frozen:
            raise ConflictError(f"Container {container.id} is {'already' if frozen else 'not'} paused")
        await self._keeper.freeze(container.id, frozen)
        container.state.status = PAUSED if frozen else RUNNING
        self._table.save(container)
        self._table.tell(container, "pause" if frozen else "unpause")

    def rename(self, name: str, wanted: str) -> None:
        """Give the container another name."""
        container = self.find(name)
        if not wanted:
            raise BadRequestError("Neither old nor new names may be empty")
        if wanted.removeprefix("/") == container.name:
            raise BadRequestError("Renaming a container with the same name as its current name")
        old, container.name = container.name, self._free_name(wanted)
        self._table.save(container)
        self._table.tell(container, "rename", oldName=f"/{old}")

    async def update(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change limits and restart policy."""
        container = self.find(name)
        changed = {key: value for key, value in body.items() if value}
        if (changed.get("RestartPolicy") or {}).get("Name") and container.host.get("AutoRemove"):
            raise BadRequestError("Restart policy cannot be updated because AutoRemove is enabled for the container")
        checks.check_host({**container.host, **changed})
        host, warnings = await self._limits.settle({**container.host, **changed})
        if container.is_running:
            try:
                # the rules on devices, which a privileged one has none of, stay
                await self._keeper.update(container.id, resources(host, privileged=True))
            except InternalError as error:
                raise ConflictError(f"Cannot update container {container.id}: {error.message}", error.hint) from error
        container.host = host
        self._table.save(container)
        self._table.tell(container, "update")
        return {"Warnings": warnings}

    async def wait(self, name: str, condition: str) -> dict[str, Any]:
        """Return the exit code once the container does not run, at its next end, or when it is removed."""
        container = self.find(name)
        exits = container.exits

        def is_over() -> bool:
            if container not in self._table:
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

    # --- removed

    async def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container. Raises ConflictError when it runs and `force` is not set."""
        container = self.find(name)
        if container.is_running or container.state.status == RESTARTING:
            if not force:
                doing = "paused" if container.state.status == PAUSED else container.state.status
                raise ConflictError(
                    f'cannot remove container "/{container.name}": container is {doing}: stop the container before '
                    "removing or force remove"
                )
            container.state.stopped_by_user = True
            container.notify()
            if container.is_running:
                await self._lifecycle.kill(container)
        if container.state.status == REMOVING and container.host.get("AutoRemove"):
            while container in self._table and container.state.status == REMOVING:
                await container.changed.wait()
        await self._removal.remove(container, volumes)

    async def prune(self, filters: Filters) -> dict[str, Any]:
        """Remove the containers that do not run; returns which, and the bytes that they had."""
        check_known(filters, ("label", "label!", "until"))
        now_ns = time.time_ns()
        removed, freed = [], 0
        for container in self._table:
            if container.state.status not in (CREATED, EXITED, DEAD):
                continue
            if may_be_pruned(filters, container.labels, parse_rfc3339(container.created), now_ns):
                freed += await self.sizes.written(container)
                await self._removal.remove(container, False)
                removed.append(container.id)
        return {"ContainersDeleted": removed, "SpaceReclaimed": freed}

    # --- seen

    async def inspect(self, name: str, *, size: bool = False) -> dict[str, Any]:
        """Return Docker's whole view of a container."""
        container = self.find(name)
        document = inspection.whole(container, self._paths, self._networks)
        return document | (await self.sizes.document(container) if size else {})

    async def list(
        self, *, stopped: bool = False, limit: int | None = None, filters: Filters | None = None, size: bool = False
    ) -> list[dict[str, Any]]:
        """Return Docker's short view of the containers that `filters` let through, the newest first."""
        rows = []
        for container in self._listing.find(stopped=stopped, limit=limit, filters=filters):
            row = inspection.short(container, self._networks)
            rows.append(row | (await self.sizes.document(container) if size else {}))
        return rows

    async def top(self, name: str, ps_arguments: str) -> dict[str, Any]:
        """Return the container's processes. Raises ConflictError when it does not run."""
        container = self.find(name)
        if not container.is_running:
            raise ConflictError(f"container {container.id} is not running")
        return await usage.processes(self._paths.engine_id, container, ps_arguments)

    async def stats(self, name: str, *, stream: bool, one_shot: bool) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the container's statistics each second; once without `stream`."""
        container = self.find(name)
        before: dict[str, Any] | None = None
        while container in self._table:
            numbers = usage.NOTHING
            if container.is_running:
                with suppress(SkiffError):  # it ended this moment
                    numbers = await self._keeper.stats(container.id)
            before = usage.statistics(container, numbers, before)
            if stream or one_shot or before["preread"][:4] != "0001" or not container.is_running:
                yield before
                if not stream:
                    return
            await anyio.sleep(1)

    def resize(self, name: str, height: int, width: int) -> None:
        """Tell the container's terminal its size."""
        container = self.find(name)
        if container.process is None:
            raise ConflictError(f"container {container.id} is not running")
        if "console" not in container.process.fds:
            raise ConflictError(f"container {container.name} has no terminal")
        resize_console(container.process.fds["console"], height, width)
