"""A client's directory that a build reads where it lies, instead of an archive of it.

Client and engine are on one machine: the client names its descriptors, and the engine opens them through /proc (proc(5),
/proc/pid/fd). What it reads may change during the build, so what is copied is compared with what was hashed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runtime.build.digests import FileDigests
from runtime.build.errors import DockerfileError
from runtime.build.tree import Entry
from runtime.errors import EngineError

PLACE = "/proc/self/fd/"


class ChangedError(Exception):
    """What a step reads has changed since it was hashed."""


@contextmanager
def reading() -> Iterator[None]:
    """Raise ChangedError for what has gone from a client's directory, DockerfileError for what can't be read there."""
    try:
        yield
    except OSError as error:
        place = str(error.filename or "")
        if not place.startswith(PLACE):
            raise
        name = place[len(PLACE) :].partition("/")[2] or "."
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise ChangedError(name) from error
        raise DockerfileError(
            f"{name} of the build context can't be read: {error.strerror}",
            hint="change its permissions, or exclude it in .dockerignore",
        ) from error


@dataclass(frozen=True)
class ClientDirectory:
    """One of them: where it is read, and the digests of its files.

    Its owners and extended attributes are those of the machine and no part of the image, as with an archive of it, and
    times count in whole seconds.
    """

    path: Path
    digests: FileDigests = field(repr=False)

    def check(self, entry: Entry) -> None:
        """Raise ChangedError unless `entry` is still what it was."""
        try:
            now = os.lstat(entry.location)
        except FileNotFoundError:
            raise ChangedError(entry.path) from None
        then = entry.info
        if (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (
            then.st_ino,
            then.st_size,
            then.st_mtime_ns,
            then.st_ctime_ns,
        ):
            raise ChangedError(entry.path)


@contextmanager
def opened(pid: int, descriptors: Mapping[str, Sequence[int]], kept: Path) -> Iterator[dict[str, ClientDirectory]]:
    """Open the `descriptors` of the process `pid`, by name, until the block ends; digests are kept below `kept`.

    Each is its number, and device and inode of the directory: what connects may be a relay, whose descriptors are others.
    Raises EngineError (501) if they can't be opened or read from here, such as for a client in another namespace.
    """
    with ExitStack() as stack:
        found = {}
        for name, (number, device, inode) in descriptors.items():
            try:
                descriptor = os.open(f"/proc/{pid}/fd/{number}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                path = f"{PLACE}{descriptor}"
                os.listdir(path)
                info = os.fstat(descriptor)
                if (info.st_dev, info.st_ino) != (device, inode):
                    raise FileNotFoundError(errno.ENOENT, "it is another one")
                digests = FileDigests(kept, info)
            except OSError as error:
                raise EngineError(
                    f"the client's directory can't be read from here: {error.strerror}", "send it as an archive", 501
                ) from error
            stack.callback(digests.save)
            found[name] = ClientDirectory(Path(path), digests)
        yield found


def is_copied(entry: Entry) -> bool:
    """Return whether a copy of a client's directory has `entry`: a socket has no content."""
    return not stat.S_ISSOCK(entry.info.st_mode)
