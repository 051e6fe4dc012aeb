"""`skiff oci`: mounts in which others lie, in the order of the document (config.md, "Mounts"; config-linux.md, "Devices")."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.oci.mount_table import mounts_below
from tests.integration.oci.test_program_mounts import bound, with_mount

pytestmark = pytest.mark.root


@pytest.fixture
def place(oci):
    """A directory in the container's root, /place, which is removed again."""
    folder = oci.rootfs / "place"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def options_of(document, destination):
    return next(entry for entry in document["mounts"] if entry["destination"] == destination)["options"]


# Devices that exist already


def device(path, major, minor, kind="c", **more):
    return {"path": path, "type": kind, "major": major, "minor": minor, **more}


def test_a_default_device_may_be_named_and_has_the_mode_of_the_document(oci):
    shell = "stat -c '%a %u %g %t:%T' /dev/null; readlink /dev/ptmx; stat -c '%a %t:%T' /dev/zero"
    document = oci.document("sh", "-c", shell)
    document["linux"]["devices"] = [
        device("/dev/null", 1, 3, fileMode=0o640, uid=3, gid=4), device("/dev/ptmx", 5, 2, fileMode=0o666),
        device("/dev/zero/", 1, 5), device("/dev//full", 1, 7, "u"),
    ]  # fmt: skip
    lines = oci.run(document).stdout.split("\n")
    assert lines[:3] == ["640 3 4 1:3", "pts/ptmx", "666 1:5"]


def test_ptmx_of_the_image_and_links_to_a_device_are_that_device(oci):
    document = oci.document("sh", "-c", "readlink /place/tty; stat -c %t:%T -L /place/tty")
    (oci.rootfs / "place").mkdir()
    try:
        (oci.rootfs / "place/tty").symlink_to("../dev/tty")
        document["linux"]["devices"] = [device("/dev/tty", 5, 0), device("/place/tty", 5, 0)]
        assert oci.run(document).stdout.split() == ["../dev/tty", "5:0"]
    finally:
        shutil.rmtree(oci.rootfs / "place")


@pytest.mark.parametrize("name", ["file", "out", "dangling", "directory", "other"])
def test_a_file_that_is_another_device_or_none_is_an_error(oci, place, name):
    (place / "file").write_text("")
    (place / "out").symlink_to(f"/proc/{os.getpid()}/root/dev/null")
    (place / "dangling").symlink_to("absent")
    (place / "directory").mkdir()
    os.mknod(place / "other", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    document = oci.document("true")
    document["linux"]["devices"] = [device(f"/place/{name}", 1, 3)]
    done = oci.run(document, check=False)
    assert "exists, and is not the requested device" in done.stderr


# Read-only last


def test_a_read_only_dev_has_its_devices_and_further_mounts(oci):
    shell = "echo > /dev/null && readlink /dev/ptmx && ls -d /dev/inside && touch /dev/new"
    document = oci.document("sh", "-c", shell)
    options_of(document, "/dev").append("ro")
    with_mount(document, "/dev/inside")
    done = oci.run(document, check=False)
    assert done.stdout.split() == ["pts/ptmx", "/dev/inside"]
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize("pivots", [[], ["--no-pivot"]])
def test_a_read_only_tmpfs_holds_mounts_made_after_it(oci, place, pivots):
    shell = "touch /place/a/b/written && ls /place/a && cat /place/a/link; touch /place/new"
    (place / "source").write_text("content")
    document = with_mount(oci.document("sh", "-c", shell), "/place", options=["ro", "nosuid"])
    with_mount(document, "/place/a/b")
    bound(document, oci.rootfs / "etc/passwd", "/place/a/link", ["bind", "ro"])
    done = oci.run(document, *pivots, check=False)
    assert done.stdout.startswith("b\nlink\nroot:")
    assert "/place/new: Read-only file system" in done.stderr


def test_a_copied_up_tmpfs_may_be_read_only(oci, place):
    (place / "file").write_text("content")
    document = oci.document("sh", "-c", "cat /place/file; touch /place/new")
    done = oci.run(with_mount(document, "/place", options=["tmpcopyup", "ro"]), check=False)
    assert done.stdout == "content"
    assert "Read-only file system" in done.stderr


def test_a_read_only_root_with_a_read_only_dev_takes_a_terminal(oci):
    document = oci.document("sh", "-c", "tty; touch /dev/x /x")
    document["process"]["terminal"] = True
    document["root"]["readonly"] = True
    options_of(document, "/dev").append("ro")
    folder, identity = oci.bundle(document)
    lines = oci("run", "--bundle", folder, identity, check=False).stdout.splitlines()
    assert lines[0] == "/dev/pts/0"
    assert len([line for line in lines if "Read-only" in line]) == 2


# Mode and owner of a tmpfs


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], "700 5 6"), (["mode=755"], "755 0 0"), (["uid=7"], "700 7 0"), (["size=1m"], "700 5 6"),
        (["tmpcopyup"], "700 5 6"), (["tmpcopyup", "mode=1777"], "1777 5 6"),
        (["tmpcopyup", "mode=750,uid=8", "gid=9", "ro"], "750 8 9"),
    ],
)  # fmt: skip
def test_a_tmpfs_has_the_mode_and_owner_of_what_it_covers_unless_given(oci, place, options, shown):
    place.chmod(0o700)
    os.chown(place, 5, 6)
    document = with_mount(oci.document("stat", "-c", "%a %u %g", "/place"), "/place", options=options)
    assert oci.run(document).stdout.strip() == shown


def test_a_tmpfs_that_covers_nothing_can_be_written_by_everybody(oci):
    document = with_mount(oci.document("stat", "-c", "%a %u %g", "/absent"), "/absent")
    try:
        assert oci.run(document).stdout.strip() == "1777 0 0"
    finally:
        (oci.rootfs / "absent").rmdir()


# Overlays


@pytest.fixture
def layers(oci):
    """Directories a:1, b\\2, upper and work on a filesystem that an overlay can be written to."""
    folder = oci.folder / "layers"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    for name in ("a:1", "b\\2", "c,3", "upper", "work"):
        (folder / name).mkdir()
        (folder / name / f"of-{name[0]}").write_text(name)
    (folder / "work/of-w").unlink()
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


def overlaid(document, layers, *options):
    lower = ":".join(f"{layers}/{name}" for name in ("a\\:1", "b\\\\2", "c\\,3"))
    return with_mount(document, "/over", "overlay", "overlay", [f"lowerdir={lower}", *options])


def test_an_overlay_has_several_escaped_layers_flags_and_propagation(oci, layers):
    shell = "cat /over/of-a /over/of-b /over/of-c; touch /over/new; grep ' /over ' /proc/self/mountinfo"
    options = ["nosuid", "nodev", "noatime", "private", "volatile", "metacopy=on", "index=off"]
    writable = [f"upperdir={layers}/upper", f"workdir={layers}/work"]
    done = oci.run(overlaid(oci.document("sh", "-c", shell), layers, *options, *writable))
    content, shown = done.stdout.split("\n")[0], done.stdout
    assert content.startswith("a:1b\\2c,3")
    assert {"rw", "nosuid", "nodev", "noatime"} <= set(shown.split(" /over ")[1].split()[0].split(","))
    flags = set(shown.split()[-1].split(","))
    assert "metacopy=on" in flags
    assert flags & {"volatile", "fsync=volatile"}
    assert " - overlay" in shown
    assert "shared:" not in shown
    assert (layers / "upper/new").exists()


def test_a_read_only_overlay_holds_mounts_made_after_it(oci, layers):
    shell = "ls /over/point; touch /over/point/a && touch /over/b"
    writable = [f"upperdir={layers}/upper", f"workdir={layers}/work", "ro", "rprivate"]
    document = overlaid(oci.document("sh", "-c", shell), layers, *writable)
    done = oci.run(with_mount(document, "/over/point"), check=False)
    assert "/over/b: Read-only file system" in done.stderr


def test_an_overlay_that_can_not_be_is_reported_with_the_reason_of_the_kernel(oci, layers):
    for option, reason in (("nothing=known", "nothing"), (f"upperdir={layers}/none", "no such file or directory")):
        done = oci.run(overlaid(oci.document("true"), layers, option), check=False)
        assert done.returncode == 1
        assert 'error mounting "overlay" to rootfs at "/over"' in done.stderr
        assert reason in done.stderr
        assert "None" not in done.stderr


# Order


def test_a_bind_shows_what_was_mounted_before_it(oci, place):
    (oci.rootfs / "bound").mkdir()
    (place / "file").write_text("covered")
    document = oci.document("sh", "-c", "echo new > /place/file; cat /bound/file; touch /bound/x && ls /place")
    with_mount(document, "/place")
    bound(document, place, "/bound")
    try:
        assert oci.run(document).stdout.split() == ["new", "file", "x"]
        # the other way around it shows what was there then
        document["mounts"][-2:] = reversed(document["mounts"][-2:])
        document["process"]["args"][-1] = "cat /bound/file"
        assert oci.run(document).stdout == "covered"
    finally:
        (oci.rootfs / "bound").rmdir()


@pytest.mark.parametrize("spread", ["rslave", "rshared", "rprivate"])
def test_a_bind_of_an_earlier_mount_spreads_as_it_says(oci, place, spread):
    (oci.rootfs / "bound").mkdir()
    document = with_mount(oci.document("sh", "-c", "touch /place/a; ls /bound"), "/place")
    try:
        assert oci.run(bound(document, place, "/bound", ["rbind", spread])).stdout == "a\n"
    finally:
        (oci.rootfs / "bound").rmdir()


def test_no_link_in_the_root_leads_a_source_out_of_it(oci, place):
    outside = oci.folder / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the host")
    (place / "out").symlink_to(outside)
    (place / "up").symlink_to("../" * 20 + str(outside))
    try:
        for name in ("out", "up"):
            done = oci.run(bound(oci.document("cat", "/data/secret"), place / name), check=False)
            assert done.returncode == 1
            assert "of the host" not in done.stdout
    finally:
        shutil.rmtree(outside)


SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
print("swaps", flush=True)
while True:
    libc.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2)
"""


def test_no_exchange_of_a_directory_for_a_link_leads_a_source_out(oci, place):
    """A directory and a link to the host's change places all the time, as a container with the volume could do."""
    outside = oci.folder / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the host")
    (place / "inside").mkdir()
    (place / "link").symlink_to(outside)
    with subprocess.Popen(
        [sys.executable, "-c", SWAP, place / "inside", place / "link"], stdout=subprocess.PIPE, text=True
    ) as swapper:
        try:
            assert swapper.stdout.readline() == "swaps\n"
            for _ in range(8):
                document = with_mount(oci.document("sh", "-c", "cat /data/secret; ls /place/inside/deep"), "/tmp")
                bound(document, place / "inside")
                with_mount(document, "/place/inside/deep", options=["ro"])
                assert "of the host" not in oci.run(document, check=False).stdout
            assert [file.name for file in outside.iterdir()] == ["secret"]
        finally:
            swapper.kill()
    shutil.rmtree(outside)


# /proc


def test_the_proc_of_the_host_may_be_bound_without_a_pid_namespace(oci):
    document = oci.document("sh", "-c", f"cat /proc/{os.getpid()}/comm; cat /proc/keys | wc -c")
    document["linux"]["namespaces"] = [one for one in document["linux"]["namespaces"] if one["type"] != "pid"]
    document["mounts"] = [one for one in document["mounts"] if one["destination"] != "/proc"]
    document["mounts"].insert(
        0,
        {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind", "nosuid", "noexec", "nodev"]},
    )
    comm, hidden = oci.run(document).stdout.split()
    assert comm == Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert hidden == "0"  # masked as ever


@pytest.mark.parametrize(("source", "destination"), [("/proc/sys", "/proc"), ("/tmp", "/proc"), ("/proc", "/proc/tty")])
def test_nothing_else_is_bound_over_proc(oci, source, destination):
    done = oci.run(bound(oci.document("true"), source, destination), check=False)
    assert "cannot be mounted because it is inside /proc" in done.stderr


def test_proc_is_not_bound_by_way_of_a_link(oci, place):
    (place / "link").symlink_to("/proc")
    done = oci.run(bound(oci.document("true"), "/proc", "/place/link"), check=False)
    assert "cannot be mounted because it is inside /proc" in done.stderr


# The caller's mount namespace


def test_mounts_without_a_mount_namespace_are_the_callers_until_the_container_is_deleted(oci, place):
    document = oci.document("sh", "-c", "echo yes > /place/a; ls /dev/null; sleep 1000")
    document["linux"]["namespaces"] = [one for one in document["linux"]["namespaces"] if one["type"] != "mount"]
    del document["linux"]["maskedPaths"], document["linux"]["readonlyPaths"]
    bound(with_mount(document, "/place"), "/etc", "/place/etc", ["rbind", "ro"])
    subprocess.run(["mount", "-t", "tmpfs", "own", oci.rootfs / "data"], check=True)
    try:
        before = mounts_below(oci.rootfs)
        identity = oci.started(document)
        shown = set(mounts_below(oci.rootfs).values())
        assert {str(place), f"{place}/etc", f"{oci.rootfs}/dev/shm", f"{oci.rootfs}/data"} <= shown
        oci("delete", "--force", identity)
        assert mounts_below(oci.rootfs) == before
        # neither does one that can't be created leave any
        with_mount(document, "/place/x", type="nothing")
        assert oci.run(document, check=False).returncode == 1
        assert mounts_below(oci.rootfs) == before
        assert os.path.exists("/etc/passwd")
    finally:
        subprocess.run(["umount", oci.rootfs / "data"], check=True)
