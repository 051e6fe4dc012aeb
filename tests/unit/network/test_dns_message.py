import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.network.dns_message import (
    NOERROR,
    TYPE_A,
    MessageError,
    encode_name,
    parse_query,
    respond,
    reverse_address,
)

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)
NAME = st.lists(LABEL, min_size=1, max_size=5).map(".".join)


def question(name, kind=TYPE_A, id=7):
    return struct.pack("!HHHHHH", id, 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack("!HH", kind, 1)


@given(NAME, st.integers(0, 65535), st.integers(0, 65535))
def test_a_question_is_read_back_as_it_was_asked(name, kind, id):
    query = parse_query(question(name, kind, id))
    assert (query.name, query.type, query.id) == (name, kind, id)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_message_error(data):
    with contextlib.suppress(MessageError):
        parse_query(data)


def test_an_answer_is_not_taken_for_a_question():
    with pytest.raises(MessageError):
        parse_query(respond(parse_query(question("web")), NOERROR))


@given(st.lists(st.ip_addresses(v=4), max_size=20))
def test_an_answer_carries_every_address(addresses):
    answer = respond(parse_query(question("web")), NOERROR, addresses)
    assert struct.unpack_from("!H", answer, 6) == (len(addresses),)
    assert answer.endswith(b"".join(address.packed for address in addresses[-1:]))


@given(st.ip_addresses())
def test_a_reverse_name_gives_its_address(address):
    assert reverse_address(address.reverse_pointer) == address


@given(st.text(max_size=80))
def test_a_reverse_name_that_is_none_gives_no_address(text):
    assert reverse_address("x" + text + ".in-addr.arpa") is None


def with_options(data, udp_bytes):
    """A question of an asker that takes datagrams of `udp_bytes` (RFC 6891)."""
    return data[:10] + struct.pack("!H", 1) + data[12:] + struct.pack("!BHHIH", 0, 41, udp_bytes, 0, 0)


@given(st.lists(st.ip_addresses(), max_size=200), st.sampled_from([None, 0, 512, 1232, 4096, 65535]))
def test_an_answer_fits_the_asker_and_says_when_it_does_not_fit_whole(addresses, udp_bytes):
    query = parse_query(question("web") if udp_bytes is None else with_options(question("web"), udp_bytes))
    assert query.udp_bytes == min(max(udp_bytes or 512, 512), 4096)
    answer = respond(query, NOERROR, addresses, query.udp_bytes)
    count = struct.unpack_from("!H", answer, 6)[0]
    assert len(answer) <= query.udp_bytes
    assert bool(answer[2] & 2) == (count < len(addresses))
    assert struct.unpack_from("!H", answer, 10) == (udp_bytes is not None,)


@given(st.binary(max_size=40))
def test_what_follows_a_question_does_no_harm(rest):
    data = question("web")
    assert parse_query(data[:10] + struct.pack("!H", 1) + data[12:] + rest).name == "web"
