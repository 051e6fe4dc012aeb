"""Bodies of the right shapes with the oddest values: the engine takes or refuses them, and fails on none."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime import bodies
from runtime.shapes import WORDS, shape_of

pytestmark = pytest.mark.root

TEXTS = st.sampled_from(
    "|a|busybox|/|/etc/passwd|..|a:b|a:b:c|::|/a:/b:ro|80/tcp|80|-1|0|99999|host|none|container:|container:x|bridge|private|"
    "default|json-file|x=y|=|=x|SIGKILL|é☃|a b|\n|1.2.3.4|::1|host-gateway|c 1:3 rwm|seccomp={|no-new-privileges|always|"
    "net.ipv4.ip_forward|nofile|rwm|volume|bind|tmpfs|image|rprivate|{}|0-3|3-0|0-99999999999|ALL".split("|")
) | st.just("a" * 300)
NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 100, 1000, 65535, 65536, 10**6, 10**9, 6 << 20, 1 << 31, (1 << 63) - 1, -(1 << 63)]
)


def values(shape):
    """Draw values of a shape of `runtime.shapes`."""
    if shape is WORDS:
        return TEXTS | st.lists(TEXTS, max_size=2)
    if isinstance(shape, list):
        return st.lists(values(shape[0]), max_size=2)
    if isinstance(shape, dict):
        if str in shape:
            return st.dictionaries(TEXTS, values(shape[str]), max_size=2)
        members = [st.tuples(st.just(name), values(inner)) for name, inner in shape.items()]
        return st.lists(st.one_of(members), max_size=4).map(dict) if members else st.just({})
    return {str: TEXTS, bool: st.booleans(), int: NUMBERS, float: NUMBERS}[shape] | st.none()


WITHOUT_HOST = {name: shape for name, shape in shape_of(bodies.CreateBody).items() if name != "HostConfig"}
DRAWN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def wont_fail(answer, body):
    assert answer.status < 500 or answer.status in (501, 503), (answer.status, answer.body, json.dumps(body))


@DRAWN
@given(values(WITHOUT_HOST), values(shape_of(bodies.HostConfig)))
def test_containers_are_made_and_shown_or_refused(api, config, host):
    body = {**config, "Image": "busybox", "HostConfig": host}
    made = api.ask("POST", "/containers/create", body)
    wont_fail(made, body)
    if made.status == 201:
        id = made.json["Id"]
        assert api.ask("GET", f"/containers/{id}/json").status == 200
        assert api.ask("GET", "/containers/json?all=1&size=1").status == 200
        assert api.ask("DELETE", f"/containers/{id}?v=1").status == 204


@DRAWN
@given(values(shape_of(bodies.Resources)), values(shape_of(bodies.ExecConfig)))
def test_running_containers_are_changed_or_not(api, running, limits, exec_):
    wont_fail(api.ask("POST", f"/containers/{running}/exec", exec_), exec_)
    changed = api.ask("POST", f"/containers/{running}/update", limits)
    if b"sys/fs/cgroup" not in changed.body:  # what the kernel alone knows not to be possible, it says itself
        wont_fail(changed, limits)


@DRAWN
@given(values(shape_of(bodies.VolumeBody)), values({**shape_of(bodies.NetworkBody), "IPAM": {}}))
def test_volumes_and_networks_are_made_or_refused(api, volume, network):
    made = api.ask("POST", "/volumes/create", volume)
    wont_fail(made, volume)
    if made.status == 201:
        assert api.ask("DELETE", f"/volumes/{made.json['Name']}").status == 204
    made = api.ask("POST", "/networks/create", network)
    wont_fail(made, network)
    if made.status == 201:
        assert api.ask("DELETE", f"/networks/{made.json['Id']}").status == 204


@pytest.fixture(scope="module")
def running(api):
    """A running container for all examples."""
    id = api.run("sleep", "600")
    yield id
    api.remove(id)
