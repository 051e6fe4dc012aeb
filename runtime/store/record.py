"""A record: a JSON document in an append-only file.

Each version of the document is a line; the last readable line is valid. So a change is one small write(2), and neither
a killed engine nor a power cut can damage earlier versions: at worst they leave an incomplete last line, which is
skipped. (Replacing the file by rename(2) would need an fsync(2) before each rename, as otherwise filesystems may leave an
empty file after a power cut, without the older version.)

Next to a new record is a mark, the empty file `.new-<name>`, until the first line has been synced. A record without a
readable line is incomplete if there is a mark, and damaged if there is none.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Document = dict[str, Any]
FORMAT = 1
"""The version of the documents that this version of Skiff reads and writes."""
NEW = ".new-"
DAMAGED = ".damaged"
"""Suffix of what was in a record's place without being a file, once a version must be written there."""
OLD = ".old"
"""Suffix of the previous file while a record is compacted (see `Store._compact`)."""
LARGEST_BYTES = 64 << 20


@dataclass(frozen=True)
class Reading:
    """The content of a record: its document, or the reason why there is none; `lost_bytes` at its end are unreadable."""

    document: Document | None
    damage: str = ""
    lost_bytes: int = 0
    is_from_newer: bool = False


def mark_of(path: Path) -> Path:
    """Return the path of the mark of the record at `path`."""
    return path.with_name(NEW + path.name)


def encode(document: Document) -> str:
    """Encode `document` as a line, without the newline."""
    return encode_text(json.dumps(document, separators=(",", ":")))


def encode_text(text: str) -> str:
    """Return the line, without the newline, of a document that is JSON `text` without blanks."""
    return f'{{"format":{FORMAT},{text[1:]}' if len(text) > len("{}") else f'{{"format":{FORMAT}}}'


def read(path: Path) -> Reading:
    """Read the record at `path`; errors are returned, not raised. A missing file is no damage."""
    try:
        data = _bytes(path)
    except FileNotFoundError:
        return Reading(None)
    except OSError as error:
        return Reading(None, f"can't be read: {error.strerror}")
    lost = 0
    for line in reversed(data.split(b"\n")):
        if not line.strip(b" \r\t\0"):
            lost += len(line)
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            lost += len(line)
            continue
        if not isinstance(document, dict) or not isinstance(format := document.pop("format", None), int):
            lost += len(line)
            continue
        if format > FORMAT:
            reason = f"was written by a newer version of Skiff (format {format}, not {FORMAT})"
            return Reading(None, reason, is_from_newer=True)
        return Reading(document, lost_bytes=lost)
    before = path.with_name(path.name + OLD)
    if before.exists():
        return read(before)
    return Reading(None, "is damaged: it has no readable version" if data else "is empty")


def _bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(LARGEST_BYTES)


def append(path: Path | str, line: str) -> int:
    """Append `line` to the record at `path`, created if missing; return its size in bytes. Raises OSError.

    What is there without being a regular file is renamed.
    """
    descriptor = _opened(path)
    try:
        size = os.fstat(descriptor).st_size
        data = f"{line}\n".encode()
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data  # an incomplete line must not become a part of this one
        written = os.write(descriptor, data)
        if written != len(data):  # the disk is full: writing the rest raises the error
            os.write(descriptor, data[written:])
        return size + len(data)
    finally:
        os.close(descriptor)


def _opened(path: Path | str) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with suppress(OSError):
        descriptor = os.open(path, flags, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            os.rename(path, f"{path}{DAMAGED}")
    return os.open(path, flags, 0o600)
