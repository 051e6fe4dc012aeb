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
        while (event := next(told))["Action"] == "oom":  # each time that the kernel had to look for a victim
            continue
        assert event["Action"] == "die"
    assert ground.client.container(id)["State"]["OOMKilled"]
