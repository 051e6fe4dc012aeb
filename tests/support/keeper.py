"""A keeper of a test's own: a run directory, a busybox root, a connection, and the containers made on it."""

import os
import shutil
import signal
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio

from runtime.keeper.client import KeeperClient
from runtime.oci import defaults
from runtime.oci.cgroup import Cgroups
from runtime.paths import Paths
from tests.support.images import busybox_program

ENVIRONMENT = ["PATH=/bin"]


class Ground:
    """A run directory with a busybox root, a keeper connection and the containers made on it."""

    def __init__(self, folder, keeper, paths, losses, was_lost):
        self.folder, self.keeper, self.paths, self.losses, self.was_lost = folder, keeper, paths, losses, was_lost
        self.processes = []

    def spec(self, id, arguments, *, terminal=False, annotations=None, resources=None, joined=None):
        sets = {name: list(defaults.CAPABILITIES) for name in ("bounding", "effective", "permitted")}
        lower, upper, work = self.folder / "lower", self.folder / f"{id}-upper", self.folder / f"{id}-work"
        upper.mkdir(exist_ok=True)
        work.mkdir(exist_ok=True)
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

    async def launch(self, id, *arguments, stdin=False, timeout_s=30.0, **options):
        spec = self.spec(id, list(arguments), **options)
        process = await self.keeper.launch(id, self.folder / f"{id}-bundle", spec, stdin=stdin, timeout_s=timeout_s)
        self.processes.append(process)
        return process

    async def exec(self, id, container, *arguments, timeout_s=30.0):
        process = {"args": list(arguments), "env": ENVIRONMENT, "cwd": "/", "user": {"uid": 0, "gid": 0}}
        kept = await self.keeper.exec(id, container, process, {}, None, stdin=False, timeout_s=timeout_s)
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


def children(pid):
    """The children of a process with their states, as the kernel lists them."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == str(pid):
            found[int(folder.name)] = fields[0]
    return found


async def settled(holds):
    """Wait for the state of a foreign process, for which there is no event."""
    with anyio.fail_after(10):
        while not holds():  # noqa: ASYNC110
            await anyio.sleep(0.01)


def busybox_root(root):
    """Make a directory with busybox and its usual names."""
    for name in ("bin", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox_program(), root / "bin/busybox")
    for name in ("sh", "cat", "echo", "sleep", "ls", "hostname", "true", "ps", "grep", "mount", "dd", "tty"):
        (root / "bin" / name).symlink_to("busybox")


async def kill(pid):
    """Kill process `pid` and return when it is gone."""
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    await anyio.wait_readable(pidfd)
    os.close(pidfd)


@asynccontextmanager
async def ground(restart=("/bin/false",), prefork_template=None):
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
            keeper = await stack.enter_async_context(
                KeeperClient.connect(paths, restart=restart, on_lost=note, prefork_template=prefork_template)
            )
            made = Ground(folder, keeper, paths, losses, was_lost)
            stack.push_async_callback(clean, made)
            yield made
    finally:
        shutil.rmtree(folder)


async def clean(made):
    """End every container, then the keeper; nothing of theirs is left."""
    async with KeeperClient.connect(made.paths, restart=["/bin/false"]) as made.keeper:
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
