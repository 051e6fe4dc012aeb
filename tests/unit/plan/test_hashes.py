"""Config hashes are docker compose's: those that version 2.40.3 printed of the same services (`config --hash`)."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.go_json import go_json
from compose.loading import LoadOptions, load
from compose.plan.hashes import former_service_digests, network_digest, service_digest, volume_digest
from tests.unit.plan.recorded_hashes import DIGITS, HASHES, MODEL, SINCE_5


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """The services of MODEL as the loader has them for hashing: files of variables are not read."""
    file = tmp_path_factory.mktemp("hashes") / "compose.yaml"
    file.write_text(MODEL)
    options = LoadOptions("/", (str(file),), profiles=("*",), project_directory="/srv/h", resolve_environment=False)
    return load(options, {"NAME": "value", "HOME": "/h"}).model()["services"]


@pytest.mark.parametrize("name", HASHES)
def test_a_service_has_the_hash_of_the_reference(services, name):
    found = service_digest(services[name])[:DIGITS]
    if name in SINCE_5:
        assert found == SINCE_5[name]
        assert HASHES[name] in {digest[:DIGITS] for digest in former_service_digests(services[name])}
    else:
        assert found == HASHES[name]


def test_every_attribute_of_a_service_has_a_hash_to_compare_with(services):
    """But for those that are gone once they are read, and what came after the version that was asked."""
    from compose.loading.encode import SERVICE

    known = {key for service in services.values() for key in service}
    assert set(SERVICE) - known == {"extends", "label_file", "pre_start"}


def test_what_no_container_is_made_of_does_not_count():
    service = {"image": "i", "command": None, "entrypoint": None, "deploy": {"resources": {}, "placement": {}}}
    changed = {
        "build": {"context": "/x"},
        "pull_policy": "always",
        "scale": 3,
        "profiles": ["p"],
        "depends_on": {"db": {"condition": "service_started", "required": True}},
    }
    more = {**service, **changed, "deploy": {"replicas": 2, **service["deploy"]}}
    assert service_digest(more) == service_digest(service)
    assert service_digest({**service, "post_start": [{"command": ["x"]}]}) != service_digest(service)


def test_networks_and_volumes_have_the_hashes_of_the_reference():
    internal = {"name": "pa_n", "driver": "bridge", "ipam": {}, "internal": True, "labels": {"a": "b"}}
    assert network_digest(internal).startswith("978b761858cffc6c")
    assert network_digest({"name": "pa_default", "ipam": {}}).startswith("79a4f8adf8cf5919")
    assert volume_digest({"name": "pa_vol"}).startswith("effb1c03dc253f2b")
    assert volume_digest({"name": "v", "driver": "local"}) == volume_digest({"name": "v"})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_is_hashed_is_json_that_says_the_same(value):
    assert json.loads(go_json(value)) == value


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_in_single_precision_is_the_same_when_it_is_read(value):
    from compose.loading.values import single

    written = go_json(single(value))
    assert struct.pack("f", float(written)) == struct.pack("f", value) or value == 0
    assert ("e" in written) == (value != 0 and not 1e-6 <= abs(single(value)) < 1e21)
