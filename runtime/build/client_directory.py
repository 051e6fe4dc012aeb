"""A client's directory that a build reads where it lies, instead of an archive of it.

Client and engine are on one machine: the client sends its descriptors (unix(7), SCM_RIGHTS), and the engine reads below
them through /proc (proc(5), /proc/pid/fd), whatever namespaces the client is in. What it reads may change during the
build, so what is copied is compared with what was hashed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
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

    def check(self, entry: Entry, now: os.stat_result | None = None) -> None:
        """Raise ChangedError unless `entry` is still what it was; `now` is what was read of it, left out its place counts."""
        if now is None:
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
def opened(descriptors: Mapping[str, int], kept: Path) -> Iterator[dict[str, ClientDirectory]]:
    """Give the directories of `descriptors`, by name, until the block ends; digests are kept below `kept`.

    Raises EngineError (501) if one can't be read from here, such as that of a file system for its user alone.
    """
    with ExitStack() as stack:
        found = {}
        for name, descriptor in descriptors.items():
            path = f"{PLACE}{descriptor}"
            try:
                os.listdir(path)
                digests = FileDigests(kept, os.fstat(descriptor))
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
