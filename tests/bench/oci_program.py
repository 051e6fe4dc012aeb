"""`skiff oci run` as a program compared to `runc run`, on one bundle: an interpreter's start against a compiled program's."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.containers import runc_bundle
from tests.bench.measure import Budget, ms, once
from tests.bench.place import Place

ROUNDS = 30


def oci_program(place: Place) -> Iterator[Budget]:
    """Measure a container's whole life (`run` of `true`) and a query of its state, both compared to runc."""
    bundle = runc_bundle(place)
    ours = [str(Path(sys.executable).parent / "skiff"), "oci", "--root", str(place.base / "oci")]

    def call(*command: str) -> float:
        return once(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))

    took: dict[str, list[float]] = {"ours": [], "runc": [], "floor": []}
    for _ in range(ROUNDS):
        took["ours"].append(call(*ours, "run", "--bundle", str(bundle), "bench"))
        took["runc"].append(call("runc", "run", "--bundle", str(bundle), "bench-runc"))
        took["floor"].append(call(sys.executable, "-c", "pass"))
    ours_s, runc_s, floor_s = (statistics.median(each) for each in took.values())
    reference = f"runc run {ms(runc_s)}, empty Python {ms(floor_s)}"
    yield Budget("skiff oci run of `true`, the whole command", ms(ours_s), reference, ours_s / runc_s)
