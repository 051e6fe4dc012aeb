import anyio
import pytest

from runtime.image.registry_http import TransferError
from runtime.image.retries import ATTEMPTS, LONGEST_PAUSE_S, pause_after, pause_wanted, tried_again


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ("7", 7), (" 0 ", 0), ("", None), ("soon", None), ("-1", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40), ("Thu, 01 Jan 1970 00:00:10 GMT", 0),
    ],
)  # fmt: skip
def test_a_pause_is_asked_for_in_seconds_or_by_a_moment(header, pause_s):
    assert pause_wanted(header, now_s=60) == pause_s


def test_pauses_grow_and_end():
    pauses = [pause_after(TransferError("x"), attempt) for attempt in range(1, ATTEMPTS + 1)]
    assert pauses[-1] is None
    assert pauses[:-1] == sorted(pauses[:-1])
    assert pause_after(TransferError("x", pause_s=LONGEST_PAUSE_S + 1), 1) is None


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (TransferError("x", pause_s=0), ATTEMPTS),
        (TransferError("x", pause_s=0, is_unreachable=True), 1),
        (TransferError("x", pause_s=3600), 1),
    ],
)
def test_what_may_pass_is_tried_again(error, tries):
    count = 0

    async def work():
        nonlocal count
        count += 1
        raise error

    with pytest.raises(TransferError):
        anyio.run(tried_again, work)
    assert count == tries
