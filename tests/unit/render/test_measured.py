import pytest

from compose.events import StepMeasured
from compose.execute.transfer import Transfer
from compose.render.measured import measured, time_left


def layer(id, status, current=None, total=None, **more):
    detail = {} if current is None else {"current": current, "total": total}
    return {"id": id, "status": status, "progressDetail": detail, **more}


def test_a_pull_is_one_line_with_bytes_speed_time_and_layers():
    transfer = Transfer()
    shown = []

    def take(now_s, message):
        assert transfer.take(message, now_s)
        shown.append(measured("Pulling", transfer.measured("pull", "x")))

    take(0, layer("a", "Already exists"))
    take(0, layer("b", "Pulling fs layer", size=10_000_000))
    take(0, layer("c", "Pulling fs layer", size=30_000_000))
    take(1, layer("b", "Downloading", 2_000_000, 10_000_000))
    take(2, layer("c", "Downloading", 8_000_000, 30_000_000))
    take(3, layer("b", "Retrying: r broke off"))
    take(4, layer("b", "Download complete"))
    take(4, layer("b", "Extracting", 1, 10_000_000))
    take(5, layer("b", "Pull complete"))
    take(6, layer("c", "Download complete"))
    take(7, layer("c", "Pull complete"))
    assert shown == [
        "Pulling  1/1 layers",
        "Pulling 0B/10MB  1/2 layers",
        "Pulling 0B/40MB  1/3 layers",
        "Pulling 2MB/40MB  2MB/s  19s left  1/3 layers",
        "Pulling 10MB/40MB  5MB/s  6s left  1/3 layers",
        "Pulling 10MB/40MB  trying again: r broke off  1/3 layers",
        "Pulling 18MB/40MB  4.5MB/s  5s left  1/3 layers",
        "Pulling 18MB/40MB  4.5MB/s  5s left  1/3 layers",
        "Pulling 18MB/40MB  3.6MB/s  6s left  2/3 layers",
        "Extracting 40MB  2/3 layers",
        "Pulling  3/3 layers",
    ]


def test_what_is_no_layer_is_passed_over():
    transfer = Transfer()
    for message in ({"status": "Pulling from library/x", "id": "latest"}, {"status": "Digest: sha256:x"}, {}):
        assert not transfer.take(message, 0)
    assert transfer.layers == {}


def test_steps_of_a_build_are_counted():
    assert measured("Building", StepMeasured("build", "x", 3, 7, "steps")) == "Building  3/7 steps"


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0s"), (59, "59s"), (125, "2m05s"), (3725, "1h02m")])
def test_times_have_two_units(seconds, shown):
    assert time_left(seconds) == shown
