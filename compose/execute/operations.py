"""Carries out single operations of a plan through the engine's API."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compose.events import (
    Advised,
    Emit,
    HookOutput,
    Note,
    StateChanged,
    StepBegan,
    StepEnded,
    StepFailed,
    StepMeasured,
    StepOutput,
)
from compose.execute.build_flags import BuildFlags
from compose.execute.conditions import wait_completed, wait_healthy
from compose.execute.content import inject
from compose.execute.files import file_mounts, make_bind_sources, security_options
from compose.execute.hooks import POST_START, PRE_STOP, run_hooks
from compose.execute.pre_start import run_pre_start
from compose.execute.transfer import measure
from compose.plan import operations as plan
from compose.plan.container_body import container_body
from compose.plan.endpoints import endpoint
from compose.plan.operations import Operation
from compose.plan.platforms import DEFAULT_PLATFORM, platform_of
from compose.plan.project import DesiredProject, EngineState, container_name, image_name
from compose.plan.resources import network_body, volume_body
from runtime.client import Client, EngineAddress
from runtime.errors import ConflictError, NotFoundError, NotModifiedError, SkiffError

if TYPE_CHECKING:
    from runtime.bodies import CreateBody, MountBody

_DROPPED = (
    "{service}: killed without waiting: its process 1 has no handler for {signal}, so the kernel drops the signal. "
    'To stop in order, let it be the program itself (command: ["prog", "arg"]), or set init: true'
)
_STEP = re.compile(r"Step (\d+)/(\d+) : ")

RUNTIME_PREFIX = "error during container init: "
"""What stands before this in an engine's message names only the programs that pass the reason on."""


class StillUsedError(Exception):
    """Raised for a resource that others still use: it stays, which is not a failure."""


class StoppedError(SkiffError):
    """Raised after cancellation: no further operation starts."""


class Executor:
    """Performs operations of one project; safe from several threads, each with a connection of its own.

    With `dry_run` it only reports what it would do. After `cancel` it starts no further operation.
    """

    def __init__(
        self,
        where: EngineAddress,
        target: DesiredProject,
        observed: EngineState,
        emit: Emit,
        *,
        stop_timeout_s: int | None = None,
        remove_volumes: bool = False,
        build: BuildFlags | None = None,
        dry_run: bool = False,
    ) -> None:
        self._where = where
        self._target = target
        self._emit = emit
        self._stop_timeout_s = stop_timeout_s
        self._remove_volumes = remove_volumes
        self._build_options = build or BuildFlags()
        self._dry_run = dry_run
        self.observed = observed
        self._advised: set[str] = set()
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
        """Start no further operation."""
        self._cancelled.set()

    def perform(self, operation: Operation) -> None:
        """Carry out one operation. Raises SkiffError; StoppedError after `cancel`."""
        if self._cancelled.is_set():
            raise StoppedError("stopped before the end")
        match operation.action:
            case plan.Milestone():
                return
            case plan.Stop(is_running=False):
                self._emit(StepBegan(operation.kind.value, operation.name))
                self._emit(StepEnded(operation.kind.value, operation.name))
                return
            case plan.BuildImage(unless_pulled=True) if operation.name in self.images:
                return
            case plan.Await() as action:
                if not self._dry_run:
                    self._await(operation.service, action)
                return
            case plan.PreStart(number):
                if not self._dry_run:
                    self._pre_start(operation.service, number)
                return
        kind, name = operation.kind.value, operation.name
        self._emit(StepBegan(kind, name))
        try:
            if not self._dry_run:
                self._act(operation)
        except StillUsedError:
            self._emit(StepFailed(kind, name, "Resource is still in use"))
            return
        except SkiffError as error:
            if isinstance(operation.action, plan.Pull) and operation.action.may_fail:
                self._emit(StepFailed(kind, name, f"Warning {error.message}"))
                return
            self._emit(StepFailed(kind, name))
            raise _about(operation, error) from error
        except BaseException:
            self._emit(StepFailed(kind, name))
            raise
        self._emit(StepEnded(kind, name))

    def _act(self, operation: Operation) -> None:
        name, service = operation.name, operation.service
        match operation.action:
            case plan.CreateNetwork(network):
                self.client.create_network(network_body(self._target, network))
            case plan.RemoveNetwork(id, must_go):
                self._remove_network(id, must_go)
            case plan.Disconnect(id, network):
                self._disconnect(id, network)
            case plan.Connect(id, network):
                settings = endpoint(self._target.services[service], network, name)
                self.client.connect_network(self._target.resource_name("networks", network), id, settings)
            case plan.CreateVolume(volume):
                self.client.create_volume(volume_body(self._target, volume))
            case plan.RemoveVolume(must_go):
                self._remove_volume(name, must_go)
            case plan.RemoveImage():
                self._remove_image(name)
            case plan.Pull():
                self._pull(name, service)
            case plan.BuildImage():
                self._build(name, service)
            case plan.Create(number):
                self._create(service, number)
            case plan.Recreate() as action:
                self._recreate(name, service, action)
            case plan.Start(number):
                self._start(name, service, number)
            case plan.Stop(id):
                self._stop_container(id, service, name)
            case plan.Remove(id):
                self._remove(id, service, name)

    # --- networks, volumes, images

    def _remove_network(self, id: str, must_go: bool) -> None:
        try:
            self.client.remove_network(id)
        except NotFoundError:
            return
        except SkiffError as error:
            if "active endpoints" in str(error) and not must_go:
                raise StillUsedError from error
            raise

    def _disconnect(self, id: str, network: str) -> None:
        try:
            self.client.disconnect_network(network, id)
        except (NotFoundError, ConflictError):
            return  # it is not on it

    def _remove_volume(self, name: str, must_go: bool) -> None:
        try:
            self.client.remove_volume(name)
        except NotFoundError:
            return
        except ConflictError as error:
            if must_go:
                raise
            raise StillUsedError from error

    def _remove_image(self, name: str) -> None:
        try:
            self.client.remove_image(name)
        except NotFoundError:
            return
        except ConflictError as error:
            raise StillUsedError from error

    def _pull(self, image: str, service: str) -> None:
        platform = platform_of(self._target, service) if service else self._target.environment.get(DEFAULT_PLATFORM)
        measure(self._emit, "pull", image, self.client.pull(image, platform or None))
        self.images[image] = self.client.image(image)["Id"]

    def _build(self, image: str, service: str) -> None:
        # what builds need takes 5 ms to import, and most plans have none
        from compose.execute.build import build_image

        self.images[image] = build_image(
            self.client,
            self._target,
            service,
            lambda line: self._report_build(image, service, line),
            self._build_options,
        )

    def _report_build(self, image: str, service: str, line: str) -> None:
        if (step := _STEP.match(line)) is not None:
            self._emit(StepMeasured("build", image, int(step[1]), int(step[2]), "steps"))
        self._emit(StepOutput("build", image, service, line))

    # --- containers

    def _container_of(self) -> Mapping[str, str]:
        return {service: id for (service, number), id in sorted(self._ids.items(), reverse=True)}

    def _body(self, service: str, number: int, inherited: list[MountBody], replaces: str = "") -> CreateBody:
        image = image_name(self._target, service)
        if image not in self.images:
            self.images[image] = self.client.image(image)["Id"]
        return container_body(
            self._target,
            service,
            number,
            image_id=self.images[image],
            replaces=replaces,
            files=list(file_mounts(self._target, service)),
            security=security_options(self._target, service),
            inherited=inherited,
            container_of=self._container_of(),
            images=self.images,
        )

    def _create(self, service: str, number: int) -> None:
        name = container_name(self._target, service, number)
        self._ids[service, number] = self._make(self._body(service, number, []), service, name)

    def _make(self, body: CreateBody, service: str, name: str) -> str:
        """Create a container and write configs and secrets into it; if that fails, the container is removed."""
        if self.client.endpoint.is_ours:
            make_bind_sources(self._target, service)
        made = self.client.create_container(body, name=name, platform=platform_of(self._target, service))
        id: str = made["Id"]
        for warning in made.get("Warnings") or ():
            self._emit(Note(f" Container {name} Warning: {warning}"))
        try:
            inject(self.client, self._target, service, id)
        except BaseException:
            self.client.remove(id, force=True, volumes=False)
            raise
        return id

    def _recreate(self, old_name: str, service: str, action: plan.Recreate) -> None:
        old_id, number = action.id, action.number
        old = self.client.container(old_id)
        inherited = _anonymous_volumes(old, self._target, service) if action.inherits_volumes else []
        body = self._body(service, number, inherited, old_id)
        name = container_name(self._target, service, number)
        # under another name until the old one is gone: a failure before that leaves the old one as it was
        created = self._make(body, service, f"{old_id[:12]}_{name}")
        try:
            if old["State"]["Running"]:
                self._stop_container(old_id, service, old_name)
            self.client.remove(old_id, force=True)
        except BaseException:
            self.client.remove(created, force=True)
            raise
        self.client.rename(created, name)
        self._ids[service, number] = created

    def _pre_start(self, service: str, number: int) -> None:
        def report(line: str) -> None:
            self._emit(HookOutput(service, "pre_start", line))

        id = self._ids[service, number]
        run_pre_start(self.client, self._target, service, id, self._container_of(), report)

    def _start(self, name: str, service: str, number: int) -> None:
        id = self._ids[service, number]
        try:
            self.client.start(id)
        except NotModifiedError:
            return
        self._hooks(POST_START, service, id, name)

    def _hooks(self, phase: str, service: str, id: str, name: str) -> None:
        found = self._target.services.get(service)
        run_hooks(
            self.client,
            found.hooks(phase) if found else (),
            phase,
            id,
            name,
            lambda line: self._emit(HookOutput(name, phase, line)),
        )

    def _stop_container(self, id: str, service: str, name: str) -> None:
        self._hooks(PRE_STOP, service, id, name)
        try:
            dropped = self.client.stop(id, self._grace_s(service))
        except (NotModifiedError, NotFoundError):
            return
        if dropped and service not in self._advised:
            self._advised.add(service)
            self._emit(Advised(_DROPPED.format(service=service or name, signal=dropped)))

    def _grace_s(self, service: str) -> float | None:
        """Return the seconds until a container is killed; None for its own, which the engine knows but in whole ones."""
        found = self._target.services.get(service)
        grace_ns = found.stop_grace_period_ns if found else None
        if self._stop_timeout_s is not None or not grace_ns or not self.client.endpoint.is_ours:
            return self._stop_timeout_s
        return grace_ns / 1e9 if grace_ns % 10**9 else None

    def _remove(self, id: str, service: str, name: str) -> None:
        if self._existing.get(id) is None or self._existing[id].is_alive:
            # after a "stop" of the same plan the container does not run: the hooks find that out
            self._stop_container(id, service, name)
        try:
            self.client.remove(id, force=True, volumes=self._remove_volumes)
        except NotFoundError:
            return

    def _await(self, service: str, action: plan.Await) -> None:
        if action.condition not in ("service_healthy", "service_completed_successfully"):
            return
        ids = [id for (name, _), id in self._ids.items() if name == service]
        if not ids and action.required:
            raise SkiffError(f"{action.dependant} is missing dependency {service}")
        names = [self.client.container(id)["Name"].removeprefix("/") for id in ids]

        def report(name: str, state: str) -> None:
            self._emit(StateChanged("Container", name, state))

        try:
            for name in names:
                report(name, "Waiting")
            if action.condition == "service_healthy":
                wait_healthy(self.client, names, needs_check=True, report=report)
            else:
                for name in names:
                    wait_completed(self.client, name)
                    report(name, "Exited")
        except SkiffError as error:
            if not action.required:
                self._emit(Note(f" optional dependency {service} failed: {error.message}"))
                return
            raise SkiffError(f"dependency {service} of {action.dependant} failed to start: {error}") from error


def _about(operation: Operation, error: SkiffError) -> SkiffError:
    """Return `error` with what it is about: the service, and the object that was worked on."""
    what = operation.name
    if isinstance(operation.action, plan.Pull):
        what = f"image {operation.name}"
        if operation.reason.startswith("it is here for"):
            what += f" ({operation.reason})"
    elif isinstance(operation.action, plan.BuildImage):
        what = "build"
    about = f"service {operation.service!r}: " if operation.service else ""
    if about and error.message.startswith(about):
        return error
    return SkiffError(f"{about}{what}: {error.message.rpartition(RUNTIME_PREFIX)[2]}", error.hint)


def _anonymous_volumes(old: Mapping[str, Any], target: DesiredProject, service: str) -> list[MountBody]:
    """Return mounts that take over the anonymous volumes of the container that is replaced."""
    mounts = target.services[service].mounts
    declared = {mount.target for mount in mounts if mount.source or mount.type != "volume"}
    return [
        {"Type": "volume", "Source": mount["Name"], "Target": mount["Destination"], "ReadOnly": not mount["RW"]}
        for mount in old.get("Mounts") or ()
        if mount["Type"] == "volume" and len(mount.get("Name") or "") == 64 and mount["Destination"] not in declared
    ]
