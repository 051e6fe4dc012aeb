"""The files of a container by which it knows names: hosts, hostname, resolv.conf. They are bind-mounted into it."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

NAME_FILES = ("hosts", "hostname", "resolv.conf")


def write_name_file(path: Path, text: str) -> None:
    """Write the file at `path` in place, as it is bind-mounted. What lies there and is no file is replaced by one.

    A link is not followed: it could lead anywhere, or to itself.
    """
    with suppress(FileNotFoundError):
        kind = path.lstat().st_mode
        if stat.S_ISDIR(kind):
            shutil.rmtree(path)
        elif not stat.S_ISREG(kind):
            path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o644), "w") as file:
        file.write(text)
