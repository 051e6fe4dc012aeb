"""`up`, `create` and `scale`: containers become what the files say."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compose.events import Event, Finished, HookOutput, Note, StateChanged, work
from compose.plan.project import DesiredProject, EngineState
from compose.plan.up import UpOptions
from compose.stack.checkouts import check_checkout
from compose.stack.context import Question
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.events import Emit
    from compose.execute.operations import Executor
    from compose.plan.operations import Plan
    from compose.stack.context import Context

PULL_POLICIES = ("", "policy", "always", "missing", "never", "build")


@dataclass(frozen=True)
class ImageOptions:
    """How images are obtained: the flags --build, --no-build, --pull, --quiet-pull and --quiet-build."""

    build: bool = False
    no_build: bool = False
    pull: str = ""
    quiet_pull: bool = False
    quiet_build: bool = False

    def plan(self, project: DesiredProject, observed: EngineState, names: Sequence[str]) -> Plan:
        """Return the plan that builds and pulls the images of the services `names`, as `plan_images` does."""
        from compose.plan.images import plan_images

        return plan_images(
            project,
            observed,
            names,
            build=self.build,
            no_build=self.no_build,
            pull=self.pull,
            now_s=time.time(),
        )


@dataclass(frozen=True)
class UpRequest:
    """What to bring up and how: `options` shape the plan, `images` say how images are obtained.

    `stop_timeout_s` are the seconds until a container that is recreated is killed (None: its own). With `assume_yes`
    nothing is asked, with `ignore_orphans` orphans are not mentioned. With `wait` the call returns once services are
    healthy, at most `wait_timeout_s` seconds later (0: no limit).
    """

    options: UpOptions = field(default_factory=UpOptions)
    images: ImageOptions = field(default_factory=ImageOptions)
    stop_timeout_s: int | None = None
    assume_yes: bool = False
    ignore_orphans: bool = False
    wait: bool = False
    wait_timeout_s: int = 0


def up(context: Context, project: DesiredProject, request: UpRequest) -> DesiredProject:
    """Bring `project` up; return it with the variables that providers set. Raises SkiffError."""
    stack_up = StackUp(context, project, request)
    stack_up.run()
    if request.wait and not context.dry_run:
        from compose.stack.waiting import wait_until_up

        with stack_up.reported():
            wait_until_up(context, project, request.options.services, request.wait_timeout_s)
    return stack_up.project


class StackUp:
    """Runs `up`: builds and pulls images, checks what could fail halfway, then creates and starts containers.

    `up` in the foreground attaches to containers between creating and starting them, and `run` needs the objects of one
    service without its containers; everyone else calls the function `up`.
    """

    def __init__(self, context: Context, project: DesiredProject, request: UpRequest) -> None:
        self._context = context
        self._request = request
        self.project = project
        """The project; once it is up, with the variables that its providers set."""
        self._began_s = time.monotonic()
        self.executor: Executor | None = None
        self.done: frozenset[str] = frozenset()
        """Names of one-shots that were not run again."""

    def run(self) -> None:
        """Bring the stack up. Raises SkiffError; on failure, untouched objects keep their state."""
        with nullcontext() if self._request.wait else self.reported():
            self._run(self._request.options)

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Emit how the work ended, and how long it took since it began."""
        try:
            yield
        except SkiffError:
            self._finished("is not up: something failed")
            raise
        self._finished("is up")

    def _finished(self, how: str) -> None:
        self._context.emit(Finished(f"{self.project.name} {how}", time.monotonic() - self._began_s))

    def create(self) -> None:
        """Do everything except starting containers; those that restart with a recreated one are stopped.

        Raises SkiffError.
        """
        self._run(dataclasses.replace(self._request.options, start=False))

    def start(self) -> None:
        """Start what `create` made or left stopped; the only events are what hooks print.

        Raises SkiffError; StoppedError when cancelled.
        """
        from compose.execute.observe import observe
        from compose.plan.up import plan_up

        observed = observe(self._context.client, self.project)
        options = dataclasses.replace(
            self._request.options,
            start=True,
            force_recreate=False,
            no_recreate=True,
            always_recreate_dependencies=False,
            remove_orphans=False,
        )
        with self.reported():
            self._execute(plan_up(self.project, observed, options), observed, self._emit_hooks)

    def _emit_hooks(self, event: Event) -> None:
        if isinstance(event, HookOutput):
            self._context.emit(event)

    def prepare_service(self, service: str) -> EngineState:
        """Prepare one service's image, networks and volumes, but no container; return the engine's state afterwards."""
        from compose.execute.observe import observe
        from compose.plan.operations import Kind, Plan
        from compose.plan.up import plan_up

        self._check_socket()
        observed = observe(self._context.client, self.project, [service])
        self._check(observed, [service])
        nothing = EngineState((), observed.networks, observed.volumes, observed.images)
        plan = plan_up(self.project, nothing, UpOptions([service], with_dependencies=False, start=False))
        wanted = (Kind.CREATE_NETWORK, Kind.CREATE_VOLUME)
        chosen = Plan.of([operation for operation in plan.operations if operation.kind in wanted])
        with work(self._context.emit):
            observed = self._images(observed, [service])
            self._start_providers([service])
            self._execute(chosen, observed)
        return observed

    def _run(self, options: UpOptions) -> None:
        from compose.execute.observe import observe
        from compose.execute.reasons import with_reasons
        from compose.plan.refusals import check_ports
        from compose.plan.selection import select

        self._check_socket()
        _check_scale(self.project, options.scale)
        names = select(self.project, options.services, with_dependencies=options.with_dependencies)
        observed = observe(self._context.client, self.project)
        check_checkout(self.project, observed.containers)
        self._check(observed, names)
        if options.start:
            check_ports(self.project, names, options.scale)
        self._warn_of_orphans(observed, options)
        with work(self._context.emit):
            observed = self._images(observed, names)
            self._start_providers(names)
            plan = with_reasons(self._context.client, self.project, self._plan(observed, options))
            for name in plan.unchanged:
                self._context.emit(StateChanged("Container", name, "Running"))
            self._explain(plan)
            if options.start:
                self._check_ports(plan, observed)
            self._execute(plan, observed)

    def _explain(self, plan: Plan) -> None:
        """Say what changes and why, before it does."""
        from compose.plan.summary import done, surprises

        for event in (*surprises(plan), *done(plan)):
            self._context.emit(event)
        self.done = frozenset(plan.done)
        for name in plan.done:
            self._context.emit(StateChanged("Container", name, "Exited"))

    def _start_providers(self, names: Sequence[str]) -> None:
        """Start models and provider services; the variables they set change the containers that depend on them."""
        from compose.plan.providing import provided, with_variables

        context = self._context
        if any(self.project.services[name].models for name in names) and not context.dry_run:
            from compose.execute.models import with_models

            def report(model: str, state: str) -> None:
                context.emit(StateChanged("Model", model, state))

            self.project = with_models(self.project, names, context.environ, report)
        for name in provided(self.project, names):
            from compose.stack.providers import run_provider

            variables = run_provider(context, self.project, name, "up")
            if variables is not None:
                self.project, warnings = with_variables(self.project, name, variables)
                for warning in warnings:
                    context.emit(Note(f"WARN {warning}"))

    def _images(self, observed: EngineState, names: Sequence[str]) -> EngineState:
        """Build and pull the images that the services need; return the engine's state afterwards."""
        plan = self._request.images.plan(self.project, observed, names)
        if not plan.operations:
            return observed
        return dataclasses.replace(observed, images=self._execute(plan, observed).images)

    def _execute(self, plan: Plan, observed: EngineState, emit: Emit | None = None) -> Executor:
        from compose.execute.build_flags import BuildFlags

        request = self._request
        executor = self.executor = self._context.executor(
            self.project,
            observed,
            emit,
            stop_timeout_s=request.stop_timeout_s,
            build=BuildFlags(quiet=request.images.quiet_build),
        )
        self._context.run(plan, executor)
        return executor

    def _plan(self, observed: EngineState, options: UpOptions) -> Plan:
        from compose.plan.resources import diverged
        from compose.plan.up import plan_up

        if not options.no_recreate:
            found = diverged(self.project, observed)
            volumes = frozenset(key for key in sorted(found.volumes) if self._may_lose(key))
            options = dataclasses.replace(options, recreate_networks=found.networks, recreate_volumes=volumes)
        return plan_up(self.project, observed, options)

    def _may_lose(self, key: str) -> bool:
        """Ask whether a volume that no longer matches its definition may be recreated, which loses its data."""
        if self._request.assume_yes:
            return True
        name = self.project.resource_name("volumes", key)
        text = f'Volume "{name}" exists but doesn\'t match configuration in compose file. Recreate (data will be lost)?'
        return self._context.ask(Question(text, is_optional=True))

    def _warn_of_orphans(self, observed: EngineState, options: UpOptions) -> None:
        from compose.plan.up import orphans

        left = [] if self._request.ignore_orphans or options.remove_orphans else orphans(self.project, observed)
        if left:
            names = " ".join(container.name for container in left)
            self._context.warn(
                f"WARN Found orphan containers ([{names}]) for this project. If you removed or renamed this service in "
                "your compose file, you can run this command with the --remove-orphans flag to clean it up."
            )

    def _check(self, observed: EngineState, names: Sequence[str]) -> None:
        """Refuse what would fail halfway: missing files and resources, and services that this runtime can't run."""
        from compose.execute.files import file_mounts, security_options
        from compose.plan.content import injected, left_out
        from compose.plan.providing import uses_others
        from compose.plan.refusals import check_services
        from compose.plan.resources import check_resources

        check_services(self.project, names, is_ours=self._context.where.is_ours)
        if uses_others(self.project, names):
            from compose.execute.plugins import check_programs

            check_programs(self.project, names, self._context.environ)
        for name in names:
            list(file_mounts(self.project, name))
            security_options(self.project, name)
            list(injected(self.project, name))
            for warning in left_out(self.project, name):
                self._context.warn(f"WARN {warning}")
        for warning in check_resources(self.project, observed):
            self._context.warn(warning)

    def _check_socket(self) -> None:
        """Refuse use_api_socket for an engine without a unix socket, before the first request."""
        from compose.plan.api_socket import uses_api_socket

        if uses_api_socket(self.project) and self._context.where.path is None:
            raise SkiffError(
                f"use_api_socket can only be used with unix sockets: docker endpoint {self._context.where} is incompatible",
                "name the engine's socket: -H unix:///PATH, or leave use_api_socket out",
            )

    def _check_ports(self, plan: Plan, observed: EngineState) -> None:
        """Refuse ports that are taken, unless a container has them that the plan removes."""
        from compose.plan.container_body import published_ports
        from compose.plan.operations import Kind, Remove

        made = [operation.service for operation in plan.operations if operation.kind is Kind.CREATE]
        going = {operation.action.id for operation in plan.operations if isinstance(operation.action, Remove)}
        freed = {
            (str(port.get("PublicPort")), port.get("Type"))
            for container in observed.containers
            if container.id in going
            for port in container.document.get("Ports") or ()
        }
        bindings = [
            port
            for name in dict.fromkeys(made)
            for port in published_ports(self.project.services[name])
            if (port["HostPort"], port["Protocol"]) not in freed
        ]
        if bindings and not self._context.dry_run:
            self._context.client.ports_check(bindings)


def _check_scale(project: DesiredProject, scale: Mapping[str, int]) -> None:
    from compose.plan.selection import select

    select(project, list(scale))
    for name, service in project.services.items():
        if service.container_name and scale.get(name, service.replicas) > 1:
            raise SkiffError(
                f'service "{name}" is using the custom container name "{service.container_name}": a container\'s '
                "name is unique, so the service can't be scaled",
                "take container_name away to scale the service",
            )
