"""The keeper's event loop: starts, signals and reaps processes, one message or event at a time.

Every container depends on this one thread, so it blocks in epoll_wait(2) alone, with the next deadline as timeout:
no waitpid(2) without WNOHANG, no read or write of a descriptor that is not ready, no lock. A launch that neither calls
execve(2) nor exits is killed at its deadline (`Launch.deadline_s`), and its death is not awaited. What may take long
runs in a child process (`Workers`), including the emptying of a cgroup whose processes do not die at once
(`CgroupEmptier`).

What a crash leaves, and who repairs it:

    who dies             the keeper                                       the next engine
    -------------------  -----------------------------------------------  --------------------------------------------
    engine, after `bye`  exits at once if nothing runs; else stays and    asks `list` and `get`: exits that happened in
                         records exits, restarts nothing                  between are in the answers
    engine, without it   restarts it if it has processes or launches      the same; a launch of the dead engine goes on
                         (EngineRestarter), or if the doorman was killed  for 5 s at most, and `list` waits for it
                         as well; else exits after 2 s if it has none,
                         after 10 min if all have exited
    engine hangs         keeps its answers queued, then stops reading     says `hello`; the old one gets "replaced"
    keeper               -                                                the engine (it lives) starts another keeper,
                                                                          `adopt`s its processes and `sweep`s the rest
    both                 -                                                gets descriptors from the doorman, else from
                                                                          /proc (`KeeperClient.recover`), and adopts
    a launch's child     EOF on its report with an error, or SIGCHLD      gets a LaunchError
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from runtime.hints import Any
from runtime.keeper import launches
from runtime.keeper.emptying import CgroupEmptier, nothing
from runtime.keeper.engine_connection import EngineConnection, Message
from runtime.keeper.launches import Launch
from runtime.keeper.managed_process import ManagedProcess, Stdio
from runtime.keeper.prefork import PreforkPool
from runtime.keeper.processes import Processes
from runtime.keeper.restarter import EngineRestarter
from runtime.keeper.workers import Workers
from runtime.linux import syscalls as linux
from runtime.oci import cgroup_usage, launch, tasks
from runtime.oci.cgroup import Cgroups
from runtime.oci.process import IGNORED, StartError, reset_signal_handlers

POLL_INTERVAL_S = 2.0
ORPHAN_TIMEOUT_S = 600.0
"""How long exits are kept when no engine connects."""
PAGE = 1000
INHERITED_LAUNCH_S = 5.0
"""How long a launch requested by an earlier engine may still take: `list` of the next one waits for its outcome."""
QUICK_WORK_S = 10.0
"""Time limit of a worker whose work takes two seconds at most."""

Answer = tuple[Message, list[int]]
"""A message and its descriptors."""
Handler = Callable[[Message, list[int]], "Answer | None"]
"""Handles a request and its descriptors; returns the answer, None if it will be sent later."""


class KeeperServer:
    """The event loop and its state."""

    def __init__(self, path: str) -> None:
        self.poll = select.epoll()
        self.listing: list[tuple[socket.socket | None, Message]] = []
        self.restarter = EngineRestarter()
        self.engine_exited_cleanly = True
        self.linger_s = POLL_INTERVAL_S
        """How long a keeper without processes waits for an engine to connect before it exits."""
        self.workers = Workers(self.poll)
        self.launches: dict[int, Launch] = {}
        self.cgroups = Cgroups()
        self.emptier = CgroupEmptier(self.cgroups, self.workers)
        self.kept = Processes(self.poll, self.cgroups, self.emptier, lambda message: self.send(message, []))
        self.prefork = PreforkPool(self.cgroups, os.path.dirname(path), self.emptier)
        self.cgroup_parent = ""
        self.wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        reset_signal_handlers()
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for ignored in IGNORED:
            signal.signal(ignored, signal.SIG_IGN)
        self.path = path
        self.handlers: dict[str, Handler] = {
            "hello": self.do_hello,
            "bye": self.do_bye,
            "list": self.do_list,
            "get": self.do_get,
            "launch": self.do_launch,
            "exec": self.do_exec,
            "signal": self.do_signal,
            "close_stdin": self.do_close_stdin,
            "freeze": self.do_freeze,
            "update": self.do_update,
            "stats": self.do_stats,
            "task": self.do_task,
            "forget": self.do_forget,
            "adopt": self.do_adopt,
            "sweep": self.do_sweep,
        }
        self.connection = EngineConnection(path, self.poll, self.on_engine_lost, self.restarter.say)
        self.poll.register(self.wakeup, select.EPOLLIN)

    def run(self) -> None:
        """Serve until there is neither an engine nor a process."""
        needed_s = time.monotonic()
        while True:
            ready = self.poll.poll(self.pause_s())
            for descriptor, events in ready:
                self.guard(lambda descriptor=descriptor, events=events: self.handle(descriptor, events))  # type: ignore[misc]
            if not ready and self.prefork.are_wanted and not self.launches:
                self.guard(self.prefork.add)
            now_s = time.monotonic()
            for late in [one for one in self.launches.values() if now_s > one.deadline_s and not one.is_late]:
                self.guard(lambda late=late: self.end_late(late))  # type: ignore[misc]
            self.guard(lambda: self.workers.end_late(time.monotonic()))
            if self.restarter.due_s is not None and now_s >= self.restarter.due_s:
                self.guard(lambda: self.restarter.start(time.monotonic()))
            if self.is_needed:
                needed_s = now_s
            elif now_s - needed_s > (
                self.linger_s if self.engine_exited_cleanly or not self.kept else ORPHAN_TIMEOUT_S
            ):
                self.guard(self.restart_engine)  # the doorman may have been killed a moment after the engine
                if self.restarter.is_pending:
                    continue
                self.guard(self.prefork.retire)
                if not self.workers:  # they may still remove cgroups
                    if os.path.lexists(self.path):
                        os.unlink(self.path)
                    return

    def pause_s(self) -> float:
        """Return the timeout for epoll_wait(2): time until the next deadline, -1 for none."""
        if self.prefork.are_wanted and not self.launches:
            return 0.0
        due: list[float] = [one.deadline_s for one in self.launches.values() if not one.is_late]
        due.append(self.workers.next_deadline_s)
        if not self.is_needed:
            due.append(time.monotonic() + POLL_INTERVAL_S)
        if self.restarter.due_s is not None:
            due.append(self.restarter.due_s)
        soonest_s: float = min(due)
        return -1.0 if soonest_s == float("inf") else max(0.0, soonest_s - time.monotonic())

    @property
    def is_needed(self) -> bool:
        """Whether an engine is connected or being started, or a process is running or being launched."""
        return (
            self.connection.engine is not None or self.restarter.is_pending or bool(self.launches) or self.kept.any_runs
        )

    def guard(self, action: Callable[[], None]) -> None:
        """Call `action`; print an exception and go on, since every container depends on this loop."""
        try:
            action()
        except Exception:  # noqa: BLE001 - see above
            import traceback  # here, since it costs half a megabyte

            traceback.print_exc()

    def handle(self, descriptor: int, events: int) -> None:
        """Handle an event of a descriptor."""
        if descriptor == self.wakeup:
            os.read(self.wakeup, 4096)
            self.reap()
        elif descriptor in self.launches:
            self.serve_launch(descriptor)
        elif descriptor in self.workers:
            self.workers.serve(descriptor)
        elif self.kept.has_adopted(descriptor):
            self.kept.serve_adopted(descriptor)
        else:
            self.on_socket_event(descriptor, events)

    def on_socket_event(self, descriptor: int, events: int) -> None:
        """Read from the keeper's sockets, and handle a request of the engine."""
        before = self.connection.engine
        request = self.connection.receive(descriptor, events)
        if request is None:
            return
        message, descriptors, is_first = request
        if is_first:
            self.engine_exited_cleanly, self.linger_s = False, POLL_INTERVAL_S
            self.workers.drop(before)
            latest_s = time.monotonic() + INHERITED_LAUNCH_S
            for one in self.launches.values():
                one.deadline_s = min(one.deadline_s, latest_s)
        self.handle_request(message, descriptors)

    def on_engine_lost(self) -> None:
        """Clean up after the end of the engine's connection, and restart it if necessary."""
        engine = self.connection.engine
        self.connection.drop()
        self.workers.drop(engine)
        self.prefork.retire()
        self.restart_engine()

    def handle_request(self, message: Message, descriptors: list[int]) -> None:
        """Call the handler of a request, and send its answer or error."""
        answer: Message
        carried: list[int] = []
        try:
            outcome = self.handlers[message["do"]](message, descriptors)
            if outcome is None:  # answered later
                return
            answer, carried = outcome
        except StartError as error:
            answer = {"error": str(error), "exit_code": error.exit_code}
        except Exception as error:  # noqa: BLE001 - the engine reports it; the keeper must go on
            answer = {"error": f"{type(error).__name__}: {error}", "errno": getattr(error, "errno", None)}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.send({**answer, "re": message.get("re")}, carried)

    def send(self, message: Message, descriptors: list[int]) -> None:
        """Send `message` if an engine is connected."""
        self.connection.send(message, descriptors)

    def restart_engine(self) -> None:
        """Schedule a restart of the engine if it crashed while there are processes or launches, or took the doorman along."""
        if not self.engine_exited_cleanly and (self.kept or self.launches or self.doorman_is_gone()):
            self.restarter.on_lost(time.monotonic())

    def doorman_is_gone(self) -> bool:
        """Whether the doorman, which starts an engine for the next client, was killed: it removes its socket otherwise."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
            return probe.connect_ex(os.path.join(os.path.dirname(self.path), "doorman.sock")) == errno.ECONNREFUSED

    def reap(self) -> None:
        """Reap all children that have exited (SIGCHLD)."""
        self.kept.reap(self.stranger_ended, spares_strangers=bool(self.launches))

    def stranger_ended(self, pid: int) -> None:
        """Handle the exit of a child that is neither a container's init nor an exec: a preforked child, the engine."""
        if not self.prefork.lose(pid) and pid == self.restarter.pid:
            self.restarter.pid = 0
            if self.connection.engine is None:
                self.restart_engine()

    def do_close_stdin(self, message: Message, _: list[int]) -> Answer:
        """Close the keeper's write end of a process's standard input, so that it can read EOF."""
        writer = self.kept[message["id"]].fds.pop("stdin", None)
        if writer is not None:
            os.close(writer)
        return {}, []

    def do_hello(self, message: Message, _: list[int]) -> Answer:
        """Store the engine's command line for a restart and the parent of its containers' cgroups."""
        self.restarter.on_connected(message, time.monotonic())
        self.cgroup_parent = message["cgroup"]
        template: Any = message.get("prefork_template") or {}
        self.prefork.prepare_for(self.cgroup_parent, template)
        return {"pid": os.getpid()}, []

    def do_sweep(self, message: Message, _: list[int]) -> None:
        """Kill and remove the engine's cgroups that belong to no known process: they outlived an engine and a keeper."""
        known = self.kept.cgroup_paths | {begun.cgroup for begun in self.launches.values()}
        known |= self.prefork.cgroup_paths
        parents = self.cgroups.directories(self.cgroup_parent).values()
        names = {name for parent in parents if os.path.isdir(parent) for name in next(os.walk(parent))[1]}
        strays = sorted(name for name in names if f"{self.cgroup_parent}/{name}" not in known)
        left = set(strays)
        answer = self.answer_to(message)

        def ended(name: str) -> None:
            left.discard(name)
            if not left:
                answer({"ended": strays})

        for name in strays:
            self.emptier.remove(f"{self.cgroup_parent}/{name}", lambda name=name: ended(name))  # type: ignore[misc]
        if not strays:
            answer({"ended": []})

    def do_bye(self, message: Message, _: list[int]) -> None:
        """Note that the engine exits on purpose; answered once the cgroups of preforked children are removed."""
        self.engine_exited_cleanly, self.linger_s = True, 0.0
        self.restarter.cancel(self.connection.pid)
        self.prefork.retire()
        answer = self.answer_to(message)
        self.emptier.when_idle(lambda: answer({}))

    def do_list(self, message: Message, _: list[int]) -> None:
        """List process IDs, a page at a time; `get` returns the descriptors of one."""
        self.listing.append((self.connection.engine, message))
        self.answer_lists()

    def answer_lists(self) -> None:
        """Answer waiting `list` requests once no launch is under way (all have called execve(2), failed or timed out)."""
        if self.listing and all(one.is_late for one in self.launches.values()):
            listing, self.listing = self.listing, []
            ids = self.kept.ids
            for connection, message in listing:
                rest = [id for id in ids if id > (message.get("after") or "")]
                answer = {"ids": rest[:PAGE], "has_more": len(rest) > PAGE, "re": message.get("re")}
                self.answer(connection, answer, [])

    def do_get(self, message: Message, _: list[int]) -> Answer:
        """Describe one process, with duplicates of its descriptors."""
        kept = self.kept[message["id"]]
        return kept.describe(), kept.descriptors()

    def do_forget(self, message: Message, _: list[int]) -> None:
        """Drop an exited process, its descriptors and its cgroup; answered once the cgroup is removed."""
        answer = self.answer_to(message)
        self.kept.forget(message["id"], lambda: answer({}))

    def do_adopt(self, message: Message, descriptors: list[int]) -> Answer:
        """Take over a process of an earlier keeper."""
        self.make_room(message["id"])
        self.kept.adopt(message, [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in descriptors])
        return {}, []

    def do_signal(self, message: Message, _: list[int]) -> Answer:
        """Send a signal through the pidfd, which can't refer to another process."""
        kept = self.kept.get(message["id"])
        if kept is not None and kept.exit is None:  # a process that was forgotten has exited
            linux.call("pidfd_send_signal", kept.pidfd, message["signum"], None, 0)
        return {}, []

    def do_launch(self, message: Message, descriptors: list[int]) -> None:
        """Start a container from the OCI document in the descriptor; answered once its process has called execve(2)."""
        (spec,) = descriptors
        self.make_room(message["id"])
        if self.emptier.is_busy(message["cgroup"]):
            self.launch_later(message, spec)
            return
        stdio = Stdio(terminal=message["terminal"], stdin=message["stdin"])
        try:
            begun = self.use_preforked(message, spec, stdio) or self.fork_container(message, spec, stdio)
        except BaseException:
            stdio.close()
            self.emptier.remove(message["cgroup"])
            raise
        self.follow(begun)

    def launch_later(self, message: Message, spec: int) -> None:
        """Repeat the launch once the container's cgroup, which still has processes of its last run, is empty."""
        engine, copy = self.connection.engine, fcntl.fcntl(spec, fcntl.F_DUPFD_CLOEXEC, 3)

        def launch_now() -> None:
            if self.connection.engine is engine:
                self.handle_request(message, [copy])
            else:
                os.close(copy)

        self.emptier.after(message["cgroup"], launch_now)

    def use_preforked(self, message: Message, spec: int, stdio: Stdio) -> Launch | None:
        """Let a preforked child become the container, if one is ready and suits it."""
        if any(map(os.path.exists, self.cgroups.directories(message["cgroup"]).values())):
            return None  # the cgroup of its last run still exists: no other can be renamed to it
        standby = self.prefork.take(message)
        if standby is None:
            return None
        try:
            standby.move(message["cgroup"], message["resources"])
            return standby.become(message, spec, stdio)
        except BaseException:
            standby.retire(self.emptier)
            raise

    def fork_container(self, message: Message, spec: int, stdio: Stdio) -> Launch:
        """Fork a child that becomes the container's init."""
        cgroup = message["cgroup"]
        self.cgroups.create(cgroup, message["resources"])
        born_in = self.cgroups.descriptor(cgroup)
        console = stdio.console_child

        def become(report: int) -> None:
            launch.container(
                launches.read(spec), message["bundle"], stdio.inner, console, is_placed=born_in >= 0, report=report
            )

        try:
            return launches.fork(
                message, stdio, cgroup, launch.namespace_flags(message["namespaces"]), become, spec, born_in
            )
        finally:
            if born_in >= 0:
                os.close(born_in)

    def make_room(self, id: str) -> None:
        """Forget an exited process with the same ID. Raises StartError if one runs or starts."""
        kept = self.kept.get(id)
        if kept is not None and kept.exit is None:
            raise StartError(f"{id} is already running")
        for one in self.launches.values():
            if one.id == id:
                raise StartError(
                    f"process {one.pid} of {id}'s last start was killed and has not exited: it waits in the kernel"
                    if one.is_late
                    else f"{id} is already starting"
                )
        self.kept.forget(id, nothing)

    def do_exec(self, message: Message, _: list[int]) -> None:
        """Start another process in a container's namespaces and cgroup; answered once it has called execve(2)."""
        target = self.kept[message["container"]]
        self.make_room(message["id"])
        process = message["process"]
        stdio = Stdio(terminal=bool(process.get("terminal")), stdin=message["stdin"])
        console = stdio.console_child

        def become(report: int) -> None:
            launch.execute_inside(
                target.pidfd, target.cgroup, process, message["annotations"], message["seccomp"], stdio.inner,
                console, report,
            )  # fmt: skip

        try:
            self.follow(launches.fork(message, stdio, target.cgroup, 0, become, target.pidfd))
        except BaseException:
            stdio.close()
            raise

    def follow(self, begun: Launch) -> None:
        """Watch a launch until its execve(2)."""
        begun.connection = self.connection.engine
        self.launches[begun.report] = begun
        self.poll.register(begun.report, select.EPOLLIN)

    def serve_launch(self, report: int) -> None:
        """Read the report of a launch. EOF without data: execve(2) succeeded. With data: the error."""
        ended = self.launches[report]
        if ended.read_report():
            return
        self.poll.unregister(report)
        del self.launches[report]
        os.close(report)
        ended.stdio.take_console()
        if ended.said:
            self.give_up(ended)
        else:
            kept = ManagedProcess(ended.id, ended.pid, ended.pidfd, ended.stdio.outer, ended.cgroup, ended.container)
            self.kept.add(kept)
            self.answer(ended.connection, {**kept.describe(), "re": ended.re}, kept.descriptors())
        self.reap()
        self.answer_lists()
        if self.connection.engine is None:
            self.restart_engine()

    def end_late(self, late: Launch) -> None:
        """Kill a launch that timed out and answer the engine at once, without waiting for the child to die."""
        late.kill()
        if late.cgroup and late.id == late.container:
            self.emptier.kill(late.cgroup)
        self.answer(late.connection, {"error": late.lateness, "exit_code": 128, "re": late.re}, [])
        late.connection = None
        self.answer_lists()

    def give_up(self, ended: Launch) -> None:
        """Clean up after a launch that failed; answer with its error once its cgroup is removed."""
        # it may not exit by itself, as a stopped process does not
        ended.kill()
        os.close(ended.pidfd)
        ended.stdio.close()
        code, _, text = ended.said.decode(errors="replace").partition("\n")
        text, _, hint = text.partition("\0")
        answer = {"error": text, "exit_code": int(code), "hint": hint or None, "re": ended.re}
        if ended.cgroup and ended.id == ended.container:
            self.emptier.remove(ended.cgroup, lambda: self.answer(ended.connection, answer, []))
        else:
            self.answer(ended.connection, answer, [])

    def answer(self, connection: socket.socket | None, message: Message, descriptors: list[int]) -> None:
        """Send an answer if the engine that asked over `connection` is still the present one."""
        if connection is not None and connection is self.connection.engine:
            self.send(message, descriptors)

    def answer_to(self, message: Message) -> Callable[[Message], None]:
        """Return a function that sends the answer to `message`, at any later time."""
        connection, number = self.connection.engine, message.get("re")
        return lambda answer: self.answer(connection, {**answer, "re": number}, [])

    def do_task(self, message: Message, descriptors: list[int]) -> None:
        """Run a function of `runtime.oci.tasks` in a worker; answered with its result."""
        kept = self.kept.get(message["rootfs"].get("container") or "")
        live = kept.pidfd if kept is not None and not kept.exit else None
        self.workers.start(
            lambda: tasks.run(message, descriptors, live),
            self.answer_to(message),
            kept=[*descriptors, *([] if live is None else [live])],
            owner=self.connection.engine,
        )

    def freeze(self, cgroup: str, frozen: bool) -> None:
        """Freeze or thaw a cgroup. One that was removed can't be frozen, and need not be thawed. Raises StartError."""
        try:
            self.cgroups.freeze(cgroup, frozen)
        except (FileNotFoundError, ProcessLookupError) as error:
            if frozen:
                raise StartError("the container has ended", 128) from error
        except OSError as error:
            if frozen or error.errno != errno.ENODEV:  # write(2) to an open file of a removed cgroup
                raise

    def do_freeze(self, message: Message, _: list[int]) -> Answer | None:
        """Freeze or thaw a container, in a worker: freezing takes until the last of its processes has stopped."""
        kept = self.kept.get(message["id"])
        if kept is None:
            return {}, []
        cgroup = str(kept.cgroup)
        self.workers.start(
            lambda: self.freeze(cgroup, message["frozen"]), self.answer_to(message), limit_s=QUICK_WORK_S
        )
        return None

    def do_update(self, message: Message, _: list[int]) -> None:
        """Change the limits of a container, in a worker: lowering that of memory may take the kernel long."""
        cgroup = str(self.kept[message["id"]].cgroup)
        self.workers.start(
            lambda: self.cgroups.update(cgroup, message["resources"]), self.answer_to(message), limit_s=3 * QUICK_WORK_S
        )

    def do_stats(self, message: Message, _: list[int]) -> Answer:
        """Read the counters of a container's cgroup."""
        return cgroup_usage.measure(self.cgroups, str(self.kept[message["id"]].cgroup)), []
