"""What watching does to containers: copy, rebuild, restart, run commands."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from compose.events import Emit, Event, Finished, HookPrinted, StepOutput, Warned, WatchReport
from compose.execute.build_flags import BuildFlags
from compose.execute.hooks import run_hook
from compose.execute.observe import observe
from compose.execute.operations import Executor
from compose.execute.restarts import restart
from compose.execute.runner import run_plan
from compose.plan.images import plan_builds
from compose.plan.operations import Plan
from compose.plan.project import PROJECT, DesiredProject, ObservedContainer, own_labels
from compose.plan.restarts import dependencies_first, restarted_with
from compose.plan.up import UpOptions, plan_up
from compose.watch.delivery import deliver
from compose.watch.rules import WatchRule
from runtime.client import Client, EngineAddress
from runtime.errors import ConflictError, NotFoundError, SkiffError, first_error

GONE = ("removing", "dead")


@dataclass
class Actions:
    """Carries out what rules say, and reports it with `emit`."""

    where: EngineAddress
    target: DesiredProject
    emit: Emit
    quiet_build: bool = False
    prunes: bool = True
    dry_run: bool = False
    parallel: int = 0
    _turn: anyio.Lock = field(default_factory=anyio.Lock)
    """Serializes rebuilds and restarts, which may affect several services; copying files needs no lock."""

    def report(self, text: str) -> None:
        """Report what is done."""
        self.emit(WatchReport(text))

    def warn(self, text: str) -> None:
        """Report what failed."""
        self.emit(Warned(f"WARN {text}"))

    def _show(self, line: str) -> None:
        self.emit(HookPrinted(line))

    def containers(self, service: str) -> list[ObservedContainer]:
        """Return the containers of `service` that files can be copied into."""
        return [container for container in self._all() if container.service == service]

    def _all(self) -> list[ObservedContainer]:
        rows = Client(self.where).containers(all=True, filters={"label": own_labels(self.target.name)})
        found = [ObservedContainer.of(row) for row in rows]
        return [container for container in found if not container.is_oneoff and container.state not in GONE]

    def deliver(self, container: ObservedContainer, paths: Mapping[str, str]) -> bool:
        """Copy `paths` (path in the container → path here) into the container.

        Returns False if that must be repeated when the container starts.
        """
        if self.dry_run:
            return True
        try:
            return deliver(Client(self.where), container.id, paths, is_running=container.state == "running")
        except SkiffError as error:
            if "read-only" in error.message and error.hint is None:
                error.hint = "files can't be written into such a root: leave read_only out while you develop"
            raise

    async def rebuild(self, service: str) -> None:
        """Build the image of `service` and replace its containers. Failures are reported, not raised."""
        began_s = time.monotonic()
        how = "could not be rebuilt" if not await self._rebuild(service) else "is rebuilt"
        self.emit(Finished(f"{service} {how}", time.monotonic() - began_s))

    async def _rebuild(self, service: str) -> bool:
        self.report(f'Rebuilding service(s) ["{service}"] after changes were detected...')
        async with self._turn:
            try:
                executor = await self._executor(service)
                await self._carry_out(plan_builds(self.target, [service]), executor)
            except SkiffError as error:
                self.report(f"Build failed. Error: {error}")
                return False
            self.report(f'service(s) ["{service}"] successfully built')
            try:
                await self._recreate(service)
            except SkiffError as error:
                self.report(f"Failed to recreate services after update. Error: {error}")
                return False
            if self.prunes and not self.dry_run:
                await anyio.to_thread.run_sync(self._prune)
        return True

    async def _executor(self, service: str) -> Executor:
        observed = await anyio.to_thread.run_sync(observe, Client(self.where), self.target, [service])
        return Executor(
            self.where,
            self.target,
            observed,
            self._report_build,
            build=BuildFlags(quiet=self.quiet_build),
            dry_run=self.dry_run,
        )

    def _report_build(self, event: Event) -> None:
        """Report what builds print, and no other event."""
        if isinstance(event, StepOutput):
            self.report(event.line)

    async def _carry_out(self, plan: Plan, executor: Executor) -> None:
        try:
            await run_plan(plan, executor.perform, self.parallel)
        except BaseExceptionGroup as group:
            raise first_error(group) from None

    async def _recreate(self, service: str) -> None:
        executor = await self._executor(service)
        # keep the number of containers: the service may have been scaled
        count = len(executor.observed.of_service(service))
        options = UpOptions(
            [service],
            with_dependencies=False,
            force_recreate=True,
            scale={service: count} if count else {},
        )
        await self._carry_out(plan_up(self.target, executor.observed, options), executor)

    def _prune(self) -> None:
        """Remove the images of this project that builds left without a name."""
        client = Client(self.where)
        named = {"dangling": ["true"], "label": [f"{PROJECT}={self.target.name}"]}
        for image in client.images(named):
            try:
                client.remove_image(image["Id"])
            except (ConflictError, NotFoundError):
                continue  # something still runs it

    async def restart(self, service: str) -> None:
        """Restart the containers of `service`, and those that depend on it with `restart: true`. Raises SkiffError."""
        async with self._turn:
            found = await anyio.to_thread.run_sync(self._all)
            chosen = restarted_with(found, [service])
            for container in dependencies_first(self.target, [c for c in found if c.service in chosen]):
                if not self.dry_run:
                    await anyio.to_thread.run_sync(
                        restart, Client(self.where), self.target, container, None, self._show
                    )
        self.report(f'service(s) ["{service}"] restarted')

    async def run_hook(self, service: str, rule: WatchRule) -> None:
        """Run the command of `rule` in each running container of `service`; failures are reported, not raised."""
        async with anyio.create_task_group() as group:
            for container in await anyio.to_thread.run_sync(self.containers, service):
                if container.state == "running" and not self.dry_run:
                    group.start_soon(anyio.to_thread.run_sync, self._run_in, container, rule)

    def _run_in(self, container: ObservedContainer, rule: WatchRule) -> None:
        try:
            assert rule.hook is not None  # only rules with a hook get here
            code, _ = run_hook(Client(self.where), rule.hook, container.id, self._show)
        except SkiffError as error:
            self.warn(f"Error handling changed files: container {container.name}: {error}")
            return
        if code:
            self.warn(
                f"Error handling changed files: container {container.name}: {rule.hook.shown()} exited with status "
                f"{code}"
            )
