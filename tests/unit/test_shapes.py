from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import bodies
from runtime.errors import BadRequestError
from runtime.shapes import fitted, shape_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Cmd", "Env", "HostConfig", "x"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_is_fitted_or_refused_as_a_bad_request(document):
    for shape in map(shape_of, (bodies.CreateBody, bodies.ExecConfig, bodies.NetworkBody, bodies.Resources)):
        with suppress(BadRequestError):
            fitted(document, shape)


def test_what_fits_comes_back_as_it_was():
    document = {
        "Image": "busybox",
        "Env": ["A=b"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"Memory": 1 << 30, "PortBindings": {"80/tcp": [{"HostPort": "80"}]}},
        "Unknown": {"is": ["kept"]},
    }
    assert fitted(document, shape_of(bodies.CreateBody)) == document


def test_members_are_found_whatever_their_case_and_left_out_where_they_say_nothing():
    document = {"image": "busybox", "hostConfig": {"INIT": None, "memory": 1}, "Labels": {"Image": "kept"}}
    assert fitted(document, shape_of(bodies.CreateBody)) == {
        "Image": "busybox", "HostConfig": {"Memory": 1}, "Labels": {"Image": "kept"},
    }  # fmt: skip


def test_words_may_be_written_as_one_string():
    assert fitted({"Cmd": "ls", "Entrypoint": ["sh"]}, shape_of(bodies.CreateBody)) == {
        "Cmd": ["ls"],
        "Entrypoint": ["sh"],
    }


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"Image": 5}, "Image must be a string"),
        ({"Tty": "yes"}, "Tty must be true or false"),
        ({"Tty": 1}, "Tty must be true or false"),
        ({"StopTimeout": True}, "StopTimeout must be a whole number"),
        ({"HostConfig": {"Memory": 1.5}}, "HostConfig.Memory must be a whole number"),
        ({"HostConfig": {"Memory": 1 << 70}}, "HostConfig.Memory is out of range"),
        ({"HostConfig": {"Ulimits": [{"Soft": "x"}]}}, r"HostConfig.Ulimits\[0\].Soft must be a whole number"),
        ({"Labels": ["a"]}, "Labels must be an object"),
        ({"Labels": {"a": 1}}, "Labels.a must be a string"),
        ({"Env": {"a": "b"}}, "Env must be an array"),
        ({"Env": ["a\0"]}, r"Env\[0\] contains the invalid character"),
        ({"User": "\ud800"}, "User contains the invalid character"),
    ],
)
def test_a_misfit_is_named_by_its_place(document, place):
    with pytest.raises(BadRequestError, match=f"invalid JSON: {place}"):
        fitted(document, shape_of(bodies.CreateBody))
