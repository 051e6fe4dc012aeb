"""The kernel's list of mounts, line by line."""

import os

from runtime.linux import mountinfo

LINE = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n"


def test_a_line_has_device_point_tags_and_type():
    found = mountinfo.parse(LINE)
    assert (found.device, found.point, found.kind) == ("98:0", "/mnt2", "ext3")
    assert list(found.tags) == ["master:1", "shared:7"]


def test_a_line_without_tags_has_none():
    assert list(mountinfo.parse(LINE.replace("master:1 shared:7 ", "")).tags) == []


def test_what_is_escaped_in_a_path_is_itself_again():
    escaped = r"/a\040b\011c\012d\134e\134040f"
    assert mountinfo.parse(LINE.replace("/mnt2", escaped)).point == "/a b\tc\nd\\e\\040f"


def test_our_own_mounts_have_the_root_and_its_device():
    number = os.stat("/proc").st_dev
    (found, *_) = [mount for mount in mountinfo.own_mounts() if mount.point == "/proc"]
    assert (found.kind, found.device) == ("proc", f"{os.major(number)}:{os.minor(number)}")
