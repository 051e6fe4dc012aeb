"""What an archive out of a container may make on the host."""

import io
import os
import stat
import tarfile

import pytest

from compose.stack.copying import unpack
from runtime.errors import SkiffError


def archive(*members, mode=0o6777, **values):
    """Return an archive of members: (name, type, what it links to or holds), all of `mode` and other `values`."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for path, kind, content in members:
            member = tarfile.TarInfo(path)
            member.type, member.mode = kind, mode
            for name, value in values.items():
                setattr(member, name, value)
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content
                tar.addfile(member)
    file.seek(0)
    return tarfile.open(fileobj=file)


def test_files_and_links_are_made_without_rights_of_others(tmp_path):
    unpack(
        archive(
            ("a", tarfile.DIRTYPE, ""), ("a/f", tarfile.REGTYPE, b"hello"), ("a/l", tarfile.SYMTYPE, "/etc/passwd")
        ),
        "/srv/a",
        str(tmp_path),
    )
    assert (tmp_path / "a/f").read_bytes() == b"hello"
    assert (tmp_path / "a/f").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "a/l").readlink().as_posix() == "/etc/passwd"


@pytest.mark.parametrize(
    "members",
    [
        [("a", tarfile.SYMTYPE, "OUTSIDE"), ("a/f", tarfile.REGTYPE, b"x")],
        [("../outside/f", tarfile.REGTYPE, b"x")],
        [("a/../../outside/f", tarfile.REGTYPE, b"x")],
        [("..", tarfile.DIRTYPE, "")],
        [("a", tarfile.LNKTYPE, "../outside/secret")],
        [("a", tarfile.LNKTYPE, "OUTSIDE/secret")],
    ],
)
def test_nothing_is_made_elsewhere(tmp_path, members):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    named = [(n, k, c.replace("OUTSIDE", str(outside)) if isinstance(c, str) else c) for n, k, c in members]
    with pytest.raises(SkiffError, match="leads out of"):
        unpack(archive(*named), "/srv/.", str(inside))
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert not (inside / "a").is_file() or (inside / "a").is_symlink()


def test_a_renamed_folder_keeps_its_hard_links_times_and_modes(tmp_path):
    members = [
        ("d", tarfile.DIRTYPE, ""),
        ("d/closed", tarfile.DIRTYPE, ""),
        ("d/closed/f", tarfile.REGTYPE, b"x"),
        ("d/h", tarfile.LNKTYPE, "d/closed/f"),
    ]
    unpack(archive(*members, mode=0o555, mtime=1_000_000_000), "/srv/d", str(tmp_path / "renamed"))
    closed = tmp_path / "renamed/closed"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o555
    assert closed.stat().st_mtime == closed.parent.stat().st_mtime == 1_000_000_000
    assert (closed / "f").samefile(tmp_path / "renamed/h")


@pytest.mark.root
def test_what_is_copied_belongs_to_who_copies(tmp_path):
    unpack(archive(("f", tarfile.REGTYPE, b"x"), uid=1234), "/srv/f", str(tmp_path / "f"))
    assert (tmp_path / "f").stat().st_uid == os.getuid()


def test_a_link_below_the_destination_is_replaced_and_not_written_through(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.write_text("mine")
    inside.mkdir()
    (inside / "f").symlink_to(outside)
    unpack(archive(("f", tarfile.REGTYPE, b"theirs")), "/srv/.", str(inside))
    assert outside.read_text() == "mine"
    assert not (inside / "f").is_symlink()
    assert (inside / "f").read_text() == "theirs"


def test_files_and_folders_do_not_take_each_other_s_place(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "file").write_text("mine")
    for name in ("file", "link"):
        with pytest.raises(SkiffError, match="cannot overwrite a file with a directory"):
            unpack(archive((name, tarfile.DIRTYPE, "")), "/srv/.", str(tmp_path))
    with pytest.raises(SkiffError, match="cannot overwrite a directory with a file"):
        unpack(archive(("folder", tarfile.REGTYPE, b"theirs")), "/srv/.", str(tmp_path))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_hard_link_to_nothing_is_reported(tmp_path):
    with pytest.raises(SkiffError, match="the archive lacks d/missing"):
        unpack(archive(("d/h", tarfile.LNKTYPE, "d/missing")), "/srv/d", str(tmp_path))
