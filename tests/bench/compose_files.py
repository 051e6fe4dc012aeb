"""Compose files: how long a thousand services take to load, a hundred to print, and hostile ones to be refused."""

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Budget, against_bar, once, seconds
from tests.bench.place import Place
from tests.support.hostile import ODD, TEXTS
from tests.support.measured import Measured, run_measured

ROUNDS = 5
FLOOR = "python -c pass"
HEAD = """
name: many
x-common: &common
  restart: unless-stopped
  logging: {driver: json-file, options: {max-size: "${LOG_SIZE:-10m}"}}
x-environment: &environment
  LEVEL: ${LEVEL:-info}
  ZONE: ${ZONE-}
networks: {front: {}, back: {}}
volumes: {data: {}}
services:
"""
SERVICE = """
  s{number}:
    <<: *common
    image: "registry.example/app:${{TAG:-1.{number}}}"
    command: ["run", "--port", "{number}"]
    ports: ["127.0.0.1:{published}:80", "81/udp"]
    volumes: ["data:/data", "./conf:/etc/conf:ro"]
    environment:
      <<: *environment
      NAME: s{number}
      DSN: "postgres://${{DB_USER:-app}}:${{DB_PASSWORD:-secret}}@db:5432/x{number}"
    labels: ["app=s{number}", "tier=${{TIER-web}}"]
    networks: [front, back]
    healthcheck: {{test: ["CMD", "true"], interval: 10s, timeout: 1s, retries: 3}}
    deploy: {{resources: {{limits: {{cpus: "0.5", memory: 64M}}}}}}
    depends_on: [{before}]
"""


def services(count: int) -> str:
    """Return a file of `count` services with variables, anchors, merge keys and short forms."""
    made = [
        SERVICE.format(number=number, published=10_000 + number, before=f"s{number - 1}" if number % 7 else "")
        for number in range(count)
    ]
    return HEAD + "".join(made)


def compose_files(place: Place) -> Iterator[Budget]:
    """Measure whole commands on large files, the memory of the largest, and the slowest refusal."""
    floor_s = seconds(lambda: run_measured([sys.executable, "-c", "pass"]))
    for count, arguments, bar_s in ((1000, ("config", "-q"), 1.0), (100, ("config",), 0.3)):
        folder = place.folder(f"services{count}", services(count))
        runs = [_run(place, folder, *arguments) for _ in range(ROUNDS)]
        assert all(measured.status == 0 for measured, _ in runs)
        took_s = statistics.median(took_s for _, took_s in runs)
        yield against_bar(f"{' '.join(arguments)} of {count} services", took_s, bar_s, FLOOR, floor_s)
        yield _memory(f"memory of the same, {count} services", runs, 150)
    refusals = [_run(place, folder, "config", "-q") for folder in _hostile(place)]
    assert all(measured.status == 1 for measured, _ in refusals)
    slowest_s = max(took_s for _, took_s in refusals)
    yield against_bar(f"the slowest refusal of {len(refusals)} hostile files", slowest_s, 1.0, FLOOR, floor_s)
    yield _memory("the most memory for one of them", refusals, 200)


def _hostile(place: Place) -> Iterator[Path]:
    for number, (text, _) in enumerate(TEXTS.values()):
        folder = place.folder(f"hostile{number}", "")
        (folder / "compose.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        yield folder
    for make in ODD:
        folder = place.folder(make.__name__, "")
        (folder / "compose.yaml").unlink()
        make(folder / "compose.yaml")
        yield folder


def _run(place: Place, folder: Path, *arguments: str) -> tuple[Measured, float]:
    """Run a command; return what it took and its seconds, those of the launcher included."""
    found: list[Measured] = []
    took_s = once(lambda: found.append(run_measured([place.skiff, *arguments], cwd=folder, env=place.home.env)))
    return found[0], took_s


def _memory(what: str, runs: list[tuple[Measured, float]], bar_mib: int) -> Budget:
    most_bytes = max(measured.most_bytes for measured, _ in runs)
    floor_bytes = run_measured([sys.executable, "-c", "pass"]).most_bytes
    reference = f"{FLOOR} {floor_bytes >> 20} MiB"
    holds = most_bytes <= bar_mib << 20
    return Budget(what, f"{most_bytes >> 20} MiB", reference, most_bytes / floor_bytes, f"≤ {bar_mib} MiB", holds)
