"""The keeper's message format: what is packed is unpacked, what is malformed is refused, whatever it is."""

import contextlib
import marshal
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.keeper import wire

plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(1 << 31), 1 << 31), st.floats(allow_nan=False),
    st.text(), st.binary(),
)  # fmt: skip
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(st.one_of(st.text(), st.integers()), inner)
    ),
    max_leaves=30,
)


@given(values)
def test_what_is_packed_is_unpacked(value):
    assert wire.unpack(wire.pack(value)) == value


@given(values, st.data())
def test_a_truncated_value_is_refused(value, data):
    packed = wire.pack(value)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(wire.MalformedError):
        wire.unpack(packed[:cut])


@given(st.binary(max_size=200))
def test_random_bytes_are_a_value_or_are_refused(data):
    with contextlib.suppress(wire.MalformedError):
        wire.unpack(data)


@given(values, st.data())
def test_a_changed_byte_is_a_value_or_is_refused(value, data):
    packed = bytearray(wire.pack(value))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(wire.MalformedError):
        wire.unpack(bytes(packed))


@pytest.mark.parametrize(
    "data",
    [
        b"[\xff\xff\xff\x7f",  # two thousand million items
        b"s\xff\xff\xff\x7f",
        b"l\x00\x00\x00\x80",
        b"[\x01\x00\x00\x00" * 40 + b"N",
        b"{{0N0",  # a dict as a key
        b"NN",
        marshal.dumps(compile("1", "x", "eval")),
        marshal.dumps([1, 2, 3], 4),
        b"",
    ],
)
def test_what_could_cost_memory_or_the_interpreter_is_refused(data):
    with pytest.raises(wire.MalformedError):
        wire.unpack(data)


@given(st.binary(min_size=1, max_size=60), st.integers(0, 12))
def test_descriptors_of_what_is_no_message_do_not_stay_open(data, count):
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there, open(os.devnull) as null:
        before = len(os.listdir("/proc/self/fd"))
        socket.send_fds(here, [data], [null.fileno()] * count)
        try:
            _, received = wire.receive(there)
        except wire.MalformedError:
            received = []
        for descriptor in received:
            os.close(descriptor)
        assert len(os.listdir("/proc/self/fd")) == before
