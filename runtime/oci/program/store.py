"""The state directory of `skiff oci`: a directory for each container.

<root>/<ID>/            exists, with this name, from the moment at which the container does; locked during changes
<root>/<ID>/state.json  its record, replaced atomically
<root>/<ID>/start       the socket on which its init waits for `start`
<root>/<ID>/waiting     locked by init while it waits: execve(2) and exit release the lock, so that the status
"created" can't be stale
<root>/.new-<random>/   not yet a container, or removed; deleted by the next `create` unless locked
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator

from runtime.hints import TYPE_CHECKING, Any
from runtime.oci.cgroup import Cgroups
from runtime.oci.program.errors import ProgramError, StateError

if TYPE_CHECKING:
    from runtime.oci.types import OciSpec

RECORD, WAITING, START_SOCKET = "state.json", "waiting", "start"
UNNAMED = ".new-"
"""Prefix of directories that are not yet, or no longer, containers."""
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
LONGEST_ID = 200
CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"
START_TIME, PROCESS_STATE = 19, 0
"""Fields of /proc/<pid>/stat after the name, counted from 0 (proc(5))."""


class StoredContainer:
    """A container's record and its directory."""

    __slots__ = ("directory", "record")

    def __init__(self, directory: str, record: dict[str, Any]) -> None:
        self.directory = directory
        self.record = record

    @property
    def id(self) -> str:
        """The container's ID."""
        return str(self.record["id"])

    @property
    def pid(self) -> int:
        """The PID of the container's init on the host; 0 before it exists and after it has exited."""
        pid = int(self.record.get("pid") or 0)
        return pid if pid and started_at(pid) == self.record["started_at"] else 0

    @property
    def document(self) -> OciSpec:
        """The configuration at the time of `create`."""
        document: OciSpec = self.record["document"]
        return document

    @property
    def cgroup(self) -> str | None:
        """The path of its cgroup; None if it has none of its own."""
        path: str | None = self.record["cgroup"]
        return path

    def status(self) -> str:
        """Return the status (OCI runtime spec, "State"), or "paused"."""
        if not self.record["is_made"]:
            # the process that creates it holds the lock; if that was killed, so was init
            return CREATING if is_locked(self.directory) else STOPPED
        if not self.pid:
            return STOPPED
        if is_locked(os.path.join(self.directory, WAITING)):
            return CREATED
        if self.cgroup and Cgroups(has_systemd_tree=True).is_frozen(self.cgroup):
            return PAUSED
        # it may have exited since the first check
        return RUNNING if self.pid else STOPPED

    def state(self, status: str | None = None) -> dict[str, Any]:
        """Return the state (OCI runtime spec, "State"); `status` if the caller knows it."""
        status = status or self.status()
        found: dict[str, Any] = {
            "ociVersion": self.document["ociVersion"],
            "id": self.id,
            "status": status,
            "pid": 0 if status == STOPPED else self.record.get("pid") or 0,
            "bundle": self.record["bundle"],
        }
        if self.document.get("annotations"):
            found["annotations"] = self.document["annotations"]
        return found

    def save(self) -> None:
        """Write the record."""
        write_whole(os.path.join(self.directory, RECORD), json.dumps(self.record))

    def need(self, *wanted: str) -> str:
        """Return the status if it is one of `wanted`. Raises StateError."""
        status = self.status()
        if status not in wanted:
            raise StateError(f"container {self.id} is {status}, not {' or '.join(wanted)}")
        return status


class ContainerStore:
    """The state directory `root`."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def find(self, identity: str) -> StoredContainer:
        """Return the container `identity`. Raises StateError if it does not exist."""
        check_id(identity)
        directory = os.path.join(self.root, identity)
        try:
            with open(os.path.join(directory, RECORD), "rb") as file:
                return StoredContainer(directory, json.loads(file.read()))
        except (FileNotFoundError, NotADirectoryError):
            raise StateError(f"container {identity} does not exist") from None
        except (OSError, ValueError) as error:
            raise StateError(f"the record of container {identity} can't be read: {error}") from error

    def all(self) -> list[StoredContainer]:
        """Return all containers, sorted by ID."""
        found = []
        try:
            names = sorted(os.listdir(self.root))
        except FileNotFoundError:
            return []
        for name in names:
            if not name.startswith(UNNAMED):
                with contextlib.suppress(ProgramError):  # removed in between
                    found.append(self.find(name))
        return found

    def add(self, record: dict[str, Any]) -> tuple[StoredContainer, int]:
        """Create the container of `record`; return it and a descriptor that holds its lock. Raises StateError."""
        check_id(record["id"])
        os.makedirs(self.root, mode=0o711, exist_ok=True)
        path = os.path.join(self.root, record["id"])
        if os.path.lexists(path):
            raise StateError(f"container {record['id']} exists", "another ID, or `delete` that one")
        unnamed, lock = self._make_directory()
        try:
            os.close(os.open(os.path.join(unnamed, WAITING), os.O_CREAT | os.O_CLOEXEC, 0o600))
            container = StoredContainer(unnamed, record)
            container.save()
            # rename(2) replaces only an empty directory, and those of containers are not empty
            os.rename(unnamed, path)
        except OSError as error:
            os.close(lock)
            _remove_files(unnamed)
            if os.path.lexists(path):
                raise StateError(f"container {record['id']} exists", "another ID, or `delete` that one") from error
            raise
        container.directory = path
        return container, lock

    def remove(self, container: StoredContainer) -> None:
        """Remove `container`: first its name, then its files."""
        gone = os.path.join(self.root, UNNAMED + os.urandom(8).hex())
        os.rename(container.directory, gone)
        _remove_files(gone)

    def _make_directory(self) -> tuple[str, int]:
        """Create a directory that is not yet a container; return its path and a descriptor that holds its lock."""
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # with the exclusive lock of the root no other process is between mkdir and flock of a new directory
            self._sweep(root)
            fcntl.flock(root, fcntl.LOCK_SH)
            path = os.path.join(self.root, UNNAMED + os.urandom(8).hex())
            os.mkdir(path, 0o700)
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
        finally:
            os.close(root)
        return path, lock

    def sweep(self) -> None:
        """Remove what killed processes have left, unless another process is adding a container."""
        with contextlib.suppress(FileNotFoundError):
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._sweep(root)
            finally:
                os.close(root)

    def _sweep(self, root: int) -> None:
        """Remove `.new-` directories that are not locked, if nobody has the lock of `root`."""
        try:
            fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for name in os.listdir(self.root):
            path = os.path.join(self.root, name)
            if name.startswith(UNNAMED) and not is_locked(path):
                _remove_files(path)


@contextlib.contextmanager
def locked(container: StoredContainer) -> Iterator[None]:
    """Lock `container`, and reread its record. Raises StateError if it has been removed."""
    try:
        lock = os.open(container.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StateError(f"container {container.id} does not exist") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(container.directory) or not os.path.samestat(
            os.fstat(lock), os.stat(container.directory)
        ):
            raise StateError(f"container {container.id} does not exist")
        with open(os.path.join(container.directory, RECORD), "rb") as file:
            container.record = json.loads(file.read())
        yield
    finally:
        os.close(lock)


def is_locked(path: str) -> bool:
    """Return whether another process holds the lock of the file or directory `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove_files(directory: str) -> None:
    """Remove a container's directory, which contains no directories."""
    with contextlib.suppress(FileNotFoundError):  # another process sweeps too
        for name in os.listdir(directory):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name))
        os.rmdir(directory)


def check_id(identity: str) -> None:
    """Raise ProgramError unless `identity` is a valid ID: letters, digits and "_+-."."""
    if not identity or identity in (".", "..") or len(identity) > LONGEST_ID or not LETTERS.issuperset(identity):
        raise ProgramError(f"invalid container ID {identity!r}", "an ID may contain only letters, digits and _ + - .")
    if identity.startswith(UNNAMED):
        raise ProgramError(f"invalid container ID {identity!r}", f"IDs must not begin with {UNNAMED}")


def started_at(pid: int) -> int | None:
    """Return the start time of process `pid` (clock ticks since boot), to detect a reused PID; None if it has exited."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[PROCESS_STATE] in (b"Z", b"X") else int(fields[START_TIME])


def write_whole(path: str, text: str) -> None:
    """Replace the file `path` atomically."""
    part = f"{path}.{os.getpid()}"
    try:
        with open(part, "w") as file:
            file.write(text)
        os.rename(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def record_of(identity: str, bundle: str, document: OciSpec, cgroup: str | None, created: str) -> dict[str, Any]:
    """Return the record of a new container."""
    return {
        "id": identity,
        "bundle": bundle,
        "rootfs": os.path.realpath(os.path.join(bundle, document["root"]["path"])),
        "created": created,
        "owner": os.geteuid(),
        "cgroup": cgroup,
        "is_made": False,
        "document": document,
    }
