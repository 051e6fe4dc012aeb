"""The layer below every image, with the mount points that every container needs, so that its own layer stays empty."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

DIRECTORIES = ("dev", "proc", "sys", "etc")
FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv")
"""Many programs check for /.dockerenv to find out whether they run in a container."""
LINKS = {"etc/mtab": "/proc/mounts"}
EVERYBODY = 0o755


def make_init_layer(path: Path) -> None:
    """Create the layer at `path`, or what is missing in it. Raises OSError."""
    path.mkdir(exist_ok=True)
    path.chmod(EVERYBODY)
    for name in DIRECTORIES:
        (path / name).mkdir(exist_ok=True)
        (path / name).chmod(EVERYBODY)
    for name in FILES:
        (path / name).touch(0o644)
    for name, target in LINKS.items():
        with suppress(FileExistsError):
            (path / name).symlink_to(target)
