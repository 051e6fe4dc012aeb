"""StackUp a stack up: what `up`, `create`, `scale` and `run` share."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.plan.project import DesiredProject, EngineState
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.cli.context import Globals
    from compose.execute.operations import Executor
    from compose.plan.operations import Plan
    from compose.plan.providing import Variables
    from compose.plan.up import UpOptions
    from compose.render.progress import Progress

PULL_POLICIES = ("", "policy", "always", "missing", "never", "build")


@dataclass(frozen=True)
class ImageOptions:
    """How images are obtained: the flags --build, --no-build, --pull, --quiet-pull."""

    build: bool = False
    no_build: bool = False
    pull: str = ""
    quiet_pull: bool = False
    quiet_build: bool = False


@dataclass(frozen=True)
class UpBehavior:
    """Flags of `up` that do not change the plan: the stop timeout, prompts answered in advance, orphans."""

    stop_timeout_s: int | None = None
    assume_yes: bool = False
    ignore_orphans: bool = False


class StackUp:
    """Runs `up`: builds and pulls images, checks what could fail halfway, then creates and starts containers."""

    def __init__(self, common: Globals, target: DesiredProject, images: ImageOptions, behavior: UpBehavior) -> None:
        self._common = common
        self._target = target
        self._image_options = images
        self._behavior = behavior
        self.executor: Executor | None = None

    def run(self, options: UpOptions) -> None:
        """Bring the stack up as `options` say. Raises SkiffError; on failure, untouched objects keep their state."""
        from compose.execute.observe import observe
        from compose.plan.selection import select

        common, target = self._common, self._target
        self._check_socket()
        _check_scale(target, options.scale)
        names = select(target, options.services, with_dependencies=options.with_dependencies)
        observed = observe(common.client, target)
        self._check(observed, names)
        self._tell_orphans(observed, options)
        with common.display() as progress:
            observed = self.images(observed, names, progress)
            self._start_providers(names, progress)
            plan = self._plan(observed, options)
            for name in plan.unchanged:
                progress.state("Container", name, "Running")
            if options.start:
                self._check_ports(plan)
            self._execute(plan, observed, progress)

    @property
    def target(self) -> DesiredProject:
        """The project; once it is up, with the variables that its providers set."""
        return self._target

    def _start_providers(self, names: Sequence[str], progress: Progress) -> None:
        """Start models and provider services; the variables they set change the containers that depend on them."""
        from compose.plan.providing import provided, with_variables

        if any(self._target.services[name].get("models") for name in names) and not self._common.dry_run:
            from compose.execute.models import with_models

            def tell(model: str, state: str) -> None:
                progress.state("Model", model, state)

            self._target = with_models(self._target, names, self._common.environ, tell)
        for name in provided(self._target, names):
            variables = run_provider(self._common, self._target, name, "up", progress)
            if variables is not None:
                self._target, warnings = with_variables(self._target, name, variables)
                for warning in warnings:
                    progress.line(f"WARN {warning}")

    def create(self, options: UpOptions) -> None:
        """Do everything except starting containers; those that restart with a recreated one are stopped. Raises SkiffError."""
        self.run(dataclasses.replace(options, start=False))

    def start(self, options: UpOptions) -> None:
        """Start, without output, what `create` made or left stopped. Raises SkiffError; StoppedError when cancelled."""
        from compose.execute.observe import observe
        from compose.plan.up import plan_up

        common, target = self._common, self._target
        observed = observe(common.client, target)
        rest = dataclasses.replace(
            options,
            start=True,
            force_recreate=False,
            no_recreate=True,
            always_recreate_dependencies=False,
            remove_orphans=False,
        )
        with common.display(quiet=True) as progress:
            self._execute(plan_up(target, observed, rest), observed, progress)

    def prepare_service(self, service: str) -> EngineState:
        """Prepare one service's image, networks and volumes, but no container; return the engine's state afterwards."""
        from compose.execute.observe import observe
        from compose.plan.operations import Kind, Plan
        from compose.plan.up import UpOptions, plan_up

        self._check_socket()
        observed = observe(self._common.client, self._target, [service])
        self._check(observed, [service])
        nothing = EngineState((), observed.networks, observed.volumes, observed.images)
        plan = plan_up(self._target, nothing, UpOptions([service], with_dependencies=False, start=False))
        wanted = (Kind.CREATE_NETWORK, Kind.CREATE_VOLUME)
        chosen = Plan.of([operation for operation in plan.operations if operation.kind in wanted])
        with self._common.display() as progress:
            observed = self.images(observed, [service], progress)
            self._start_providers([service], progress)
            self._execute(chosen, observed, progress)
        return observed

    def images(self, observed: EngineState, names: Sequence[str], progress: Progress) -> EngineState:
        """Build and pull the images that the services need; return the engine's state afterwards."""
        from compose.plan.images import plan_images

        wanted = self._image_options
        plan = plan_images(
            self._target,
            observed,
            names,
            build=wanted.build,
            no_build=wanted.no_build,
            pull=wanted.pull,
            now_s=time.time(),
        )
        if not plan.operations:
            return observed
        return dataclasses.replace(observed, images=self._execute(plan, observed, progress).images)

    def _execute(self, plan: Plan, observed: EngineState, progress: Progress) -> Executor:
        from compose.execute.build import BuildOptions
        from compose.execute.operations import Executor
        from compose.execute.runner import run

        common = self._common
        executor = self.executor = Executor(
            common.where,
            self._target,
            observed,
            progress,
            stop_timeout_s=self._behavior.stop_timeout_s,
            build=BuildOptions(quiet=self._image_options.quiet_build),
            dry_run=common.dry_run,
        )
        run(plan, executor.perform, common.limit())
        return executor

    def _plan(self, observed: EngineState, options: UpOptions) -> Plan:
        from compose.plan.resources import diverged
        from compose.plan.up import plan_up

        if not options.no_recreate:
            found = diverged(self._target, observed)
            volumes = frozenset(key for key in sorted(found.volumes) if self._may_lose(key))
            options = dataclasses.replace(options, recreate_networks=found.networks, recreate_volumes=volumes)
        return plan_up(self._target, observed, options)

    def _may_lose(self, key: str) -> bool:
        """Ask whether a volume that no longer matches its definition may be recreated, which loses its data."""
        if self._behavior.assume_yes:
            return True
        name = self._target.resource_name("volumes", key)
        print(
            f'Volume "{name}" exists but doesn\'t match configuration in compose file. Recreate (data will be lost)? '
            "(y/N) ",
            end="",
            file=sys.stderr,
            flush=True,
        )
        answer = sys.stdin.readline().strip().lower() if sys.stdin else ""
        if not sys.stdin or not sys.stdin.isatty():
            print(file=sys.stderr)
        return answer in ("y", "yes")

    def _tell_orphans(self, observed: EngineState, options: UpOptions) -> None:
        from compose.plan.up import orphans

        left = [] if self._behavior.ignore_orphans or options.remove_orphans else orphans(self._target, observed)
        if left:
            names = " ".join(container.name for container in left)
            self._common.warn(
                f"WARN Found orphan containers ([{names}]) for this project. If you removed or renamed this service in "
                "your compose file, you can run this command with the --remove-orphans flag to clean it up."
            )

    def _check(self, observed: EngineState, names: Sequence[str]) -> None:
        """Refuse what would fail halfway: missing files and resources, and services that this runtime can't run."""
        from compose.execute.files import file_mounts, security_options
        from compose.plan.content import injected
        from compose.plan.providing import uses_others
        from compose.plan.refusals import check_services
        from compose.plan.resources import check_resources

        check_services(self._target, names, is_ours=self._common.where.is_ours)
        if uses_others(self._target, names):
            from compose.execute.plugins import check_programs

            check_programs(self._target, names, self._common.environ)
        for name in names:
            list(file_mounts(self._target, name))
            security_options(self._target, name)
            list(injected(self._target, name))
        for warning in check_resources(self._target, observed):
            self._common.warn(warning)

    def _check_socket(self) -> None:
        """Refuse use_api_socket for an engine without a unix socket, before the first request."""
        from compose.plan.api_socket import uses_api_socket

        if uses_api_socket(self._target) and self._common.where.path is None:
            raise SkiffError(
                f"use_api_socket can only be used with unix sockets: docker endpoint {self._common.where} is incompatible",
                "name the engine's socket: -H unix:///PATH, or leave use_api_socket out",
            )

    def _check_ports(self, plan: Plan) -> None:
        from compose.plan.container_body import published_ports
        from compose.plan.operations import Kind

        made = [operation.service for operation in plan.operations if operation.kind is Kind.CREATE]
        bindings = [port for name in dict.fromkeys(made) for port in published_ports(self._target.services[name])]
        if bindings and not self._common.dry_run:
            self._common.client.ports_check(bindings)


PROVIDER_WORDS = {"up": ("Creating", "Created"), "down": ("Removing", "Removed"), "stop": ("Stopping", "Stopped")}


def run_provider(
    common: Globals, target: DesiredProject, name: str, command: str, progress: Progress
) -> Variables | None:
    """Run `command` of the provider of service `name` and show its progress; return the variables it sets. Raises SkiffError."""
    from compose.execute.providers import run_provider

    doing, done = PROVIDER_WORDS[command]
    progress.state("Service", name, doing)
    variables = None
    if not common.dry_run:
        try:
            variables = run_provider(
                target, name, command, common.environ, lambda text: progress.state("Service", name, text)
            )
        except SkiffError:
            progress.state("Service", name, "Error")
            raise
    progress.state("Service", name, done)
    return variables


def _check_scale(target: DesiredProject, scale: Mapping[str, int]) -> None:
    from compose.plan.project import replicas
    from compose.plan.selection import select

    select(target, list(scale))
    for name, service in target.services.items():
        if service.get("container_name") and replicas(service, scale.get(name)) > 1:
            raise SkiffError(
                f'service "{name}" is using the custom container name "{service["container_name"]}": a container\'s '
                "name is unique, so the service can't be scaled",
                "take container_name away to scale the service",
            )


def wait_up(common: Globals, target: DesiredProject, services: Sequence[str], timeout_s: int) -> None:
    """Implement `--wait`: block until services run or are healthy, and one-shot dependencies have exited."""
    from compose.execute.conditions import wait_completed, wait_healthy
    from compose.plan.project import dependencies
    from compose.plan.selection import select

    completing = {
        other
        for service in target.services.values()
        for other, how in dependencies(service).items()
        if how.get("condition") == "service_completed_successfully"
    }
    wanted = select(target, services)
    found = common.containers(target, wanted) if wanted else []
    staying = [container.name for container in found if container.service not in completing]
    with common.display() as progress:
        for container in found:
            progress.state("Container", container.name, "Waiting")
        for container in found:
            if container.service in completing:
                wait_completed(common.client, container.name)
                progress.state("Container", container.name, "Exited")
        wait_healthy(
            common.client,
            staying,
            timeout_s=timeout_s or None,
            tell=lambda name, state: progress.state("Container", name, state),
        )
