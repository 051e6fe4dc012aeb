"""The layer below every image: what the runtime mounts on, so that no container has to make it in its own layer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

DIRECTORIES = ("dev", "proc", "sys", "etc")
FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv")
"""The last is how many programs tell that they run in a container of Docker's kind."""
LINKS = {"etc/mtab": "/proc/mounts"}
EVERYBODY = 0o755


def make_init_layer(path: Path) -> None:
    """Make the layer at `path`, or what is missing of it. Raises OSError."""
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
