"""The doorman's event loop.

It holds two kinds of descriptors, which survive any crash of engine and keeper:

- The API's listening socket. While no engine is attached, the doorman watches it: when a client connects, it starts an
  engine, which accepts the waiting connection. If that engine fails to start, all waiting clients are answered with 503 and
  the reason, and the next client causes the next attempt.
- Duplicates of the descriptors of each container (pidfd, ends of its pipes or terminal). As long as a pipe has a reader,
  its writer blocks when the pipe is full instead of dying of SIGPIPE (pipe(7)); as long as the main side of a terminal is
  open, its processes get no SIGHUP. While it holds any and no engine connects, the doorman starts one itself.

    engine:   none ──start──▶ starting ──hello──▶ attached ──ready──▶ serving ──"bye" (idle)──▶ none
                 ▲               │ exited            │ connection lost   │ connection lost
                 └── 503 ◀───────┴───────────────────┘                   └──▶ none, restarted if anything is held

It exits when an engine is stopped, or when the run directory is removed.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from runtime.keeper.engine_connection import EngineConnection, Message
from runtime.keeper.restarter import EngineRestarter
from runtime.refusal import refuse_waiting

PAUSES_S = (1.0, 1.0, 2.0, 4.0, 8.0)
"""The keeper, if it lives, starts the next engine at once: the first pause leaves it to it."""
BUSY_S = 0.5
SHOWN_BYTES = 2048

Answer = tuple[Message, list[int]]
"""A message and its descriptors."""
Handler = Callable[[Message, list[int]], Answer]


class DoormanServer:
    """The event loop and its state."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.directory = os.path.dirname(path)
        self.listener: socket.socket | None = None
        self.address = ""
        """The path of the API's socket if an engine created it; "" for an inherited one, which we do not watch."""
        self.identity = (0, 0)
        """Device and inode of the socket's file, to notice if the path has another socket, such as systemd's."""
        self.is_watched = False
        self.held: dict[str, tuple[list[str], list[int]]] = {}
        self.is_ready = False
        self.has_served = False
        self.engine_exited_cleanly = True
        self.is_over = False
        self.log_start = 0
        self.not_before_s = 0.0
        self.poll = select.epoll()
        self.restarter = EngineRestarter("doorman", PAUSES_S)
        self.wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGIO):
            signal.signal(number, lambda *_: None)
        for ignored in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT):
            signal.signal(ignored, signal.SIG_IGN)
        self.handlers: dict[str, Handler] = {
            "hello": self.do_hello,
            "listener": self.do_listener,
            "put": self.do_put,
            "drop": self.do_drop,
            "retain": self.do_retain,
            "get": self.do_get,
            "ready": self.do_ready,
            "bye": self.do_bye,
        }
        self.connection = EngineConnection(path, self.poll, self.on_engine_lost, self.restarter.say)
        self.poll.register(self.wakeup, select.EPOLLIN)
        self._watch_directory()

    def _watch_directory(self) -> None:
        """Request SIGIO when an entry of the run directory is removed (fcntl(2), F_NOTIFY)."""
        self.watched = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.watched, fcntl.F_NOTIFY, fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT)
        except OSError:  # a kernel without CONFIG_DNOTIFY: the removal of the directory is not noticed
            os.close(self.watched)

    # --- the loop

    def run(self) -> None:
        """Serve until an engine is stopped, or the run directory is removed."""
        while not self.is_over:
            self._watch_listener()
            for descriptor, events in self.poll.poll(self._pause_s()):
                self._guard(lambda descriptor=descriptor, events=events: self._handle(descriptor, events))  # type: ignore[misc]
            if self.restarter.due_s is not None and time.monotonic() >= self.restarter.due_s:
                self._guard(self._start_engine)
        if self._has_name():
            os.unlink(self.address)
        if os.path.lexists(self.path):
            os.unlink(self.path)

    def _pause_s(self) -> float:
        """Return the timeout for epoll_wait(2), -1 for none: an idle doorman causes no wake-ups."""
        due_s = self.restarter.due_s
        if due_s is None and self.not_before_s > time.monotonic():
            due_s = self.not_before_s
        return -1.0 if due_s is None else max(0.0, due_s - time.monotonic())

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:  # noqa: BLE001 - print it and go on: containers depend on the descriptors held here
            import traceback

            traceback.print_exc()

    def _handle(self, descriptor: int, events: int) -> None:
        if descriptor == self.wakeup:
            os.read(self.wakeup, 4096)
            self._reap()
            self._look_at_directory()
        elif self.listener is not None and descriptor == self.listener.fileno():
            self._start_engine()
        else:
            self._on_socket_event(descriptor, events)

    def _watch_listener(self) -> None:
        """Watch the listening socket exactly while no engine is attached or being started."""
        wanted = (
            self.listener is not None
            and bool(self.address)
            and self.connection.engine is None
            and not self.restarter.pid
            and time.monotonic() >= self.not_before_s
        )
        if self.listener is not None and wanted != self.is_watched:
            if wanted:
                self.poll.register(self.listener.fileno(), select.EPOLLIN)
            else:
                self.poll.unregister(self.listener.fileno())
            self.is_watched = wanted

    def _look_at_directory(self) -> None:
        """Exit if the API's socket was removed from the directory and no engine uses it: no client can connect."""
        if self.address and not self._has_name() and self.connection.engine is None and not self.restarter.pid:
            self.is_over = True

    def _has_name(self) -> bool:
        return bool(self.address) and _identity(self.address) == self.identity

    # --- engines

    def _start_engine(self) -> None:
        self._watch_listener()
        if self.connection.engine is not None or self.restarter.pid:
            return
        self.log_start = os.fstat(2).st_size
        self.is_ready = False
        self.restarter.start(time.monotonic())

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.restarter.pid:
                self.restarter.pid = 0
                if self.connection.engine is None:
                    self._engine_ended(os.waitstatus_to_exitcode(status))

    def _engine_ended(self, code: int) -> None:
        """Handle the exit of an engine that was started here: refuse waiting clients if it failed to start."""
        if self.is_ready:
            return
        if code == 0:  # another engine is starting, and will say hello
            self.not_before_s = time.monotonic() + BUSY_S
            return
        self._refuse_waiting(f"the engine exited with {code} at its start")

    def _refuse_waiting(self, reason: str) -> None:
        """Answer waiting clients with 503 and the output of the engine."""
        assert self.listener is not None
        refuse_waiting(self.listener, _output("/proc/self/fd/2", self.log_start) or reason)

    def on_engine_lost(self) -> None:
        """Handle the end of the engine's connection."""
        self.connection.drop()
        if self.engine_exited_cleanly:
            return
        if not self.is_ready:
            if not self.has_served:  # the first engine failed to start; its parent reports that
                self.is_over = not self.restarter.pid
            elif not self.restarter.pid:
                self._refuse_waiting("it exited at its start")
        if self.held:
            self.restarter.on_lost(time.monotonic())
        self._look_at_directory()

    def _on_socket_event(self, descriptor: int, events: int) -> None:
        request = self.connection.receive(descriptor, events)
        if request is None:
            return
        message, descriptors, is_first = request
        if is_first:
            self.engine_exited_cleanly = self.is_ready = False
        answer: Message
        carried: list[int] = []
        try:
            answer, carried = self.handlers[message["do"]](message, descriptors)
        except Exception as error:  # noqa: BLE001 - the engine reports it; the doorman must go on
            answer = {"error": f"{type(error).__name__}: {error}"}
            for one in descriptors:
                os.close(one)
        if message.get("wants_answer"):
            self.connection.send(answer, carried)

    # --- requests

    def do_hello(self, message: Message, _: list[int]) -> Answer:
        """Store how to start the next engine; answer with the listening socket, if there is one."""
        self.restarter.on_connected(message, time.monotonic())
        return {"pid": os.getpid(), "address": self.address}, [] if self.listener is None else [self.listener.fileno()]

    def do_listener(self, message: Message, descriptors: list[int]) -> Answer:
        """Store the API's listening socket; `address` is its path, "" if the engine has inherited it."""
        (descriptor,) = descriptors
        if self.listener is not None:
            self.listener.close()
        self.listener, self.address, self.is_watched = socket.socket(fileno=descriptor), message["address"], False
        self.identity = _identity(self.address)
        return {}, []

    def do_put(self, message: Message, descriptors: list[int]) -> Answer:
        """Store descriptors with their `names` under `key`, in place of earlier ones."""
        self.do_drop(message, [])
        self.held[message["key"]] = (message["names"], descriptors)
        return {}, []

    def do_drop(self, message: Message, _: list[int]) -> Answer:
        """Close the descriptors under `key`."""
        if message["key"] in self.held:
            for descriptor in self.held.pop(message["key"])[1]:
                os.close(descriptor)
        return {}, []

    def do_retain(self, message: Message, _: list[int]) -> Answer:
        """Close the descriptors under other keys than `keys`."""
        for key in [key for key in self.held if key not in message["keys"]]:
            self.do_drop({"key": key}, [])
        return {}, []

    def do_get(self, message: Message, _: list[int]) -> Answer:
        """Answer with the descriptors under `key`, and their names."""
        empty: tuple[list[str], list[int]] = ([], [])
        names, descriptors = self.held.get(message["key"], empty)
        return {"names": names}, descriptors

    def do_ready(self, _message: Message, _: list[int]) -> Answer:
        """Note that the engine accepts connections."""
        self.is_ready = self.has_served = True
        return {}, []

    def do_bye(self, message: Message, _: list[int]) -> Answer:
        """Note that the engine exits on purpose; exit too if it was stopped, or if its socket was inherited."""
        self.engine_exited_cleanly = True
        self.restarter.cancel(self.connection.pid)
        self.is_over = bool(message["is_stopped"]) or not self.address
        return {}, []


def _identity(path: str) -> tuple[int, int]:
    """Return device and inode of the file `path`, (0, 0) if it does not exist."""
    try:
        found = os.lstat(path)
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino


def _output(log: str, start: int) -> str:
    """Return the end of the engine's output in the file `log`, from `start` on."""
    try:
        with open(log, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(start, size - SHOWN_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    own = "skiff doorman: "
    return "\n".join(line.removeprefix("skiff engine: ") for line in lines if not line.startswith(own)).strip()
