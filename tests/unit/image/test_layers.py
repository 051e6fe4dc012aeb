"""Layer archives become directories: nothing outside, nothing half, everything as the archive says."""

import hashlib
import io
import os
import stat
import subprocess
import tarfile
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import BadRequestError
from runtime.image.assembly import assemble
from runtime.image.pack import pack
from runtime.image.tar import Input, TarError, entries
from runtime.image.unpack import ignore, unpack
from tests.support.layer_archives import archive, member

pytestmark = pytest.mark.root

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def unpacked(folder, data):
    """Unpack `data`; the archive put together again must be the same to the byte."""
    blob = folder / "blob"
    blob.write_bytes(data)
    target, assembly = folder / "layer" / "diff", folder / "layer" / "assembly"
    found = unpack(blob, target, None, assembly)
    assert found.diff_id == f"sha256:{hashlib.sha256(data).hexdigest()}"
    if assembly.exists():
        out = io.BytesIO()
        assemble(assembly, target, out)
        assert out.getvalue() == data
    return target


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


DIRECTORY, SYMLINK, HARDLINK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "members",
    [
        [member("../escape", content=b"x")],
        [member("a/../../escape", content=b"x")],
        [member("..", DIRECTORY)],
        [member("d", SYMLINK, link="/"), member("hard", HARDLINK, link="d/etc/passwd")],
        [member("hard", HARDLINK, link="../../outside")],
        [member("hard", HARDLINK, link="/../outside")],
        [member("hard", HARDLINK, link="missing")],
        [member(".wh...", content=b"")],
        [member("d/.wh..", content=b"")],
        [member("a\0b" * 40, content=b"x", pax_headers={"path": "a\0b"})],
        [member("x", content=b"x", pax_headers={"mtime": "99999999999999999999999"})],
        [member("x", content=b"x", pax_headers={"uid": "99999999999"})],
        [member("/".join(["d" * 250] * 20), content=b"")],
        [member("n" * 256, content=b"")],
    ],
)
def test_a_hostile_layer_is_refused_and_writes_nothing_outside(tmp_path, members):
    (tmp_path / "outside").write_text("kept")
    (tmp_path / "in").mkdir()
    with pytest.raises(BadRequestError):
        unpacked(tmp_path / "in", archive(*members))
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("outside", "in")] == []
    assert (tmp_path / "outside").read_text() == "kept"


@pytest.mark.parametrize(
    ("link", "place"),
    [
        ("usr/d", "usr/d"),  # usr-merged systems
        ("../../out", "out"),  # ".." ends at the layer's root
        ("{out}", "{out}"),  # an absolute one begins there
        ("e", "e"),
    ],
)
def test_what_is_written_through_a_link_of_the_layer_lies_behind_it_inside_the_layer(tmp_path, link, place):
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    link, place = (one.format(out=tmp_path / "out") for one in (link, place))
    target = unpacked(
        tmp_path / "in",
        archive(
            member("d", SYMLINK, link=link),
            member("d/file", content=b"x"),
            member("d/sub/deep", content=b"y"),
            member("hard", HARDLINK, link="d/sub/deep"),
            member("d/again", HARDLINK, link="d/file"),
        ),
    )
    assert everything(tmp_path / "out") == []
    assert os.readlink(target / "d") == link
    behind = target / place.lstrip("/")
    assert ((behind / "file").read_bytes(), (behind / "sub/deep").read_bytes()) == (b"x", b"y")
    assert os.path.samefile(target / "hard", behind / "sub/deep")
    assert os.path.samefile(behind / "again", behind / "file")


def test_links_that_lead_in_a_circle_are_refused(tmp_path):
    members = (member("a", SYMLINK, link="b"), member("b", SYMLINK, link="a"), member("a/file", content=b"x"))
    with pytest.raises(BadRequestError, match="leads in a circle"):
        unpacked(tmp_path, archive(*members))


def test_a_file_that_stands_in_the_way_of_a_directory_is_replaced(tmp_path):
    target = unpacked(tmp_path, archive(member("d", content=b"f"), member("d/file", content=b"x")))
    assert (target / "d/file").read_bytes() == b"x"


def test_a_directory_takes_the_place_of_a_link(tmp_path):
    members = (member("d", SYMLINK, link="e"), member("d/file", content=b"x"), member("d", DIRECTORY))
    target = unpacked(tmp_path, archive(*members, member("d/other", content=b"y")))
    assert not (target / "d").is_symlink()
    assert everything(target) == ["d", "d/other", "e", "e/file"]


def test_absolute_names_and_links_stay_inside(tmp_path):
    target = unpacked(
        tmp_path,
        archive(
            member("/abs/file", content=b"x"),
            member("./dot//file", content=b"y"),
            member("hard", HARDLINK, link="/abs/file"),
            member("link", SYMLINK, link="/etc/passwd"),
        ),
    )
    assert everything(target) == ["abs", "abs/file", "dot", "dot/file", "hard", "link"]
    assert os.path.samefile(target / "hard", target / "abs/file")
    assert os.readlink(target / "link") == "/etc/passwd"


def test_files_are_what_the_archive_says(tmp_path):
    xattrs = {"SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1"), "SCHILY.xattr.user.note": "hi"}
    data = archive(
        member("d", DIRECTORY, mode=0o2750, uid=5, gid=6, mtime=1000),
        member("d/setuid", content=b"x", mode=0o4755, uid=7, gid=8, mtime=2000.25),
        member("caps", content=b"x", pax_headers=xattrs),
        member("pipe", tarfile.FIFOTYPE, mode=0o620),
        member("dev", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3),
        member("name-ü-" + "x" * 200, content=b"long"),
        member("l" * 150, SYMLINK, link="t" * 150, uid=9, gid=9),
    )
    target = unpacked(tmp_path, data)
    directory, setuid = (target / "d").stat(), (target / "d/setuid").stat()
    assert (stat.S_IMODE(directory.st_mode), directory.st_uid, directory.st_gid, directory.st_mtime) == (
        0o2750,
        5,
        6,
        1000,
    )
    assert (stat.S_IMODE(setuid.st_mode), setuid.st_uid, setuid.st_gid, setuid.st_mtime) == (0o4755, 7, 8, 2000.25)
    assert os.getxattr(target / "caps", "security.capability") == CAPABILITY
    assert stat.S_ISFIFO((target / "pipe").stat().st_mode)
    assert (target / "dev").stat().st_rdev == os.makedev(1, 3)
    assert (target / ("l" * 150)).lstat().st_uid == 9


def test_gnu_names_and_big_numbers_are_read(tmp_path):
    info, content = member("long/" * 30 + "name", content=b"x", uid=3_000_000, mtime=2**33)
    target = unpacked(tmp_path, archive((info, content), format=tarfile.GNU_FORMAT))
    found = (target / info.name).stat()
    assert (found.st_uid, found.st_mtime) == (3_000_000, 2**33)


def test_sparse_files_keep_their_holes(tmp_path):
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
    for kind in ("--format=gnu", "--format=pax --sparse-version=0.1", "--format=pax --sparse-version=1.0"):
        folder = tmp_path / kind.replace("/", "")
        folder.mkdir()
        command = ["tar", "--sparse", *kind.split(), "-C", tmp_path, "-c", "sparse"]
        target = unpacked(folder, subprocess.run(command, check=True, capture_output=True).stdout)
        assert (target / "sparse").read_bytes() == sparse.read_bytes()
        assert (target / "sparse").stat().st_blocks < 100


def test_whiteouts_become_overlays_and_back(tmp_path):
    data = archive(
        member("a", DIRECTORY),
        member("a/.wh..wh..opq"),
        member("a/new", content=b"n"),
        member("b", DIRECTORY),
        member("b/.wh.gone"),
        member(".wh..wh.plnk", DIRECTORY),
        member(".wh..wh.aufs"),
    )
    target = unpacked(tmp_path, data)
    gone = (target / "b/gone").lstat()
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert os.getxattr(target / "a", "trusted.overlay.opaque") == b"y"
    assert ".wh..wh.aufs" not in everything(target)
    out = io.BytesIO()
    pack(target, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert {"a/.wh..wh..opq", "b/.wh.gone", "a/new"} <= set(tar.getnames())


def test_a_layer_cannot_steer_the_overlay(tmp_path):
    xattrs = {"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.trusted.overlay.metacopy": ""}
    target = unpacked(tmp_path, archive(member("d", DIRECTORY, pax_headers=xattrs), member("f", pax_headers=xattrs)))
    assert not [name for name in os.listxattr(target / "d") + os.listxattr(target / "f") if "overlay" in name]


def test_the_last_of_several_entries_of_a_name_stands(tmp_path):
    target = unpacked(
        tmp_path,
        archive(
            member("x", content=b"first"),
            member("x", content=b"second"),
            member("d", DIRECTORY, mode=0o700),
            member("d/in", content=b"i"),
            member("d", DIRECTORY, mode=0o711),
            member("y", DIRECTORY),
            member("y/in", content=b"i"),
            member("y", content=b"now a file"),
            member("z", SYMLINK, link="x"),
            member("z", content=b"not through the link"),
        ),
    )
    assert (target / "x").read_bytes() == b"second"
    assert (stat.S_IMODE((target / "d").stat().st_mode), (target / "d/in").read_bytes()) == (0o711, b"i")
    assert (target / "y").read_bytes() == b"now a file"
    assert not (target / "z").is_symlink()


def test_a_truncated_or_garbled_layer_is_refused(tmp_path):
    data = archive(member("a", content=os.urandom(5000)), member("b", content=b"x"))
    for number, broken in enumerate((data[:3000], data[:-9000], b"x" * 1024, data[:148] + b"9" * 8 + data[156:])):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(BadRequestError, match="the layer can't be"):
            unpacked(folder, broken)


def test_a_layer_of_no_bytes_at_all_is_empty(tmp_path):
    assert everything(unpacked(tmp_path, b"")) == []


NAMES = st.text(alphabet="ab./", min_size=1, max_size=8) | st.sampled_from(
    ["a/.wh.b", ".wh..wh..opq", "..", "/", "a\n"]
)
MEMBERS = st.builds(
    member,
    NAMES,
    st.sampled_from([tarfile.REGTYPE, DIRECTORY, SYMLINK, HARDLINK, tarfile.FIFOTYPE]),
    st.just(b""),
    NAMES,
    mode=st.integers(0, 0o7777),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MEMBERS, max_size=8), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_any_archive_stays_inside_its_directory(tmp_path_factory, members, format):
    folder = tmp_path_factory.mktemp("any")
    (folder / "in").mkdir()
    for info, _ in members:
        info.name = info.name.rstrip("\n") or "n"
    with suppress(BadRequestError):
        unpacked(folder / "in", archive(*members, format=format))
    assert [path.name for path in folder.iterdir()] == ["in"]
    assert {path.name for path in (folder / "in").iterdir()} <= {"blob", "layer"}


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=64), position=st.integers(0, 2047))
def test_any_damage_is_refused_or_harmless(tmp_path_factory, data, position):
    folder = tmp_path_factory.mktemp("damage")
    whole = bytearray(archive(member("d", DIRECTORY), member("d/f", content=b"x"), member("l", SYMLINK, link="d")))
    whole[position : position + len(data)] = data
    try:
        unpacked(folder, bytes(whole))
    except BadRequestError:
        return


def test_global_headers_can_not_grow_without_end():
    def headers():
        for number in range(6):
            yield tarfile.TarInfo.create_pax_global_header({f"comment{number}": "x" * (4 << 20)})
        pytest.fail("all of them were taken")

    with pytest.raises(TarError, match="global headers are too large"):
        list(entries(Input(headers(), ignore)))
