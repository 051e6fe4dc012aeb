"""What an archive out of a container may make on the host."""

import io
import tarfile

import pytest

from compose.stack.copying import unpack
from runtime.errors import SkiffError


def archive(*members):
    """Return an archive of members: (name, type, what it links to or holds)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o6777
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
