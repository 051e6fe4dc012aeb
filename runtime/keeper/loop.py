"""The keeper's poll loop: processes begun, kept, signalled and reaped, one message or event at a time.

Every container depends on this one thread, so it waits for nothing but its epoll, which is bounded by the next deadline:
no waitpid(2) without WNOHANG, no read or write of a descriptor that is not ready, no lock. A child that neither becomes
a process nor ends is killed when it had its time (`Launch.deadline_s`) and left to die alone; what may take long runs in
a child (`Workers`), also the emptying of a cgroup whose processes do not die at once (`CgroupEmptier`).
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
from runtime.keeper.engine_connection import EngineConnection
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
"""How long exit codes are kept for an engine that does not come."""
PAGE = 1000
INHERITED_LAUNCH_S = 5.0
"""How long a launch that an earlier engine asked for may go on: the next one has to know what became of it."""
QUICK_WORK_S = 10.0
"""How long a worker has for what the kernel does in two seconds at most."""

Answer = tuple[dict[str, Any], list[int]]
"""A message, and the descriptors that go with it."""
Handler = Callable[[dict[str, Any], list[int]], "Answer | None"]
"""Does what a request with its descriptors asks for; returns the answer, None where that comes later."""


class KeeperServer:
    """The poll loop and what it keeps."""

    def __init__(self, path: str) -> None:
        self.poll = select.epoll()
        self.listing: list[tuple[socket.socket | None, dict[str, Any]]] = []
        self.restarter = EngineRestarter()
        self.engine_exited_cleanly = True
        self.linger_s = POLL_INTERVAL_S
        """How long a keeper that has nothing to keep waits for an engine: one may be about to connect."""
        self.workers = Workers(self.poll)
        self.launches: dict[int, Launch] = {}
        self.cgroups = Cgroups()
        self.emptier = CgroupEmptier(self.cgroups, self.workers)
        self.kept = Processes(self.poll, self.cgroups, self.emptier, lambda told: self.send(told, []))
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
        """Serve until there is neither engine nor process."""
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
                self.guard(self.prefork.retire)
                if not self.workers:  # else they still remove cgroups
                    if os.path.lexists(self.path):
                        os.unlink(self.path)
                    return

    def pause_s(self) -> float:
        """Return how long nothing may happen before something is to be done; -1 for any time."""
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
        """Whether there is an engine, or one on its way, or something alive to be kept for it."""
        return (
            self.connection.engine is not None or self.restarter.is_pending or bool(self.launches) or self.kept.any_runs
        )

    def guard(self, action: Callable[[], None]) -> None:
        """Do one thing; every container hangs on this loop, so a failure is told and the loop goes on."""
        try:
            action()
        except Exception:  # noqa: BLE001 - see above
            import traceback  # only now: it costs half a megabyte

            traceback.print_exc()

    def handle(self, descriptor: int, events: int) -> None:
        """Do what a descriptor that is ready asks for."""
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
        """Take what comes over the keeper's socket; do what the engine asks for."""
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
        """Take note that the engine is gone."""
        engine = self.connection.engine
        self.connection.drop()
        self.workers.drop(engine)
        self.prefork.retire()
        self.restart_engine()

    def handle_request(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Do what a message asks for, and answer it."""
        answer: dict[str, Any]
        carried: list[int] = []
        try:
            outcome = self.handlers[message["do"]](message, descriptors)
            if outcome is None:  # answered later
                return
            answer, carried = outcome
        except StartError as error:
            answer = {"error": str(error), "exit_code": error.exit_code}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the engine's to tell; the keeper goes on
            answer = {"error": f"{type(error).__name__}: {error}", "errno": getattr(error, "errno", None)}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.send({**answer, "re": message.get("re")}, carried)

    def send(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Send `message` to the engine, if it is there to hear it."""
        self.connection.send(message, descriptors)

    def restart_engine(self) -> None:
        """Have the engine started anew when it went without saying so while there is something to tell it."""
        if not self.engine_exited_cleanly and (self.kept or self.launches):
            self.restarter.on_lost(time.monotonic())

    def reap(self) -> None:
        """Take note of every process that ended."""
        self.kept.reap(self.stranger_ended, spares_strangers=bool(self.launches))

    def stranger_ended(self, pid: int) -> None:
        """Take note of the end of a child that is no process of a container's."""
        if not self.prefork.lose(pid) and pid == self.restarter.pid:
            self.restarter.pid = 0
            if self.connection.engine is None:
                self.restart_engine()

    def do_close_stdin(self, message: dict[str, Any], _: list[int]) -> Answer:
        """Let go of the writing end of a process's standard input, so that it can reach its end."""
        writer = self.kept[message["id"]].fds.pop("stdin", None)
        if writer is not None:
            os.close(writer)
        return {}, []

    def do_hello(self, message: dict[str, Any], _: list[int]) -> Answer:
        """Learn how to start the engine anew, and where its containers' cgroups are."""
        self.restarter.on_connected(message, time.monotonic())
        self.cgroup_parent = message["cgroup"]
        self.prefork.prepare_for(self.cgroup_parent, message.get("prefork_template") or {})
        return {"pid": os.getpid()}, []

    def do_sweep(self, message: dict[str, Any], _: list[int]) -> None:
        """End what runs in the engine's cgroups and nobody keeps: it outlived both an engine and a keeper."""
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

    def do_bye(self, message: dict[str, Any], _: list[int]) -> None:
        """Note that the engine is about to go on purpose; answered when nothing is left of what stood by."""
        self.engine_exited_cleanly, self.linger_s = True, 0.0
        self.restarter.forget()
        self.prefork.retire()
        answer = self.answer_to(message)
        self.emptier.when_idle(lambda: answer({}))

    def do_list(self, message: dict[str, Any], _: list[int]) -> None:
        """Name processes, those after the one that is named; `get` gives the descriptors of one."""
        self.listing.append((self.connection.engine, message))
        self.answer_lists()

    def answer_lists(self) -> None:
        """Answer who wants to know what there is, once all children that an earlier engine asked for have become it."""
        if self.listing and all(one.is_late for one in self.launches.values()):
            listing, self.listing = self.listing, []
            ids = self.kept.ids
            for connection, message in listing:
                rest = [id for id in ids if id > (message.get("after") or "")]
                told = {"ids": rest[:PAGE], "has_more": len(rest) > PAGE, "re": message.get("re")}
                self.answer(connection, told, [])

    def do_get(self, message: dict[str, Any], _: list[int]) -> Answer:
        """Describe one process, with duplicates of its descriptors."""
        kept = self.kept[message["id"]]
        return kept.describe(), kept.descriptors()

    def do_forget(self, message: dict[str, Any], _: list[int]) -> None:
        """Drop an ended process, its descriptors and its cgroup; answered when that is gone."""
        answer = self.answer_to(message)
        self.kept.forget(message["id"], lambda: answer({}))

    def do_adopt(self, message: dict[str, Any], descriptors: list[int]) -> Answer:
        """Take over what an earlier keeper held."""
        self.make_room(message["id"])
        self.kept.adopt(message, [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in descriptors])
        return {}, []

    def do_signal(self, message: dict[str, Any], _: list[int]) -> Answer:
        """Send a signal through the pidfd, which never names another process."""
        kept = self.kept.get(message["id"])
        if kept is not None and kept.exit is None:  # one that is forgotten has ended
            linux.call("pidfd_send_signal", kept.pidfd, message["signum"], None, 0)
        return {}, []

    def do_launch(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Make a container from the OCI document in the descriptor; answered once its process executes."""
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

    def launch_later(self, message: dict[str, Any], spec: int) -> None:
        """Make a container once the processes of its last run are gone from its cgroup."""
        engine, copy = self.connection.engine, fcntl.fcntl(spec, fcntl.F_DUPFD_CLOEXEC, 3)

        def launch_now() -> None:
            if self.connection.engine is engine:
                self.handle_request(message, [copy])
            else:
                os.close(copy)

        self.emptier.after(message["cgroup"], launch_now)

    def use_preforked(self, message: dict[str, Any], spec: int, stdio: Stdio) -> Launch | None:
        """Have the child that waits become the container, if there is one that fits."""
        if any(map(os.path.exists, self.cgroups.directories(message["cgroup"]).values())):
            return None  # a process of its last run is not gone yet: the name can't be given anew
        standby = self.prefork.take(message)
        if standby is None:
            return None
        try:
            standby.move(message["cgroup"], message["resources"])
            return standby.become(message, spec, stdio)
        except BaseException:
            standby.retire(self.emptier)
            raise

    def fork_container(self, message: dict[str, Any], spec: int, stdio: Stdio) -> Launch:
        """Fork a child that becomes the container."""
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
        """Forget an ended process of the same id; a live one is not replaced."""
        kept = self.kept.get(id)
        if kept is not None and kept.exit is None:
            raise StartError(f"{id} is already running")
        for one in self.launches.values():
            if one.id == id:
                raise StartError(
                    f"process {one.pid} of {id}'s last start was killed and has not ended: it waits in the kernel"
                    if one.is_late
                    else f"{id} is already starting"
                )
        self.kept.forget(id, nothing)

    def do_exec(self, message: dict[str, Any], _: list[int]) -> None:
        """Start another process in a container's namespaces and cgroup; answered once it executes."""
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
        """Watch a child on its way."""
        begun.connection = self.connection.engine
        self.launches[begun.report] = begun
        self.poll.register(begun.report, select.EPOLLIN)

    def serve_launch(self, report: int) -> None:
        """Hear a child; when it has said everything, it executes, or it said why it can't."""
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
        """Kill a child that had its time; who waits for it waits no longer, even for its death."""
        late.kill()
        if late.cgroup and late.id == late.container:
            self.emptier.kill(late.cgroup)
        self.answer(late.connection, {"error": late.lateness, "exit_code": 128, "re": late.re}, [])
        late.connection = None
        self.answer_lists()

    def give_up(self, ended: Launch) -> None:
        """Clear away after a child that could not become the process, and say why once nothing is left of it."""
        # it has said everything, and may not end all the same: an init that waits for others, a stopped process
        ended.kill()
        os.close(ended.pidfd)
        ended.stdio.close()
        code, _, text = ended.said.decode(errors="replace").partition("\n")
        answer = {"error": text, "exit_code": int(code), "re": ended.re}
        if ended.cgroup and ended.id == ended.container:
            self.emptier.remove(ended.cgroup, lambda: self.answer(ended.connection, answer, []))
        else:
            self.answer(ended.connection, answer, [])

    def answer(self, connection: socket.socket | None, message: dict[str, Any], descriptors: list[int]) -> None:
        """Answer later what was asked over `connection`; numbers of an engine that is gone mean nothing to the next."""
        if connection is not None and connection is self.connection.engine:
            self.send(message, descriptors)

    def answer_to(self, message: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
        """Return what answers `message`, some time."""
        connection, number = self.connection.engine, message.get("re")
        return lambda told: self.answer(connection, {**told, "re": number}, [])

    def do_task(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Run a function of `runtime.oci.tasks` in a worker; its answer is told when it comes."""
        kept = self.kept.get(message["rootfs"].get("container") or "")
        live = kept.pidfd if kept is not None and not kept.exit else None
        self.workers.start(
            lambda: tasks.run(message, descriptors, live),
            self.answer_to(message),
            kept=[*descriptors, *([] if live is None else [live])],
            owner=self.connection.engine,
        )

    def freeze(self, cgroup: str, frozen: bool) -> None:
        """Stop or go on scheduling the processes of a cgroup; one that is gone meanwhile has nothing to go on with."""
        try:
            self.cgroups.freeze(cgroup, frozen)
        except (FileNotFoundError, ProcessLookupError) as error:
            if frozen:
                raise StartError("the container has ended", 128) from error
        except OSError as error:
            if frozen or error.errno != errno.ENODEV:  # what an open file of a removed cgroup says
                raise

    def do_freeze(self, message: dict[str, Any], _: list[int]) -> Answer | None:
        """Stop or go on scheduling the processes of a container, in a worker: it takes until the last one is stopped."""
        kept = self.kept.get(message["id"])
        if kept is None:
            return {}, []
        cgroup = str(kept.cgroup)
        self.workers.start(
            lambda: self.freeze(cgroup, message["frozen"]), self.answer_to(message), limit_s=QUICK_WORK_S
        )
        return None

    def do_update(self, message: dict[str, Any], _: list[int]) -> None:
        """Change the limits of a container, in a worker: to lower memory's may take the kernel long."""
        cgroup = str(self.kept[message["id"]].cgroup)
        self.workers.start(
            lambda: self.cgroups.update(cgroup, message["resources"]), self.answer_to(message), limit_s=3 * QUICK_WORK_S
        )

    def do_stats(self, message: dict[str, Any], _: list[int]) -> Answer:
        """Read the numbers of a container's cgroup."""
        return cgroup_usage.measure(self.cgroups, str(self.kept[message["id"]].cgroup)), []
