"""Processes that outlive both engine and keeper: recovered with their streams, whichever process held these."""

import os
import signal
import socket
from contextlib import asynccontextmanager

import anyio
import pytest

from runtime.doorman.client import DoormanClient
from runtime.keeper.client import RECORD, KeeperClient
from runtime.keeper.records import Record
from runtime.linux.pidfd import remembers_exits
from tests.support.keeper import ground, kill, read

pytestmark = [pytest.mark.root, pytest.mark.anyio]


@pytest.fixture
def anyio_backend():
    return "asyncio"


def known(code):
    """The exit code of a process that had its keeper killed: only the kernel can say it of a process that is not our child."""
    return code if remembers_exits() else 255


@asynccontextmanager
async def doorman_of(made):
    def listen():
        path = str(made.paths.engine_socket)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        return listener, path

    async with DoormanClient.connect(made.paths, ["/bin/false"], listen) as doorman:
        yield doorman
        await doorman.bye(is_stopped=True)
        doorman.listener.close()


@asynccontextmanager
async def both_died(made, vault=None):
    """Have a new keeper after an engine and a keeper that handed on nothing."""
    held = made.keeper.held_containers()
    made.keeper.is_closing = True
    await kill(made.keeper.pid)
    for process in made.processes:
        process.close()
    made.processes.clear()
    for _, descriptors in held:
        for descriptor in descriptors.values():
            os.close(descriptor)
    made.keeper._held.clear()
    async with KeeperClient.connect(made.paths, restart=["/bin/false"], vault=vault) as made.keeper:
        yield made


def bundle(made, id):
    return made.folder / f"{id}-bundle"


async def test_with_a_doorman_nothing_is_lost_of_pipes_and_terminals():
    async with (
        ground() as made,
        doorman_of(made) as doorman,
        KeeperClient.connect(made.paths, restart=["/bin/false"], vault=doorman) as made.keeper,
    ):
        # it writes more than the pipe holds, while nobody reads
        flood = "read word; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); echo $i; done; read word; echo $word; exit 9"
        await made.launch("pipes", "sh", "-c", flood, stdin=True)
        await made.launch("terminal", "sh", "-c", "trap 'exit 3' HUP; read word; echo got $word; exit 5", terminal=True)
        os.write(made.processes[0].fds["stdin"], b"go\n")
        async with both_died(made, doorman):
            found = await made.keeper.recover({id: bundle(made, id) for id in ("pipes", "terminal", "none")})
            made.processes += found.values()
            assert {id: process.may_miss_output for id, process in found.items()} == {"pipes": False, "terminal": False}
            os.write(found["pipes"].fds["stdin"], b"end\n")
            lines = (await read(found["pipes"].fds["stdout"])).splitlines()
            assert lines == [*(str(number) for number in range(1, 300_001)), "end"]
            os.write(found["terminal"].fds["console"], b"word\n")
            exits = {(ended := await made.keeper.exits.receive()).id: ended.exit_code for _ in range(2)}
            assert exits == {"pipes": known(9), "terminal": known(5)}


async def test_without_one_the_pipes_are_had_back_from_the_processes_that_write():
    async with ground() as made:
        # the first process has its streams elsewhere: another one of the container's has the pipe
        script = "exec 5<&0; sleep 1000 <&5 & exec >/dev/null 2>&1 </dev/null 5<&-; wait"
        await made.launch("one", "sh", "-c", script, stdin=True)
        async with both_died(made):
            found = await made.keeper.recover({"one": bundle(made, "one")})
            made.processes += found.values()
            assert found["one"].may_miss_output
            assert {"stdin", "stdout"} <= set(found["one"].fds)
            await made.keeper.signal("one", signal.SIGKILL)
            assert (await made.exit("one")).exit_code == known(137)


async def test_an_end_that_nobody_was_there_for_is_heard_of_all_the_same():
    async with (
        ground() as made,
        doorman_of(made) as doorman,
        KeeperClient.connect(made.paths, restart=["/bin/false"], vault=doorman) as made.keeper,
    ):
        process = await made.launch("one", "sh", "-c", "read word; echo last words; exit 7", stdin=True)
        pidfd, stdin = os.dup(process.pidfd), os.dup(process.fds["stdin"])
        async with both_died(made, doorman):
            os.write(stdin, b"end\n")
            await anyio.wait_readable(pidfd)
            found = await made.keeper.recover({"one": bundle(made, "one")})
            made.processes += found.values()
            assert await read(found["one"].fds["stdout"]) == "last words\n"
            assert (await made.exit("one")).exit_code == known(7)
        os.close(pidfd)
        os.close(stdin)


@pytest.mark.parametrize(
    "change", [{"start_time": "1"}, {"boot": "another"}, {"pid": 1}], ids=["a later process", "another boot", "init"]
)
async def test_a_process_that_only_has_the_number_is_left_alone(change):
    async with ground() as made:
        await made.launch("one", "sleep", "100")
        path = bundle(made, "one") / RECORD
        Record(**{**Record.read(path).__dict__, **change}).write(path)
        async with both_died(made):
            assert await made.keeper.recover({"one": bundle(made, "one")}) == {}
            path.write_text("{")
            assert await made.keeper.recover({"one": bundle(made, "one")}) == {}
            await made.keeper.sweep()


async def test_a_doorman_that_is_stopped_keeps_no_engine_from_coming_up(monkeypatch):
    async with ground() as made, doorman_of(made) as doorman:
        os.kill(doorman.pid, signal.SIGSTOP)
        made.paths.engine_socket.unlink()
        monkeypatch.setattr("runtime.doorman.client.ANSWER_S", 0.5)
        with anyio.fail_after(15):
            async with doorman_of(made) as second:
                assert second.pid != doorman.pid


async def test_what_is_held_of_containers_that_are_gone_is_dropped():
    async with (
        ground() as made,
        doorman_of(made) as doorman,
        KeeperClient.connect(made.paths, restart=["/bin/false"], vault=doorman) as made.keeper,
    ):
        process = await made.launch("one", "true")
        assert await read(process.fds["stdout"]) == ""
        await made.exit("one")
        await made.keeper.forget("one")
        assert await doorman.get("one") == {}
        await doorman.put("stale", {"pidfd": process.pidfd})
        await made.keeper.sweep()
        assert await doorman.get("stale") == {}
