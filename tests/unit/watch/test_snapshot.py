"""A tree of files is followed by the kernel's events: whatever happens, a mirror becomes the same."""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from compose.watch.rules import Action, WatchRule, WatchRules
from compose.watch.snapshot import FileSnapshot

NAMES = st.sampled_from(["a", "b", "c"])
PLACES = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.one_of(
    st.tuples(st.just("write"), PLACES, st.sampled_from(["1", "22", "333"])),
    st.tuples(st.just("folder"), PLACES, st.just("")),
    st.tuples(st.just("link"), PLACES, PLACES),
    st.tuples(st.just("remove"), PLACES, st.just("")),
    st.tuples(st.just("move"), PLACES, PLACES),
)


def tree_of(root):
    tree = FileSnapshot(WatchRules([WatchRule("web", Action.SYNC, str(root), "/t")]))
    tree.read_all()
    return tree


def real(path):
    """Where `path` really lies: what happens behind a link is reported for its target."""
    return Path(os.path.realpath(path.parent)) / path.name


def perform(root, step):
    """Do a step of a user; return what inotify reports where it can be done: (path, is new)."""
    kind, place, other = step
    path, goal = real(root / place), real(root / other)
    try:
        if kind == "write":
            path = path.resolve()
            is_new = not os.path.lexists(path)
            path.write_text(other)
            return [(path, is_new)]
        if kind == "folder":
            path.mkdir()
            return [(path, True)]
        if kind == "link":
            path.symlink_to(other)
            return [(path, True)]
        if kind == "remove":
            # reported from the inside out, as rm -r does it
            inner = [
                Path(base) / name
                for base, folders, names in os.walk(path, topdown=False)
                for name in (*folders, *names)
            ]
            if path.is_symlink() or not path.is_dir():
                path.unlink()
            else:
                shutil.rmtree(path)
            return [(each, False) for each in (*inner, path)]
        path.rename(goal)
    except (OSError, RuntimeError):
        return []
    return [(path, False), (goal, True)]


def mirrored(paths, root, mirror):
    """Bring `paths` to what they are below `root`: what a container's files go through."""
    for path in sorted(paths):
        into = mirror / os.path.relpath(path, root)
        if into.is_symlink() or into.is_file():
            into.unlink()
        if os.path.islink(path):
            if into.is_dir():
                shutil.rmtree(into)
            into.symlink_to(os.readlink(path))
        elif os.path.isdir(path):
            into.mkdir(exist_ok=True)
        elif os.path.exists(path):
            if into.is_dir():
                shutil.rmtree(into)
            into.write_bytes(Path(path).read_bytes())
        elif into.is_dir():
            shutil.rmtree(into)


def content(root):
    found = {}
    for base, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = os.path.join(base, name)
            about = (
                os.readlink(path) if os.path.islink(path) else None if os.path.isdir(path) else Path(path).read_text()
            )
            found[os.path.relpath(path, root)] = about
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=6), st.lists(st.lists(STEPS, min_size=1, max_size=4), max_size=4))
def test_a_mirror_follows_whatever_happens(before, batches):
    with tempfile.TemporaryDirectory() as base:
        root, mirror = Path(base, "root"), Path(base, "mirror")
        root.mkdir()
        for step in before:
            perform(root, step)
        shutil.copytree(root, mirror, symlinks=True)
        tree = tree_of(root)
        for steps in batches:
            # all steps of a batch are over before the first of them is reported
            events = [event for step in steps for event in perform(root, step)]
            changed = {each for path, is_new in events for each in tree.changed(str(path), is_new=is_new)}
            mirrored(changed, root, mirror)
            assert content(mirror) == content(root)
        assert list(tree.reconciled()) == []


def test_a_folder_that_came_is_gone_through(tmp_path):
    tree = tree_of(tmp_path)
    (tmp_path / "new/deep").mkdir(parents=True)
    (tmp_path / "new/deep/file").touch()
    found = list(tree.changed(str(tmp_path / "new"), is_new=True))
    assert found == [str(tmp_path / each) for each in ("new", "new/deep", "new/deep/file")]
    (tmp_path / "new/deep/late").touch()
    assert list(tree.differing(str(tmp_path / "new"))) == [str(tmp_path / "new/deep/late")]


def test_what_came_and_went_unseen_is_not_reported(tmp_path):
    tree = tree_of(tmp_path)
    assert list(tree.changed(str(tmp_path / "gone"), is_new=True)) == []


def test_what_lies_behind_a_link_is_no_part_of_the_tree(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "root/link").symlink_to("../other")
    tree = tree_of(tmp_path / "root")
    (tmp_path / "other/file").touch()
    assert list(tree.changed(str(tmp_path / "root/link/file"), is_new=True)) == []
    assert list(tree.all_below(str(tmp_path / "root"))) == [str(tmp_path / "root/link")]


def test_a_root_that_comes_brings_what_is_in_it(tmp_path):
    tree = tree_of(tmp_path / "later/root")
    (tmp_path / "later/root").mkdir(parents=True)
    (tmp_path / "later/root/file").touch()
    assert str(tmp_path / "later/root/file") in tree.changed(str(tmp_path / "later"), is_new=True)
