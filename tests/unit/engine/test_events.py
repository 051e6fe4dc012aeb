import anyio
import pytest

from runtime.engine.events import KEPT_EVENTS, UNREAD_EVENTS, EventBus, matches

LABELS = {"image": "web:1", "name": "shop", "tier": "front"}


def event(kind="container", action="start", id="abc123", **attributes):
    return {"Type": kind, "Action": action, "scope": "local", "Actor": {"ID": id, "Attributes": attributes}}


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"type": ["container", "image"]},
        {"event": ["start"]},
        {"container": ["shop"]},
        {"container": ["abc"]},
        {"image": ["web"]},
        {"image": ["web:1"]},
        {"label": ["tier"]},
        {"label": ["tier=front"]},
        {"scope": ["local"]},
        {"type": ["container"], "event": ["stop", "start"]},
    ],
)
def test_an_event_passes_the_filters_that_name_it(filters):
    assert matches(event(**LABELS), filters)


@pytest.mark.parametrize(
    "filters",
    [
        {"type": ["network"]},
        {"event": ["star"]},
        {"container": ["other"]},
        {"image": ["we"]},
        {"label": ["tier=back"]},
        {"network": ["abc123"]},
        {"type": ["container"], "event": ["stop"]},
    ],
)
def test_an_event_does_not_pass_others(filters):
    assert not matches(event(**LABELS), filters)


def test_an_action_with_details_passes_by_its_name():
    assert matches(event(action="exec_create: ls"), {"event": ["exec_create"]})
    assert matches(event(action="health_status: healthy"), {"event": ["health_status: healthy"]})


def test_events_of_networks_pass_by_the_container_that_they_are_about():
    assert matches(event(kind="network", container="abc123"), {"container": ["abc123"]})


def test_an_unknown_filter_lets_everything_through():
    async def main():
        bus = EventBus()
        bus.emit("container", "start", "abc", {})
        stream = bus.subscribe(filters={"colour": ["red"]}, since_ns=0, until_ns=1 << 62)
        assert (await anext(stream))["Action"] == "start"

    anyio.run(main)


def test_kept_events_come_first_and_the_stream_ends_at_its_time():
    async def main():
        bus = EventBus()
        for number in range(KEPT_EVENTS + 5):
            bus.emit("volume", "create", str(number), {})
        since = until = 0
        async for one in bus.subscribe(filters={}, since_ns=0):
            since = since or one["timeNano"]
            until = one["timeNano"]
            if one["Actor"]["ID"] == str(KEPT_EVENTS):
                break
        return [one["Actor"]["ID"] async for one in bus.subscribe(filters={}, since_ns=since, until_ns=until)]

    assert anyio.run(main) == [str(number) for number in range(5, KEPT_EVENTS + 1)]


def test_a_subscriber_that_does_not_read_is_dropped_and_the_others_go_on():
    async def main():
        bus = EventBus()
        lazy, eager = bus.subscribe(filters={}), bus.subscribe(filters={})
        seen = []

        async def read():
            async for one in eager:
                seen.append(one["Actor"]["ID"])
                if len(seen) == UNREAD_EVENTS + 10:
                    return

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            group.start_soon(lazy.__anext__)
            await anyio.wait_all_tasks_blocked()
            for number in range(UNREAD_EVENTS + 10):
                bus.emit("volume", "create", str(number), {})
                await anyio.lowlevel.checkpoint()
        assert seen == [str(number) for number in range(UNREAD_EVENTS + 10)]
        rest = [one async for one in lazy]
        assert len(rest) <= UNREAD_EVENTS
        assert bus.listeners == 1
        await eager.aclose()
        assert bus.listeners == 0

    anyio.run(main)
