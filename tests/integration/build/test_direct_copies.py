"""A copy whose files are not created reads what changes at the same time as any other does."""

import os
import stat

import pytest

from runtime.build.client_directory import ChangedError, ClientDirectory
from runtime.build.direct_copy import DirectCopy, NotDirectError, Rules
from runtime.build.selection import Match, Sources
from runtime.build.tree import Tree
from runtime.build.writer import Owner

RULES = Rules(lambda _: Owner(), lambda entry: stat.S_IMODE(entry.info.st_mode), Owner(), 0o755, keeps_owner=False)


class Sink:
    """A file that nobody reads."""

    def write(self, data):
        return len(data)


@pytest.fixture
def context(tmp_path):
    """A client's directory with one file, and a copy of it that is planned."""
    (tmp_path / "context").mkdir()
    (tmp_path / "context/file").write_text("content")
    return tmp_path / "context"


def planned(context, layers=()):
    sources = Sources(Tree((context,)), client=ClientDirectory(context, None))
    items = sources.select([Match(sources.tree.root, "/")], "/", is_directory=True)
    return DirectCopy(layers, sources, items, RULES)


def shorten(file):
    os.truncate(file, 3)


def lengthen(file):
    file.write_text("content and more")


def replace(file):
    file.with_name("new").write_text("changed")
    file.with_name("new").rename(file)


def link(file):
    file.unlink()
    file.symlink_to("/etc/passwd")


def pipe(file):
    file.unlink()
    os.mkfifo(file)


def folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("change", [shorten, lengthen, replace, link, pipe, folder])
def test_a_file_that_changes_before_it_is_copied_is_selected_again(context, change):
    copy = planned(context)
    change(context / "file")
    with pytest.raises(ChangedError):
        copy.write(Sink())


def test_a_large_file_that_becomes_shorter_is_selected_again(context):
    with open(context / "file", "wb") as file:
        file.truncate(3 << 20)
    copy = planned(context)

    class Shortening(Sink):
        def write(self, data):
            os.truncate(context / "file", 1)
            return len(data)

    with pytest.raises(ChangedError):
        copy.write(Shortening())


@pytest.mark.parametrize("below", ["link", "folder"])
def test_what_needs_a_filesystem_is_left_to_one(context, tmp_path, below):
    layer = tmp_path / "layer"
    layer.mkdir()
    (context / "d").mkdir()
    (context / "d/f").write_text("f")
    if below == "link":
        (layer / "d").symlink_to("elsewhere")
    else:
        (layer / "file").mkdir()
    with pytest.raises(NotDirectError):
        planned(context, (layer,))
