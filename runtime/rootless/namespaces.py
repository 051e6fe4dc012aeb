"""The namespaces of a user's engine: made once, joined by every process of it (user_namespaces(7))."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import SkiffError
from runtime.linux import netns
from runtime.linux import syscalls as linux
from runtime.linux.netlink import Netlink
from runtime.rootless.ranges import Extent, arguments, extents

KINDS = {"user": linux.CLONE_NEWUSER, "mnt": linux.CLONE_NEWNS}
"""In the order of joining: the first gives the right to the second."""
WAYS = {"uid": "newuidmap", "gid": "newgidmap"}


@dataclass(frozen=True)
class Mapping:
    """The users and groups that the namespace is to have; `lack` says why they are the user's own alone, else ""."""

    uids: tuple[Extent, ...]
    gids: tuple[Extent, ...]
    lack: str = ""


@dataclass(frozen=True)
class RootlessNamespaces:
    """Descriptors of the namespaces that an engine runs in, and of the network namespace that its bridges are in.

    `has_ranges` says whether there are more users than one in them.
    """

    user: int
    mnt: int
    net: int
    has_ranges: bool

    @property
    def identity(self) -> int:
        """The number of the user namespace, as its processes show it."""
        return os.fstat(self.user).st_ino

    def close(self) -> None:
        """Let go of the namespaces."""
        for descriptor in (self.user, self.mnt, self.net):
            os.close(descriptor)

    def join(self) -> None:
        """Bring the calling process, which has one thread, into the namespaces."""
        linux.call("setns", self.user, KINDS["user"])
        linux.call("setns", self.mnt, KINDS["mnt"])

    @contextmanager
    def occupied(self, work: Callable[[Callable[[], None]], None]) -> Iterator[int]:
        """Have a process in the user and the network namespace for as long as the block and `work` take.

        Yields its number once `work`, which it runs, calls what it is given.
        """
        answers, said = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                linux.call("setns", self.user, KINDS["user"])
                linux.call("setns", self.net, linux.CLONE_NEWNET)
                work(lambda: _tell(said))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is to tell it
                os.write(said, f"!{error}".encode())
            finally:
                os._exit(0)
        os.close(said)
        try:
            _hear(answers)
            yield pid
        finally:
            os.close(answers)
            os.waitpid(pid, 0)

    @classmethod
    def of(cls, pid: int, pin: Path) -> RootlessNamespaces:
        """Return the namespaces that a process of this user runs in; `pin` is where the network's is pinned there."""
        user, mnt = (os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in KINDS)
        net = os.open(f"/proc/{pid}/root{pin}", os.O_RDONLY | os.O_CLOEXEC)
        rows = Path(f"/proc/{pid}/uid_map").read_text().splitlines()
        return cls(user, mnt, net, len(rows) > 1)


def cure_of_ranges(uid: int) -> str:
    """Return what gives a user more users: a command for root."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "USER"
    return f"as root `apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}`"


def mapping(uid: int, gid: int) -> Mapping:
    """Return what user `uid` may map on this machine."""
    own = Mapping((Extent(0, uid, 1),), (Extent(0, gid, 1),))
    with suppress(KeyError):
        name = pwd.getpwuid(uid).pw_name
        found = Mapping(
            extents(uid, _text("/etc/subuid"), (name, str(uid))), extents(gid, _text("/etc/subgid"), (name, str(uid)))
        )
        missing = [program for program in WAYS.values() if shutil.which(program) is None]
        if missing:
            return Mapping(own.uids, own.gids, f"{' and '.join(missing)} not found")
        lacking = [file for file, rows in (("/etc/subuid", found.uids), ("/etc/subgid", found.gids)) if len(rows) < 2]
        if lacking:
            return Mapping(own.uids, own.gids, f"{' and '.join(lacking)} give {name} no range")
        return found
    return Mapping(own.uids, own.gids, f"user {uid} has no name in /etc/passwd")


def make(wanted: Mapping, pin: Path) -> RootlessNamespaces:
    """Make the namespaces, that of the network pinned to the new file `pin`.

    Raises SkiffError when this machine does not let a user have them.
    """
    gate, opened = os.pipe2(os.O_CLOEXEC)
    answers, said = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(opened)
        _stay(gate, said, pin)
    os.close(gate)
    os.close(said)
    try:
        _hear(answers)
        _map(pid, wanted)
        os.write(opened, b"m")
        _hear(answers)
        return RootlessNamespaces.of(pid, pin)
    finally:
        os.close(answers)
        os.close(opened)
        os.waitpid(pid, 0)


def _stay(gate: int, said: int, pin: Path) -> None:
    """Make the namespaces in a forked child and keep them until they are taken; never returns."""
    try:
        linux.call("unshare", KINDS["user"])
        os.write(said, b"u")
        if os.read(gate, 1):  # mapped: only now it is somebody there
            linux.call("unshare", KINDS["mnt"] | linux.CLONE_NEWNET)
            netns.pin(pin)
            link = Netlink()
            link.up(link.index("lo"))
            os.write(said, b"n")
            os.read(gate, 1)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is to tell it
        os.write(said, f"!{error}".encode())
    finally:
        os._exit(0)


def _tell(said: int) -> None:
    os.write(said, b"r")


def _hear(answers: int) -> None:
    answer = os.read(answers, 4096)
    if not answer or answer.startswith(b"!"):
        raise SkiffError(
            f"no user namespace can be made: {answer[1:].decode(errors='replace') or 'the attempt was killed'}",
            "`skiff doctor` says what this machine refuses, and the cure",
        )


def _map(pid: int, wanted: Mapping) -> None:
    """Map the users and groups of the namespace that `pid` made."""
    if wanted.lack:
        # without the right to more, a group map needs the promise that groups are never dropped (user_namespaces(7))
        for file, text in (
            ("uid_map", "{0.inside} {0.outside} {0.count}".format(wanted.uids[0])),
            ("setgroups", "deny"),
            ("gid_map", "{0.inside} {0.outside} {0.count}".format(wanted.gids[0])),
        ):
            Path(f"/proc/{pid}/{file}").write_text(text)
        return
    for program, rows in ((WAYS["uid"], wanted.uids), (WAYS["gid"], wanted.gids)):
        done = subprocess.run([program, str(pid), *arguments(rows)], capture_output=True, text=True)
        if done.returncode:
            raise SkiffError(
                f"{program} failed: {(done.stderr or done.stdout).strip()}",
                f"correct /etc/subuid and /etc/subgid; for ranges that nobody has, {cure_of_ranges(os.getuid())}",
            )


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def processes(identity: int) -> list[int]:
    """Return the processes of the user namespace `identity` that this user may know of."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.stat(folder / "ns/user").st_ino == identity:
                found.append(int(folder.name))
    return found


def end_all(identity: int, is_meant: Callable[[int], bool] = lambda _: True) -> None:
    """End the processes of the user namespace `identity` that are meant: one may make the next, so until none is left."""
    while pids := [pid for pid in processes(identity) if is_meant(pid)]:
        for pid in pids:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                try:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    select.select([descriptor], (), ())
                finally:
                    os.close(descriptor)


def has_mounts_of(folders: Sequence[Path], pid: int) -> bool:
    """Whether something below one of `folders` is mounted where a process is: its root, or a file of its own."""
    try:
        mounts = Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return False
    return any(f"{folder}/" in mounts for folder in folders)
