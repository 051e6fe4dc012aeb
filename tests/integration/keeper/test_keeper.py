"""A real keeper, real containers: launch, execute, exits, what an engine or keeper that dies costs."""

import os
import shutil
import signal
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from runtime.errors import InternalError
from runtime.keeper.client import Keeper, LaunchError
from runtime.oci import defaults
from runtime.oci.cgroup import Cgroups
from runtime.paths import Paths

pytestmark = [pytest.mark.root, pytest.mark.anyio]
ENVIRONMENT = ["PATH=/bin"]


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Ground:
    """A run directory with a busybox root, a keeper connection and the containers made on it."""

    def __init__(self, folder, keeper, paths, losses, was_lost):
        self.folder, self.keeper, self.paths, self.losses, self.was_lost = folder, keeper, paths, losses, was_lost
        self.processes = []

    def spec(self, id, arguments, *, terminal=False, annotations=None, resources=None, joined=None):
        sets = {name: list(defaults.CAPABILITIES) for name in ("bounding", "effective", "permitted")}
        lower, upper, work = self.folder / "lower", self.folder / f"{id}-upper", self.folder / f"{id}-work"
        upper.mkdir()
        work.mkdir()
        overlay = {
            "destination": "/",
            "type": "overlay",
            "options": [f"lowerdir+={lower}", f"upperdir={upper}", f"workdir={work}"],
        }
        return {
            "ociVersion": "1.2.0",
            "process": {
                "args": arguments,
                "env": ENVIRONMENT,
                "cwd": "/",
                "user": {"uid": 0, "gid": 0},
                "capabilities": sets,
                "terminal": terminal,
            },
            "root": {"path": "rootfs"},
            "hostname": "ground",
            "annotations": annotations or {},
            "mounts": [overlay, *defaults.mounts(1 << 26)],
            "linux": {
                "namespaces": [
                    {"type": kind, **({"path": joined[kind]} if joined and kind in joined else {})}
                    for kind in ("mount", "pid", "uts", "ipc", "network", "cgroup")
                ],
                "cgroupsPath": f"/skiff-{self.paths.engine_id}/{id}",
                "resources": resources or {},
                "maskedPaths": list(defaults.MASKED_PATHS),
                "readonlyPaths": list(defaults.READ_ONLY_PATHS),
                "seccomp": defaults.seccomp(defaults.CAPABILITIES),
            },
        }

    async def launch(self, id, *arguments, stdin=False, **options):
        spec = self.spec(id, list(arguments), **options)
        process = await self.keeper.launch(id, self.folder / f"{id}-bundle", spec, stdin=stdin)
        self.processes.append(process)
        return process

    async def exec(self, id, container, *arguments):
        process = {"args": list(arguments), "env": ENVIRONMENT, "cwd": "/", "user": {"uid": 0, "gid": 0}}
        kept = await self.keeper.exec(id, container, process, {}, None, stdin=False)
        self.processes.append(kept)
        return kept

    async def exit(self, id):
        async for ended in self.keeper.exits:
            if ended.id == id:
                return ended
        raise AssertionError(f"{id} never ended")


def processes(cgroup):
    """Return the numbers of a cgroup's processes."""
    return [int(line) for line in (cgroup / "cgroup.procs").read_text().split()]


async def read(descriptor):
    """Return everything up to the end of the pipe."""
    data = b""
    while True:
        await anyio.wait_readable(descriptor)
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return data.decode()
        data += chunk


def busybox_root(root):
    """Make a directory with busybox and its usual names."""
    for name in ("bin", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in ("sh", "cat", "echo", "sleep", "ls", "hostname", "true", "ps", "grep", "mount", "dd", "tty"):
        (root / "bin" / name).symlink_to("busybox")


async def kill(pid):
    """Kill process `pid` and return when it is gone."""
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    await anyio.wait_readable(pidfd)
    os.close(pidfd)


@asynccontextmanager
async def ground():
    folder = Path(tempfile.mkdtemp(prefix="skf-k-"))
    busybox_root(folder / "lower")
    paths = Paths.from_environment({"SKIFF_ROOT": str(folder / "r"), "SKIFF_RUN": str(folder / "run")}, 0)
    losses = []
    was_lost = anyio.Event()

    def note(ids):
        losses.append(ids)
        was_lost.set()

    try:
        async with AsyncExitStack() as stack:
            keeper = await stack.enter_async_context(Keeper.connect(paths, restart=["/bin/false"], on_lost=note))
            made = Ground(folder, keeper, paths, losses, was_lost)
            stack.push_async_callback(clean, made)
            yield made
    finally:
        shutil.rmtree(folder)


async def clean(made):
    """End every container, then the keeper; nothing of theirs is left."""
    async with Keeper.connect(made.paths, restart=["/bin/false"]) as made.keeper:
        await end_all(made)
    for directory in Cgroups().directories(f"/skiff-{made.paths.engine_id}").values():
        assert not os.path.exists(directory)  # noqa: ASYNC240


async def end_all(made):
    """Kill, forget, say goodbye."""
    with anyio.fail_after(20):
        for process in await made.keeper.list():
            if process.exit is None:
                await made.keeper.signal(process.id, signal.SIGKILL)
                await anyio.wait_readable(process.pidfd)
            process.close()
        for process in made.processes:
            process.close()
        live = [process for process in await made.keeper.list() if process.exit is None]
        for process in live:
            await made.exit(process.id)
        for process in await made.keeper.list():
            process.close()
            await made.keeper.forget(process.id)
        await made.keeper.bye()
        await kill(made.keeper.pid)


async def test_a_process_is_pid_1_and_its_exit_code_is_kept():
    async with ground() as made:
        process = await made.launch("one", "sh", "-c", "echo $$ $(hostname); exit 7")
        assert await read(process.fds["stdout"]) == "1 ground\n"
        ended = await made.exit("one")
        assert (ended.exit_code, ended.signal, ended.oom_killed) == (7, None, False)
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


async def test_the_child_that_stands_by_becomes_the_next_container():
    async with ground() as made:
        if Cgroups().is_unified:
            pytest.skip("with cgroup version 2 children are born in their cgroups: none stands by")
        await made.launch("first", "sleep", "100")
        directory = Path(Cgroups().directories(f"/skiff-{made.paths.engine_id}")["pids"])
        with anyio.fail_after(10):
            while not (standing := [pid for one in directory.glob("standby-*") for pid in processes(one)]):  # noqa: ASYNC240
                await anyio.lowlevel.checkpoint()
        process = await made.launch("second", "sh", "-c", "echo $$; cat /proc/self/cgroup; sleep 100")
        assert standing == [process.pid]
        assert processes(directory / "second")[0] == process.pid
        await anyio.wait_readable(process.fds["stdout"])
        assert os.read(process.fds["stdout"], 9000).startswith(b"1\n")


async def test_a_limit_that_cannot_be_set_leaves_nothing():
    async with ground() as made:
        for id in ("alone", "beside"):  # without and with a child that stands by
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


async def test_standard_input_ends_when_both_sides_let_go():
    async with ground() as made:
        process = await made.launch("cat", "cat", stdin=True)
        os.write(process.fds["stdin"], b"hello")
        os.close(process.fds["stdin"])
        await made.keeper.close_stdin("cat")
        assert await read(process.fds["stdout"]) == "hello"
        del process.fds["stdin"]


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
        ("/etc", 126, 'exec: "/etc": permission denied'),
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
        async with Keeper.connect(made.paths, restart=["/bin/false"]) as second:
            (adopted,) = await second.list()
            assert (adopted.id, adopted.pid, adopted.exit) == ("kept", process.pid, None)
            await anyio.wait_readable(adopted.fds["stdout"])
            assert os.read(adopted.fds["stdout"], 100) == b"waiting\n"
            adopted.close()


async def test_an_engine_that_leaves_without_goodbye_is_started_anew():
    async with ground() as made:
        await made.launch("kept", "sleep", "100")
        said = made.folder / "said"
        os.mkfifo(said)
        reader = os.open(said, os.O_RDONLY | os.O_NONBLOCK)
        keepalive = os.open(said, os.O_WRONLY)
        async with Keeper.connect(made.paths, restart=["/bin/sh", "-c", f"echo again > {said}"]):
            pass
        with anyio.fail_after(10):
            await anyio.wait_readable(reader)
        assert os.read(reader, 10) == b"again\n"
        os.close(reader)
        os.close(keepalive)
