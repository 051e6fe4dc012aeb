"""A stack that gives an engine no rest, for as long as asked: memory, descriptors and processes must stay where they are.

Run by name alone: `python -m tests.bench soak`; $SKIFF_SOAK_S is how long it takes (default 1,800 s).
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import Budget
from tests.bench.place import Place

DEFAULT_S = 1800
WARM_S = 60
LOOK_S = 15
GROWTH_KB, GROWTH_COUNT = 8 << 10, 8
CHECKED, CRASHING, LOUD = 30, 5, 3
COMPOSE = f"""
name: soak
services:
  checked:
    image: busybox
    init: true
    command: sleep 100000
    scale: {CHECKED}
    healthcheck: {{test: "true", interval: 1s}}
  crashing:
    image: busybox
    command: sh -c 'echo up; sleep 0.2; exit 3'
    scale: {CRASHING}
    restart: always
  loud:
    image: busybox
    init: true
    command: sh -c 'while :; do seq 200; usleep 100000; done'
    scale: {LOUD}
    logging: {{driver: json-file, options: {{max-size: 200k, max-file: "3"}}}}
"""


@dataclass(frozen=True)
class Sample:
    """What an engine's processes have at one moment: resident memory, open files, and how many processes there are."""

    memory_kb: int
    descriptors: int
    processes: int

    @classmethod
    def take(cls, run: Path) -> "Sample":
        """Look at engine, keeper and doorman; `processes` are those whose environment or arguments name `run`."""
        memory, descriptors, count = 0, 0, 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes()
                if str(run).encode() in arguments + (folder / "environ").read_bytes():
                    count += 1
                    if b"runtime" in arguments:
                        held = len(os.listdir(folder / "fd"))
                        memory += _resident_kb(folder)
                        descriptors += held
            except OSError:  # a child of a moment, as of a probe
                continue
        return cls(memory, descriptors, count)


def _resident_kb(folder: Path) -> int:
    fields = (line.split() for line in (folder / "status").read_text().splitlines())
    return next((int(field[1]) for field in fields if field[0] == "VmRSS:"), 0)


def soak(place: Place) -> Iterator[Budget]:
    """Let probes, crash loops, rotated logs and followers go on; compare the last minutes with the first."""
    seconds = float(os.environ.get("SKIFF_SOAK_S") or DEFAULT_S)
    folder = place.folder("soak", COMPOSE)
    place.run(folder, "up", "-d")
    with ExitStack() as stack:
        for _ in range(3):
            follower = subprocess.Popen(
                [place.skiff, "logs", "-f", "loud"], cwd=folder, env=place.home.env, stdout=subprocess.DEVNULL
            )
            stack.callback(follower.wait)
            stack.callback(follower.terminate)
        time.sleep(WARM_S)
        samples, end = [Sample.take(place.home.run)], time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(LOOK_S)
            samples.append(Sample.take(place.home.run))
    third = max(1, len(samples) // 3)
    for what, name, most in (
        ("resident KiB of engine, keeper and doorman", "memory_kb", GROWTH_KB),
        ("their open files", "descriptors", GROWTH_COUNT),
        ("processes", "processes", GROWTH_COUNT),
    ):
        first, last = (sorted(getattr(one, name) for one in part) for part in (samples[:third], samples[-third:]))
        # of files and processes the quietest moment: what probes have open at one time depends on who else is busy, and
        # what leaks is there at every moment
        at = 0 if name != "memory_kb" else len(first) // 2
        begin, finish = first[at], last[at]
        yield Budget(
            f"{what} after {seconds / 60:.0f} minutes", f"{finish:,}", f"at the beginning {begin:,}", finish / max(begin, 1),
            f"≤ {most:,} more", finish - begin <= most,
        )  # fmt: skip
    place.run(folder, "down", "-t", "0")
