"""A layer's unpacking compared to GNU tar on the same archive."""

import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from runtime.image.bootstrap import ARCHITECTURES, cache_directory
from runtime.image.unpack import unpack as unpack_layer
from tests.bench.measure import Budget, once
from tests.bench.place import Place

ROUNDS = 5
BAR = 0.7


def unpack(place: Place) -> Iterator[Budget]:
    """Measure the base image's layer, plain and as gzip, in turns with `tar -x`."""
    name = f"debian-bookworm-slim-{ARCHITECTURES[platform.machine()]}.tar"
    plain = cache_directory(os.environ, os.getuid()) / name
    if not plain.exists():
        place.home.skiff("image", "bootstrap", "debian:bookworm-slim", timeout=900)
    packed = place.base / "layer.tar.gz"
    with packed.open("wb") as out:
        subprocess.run(["gzip", "-c", "-6", plain], stdout=out, check=True)
    megabytes = plain.stat().st_size / 1e6
    for what, archive in (("unpack of a layer", plain), ("unpack of the same as gzip", packed)):
        ours, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(_tar(archive, place.base / "tar"))
            ours.append(_ours(archive, place.base / "ours"))
        ours_s, theirs_s = statistics.median(ours), statistics.median(theirs)
        yield Budget(
            f"{what}, {megabytes:.0f} MB", f"{megabytes / ours_s:.0f} MB/s", f"tar -x {megabytes / theirs_s:.0f} MB/s",
            theirs_s / ours_s, f"≥ {BAR} of tar", theirs_s / ours_s >= BAR,
        )  # fmt: skip


def _tar(archive: Path, target: Path) -> float:
    target.mkdir()
    command = ["tar", "-x", "-p", "--xattrs", "--numeric-owner", "-f", archive, "-C", target]
    try:
        return once(lambda: subprocess.run(command, check=True))
    finally:
        shutil.rmtree(target)


def _ours(archive: Path, target: Path) -> float:
    target.mkdir()
    try:
        return once(lambda: unpack_layer(archive, target / "diff", None, target / "assembly"))
    finally:
        shutil.rmtree(target)
