"""What becomes known when containers want more memory than they may have."""

import pytest

pytestmark = pytest.mark.root


def test_want_of_memory_is_reported_at_once_while_the_container_goes_on(ground):
    with ground.client.events({"type": ["container"], "event": ["oom", "die"]}) as events:
        id = ground.start("tail /dev/zero; sleep 1000", Memory=16 << 20, MemorySwap=16 << 20)
        told = events.documents()
        assert next(told)["Action"] == "oom"
        state = ground.client.container(id)["State"]
        assert (state["Running"], state["OOMKilled"]) == (True, True)
        ground.client.kill(id)
        assert next(told)["Action"] == "die"
    assert ground.client.container(id)["State"]["OOMKilled"]


def test_one_kill_is_reported_once_however_often_the_kernel_looks_for_a_victim(ground):
    with ground.client.events({"type": ["container"], "event": ["oom", "die"]}) as events:
        # the reader waits for memory while the kernel waits for the writer: it announces a kill hundreds of times
        ground.start("head -c 60000000 /dev/zero | tail; exit 0", Memory=16 << 20)
        told = events.documents()
        assert [next(told)["Action"] for _ in range(2)] == ["oom", "die"]
