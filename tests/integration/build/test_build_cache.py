import os

import anyio
import pytest

from runtime.build.builder import Builder
from runtime.build.cache import INLINE
from runtime.build.options import BuildOptions
from runtime.image.archive import exports, load, save
from runtime.image.images import Images
from runtime.paths import Paths
from runtime.store import Store
from tests.integration.build.workbench import bench, proves

pytestmark = pytest.mark.root


@proves
async def test_builds_side_by_side_do_a_common_step_once(b):
    text = "FROM busybox AS base\nRUN sleep 0.2; echo made > /base\nFROM base\nRUN echo {0} > /own\n"
    results = {}

    async def one(name):
        results[name] = await b.build(text.format(name), dockerfile_text=text.format(name))

    async with anyio.create_task_group() as group:
        for name in ("web", "worker", "jobs"):
            group.start_soon(one, name)
    assert [results[name].read("/own") for name in ("web", "worker", "jobs")] == ["web\n", "worker\n", "jobs\n"]
    assert b.runner.runs == 4
    assert len({results[name].image.diff_ids[1] for name in results}) == 1


@proves
async def test_a_step_that_another_build_gave_up_is_done_after_all(b):
    text = (
        # killed once it said so, and not before the next one can know that it is the second
        "FROM busybox\nRUN --mount=type=cache,target=/x mkdir /x/first && echo begun && sleep 1000; echo done > /done\n"
    )
    second = {}

    async def other():
        # the same step: it waits for the first build, and does it when that one goes
        second["result"] = await b.build(text, dockerfile_text=text)

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:

            async def send(message):
                if message.get("stream") == "begun\n":
                    group.start_soon(other)
                    scope.cancel()

            await b.builder.build(b.context, BuildOptions(dockerfile_text=text), send)
        assert scope.cancelled_caught
    assert second["result"].read("/done") == "done\n"
    assert b.runner.runs == 2


@proves
async def test_an_unchanged_build_writes_nothing(b):
    b.write({"f": "1"})
    text = "FROM busybox\nARG A=1\nENV X=$A\nWORKDIR /w\nCOPY f .\nRUN cat f\nLABEL l=1\nCMD x\n"
    first = await b.build(text)
    before = _times(b.home / "root")
    again = await b.build(text)
    assert again.image.id == first.image.id
    after = _times(b.home / "root")
    assert {path for path in after if before.get(path) != after[path]} <= {"tmp"}
    assert again.text.count("Using cache") == 3


def _times(root):
    found = {}
    for folder, _, files in os.walk(root):
        for name in ("", *files):
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root).rstrip("/.")] = os.lstat(path).st_mtime_ns
    return found


@proves
async def test_steps_are_taken_from_an_image_that_another_machine_built(b):
    text = "FROM busybox\nENV A=1\nRUN echo made > /made\nCMD x\n"
    first = await b.build(text, tags=("made:1",))
    assert len(first.image.config[INLINE]) == 1
    archive = b.home / "made.tar"
    with open(archive, "wb") as out:  # noqa: ASYNC230
        save(exports(b.images, ["made:1", "busybox"]), out, b.home)
    other = Store.open(Paths(b.home / "other", b.home / "run"))
    images = Images(Paths(b.home / "other", b.home / "run"), other)
    await load(images, archive, lambda _: None)
    b.images, b.builder = images, Builder(Paths(b.home / "other", b.home / "run"), other, images, b.runner)
    result = await b.build(text, cache_from=("made:1", "nowhere:1"))
    assert (result.image.id, b.runner.runs) == (first.image.id, 1)
    assert "[Warning] nothing is taken from nowhere:1: No such image" in result.text
    other.close()


@proves
async def test_the_epoch_dates_the_image(b):
    text = "FROM busybox\nRUN echo > /f\n"
    result = await b.build(text, build_args={"SOURCE_DATE_EPOCH": "1000000000"})
    assert result.image.config["created"] == "2001-09-09T01:46:40Z"
    assert all(entry["created"] <= "2001-09-09T01:46:40Z" for entry in result.image.config["history"])
    assert "not consumed" not in result.text


@proves
async def test_with_an_epoch_steps_that_run_make_the_same_image_again(b):
    text = "FROM busybox\nRUN mkdir -p /d/e && echo 1 > /d/f && ln -s f /d/l && touch -d @5 /d/old\nWORKDIR /w\n"
    ids = set()
    for _ in range(2):
        result = await b.build(text, no_cache=True, build_args={"SOURCE_DATE_EPOCH": "1000000000"})
        assert (result.info("/d/f").st_mtime, result.info("/d/old").st_mtime) == (1_000_000_000, 5)
        ids.add(result.image.id)
    assert (len(ids), b.runner.runs) == (1, 2)


@proves
async def test_a_quiet_build_says_its_image_alone(b):
    result = await b.build("FROM busybox\nRUN echo noise\n", quiet=True)
    assert result.text == f"{result.image.id}\n"


@proves
async def test_arguments_pass_on_to_stages_that_build_on_a_stage(b):
    text = (
        "ARG G=global\nFROM busybox AS base\nARG A=1\nARG G\nFROM base\nRUN echo $A $G $TARGETARCH > /got\n"
        "ARG TARGETARCH\nRUN echo $TARGETARCH >> /got\n"
    )
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    assert (await b.build(text)).read("/got").split() == ["1", "global", architecture]
    given = await b.build(text, build_args={"A": "2", "TARGETARCH": "mine", "Z": "", "BUILDKIT_INLINE_CACHE": "1"})
    assert given.read("/got").split() == ["2", "global", "mine"]
    assert "[Warning] One or more build-args [Z] were not consumed" in given.text


@proves
async def test_a_proxy_reaches_the_step_and_neither_key_nor_image(b):
    text = "FROM busybox\nRUN echo $HTTP_PROXY > /got\n"
    result = await b.build(text, build_args={"HTTP_PROXY": "one"})
    assert result.read("/got") == "one\n"
    assert "one" not in str(result.image.config)
    assert (await b.build(text, build_args={"HTTP_PROXY": "two"})).image.id == result.image.id


@proves
async def test_named_contexts_are_directories_or_images(b):
    await b.build("FROM busybox\nRUN echo from image > /f\n", tags=("other:1",))
    files = {
        "Dockerfile": (
            "FROM base AS over\nFROM rootfs\nCOPY --from=files a /a\nCOPY --from=over /f /f\nCOPY --from=image /f /g\n"
        ),
        "extra/files/a": "from files",
        "extra/files/hidden": "",
        "extra/files/.dockerignore": "hidden",
        "extra/root/here": "root",
    }
    contexts = {
        "base": "docker-image://other:1",
        "image:latest": "docker-image://other:1",
        "files": "stream:extra/files",
        "rootfs": "stream:extra/root",
    }
    result = await b.build_stream(files, contexts=contexts)
    assert [result.read(path) for path in ("/here", "/a", "/f", "/g")] == ["root", "from files"] + ["from image\n"] * 2
    files["Dockerfile"] = "FROM scratch\nCOPY --from=files hidden /\n"
    refused = await b.build_stream(files, contexts=contexts)
    assert "excluded from the build context 'files'" in refused.error["message"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"platform": "linux/a/b/c"}, "invalid platform 'linux/a/b/c'"),
        ({"tags": ("a@sha256:" + "0" * 64,)}, "not by a digest"),
        ({"contexts": {"x": "https://example.com/x.zip"}}, "build context 'x'"),
        ({"build_args": {"SOURCE_DATE_EPOCH": "now"}}, "invalid SOURCE_DATE_EPOCH"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything(options, message):
    from runtime.errors import BadRequestError

    async def inside():
        async with bench() as b:
            with pytest.raises(BadRequestError, match=message):
                await b.build("FROM busybox\nRUN echo > /x\n", **options)

    anyio.run(inside)
