"""What a container is made of, as its label keeps it: its service, and a digest of each file that it uses.

docker compose keeps a digest of the service alone (`config-hash`), which says that something changed, but not what; and
it does not see that a file has other content, or that an editor replaced it: a container that mounts it still has the old
one, as the mount holds the inode and not the name. This label says both. The files are read, nothing else is done.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from compose.plan.content import FOLDERS, injected, is_copied
from compose.plan.differences import differences, relative
from compose.plan.hashes import NOT_HASHED
from compose.plan.parts import Mount
from compose.plan.project import DesiredProject

DIGEST_BYTES = 12
READ_LIMIT_BYTES = 64 << 20
"""Larger files are known by size and time."""
DATA_BYTES = 1 << 20
DATA_SUFFIXES = (".log", ".db", ".sqlite", ".sqlite3", ".pid", ".lock")
"""A file that a container may write is its data, not its configuration, if it is larger, binary, empty, or called so."""
DATA = "-"
"""What stands for the digest of such a file: it counts when another takes its place (its inode), not when it is written."""


class Inputs(NamedTuple):
    """A service of the canonical model, and digests of contents by what the files call them ("./nginx.conf")."""

    service: Mapping[str, Any]
    contents: Mapping[str, str]

    def label(self) -> str:
        """Return the inputs as a label: compressed, as lists of containers are shown with all of their labels."""
        text = json.dumps([self.service, self.contents], separators=(",", ":"), ensure_ascii=False)
        return base64.b64encode(zlib.compress(text.encode("utf-8", "surrogatepass"), 9)).decode()


def from_label(text: str) -> Inputs | None:
    """Return what `Inputs.label` wrote; None for what it did not write."""
    try:
        service, contents = json.loads(zlib.decompress(base64.b64decode(text)).decode("utf-8", "surrogatepass"))
    except (ValueError, zlib.error):
        return None
    return Inputs(service, contents) if isinstance(service, dict) and isinstance(contents, dict) else None


def inputs_of(target: DesiredProject, name: str) -> Inputs:
    """Return what a container of the service `name` would be made of now. Raises SkiffError for what can't be read."""
    document = target.services[name].document
    counted = {key: value for key, value in document.items() if key not in NOT_HASHED}
    return Inputs(counted, dict(_contents(target, name)))


def changed_settings(old: Inputs, new: Inputs, folder: str) -> list[str]:
    """Return the settings that changed, in the words of the files."""
    return differences(old.service, new.service, folder)


def changed_contents(old: Inputs, new: Inputs) -> list[str]:
    """Return the files, configs and secrets whose contents changed."""
    names = dict.fromkeys((*old.contents, *new.contents))
    return [f"{name} changed" for name in names if not _is_same(old.contents.get(name, ""), new.contents.get(name, ""))]


def _is_same(old: str, new: str) -> bool:
    """Whether two digests, each with an inode behind it for a file that may be data, are of the same content."""
    (before, _, was), (now, _, inode) = old.partition(" "), new.partition(" ")
    return was == inode if DATA in (before, now) else before == now


def _contents(target: DesiredProject, name: str) -> Iterator[tuple[str, str]]:
    service, folder = target.services[name], target.working_directory
    written = {file.source: file for file in injected(target, name)}
    for kind in FOLDERS:
        for use in service.files(kind):
            declared = target.file(kind, use.source)
            what = f"{kind}.{use.source}"
            if (file := written.get((kind, use.source))) is not None:
                yield relative(declared.file, folder) or what, _digest(file.content)
            elif declared.file and not is_copied(use, declared, service) and (found := _file_digest(declared.file)):
                yield relative(declared.file, folder), found
    for mount in service.mounts:
        if mount.type == "bind" and (found := _file_digest(mount.source, is_writable=not mount.read_only)):
            yield relative(mount.source, folder), found


def _file_digest(path: str, *, is_writable: bool = False) -> str:
    """Return the digest of a regular file's content, "" for all else: folders, sockets, what is not on this machine."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return ""
        inode = f" {status.st_ino}" if is_writable else ""
        if is_writable and (not 0 < status.st_size <= DATA_BYTES or path.endswith(DATA_SUFFIXES)):
            return DATA + inode
        if status.st_size > READ_LIMIT_BYTES:
            return f"{status.st_size} bytes, {status.st_mtime_ns}"
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return ""
    return (DATA if is_writable and b"\0" in content else _digest(content)) + inode


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[: 2 * DIGEST_BYTES]


def reads_folders(mounts: Sequence[Mount]) -> bool:
    """Whether a bind mount is a folder, whose contents nobody has compared."""
    return any(mount.type == "bind" and not _file_digest(mount.source) for mount in mounts)
