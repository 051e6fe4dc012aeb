"""The keeper's poll loop: processes begun, kept, signalled and reaped, one message or event at a time."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from runtime.hints import Any
from runtime.keeper import launches, wire
from runtime.keeper.kept import Kept, Stdio
from runtime.keeper.launches import Launch, Standby
from runtime.linux import pidfd as pidfds
from runtime.linux import syscalls as linux
from runtime.oci import cgroup_usage, launch, tasks
from runtime.oci.cgroup import Cgroups
from runtime.oci.process import LaunchError

LOOK_S = 2.0
UNKNOWN_EXIT = 255


class Keeper:
    """The poll loop and what it keeps."""

    def __init__(self, path: str) -> None:
        self.kept: dict[str, Kept] = {}
        self.poll = select.epoll()
        self.engine: socket.socket | None = None
        self.restart: list[str] | None = None
        self.environment: dict[str, str] = {}
        self.said_bye = True
        self.linger_s = LOOK_S
        """How long a keeper that has nothing to keep waits for an engine: one may be about to connect."""
        self.tasks: dict[int, tuple[socket.socket | None, Any, bytearray]] = {}
        self.adopted: dict[int, Kept] = {}
        self.launches: dict[int, Launch] = {}
        self.cgroups = Cgroups()
        self.standby: Standby | None = None
        self.standby_parent = ""
        self.wants_standby = False
        self.standbys = 0
        self.wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for ignored in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT):
            signal.signal(ignored, signal.SIG_IGN)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self.listener.bind(path)
        os.chmod(path, 0o600)
        self.listener.listen(4)
        self.path = path
        for descriptor in (self.wakeup, self.listener.fileno()):
            self.poll.register(descriptor, select.EPOLLIN)

    def run(self) -> None:
        """Serve until there is neither engine nor process."""
        idle_since = time.monotonic()
        while True:
            ready = self.poll.poll(0 if self.wants_standby and not self.launches else LOOK_S)
            for descriptor, _ in ready:
                self.guard(lambda descriptor=descriptor: self.handle(descriptor))  # type: ignore[misc]
            if not ready and self.wants_standby and not self.launches:
                self.guard(self.stand_by)
            for late in [one for one in self.launches.values() if time.monotonic() > one.deadline_s]:
                late.kill()
            if self.engine is not None or any(kept.exit is None for kept in self.kept.values()):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > self.linger_s:
                self.retire_standby()
                os.unlink(self.path)
                return

    def guard(self, action: Callable[[], None]) -> None:
        """Do one thing; every container hangs on this loop, so a failure is told and the loop goes on."""
        try:
            action()
        except Exception:  # noqa: BLE001 - see above
            import traceback  # only now: it costs half a megabyte

            traceback.print_exc()

    def stand_by(self) -> None:
        """Have a child wait for the next container, where that is of use."""
        self.wants_standby = False
        if self.standby is None and self.standby_parent and not self.cgroups.is_unified:
            self.standbys += 1
            self.standby = Standby(self.cgroups, self.standby_parent, self.standbys)

    def retire_standby(self) -> None:
        """Let the child that waits go."""
        standby, self.standby = self.standby, None
        if standby is not None:
            standby.retire()

    def handle(self, descriptor: int) -> None:
        """Do what a readable descriptor asks for."""
        if descriptor == self.wakeup:
            os.read(self.wakeup, 4096)
            self.reap()
        elif descriptor == self.listener.fileno():
            self.accept()
        elif descriptor in self.launches:
            self.serve_launch(descriptor)
        elif descriptor in self.tasks:
            self.serve_task(descriptor)
        elif descriptor in self.adopted:
            self.serve_adopted(descriptor)
        elif self.engine is not None and descriptor == self.engine.fileno():
            self.serve()

    def accept(self) -> None:
        """Take the new engine's connection; an older one is let go."""
        connection, _ = self.listener.accept()
        if self.engine is not None:
            self.tell({"replaced": True}, [])
            self.drop()
        self.engine = connection
        self.said_bye, self.linger_s = False, LOOK_S
        self.poll.register(connection.fileno(), select.EPOLLIN)

    def drop(self) -> None:
        """Forget the engine's connection."""
        if self.engine is not None:
            self.poll.unregister(self.engine.fileno())
            self.engine.close()
            self.engine = None
            self.wants_standby = False
            self.retire_standby()

    def serve(self) -> None:
        """Answer one message of the engine."""
        assert self.engine is not None
        try:
            message, descriptors = wire.receive(self.engine)
        except (OSError, ValueError):
            message, descriptors = None, []
        if message is None:
            self.drop()
            self.engine_lost()
            return
        answer: dict[str, Any]
        carried: list[int] = []
        try:
            if message["do"] == "task":
                self.start_task(message, descriptors)
                return
            outcome = getattr(self, "do_" + message["do"])(message, descriptors)
            if outcome is None:  # answered when the child executes
                return
            answer, carried = outcome
        except LaunchError as error:
            answer = {"error": str(error), "exit_code": error.exit_code}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the engine's to tell; the keeper goes on
            answer = {"error": f"{type(error).__name__}: {error}"}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.tell({**answer, "re": message.get("re")}, carried)

    def tell(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Send `message` to the engine, if it is there to hear it."""
        if self.engine is None:
            return
        try:
            wire.send(self.engine, message, descriptors)
        except OSError:
            self.drop()
            self.engine_lost()

    def engine_lost(self) -> None:
        """Start the engine anew when it went without saying so while containers live."""
        if self.said_bye or not self.restart or all(kept.exit for kept in self.kept.values()):
            return
        if os.fork() == 0:
            try:
                os.setsid()
                for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
                os.execve(self.restart[0], self.restart, self.environment)
            finally:
                os._exit(127)
        self.said_bye = True

    def reap(self) -> None:
        """Take note of every process that ended."""
        live = {kept.pid: kept for kept in self.kept.values() if kept.exit is None}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            if self.launches and found.si_pid not in live:
                # it may be one whose launch is not answered yet: its number stays its own until then
                break
            pid, status = os.waitpid(found.si_pid, 0)
            if pid in live:
                self.note_exit(live.pop(pid), status)
            elif self.standby is not None and pid == self.standby.pid:
                self.standby = None
        for kept in live.values():
            pid, status = os.waitpid(kept.pid, os.WNOHANG) if kept.pidfd not in self.adopted else (0, 0)
            if pid:
                self.note_exit(kept, status)

    def note_exit(self, kept: Kept, status: int | None) -> None:
        """Keep how a process ended (a wait status; None when nobody can know) and tell the engine."""
        number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
        known = UNKNOWN_EXIT if status is None else os.WEXITSTATUS(status)
        kept.exit = {
            "exit_code": 128 + number if number else known,
            "signal": number,
            "oom_killed": bool(kept.cgroup and cgroup_usage.oom_kills(self.cgroups, kept.cgroup)),
            "finished_at_ns": time.time_ns(),
        }
        if kept.cgroup and kept.id == kept.container:
            # a PID namespace ends with its first process; one that shares the host's may leave others behind
            self.cgroups.kill(kept.cgroup)
        self.tell({"exited": kept.id, **kept.exit}, [])

    def serve_adopted(self, descriptor: int) -> None:
        """Learn how an adopted process ended: another is its parent, so the kernel is asked instead of waitpid(2)."""
        kept = self.adopted[descriptor]
        status = None
        if pidfds.remembers_exits():
            try:
                status = pidfds.wait_status(descriptor)
            except OSError:
                status = None
            else:
                if status is None:  # its new parent has not reaped it: the pidfd hangs up when it has
                    return
        self.poll.unregister(descriptor)
        del self.adopted[descriptor]
        self.note_exit(kept, status)

    def do_close_stdin(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Let go of the writing end of a process's standard input, so that it can reach its end."""
        writer = self.kept[message["id"]].fds.pop("stdin", None)
        if writer is not None:
            os.close(writer)
        return {}, []

    def do_hello(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Learn how to start the engine anew, and where its containers' cgroups are."""
        self.restart, self.environment = message["restart"], message["environment"]
        self.standby_parent = message["cgroup"]
        if self.standby is None and not self.cgroups.is_unified:
            launches.sweep_standbys(self.cgroups, self.standby_parent)
        self.wants_standby = True
        return {"pid": os.getpid()}, []

    def do_bye(self, _message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Note that the engine is about to go on purpose."""
        self.said_bye, self.linger_s = True, 0.0
        self.wants_standby = False
        self.retire_standby()
        return {}, []

    def do_list(self, _message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Name every process; `get` gives the descriptors of one."""
        # what an earlier engine asked for and did not hear of is known by then
        for pending in list(self.launches.values()):
            while pending.report in self.launches:
                self.wait_for(pending)
        return {"ids": sorted(self.kept)}, []

    def do_get(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Describe one process, with duplicates of its descriptors."""
        kept = self.kept[message["id"]]
        return kept.describe(), kept.descriptors()

    def do_forget(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Drop an ended process, its descriptors and its cgroup."""
        kept = self.kept.pop(message["id"], None)
        if kept is not None:
            if self.adopted.pop(kept.pidfd, None) is not None:
                self.poll.unregister(kept.pidfd)
            kept.close()
            if kept.cgroup and kept.id == kept.container:
                self.cgroups.remove(kept.cgroup)
        return {}, []

    def do_adopt(self, message: dict[str, Any], descriptors: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Take over what an earlier keeper held: the descriptors are the pidfd's and those of `fds`, in order."""
        copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in descriptors]
        kept = Kept(
            message["id"], message["pid"], copies[0], dict(zip(message["fds"], copies[1:], strict=True)),
            message["cgroup"], message["container"],
        )  # fmt: skip
        kept.started_at_ns = message["started_at_ns"]
        kept.exit = message["exit"]
        self.kept[kept.id] = kept
        if kept.exit is None:
            self.adopted[kept.pidfd] = kept
            # edge-triggered: one event when it ends, one more when its parent reaps it
            self.poll.register(kept.pidfd, select.EPOLLIN | select.EPOLLET)
        return {}, []

    def do_signal(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Send a signal through the pidfd, which never names another process."""
        kept = self.kept[message["id"]]
        if kept.exit is None:
            linux.call("pidfd_send_signal", kept.pidfd, message["signum"], None, 0)
        return {}, []

    def do_launch(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Make a container from the OCI document in the descriptor; answered once its process executes."""
        (spec,) = descriptors
        self.make_room(message["id"])
        stdio = Stdio(terminal=message["terminal"], stdin=message["stdin"])
        try:
            begun = self.use_standby(message, spec, stdio) or self.fork_container(message, spec, stdio)
        except BaseException:
            stdio.close()
            self.cgroups.remove(message["cgroup"])
            raise
        self.follow(begun)
        self.wants_standby = True

    def use_standby(self, message: dict[str, Any], spec: int, stdio: Stdio) -> Launch | None:
        """Have the child that waits become the container, if there is one that fits."""
        standby = self.standby
        if standby is None or not standby.is_ready() or not standby.fits(message):
            return None
        self.standby = None
        try:
            standby.move(message["cgroup"])
            self.cgroups.update(message["cgroup"], message["resources"])
            return standby.become(message, spec, stdio)
        except BaseException:
            standby.retire()
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
        if (kept is not None and kept.exit is None) or any(one.id == id for one in self.launches.values()):
            raise LaunchError(f"{id} is already running")
        if kept is not None:
            self.do_forget({"id": id}, [])

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
        begun.connection = self.engine
        self.launches[begun.report] = begun
        self.poll.register(begun.report, select.EPOLLIN)

    def wait_for(self, pending: Launch) -> None:
        """Wait for the next word of a child; one that is silent for too long is killed."""
        poll = select.poll()
        poll.register(pending.report, select.POLLIN)
        if not poll.poll(max(0.0, pending.deadline_s - time.monotonic()) * 1000):
            pending.kill()
            poll.poll()
        self.serve_launch(pending.report)

    def serve_launch(self, report: int) -> None:
        """Hear a child; when it has said everything, it executes, or it said why it can't."""
        ended = self.launches[report]
        if ended.hear():
            return
        self.poll.unregister(report)
        del self.launches[report]
        os.close(report)
        ended.stdio.take_console()
        if ended.said.startswith(b"P"):  # the child has put a sibling in its place
            os.waitpid(ended.pid, 0)
            os.close(ended.pidfd)
            number, _, ended.said = ended.said[1:].partition(b"\n")
            ended.pid = int(number)
            ended.pidfd = os.pidfd_open(ended.pid)
        if ended.said:
            self.give_up(ended)
        else:
            kept = Kept(ended.id, ended.pid, ended.pidfd, ended.stdio.outer, ended.cgroup, ended.container)
            self.kept[kept.id] = kept
            self.answer(ended.connection, {**kept.describe(), "re": ended.re}, kept.descriptors())
        self.reap()

    def give_up(self, ended: Launch) -> None:
        """Clear away after a child that could not become the process, and say why."""
        os.waitpid(ended.pid, 0)
        os.close(ended.pidfd)
        ended.stdio.close()
        if ended.cgroup and ended.id == ended.container:
            self.cgroups.remove(ended.cgroup)
        code, _, text = ended.said.decode(errors="replace").partition("\n")
        self.answer(ended.connection, {"error": text, "exit_code": int(code), "re": ended.re}, [])

    def answer(self, connection: socket.socket | None, message: dict[str, Any], descriptors: list[int]) -> None:
        """Answer later what was asked over `connection`; numbers of an engine that is gone mean nothing to the next."""
        if connection is not None and connection is self.engine:
            self.tell(message, descriptors)

    def start_task(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Run a function of `runtime.oci.tasks` in a child; its answer is told when it comes."""
        live = self.kept.get(message["rootfs"].get("container") or "")
        report, report_child = os.pipe2(os.O_CLOEXEC)
        pid, pidfd = launch.clone(0)
        if pid == 0:
            try:
                launch.let_go([report_child, *descriptors, *([live.pidfd] if live else [])])
                told = {"result": tasks.run(message, descriptors, live.pidfd if live and not live.exit else None)}
            except BaseException as error:  # noqa: BLE001 - the child must never return into the keeper's loop
                told = {"error": str(error) or type(error).__name__, "errno": getattr(error, "errno", None)}
            data = wire.pack(told)
            while data:
                data = data[os.write(report_child, data) :]
            os._exit(0)
        os.close(report_child)
        os.close(pidfd)
        self.tasks[report] = (self.engine, message.get("re"), bytearray())
        self.poll.register(report, select.EPOLLIN)

    def serve_task(self, report: int) -> None:
        """Take what a task's child wrote; at its end, answer who asked."""
        connection, number, told = self.tasks[report]
        chunk = os.read(report, 65536)
        if chunk:
            told += chunk
            return
        self.poll.unregister(report)
        os.close(report)
        del self.tasks[report]
        answer = wire.unpack(bytes(told)) if told else {"error": "the task's process was killed"}
        self.answer(connection, {**answer, "re": number}, [])

    def do_freeze(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Stop or go on scheduling the processes of a container."""
        kept = self.kept[message["id"]]
        self.cgroups.freeze(str(kept.cgroup), message["frozen"])
        return {}, []

    def do_stats(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Read the numbers of a container's cgroup."""
        return cgroup_usage.measure(self.cgroups, str(self.kept[message["id"]].cgroup)), []

    def do_update(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Change the limits of a container."""
        self.cgroups.update(str(self.kept[message["id"]].cgroup), message["resources"])
        return {}, []
