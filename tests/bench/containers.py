"""One container: its launch compared to `runc run` on the same root filesystem, and what an idle one costs in memory."""

import json
import statistics
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from runtime.client import Client, endpoint
from tests.bench.measure import Budget, ms, once
from tests.bench.place import Place

ROUNDS = 30


def launch(place: Place) -> Iterator[Budget]:
    """Measure create + start until PID 1 runs, and a whole run-to-exit, both compared to `runc run`."""
    bundle = runc_bundle(place)
    client = Client(endpoint(place.home.env, None))
    sleep = {"Image": "busybox:latest", "Cmd": ["sleep", "1000"], "HostConfig": {"Init": False}}
    nothing = {**sleep, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}

    def run_peer() -> None:
        subprocess.run(["runc", "run", "--bundle", bundle, "bench-runc"], check=True)

    def create_and_start() -> None:
        client.start(client.create_container(sleep, name="bench-launch")["Id"])

    def start_and_wait() -> None:
        client.start("bench-true")
        client.wait("bench-true")

    took: dict[str, list[float]] = {"runc": [], "launch": [], "run": []}
    # in turns: whatever else the machine does, it does to all of them
    for _ in range(ROUNDS):
        took["runc"].append(once(run_peer))
        took["launch"].append(once(create_and_start))
        client.remove("bench-launch", force=True)
        client.create_container(nothing, name="bench-true")
        took["run"].append(once(start_and_wait))
        client.remove("bench-true", force=True)
    runc_s, launch_s, run_s = (statistics.median(each) for each in took.values())
    yield Budget(
        "launch of a container: create + start", ms(launch_s), f"runc run {ms(runc_s)}", launch_s / runc_s,
        "≤ 15.0 ms, ≤ 0.5 of runc", launch_s <= 0.015 and launch_s <= runc_s / 2,
    )  # fmt: skip
    yield Budget("start to exit of `true`, no network", ms(run_s), f"runc run {ms(runc_s)}", run_s / runc_s)


def memory(place: Place) -> Iterator[Budget]:
    """Measure keeper and engine, and what fifty idle containers add to them."""
    client = Client(endpoint(place.home.env, None))

    def rss() -> dict[str, float]:
        state = place.home.get("/skiff/v1/engine")
        return {what: _rss_mb(state[f"{what}_pid"]) for what in ("keeper", "engine", "doorman")}

    before = rss()
    names = [f"idle-{number}" for number in range(50)]
    for name in names:
        client.create_container({"Image": "busybox:latest", "Cmd": ["sleep", "1000"]}, name=name)
        client.start(name)
    after = rss()
    for name in names:
        client.remove(name, force=True)
    bare = subprocess.run(
        ["python3", "-I", "-S", "-c", "print(open('/proc/self/status').read())"], capture_output=True, text=True
    )
    floor_mb = int(bare.stdout.split("VmRSS:")[1].split()[0]) / 1024
    for what, bar_mb in (("keeper", 12.0), ("engine", 80.0)):
        yield Budget(
            f"memory of the {what}", f"{before[what]:.1f} MB", f"bare python {floor_mb:.1f} MB",
            before[what] / floor_mb, f"≤ {bar_mb:.0f} MB", before[what] <= bar_mb,
        )  # fmt: skip
    # what is Python's own code is shared with keeper and engine, or with any other Python
    own_mb = _own_mb(place.home.get("/skiff/v1/engine")["doorman_pid"])
    yield Budget(
        "memory of the doorman: its own", f"{own_mb:.1f} MB", f"with what it shares {before['doorman']:.1f} MB",
        own_mb / before["doorman"], "≤ 6 MB", own_mb <= 6,
    )  # fmt: skip
    each_mb = (sum(after.values()) - sum(before.values())) / len(names)
    yield Budget(
        "ours per idle container", f"{each_mb:.2f} MB", f"bare python {floor_mb:.1f} MB", each_mb / floor_mb,
        "≤ 0.2 MB", each_mb <= 0.2,
    )  # fmt: skip


def _rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def _own_mb(pid: int) -> float:
    """Return what would be free without the process: its pages that no other has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def runc_bundle(place: Place) -> Path:
    """Make a bundle of busybox that runs `true`, by runc's own document; returns its directory."""
    bundle = place.base / "bundle"
    rootfs = bundle / "rootfs"
    rootfs.mkdir(parents=True)
    with tarfile.open(place.base / "busybox.tar") as archive:
        layer = next(member for member in archive if member.name.endswith("layer.tar"))
        with tarfile.open(fileobj=archive.extractfile(layer)) as content:
            content.extractall(rootfs, filter="tar")
    subprocess.run(["runc", "spec", "--bundle", bundle], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["true"])
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle
