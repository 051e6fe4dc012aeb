"""Where the bench runs: an engine home of its own, with busybox in it."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import command, seconds
from tests.conftest import Home
from tests.support.images import busybox_archive


@dataclass(frozen=True)
class Place:
    """The bench's engine, its folder, the installed `skiff` and the seconds of an empty Python (the floor)."""

    home: Home
    base: Path
    skiff: str
    floor_s: float

    def folder(self, name: str, compose: str) -> Path:
        """Make a project folder with `compose` as its compose.yaml."""
        folder = self.base / name
        folder.mkdir(exist_ok=True)
        (folder / "compose.yaml").write_text(compose)
        return folder

    def run(self, folder: Path, *arguments: str) -> None:
        """Run one skiff command in `folder` to a successful end."""
        command([self.skiff, *arguments], cwd=folder, env=self.home.env)()


@contextmanager
def place() -> Iterator[Place]:
    """Provide the bench's place and remove it afterwards."""
    base = Path(tempfile.mkdtemp(prefix="skiff-bench-", dir="/tmp"))
    home = Home(base / "root", base / "run")
    floor_s = seconds(command([sys.executable, "-c", "pass"]), 9)
    here = Place(home, base, str(Path(sys.executable).parent / "skiff"), floor_s)
    home.skiff("image", "load", "-i", busybox_archive(base / "busybox.tar"))
    try:
        yield here
    finally:
        home.stop()
        shutil.rmtree(base)
