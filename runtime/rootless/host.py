"""The host-side process of a user without root: creates the namespaces and starts engines in them.

It is the subreaper of all processes inside, and exits with the last. One thread, one event loop, standard library alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from runtime.activation import give_listener, take_listener
from runtime.errors import SkiffError
from runtime.linux import syscalls as linux
from runtime.linux.peer import peer_pid
from runtime.linux.ports import holder
from runtime.paths import Paths
from runtime.refusal import refuse_waiting
from runtime.rootless import pasta
from runtime.rootless.inside import ONE_USER, RANGES, VARIABLE
from runtime.rootless.namespaces import (
    RootlessNamespaces,
    cure_of_ranges,
    end_all,
    has_mounts_of,
    make,
    mapping,
    processes,
)
from runtime.rootless.pasta import Pasta

LONGEST_MESSAGE = 1 << 20
RETRY_S = 0.02
LEFT_INSIDE_S = 2.0
"""The maximum time after which a keeper without processes exits, after its engine."""
ANSWER_TIMEOUT_S = 20.0


def main(paths: Paths, environment: Mapping[str, str], listener: int | None) -> int:
    """Start an engine in the namespaces of `paths`, through a running host-side process, or by becoming it.

    The engine gets the descriptor $SKIFF_READY_FD of `environment`, and `listener`, the API's socket if this process has
    inherited it. Returns the exit code of the last engine that was started here. Raises SkiffError.
    """
    _provide_directories(paths)
    wanted = {**environment}
    is_other_asked = False
    ready = wanted.pop("SKIFF_READY_FD", None)
    descriptors = [] if ready is None else [int(ready)]
    lock = os.open(paths.locks / "rootless.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        if listener is not None:  # the engine must be our child to inherit the socket
            is_other_asked = is_other_asked or _ask_to_leave(paths)
        elif _ask_to_start(paths, wanted, descriptors):
            return 0
        select.select((), (), (), RETRY_S)  # the lock's holder is starting or exiting; there is no event for either
    host = HostSide(paths, is_activated=listener is not None)
    host.start_engine(wanted, descriptors, listener)
    return host.run()


def _provide_directories(paths: Paths) -> None:
    # closed to other users: images have set-user-ID programs, which would run as this user
    for folder in (paths.root, paths.run):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    paths.locks.mkdir(exist_ok=True)


def _ask_to_start(paths: Paths, environment: Mapping[str, str], descriptors: list[int]) -> bool:
    """Ask the host-side process to start an engine; return False if it does not run."""
    # the environment is sent in a memfd: it may be larger than a packet
    carried = os.memfd_create("environment", os.MFD_CLOEXEC)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link, open(carried, "w+") as file:
        json.dump(dict(environment), file)
        file.flush()
        link.settimeout(ANSWER_TIMEOUT_S)
        try:
            link.connect(str(paths.host_socket))
            socket.send_fds(link, [json.dumps({"do": "start"}).encode()], [carried, *descriptors])
            return bool(link.recv(1))
        except TimeoutError:
            raise SkiffError(
                f"the process that starts engines for {paths.root} does not answer",
                f"kill it: it is `python -m runtime.rootless` (`pgrep -u {os.getuid()} -f rootless` prints its PID)",
            ) from None
        except OSError:
            return False


def _ask_to_leave(paths: Paths) -> bool:
    """Make the host-side process and its engine exit, with containers running on; return False if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link, suppress(OSError):
        link.connect(str(paths.host_socket))
        pid = peer_pid(link)
        os.kill(pid, signal.SIGTERM)
        return True
    return False


class HostSide:
    """The event loop of the host-side process, and its state.

    If it `is_activated`, systemd has passed it the API's socket, and starts it again for the next client; so it exits with
    its engine. Containers and their namespaces stay, and the next one finds them.
    """

    def __init__(self, paths: Paths, *, is_activated: bool) -> None:
        self._paths = paths
        self._is_activated = is_activated
        self._is_leaving = False
        self._leave_at_s: float | None = None
        self._pasta = Pasta(paths.run / "pasta.pid")
        self._engines: set[int] = set()
        self._exit_code = 0
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        self._wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        for ignored in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT):
            signal.signal(ignored, signal.SIG_IGN)
        self._namespaces = self._find_or_make()
        self._record_identity()
        if pasta.lack() is None:
            self._pasta.start(self._namespaces)
        paths.host_socket.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._listener.bind(str(paths.host_socket))
        os.chmod(paths.host_socket, 0o600)
        self._listener.listen(64)
        self._clients: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        self._poll.register(self._wakeup, select.EPOLLIN)
        self._poll.register(self._listener.fileno(), select.EPOLLIN)

    # --- the namespaces

    def _find_or_make(self) -> RootlessNamespaces:
        """Return the namespaces of a running keeper or doorman, or new ones after killing what is left of earlier ones."""
        while not (inside := self._find_inside()) and self._has_engine():
            select.select((), (), (), RETRY_S)  # the engine is starting or exiting; there is no event for either
        if inside:
            return RootlessNamespaces.of(inside, self._paths.bridges_netns)
        with suppress(OSError, ValueError):
            # containers without keeper and doorman can't be taken over: an engine needs the mount namespace of the two.
            # The inode number may have been reused, so mounts are checked too
            earlier = int((self._paths.run / "namespace").read_text())
            end_all(earlier, partial(has_mounts_of, (self._paths.root, self._paths.run)))
        self._paths.bridges_netns.unlink(missing_ok=True)
        self._print_lacks()
        return make(mapping(os.getuid(), os.getgid()), self._paths.bridges_netns)

    def _find_inside(self) -> int:
        """Return the PID of the keeper or doorman, which are in the engine's namespaces; 0 if neither runs."""
        sockets = (self._paths.keeper_socket, self._paths.doorman_socket)
        return next((pid for socket in sockets if (pid := lock_holder(f"{socket}.lock"))), 0)

    def _has_engine(self) -> bool:
        """Whether an engine runs (it holds its lock), or has been started by us."""
        if self._engines:
            return True
        lock = os.open(self._paths.locks / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _print_lacks(self) -> None:
        """Print which features are missing, each once: a file in the root names those already printed."""
        printed = self._paths.root / "told"
        before = printed.read_text() if printed.exists() else ""
        lacks = notices(os.getuid(), os.getgid())
        for lack in lacks:
            if lack not in before.splitlines():
                _say(lack)
        printed.write_text("".join(f"{lack}\n" for lack in lacks))

    def _record_identity(self) -> None:
        (self._paths.run / "namespace").write_text(f"{self._namespaces.identity}\n")

    def _is_empty(self) -> bool:
        return not [pid for pid in processes(self._namespaces.identity) if pid != self._pasta.pid]

    # --- the loop

    def run(self) -> int:
        """Serve until no process is inside; return the exit code of the last engine that was started here."""
        while True:
            if self._leave_at_s is not None and time.monotonic() >= self._leave_at_s:
                self._paths.host_socket.unlink(missing_ok=True)
                return self._exit_code
            for descriptor, _ in self._poll.poll(self._pause_s()):
                if descriptor == self._wakeup:
                    signals = os.read(self._wakeup, 4096)
                    if self._reap() and self._is_empty():
                        self._end()
                        return self._exit_code
                    if signal.SIGTERM in signals:
                        self._stop_engines()
                    self._plan_leaving()
                elif descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._serve(self._clients[descriptor])

    def _pause_s(self) -> float:
        return -1 if self._leave_at_s is None else max(0.0, self._leave_at_s - time.monotonic())

    def _stop_engines(self) -> None:
        self._is_leaving = True
        for pid in self._engines:
            os.kill(pid, signal.SIGTERM)

    def _plan_leaving(self) -> None:
        """Schedule our exit, with containers running on, if we were asked to leave, or are activated and the engine exited."""
        if self._engines or not (self._is_leaving or self._is_activated) or self._leave_at_s is not None:
            return
        self._leave_at_s = time.monotonic() + (0.0 if self._is_leaving or self._exit_code else LEFT_INSIDE_S)

    def _end(self) -> None:
        self._paths.host_socket.unlink(missing_ok=True)
        (self._paths.run / "namespace").unlink(missing_ok=True)
        self._pasta.end()

    def _reap(self) -> bool:
        """Reap exited children; return whether one of them was inside the namespaces."""
        was_inside = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return was_inside
            if pid == self._pasta.pid:
                self._pasta.forget()
                _say(f"pasta exited ({status}): containers have no access to the outside until the engine is restarted")
                continue
            was_inside = True
            if pid in self._engines:
                self._engines.discard(pid)
                self._exit_code = os.waitstatus_to_exitcode(status)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self._clients[client.fileno()] = client
        self._poll.register(client.fileno(), select.EPOLLIN)

    def _serve(self, client: socket.socket) -> None:
        """Handle a client's request; disconnect it if that is malformed."""
        descriptors: list[int] = []
        try:
            data, descriptors, _, _ = socket.recv_fds(client, LONGEST_MESSAGE, 4)
            message = json.loads(data) if data else None
            if message is None:
                self._disconnect(client)
            elif message["do"] == "start":
                with open(os.dup(descriptors[0])) as file:
                    file.seek(0)
                    environment = json.load(file)
                os.close(descriptors.pop(0))
                self.start_engine(environment, descriptors)
                client.send(b"s")
            elif message["do"] == "holder":
                client.send(holder(message["protocol"], int(message["port"])).encode())
        except (OSError, ValueError, LookupError, TypeError):
            self._disconnect(client)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _disconnect(self, client: socket.socket) -> None:
        if self._clients.pop(client.fileno(), None) is not None:
            self._poll.unregister(client.fileno())
            client.close()

    # --- engines

    def start_engine(self, environment: Mapping[str, str], descriptors: list[int], listener: int | None = None) -> None:
        """Start an engine in the namespaces. It gets `descriptors`; to the first it reports that it is ready.

        `listener` is the API's socket, if this process has inherited it.
        """
        inside = {
            **environment,
            "SKIFF_ROOT": str(self._paths.root),
            "SKIFF_RUN": str(self._paths.run),
            # inside, the engine is root, with another home directory
            "SKIFF_CACHE": environment.get("SKIFF_CACHE") or str(_cache(environment)),
            VARIABLE: RANGES if self._namespaces.has_ranges else ONE_USER,
        }
        if descriptors:
            inside["SKIFF_READY_FD"] = str(descriptors[0])
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
                for descriptor in descriptors:
                    os.set_inheritable(descriptor, True)
                if listener is not None:
                    give_listener(listener, inside)
                self._namespaces.join()
                os.chdir("/")
                os.execve(sys.executable, [sys.executable, "-m", "runtime.daemon"], inside)
            except BaseException as error:  # noqa: BLE001 - the child must never return into the loop
                _say(f"the engine can't be started: {error}")
            finally:
                os._exit(1)
        self._engines.add(pid)
        if listener is not None:
            os.close(listener)
        for descriptor in descriptors:
            os.close(descriptor)
        descriptors.clear()


def _cache(environment: Mapping[str, str]) -> str:
    return f"{environment.get('XDG_CACHE_HOME') or environment.get('HOME', '') + '/.cache'}/skiff"


def lock_holder(path: str) -> int:
    """Return the PID of the process that has a record lock on the file `path`, 0 if none has."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # struct flock (fcntl(2)): type, whence, start, length, process
            asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
            return 0 if kind == fcntl.F_UNLCK else int(pid)
        finally:
            os.close(descriptor)
    return 0


def notices(uid: int, gid: int) -> list[str]:
    """Return the features that this user's engine lacks, each with its cure."""
    found = []
    if lack := mapping(uid, gid).lack:
        found.append(
            f"containers have only the user root ({lack}): all files belong to root, and processes can't run as others; "
            f"cure: {cure_of_ranges(uid)}"
        )
    if missing := pasta.lack():
        found.append(f"containers can reach each other, but not the outside ({missing[0]}); cure: {missing[1]}")
    return found


def _say(text: str) -> None:
    os.write(2, f"skiff without root: {text}\n".encode())


def run() -> None:
    """`python -m runtime.rootless`: see `main`."""
    paths = Paths.from_environment(os.environ, os.getuid())
    listener = take_listener(os.environ)
    try:
        sys.exit(main(paths, os.environ, listener))
    except (SkiffError, OSError) as error:
        from runtime.unusable import unusable_error

        reason = error if isinstance(error, SkiffError) else unusable_error(error, paths)
        print(f"skiff engine: {reason}", file=sys.stderr, flush=True)
        if listener is not None:
            waiting = socket.socket(fileno=listener)  # it was not passed to an engine yet
            waiting.setblocking(False)
            refuse_waiting(waiting, str(reason))
        sys.exit(1)
