"""Carries out single operations of a plan through the engine's API."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from compose.execute.build import BuildOptions, build_image
from compose.execute.conditions import wait_completed, wait_healthy
from compose.execute.content import inject
from compose.execute.files import file_mounts, security_options
from compose.execute.hooks import POST_START, PRE_STOP, run_hooks
from compose.plan.container_body import container_body
from compose.plan.operations import Kind, Operation
from compose.plan.project import DesiredProject, EngineState, container_name, image_name
from compose.plan.resources import network_body, volume_body
from compose.render.progress import Progress
from runtime.client import Client, Endpoint
from runtime.errors import ConflictError, NotFoundError, NotModifiedError, SkiffError


class StillUsedError(Exception):
    """Raised for a resource that others still use: it stays, which is not a failure."""


class StoppedError(SkiffError):
    """Raised after cancellation: no further operation starts."""


class Executor:
    """Performs operations of one project; safe from several threads, each with a connection of its own.

    With `dry_run` it only reports what it would do. After `cancel` it starts nothing more.
    """

    def __init__(
        self,
        where: Endpoint,
        target: DesiredProject,
        observed: EngineState,
        progress: Progress,
        *,
        stop_timeout_s: int | None = None,
        remove_volumes: bool = False,
        build: BuildOptions | None = None,
        dry_run: bool = False,
    ) -> None:
        self._where = where
        self._target = target
        self._progress = progress
        self._stop_timeout_s = stop_timeout_s
        self._remove_volumes = remove_volumes
        self._build_options = build or BuildOptions()
        self._dry_run = dry_run
        self.observed = observed
        self._cancelled = threading.Event()
        self._local = threading.local()
        self.images = dict(observed.images)
        self._existing = {container.id: container for container in observed.containers}
        self._ids: dict[tuple[str, int], str] = {
            (container.service, container.number): container.id
            for container in observed.containers
            if not container.is_oneoff
        }

    @property
    def client(self) -> Client:
        """The calling thread's client."""
        found: Client | None = getattr(self._local, "client", None)
        if found is None:
            found = self._local.client = Client(self._where)
        return found

    def cancel(self) -> None:
        """Begin nothing any more."""
        self._cancelled.set()

    def perform(self, operation: Operation) -> None:
        """Carry out one operation. Raises SkiffError; StoppedError after `cancel`."""
        if self._cancelled.is_set():
            raise StoppedError("stopped before the end")
        if operation.kind is Kind.AWAIT:
            if not self._dry_run:
                self._await(operation)
            return
        if operation.kind is Kind.STOP and not operation.detail.get("is_running"):
            return
        self._progress.begin(operation.kind.value, operation.name)
        action = {
            Kind.CREATE_NETWORK: self._create_network,
            Kind.REMOVE_NETWORK: self._remove_network,
            Kind.CREATE_VOLUME: self._create_volume,
            Kind.REMOVE_VOLUME: self._remove_volume,
            Kind.REMOVE_IMAGE: self._remove_image,
            Kind.PULL: self._pull,
            Kind.BUILD: self._build,
            Kind.CREATE: self._create,
            Kind.RECREATE: self._recreate,
            Kind.START: self._start,
            Kind.STOP: self._stop,
            Kind.REMOVE: self._remove,
        }[operation.kind]
        try:
            if not self._dry_run:
                action(operation)
        except StillUsedError:
            self._progress.fail(operation.kind.value, operation.name, "Resource is still in use")
            return
        except SkiffError as error:
            self._progress.fail(operation.kind.value, operation.name)
            raise _about(operation, error) from error
        except BaseException:
            self._progress.fail(operation.kind.value, operation.name)
            raise
        self._progress.end(operation.kind.value, operation.name)

    # --- networks, volumes, images

    def _create_network(self, operation: Operation) -> None:
        self.client.create_network(network_body(self._target, operation.detail["key"]))

    def _remove_network(self, operation: Operation) -> None:
        try:
            self.client.remove_network(operation.detail["id"])
        except NotFoundError:
            return
        except SkiffError as error:
            if "active endpoints" in str(error) and not operation.detail.get("must"):
                raise StillUsedError from error
            raise

    def _create_volume(self, operation: Operation) -> None:
        self.client.create_volume(volume_body(self._target, operation.detail["key"]))

    def _remove_volume(self, operation: Operation) -> None:
        try:
            self.client.remove_volume(operation.name)
        except NotFoundError:
            return
        except ConflictError as error:
            if operation.detail.get("must"):
                raise
            raise StillUsedError from error

    def _remove_image(self, operation: Operation) -> None:
        try:
            self.client.remove_image(operation.name)
        except NotFoundError:
            return
        except ConflictError as error:
            raise StillUsedError from error

    def _pull(self, operation: Operation) -> None:
        platform = self._target.services[operation.service].get("platform") if operation.service else None
        for _ in self.client.pull(operation.name, platform):
            pass
        self.images[operation.name] = self.client.image(operation.name)["Id"]

    def _build(self, operation: Operation) -> None:
        image_id = build_image(
            self.client,
            self._target,
            operation.service,
            lambda line: self._progress.output("build", operation.name, operation.service, line),
            self._build_options,
        )
        self.images[operation.name] = image_id

    # --- containers

    def _container_of(self) -> Mapping[str, str]:
        return {service: id for (service, number), id in sorted(self._ids.items(), reverse=True)}

    def _body(self, operation: Operation, inherited: list[dict[str, Any]], replaces: str = "") -> dict[str, Any]:
        name = operation.service
        image = image_name(self._target, name)
        if image not in self.images:
            self.images[image] = self.client.image(image)["Id"]
        return container_body(
            self._target,
            name,
            operation.detail["number"],
            image_id=self.images[image],
            replaces=replaces,
            files=list(file_mounts(self._target, name)),
            security=security_options(self._target, name),
            inherited=inherited,
            container_of=self._container_of(),
        )

    def _create(self, operation: Operation) -> None:
        name = container_name(self._target, operation.service, operation.detail["number"])
        id = self._make(self._body(operation, []), operation.service, name)
        self._ids[operation.service, operation.detail["number"]] = id

    def _make(self, body: Mapping[str, Any], service: str, name: str) -> str:
        """Create a container with what is written into it; one that lacks that does not stay."""
        made = self.client.create_container(body, name=name)
        id: str = made["Id"]
        for warning in made.get("Warnings") or ():
            self._progress.line(f" Container {name}  Warning: {warning}")
        try:
            inject(self.client, self._target, service, id)
        except BaseException:
            self.client.remove(id, force=True, volumes=False)
            raise
        return id

    def _recreate(self, operation: Operation) -> None:
        old_id = operation.detail["id"]
        old = self.client.container(old_id)
        inherited = _anonymous_volumes(old, self._target, operation.service) if operation.detail["inherit"] else []
        body = self._body(operation, inherited, old_id)
        name = container_name(self._target, operation.service, operation.detail["number"])
        # under another name until the old one is gone: what fails before leaves that as it was
        created = self._make(body, operation.service, f"{old_id[:12]}_{name}")
        try:
            if old["State"]["Running"]:
                self._stop_container(old_id, operation.service, operation.name)
            self.client.remove(old_id, force=True)
        except BaseException:
            self.client.remove(created, force=True)
            raise
        self.client.rename(created, name)
        self._ids[operation.service, operation.detail["number"]] = created

    def _start(self, operation: Operation) -> None:
        id = self._ids[operation.service, operation.detail["number"]]
        try:
            self.client.start(id)
        except NotModifiedError:
            return
        self._hooks(POST_START, operation.service, id, operation.name)

    def _hooks(self, phase: str, service: str, id: str, name: str) -> None:
        run_hooks(
            self.client,
            self._target.services.get(service) or {},
            phase,
            id,
            name,
            lambda line: self._progress.line(f" {name} {phase} | {line}"),
        )

    def _stop_container(self, id: str, service: str, name: str) -> None:
        self._hooks(PRE_STOP, service, id, name)
        try:
            self.client.stop(id, self._stop_timeout_s)
        except (NotModifiedError, NotFoundError):
            return

    def _stop(self, operation: Operation) -> None:
        self._stop_container(operation.detail["id"], operation.service, operation.name)

    def _remove(self, operation: Operation) -> None:
        id = operation.detail["id"]
        if self._existing.get(id) is None or self._existing[id].is_alive:
            # after a "stop" of the same plan the container does not run: the hooks find that out
            self._stop_container(id, operation.service, operation.name)
        try:
            self.client.remove(id, force=True, volumes=self._remove_volumes)
        except NotFoundError:
            return

    def _await(self, operation: Operation) -> None:
        condition = operation.detail.get("condition")
        if condition not in ("service_healthy", "service_completed_successfully"):
            return
        names = [id for (service, _), id in self._ids.items() if service == operation.service]
        if not names and operation.detail.get("required", True):
            raise SkiffError(f"{operation.detail.get('dependant')} is missing dependency {operation.service}")
        shown = [self.client.container(id)["Name"].removeprefix("/") for id in names]
        try:
            for name in shown:
                self._progress.state("Container", name, "Waiting")
            if condition == "service_healthy":
                wait_healthy(
                    self.client,
                    shown,
                    needs_check=True,
                    tell=lambda name, state: self._progress.state("Container", name, state),
                )
            else:
                for name in shown:
                    wait_completed(self.client, name)
                    self._progress.state("Container", name, "Exited")
        except SkiffError as error:
            if not operation.detail.get("required", True):
                self._progress.line(f" optional dependency {operation.service} failed: {error.message}")
                return
            dependant = operation.detail.get("dependant")
            raise SkiffError(f"dependency {operation.service} of {dependant} failed to start: {error}") from error


def _about(operation: Operation, error: SkiffError) -> SkiffError:
    """Return `error` with what it is about: the service, and the object that was worked on."""
    what = {Kind.PULL: f"image {operation.name}", Kind.BUILD: "build"}.get(operation.kind, operation.name)
    about = f"service {operation.service!r}: " if operation.service else ""
    if about and error.message.startswith(about):
        return error
    return SkiffError(f"{about}{what}: {error.message}", error.hint)


def _anonymous_volumes(old: Mapping[str, Any], target: DesiredProject, service: str) -> list[dict[str, Any]]:
    """Return mounts that take over the anonymous volumes of the container that is replaced."""
    mounts = target.services[service].get("volumes") or ()
    declared = {mount["target"] for mount in mounts if mount.get("source") or mount.get("type") != "volume"}
    return [
        {"Type": "volume", "Source": mount["Name"], "Target": mount["Destination"], "ReadOnly": not mount["RW"]}
        for mount in old.get("Mounts") or ()
        if mount["Type"] == "volume" and len(mount.get("Name") or "") == 64 and mount["Destination"] not in declared
    ]
