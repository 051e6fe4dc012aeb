"""A builder over a state directory of its own, for tests that build."""

import io
import os
import shutil
import signal
import tarfile
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio

from runtime.build.builder import Builder
from runtime.build.options import BuildOptions
from runtime.build.tree import Tree
from runtime.image.archive import load
from runtime.image.images import Images
from runtime.image.reference import Reference
from runtime.keeper.client import KeeperClient
from runtime.paths import Paths
from runtime.store import Store
from tests.integration.build.keeper_runner import KeeperRunner
from tests.support.images import busybox_archive


class Bench:
    """A builder over a store of its own, with a busybox image to build on and a context to fill."""

    def __init__(self, home, images, builder, runner):
        self.home = home
        self.images = images
        self.builder = builder
        self.runner = runner
        self.context = home / "context"
        self.context.mkdir()

    def write(self, files):
        for name, content in files.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    async def build(self, text, **options):
        """Build; return the image, or the error message, with all text before it."""
        self.write({"Dockerfile": text})
        return await self._messages(partial(self.builder.build, self.context, BuildOptions(**options)))

    async def build_stream(self, files, **options):
        """Build a context that comes as a tar stream of `files`."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content.encode()))

        async def chunks():
            yield out.getvalue()

        return await self._messages(partial(self.builder.build_archive, chunks(), BuildOptions(**options)))

    async def _messages(self, build):
        messages = []

        async def send(message):
            messages.append(message)

        await build(send)
        printed, image, error = "", None, None
        for message in messages:
            printed += message.get("stream", "")
            if "aux" in message:
                image = self.images.resolve(message["aux"]["ID"])
            if "errorDetail" in message:
                error = message["errorDetail"]
                if "hint" in error:
                    error = {**error, "message": f"{error['message']}\n    {error['hint']}"}
        return Result(self, image, error, printed)

    @property
    def leftovers(self):
        folder = self.home / "root" / "tmp"
        return sorted(os.listdir(folder)) if folder.exists() else []


class Result:
    def __init__(self, bench, image, error, text):
        self.image, self.error, self.text = image, error, text
        self._bench = bench

    @property
    def config(self):
        assert self.error is None, self.error
        return self.image.config["config"]

    @property
    def tree(self):
        assert self.error is None, self.error
        return Tree(self._bench.images.layer_directories(self.image))

    def read(self, path):
        return Path(self.tree.find(path).location).read_text()

    def info(self, path):
        return self.tree.find(path, follow=False).info


async def busybox(images, home):
    """Put the busybox image of the tests' support into `images`."""
    (image,) = await load(images, busybox_archive(home / "busybox.tar"), lambda _: None)
    return image


@asynccontextmanager
async def bench():
    home = Path(tempfile.mkdtemp(prefix="skf-b-", dir="/tmp"))
    paths = Paths(home / "root", home / "run")
    paths.run.mkdir()
    store = Store.open(paths)
    images = Images(paths, store, mounts_layers=True)
    try:
        images.tag(await busybox(images, home), Reference.parse("busybox"))
        async with AsyncExitStack() as stack:
            keeper = await stack.enter_async_context(KeeperClient.connect(paths, restart=["/bin/false"]))
            runner = KeeperRunner(paths, keeper)
            yield Bench(home, images, Builder(paths, store, images, runner), runner)
            keeper_process = os.pidfd_open(keeper.pid)
            await keeper.bye()
        # the keeper of this test alone; by itself it would linger for a moment
        signal.pidfd_send_signal(keeper_process, signal.SIGKILL)
        await anyio.wait_readable(keeper_process)
        os.close(keeper_process)
    finally:
        images.layers.release()
        store.close()
        shutil.rmtree(home)


@asynccontextmanager
async def copying_bench(*, mounts=False):
    """Give a bench without a keeper, for builds that run nothing: they take a few milliseconds.

    It is in memory, unless layers must be mounted.
    """
    with tempfile.TemporaryDirectory(prefix="skf-c-", dir="/tmp" if mounts else "/dev/shm") as name:
        home = Path(name)
        paths = Paths(home / "root", home / "run")
        store = Store.open(paths)
        images = Images(paths, store, mounts_layers=mounts)
        try:
            yield Bench(home, images, Builder(paths, store, images, None), None)
        finally:
            images.layers.release()
            store.close()


def proves(test):
    """Run an async test with a bench of its own."""

    def run():
        async def inside():
            async with bench() as made:
                await test(made)
                assert made.leftovers == []

        anyio.run(inside)

    run.__name__ = test.__name__
    return run


def copies_only(test):
    """Run an async test that runs nothing with a bench of its own."""

    def run():
        async def inside():
            async with copying_bench() as made:
                await test(made)

        anyio.run(inside)

    run.__name__ = test.__name__
    return run
