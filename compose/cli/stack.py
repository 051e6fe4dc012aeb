"""Bringing a stack up: what `up`, `create`, `scale` and `run` share."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.plan.project import Observed, Target
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
    """How images are come by: the flags --build, --no-build, --pull, --quiet-pull."""

    build: bool = False
    no_build: bool = False
    pull: str = ""
    quiet_pull: bool = False
    quiet_build: bool = False


@dataclass(frozen=True)
class Manners:
    """How a stack is brought up beside what is wanted of it: time to stop in, answers given beforehand, orphans."""

    stop_timeout_s: int | None = None
    assume_yes: bool = False
    ignore_orphans: bool = False


class Bringing:
    """One way from what is to what is wanted: images first, then what can be checked, then containers."""

    def __init__(self, common: Globals, target: Target, images: ImageOptions, manners: Manners) -> None:
        self._common = common
        self._target = target
        self._image_options = images
        self._manners = manners
        self.executor: Executor | None = None

    def bring(self, options: UpOptions) -> None:
        """Do all that `options` want. Raises SkiffError; what was not to change is as it was then."""
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
            self._provide(names, progress)
            plan = self._plan(observed, options)
            for name in plan.unchanged:
                progress.state("Container", name, "Running")
            if options.start:
                self._check_ports(plan)
            self._run(plan, observed, progress)

    @property
    def target(self) -> Target:
        """The project, with what its providers told of themselves once it was brought up."""
        return self._target

    def _provide(self, names: Sequence[str], progress: Progress) -> None:
        """Have what others provide: models, services. What they set changes the containers that use them."""
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
        """Do all but the starting; what is to be started again with something recreated is stopped. Raises SkiffError."""
        self.bring(dataclasses.replace(options, start=False))

    def start(self, options: UpOptions) -> None:
        """Start, in silence, what `create` made or left behind. Raises SkiffError; StoppedError when it is cancelled."""
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
            self._run(plan_up(target, observed, rest), observed, progress)

    def provide(self, service: str) -> Observed:
        """Make the image, networks and volumes of one service, none of its containers; return what is there then."""
        from compose.execute.observe import observe
        from compose.plan.operations import Kind, Plan
        from compose.plan.up import UpOptions, plan_up

        self._check_socket()
        observed = observe(self._common.client, self._target, [service])
        self._check(observed, [service])
        nothing = Observed((), observed.networks, observed.volumes, observed.images)
        plan = plan_up(self._target, nothing, UpOptions([service], with_dependencies=False, start=False))
        wanted = (Kind.CREATE_NETWORK, Kind.CREATE_VOLUME)
        chosen = Plan.of([operation for operation in plan.operations if operation.kind in wanted])
        with self._common.display() as progress:
            observed = self.images(observed, [service], progress)
            self._provide([service], progress)
            self._run(chosen, observed, progress)
        return observed

    def images(self, observed: Observed, names: Sequence[str], progress: Progress) -> Observed:
        """Build and pull what the services need; return what is there then."""
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
        return dataclasses.replace(observed, images=self._run(plan, observed, progress).images)

    def _run(self, plan: Plan, observed: Observed, progress: Progress) -> Executor:
        from compose.execute.build import BuildOptions
        from compose.execute.operations import Executor
        from compose.execute.runner import run

        common = self._common
        executor = self.executor = Executor(
            common.where,
            self._target,
            observed,
            progress,
            stop_timeout_s=self._manners.stop_timeout_s,
            build=BuildOptions(quiet=self._image_options.quiet_build),
            dry_run=common.dry_run,
        )
        run(plan, executor.perform, common.limit())
        return executor

    def _plan(self, observed: Observed, options: UpOptions) -> Plan:
        from compose.plan.resources import diverged
        from compose.plan.up import plan_up

        if not options.no_recreate:
            found = diverged(self._target, observed)
            volumes = frozenset(key for key in sorted(found.volumes) if self._may_lose(key))
            options = dataclasses.replace(options, recreate_networks=found.networks, recreate_volumes=volumes)
        return plan_up(self._target, observed, options)

    def _may_lose(self, key: str) -> bool:
        """Whether the user lets a volume that no longer matches go, with its data."""
        if self._manners.assume_yes:
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

    def _tell_orphans(self, observed: Observed, options: UpOptions) -> None:
        from compose.plan.up import orphans

        left = [] if self._manners.ignore_orphans or options.remove_orphans else orphans(self._target, observed)
        if left:
            names = " ".join(container.name for container in left)
            self._common.warn(
                f"WARN Found orphan containers ([{names}]) for this project. If you removed or renamed this service in "
                "your compose file, you can run this command with the --remove-orphans flag to clean it up."
            )

    def _check(self, observed: Observed, names: Sequence[str]) -> None:
        """Refuse what would fail halfway: things that are not there, and services that this runtime can't run."""
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
        """Refuse to give services the socket of an engine that has none, before it is spoken to."""
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


def run_provider(common: Globals, target: Target, name: str, command: str, progress: Progress) -> Variables | None:
    """Have the provider of the service `name` do `command`, and show it; return what it sets. Raises SkiffError."""
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


def _check_scale(target: Target, scale: Mapping[str, int]) -> None:
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


def wait_up(common: Globals, target: Target, services: Sequence[str], timeout_s: int) -> None:
    """Wait until what is up is up to stay; what others need completed is waited for until it has completed."""
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
