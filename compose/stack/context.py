"""What every use case works with: the engine, the listener for events, answers to questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from compose.plan.project import DesiredProject, ObservedContainer, own_labels
from runtime.client import Client, EngineAddress
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.events import Emit
    from compose.execute.build_flags import BuildFlags
    from compose.execute.operations import Executor
    from compose.plan.operations import Plan
    from compose.plan.project import EngineState


class Question(NamedTuple):
    """A question that the user answers with yes or no. `details` are shown before it.

    With `is_optional`, nobody there to answer means no; otherwise `Context.ask` raises UnansweredError.
    """

    text: str
    details: str = ""
    is_optional: bool = False


class UnansweredError(Exception):
    """Raised when nobody is there to answer a question."""


@dataclass(frozen=True)
class Context:
    """The engine at `where`, and how a use case talks to its caller.

    `emit` receives events, `ask` answers questions. `environ` are the caller's environment variables. At most `parallel`
    operations run at once (0: no limit). With `dry_run` events report what would be done, and nothing is.
    """

    where: EngineAddress
    environ: Mapping[str, str]
    emit: Emit
    ask: Callable[[Question], bool]
    parallel: int = 0
    dry_run: bool = False

    @cached_property
    def client(self) -> Client:
        """A client of the engine, for the calling thread."""
        return Client(self.where)

    def warn(self, text: str) -> None:
        """Emit a warning."""
        from compose.events import Warned

        self.emit(Warned(text))

    def containers(
        self, project: DesiredProject, services: Sequence[str] = (), *, all: bool = True, oneoff: bool = False
    ) -> list[ObservedContainer]:
        """Return the project's containers by service and number; stopped ones with `all`, those of `run` with `oneoff`.

        Raises SkiffError for a service that neither the files nor a container name.
        """
        rows = self.client.containers(all=all, filters={"label": own_labels(project.name)})
        found = [ObservedContainer.of(row) for row in rows]
        known = {*project.services, *project.disabled, *(container.service for container in found)}
        for name in services:
            if name not in known:
                raise SkiffError(f"no such service: {name}", f"services: {', '.join(sorted(known)) or 'none'}")
        chosen = [c for c in found if (oneoff or not c.is_oneoff) and (not services or c.service in services)]
        return sorted(chosen, key=lambda container: (container.service, container.number, container.name))

    def own_containers(self, project: DesiredProject, services: Sequence[str] = ()) -> list[ObservedContainer]:
        """Return the containers of `services`; none named: of those that the files have, orphans left alone.

        Raises SkiffError for a service that neither the files nor a container name.
        """
        found = self.containers(project, services)
        return [container for container in found if services or project.owns(container.service)]

    def one_container(
        self, project: DesiredProject, service: str, index: int = 0, *, running: bool = True, oneoff: bool = False
    ) -> ObservedContainer:
        """Return container number `index` of `service`, or its first. Raises SkiffError when there is none (running).

        With `oneoff`, one of `run` will do where no other is.
        """
        here = sorted(self.containers(project, [service], oneoff=oneoff), key=lambda container: container.is_oneoff)
        found = [c for c in here if not index or c.number == index]
        if index and not found:
            numbers = ", ".join(str(container.number) for container in here)
            raise SkiffError(
                f'service "{service}" has no container with index {index}', f"its containers are {numbers or 'none'}"
            )
        alive = [container for container in found if container.state == "running"]
        if not found or (running and not alive):
            raise SkiffError(f'service "{service}" is not running', f"start it: `skiff up -d {service}`")
        return (alive or found)[0]

    def executor(
        self,
        project: DesiredProject,
        observed: EngineState,
        emit: Emit | None = None,
        *,
        stop_timeout_s: int | None = None,
        remove_volumes: bool = False,
        build: BuildFlags | None = None,
    ) -> Executor:
        """Return what performs the operations of a plan of `project`, made from the engine's state `observed`."""
        from compose.execute.operations import Executor

        return Executor(
            self.where,
            project,
            observed,
            emit or self.emit,
            stop_timeout_s=stop_timeout_s,
            remove_volumes=remove_volumes,
            build=build,
            dry_run=self.dry_run,
        )

    def run(self, plan: Plan, executor: Executor) -> None:
        """Perform the operations of `plan`. Raises SkiffError for the first that fails."""
        from compose.execute.runner import run
        from compose.plan.operations import BuildImage

        builder = self.environ.get("BUILDX_BUILDER", "")
        if builder not in ("", "default") and any(isinstance(each.action, BuildImage) for each in plan.operations):
            self.warn(f'BUILDX_BUILDER is "{builder}": builders are of buildx, the engine builds itself')
        run(plan, executor.perform, self.parallel)
