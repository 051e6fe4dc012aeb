"""A layer that is unpacked, and one that is mounted from its archive, compared to GNU tar on the same archive."""

import hashlib
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from runtime.image.bootstrap import ARCHITECTURES, cache_directory
from runtime.image.mounted_layers import MountedLayers
from runtime.image.unpack import unpack as unpack_layer
from tests.bench.measure import Budget, ms, once
from tests.bench.place import Place

ROUNDS = 5
BAR = 0.7


def unpack(place: Place) -> Iterator[Budget]:
    """Measure the base image's layer, plain and as gzip, in turns with `tar -x`."""
    plain = _base_layer(place)
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


def mount(place: Place) -> Iterator[Budget]:
    """Measure the same layer until its files can be read, in turns with `tar -x`, and reading all of them, in turns."""
    archive = _base_layer(place)
    layers = MountedLayers(place.base / "scratch", "assembly", is_wanted=True)
    if not layers.is_possible:
        return
    with archive.open("rb") as file:
        mounted = place.base / hashlib.file_digest(file, "sha256").hexdigest()
    unpacked = place.base / "unpacked"
    ours, theirs, own_reads, their_reads = [], [], [], []
    unpack_layer(archive, unpacked)
    for _ in range(ROUNDS):
        theirs.append(_tar(archive, place.base / "tar"))
        ours.append(once(lambda: (layers.write(archive, mounted, None), layers.ensure(mounted, None))))
        their_reads.append(once(lambda: _read(unpacked)))
        _read(mounted / "diff")
        own_reads.append(once(lambda: _read(mounted / "diff")))
        layers.release(mounted)
        shutil.rmtree(mounted)
    ours_s, theirs_s = statistics.median(ours), statistics.median(theirs)
    own_read_s, their_read_s = statistics.median(own_reads), statistics.median(their_reads)
    yield Budget(
        f"a layer of {archive.stat().st_size / 1e6:.0f} MB is mounted", ms(ours_s), f"tar -x {ms(theirs_s)}",
        ours_s / theirs_s,
    )  # fmt: skip
    yield Budget(
        "all its files are read, warm", ms(own_read_s), f"unpacked {ms(their_read_s)}", own_read_s / their_read_s,
        "≤ 1.1 of unpacked", own_read_s <= 1.1 * their_read_s,
    )  # fmt: skip


def _read(directory: Path) -> None:
    subprocess.run("find . -xdev -type f -print0 | xargs -0 cat >/dev/null", shell=True, cwd=directory, check=True)


def _base_layer(place: Place) -> Path:
    name = f"debian-bookworm-slim-{ARCHITECTURES[platform.machine()]}.tar"
    plain = cache_directory(os.environ, os.getuid()) / name
    if not plain.exists():
        place.home.skiff("image", "bootstrap", "debian:bookworm-slim", timeout=900)
    return plain


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
