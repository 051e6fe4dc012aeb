"""The layer below every image, with the mount points that every container needs, so that its own layer stays empty."""

from __future__ import annotations

import os
import stat
from pathlib import Path

DIRECTORIES = ("dev", "proc", "sys", "etc")
FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv")
"""Many programs check for /.dockerenv to find out whether they run in a container."""
LINKS = {"etc/mtab": "/proc/mounts"}
EVERYBODY = 0o755
DAMAGED = ".damaged"


def make_init_layer(path: Path) -> None:
    """Create the layer at `path`, or what is missing in it; something else in its place is renamed. Raises OSError."""
    for name in ("", *DIRECTORIES):
        _clear(path / name, stat.S_IFDIR)
        (path / name).mkdir(exist_ok=True)
        (path / name).chmod(EVERYBODY)
    for name in FILES:
        _clear(path / name, stat.S_IFREG)
        (path / name).touch(0o644)
    for name, target in LINKS.items():
        link = path / name
        if not link.is_symlink() or os.readlink(link) != target:
            _clear(link, None)
            link.symlink_to(target)


def _clear(path: Path, kind: int | None) -> None:
    """Rename what is at `path` and has another file type than `kind`: it would keep every container from starting."""
    try:
        found = stat.S_IFMT(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if found != kind:
        os.rename(path, f"{path}{DAMAGED}")
