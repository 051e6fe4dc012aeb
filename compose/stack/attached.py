"""`up` in the foreground: output of all containers until the stack ends or is interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from compose.events import Aborting, Attached, Event, HookOutput
from compose.logs.following import ContainerRun, Follower
from compose.logs.reading import engine_time_ns
from compose.logs.sink import LogSink
from compose.logs.stamped import Lines, moment
from compose.plan.project import ONEOFF, SERVICE, DesiredProject, ObservedContainer
from compose.plan.selection import select
from compose.stack.up import StackUp, UpRequest
from runtime.client import Client
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.stack.context import Context
    from compose.stack.watch import BackgroundWatch

LAST_LINES_S = 2.0
"""How long to wait for the last lines of stopped containers."""


@dataclass(frozen=True)
class AttachOptions:
    """Whose output is shown (`shown`: names of services), and when following ends.

    With `aborts_on_exit` the stack is stopped when one container exits, with `aborts_on_failure` when one fails.
    The exit code is that of the first container to exit then, or of `exit_code_from`.
    """

    shown: frozenset[str]
    aborts_on_exit: bool = False
    aborts_on_failure: bool = False
    exit_code_from: str = ""


def shown_services(
    project: DesiredProject,
    services: Sequence[str],
    only: Sequence[str],
    never: Collection[str],
    with_dependencies: bool,
) -> frozenset[str]:
    """Return the services whose output `up` shows: the selected ones, except those with `attach: false`."""
    if only:
        return frozenset(only) - frozenset(never)
    named = select(project, services, with_dependencies=with_dependencies)
    return frozenset(name for name in named if project.services[name].attach) - frozenset(never)


class AttachedUp:
    """A stack in the foreground: `prepare`, then `run` until it ends.

    `interrupt`, from a signal handler or another thread, stops the stack gracefully; a second call kills it.
    """

    def __init__(
        self,
        context: Context,
        project: DesiredProject,
        request: UpRequest,
        options: AttachOptions,
        sink: LogSink,
        watching: BackgroundWatch | None = None,
        make_watching: Callable[[], BackgroundWatch] | None = None,
    ) -> None:
        self._outer_emit = context.emit
        self._context = context = replace(context, emit=self._emit)
        self._project = project
        self._request = request
        self._options = options
        self._sink = sink
        self._watching = watching
        self._make_watching = make_watching
        self._starting = threading.Thread(target=self._start, daemon=True)
        self._has_begun = threading.Event()
        self._is_detached = False
        self._stack_up = StackUp(context, project, request)
        self._ended = threading.Event()
        self._interrupts = 0
        self._exit_code: int | None = None
        self._is_aborting = False
        self._failure: BaseException | None = None
        self._watched: list[ObservedContainer] = []
        self._following = threading.Thread()
        self._follower = Follower(
            context.where, sink, {}, on_exit=self._exited, joins=self._joins if watching or make_watching else None
        )

    def _emit(self, event: Event) -> None:
        """Emit `event`; what hooks print is output of the stack like that of containers."""
        if not isinstance(event, HookOutput):
            self._outer_emit(event)
            return
        found = (container.short_name() for container in self._watched if container.name == event.container)
        name = f"{next(found, event.container)} ->"
        self._sink.add(name)
        stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._sink.write_lines(name, Lines(stamp.encode(), 1, f"{event.line}\n".encode()))

    def prepare(self) -> None:
        """Create everything and attach to it, so that the first line each container prints is shown. Raises SkiffError."""
        context, options = self._context, self._request.options
        self._stack_up.create()
        wanted = select(self._project, options.services, with_dependencies=options.with_dependencies)
        found = context.containers(self._project, wanted) if wanted else []
        self._watched = [container for container in found if container.name not in self._stack_up.done]
        shown = [container for container in self._watched if container.service in self._options.shown]
        self._sink.open([container.short_name() for container in shown])
        if shown:
            context.emit(Attached(tuple(sorted(container.short_name() for container in shown))))
        self._follower.stays = self._watching is not None
        self._follower.watch(
            shown,
            ending_with=self._watched_for_end(shown),
            from_now=True,
            since=moment(engine_time_ns(context.client)),
        )

    def run(self) -> int | None:
        """Start the containers and follow them to their end; return the exit code, None once interrupted.

        Raises SkiffError.
        """
        self._starting.start()
        self._has_begun.set()
        self._following = threading.Thread(target=self._follow, daemon=True)
        self._following.start()
        self._ended.wait()
        if self._interrupts:
            return None
        if self._is_detached:
            return 0
        if self._failure is not None:
            raise self._failure
        return self._exit_code or 0

    def interrupt(self) -> int:
        """Stop the stack; kill it at the second call. Return how many calls there were. Returns at once."""
        self._interrupts += 1
        if self._interrupts == 1:
            threading.Thread(target=self._stop, daemon=True).start()
        elif self._interrupts == 2:
            threading.Thread(target=self._kill, daemon=True).start()
        return self._interrupts

    def _wait_until_started(self) -> None:
        # keys are read before the first container is started
        self._has_begun.wait()
        self._starting.join()

    def detach(self) -> None:
        """Have `run` return 0 once everything is started; the stack goes on."""
        self._wait_until_started()
        if self._watching is not None:
            self._watching.end()
        self._is_detached = True
        self._ended.set()

    @property
    def is_watching(self) -> bool:
        """Whether files are watched."""
        return self._watching is not None

    def toggle_watch(self) -> bool:
        """Begin to watch files once everything is started, or stop that; return whether they are watched now.

        Raises SkiffError for rules that can't work.
        """
        self._wait_until_started()
        if self._watching is not None:
            self._watching.end()
            self._watching, self._follower.stays = None, False
        elif self._make_watching is not None:
            self._watching, self._follower.stays = self._make_watching(), True
            self._watching.begin(self._stack_up.project, lambda error: self._context.warn(str(error)))
        return self.is_watching

    def _joins(self, labels: Mapping[str, str]) -> bool:
        """Whether the output of a container with these `labels`, created by a rebuild, is shown as well."""
        return labels.get(SERVICE) in self._options.shown and labels.get(ONEOFF, "").lower() != "true"

    def _watched_for_end(self, shown: Sequence[ObservedContainer]) -> list[ObservedContainer]:
        """Return the containers whose exit ends the command once all of them are gone."""
        if services := self._request.options.services:
            return [container for container in self._watched if container.service in services]
        return list(shown) or self._watched

    def _start(self) -> None:
        try:
            self._stack_up.start()
        except BaseException as error:  # noqa: BLE001 - carried over to the main thread
            if not self._interrupts and not self._is_aborting:
                self._failure = error
                self._ended.set()
        else:
            if self._watching is not None:
                self._watching.begin(self._stack_up.project, self._fail)
        self._follower.all_started()

    def _fail(self, error: BaseException) -> None:
        """End with an error of the background watch."""
        self._failure = error
        self._ended.set()

    def _follow(self) -> None:
        try:
            self._follower.follow()
        except BaseException as error:  # noqa: BLE001 - carried over to the main thread
            self._failure = error
        if not self._interrupts and not self._is_aborting:
            self._ended.set()

    def _exited(self, run: ContainerRun) -> None:
        """Handle the exit of a container: the stack may have to be stopped because of it."""
        if run.container.service == self._options.exit_code_from and self._exit_code is None:
            self._exit_code = run.exit_code
        aborts = self._options.aborts_on_exit or (self._options.aborts_on_failure and run.exit_code)
        if not aborts or self._is_aborting or self._interrupts:
            return
        self._is_aborting = True
        if not self._options.exit_code_from:
            self._exit_code = run.exit_code
        self._context.emit(Aborting(run.container.name))
        threading.Thread(target=self._stop, daemon=True).start()

    def _stop(self) -> None:
        """Stop the stack in its order, dependants first."""
        from compose.execute.observe import observe
        from compose.plan.down import plan_stop
        from compose.plan.operations import Plan

        context = self._context
        if self._stack_up.executor is not None:
            self._stack_up.executor.cancel()
        if self._watching is not None:
            self._watching.end()
        self._follower.stays = False
        try:
            client = Client(context.where)
            observed = observe(client, self._project, ())
            chosen = [container for container in observed.containers if self._is_ours(container)]
            plan = Plan.of(plan_stop(observed, chosen, remove=False))
            executor = context.executor(self._project, observed, stop_timeout_s=self._request.stop_timeout_s)
            context.run(plan, executor)
            self._note_exit_code(client)
        except SkiffError as error:
            self._failure = self._failure or error
        else:
            self._following.join(LAST_LINES_S)
        self._ended.set()

    def _is_ours(self, container: ObservedContainer) -> bool:
        """Whether `container` belongs to the services that were brought up; rebuilds may have replaced the first ones."""
        return not container.is_oneoff and container.service in {each.service for each in self._watched}

    def _note_exit_code(self, client: Client) -> None:
        service = self._options.exit_code_from
        if service and self._exit_code is None:
            ids = [container.id for container in self._watched if container.service == service]
            self._exit_code = int(client.container(ids[0])["State"]["ExitCode"]) if ids else 0

    def _kill(self) -> None:
        client = Client(self._context.where)
        for container in filter(self._is_ours, self._context.containers(self._project)):
            with suppress(SkiffError):
                client.kill(container.id)
        self._ended.set()
