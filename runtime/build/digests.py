"""Digests of a context's files, kept from one build to the next: a file that has not changed is not read again.

A file is the same while its inode, size, mtime and ctime are. Programs can set the mtime back, and only the kernel sets the
ctime. A file that changed less than `SETTLED_NS` before it was read may change again within one tick of the file system's
clock without a new ctime (ext4 and btrfs: some milliseconds; FAT: two seconds): its digest is not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SETTLED_NS = 2_000_000_000
FORMAT = 1
MOST_FILES = 64
"""As many contexts' digests are kept, those that were used last."""
MIN_ENTRIES = 1_000

Known = dict[str, list[Any]]
"""By "device:inode": size, mtime and ctime (nanoseconds), hex SHA-256."""


def file_digest(location: str) -> str:
    """Return the SHA-256 of a file's content."""
    with open(location, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FileDigests:
    """The digests of one context's files, in a file of their own below `folder`."""

    def __init__(self, folder: Path, root: os.stat_result) -> None:
        """`root` is the context's directory, which the file is called by."""
        self._path = folder / f"{root.st_dev}-{root.st_ino}.json"
        self._known = _read(self._path)
        self._used: Known = {}
        self._has_new = False

    def of(self, location: str, info: os.stat_result) -> str:
        """Return the SHA-256 of the file at `location`, of which lstat(2) said `info`. Raises OSError."""
        key = f"{info.st_dev}:{info.st_ino}"
        state = [info.st_size, info.st_mtime_ns, info.st_ctime_ns]
        found = self._known.get(key)
        if found is not None and found[:3] == state:
            self._used[key] = found
            return str(found[3])
        began_ns = time.time_ns()
        digest = file_digest(location)
        if max(info.st_mtime_ns, info.st_ctime_ns) + SETTLED_NS < began_ns:
            self._known[key] = self._used[key] = [*state, digest]
            self._has_new = True
        return digest

    def save(self) -> None:
        """Keep what was used, and as many others; a file that can't be written is left as it was."""
        if not self._has_new:
            return
        kept = dict(self._used)
        room = max(len(kept), MIN_ENTRIES)
        for key, entry in reversed(self._known.items()):
            if room == 0:
                break
            if key not in kept:
                kept[key] = entry
                room -= 1
        part = self._path.with_suffix(f".{os.getpid()}.{id(self)}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_text(json.dumps({"format": FORMAT, "files": kept}, separators=(",", ":")))
            part.chmod(0o600)
            os.replace(part, self._path)
        except OSError:
            part.unlink(missing_ok=True)
        self._has_new = False
        drop(self._path.parent, MOST_FILES)


def drop(folder: Path, most: int = 0) -> None:
    """Remove the kept digests below `folder` but for `most`, those that were written last."""
    with suppress(OSError):
        found = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[most:]:
            path.unlink(missing_ok=True)


def _read(path: Path) -> Known:
    try:
        document = json.loads(path.read_bytes())
        files = document["files"] if document["format"] == FORMAT else {}
        return {key: entry for key, entry in files.items() if _is_entry(entry)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 4
        and all(isinstance(number, int) for number in entry[:3])
        and isinstance(entry[3], str)
    )
