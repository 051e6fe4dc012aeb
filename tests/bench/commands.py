"""Whole commands: up warm and cold, no-op up, ps, --help, down; 10, 30 and 100 services; the health gate."""

import statistics
from collections.abc import Iterator
from datetime import datetime

from tests.bench.measure import Budget, against_bar, once, seconds
from tests.bench.place import Place

FLOOR = "python -c pass"

STAND_INS = """
name: bench
services:
  web:
    image: busybox
    command: sleep infinity
    init: true
    ports: ["127.0.0.1::80"]
    depends_on: [db, cache]
  db:
    image: busybox
    command: sleep infinity
    init: true
    volumes: ["data:/data"]
  cache:
    image: busybox
    command: sleep infinity
    init: true
volumes:
  data:
"""

GATE = """
name: gate
services:
  db:
    image: busybox
    init: true
    command: sh -c "sleep 0.5; touch /ready; exec sleep infinity"
    healthcheck:
      test: ["CMD", "test", "-e", "/ready"]
      interval: 1s
      start_period: 5s
      start_interval: 100ms
  web:
    image: busybox
    init: true
    command: sleep infinity
    depends_on: {db: {condition: service_healthy}}
"""


def commands(place: Place) -> Iterator[Budget]:
    """Measure the commands of one small stack."""
    folder = place.folder("stack", STAND_INS)

    def timed(*arguments: str) -> float:
        return once(lambda: place.run(folder, *arguments))

    timed("up", "-d")
    timed("down", "-v")
    up, noop, down = [], [], []
    for _ in range(5):
        up.append(timed("up", "-d"))
        noop.append(timed("up", "-d"))
        down.append(timed("down", "-v"))
    timed("up", "-d")
    ps = seconds(lambda: place.run(folder, "ps"))
    timed("down", "-v")
    cold = []
    for _ in range(3):
        place.home.stop()
        cold.append(timed("up", "-d"))
        timed("down", "-v")
    for what, measured_s, bar_s in (
        ("up -d: web + db + cache stand-ins, engine warm", statistics.median(up), 0.4),
        ("up -d: the same, engine cold", statistics.median(cold), 1.0),
        ("up -d with nothing to do", statistics.median(noop), 0.3),
        ("ps", ps, 0.18),
        ("--help", seconds(lambda: place.run(folder, "--help")), 0.15),
        ("down -v of services that obey SIGTERM", statistics.median(down), 0.4),
    ):
        yield against_bar(what, measured_s, bar_s, FLOOR, place.floor_s)


def many_services(place: Place) -> Iterator[Budget]:
    """Measure 10, 30 and 100 light services: the cost of one is to stay flat."""
    first: dict[str, float] = {}
    for count in (10, 30, 100):
        services = "".join(
            f"  s{number}:\n    image: busybox\n    init: true\n    command: sleep infinity\n"
            for number in range(count)
        )
        folder = place.folder(f"many{count}", f"name: many{count}\nservices:\n{services}")
        for direction, arguments in (("up", ("up", "-d")), ("down", ("down",))):
            took_s = once(lambda: place.run(folder, *arguments))  # noqa: B023
            reference_s = first.setdefault(direction, took_s / count)
            yield Budget(
                f"{direction} of {count} light services",
                f"{took_s:.2f} s",
                f"{reference_s * 1000:.1f} ms a service at 10",
                took_s / count / reference_s,
                "≤ 4 s" if count == 100 else "flat",
                took_s <= 4,
            )


def health_gate(place: Place) -> Iterator[Budget]:
    """Measure from the end of the first successful probe to the start of the dependant."""
    folder = place.folder("gate", GATE)
    gaps = []
    for _ in range(5):
        place.run(folder, "up", "-d")
        db, web = (place.home.get(f"/containers/gate-{service}-1/json")["State"] for service in ("db", "web"))
        healthy = min(_time(probe["End"]) for probe in db["Health"]["Log"] if probe["ExitCode"] == 0)
        gaps.append(_time(web["StartedAt"]) - healthy)
        place.run(folder, "down", "-t", "1")
    yield against_bar(
        "dependant starts after its dependency is healthy", statistics.median(gaps), 0.05, FLOOR, place.floor_s
    )


def _time(stamp: str) -> float:
    """Return an RFC 3339 time with nanoseconds as seconds."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float("0." + (fraction[:9] or "0"))
