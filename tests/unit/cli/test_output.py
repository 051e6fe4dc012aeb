"""Output files have all of a result or what they had before, and only regular files are replaced."""

import os
import stat
import threading

import pytest

from compose.cli.output import write_whole
from runtime.errors import SkiffError


def broken():
    yield b"a part"
    raise SkiffError("the engine closed the connection", "try again")


@pytest.fixture
def folder(tmp_path):
    """A folder of which a test says what it must hold in the end."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_result_that_breaks_off_leaves_the_file_and_the_folder_as_they_were(folder):
    output = folder / "image.tar"
    output.write_text("before")
    (folder / "image.tar.part").write_text("somebody else's")
    with pytest.raises(SkiffError, match="closed"):
        write_whole(broken(), str(output))
    assert output.read_text() == "before"
    assert sorted(os.listdir(folder)) == ["image.tar", "image.tar.part"]


def test_a_new_file_has_the_mode_of_the_umask_and_a_replaced_one_keeps_its_own(folder):
    new, old = folder / "new", folder / "old"
    old.touch(0o600)
    umask = os.umask(0o027)
    try:
        for output in (new, old):
            write_whole([b"a", b"b"], str(output))
    finally:
        os.umask(umask)
    assert [stat.S_IMODE(output.stat().st_mode) for output in (new, old)] == [0o640, 0o600]
    assert new.read_text() == old.read_text() == "ab"


def test_what_a_link_leads_to_is_written_and_the_link_stays(folder):
    (folder / "link").symlink_to("target")
    for text in (b"first", b"second"):
        write_whole([text], str(folder / "link"))
        assert (folder / "link").is_symlink()
        assert (folder / "target").read_bytes() == text


def test_a_pipe_and_a_device_get_what_is_written_and_stay_what_they_are(folder):
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_whole([b"a", b"b"], str(pipe))
    reader.join()
    assert received == [b"ab"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    leader, follower = os.openpty()  # not one of /dev: a fault would replace it for everybody
    write_whole([b"abc"], os.ttyname(follower))
    assert os.read(leader, 100) == b"abc"
    assert stat.S_ISCHR(os.stat(os.ttyname(follower)).st_mode)
    os.close(leader)
    os.close(follower)


def test_what_cannot_be_written_is_reported_with_the_reason(folder):
    with pytest.raises(SkiffError, match=r"can't write .*: Is a directory"):
        write_whole([b""], str(folder))
    with pytest.raises(SkiffError, match=r"can't write .*: No such file or directory"):
        write_whole([b""], str(folder / "missing" / "file"))
