"""A document is followed or refused in words, whatever it holds."""

import copy
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.oci.program import document
from runtime.oci.program.errors import DocumentError
from runtime.oci.program.shape import DOCUMENT, shaped
from runtime.oci.program.template import template

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)


def values(shape):
    """Draw what has `shape`."""
    if isinstance(shape, tuple):
        return st.lists(values(shape[0]), max_size=2)
    if isinstance(shape, dict):
        fields = {name: values(kind) for name, kind in shape.items() if name != "*"}
        if "*" in shape:
            return st.dictionaries(texts, values(shape["*"]), max_size=2)
        return st.fixed_dictionaries({}, optional=fields)
    words = [
        "",
        "/",
        "a",
        "pid",
        "user",
        "mount",
        "/proc/1/ns/net",
        "RLIMIT_CPU",
        "1.0.0",
        "SCMP_ACT_ALLOW",
        "rbind",
        "c",
    ]
    kinds = {
        str: st.sampled_from(words) | texts, int: st.integers(-(2**64), 2**64), bool: st.booleans(),
        object: anything,
    }  # fmt: skip
    return kinds[shape]


def refusal(call, *arguments):
    """Return what `call` was refused with, "" when it was not."""
    try:
        call(*arguments)
    except DocumentError as error:
        return str(error)
    return ""


@given(anything)
def test_any_json_is_followed_or_refused(value):
    assert refusal(document.checked, value).startswith("config.json: ")  # no JSON that is drawn is a document


@given(values(DOCUMENT))
def test_any_shape_is_followed_or_refused(value):
    complete = {**template(), **value}
    refused = refusal(document.checked, copy.deepcopy(complete))
    assert not refused or refused.startswith("config.json: ")
    if not refused:
        # what is followed is JSON again, as the record of the container wants it
        found = document.checked(complete)
        assert document.checked(json.loads(json.dumps(found))) == found


@given(st.binary(max_size=40))
def test_any_bytes_are_followed_or_refused(data):
    refused = refusal(document.decoded, data, "config.json")
    assert not refused or refused.startswith("config.json: ")


@given(values(DOCUMENT))
@example({"linux": {"timeOffsets": {"[": {}}}})
def test_what_has_the_shape_loses_only_what_is_unknown_or_null(value):
    found = shaped(value, DOCUMENT, "config.json", frozenset())
    assert shaped(found, DOCUMENT, "config.json", frozenset()) == found


def test_deep_nesting_is_refused():
    with pytest.raises(DocumentError):
        document.decoded(b"[" * 200_000, "config.json")


@pytest.mark.parametrize("spread", [None, "slave", "private", "shared", "unbindable"])
def test_a_bind_spreads_as_the_root_does_unless_it_says_how(spread):
    value = template()
    value["linux"]["rootfsPropagation"] = spread
    value["mounts"] = [
        {"destination": "data", "source": "/x", "options": ["rbind"]},
        {"destination": "/own", "source": "/x", "type": "bind", "options": ["shared"]},
        {"destination": "/new", "type": "tmpfs"},
    ]
    silent, own, new = document.checked(value)["mounts"]
    expected = {None: ["rslave"], "slave": ["rslave"], "shared": []}.get(spread, ["rprivate"])
    assert (silent["destination"], silent["options"]) == ("/data", ["rbind", *expected])
    assert (own["options"], new.get("options")) == (["shared"], None)


def test_unknown_capabilities_are_dropped_and_named():
    process = {"capabilities": {"bounding": ["CAP_KILL", "CAP_ODD"], "effective": ["CAP_ODD"]}}
    assert document.drop_unknown_capabilities(process) == ["CAP_ODD"]
    assert process["capabilities"] == {"bounding": ["CAP_KILL"], "effective": []}
    assert document.drop_unknown_capabilities({}) == []


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("net.ipv4.ip_forward", True), ("net/ipv4/conf/eth0.5/forwarding", True), ("kernel.shmmax", True),
        ("fs.mqueue.msg_max", True), ("kernel.domainname", True), ("vm.swappiness", False), ("kernel.panic", False),
        ("net.../../vm/swappiness", False), ("user.max_user_namespaces", False), ("fs.file-max", False),
    ],
)  # fmt: skip
def test_only_what_a_namespace_has_of_its_own_may_be_set(name, fits):
    value = template()
    value["linux"]["sysctl"] = {name: "1"}
    if fits:
        document.checked(value)
    else:
        with pytest.raises(DocumentError, match=r"linux\.sysctl"):
            document.checked(value)
