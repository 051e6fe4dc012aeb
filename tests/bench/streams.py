"""Logs of a million lines, a layer's unpacking, a published port's throughput."""

import socket
import statistics
import subprocess
import threading
from collections.abc import Iterator

from runtime.client import Client, endpoint
from tests.bench.measure import Budget, once
from tests.bench.place import Place

LINES = 1_000_000


def logs(place: Place) -> Iterator[Budget]:
    """Measure `skiff logs` of a million lines, compared to `cat` of the same bytes, and count the lines."""
    half = f'{{image: busybox, command: ["seq", "1", "{LINES // 2}"]}}'
    folder = place.folder(
        "flood",
        f"""
name: flood
services:
  flood: {{image: busybox, command: ["seq", "1", "{LINES}"]}}
  one: {half}
  other: {half}
""",
    )
    place.run(folder, "up")
    out = place.base / "flood.txt"
    for what, flags in (
        ("logs of a million lines", ("--no-log-prefix", "flood")),
        ("the same with prefixes", ("flood",)),
        ("the same followed", ("-f", "flood")),
        ("two services' merged", ("one", "other")),
        ("two services' merged and followed", ("-f", "one", "other")),
        ("logs of a million lines through a filter", ("--grep", "^1000000$", "flood")),
        ("two services' merged through a filter", ("--exclude", "99$", "one", "other")),
    ):
        took = []
        for _ in range(3):
            with out.open("wb") as file:
                took.append(
                    once(
                        lambda: subprocess.run(
                            [place.skiff, "logs", "--no-color", *flags],  # noqa: B023
                            cwd=folder,
                            env=place.home.env,
                            stdout=file,
                            check=True,
                        )
                    )
                )
        took_s = statistics.median(took)
        wanted = {"--grep": 1, "--exclude": LINES - LINES // 100}.get(flags[0], LINES)
        least = 1_000_000 if flags[0] in ("--grep", "--exclude") else 500_000
        floor_s = once(lambda: subprocess.run(["cat", out], stdout=subprocess.DEVNULL, check=True))
        with out.open("rb") as file:
            counted = sum(1 for _ in file)
        yield Budget(
            what, f"{LINES / took_s:,.0f} lines/s", f"cat {LINES / floor_s:,.0f} lines/s", floor_s / took_s,
            f"≥ {least:,} lines/s, none lost", LINES / took_s >= least and counted == wanted,
        )  # fmt: skip
    place.run(folder, "down")


def published_port(place: Place) -> Iterator[Budget]:
    """Measure a stream out of a container over its published port, compared to the container's own address."""
    client = Client(endpoint(place.home.env, None))
    megabytes = 512
    body = {
        "Image": "busybox:latest",
        "Cmd": ["sh", "-c", f"while :; do nc -l -p 80 -e dd if=/dev/zero bs=1M count={megabytes} 2>/dev/null; done"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}, "Init": True},
    }
    identity = client.create_container(body, name="stream")["Id"]
    client.start(identity)
    settings = client.container(identity)["NetworkSettings"]
    address = next(iter(settings["Networks"].values()))["IPAddress"]
    port = int(settings["Ports"]["80/tcp"][0]["HostPort"])
    rates = {"direct": [], "published": []}
    for _ in range(5):
        for what, target in (("direct", (address, 80)), ("published", ("127.0.0.1", port))):
            rates[what].append(megabytes / once(lambda: _drain(target)))  # noqa: B023
    client.remove(identity, force=True)
    direct, published = (statistics.median(rates[what]) for what in ("direct", "published"))
    yield Budget(
        "published port", f"{published:,.0f} MB/s", f"direct {direct:,.0f} MB/s", published / direct, "≥ 0.9",
        published / direct >= 0.9,
    )  # fmt: skip


def _drain(target: tuple[str, int]) -> None:
    buffer = bytearray(1 << 20)
    pause = threading.Event()
    for _ in range(200):
        try:
            connection = socket.create_connection(target, timeout=30)
            break
        except ConnectionRefusedError:  # between two rounds of the server's loop
            pause.wait(0.01)
    with connection:
        while connection.recv_into(buffer):
            pass
