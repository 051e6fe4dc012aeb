"""The keeper: parent of every container, holder of its pipes and exit codes.

Standard library and ctypes alone, one thread, one poll loop. Run as `python -I -S main.py SOCKET
READY`; one byte on descriptor READY tells that the socket is there.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runtime.keeper import wire
from runtime.linux import pidfd as pidfds
from runtime.linux import syscalls as linux
from runtime.oci import launch, tasks
from runtime.oci.cgroup import Cgroups

PIPE_BYTES = 1 << 20
LAUNCH_S = 30.0
UNKNOWN_EXIT = 255


class Kept:
    """One process: a container's first, or an exec's."""

    def __init__(self, id: str, pid: int, pidfd: int, fds: dict[str, int], cgroup: str | None, container: str) -> None:
        self.id = id
        self.pid = pid
        self.pidfd = pidfd
        self.fds = fds
        self.cgroup = cgroup
        self.container = container
        self.started_at_ns = time.time_ns()
        self.exit: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """Return what the engine is told; descriptors follow in the order of `fds`, the pidfd first."""
        return {
            "id": self.id,
            "pid": self.pid,
            "fds": sorted(self.fds),
            "started_at_ns": self.started_at_ns,
            "exit": self.exit,
            "container": self.container,
            "cgroup": self.cgroup,
        }

    def descriptors(self) -> list[int]:
        """Return the descriptors that go with `describe`."""
        return [self.pidfd, *(self.fds[name] for name in sorted(self.fds))]

    def close(self) -> None:
        """Let go of every descriptor."""
        for descriptor in self.descriptors():
            os.close(descriptor)
        self.fds = {}


class Keeper:
    """The poll loop and what it keeps."""

    def __init__(self, path: str) -> None:
        self.kept: dict[str, Kept] = {}
        self.poll = select.epoll()
        self.engine: socket.socket | None = None
        self.restart: list[str] | None = None
        self.environment: dict[str, str] = {}
        self.said_bye = True
        self.tasks: dict[int, tuple[Any, int, bytearray]] = {}
        self.adopted: dict[int, Kept] = {}
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
            for descriptor, _ in self.poll.poll(2.0):
                try:
                    self.handle(descriptor)
                except Exception:  # noqa: BLE001 - every container hangs on this loop: it says what happened and goes on
                    traceback.print_exc()
            if self.engine is not None or any(kept.exit is None for kept in self.kept.values()):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > 2:
                os.unlink(self.path)
                return

    def handle(self, descriptor: int) -> None:
        """Do what a readable descriptor asks for."""
        if descriptor == self.wakeup:
            os.read(self.wakeup, 4096)
            self.reap()
        elif descriptor == self.listener.fileno():
            self.accept()
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
        self.said_bye = False
        self.poll.register(connection.fileno(), select.EPOLLIN)

    def drop(self) -> None:
        """Forget the engine's connection."""
        if self.engine is not None:
            self.poll.unregister(self.engine.fileno())
            self.engine.close()
            self.engine = None

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
            answer, carried = getattr(self, "do_" + message["do"])(message, descriptors)
        except launch.LaunchError as error:
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
        by_pid = {kept.pid: kept for kept in self.kept.values()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            kept = by_pid.get(pid)
            if kept is None or kept.exit is not None:
                continue
            self.note_exit(kept, status)

    def note_exit(self, kept: Kept, status: int | None) -> None:
        """Keep how a process ended (a wait status; None when nobody can know) and tell the engine."""
        number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
        known = UNKNOWN_EXIT if status is None else os.WEXITSTATUS(status)
        kept.exit = {
            "exit_code": 128 + number if number else known,
            "signal": number,
            "oom_killed": bool(kept.cgroup and Cgroups().oom_kills(kept.cgroup)),
            "finished_at_ns": time.time_ns(),
        }
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
        """Learn how to start the engine anew."""
        self.restart, self.environment = message["restart"], message["environment"]
        return {"pid": os.getpid()}, []

    def do_bye(self, _message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Note that the engine is about to go on purpose."""
        self.said_bye = True
        return {}, []

    def do_list(self, _message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Name every process; `get` gives the descriptors of one."""
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
                Cgroups().remove(kept.cgroup)
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

    def do_launch(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Make a container from its OCI document and return once its process executes."""
        with open(message["spec"]) as file:
            spec = json.load(file)
        settings = spec["linux"]
        self.make_room(message["id"])
        cgroups = Cgroups()
        cgroups.create(settings["cgroupsPath"], settings.get("resources") or {})
        try:
            kept = self.fork(
                message, launch.new_namespaces(spec), bool(spec["process"].get("terminal")),
                lambda stdio, console, _: launch.container(spec, message["bundle"], stdio, console),
                settings["cgroupsPath"], message["id"],
            )  # fmt: skip
        except BaseException:
            cgroups.remove(settings["cgroupsPath"])
            raise
        return kept.describe(), kept.descriptors()

    def make_room(self, id: str) -> None:
        """Forget an ended process of the same id; a live one is not replaced."""
        kept = self.kept.get(id)
        if kept is not None and kept.exit is None:
            raise launch.LaunchError(f"{id} is already running")
        if kept is not None:
            self.do_forget({"id": id}, [])

    def do_exec(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Start another process in a container's namespaces and cgroup."""
        target = self.kept[message["container"]]
        self.make_room(message["id"])
        process = message["process"]
        kept = self.fork(
            message, 0, bool(process.get("terminal")),
            lambda stdio, console, report: launch.execute_inside(
                target.pidfd, target.cgroup, process, message.get("annotations") or {}, message.get("seccomp"),
                stdio, console, report,
            ),
            target.cgroup, target.id,
        )  # fmt: skip
        return kept.describe(), kept.descriptors()

    def start_task(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Run a function of `runtime.oci.tasks` in a child; its answer is told when it comes."""
        live = self.kept.get(message["rootfs"].get("container") or "")
        report, report_child = os.pipe2(os.O_CLOEXEC)
        pid, pidfd = launch.clone(0)
        if pid == 0:
            try:
                told = {"result": tasks.run(message, descriptors, live.pidfd if live and not live.exit else None)}
            except BaseException as error:  # noqa: BLE001 - the child must never return into the keeper's loop
                told = {"error": str(error) or type(error).__name__, "errno": getattr(error, "errno", None)}
            data = json.dumps(told).encode()
            while data:
                data = data[os.write(report_child, data) :]
            os._exit(0)
        os.close(report_child)
        os.close(pidfd)
        self.tasks[report] = (message.get("re"), pid, bytearray())
        self.poll.register(report, select.EPOLLIN)

    def serve_task(self, report: int) -> None:
        """Take what a task's child wrote; at its end, answer who asked."""
        number, _pid, told = self.tasks[report]
        chunk = os.read(report, 65536)
        if chunk:
            told += chunk
            return
        self.poll.unregister(report)
        os.close(report)
        del self.tasks[report]
        answer = json.loads(told) if told else {"error": "the task's process was killed"}
        self.tell({**answer, "re": number}, [])

    def do_freeze(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Stop or go on scheduling the processes of a container."""
        kept = self.kept[message["id"]]
        Cgroups().freeze(str(kept.cgroup), message["frozen"])
        return {}, []

    def do_stats(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Read the numbers of a container's cgroup."""
        return Cgroups().stats(str(self.kept[message["id"]].cgroup)), []

    def do_update(self, message: dict[str, Any], _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Change the limits of a container."""
        Cgroups().update(str(self.kept[message["id"]].cgroup), message["resources"])
        return {}, []

    def fork(
        self, message: dict[str, Any], flags: int, terminal: bool, child: Any, cgroup: str | None, container: str
    ) -> Kept:
        """Fork a child that runs `child(stdio, console, report)`, and wait until it executes or says why it can't."""
        inner: list[int] = []
        outer: dict[str, int] = {}
        console = None
        if terminal:
            console, console_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        else:
            console_child = None
            if message.get("stdin"):
                reader, outer["stdin"] = os.pipe2(os.O_CLOEXEC)
            else:
                reader = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            inner.append(reader)
            for name in ("stdout", "stderr"):
                outer[name], writer = os.pipe2(os.O_CLOEXEC)
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
                inner.append(writer)
        report, report_child = os.pipe2(os.O_CLOEXEC)
        pid, pidfd = launch.clone(flags)
        if pid == 0:
            code = 128
            try:
                child(inner, console_child, report_child)
            except launch.LaunchError as error:
                code = error.exit_code
                text = str(error)
            except BaseException as error:  # noqa: BLE001 - the child must never return into the keeper's loop
                text = str(error) or type(error).__name__
            os.write(report_child, f"{code}\n{text}".encode())
            os._exit(code)
        for descriptor in (*inner, report_child):
            os.close(descriptor)
        if console is not None:
            assert console_child is not None
            console_child.close()
            _wait_or_kill(console.fileno(), pidfd)
            _, received, _, _ = socket.recv_fds(console, 1, 1, socket.MSG_CMSG_CLOEXEC)
            if received:
                outer["console"] = received[0]
            console.close()
        said = b""
        while True:
            _wait_or_kill(report, pidfd)
            chunk = os.read(report, 4096)
            if not chunk:
                break
            said += chunk
        os.close(report)
        if said.startswith(b"P"):  # the child has put a sibling in its place
            os.waitpid(pid, 0)
            os.close(pidfd)
            number, _, said = said[1:].partition(b"\n")
            pid = int(number)
            pidfd = os.pidfd_open(pid)
        if said:
            os.waitpid(pid, 0)
            for descriptor in (pidfd, *outer.values()):
                os.close(descriptor)
            code_text, _, text = said.decode(errors="replace").partition("\n")
            raise launch.LaunchError(text, int(code_text))
        kept = Kept(message["id"], pid, pidfd, outer, cgroup, container)
        self.kept[kept.id] = kept
        return kept


def _wait_or_kill(descriptor: int, pidfd: int) -> None:
    """Wait until `descriptor` can be read; a child that is silent for too long is killed, for all others wait too."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(LAUNCH_S * 1000):
        linux.call("pidfd_send_signal", pidfd, signal.SIGKILL, None, 0)


def main() -> None:
    """Become the keeper of the run directory whose socket is named, unless it has one."""
    # a record lock, which children do not inherit, held as long as this process lives
    lock = os.open(sys.argv[1] + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # its holder may be about to listen: the lock file has content once it does
        while os.fstat(lock).st_size == 0:
            select.select((), (), (), 0.005)
        os.write(int(sys.argv[2]), b"r")
        return
    if os.path.lexists(sys.argv[1]):
        os.unlink(sys.argv[1])
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    os.ftruncate(lock, 0)
    keeper = Keeper(sys.argv[1])
    os.write(lock, b"%d\n" % os.getpid())
    os.write(int(sys.argv[2]), b"r")
    os.close(int(sys.argv[2]))
    keeper.run()


if __name__ == "__main__":
    main()
