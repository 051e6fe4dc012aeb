"""A layer that is mounted from its archive has the same files as one that is unpacked."""

import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import BadRequestError, InternalError
from runtime.image.layer_tree import UnfitError, read_tree
from runtime.image.mounted_layers import ARCHIVE, FILES, INDEX, MountedLayers, copy_archive, try_mount
from runtime.image.tar import Input
from runtime.image.unpack import unpack
from runtime.linux.erofs import mount_image
from tests.integration.build.workbench import copying_bench
from tests.support.layer_archives import archive, member

pytestmark = pytest.mark.root

DIRECTORY, SYMLINK, HARDLINK, FIFO = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE
DEVICE, BLOCK = tarfile.CHRTYPE, tarfile.BLKTYPE
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000").decode("utf-8", "surrogateescape")


def layers(folder):
    return MountedLayers(folder / "scratch", "assembly", is_wanted=True)


@contextmanager
def mounted(folder, data):
    """Write and mount the layer of the archive `data`; give its directory, None if it must be unpacked."""
    (folder / "blob").write_bytes(data)
    both, layer = layers(folder), folder / hashlib.sha256(data).hexdigest()
    written = both.write(folder / "blob", layer, None)
    if written is None:
        yield None
        return
    assert written.diff_id == f"sha256:{layer.name}"
    both.ensure(layer, written.archive_bytes)
    try:
        yield layer / FILES
    finally:
        both.release(layer)
        assert not list((layer / FILES).iterdir())


def files(directory):
    """Return all there is to see of the files of a directory, by path."""
    found, inodes = {}, {}
    for path in sorted([directory, *directory.rglob("*")]):
        status = path.lstat()
        name = path.relative_to(directory).as_posix()
        is_directory = stat.S_ISDIR(status.st_mode)
        # directories without an entry, and whiteouts, have the time of now when they are unpacked
        has_time = not is_directory and not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0)
        found[name] = (
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_rdev,
            None if is_directory else (status.st_nlink, status.st_size),
            status.st_mtime_ns if has_time else None,
            path.read_bytes() if stat.S_ISREG(status.st_mode) else None,
            os.readlink(path) if stat.S_ISLNK(status.st_mode) else None,
            {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)},
            None if is_directory else inodes.setdefault(status.st_ino, name),
        )
    return found


def are_equal(folder, data):
    """Mount and unpack an archive, and compare; return whether it can be mounted."""
    (folder / "archive").write_bytes(data)
    try:
        unpack(folder / "archive", folder / "unpacked")
    except BadRequestError:
        with mounted(folder, data) as directory:
            assert directory is None
        return False
    with mounted(folder, data) as directory:
        if directory is not None:
            assert files(directory) == files(folder / "unpacked")
        return directory is not None


def test_every_kind_of_file_is_there_with_all_its_attributes(tmp_path):
    long = "x" * 255
    xattrs = {"SCHILY.xattr.user.a": "1", "SCHILY.xattr.security.capability": CAPABILITY, "SCHILY.xattr.trusted.t": ""}
    hidden = {"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.overlay.opaque": "y"}
    members = [
        member("d", DIRECTORY, mode=0o1777, uid=7, gid=1 << 20, mtime=1_600_000_000, pax_headers=xattrs),
        member("d/empty", mode=0o4711),
        member("d/small", content=b"x", uid=4_000_000_000, gid=65536, mtime=1.5, pax_headers={"mtime": "1.500000007"}),
        member("d/block", content=os.urandom(512)),
        member("d/large", content=os.urandom(3_000_001), pax_headers=xattrs | hidden),
        member(f"d/{long}", content=b"long"),
        *(member(f"d/{number:03}{long[:200]}", content=b"%d" % number) for number in range(40)),
        member("é\udcff".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"), content=b"bytes"),
        member("short", SYMLINK, link="d/small"),
        *(member(f"link{size}", SYMLINK, link="t" * size) for size in (40, 300, 447, 448, 449, 511, 512, 513, 999)),
        member("hard", HARDLINK, link="d/large"),
        member("fifo", FIFO, mode=0o640),
        member("null", DEVICE, devmajor=1, devminor=3, mode=0o666),
        member("loop", BLOCK, devmajor=7, devminor=300, pax_headers={"SCHILY.xattr.trusted.t": "v"}),
        member("made/on/the/way", content=b"x"),
        member("usr/lib/a", content=b"a"),
        member("lib", SYMLINK, link="usr/lib"),
        member("lib/b", content=b"behind the link"),
        member("gone/x", content=b"x"),
        member("gone", content=b"a file now"),
        member("opaque/.wh..wh..opq"),
        member("opaque/kept", content=b"k"),
        member("d/.wh.hidden"),
        member("d/.wh.small"),
    ]
    assert are_equal(tmp_path, archive(*members))


def test_times_of_directories_are_their_entries(tmp_path):
    data = archive(member("d", DIRECTORY, mtime=1_600_000_000), member("made/f", mtime=1_500_000_000))
    with mounted(tmp_path, data) as directory:
        assert (directory / "d").stat().st_mtime == 1_600_000_000
        assert (directory / "made").stat().st_mtime == 1_500_000_000


@pytest.mark.parametrize(
    "members",
    [
        [member("x", content=b"x", pax_headers={"uid": "-1"})],
        [member("x", content=b"x", mtime=-5)],
        [member("x", content=b"x", pax_headers={"SCHILY.xattr.system.posix_acl_access": "x"})],
        [member("x", content=b"x", pax_headers={"SCHILY.xattr.user.a": "x" * 60_000})],
        [member("n" * 256, content=b"")],
        [member("hard", HARDLINK, link="missing")],
        [member("..", DIRECTORY)],
        [member("a", SYMLINK, link="b"), member("b", SYMLINK, link="a"), member("a/x", content=b"")],
        [member(".", content=b"x")],
    ],
)
def test_what_no_index_can_say_is_left_to_unpacking(tmp_path, members):
    with mounted(tmp_path, archive(*members)) as directory:
        assert directory is None


def test_a_sparse_file_is_left_to_unpacking(tmp_path):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    data = subprocess.run(["tar", "-S", "-C", tmp_path, "-c", "sparse"], capture_output=True, check=True).stdout
    assert len(data) < 1 << 20
    with mounted(tmp_path, data) as directory:
        assert directory is None


def test_a_replaced_opaque_directory_makes_no_other_one_opaque(tmp_path):
    members = [member("d/.wh..wh..opq"), member("d", content=b"x"), *(member(f"n{n}", DIRECTORY) for n in range(20))]
    assert are_equal(tmp_path, archive(*members))


def test_what_follows_a_file_in_its_last_block_is_never_shown(tmp_path):
    data = archive(member("f", content=b"content"))
    place = data.rindex(b"content") + len(b"content")
    with mounted(tmp_path, data[:place] + b"x" + data[place + 1 :]) as directory:
        assert directory is None


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            lambda: (member(f"f{n}", pax_headers={"SCHILY.xattr.user.a": "x" * (8 << 20)})[0] for n in range(6)),
            id="attributes",
        ),
        pytest.param(lambda: (member(f"{n}/" + "a/" * 100 + "f")[0] for n in range(3000)), id="directories"),
    ],
)
def test_a_layer_whose_tree_is_far_larger_than_it_is_unpacked(pieces):
    read = 0

    def headers():
        nonlocal read
        for info in pieces():
            read += 1
            yield info.tobuf(tarfile.PAX_FORMAT)
        pytest.fail("all of it was taken")

    with pytest.raises(UnfitError, match=r"too large|more than"):
        read_tree(Input(headers(), len))


def test_what_replaces_a_directory_replaces_all_below_it(tmp_path):
    members = [
        *(member(f"d/é{n}/sub/f", content=b"f") for n in range(3)), member("keep/f", content=b"k"),
        member("d/hard", HARDLINK, link="keep/f"), member("d", content=b"file"), member("d", DIRECTORY),
        member("d/é1/new", content=b"n"),
    ]  # fmt: skip
    assert are_equal(tmp_path, archive(*members))


def steps(number):
    """Return how many lines of the readers are run for a layer that replaces so many directories."""
    kinds = [DIRECTORY, tarfile.REGTYPE]
    headers = [member(f"d{n}", kind)[0].tobuf() for kind in kinds for n in range(number)]
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename.endswith("layer_tree.py"):
            count += event == "line"
            return trace
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        read_tree(Input(iter(headers), len))
    finally:
        sys.settrace(before)
    return count


def test_directories_are_replaced_in_linear_time():
    assert steps(400) < 5 * steps(100)


NAMES = st.text(alphabet="ab./", min_size=1, max_size=8) | st.sampled_from(
    ["a/.wh.b", ".wh..wh..opq", "a/.wh..wh..opq", ".wh.a", "..", "/", "a/b/a"]
)
MEMBERS = st.builds(
    lambda name, kind, content, link, **rest: member(
        name, kind, content if kind == tarfile.REGTYPE else b"", link, **rest
    ),
    NAMES,
    st.sampled_from([tarfile.REGTYPE, tarfile.REGTYPE, DIRECTORY, SYMLINK, HARDLINK, FIFO, DEVICE]),
    st.binary(max_size=3) | st.just(b"z" * 600),
    NAMES,
    mode=st.integers(0, 0o7777),
    uid=st.sampled_from([0, 1000]),
    mtime=st.sampled_from([0, 1, 1_700_000_000]),
    devminor=st.sampled_from([0, 3]),
    pax_headers=st.sampled_from([{}, {"SCHILY.xattr.user.a": "b"}, {"SCHILY.xattr.trusted.a": "b"}]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(MEMBERS, max_size=8), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_any_layer_has_the_same_files_mounted_and_unpacked(tmp_path_factory, members, format):
    are_equal(tmp_path_factory.mktemp("any"), archive(*members, format=format))


def test_the_archive_of_a_layer_is_had_back_as_it_came(tmp_path):
    data = archive(member("f", content=b"content"))
    with mounted(tmp_path, data):
        out = io.BytesIO()
        diff_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert copy_archive(tmp_path / diff_id.partition(":")[2], diff_id, out)
        assert out.getvalue() == data
    assert not copy_archive(tmp_path, diff_id, out)


@pytest.fixture
def layer(tmp_path):
    """A layer that is written and not mounted, named by its digest; unmounted in the end."""
    data = archive(member("f", content=b"content"), member("d", DIRECTORY))
    (tmp_path / "blob").write_bytes(data)
    directory = tmp_path / hashlib.sha256(data).hexdigest()
    assert layers(tmp_path).write(tmp_path / "blob", directory, None) is not None
    yield directory
    layers(tmp_path).release(directory)


@pytest.mark.parametrize("damage", ["lost", "empty", "garbage", "half", "other"])
def test_an_index_that_is_lost_or_damaged_is_made_again(layer, damage):
    index = layer / INDEX
    whole = index.read_bytes()
    (layer.parent / "blob").write_bytes(archive(member("g", content=b"of another layer")))
    assert layers(layer.parent).write(layer.parent / "blob", layer.parent / "other", None) is not None
    other = (layer.parent / "other" / INDEX).read_bytes()
    index.unlink()
    if damage != "lost":
        index.write_bytes({"empty": b"", "garbage": os.urandom(4096), "half": whole[:1024], "other": other}[damage])
    layers(layer.parent).ensure(layer, None)
    assert (layer / FILES / "f").read_bytes() == b"content"
    assert index.read_bytes() == whole


def test_a_damaged_archive_is_reported_and_never_shown(layer):
    size = (layer / ARCHIVE).stat().st_size
    os.truncate(layer / ARCHIVE, size - 512)
    with pytest.raises(
        InternalError, match=f"has {size - 512} of {size} bytes.*\n.*pull, load or build its image again"
    ):
        layers(layer.parent).ensure(layer, size)
    (layer / ARCHIVE).unlink()
    with pytest.raises(InternalError, match="its archive is lost"):
        layers(layer.parent).ensure(layer, size)


def test_a_layer_of_which_nothing_is_left_is_not_taken_for_an_empty_one(layer):
    size = (layer / ARCHIVE).stat().st_size
    (layer / ARCHIVE).unlink()
    (layer / INDEX).unlink()
    with pytest.raises(InternalError, match="its archive is lost"):
        layers(layer.parent).ensure(layer, size)


def test_a_changed_archive_is_never_given_away_and_gets_no_index(layer):
    with open(layer / ARCHIVE, "r+b") as file:
        file.seek(512)
        file.write(b"C")
    (layer / INDEX).unlink()
    with pytest.raises(InternalError, match="its archive was changed"):
        layers(layer.parent).ensure(layer, None)
    with pytest.raises(InternalError, match="its archive was changed"):
        copy_archive(layer, f"sha256:{layer.name}", io.BytesIO())


def test_an_archive_of_which_no_index_can_be_made_is_unpacked(tmp_path):
    data = archive(member("old", content=b"content", mtime=-5))
    directory = tmp_path / hashlib.sha256(data).hexdigest()
    (directory / FILES).mkdir(parents=True)
    (directory / ARCHIVE).write_bytes(data)
    (tmp_path / "scratch").mkdir()
    layers(tmp_path).ensure(directory, len(data))
    assert (directory / FILES / "old").read_bytes() == b"content"
    assert not (directory / ARCHIVE).exists()


def test_a_trial_mounts_nothing_that_could_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("runtime.image.mounted_layers.mount_image", lambda *_: pytest.fail("mounted at a place"))
    try_mount(tmp_path)


@pytest.fixture
def refused(monkeypatch):
    """A kernel that mounts no image of a file."""

    def refuse(*_):
        raise OSError(15, "Block device required")  # ENOTBLK, as before Linux 6.12

    monkeypatch.setattr("runtime.image.mounted_layers.mount_image", refuse)


@pytest.mark.usefixtures("refused")
def test_a_crash_while_the_archive_is_removed_loses_nothing(layer, monkeypatch):
    size = (layer / ARCHIVE).stat().st_size
    unlink = Path.unlink

    def crash(path, **options):
        unlink(path, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(KeyboardInterrupt):
            layers(layer.parent).ensure(layer, size)
    layers(layer.parent).ensure(layer, size)
    assert (layer / FILES / "f").read_bytes() == b"content"
    assert sorted(path.name for path in layer.iterdir()) == ["assembly", FILES]


@pytest.mark.usefixtures("refused")
def test_where_it_can_no_longer_be_mounted_it_is_unpacked(layer):
    layers(layer.parent).ensure(layer, None)
    assert (layer / FILES / "f").read_bytes() == b"content"
    assert sorted(path.name for path in layer.iterdir()) == ["assembly", FILES]
    layers(layer.parent).ensure(layer, None)


def test_the_switch_turns_it_off(tmp_path):
    (tmp_path / "blob").write_bytes(archive(member("f")))
    assert (
        MountedLayers(tmp_path / "s", "assembly", is_wanted=False).write(tmp_path / "blob", tmp_path / "l", None)
        is None
    )
    assert not Path(tmp_path / "l").exists()


def test_a_layer_is_mounted_outside_the_event_loop(monkeypatch):
    threads = []

    def mount(*arguments):
        threads.append(threading.current_thread())
        mount_image(*arguments)

    async def main():
        async with copying_bench(mounts=True) as b:
            b.write({"f": "content"})
            result = await b.build("FROM scratch\nCOPY f /\n")
            b.images.layers.release()
            next((b.home / "root/layers").glob(f"*/{INDEX}")).unlink()
            monkeypatch.setattr("runtime.image.mounted_layers.mount_image", mount)
            await b.images.whole(result.image)
            assert result.read("/f") == "content"
            await b.images.whole(result.image)

    anyio.run(main)
    assert threads
    assert threading.main_thread() not in threads
