"""Results written to files, whole or not at all, or to standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from runtime.errors import SkiffError


def write_whole(pieces: Iterable[bytes], output: str) -> None:
    """Write `pieces` to the file `output`, or to standard output if it is "". Raises SkiffError."""
    if not output:
        for data in pieces:
            sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    part = f"{output}.part"
    try:
        with open(part, "wb") as file:
            for data in pieces:
                file.write(data)
        os.replace(part, output)
    except OSError as error:
        raise SkiffError(f"can't write {output}: {error.strerror}", "choose another file") from error
    finally:
        if os.path.exists(part):
            os.unlink(part)
