import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadRequestError
from runtime.network.ports import PortBinding, parse_binding, parse_bindings

HOSTS = st.sampled_from(["", "0.0.0.0", "::", "127.0.0.1", "::1", "10.0.0.1", "2001:db8::1"])


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("", "", True),
        ("127.0.0.1", "", True),
        ("", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "::", False),
        ("", "::1", True),
        ("::", "::1", True),
        ("127.0.0.1", "::1", False),
    ],
)
def test_two_bindings_meet_where_their_addresses_do(one, other, meet):
    assert PortBinding(80, "tcp", one, 8080).meets(PortBinding(81, "tcp", other, 8080)) == meet
    assert not PortBinding(80, "tcp", one, 8080).meets(PortBinding(80, "udp", other, 8080))
    assert not PortBinding(80, "tcp", one, 8080).meets(PortBinding(80, "tcp", other, 8081))


@given(HOSTS, HOSTS, st.integers(0, 3), st.integers(0, 3))
def test_to_meet_is_mutual(one, other, port, other_port):
    mine, its = PortBinding(80, "tcp", one, port), PortBinding(80, "tcp", other, other_port)
    assert mine.meets(its) == its.meets(mine)


def test_what_is_asked_for_is_read():
    asked = {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "", "HostPort": "8000-8010"}],
        "53/udp": [{}],
        "90": None,
    }
    assert parse_bindings(asked) == [
        PortBinding(80, "tcp", "127.0.0.1", 8080),
        PortBinding(80, "tcp", "", 8000, 8010),
        PortBinding(53, "udp", "", 0),
        PortBinding(90, "tcp", "", 0),
    ]


@pytest.mark.parametrize(
    ("port", "binding"),
    [
        ("80/sctp", {}),
        ("80/icmp", {}),
        ("80/tcp", {"HostIp": "localhost"}),
        ("80/tcp", {"HostPort": "http"}),
        ("80/tcp", {"HostPort": "65536"}),
        ("80/tcp", {"HostPort": "9-8"}),
        ("80/tcp", {"HostPort": "8000-70000"}),
        ("x/tcp", {}),
    ],
)
def test_what_can_not_be_published_is_refused(port, binding):
    with pytest.raises(BadRequestError):
        parse_binding(port, binding)


def test_sctp_is_refused_with_what_to_do():
    with pytest.raises(BadRequestError, match="only tcp and udp are supported, not sctp") as refused:
        parse_binding("80/sctp", {"HostPort": "80"})
    assert refused.value.hint


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_nothing_worse_than_a_refusal(port, host, host_port):
    with contextlib.suppress(BadRequestError):
        parse_binding(port, {"HostIp": host, "HostPort": host_port})
