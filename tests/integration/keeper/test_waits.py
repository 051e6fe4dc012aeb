"""The keeper waits for no child: whatever one of them does or does not do, the others start, exit and are removed."""

import ctypes
import os
import signal
from pathlib import Path

import anyio
import pytest

from runtime.keeper.client import KeeperClient
from runtime.keeper.handles import LaunchError
from runtime.oci.cgroup import Cgroups
from tests.support.keeper import children, ground, read, settled

pytestmark = [pytest.mark.root, pytest.mark.anyio]

PTRACE_SEIZE = 0x4206
WALL = 0x40000000
EXEC = {"env": ["PATH=/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
OPENAT = "56" if os.uname().machine == "aarch64" else "257"


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Hanging:
    """A keeper, and a container whose launch waits at a pipe that stands for its network namespace."""

    def __init__(self, made):
        self.made = made
        self.pipe = made.folder / "namespace"
        os.mkfifo(self.pipe)

    async def launch(self, **options):
        return await self.made.launch("hangs", "true", joined={"network": str(self.pipe)}, **options)

    async def waits(self):
        """Return the number of the child, once it waits at the pipe."""
        found = []

        def is_there():
            found[:] = [pid for pid in children(self.made.keeper.pid) if self._waits_at_pipe(pid)]
            return found

        await settled(is_there)
        return found[0]

    def _waits_at_pipe(self, pid):
        try:
            number, _, address, *_ = Path(f"/proc/{pid}/syscall").read_text().split()
            with open(f"/proc/{pid}/mem", "rb", 0) as memory:
                memory.seek(int(address, 16))
                return number == OPENAT and memory.read(len(str(self.pipe))) == str(self.pipe).encode()
        except (OSError, ValueError):
            return False

    def is_gone(self):
        """Whether nothing is left of the container's cgroups."""
        paths = Cgroups().directories(f"/skiff-{self.made.paths.engine_id}/hangs").values()
        return not any(map(os.path.exists, paths))


@pytest.fixture
async def hanging():
    async with ground() as made:
        yield Hanging(made)


async def others_run(made):
    """Check that a container starts, ends and goes, within a time that no limit of the keeper's explains."""
    with anyio.fail_after(2.5):
        process = await made.launch("other", "sh", "-c", "echo here; exit 4")
        assert await read(process.fds["stdout"]) == "here\n"
        assert (await made.exit("other")).exit_code == 4
        await made.keeper.forget("other")


async def test_a_child_that_failed_and_is_not_to_be_reaped_holds_nothing_up(hanging):
    async with anyio.create_task_group() as group:

        async def fail():
            with pytest.raises(LaunchError, match="setns"):
                await hanging.launch()

        group.start_soon(fail)
        child = await hanging.waits()
        # a process that is traced can't be waited for by its parent before its tracer has (ptrace(2))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.ptrace(PTRACE_SEIZE, child, None, None) == 0
        os.close(os.open(hanging.pipe, os.O_WRONLY))
        await settled(lambda: children(hanging.made.keeper.pid).get(child) == "Z")
        with anyio.fail_after(2.5):
            for process in await hanging.made.keeper.list():
                process.close()
        await others_run(hanging.made)
    assert hanging.is_gone()
    assert os.waitpid(child, WALL)[0] == child  # noqa: ASYNC222 - it has ended
    await settled(lambda: "Z" not in children(hanging.made.keeper.pid).values())


async def test_a_child_that_never_reports_is_killed_and_nothing_is_left_of_it(hanging):
    async with anyio.create_task_group() as group:

        async def hang():
            with pytest.raises(LaunchError, match=r"did not start within 3 s"):
                await hanging.launch(timeout_s=3)

        group.start_soon(hang)
        await hanging.waits()
        await others_run(hanging.made)
    await settled(hanging.is_gone)


async def test_a_new_engine_does_not_wait_for_a_launch_of_the_one_before(hanging):
    async with anyio.create_task_group() as group:

        async def hang():
            with pytest.raises(Exception, match="exited during a request"):
                await hanging.launch(timeout_s=1000)

        group.start_soon(hang)
        await hanging.waits()
        with anyio.fail_after(15):
            async with KeeperClient.connect(hanging.made.paths, restart=["/bin/false"]) as second:
                assert await second.list() == []
    await settled(hanging.is_gone)


async def test_a_keeper_that_is_stopped_keeps_no_engine_from_coming_up(monkeypatch):
    async with ground() as made:
        process = await made.launch("one", "sleep", "100")
        made.keeper.is_closing = True
        os.kill(made.keeper.pid, signal.SIGSTOP)
        monkeypatch.setattr("runtime.keeper.client.ANSWER_S", 0.5)
        with anyio.fail_after(15):
            async with KeeperClient.connect(made.paths, restart=["/bin/false"]) as second:
                assert second.pid != made.keeper.pid
                found = await second.recover({"one": made.folder / "one-bundle"})
                assert found["one"].pid == process.pid
                found["one"].close()
                exec = await second.exec("visitor", "one", {**EXEC, "args": ["echo", "here"]}, {}, None, stdin=False)
                assert await read(exec.fds["stdout"]) == "here\n"
                exec.close()


async def test_what_the_keeper_prints_needs_no_reader():
    async with ground() as made:
        assert os.readlink(f"/proc/{made.keeper.pid}/fd/2") == str(made.paths.engine_log)
