import bz2
import functools
import gzip
import io
import lzma
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.image.compression import CompressionError, decoded, is_compressed

# more than a piece of what is read (1 MiB), and than a piece of what is decoded
CONTENT = os.urandom(5 << 18) + bytes(1 << 20)


@functools.cache
def compressed(compress, data):
    return compress(data)


def zstd(data):
    return subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
def test_every_compression_is_recognized_by_its_content(compress):
    assert b"".join(decoded(io.BytesIO(compressed(compress, CONTENT)))) == CONTENT
    assert b"".join(decoded(io.BytesIO(compress(b"")))) == b""


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_a_stream_that_ends_too_early_is_reported(compress):
    with pytest.raises(CompressionError):
        list(decoded(io.BytesIO(compressed(compress, CONTENT)[:-100])))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
def test_a_pipe_is_read_as_a_file_is(compress):
    reading, writing = os.pipe()
    os.write(writing, compress(b"small"))
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert b"".join(decoded(file)) == b"small"


def test_members_of_gzip_may_follow_each_other():
    data = gzip.compress(b"one") + gzip.compress(b"two") + bytes(100)
    assert b"".join(decoded(io.BytesIO(data))) == b"onetwo"


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"]))
def test_any_bytes_are_decoded_or_refused(data, magic):
    try:
        list(decoded(io.BytesIO(magic + data)))
    except CompressionError:
        return


def test_frames_of_zstd_may_follow_each_other_and_some_are_skipped():
    skipped = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"about"
    data = skipped + zstd(b"one") + skipped + zstd(b"two") + skipped
    assert is_compressed(io.BytesIO(data))
    assert b"".join(decoded(io.BytesIO(data))) == b"onetwo"
