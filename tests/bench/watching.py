"""From the save of a file here to its content in the container, by `watch`."""

import io
import os
import statistics
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.client import Client, EngineAddress
from tests.bench.measure import Budget, against_bar, once
from tests.bench.place import Place

SAVES = 200
PAUSE_S = 0.05
STACK = """
name: watched
services:
  web:
    image: busybox
    command: sleep infinity
    init: true
    develop: {watch: [{path: src, action: sync, target: /app}]}
"""


def watching(place: Place) -> Iterator[Budget]:
    """Measure saves one after the other, compared to the upload of one file by the same client as the floor."""
    folder = place.folder("watched", STACK)
    source = folder / "src"
    source.mkdir()
    place.run(folder, "up", "-d")
    state = place.home.get("/containers/watched-web-1/json")["State"]
    there = Path(f"/proc/{state['Pid']}/root/app/file")
    watch = subprocess.Popen(
        [place.skiff, "watch", "--no-up"], cwd=folder, env=place.home.env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert watch.stdout is not None
        while "Watch enabled" not in watch.stdout.readline():
            assert watch.poll() is None
        took, floor = [], []
        client = Client(EngineAddress(path=str(place.home.run / "engine.sock")))
        for number in range(SAVES):
            # in turns: what else the machine does it then does to both
            took.append(once(lambda: _save(source / "file", there, str(number))))  # noqa: B023
            floor.append(once(lambda: client.archive_put("watched-web-1", "/", (_archive(number),))))  # noqa: B023
            time.sleep(PAUSE_S)
    finally:
        watch.terminate()
        watch.communicate()
    place.run(folder, "down", "-t", "1")
    reference, floor_s = "upload of one file", statistics.median(floor)
    yield against_bar("watch: save to visible in the container, p50", statistics.median(took), 0.05, reference, floor_s)
    p99_s = sorted(took)[SAVES * 99 // 100]
    yield against_bar("watch: save to visible in the container, p99", p99_s, 0.15, reference, floor_s)


def _save(path: Path, there: Path, text: str) -> None:
    """Save as editors do, and look until the container has it."""
    part = path.with_name("file.part")
    part.write_text(text)
    os.replace(part, path)
    while True:
        try:
            if there.read_text() == text:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.0005)


def _archive(number: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("floor")
        data = str(number).encode()
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return out.getvalue()
