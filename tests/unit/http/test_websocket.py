import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.http.codec import ProtocolError
from runtime.http.websocket import BINARY, CLOSE, PING, TEXT, Frame, FrameParser, answer_to, frame, unmasked


def masked(opcode, payload, mask):
    """A client's frame."""
    whole = frame(opcode, payload)
    head = whole[: len(whole) - len(payload)]
    return head[:1] + bytes([head[1] | 0x80]) + head[2:] + mask + unmasked(payload, mask)


MESSAGES = st.lists(
    st.tuples(st.sampled_from([TEXT, BINARY]), st.binary(max_size=300))
    | st.tuples(st.just(PING), st.binary(max_size=125)),
    max_size=5,
)


@given(MESSAGES, st.binary(min_size=4, max_size=4), st.integers(1, 50))
def test_frames_arrive_however_they_are_cut(messages, mask, step):
    data = b"".join(masked(opcode, payload, mask) for opcode, payload in messages)
    frames = FrameParser()
    found = [one for at in range(0, len(data), step) for one in frames.feed(data[at : at + step])]
    assert found == [Frame(opcode, payload) for opcode, payload in messages]


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536, 100_000])
def test_every_length_has_its_form(length):
    assert list(FrameParser().feed(masked(BINARY, b"x" * length, b"abcd"))) == [Frame(BINARY, b"x" * length)]


@pytest.mark.parametrize(
    "data",
    [
        frame(BINARY, b"without a mask"),
        b"\xf2\x80abcd",
        masked(CLOSE, b"x" * 126, b"abcd"),
        b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_what_no_client_may_send_is_refused(data):
    with pytest.raises(ProtocolError):
        list(FrameParser().feed(data))


def test_the_handshake_is_answered_as_in_the_specification():
    headers = {"upgrade": "websocket", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"}
    assert answer_to(headers)["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    for name in headers:
        with pytest.raises(ProtocolError):
            answer_to({**headers, name: ""})
