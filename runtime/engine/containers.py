"""Containers as the Docker Engine API knows them: made, found, listed, looked into, removed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread

from runtime.container.logs import STDERR, STDIN, STDOUT, LogReader, Selection, select
from runtime.container.spec import capabilities, command, merge_image
from runtime.engine import inspection, names, usage
from runtime.engine.attachment import Attachment, LogFrame
from runtime.engine.filters import labels_match
from runtime.engine.lifecycle import STOP_TIMEOUT_S, Lifecycle, port_bindings
from runtime.engine.limits import settled
from runtime.engine.state import CREATED, DEAD, EXITED, PAUSED, REMOVING, RESTARTING, RUNNING, Container, rfc3339
from runtime.errors import BadRequestError, ConflictError, InternalError, NotFoundError, NotModifiedError, SkiffError

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Containers(Lifecycle):
    """The containers of one engine. Names and IDs may be given whole, IDs by their beginning."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._containers: dict[str, Container] = {id: Container.of(document) for id, document in self._rows.items()}

    def all(self) -> list[Container]:
        """Return every container."""
        return list(self._containers.values())

    def get(self, id: str) -> Container | None:
        """Return the container of a full ID, or None."""
        return self._containers.get(id)

    def find(self, name: str) -> Container:
        """Return the container that `name` means. Raises NotFoundError."""
        if name in self._containers:
            return self._containers[name]
        plain = name.removeprefix("/")
        for container in self._containers.values():
            if container.name == plain:
                return container
        found = [container for id, container in self._containers.items() if name and id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise BadRequestError(f"multiple IDs found with provided prefix: {name}")
        raise NotFoundError(f"No such container: {name}")

    # --- made

    async def create(self, name: str | None, body: Mapping[str, Any], platform: str | None = None) -> dict[str, Any]:
        """Make a container (Docker Engine API, "Create a container"); returns its Id and Warnings."""
        image = self._images.resolve(body.get("Image") or "")
        host = dict(body.get("HostConfig") or {})
        config = merge_image(body, image.defaults)
        command(config)
        capabilities(host)
        port_bindings(host)
        _refuse_conflicts(body, host)
        host, warnings = await settled(self._paths.engine_id, host)
        id = secrets.token_hex(32)
        name = self._free_name(name)
        config["Hostname"] = config.get("Hostname") or ("" if host.get("NetworkMode") == "host" else id[:12])
        host.setdefault("NetworkMode", "default")
        directory = self._paths.container(id)
        await anyio.to_thread.run_sync(lambda: directory.mkdir(parents=True))
        created: list[str] = []
        try:
            mounts = await self._mounts(config, host, image, created)
            container = Container(
                id,
                name,
                image.id,
                body.get("Image") or "",
                rfc3339(time.time_ns()),
                config,
                host,
                self._wanted_networks(body, host, id),
                mounts,
            )
            for log in ("log.data", "log.index"):
                (directory / log).touch()
            self._rows.put(id, container.document(), name)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            for volume in created:
                with suppress(SkiffError):
                    self._volumes.remove(volume, [])
            raise
        self._containers[id] = container
        self.tell(container, "create")
        return {"Id": id, "Warnings": warnings}

    def _free_name(self, wanted: str | None) -> str:
        taken = {container.name: container for container in self._containers.values()}
        if wanted:
            if not _NAME.fullmatch(wanted):
                raise BadRequestError(f"Invalid container name ({wanted}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            wanted = wanted.removeprefix("/")
            if wanted in taken:
                raise ConflictError(
                    f'Conflict. The container name "/{wanted}" is already in use by container "{taken[wanted].id}". '
                    "You have to remove (or rename) that container to be able to reuse that name."
                )
            return wanted
        while (chosen := names.generate()) in taken:
            pass
        return chosen

    def _wanted_networks(self, body: Mapping[str, Any], host: Mapping[str, Any], id: str) -> dict[str, dict[str, Any]]:
        mode = host.get("NetworkMode") or "default"
        wanted = dict((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {})
        if mode in ("default", "bridge"):
            wanted = wanted or {"bridge": {}}
        elif mode not in ("host", "none") and not mode.startswith("container:") and mode not in wanted:
            named = {self._networks.resolve(key).id for key in wanted}
            if self._networks.resolve(mode).id not in named:
                wanted = {mode: {}, **wanted}
        if mode in ("host", "none"):
            wanted = {mode: {}}
        found = {}
        for name, settings in wanted.items():
            name = "bridge" if name == "default" else name
            found[self._networks.resolve(name).name] = dict(settings or {})
        if body.get("MacAddress") and found:
            next(iter(found.values())).setdefault("MacAddress", body["MacAddress"])
        return found

    async def _mounts(
        self, config: Mapping[str, Any], host: Mapping[str, Any], image: Any, created: list[str]
    ) -> list[dict[str, Any]]:
        """Return the container's mount points as Docker shows them; volumes are made, and filled from the image."""
        found: dict[str, dict[str, Any]] = {}
        for source in host.get("VolumesFrom") or ():
            other, _, mode = source.partition(":")
            for mount in self.find(other).mounts:
                found[mount["Destination"]] = {**mount, "RW": mount.get("RW", True) and mode != "ro"}
        for target in config.get("Volumes") or {}:
            found.setdefault(_target(target), {"Type": "volume", "Destination": _target(target), "RW": True})
        for text in host.get("Binds") or ():
            mount = _parse_bind(text)
            found[mount["Destination"]] = mount
        for wanted in host.get("Mounts") or ():
            mount = _parse_mount(wanted)
            found[mount["Destination"]] = mount
        for target, options in (host.get("Tmpfs") or {}).items():
            found[_target(target)] = {
                "Type": "tmpfs",
                "Destination": _target(target),
                "RW": True,
                "Options": _tmpfs_options([option for option in options.split(",") if option]),
            }
        for mount in found.values():
            if mount["Type"] == "bind":
                _check_bind(mount)
            elif mount["Type"] == "volume":
                await self._provide_volume(mount, image, created)
            mount.setdefault("Source", "")
            mount.setdefault("Mode", "" if mount.get("RW", True) else "ro")
            mount.setdefault("Propagation", "" if mount["Type"] != "bind" else "rprivate")
        return list(found.values())

    async def _provide_volume(self, mount: dict[str, Any], image: Any, created: list[str]) -> None:
        name = mount.get("Name")
        is_new = not name or not self._volumes.has(name)
        volume = self._volumes.create(name, labels=mount.pop("Labels", None), options=mount.pop("DriverOpts", None))
        if is_new:
            created.append(volume.name)
            self._events.emit("volume", "create", volume.name, {"driver": "local"})
        mount |= {"Name": volume.name, "Driver": "local", "Source": str(self._volumes.path(volume.name))}
        path = self._volumes.path(volume.name)
        if mount.pop("NoCopy", False) or not path.is_dir() or any(path.iterdir()):
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._scratch_root(image) as root:
                await self._keeper.task("copy_up", root, [descriptor], path=mount["Destination"])
        finally:
            os.close(descriptor)

    def _scratch_root(self, image: Any) -> Any:
        return _ScratchRoot(self._paths.tmp, [str(layer) for layer in self._images.layer_directories(image)])

    # --- moved

    async def stop_by_name(self, name: str, *, signal_name: str | None = None, timeout_s: int | None = None) -> None:
        """Stop a container. Raises NotModifiedError when it does not run."""
        container = self.find(name)
        if not container.is_running and container.state.status != RESTARTING:
            raise NotModifiedError(f"container {container.name} is stopped already")
        configured = container.config.get("StopTimeout")
        wanted = timeout_s if timeout_s is not None else configured
        chosen = signal_name or container.config.get("StopSignal") or "SIGTERM"
        await self.stop(container, signal_number(chosen), STOP_TIMEOUT_S if wanted is None else wanted)

    async def start_by_name(self, name: str) -> None:
        """Start a container. Raises NotModifiedError when it runs."""
        container = self.find(name)
        if container.is_running:
            raise NotModifiedError(f"container {container.name} is running already")
        if container.state.status in (REMOVING, DEAD):
            raise ConflictError(f"container {container.name} is marked for removal and cannot be started")
        container.state.restart_count = 0
        await self.start(container)

    async def restart(self, name: str, *, signal_name: str | None = None, timeout_s: int | None = None) -> None:
        """Stop the container if it runs, and start it."""
        with suppress(NotModifiedError):
            await self.stop_by_name(name, signal_name=signal_name, timeout_s=timeout_s)
        await self.start(self.find(name))
        self.tell(self.find(name), "restart")

    async def kill(self, name: str, signal_name: str | None) -> None:
        """Send a signal. Raises ConflictError when the container does not run."""
        container = self.find(name)
        number = signal_number(signal_name or "SIGKILL")
        if not container.is_running:
            raise ConflictError(f"cannot kill container: {name}: container {container.id} is not running")
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            # Docker: who kills by hand does not want it back
            container.state.stopped_by_user = True
        self.tell(container, "kill", signal=str(number))
        if container.state.status == PAUSED and number == signal.SIGKILL:
            await self._keeper.freeze(container.id, False)
        await self._keeper.signal(container.id, number)
        if number == signal.SIGKILL:
            await self.wait_until_stopped(container)

    async def pause(self, name: str, frozen: bool) -> None:
        """Freeze or thaw every process of the container."""
        container = self.find(name)
        if not container.is_running:
            raise ConflictError(f"Container {container.id} is not running")
        if (container.state.status == PAUSED) == frozen:
            raise ConflictError(f"Container {container.id} is {'already' if frozen else 'not'} paused")
        await self._keeper.freeze(container.id, frozen)
        container.state.status = PAUSED if frozen else RUNNING
        self.save(container)
        self.tell(container, "pause" if frozen else "unpause")

    def rename(self, name: str, wanted: str) -> None:
        """Give the container another name."""
        container = self.find(name)
        old, container.name = container.name, self._free_name(wanted)
        self.save(container)
        self.tell(container, "rename", oldName=f"/{old}")

    async def update(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change limits and restart policy."""
        from runtime.container.resources import resources

        container = self.find(name)
        changed = {**container.host, **{key: value for key, value in body.items() if value}}
        container.host, warnings = await settled(self._paths.engine_id, changed)
        if container.is_running:
            # the rules on devices, which a privileged one has none of, stay
            await self._keeper.update(container.id, resources(container.host, privileged=True))
        self.save(container)
        self.tell(container, "update")
        return {"Warnings": warnings}

    async def wait(self, name: str, condition: str) -> dict[str, Any]:
        """Return the exit code when the container stops ("not-running", "next-exit") or is gone ("removed")."""
        container = self.find(name)
        if condition == "next-exit" and not container.is_running:
            while not container.is_running:
                await container.changed.wait()
        while container.is_running or (container.state.status == RESTARTING and not container.state.stopped_by_user):
            await container.changed.wait()
        if condition == "removed":
            while container.id in self._containers:
                await container.changed.wait()
        answer: dict[str, Any] = {"StatusCode": container.state.exit_code}
        if container.state.error:
            answer["Error"] = {"Message": container.state.error}
        return answer

    async def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container. Raises ConflictError when it runs and `force` is not set."""
        container = self.find(name)
        if container.is_running or container.state.status == RESTARTING:
            if not force:
                raise ConflictError(
                    f'cannot remove container "/{container.name}": container is running: stop the container before '
                    "removing or force remove"
                )
            container.state.stopped_by_user = True
            container.notify()
            if container.is_running:
                if container.state.status == PAUSED:
                    await self._keeper.freeze(container.id, False)
                await self._keeper.signal(container.id, signal.SIGKILL)
                await self.wait_until_stopped(container)
        if container.state.status == REMOVING and container.host.get("AutoRemove"):
            while container.id in self._containers:
                await container.changed.wait()
            return
        await self.remove_files(container, volumes=volumes)

    async def remove_files(self, container: Container, *, volumes: bool) -> None:
        """Remove what a stopped container left: first its row, so that a crash leaves only files to sweep."""
        if container.id not in self._containers:
            return
        container.state.status = REMOVING
        self._rows.delete(container.id)
        del self._containers[container.id]
        with anyio.CancelScope(shield=True):
            if self._networks.namespace(container.id).exists():  # kept for the sake of who shared it
                await self._networks.close_namespace(container.id)
            await anyio.to_thread.run_sync(shutil.rmtree, self._paths.container(container.id), True)
            if volumes:
                for mount in container.mounts:
                    name = mount.get("Name")
                    if name and self._volumes.has(name) and _is_anonymous(self._volumes.get(name).labels):
                        with suppress(SkiffError):
                            self._volumes.remove(name, self.users_of(name))
        self.tell(container, "destroy")
        container.notify()

    def users_of(self, volume: str) -> list[str]:
        """Return the IDs of the containers that have the volume."""
        return [c.id for c in self._containers.values() if any(m.get("Name") == volume for m in c.mounts)]

    def user_of_image(self, image_id: str) -> str | None:
        """Return the name of a container of the image, or None."""
        return next((c.name for c in self._containers.values() if c.image_id == image_id), None)

    # --- seen

    def inspect(self, name: str) -> dict[str, Any]:
        """Return Docker's whole view of a container."""
        return inspection.whole(self.find(name), self._paths, self._networks, self._images)

    def list(
        self,
        *,
        all: bool = False,
        limit: int | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> list[dict[str, Any]]:
        """Return Docker's short view of the containers that `filters` let through, the newest first."""
        filters = filters or {}
        found = sorted(self._containers.values(), key=lambda container: container.created, reverse=True)
        if not all and not filters.get("status"):
            found = [container for container in found if container.is_running or container.state.status == RESTARTING]
        found = [container for container in found if self._passes(container, filters)]
        return [
            inspection.short(container, self._networks)
            for container in (found[:limit] if limit and limit > 0 else found)
        ]

    def _passes(self, container: Container, filters: Mapping[str, Sequence[str]]) -> bool:
        for key, values in filters.items():
            if not values:
                continue
            if key == "label":
                passed = labels_match(container.labels, values)
            elif key == "status":
                passed = container.state.status in values
            elif key == "name":
                passed = any(re.search(value, f"/{container.name}") for value in values)
            elif key == "id":
                passed = any(container.id.startswith(value) for value in values)
            elif key == "ancestor":
                passed = any(self._is_of_image(container, value) for value in values)
            elif key == "exited":
                passed = container.state.status == EXITED and str(container.state.exit_code) in values
            elif key == "health":
                passed = (container.health.status if container.health else "none") in values
            elif key == "network":
                ids = {self._networks.resolve(name).id for name in container.networks}
                passed = any(value in container.networks or value in ids for value in values)
            elif key == "volume":
                passed = any(value in (m.get("Name"), m["Destination"]) for m in container.mounts for value in values)
            else:
                raise BadRequestError(f"invalid filter '{key}'")
            if not passed:
                return False
        return True

    def _is_of_image(self, container: Container, name: str) -> bool:
        try:
            return self._images.resolve(name).id == container.image_id
        except NotFoundError:
            return False

    # --- streams

    async def logs(
        self,
        name: str,
        *,
        stdout: bool = True,
        stderr: bool = True,
        follow: bool = False,
        since_ns: int = 0,
        until_ns: int = 0,
        timestamps: bool = False,
        tail: int | None = None,
    ) -> AsyncGenerator[LogFrame, None]:
        """Yield the container's output in big pieces; with `follow` until the container stops."""
        container = self.find(name)
        streams = frozenset({STDIN} | ({STDOUT} if stdout else set()) | ({STDERR} if stderr else set()))
        selection = Selection(streams, since_ns, until_ns, tail, timestamps)
        async for frame in self._read_log(container, selection, follow):
            yield frame

    async def _read_log(
        self, container: Container, selection: Selection, follow: bool
    ) -> AsyncGenerator[LogFrame, None]:
        directory = self._paths.container(container.id)
        if not (directory / "log.data").exists():
            return
        reader = LogReader(directory)
        try:
            written = container.written
            is_live = container.log is not None or container.is_running
            seen = 0
            while True:
                chunks = reader.chunks(seen)
                for stream, data in select(reader, chunks, selection):
                    yield LogFrame(stream, data)
                    await anyio.lowlevel.checkpoint()
                if chunks:
                    seen = chunks[-1].end
                selection = Selection(
                    selection.streams, selection.since_ns, selection.until_ns, None, selection.timestamps
                )
                if not follow or (not is_live and not chunks):
                    return
                if is_live:
                    await written.wait()
                written = container.written
                is_live = container.log is not None or container.is_running
        finally:
            reader.close()

    def attach(self, name: str, *, stdin: bool, stdout: bool, stderr: bool, stream: bool, logs: bool) -> Attachment:
        """Hold the container's streams, also of one that is not started yet."""
        container = self.find(name)
        streams = frozenset({STDIN} | ({STDOUT} if stdout else set()) | ({STDERR} if stderr else set()))
        self.tell(container, "attach")

        async def stdin_of() -> int | None:
            while container.state.status == CREATED and container.id in self._containers:
                await container.changed.wait()  # clients attach, and may write, before they start it
            process = container.process
            if process is None or not stdin:
                return None
            return process.fds.get("console", process.fds.get("stdin"))

        return Attachment(
            tty=container.tty,
            frames=self._live(container, streams, logs)
            if stream
            else self._read_log(container, Selection(streams), False),
            stdin=stdin_of,
            close_stdin=partial(self._close_stdin, container),
        )

    async def _close_stdin(self, container: Container) -> None:
        """End the process's standard input, where the container was made to have it end with its first client."""
        while container.state.status == CREATED and container.id in self._containers:
            await container.changed.wait()
        process = container.process
        if process is None or "stdin" not in process.fds or not container.config.get("StdinOnce"):
            return
        os.close(process.fds.pop("stdin"))  # type: ignore[attr-defined]
        await self._keeper.close_stdin(container.id)

    async def _live(
        self, container: Container, streams: frozenset[int], from_beginning: bool
    ) -> AsyncGenerator[LogFrame, None]:
        """Yield what the container writes from now on, until the process that runs, or is started next, ends."""
        reader = LogReader(self._paths.container(container.id))
        try:
            seen = 0 if from_beginning else os.fstat(reader.descriptor).st_size
            while not container.is_running and container.log is None:
                was_started = container.state.finished_at > container.created
                if was_started or container.state.error or container.id not in self._containers:
                    break
                await container.changed.wait()
            while True:
                written, is_live = container.written, container.log is not None or container.is_running
                chunks = reader.chunks(seen)
                for stream, data in select(reader, chunks, Selection(streams)):
                    yield LogFrame(stream, data)
                if chunks:
                    seen = chunks[-1].end
                elif not is_live:
                    return
                else:
                    await written.wait()
        finally:
            reader.close()

    async def top(self, name: str, _ps_args: str) -> dict[str, Any]:
        """Return the container's processes. Raises ConflictError when it does not run."""
        container = self.find(name)
        if not container.is_running:
            raise ConflictError(f"container {container.id} is not running")
        return usage.processes(self._paths.engine_id, container)

    async def stats(self, name: str, *, stream: bool, one_shot: bool) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the container's statistics each second; once without `stream`."""
        container = self.find(name)
        before: dict[str, Any] | None = None
        while True:
            numbers = await self._keeper.stats(container.id) if container.is_running else usage.NOTHING
            before = usage.statistics(container, numbers, before)
            if stream or one_shot or before["preread"][:4] != "0001" or not container.is_running:
                yield before
                if not stream:
                    return
            await anyio.sleep(1)

    def resize(self, name: str, height: int, width: int) -> None:
        """Tell the container's terminal its size."""
        container = self.find(name)
        if container.process is None or "console" not in container.process.fds:
            raise ConflictError(f"container {container.name} has no terminal that runs")
        resize_console(container.process.fds["console"], height, width)

    # --- files

    async def archive_stat(self, name: str, path: str) -> dict[str, Any]:
        """Return Docker's description of a path in the container."""
        with self._root_of(self.find(name)) as root:
            try:
                found: dict[str, Any] = await self._keeper.task("stat", root, path=_absolute(path))
            except InternalError as error:
                raise NotFoundError(f"Could not find the file {path} in container {name}") from error
        found["mode"] = _go_mode(found["mode"])
        found["mtime"] = rfc3339(int(found["mtime"] * 1e9))
        return found

    async def archive_get(self, name: str, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a tar stream of a path in the container."""
        await self.archive_stat(name, path)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        try:
            with self._root_of(self.find(name)) as root:
                async with anyio.create_task_group() as group:

                    async def produce() -> None:
                        try:
                            await self._keeper.task("tar_out", root, [writer], path=_absolute(path))
                        finally:
                            os.close(writer)

                    group.start_soon(produce)
                    while True:
                        await anyio.wait_readable(reader)
                        data = os.read(reader, 1 << 16)
                        if not data:
                            break
                        yield data
        finally:
            os.close(reader)

    async def archive_put(
        self, name: str, path: str, source: AsyncIterator[bytes], *, no_overwrite_dir_non_dir: bool = False
    ) -> None:
        """Unpack a tar stream into a directory of the container."""
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._paths.tmp) as spool, self._root_of(self.find(name)) as root:
            async for data in source:
                spool.write(data)
            spool.flush()
            spool.seek(0)
            await self._keeper.task(
                "tar_in",
                root,
                [spool.fileno()],
                path=_absolute(path),
                no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
            )

    def _root_of(self, container: Container) -> Any:
        if container.is_running:
            return _LiveRoot(container.id)
        directory = self._paths.container(container.id)
        for part in ("upper", "work"):
            (directory / part).mkdir(exist_ok=True)
        image = self._images.resolve(container.image_id)
        layers = [str(layer) for layer in self._images.layer_directories(image)]
        return _ScratchRoot(self._paths.tmp, layers, directory)


class _LiveRoot:
    """A running container's own root."""

    def __init__(self, id: str) -> None:
        self._id = id

    def __enter__(self) -> dict[str, Any]:
        return {"container": self._id}

    def __exit__(self, *_: object) -> None:
        return


class _ScratchRoot:
    """A root put together for one task: layers, and the changes of a stopped container."""

    def __init__(self, tmp: Path, layers: Sequence[str], container: Path | None = None) -> None:
        tmp.mkdir(parents=True, exist_ok=True)
        self._directory = Path(tempfile.mkdtemp(dir=tmp, prefix="root-"))
        self._layers = list(layers)
        self._container = container

    def __enter__(self) -> dict[str, Any]:
        upper, work = self._directory / "upper", self._directory / "work"
        if self._container is not None:
            upper, work = self._container / "upper", self._container / "work"
        else:
            upper.mkdir()
            work.mkdir()
        (self._directory / "root").mkdir()
        return {
            "mountpoint": str(self._directory / "root"),
            "lower": self._layers,
            "upper": str(upper),
            "work": str(work),
        }

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def signal_number(name: str) -> int:
    """Return the number of a signal by name ("SIGTERM", "TERM") or number. Raises BadRequestError."""
    text = str(name).upper()
    if text.isdigit() and 0 < int(text) <= signal.SIGRTMAX:
        return int(text)
    full = text if text.startswith("SIG") else f"SIG{text}"
    if full.startswith("SIGRTMIN+") and full[9:].isdigit():
        return int(signal.SIGRTMIN) + int(full[9:])
    try:
        return int(signal.Signals[full])
    except KeyError:
        raise BadRequestError(f"Invalid signal: {name}") from None


def resize_console(console: int, height: int, width: int) -> None:
    """Set a terminal's size in rows and columns."""
    import fcntl
    import struct
    import termios

    fcntl.ioctl(console, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))


def _target(path: str) -> str:
    if not path.startswith("/"):
        raise BadRequestError(f"invalid mount path: {path!r}: mount path must be absolute")
    return os.path.normpath(path)


def _absolute(path: str) -> str:
    ends_with_dot = path.endswith(("/", "/."))
    normal = os.path.normpath("/" + path)
    return normal + "/." if ends_with_dot and normal != "/" else normal


def _refuse_conflicts(body: Mapping[str, Any], host: Mapping[str, Any]) -> None:
    """Refuse what can't be had in another container's network namespace, where that one's word holds."""
    if not (host.get("NetworkMode") or "").startswith("container:"):
        return
    asked = {
        "port publishing": host.get("PortBindings") or host.get("PublishAllPorts"),
        "hostname": body.get("Hostname"),
        "dns": host.get("Dns"),
        "custom host-to-IP mapping": host.get("ExtraHosts"),
        "mac-address": body.get("MacAddress"),
    }
    for what, value in asked.items():
        if value:
            raise BadRequestError(
                f"conflicting options: {what} and the container type network mode",
                "set it on the container whose network is shared",
            )


def _is_anonymous(labels: Mapping[str, str]) -> bool:
    return "com.docker.volume.anonymous" in labels


def _parse_bind(text: str) -> dict[str, Any]:
    parts = text.split(":")
    if len(parts) == 1:
        return {"Type": "volume", "Destination": _target(parts[0]), "RW": True}
    if len(parts) > 3:
        raise BadRequestError(f"invalid volume specification: {text!r}", "write SOURCE:TARGET[:MODE]")
    source, target, options = parts[0], _target(parts[1]), (parts[2].split(",") if len(parts) == 3 else [])
    mount = {"Destination": target, "RW": "ro" not in options, "Mode": ",".join(options)}
    if source.startswith("/"):
        propagation = next((o for o in options if o.lstrip("r") in ("shared", "slave", "private")), "rprivate")
        return {**mount, "Type": "bind", "Source": source, "Propagation": propagation, "Create": True}
    return {**mount, "Type": "volume", "Name": source, "NoCopy": "nocopy" in options}


def _parse_mount(wanted: Mapping[str, Any]) -> dict[str, Any]:
    kind = wanted.get("Type") or "volume"
    mount: dict[str, Any] = {
        "Type": kind,
        "Destination": _target(wanted.get("Target") or ""),
        "RW": not wanted.get("ReadOnly"),
    }
    if kind == "bind":
        options = wanted.get("BindOptions") or {}
        return mount | {
            "Source": wanted.get("Source") or "",
            "Propagation": options.get("Propagation") or "rprivate",
            "Create": bool(options.get("CreateMountpoint")),
        }
    if kind == "volume":
        options = wanted.get("VolumeOptions") or {}
        driver = options.get("DriverConfig") or {}
        return mount | {
            "Name": wanted.get("Source") or "",
            "NoCopy": bool(options.get("NoCopy")),
            "Subpath": options.get("Subpath") or "",
            "Labels": options.get("Labels"),
            "DriverOpts": driver.get("Options"),
        }
    if kind == "tmpfs":
        options = wanted.get("TmpfsOptions") or {}
        chosen = []
        if options.get("SizeBytes"):
            chosen.append(f"size={options['SizeBytes']}")
        if options.get("Mode"):
            chosen.append(f"mode={options['Mode']:o}")
        return mount | {"Options": _tmpfs_options(chosen)}
    raise BadRequestError(f"mount type {kind!r} is not known", "known: bind, volume, tmpfs")


def _tmpfs_options(options: Sequence[str]) -> list[str]:
    """Return mount options with Docker's defaults, where they do not say otherwise."""
    chosen = list(options)
    for default, opposite in (("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")):
        if opposite not in chosen and default not in chosen:
            chosen.append(default)
    return chosen


def _check_bind(mount: dict[str, Any]) -> None:
    source = mount["Source"]
    create = mount.pop("Create", False)
    if not source.startswith("/"):
        raise BadRequestError(
            f"invalid mount config for type \"bind\": invalid mount path: '{source}' must be absolute"
        )
    if not os.path.lexists(source):
        if not create:
            raise BadRequestError(
                f'invalid mount config for type "bind": bind source path does not exist: {source}',
                "make it, or let it be made (bind: create_host_path: true)",
            )
        os.makedirs(source, exist_ok=True)


def _go_mode(mode: int) -> int:
    """Return a file mode in the bits of Go's os.FileMode, which the API speaks."""
    found = stat.S_IMODE(mode) & 0o777
    for bit, is_kind in (
        (31, stat.S_ISDIR),
        (27, stat.S_ISLNK),
        (26, stat.S_ISBLK),
        (25, stat.S_ISFIFO),
        (24, stat.S_ISSOCK),
    ):
        if is_kind(mode):
            found |= 1 << bit
    if stat.S_ISCHR(mode):
        found |= 1 << 26 | 1 << 21
    for flag, bit in ((stat.S_ISUID, 23), (stat.S_ISGID, 22), (stat.S_ISVTX, 20)):
        if mode & flag:
            found |= 1 << bit
    return found
