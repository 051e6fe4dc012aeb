"""Results written to files, whole or not at all, or to standard output."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO

from runtime.errors import SkiffError


def write_whole(pieces: Iterable[bytes], output: str) -> None:
    """Write `pieces` to the file `output`, or to standard output if it is "".

    A file has all of them or what it had before; one that is a link is written where it leads, and keeps its mode. What is
    no regular file (a device, a pipe such as a shell's `>(gzip)`) gets them as they come. Raises SkiffError.
    """
    if not output:
        _copy(pieces, sys.stdout.buffer)
        return
    try:
        path = os.path.realpath(output)
        found = os.stat(output).st_mode if os.path.exists(output) else None
        if found is None or stat.S_ISREG(found):
            _replace(path, pieces, found)
        else:
            with open(output, "wb") as file:
                _copy(pieces, file)
    except OSError as error:
        raise SkiffError(f"can't write {output}: {error.strerror}", "choose another file") from error


def _replace(path: str, pieces: Iterable[bytes], mode: int | None) -> None:
    """Write the file `path`, in place of one of `mode` if there is one."""
    part = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with open(part, "xb") as file:
            _copy(pieces, file)
            if mode is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def _copy(pieces: Iterable[bytes], file: BinaryIO) -> None:
    for data in pieces:
        file.write(data)
    file.flush()
