import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engine.streams.detach import DetachKeys, parse_keys
from runtime.errors import BadRequestError

TYPED = st.lists(st.binary(max_size=6).map(lambda data: data.replace(b"\x11", b"")) | st.just(b"\x10\x10"), max_size=8)


def typed(keys, pieces):
    """What reaches the process of `pieces`, and whether the keys were seen."""
    detach, out = DetachKeys(keys), b""
    for piece in pieces:
        passed, is_done = detach.feed(piece)
        out += passed
        if is_done:
            return out, True
    return out, False


def test_keys_are_written_as_docker_writes_them():
    assert parse_keys(None) == parse_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_keys("a,ctrl-[,ctrl-@,ctrl-_") == b"a\x1b\x00\x1f"


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-P,x", "abc", ",", "ctrl-ä"])
def test_other_keys_are_refused(text):
    with pytest.raises(BadRequestError, match="invalid detach keys"):
        parse_keys(text)


@given(TYPED)
def test_without_the_keys_all_that_was_typed_arrives_but_for_a_beginning_of_them(pieces):
    whole = b"".join(pieces)
    out, is_detached = typed(b"\x10\x11", pieces)
    assert not is_detached
    assert whole.startswith(out)
    assert whole[len(out) :] in (b"", b"\x10")


@given(TYPED, st.binary(max_size=5))
def test_the_keys_end_it_and_never_arrive_however_they_are_cut(pieces, rest):
    before = b"".join(pieces)
    for keys in ([b"\x10\x11" + rest], [b"\x10", b"\x11" + rest]):
        out, is_detached = typed(b"\x10\x11", [*pieces, *keys])
        assert is_detached
        assert out == before
