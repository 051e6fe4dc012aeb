"""A real keeper, real containers: launch, execute, exits, what an engine or keeper that dies costs."""

import os
import signal

import anyio
import anyio.lowlevel
import pytest

from runtime.errors import InternalError
from runtime.keeper.client import KeeperClient
from runtime.keeper.handles import LaunchError
from tests.support.keeper import ground, kill, read

pytestmark = [pytest.mark.root, pytest.mark.anyio]


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_a_process_is_pid_1_and_its_exit_code_is_kept():
    async with ground() as made:
        process = await made.launch("one", "sh", "-c", "echo $$ $(hostname); exit 7")
        assert await read(process.fds["stdout"]) == "1 ground\n"
        ended = await made.exit("one")
        assert (ended.exit_code, ended.signal, ended.oom_killed, ended.pid) == (7, None, False, process.pid)
        (kept,) = await made.keeper.list()
        assert kept.exit == ended
        kept.close()


async def test_nothing_of_the_host_is_open_or_mounted_inside():
    async with ground() as made:
        process = await made.launch("bare", "sh", "-c", "ls /proc/self/fd; cat /proc/self/mounts")
        output = await read(process.fds["stdout"])
        descriptors, mounts = output.split("proc /proc" if "\nproc /proc" in output else "overlay", 1)
        assert descriptors.split()[:4] == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
        assert "/dev/vda" not in mounts
        assert str(made.folder) not in "".join(line.split()[1] for line in mounts.splitlines()[1:])


async def test_a_limit_that_cannot_be_set_leaves_nothing():
    async with ground() as made:
        for id in ("alone", "beside"):  # without and with a preforked child
            with pytest.raises(InternalError):
                await made.launch(id, "true", resources={"cpu": {"cpus": "9999"}})
            await made.launch(f"{id}-good", "sleep", "100")
        await made.keeper.signal("alone-good", signal.SIGKILL)
        assert (await made.exit("alone-good")).exit_code == 137


async def test_a_launch_that_hangs_keeps_no_other_waiting():
    async with ground() as made:
        fifo = made.folder / "namespace"
        os.mkfifo(fifo)
        async with anyio.create_task_group() as group:

            async def hang():
                with pytest.raises(LaunchError):
                    await made.launch("hangs", "true", joined={"network": str(fifo)})

            group.start_soon(hang)
            process = await made.launch("other", "echo", "here")
            assert await read(process.fds["stdout"]) == "here\n"
            await anyio.to_thread.run_sync(lambda: os.close(os.open(fifo, os.O_WRONLY)))


async def test_a_container_can_join_the_processes_of_another():
    async with ground() as made:
        other = await made.launch("other", "sleep", "100")
        process = await made.launch("joins", "cat", "/proc/1/comm", joined={"pid": f"/proc/{other.pid}/ns/pid"})
        assert await read(process.fds["stdout"]) == "sleep\n"
        assert (await made.exit("joins")).exit_code == 0


async def test_standard_input_is_null_unless_attached():
    async with ground() as made:
        process = await made.launch("null", "sh", "-c", "cat; ls -l /proc/self/fd/0")
        assert "/dev/null" in await read(process.fds["stdout"])


async def test_standard_input_ends_when_it_is_closed():
    async with ground() as made:
        process = await made.launch("cat", "cat", stdin=True)
        os.write(process.fds["stdin"], b"hello")
        await made.keeper.close_stdin("cat")
        assert await read(process.fds["stdout"]) == "hello"
        assert "stdin" not in process.fds


async def test_signals_and_masks_are_those_of_a_fresh_process():
    async with ground() as made:
        process = await made.launch("mask", "grep", "-E", "Sig(Blk|Ign)|CapBnd|Seccomp:", "/proc/self/status")
        fields = dict(line.split(":\t") for line in (await read(process.fds["stdout"])).splitlines())
        assert int(fields["SigBlk"], 16) == int(fields["SigIgn"], 16) == 0
        assert fields["CapBnd"] == "00000000a80425fb"  # Docker's default set
        assert fields["Seccomp"] == "2"


@pytest.mark.parametrize(
    ("argument", "code", "text"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/etc", 126, 'exec: "/etc": is a directory: permission denied'),
    ],
)
async def test_a_program_that_cannot_be_executed_is_refused(argument, code, text):
    async with ground() as made:
        with pytest.raises(LaunchError) as refused:
            await made.launch("refused", argument)
        assert (refused.value.exit_code, refused.value.message) == (code, text)


async def test_exec_joins_the_container():
    async with ground() as made:
        await made.launch("host", "sleep", "100")
        process = await made.exec("visitor", "host", "sh", "-c", "hostname; cat /proc/1/comm; exit 3")
        assert await read(process.fds["stdout"]) == "ground\nsleep\n"
        assert (await made.exit("visitor")).exit_code == 3


async def test_a_terminal_is_the_containers_own():
    async with ground() as made:
        process = await made.launch("tty", "sh", "-c", "tty; sleep 100", terminal=True)
        await anyio.wait_readable(process.fds["console"])
        assert os.read(process.fds["console"], 100).startswith(b"/dev/pts/0")


async def test_init_hands_signals_on_and_reports_its_child():
    async with ground() as made:
        script = "trap 'exit 5' TERM; echo up; while :; do sleep 100 & wait; done"
        process = await made.launch("init", "sh", "-c", script, annotations={"skiff.init": "true"})
        await anyio.wait_readable(process.fds["stdout"])
        assert os.read(process.fds["stdout"], 10) == b"up\n"
        await made.keeper.signal("init", signal.SIGTERM)
        assert (await made.exit("init")).exit_code == 5


async def test_a_kill_for_want_of_memory_is_noticed():
    async with ground() as made:
        limits = {"memory": {"limit": 16 << 20}}
        await made.launch("fat", "dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1", resources=limits)
        ended = await made.exit("fat")
        assert (ended.exit_code, ended.oom_killed) == (137, True)


async def test_containers_outlive_the_keeper_and_their_exit_codes_are_known():
    async with ground() as made:
        process = await made.launch("survivor", "sh", "-c", "read word; echo $word; exit 9", stdin=True)
        await kill(made.keeper.pid)
        with anyio.fail_after(10):
            await made.was_lost.wait()
        assert made.losses == [["survivor"]]
        os.write(process.fds["stdin"], b"alive\n")
        assert await read(process.fds["stdout"]) == "alive\n"
        with anyio.fail_after(10):
            ended = await made.exit("survivor")
        assert ended.exit_code == 9


async def test_a_second_engine_finds_what_the_first_left():
    async with ground() as made:
        process = await made.launch("kept", "sh", "-c", "echo waiting; sleep 100")
        async with KeeperClient.connect(made.paths, restart=["/bin/false"]) as second:
            (adopted,) = await second.list()
            assert (adopted.id, adopted.pid, adopted.exit) == ("kept", process.pid, None)
            await anyio.wait_readable(adopted.fds["stdout"])
            assert os.read(adopted.fds["stdout"], 100) == b"waiting\n"
            adopted.close()


async def test_an_engine_that_leaves_without_goodbye_is_restarted():
    async with ground() as made:
        await made.launch("kept", "sleep", "100")
        said = made.folder / "said"
        os.mkfifo(said)
        reader = os.open(said, os.O_RDONLY | os.O_NONBLOCK)
        keepalive = os.open(said, os.O_WRONLY)
        async with KeeperClient.connect(made.paths, restart=["/bin/sh", "-c", f"echo again > {said}"]):
            pass
        with anyio.fail_after(10):
            await anyio.wait_readable(reader)
        assert os.read(reader, 10) == b"again\n"
        os.close(reader)
        os.close(keepalive)
