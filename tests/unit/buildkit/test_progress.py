"""The status of a build: complete for every client, however late, and bounded."""

import anyio
import pytest

from runtime.buildkit.builds import KEPT, Builds
from runtime.buildkit.progress import LONGEST_LOG_BYTES, Progress
from runtime.buildkit.rpc import NOT_FOUND, RpcError
from runtime.buildkit.schema import message

pytestmark = pytest.mark.anyio


def build_of(builds, ref):
    return builds.open(ref, message("moby.buildkit.v1.SolveRequest")(Ref=ref))


async def test_who_connects_late_gets_everything_from_the_beginning():
    progress = Progress()
    with progress.vertex("[1/2] FROM busybox") as vertex:
        vertex.write("said")
    heard = []

    async def listen():
        async for event in progress.events():
            heard.append(event)

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="broken"), progress.vertex("[2/2] RUN false", [vertex.digest]):
            raise ValueError("broken")
        progress.finish()
    vertexes = [one for event in heard for one in event.vertexes]
    assert [(one.name, one.HasField("completed"), one.error) for one in vertexes] == [
        ("[1/2] FROM busybox", False, ""),
        ("[1/2] FROM busybox", True, ""),
        ("[2/2] RUN false", False, ""),
        ("[2/2] RUN false", True, "broken"),
    ]
    assert list(vertexes[2].inputs) == [vertex.digest]
    assert [one.msg for event in heard for one in event.logs] == [b"said"]


async def test_output_without_end_is_reported_up_to_a_limit():
    progress = Progress()
    with progress.vertex("RUN yes") as vertex:
        for _ in range(100):
            vertex.write("y" * (LONGEST_LOG_BYTES // 20))
    progress.finish()
    told = b"".join([one.msg async for event in progress.events() for one in event.logs])
    assert LONGEST_LOG_BYTES < len(told) < 1.1 * LONGEST_LOG_BYTES
    assert told.endswith(b"[output clipped, log limit 2 MiB reached]\n")


async def test_builds_that_are_over_are_remembered_up_to_a_number_without_their_output():
    builds = Builds()
    first = build_of(builds, "first")
    with first.progress.vertex("one"):
        pass
    builds.close(first)
    assert len([event async for event in first.progress.events()]) == 1
    for number in range(KEPT):
        builds.close(build_of(builds, f"b{number}"))
    assert [event async for event in first.progress.events()] == []
    assert len(builds.list()) == KEPT
    builds.drop("b0")
    assert "b0" not in dict(builds.list())


async def test_an_image_is_meant_by_the_reference_that_it_was_given():
    build = build_of(Builds(), "ref")
    with pytest.raises(RpcError) as raised:
        build.image("unknown")
    assert raised.value.code == NOT_FOUND
