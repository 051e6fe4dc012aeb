"""What a keeper bears: strangers, malformed messages, engines that hang or die at once, launches that hang, many of all."""

import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.keeper import wire
from runtime.keeper.client import KeeperClient, start_keeper
from runtime.keeper.handles import LaunchError
from runtime.keeper.prefork import POOL_SIZE
from runtime.oci.cgroup import Cgroups
from runtime.paths import Paths
from tests.support.keeper import children, ground, kill, read, settled

pytestmark = [pytest.mark.root, pytest.mark.anyio]


@pytest.fixture
def anyio_backend():
    return "asyncio"


def connect(path):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(path))
    connection.settimeout(20)
    return connection


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


async def test_strangers_do_not_take_the_keeper_from_its_engine():
    async with ground() as made:
        await made.launch("kept", "sleep", "100")
        pid, before = made.keeper.pid, descriptors(made.keeper.pid)
        silent = [connect(made.paths.keeper_socket) for _ in range(20)]
        for data in (b"", b"\xff" * 100, wire.pack({"do": "list"}), wire.pack({"do": "hello"})[:5], wire.pack([1])):
            with connect(made.paths.keeper_socket) as one:
                one.send(data)
                assert one.recv(10) == b""  # shown the door, at once
        # far more descriptors than a message may have
        with connect(made.paths.keeper_socket) as one:
            socket.send_fds(one, [wire.pack({"do": "launch"})], [0] * 100)
            assert one.recv(10) == b""
        process = await made.exec("check", "kept", "echo", "still here")
        assert await read(process.fds["stdout"]) == "still here\n"
        await made.exit("check")
        await made.keeper.forget("check")
        for one in silent:
            one.close()
        await settled(lambda: descriptors(pid) <= before + 4)
        assert made.losses == []


async def test_what_an_engine_sends_in_error_ends_nothing():
    async with ground() as made:
        process = await made.launch("kept", "sleep", "100")
        pid = made.keeper.pid
        with connect(made.paths.keeper_socket) as engine:
            engine.send(
                wire.pack({"do": "hello", "re": 1, "restart": ["/bin/false"], "environment": {}, "cgroup": "/x"})
            )
            assert wire.unpack(engine.recv(9000))["pid"] == pid
            for message in (
                {"do": "nonsense"}, {"do": ["list"]}, {}, {"do": "signal"}, {"do": "signal", "id": "kept", "signum": 999},
                {"do": "launch"}, {"do": "exec", "container": "none"}, {"do": "task", "name": "x"}, {"do": "get", "id": 5},
                {"do": "adopt", "id": "kept"}, {"do": "update", "id": "kept", "resources": 5}, {"do": "__init__"},
                {"do": "forget", "id": ["x"]}, {"do": "list", "after": 7},
            ):  # fmt: skip
                engine.send(wire.pack({**message, "re": 2}))
                answer = wire.unpack(engine.recv(9000))
                assert "error" in answer, message
                assert answer["re"] == 2
            engine.send(b"\x00garbage")
            engine.send(struct.pack("<BI", ord("["), 1 << 30))
            engine.send(wire.pack({"do": "list", "re": 3}))
            assert wire.unpack(engine.recv(9000)) == {"ids": ["kept"], "has_more": False, "re": 3}
        async with KeeperClient.connect(made.paths, restart=["/bin/false"]) as again:
            assert again.pid == pid
            (kept,) = await again.list()
            assert (kept.pid, kept.exit) == (process.pid, None)
            kept.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    packets=st.lists(st.tuples(st.binary(min_size=1, max_size=80), st.integers(0, 9)), max_size=6), hello=st.booleans()
)
def fuzz(path, packets, hello):
    with connect(path) as one, open(os.devnull) as null:
        try:
            if hello:
                one.send(wire.pack({"do": "hello", "restart": [], "environment": {}, "cgroup": "/x"}))
            for data, count in packets:
                socket.send_fds(one, [data], [null.fileno()] * count)
        except (BrokenPipeError, ConnectionResetError):
            return


async def test_a_keeper_survives_random_packets_and_who_leaves_in_between(tmp_path):
    paths = Paths.from_environment({"SKIFF_ROOT": str(tmp_path / "r"), "SKIFF_RUN": str(tmp_path / "run")}, 0)
    start_keeper(paths)
    with connect(paths.keeper_socket) as first:  # keeps it from going while nobody else is there
        first.send(wire.pack({"do": "hello", "re": 1, "restart": [], "environment": {}, "cgroup": "/x"}))
        pid = wire.unpack(first.recv(9000))["pid"]
        await anyio.to_thread.run_sync(fuzz, paths.keeper_socket)
        async with KeeperClient.connect(paths, restart=["/bin/false"]) as keeper:
            assert keeper.pid == pid
            await settled(lambda: descriptors(pid) < 20)
            await keeper.bye()
    await settled(lambda: not os.path.exists(f"/proc/{pid}") or children(os.getpid()).get(pid) == "Z")


async def test_an_engine_that_does_not_read_holds_nothing_up():
    async with ground() as made:
        await made.launch("kept", "sleep", "100")
        with connect(made.paths.keeper_socket) as deaf:
            deaf.send(wire.pack({"do": "hello", "re": 1, "restart": ["/bin/false"], "environment": {}, "cgroup": "/x"}))
            deaf.setblocking(False)
            for number in range(3000):  # more than there is room for answers
                with suppress(BlockingIOError):
                    deaf.send(wire.pack({"do": "get", "id": "kept", "re": number}))
            with anyio.fail_after(10):
                async with KeeperClient.connect(made.paths, restart=["/bin/false"]) as again:
                    (kept,) = await again.list()
                    kept.close()
                    await settled(lambda: descriptors(again.pid) < 30)


async def test_a_child_that_hangs_is_given_up_and_others_start_at_the_same_time():
    async with ground() as made:
        await made.launch("frozen", "sleep", "100")
        await made.keeper.freeze("frozen", True)
        async with anyio.create_task_group() as group:

            async def hang():
                # a process that enters a frozen cgroup goes no further, and dies no earlier than it thaws
                with pytest.raises(LaunchError, match=r"did not start within 0.6 s"):
                    await made.exec("stuck", "frozen", "true", timeout_s=0.6)

            group.start_soon(hang)
            process = await made.launch("other", "sh", "-c", "echo here; exit 4")
            assert await read(process.fds["stdout"]) == "here\n"
            assert (await made.exit("other")).exit_code == 4
        with anyio.fail_after(5):
            for kept in await made.keeper.list():  # an engine that starts is not kept waiting either
                kept.close()
        await made.keeper.freeze("frozen", False)
        await settled(lambda: "Z" not in children(made.keeper.pid).values())


async def test_many_launches_leave_no_descriptor_and_no_zombie():
    async with ground() as made:
        await made.launch("stays", "sleep", "100")

        async def round_trip(name):
            process = await made.launch(name, "true")
            await read(process.fds["stdout"])
            process.close()
            made.processes.remove(process)

        async def some(first, count):
            for number in range(first, first + count):
                await round_trip(f"n{number}")

        await some(0, 5)
        heard = 0
        before = descriptors(made.keeper.pid)
        async with anyio.create_task_group() as group:
            for first in range(100, 200, 25):
                group.start_soon(some, first, 25)
        async for ended in made.keeper.exits:
            assert ended.exit_code == 0
            await made.keeper.forget(ended.id)
            heard += 1
            if heard == 105:
                break
        assert descriptors(made.keeper.pid) <= before
        await settled(lambda: "Z" not in children(made.keeper.pid).values())
        assert len(children(made.keeper.pid)) <= 1 + POOL_SIZE  # what stays, and preforked children


async def test_orphans_of_a_container_without_processes_of_its_own_are_reaped():
    async with ground() as made:
        spec = made.spec("host", ["sh", "-c", "sh -c 'sh -c true & sh -c true &'; echo done; read word"])
        spec["linux"]["namespaces"] = [one for one in spec["linux"]["namespaces"] if one["type"] != "pid"]
        process = await made.keeper.launch("host", made.folder / "host-bundle", spec, stdin=True)
        made.processes.append(process)
        await anyio.wait_readable(process.fds["stdout"])
        await settled(lambda: "Z" not in children(made.keeper.pid).values())
        await made.keeper.signal("host", signal.SIGKILL)
        await made.exit("host")


async def test_what_is_left_of_a_container_without_processes_of_its_own_ends_with_it():
    async with ground() as made:
        spec = made.spec("host", ["sh", "-c", "sleep 1000 & exit 3"])
        spec["linux"]["namespaces"] = [one for one in spec["linux"]["namespaces"] if one["type"] != "pid"]
        made.processes.append(await made.keeper.launch("host", made.folder / "host-bundle", spec, stdin=False))
        with anyio.fail_after(10):
            assert (await made.exit("host")).exit_code == 3
            assert await read(made.processes[-1].fds["stdout"]) == ""  # no process has the pipe open
            await made.keeper.forget("host")
        assert Cgroups().processes(f"/skiff-{made.paths.engine_id}/host") == []


async def test_an_engine_that_dies_at_once_is_started_again_and_again_with_pauses():
    async with ground() as made:
        said = made.folder / "said"
        os.mkfifo(said)
        reader, writer = os.open(said, os.O_RDONLY | os.O_NONBLOCK), os.open(said, os.O_WRONLY)
        await made.launch("kept", "sleep", "100")
        async with KeeperClient.connect(made.paths, restart=["/bin/sh", "-c", f"echo again > {said}"]):
            pass
        begun = anyio.current_time()
        with anyio.fail_after(10):
            for _ in range(3):
                await anyio.wait_readable(reader)
                assert os.read(reader, 6) == b"again\n"
        assert anyio.current_time() - begun >= 1.5 - 0.1  # at once, half a second, a second
        os.close(reader)
        os.close(writer)


async def test_an_engine_is_started_for_an_exit_code_that_nobody_took():
    async with ground() as made:
        said = made.folder / "said"
        os.mkfifo(said)
        reader, writer = os.open(said, os.O_RDONLY | os.O_NONBLOCK), os.open(said, os.O_WRONLY)
        async with KeeperClient.connect(made.paths, restart=["/bin/sh", "-c", f"echo again > {said}"]) as made.keeper:
            await made.launch("ended", "sh", "-c", "exit 7")
            assert (await made.exit("ended")).exit_code == 7
        with anyio.fail_after(10):
            await anyio.wait_readable(reader)
        async with KeeperClient.connect(made.paths, restart=["/bin/false"]) as again:
            (kept,) = await again.list()
            assert kept.exit.exit_code == 7
            kept.close()
        os.close(reader)
        os.close(writer)


async def test_a_keeper_with_nothing_to_keep_goes(tmp_path):
    paths = Paths.from_environment({"SKIFF_ROOT": str(tmp_path / "r"), "SKIFF_RUN": str(tmp_path / "run")}, 0)
    async with KeeperClient.connect(paths, restart=["/bin/false"]) as keeper:
        pidfd = os.pidfd_open(keeper.pid)
    with anyio.fail_after(10):
        await anyio.wait_readable(pidfd)
    os.close(pidfd)
    assert not paths.keeper_socket.exists()


async def test_signals_of_a_terminal_do_not_end_it_and_it_has_nothing_of_the_hosts():
    async with ground() as made:
        pid = made.keeper.pid
        for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            os.kill(pid, signum)
        process = await made.launch("kept", "echo", "here")
        assert await read(process.fds["stdout"]) == "here\n"
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")  # noqa: ASYNC240
        assert {pair.partition(b"=")[0] for pair in environment} <= {b"SKIFF_ROOT", b"SKIFF_RUN", b"LC_CTYPE", b""}
        # what runs containers can't be written to through /proc/<pid>/exe (CVE-2019-5736)
        assert os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY
        assert os.stat(f"/proc/{pid}/exe").st_ino == os.stat(sys.executable).st_ino


async def test_two_who_start_a_keeper_at_once_get_the_same(tmp_path):
    paths = Paths.from_environment({"SKIFF_ROOT": str(tmp_path / "r"), "SKIFF_RUN": str(tmp_path / "run")}, 0)
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(anyio.to_thread.run_sync, start_keeper, paths)
    async with KeeperClient.connect(paths, restart=["/bin/false"]) as keeper:
        assert (paths.run / "keeper.sock.lock").read_text() == f"{keeper.pid}\n"
        await keeper.bye()
        await kill(keeper.pid)


async def test_what_outlives_engine_and_keeper_and_is_not_taken_over_is_ended():
    async with ground() as made:
        process = await made.launch("orphan", "sleep", "100")
        made.keeper.is_closing = True  # an engine that dies with its keeper hands nothing on
        await kill(made.keeper.pid)
        async with KeeperClient.connect(made.paths, restart=["/bin/false"]) as made.keeper:
            await made.keeper.sweep()
            with anyio.fail_after(10):
                await anyio.wait_readable(process.pidfd)
            again = await made.launch("orphan", "echo", "again")
            assert await read(again.fds["stdout"]) == "again\n"
