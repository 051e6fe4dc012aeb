from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.http.codec import (
    LAST_CHUNK,
    LONGEST_HEAD,
    Body,
    ProtocolError,
    StreamFrames,
    TooLargeError,
    chunk,
    frame_header,
    split_head,
)


def fed(body, data, cuts):
    """The payload of `body` when `data` comes in pieces."""
    found, start = b"", 0
    for cut in [*sorted({min(cut, len(data)) for cut in cuts}), len(data)]:
        found += b"".join(body.feed(data[start:cut]))
        start = cut
    return found


def head_of(*lines):
    return split_head("\r\n".join([*lines, "", ""]).encode("latin-1"))[0]


CUTS = st.lists(st.integers(0, 400), max_size=8)


@given(
    st.dictionaries(
        st.text("abcXYZ-", min_size=1, max_size=9).map(str.lower), st.text(" abc:;=/", max_size=12).map(str.strip)
    ),
    st.binary(max_size=30),
)
def test_a_head_is_split_from_what_follows(headers, rest):
    lines = ["GET /a?b=c HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    head, length = split_head(("\r\n".join(lines) + "\r\n\r\n").encode() + rest)
    assert (head.first, head.second, head.third, dict(head.headers)) == ("GET", "/a?b=c", "HTTP/1.1", headers)
    assert length == len("\r\n".join(lines)) + 4


@given(st.integers(0, 40))
def test_a_head_that_is_not_whole_is_waited_for(length):
    whole = b"GET / HTTP/1.1\r\nName: value, and more\r\n\r\n"
    assert (split_head(whole[:length]) is None) == (length < len(whole))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_head_raise_nothing_but_a_protocol_error(data):
    with suppress(ProtocolError):
        split_head(data + b"\r\n\r\n")


def test_a_head_without_end_is_refused_as_too_large():
    for data in (b"GET / HTTP/1.1\r\nX: " + b"a" * LONGEST_HEAD, b"a" * (LONGEST_HEAD + 1) + b"\r\n\r\n"):
        with pytest.raises(TooLargeError) as caught:
            split_head(data)
        assert caught.value.status == 431


@given(st.binary(max_size=300), st.binary(max_size=20), CUTS)
def test_a_body_of_known_length_ends_there(payload, rest, cuts):
    body = Body(head_of("POST / HTTP/1.1", f"Content-Length: {len(payload)}"))
    if payload:
        assert fed(body, payload + rest, cuts) == payload
    else:
        assert body.is_complete


@given(st.lists(st.binary(min_size=1, max_size=90), max_size=6), st.booleans(), CUTS)
def test_chunks_come_together_however_they_are_cut(pieces, has_trailer, cuts):
    body = Body(head_of("POST / HTTP/1.1", "Transfer-Encoding: chunked"))
    end = b"0\r\nDigest: x\r\nMore: y\r\n\r\n" if has_trailer else LAST_CHUNK
    data = b"".join(map(chunk, pieces)) + end
    assert fed(body, data, cuts) == b"".join(pieces)
    assert body.is_complete
    assert body.rest() == b""


@given(st.binary(max_size=60))
def test_broken_chunks_raise_nothing_but_a_protocol_error(data):
    body = Body(head_of("POST / HTTP/1.1", "Transfer-Encoding: chunked"))
    with suppress(ProtocolError):
        b"".join(body.feed(data))


@pytest.mark.parametrize("data", [b"zz\r\n", b"-1\r\n", b"+1\r\n", b" \r\n", b"1_0\r\n", b"2\r\nabc\r\n", b"1" * 2000])
def test_a_chunk_that_lies_about_itself_is_refused(data):
    body = Body(head_of("POST / HTTP/1.1", "Transfer-Encoding: chunked"))
    with pytest.raises(ProtocolError):
        b"".join(body.feed(data))


@pytest.mark.parametrize("length", ["x", "-1", "²", "1_0", "", "9" * 30, "+5"])
def test_a_content_length_that_is_no_number_is_refused(length):
    with pytest.raises(ProtocolError):
        Body(head_of("POST / HTTP/1.1", f"Content-Length: {length}"))


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=90)), max_size=6), CUTS)
def test_frames_come_apart_as_they_were_put_together(frames, cuts):
    data = b"".join(frame_header(stream, len(payload)) + payload for stream, payload in frames)
    reader, found, start = StreamFrames(), {0: b"", 1: b"", 2: b""}, 0
    for cut in [*sorted({min(cut, len(data)) for cut in cuts}), len(data)]:
        for stream, payload in reader.feed(data[start:cut]):
            found[stream] += payload
        start = cut
    for stream, whole in found.items():
        assert whole == b"".join(payload for of, payload in frames if of == stream)
