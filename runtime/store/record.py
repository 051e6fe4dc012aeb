"""A record: one JSON document in a file of its own, which is only ever added to.

Each version of the document is one line; the last line that can be read counts. So a change is one small write(2), and
neither a killed engine nor a power cut can damage what was there before: the worst they leave is an unfinished last
line, which is passed over. (Replacing a file by rename(2) would need an fsync(2) before each rename: without one, file
systems may leave an empty file after a power cut, and the older version is gone too.)

Beside a new record lies a mark, the empty file `.new-<name>`, until its first line is on the disk: a record without a
line that can be read is half made where there is a mark, and damaged where there is none.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Document = dict[str, Any]
FORMAT = 1
"""Version of the documents that this Skiff writes and reads."""
NEW = ".new-"
OLD = ".old"
"""Suffix of the version of a record before it was written again in short (see `Store.compact`)."""
LARGEST_BYTES = 64 << 20


@dataclass(frozen=True)
class Reading:
    """What a record says: its document, or `damage`: why there is none; `lost_bytes` at its end could not be read."""

    document: Document | None
    damage: str = ""
    lost_bytes: int = 0
    is_from_newer: bool = False


def mark_of(path: Path) -> Path:
    """Return where the mark of the record at `path` is."""
    return path.with_name(NEW + path.name)


def encode(document: Document) -> str:
    """Return the line, without its end, that says `document`."""
    return json.dumps({"format": FORMAT, **document}, separators=(",", ":"))


def read(path: Path) -> Reading:
    """Read the record at `path`; what can't be read is told in the result, never raised. None is there: no damage."""
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
            return Reading(None, f"was written by a newer Skiff (format {format}, not {FORMAT})", is_from_newer=True)
        return Reading(document, lost_bytes=lost)
    before = path.with_name(path.name + OLD)
    if before.exists():
        return read(before)
    return Reading(None, "is damaged: no version in it can be read" if data else "is empty")


def _bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(LARGEST_BYTES)


def append(path: Path | str, line: str) -> int:
    """Add `line` to the record at `path`, made when it is not there; return the bytes it has now. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        data = f"{line}\n".encode()
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data  # an unfinished line stays one that can't be read
        written = os.write(descriptor, data)
        if written != len(data):  # the disk is full: what is missing fails with the reason
            os.write(descriptor, data[written:])
        return size + len(data)
    finally:
        os.close(descriptor)
