"""The namespaces of an engine without root: created once, joined by each engine (user_namespaces(7))."""

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
"""In the order of joining: the user namespace gives the capabilities to join the mount namespace."""
WAYS = {"uid": "newuidmap", "gid": "newgidmap"}


@dataclass(frozen=True)
class Mapping:
    """The ID maps for the user namespace; `lack` is the reason if they have only the user itself, else ""."""

    uids: tuple[Extent, ...]
    gids: tuple[Extent, ...]
    lack: str = ""


@dataclass(frozen=True)
class RootlessNamespaces:
    """Descriptors of an engine's user and mount namespace, and of the network namespace of its bridges.

    `has_ranges`: whether more than one user is mapped.
    """

    user: int
    mnt: int
    net: int
    has_ranges: bool

    @property
    def identity(self) -> int:
        """The inode number of the user namespace."""
        return os.fstat(self.user).st_ino

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in (self.user, self.mnt, self.net):
            os.close(descriptor)

    def join(self) -> None:
        """Move the calling single-threaded process into the user and mount namespace."""
        linux.call("setns", self.user, KINDS["user"])
        linux.call("setns", self.mnt, KINDS["mnt"])

    @contextmanager
    def occupied(self, work: Callable[[Callable[[], None]], None]) -> Iterator[int]:
        """Run `work` in a child in the user and the network namespace, until the end of the block at least.

        Yield its PID once `work` has called the function that it is passed.
        """
        answers, report = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                linux.call("setns", self.user, KINDS["user"])
                linux.call("setns", self.net, linux.CLONE_NEWNET)
                work(lambda: _report_ready(report))
            except BaseException as error:  # noqa: BLE001 - the parent reports it
                os.write(report, f"!{error}".encode())
            finally:
                os._exit(0)
        os.close(report)
        try:
            _await_report(answers)
            yield pid
        finally:
            os.close(answers)
            os.waitpid(pid, 0)

    @classmethod
    def of(cls, pid: int, pin: Path) -> RootlessNamespaces:
        """Return the namespaces of process `pid`; `pin` is the path of the pinned network namespace there."""
        user, mnt = (os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in KINDS)
        net = os.open(f"/proc/{pid}/root{pin}", os.O_RDONLY | os.O_CLOEXEC)
        rows = Path(f"/proc/{pid}/uid_map").read_text().splitlines()
        return cls(user, mnt, net, len(rows) > 1)


def cure_of_ranges(uid: int) -> str:
    """Return a command for root that gives the user subordinate IDs."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "USER"
    return f"as root `apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}`"


def mapping(uid: int, gid: int) -> Mapping:
    """Return the maps that user `uid` may have on this machine."""
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
    """Create the namespaces; the network namespace is pinned to the new file `pin`.

    Raises SkiffError if the machine does not allow it.
    """
    gate, opened = os.pipe2(os.O_CLOEXEC)
    answers, report = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(opened)
        _stay(gate, report, pin)
    os.close(gate)
    os.close(report)
    try:
        _await_report(answers)
        _map(pid, wanted)
        os.write(opened, b"m")
        _await_report(answers)
        return RootlessNamespaces.of(pid, pin)
    finally:
        os.close(answers)
        os.close(opened)
        os.waitpid(pid, 0)


def _stay(gate: int, report: int, pin: Path) -> None:
    """Create the namespaces in a forked child, and stay in them until the parent has opened them; never returns."""
    try:
        linux.call("unshare", KINDS["user"])
        os.write(report, b"u")
        if os.read(gate, 1):  # the parent has written the ID maps
            linux.call("unshare", KINDS["mnt"] | linux.CLONE_NEWNET)
            netns.pin(pin)
            link = Netlink()
            link.up(link.index("lo"))
            os.write(report, b"n")
            os.read(gate, 1)
    except BaseException as error:  # noqa: BLE001 - the parent reports it
        os.write(report, f"!{error}".encode())
    finally:
        os._exit(0)


def _report_ready(report: int) -> None:
    os.write(report, b"r")


def _await_report(answers: int) -> None:
    answer = os.read(answers, 4096)
    if not answer or answer.startswith(b"!"):
        raise SkiffError(
            f"no user namespace can be created: {answer[1:].decode(errors='replace') or 'the child was killed'}",
            "`skiff doctor` shows the reason and the cure",
        )


def _map(pid: int, wanted: Mapping) -> None:
    """Write the ID maps of the user namespace of `pid`."""
    if wanted.lack:
        # without newgidmap, the group map may only be written after denying setgroups (user_namespaces(7))
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
                f"correct /etc/subuid and /etc/subgid, or add an unused range: {cure_of_ranges(os.getuid())}",
            )


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def processes(identity: int) -> list[int]:
    """Return the visible processes in the user namespace `identity`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.stat(folder / "ns/user").st_ino == identity:
                found.append(int(folder.name))
    return found


def end_all(identity: int, is_meant: Callable[[int], bool] = lambda _: True) -> None:
    """Kill the processes in the user namespace `identity` that `is_meant` selects; repeat for forks until none is left."""
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
    """Whether the mount namespace of a process has a mount of a file or directory below one of `folders`."""
    try:
        mounts = Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return False
    return any(f"{folder}/" in mounts for folder in folders)
