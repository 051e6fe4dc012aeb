import os

import pytest

from runtime.engine.containers.views.changes import ADDED, DELETED, MODIFIED, Change, changes
from runtime.image.unpack import OPAQUE_XATTRS

pytestmark = pytest.mark.root


def tree(base, **files):
    """Make a directory of files; "dir/" is a directory, None a whiteout."""
    for path, content in files.items():
        place = base / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            place.mkdir(exist_ok=True)
        elif content is None:
            os.mknod(place, 0o020000, 0)
        else:
            place.write_text(content)
    return base


@pytest.fixture
def layers(tmp_path):
    base = tree(tmp_path / "base", **{"etc/passwd": "root", "etc/group": "root", "home/app/old": "x", "bin/sh": "#!"})
    top = tree(tmp_path / "top", **{"etc/motd": "hello", "bin/sh": None})
    return [top, base]


def test_what_was_written_removed_and_made(tmp_path, layers):
    upper = tree(tmp_path / "upper", **{"etc/passwd": "more", "etc/group": None, "new/file": "x", "bin/sh": "again"})
    assert changes(upper, layers) == [
        Change("/bin", MODIFIED),
        Change("/bin/sh", ADDED),
        Change("/etc", MODIFIED),
        Change("/etc/group", DELETED),
        Change("/etc/passwd", MODIFIED),
        Change("/new", ADDED),
        Change("/new/file", ADDED),
    ]


def test_a_recreated_directory_hides_what_was_below(tmp_path, layers):
    upper = tree(tmp_path / "upper", **{"home/app/old": "other"})
    os.setxattr(upper / "home/app", OPAQUE_XATTRS[0], b"y")
    assert Change("/home/app/old", ADDED) in changes(upper, layers)


def test_a_directory_that_only_lies_above_is_no_change_but_other_rights_are(tmp_path, layers):
    upper = tree(tmp_path / "upper", **{"etc/": ""})
    assert changes(upper, layers) == []
    (upper / "etc").chmod(0o700)
    assert changes(upper, layers) == [Change("/etc", MODIFIED)]


def test_what_was_made_to_be_mounted_on_is_no_change(tmp_path, layers):
    upper = tree(
        tmp_path / "upper",
        **{"dev/null": "", "proc/": "", "sys/": "", "etc/hosts": "", "etc/resolv.conf": ""},
    )
    assert changes(upper, layers) == []


def test_a_container_that_never_ran_has_no_changes(tmp_path, layers):
    assert changes(tmp_path / "missing", layers) == []
