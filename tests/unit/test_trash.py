"""The trash: names go at once, files later, whatever happens in between."""

import os
from contextlib import asynccontextmanager, contextmanager

import anyio
import anyio.to_thread
import pytest

from runtime.paths import Paths
from runtime.trash import Trash

pytestmark = pytest.mark.anyio


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path / "root", tmp_path / "run")


def tree(folder, files=3):
    folder.mkdir(parents=True)
    first = folder / "file-0"
    first.write_bytes(b"x")
    for number in range(1, files):
        os.link(first, folder / f"file-{number}")
    return folder


class Rounds:
    """Counts the deletions that `keep_empty` has done, as it says by `busy`."""

    def __init__(self):
        self.under_way = 0
        self.done, self.wait_for = anyio.create_memory_object_stream(100)

    @contextmanager
    def busy(self):
        self.under_way += 1
        yield
        self.under_way -= 1
        self.done.send_nowait(None)

    async def one(self):
        with anyio.fail_after(30):
            await self.wait_for.receive()


@asynccontextmanager
async def kept_empty(trash):
    rounds = Rounds()
    with rounds.done, rounds.wait_for:
        async with anyio.create_task_group() as group:
            group.start_soon(trash.keep_empty, rounds.busy)
            yield rounds
            group.cancel_scope.cancel()


async def test_what_is_thrown_away_loses_its_name_at_once_and_its_files_soon(paths):
    trash = Trash(paths)
    async with kept_empty(trash) as rounds:
        await anyio.wait_all_tasks_blocked()
        for number in range(3):
            thrown = tree(paths.volumes / f"v{number}")
            trash.throw(thrown)
            assert not thrown.exists()
        file = paths.root / "blob"
        file.write_bytes(b"x")
        await anyio.to_thread.run_sync(trash.throw, file)
        assert not file.exists()
        assert len(os.listdir(paths.trash)) == 4
        await rounds.one()
        assert not os.listdir(paths.trash)


async def test_what_an_engine_left_in_the_trash_the_next_one_deletes(paths):
    Trash(paths).throw(tree(paths.volumes / "v"))
    assert len(os.listdir(paths.trash)) == 1
    async with kept_empty(Trash(paths)) as rounds:
        await rounds.one()
        assert not os.listdir(paths.trash)


async def test_throwing_away_what_is_missing_is_no_error(paths):
    Trash(paths).throw(paths.volumes / "missing")


async def test_nobody_else_may_look_into_the_trash(paths):
    Trash(paths).throw(tree(paths.volumes / "v"))
    assert paths.trash.stat().st_mode & 0o777 == 0o700


async def test_trees_deeper_than_a_path_may_be_long_are_deleted(paths):
    deep = tree(paths.volumes / "v")
    here = os.open(deep, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("directory", dir_fd=here)
        below = os.open("directory", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    trash = Trash(paths)
    trash.throw(deep)
    async with kept_empty(trash) as rounds:
        await rounds.one()
        assert not os.listdir(paths.trash)


async def test_few_files_are_deleted_without_a_process_and_many_by_one(paths, monkeypatch):
    monkeypatch.setattr("runtime.trash.DELETE", ("false",))
    trash = Trash(paths)
    few, many = tree(paths.volumes / "few" / "below", files=50).parent, tree(paths.volumes / "many", files=600)
    (few / "link").symlink_to("/etc/passwd")
    (few / "elsewhere").symlink_to(many)
    trash.throw(few)
    async with kept_empty(trash) as rounds:
        await rounds.one()
        assert not os.listdir(paths.trash)
        assert len(os.listdir(many)) == 600
        trash.throw(many)
        await rounds.one()
        (left,) = paths.trash.iterdir()
        assert len(os.listdir(left)) > 0


async def test_an_engine_that_ends_at_the_same_time_ends_the_deletion(paths):
    trash = Trash(paths)
    trash.throw(tree(paths.volumes / "v", files=20_000))
    async with kept_empty(trash) as rounds:
        await anyio.wait_all_tasks_blocked()
        assert rounds.under_way
    before = len(list(paths.trash.rglob("*")))
    assert before
    assert len(list(paths.trash.rglob("*"))) == before


@pytest.mark.root
async def test_what_cannot_be_deleted_is_named_in_the_log_and_keeps_nothing_else(paths, caplog):
    stays = tree(paths.volumes / "stays")
    await anyio.run_process(["chattr", "+i", str(stays / "file-0")])
    trash = Trash(paths)
    try:
        trash.throw(stays)
        async with kept_empty(trash) as rounds:
            await rounds.one()
            (left,) = paths.trash.iterdir()
            trash.throw(tree(paths.volumes / "goes"))
            said = caplog.text
            assert "Operation not permitted" in said
            assert f"rm -rf {left}" in said
            await rounds.one()
            assert os.listdir(paths.trash) == [left.name]
    finally:
        await anyio.run_process(["chattr", "-R", "-i", str(paths.root)])


@pytest.mark.root
async def test_a_directory_on_another_filesystem_is_deleted_in_its_place(paths):
    paths.volumes.mkdir(parents=True)
    await anyio.run_process(["mount", "-t", "tmpfs", "tmpfs", str(paths.volumes)])
    try:
        thrown = tree(paths.volumes / "v")
        Trash(paths).throw(thrown)
        assert not thrown.exists()
    finally:
        await anyio.run_process(["umount", str(paths.volumes)])
