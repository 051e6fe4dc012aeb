"""Builds of a context of many files, whole commands, compared to what an archive of it costs in C."""

import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Budget, ms, once
from tests.bench.place import Place

ROUNDS = 5
DOCKERFILE = "FROM busybox\nCOPY src /app/src\n"
COMPOSE = "services: {app: {build: .}}\n"
MANY_S = 1.0
MANY, FEW, IN_FOLDER = 50_000, 10_000, 100


def builds(place: Place) -> Iterator[Budget]:
    """Measure the first build, one without a change and one with a changed file, in turns with tar and copy."""
    folder = place.folder("files", COMPOSE)
    _fill(folder, FEW)
    first_s = once(lambda: place.run(folder, "build", "-q"))
    unchanged, changed, archived, copied = [], [], [], []
    for number in range(ROUNDS):
        archived.append(once(lambda: _archive(folder)))
        unchanged.append(once(lambda: place.run(folder, "build", "-q")))
        copied.append(once(lambda number=number: _copy(folder, place.base / f"copy-{number}")))
        (folder / "src/0/0").write_text(f"{number}\n")
        changed.append(once(lambda: place.run(folder, "build", "-q")))
    archive_s, copy_s = statistics.median(archived), statistics.median(copied)
    for what, measured_s, floor, floor_s in (
        ("first build", first_s, "cp -a, tar | sha256sum", copy_s + archive_s),
        ("build, no change", statistics.median(unchanged), "tar | sha256sum", archive_s),
        ("build, one file changed", statistics.median(changed), "cp -a, tar | sha256sum", copy_s + archive_s),
    ):
        yield Budget(f"{what}, {FEW:,} files", ms(measured_s), f"{floor} {ms(floor_s)}", measured_s / floor_s)
    large = place.folder("many", COMPOSE)
    _fill(large, MANY)
    place.run(large, "build", "-q")
    archive_s = once(lambda: _archive(large))
    measured_s = statistics.median(once(lambda: place.run(large, "build", "-q")) for _ in range(ROUNDS))
    yield Budget(
        f"build, no change, {MANY:,} files", ms(measured_s), f"tar | sha256sum {ms(archive_s)}", measured_s / archive_s,
        f"≤ {ms(MANY_S)}", measured_s <= MANY_S,
    )  # fmt: skip


def _fill(folder: Path, files: int) -> None:
    (folder / "Dockerfile").write_text(DOCKERFILE)
    for number in range(files):
        file = folder / "src" / str(number // IN_FOLDER) / str(number % IN_FOLDER)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{number}\n" * 100)


def _archive(folder: Path) -> None:
    subprocess.run(f"tar -c -C {folder} src | sha256sum >/dev/null", shell=True, check=True)


def _copy(folder: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", folder / "src", target], check=True)
