"""Archives are to the byte what the standard library writes, so that digests of layers are the same everywhere."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.image.tar_writer import TarWriter, header

NAMES = st.one_of(
    st.text("abc/.é", min_size=1, max_size=120), st.integers(95, 105).map("n".__mul__), st.just("a\udcff")
)
KINDS = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)


@st.composite
def members(draw):
    member = tarfile.TarInfo(draw(NAMES))
    member.type, member.mode = draw(st.sampled_from(KINDS)), draw(st.integers(0, 0o7777))
    member.uid, member.gid = (draw(st.sampled_from([0, 1000, 8**7 - 1, 8**7])) for _ in "ug")
    member.mtime = draw(st.sampled_from([0, 1_700_000_000, 8**11, -1]))
    member.linkname = draw(NAMES) if member.type in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    if draw(st.booleans()):
        member.pax_headers["SCHILY.xattr.user.x"] = "y"
    if member.type == tarfile.REGTYPE:
        member.size = draw(st.sampled_from([0, 1, 511, 512, 513, 20_000]))
    return member


@given(st.lists(members(), max_size=6))
def test_an_archive_is_what_tarfile_writes(found):
    out, expected = io.BytesIO(), io.BytesIO()
    with TarWriter(out) as ours, tarfile.open(fileobj=expected, mode="w", format=tarfile.PAX_FORMAT) as theirs:
        for member in found:
            assert header(member) == member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            ours.add(member)
            ours.add_content(io.BytesIO(b"x" * member.size), member.size)
            theirs.addfile(member, io.BytesIO(b"x" * member.size))
    assert out.getvalue() == expected.getvalue()


def test_a_file_that_became_shorter_is_an_error():
    with pytest.raises(OSError, match="unexpected end of data"), TarWriter(io.BytesIO()) as archive:
        archive.add_content(io.BytesIO(b"x"), 2)
