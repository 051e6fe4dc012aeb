import anyio
import pytest

from runtime.engine.background import Background, log_errors


def test_a_failing_task_is_logged_and_ends_nothing_else(caplog):
    async def main():
        told, ended = [], []

        async def fail():
            raise OSError(28, "no space left")

        async def go_on():
            await anyio.sleep(0.01)
            ended.append(True)

        async with anyio.create_task_group() as group:
            background = Background(group)
            background.start_soon(fail, failed=told.append)
            background.start_soon(go_on)
        return told, ended

    told, ended = anyio.run(main)
    assert [type(error) for error in told] == [OSError]
    assert ended == [True]
    assert "no space left" in caplog.text


def test_a_cancelled_task_ends_quietly(caplog):
    async def main():
        async with anyio.create_task_group() as group:
            Background(group).start_soon(anyio.sleep_forever)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    anyio.run(main)
    assert caplog.text == ""


def test_an_attempt_returns_its_error():
    async def fail():
        raise ValueError("x")

    async def main():
        return await log_errors(fail), await log_errors(anyio.sleep, 0)

    error, none = anyio.run(main)
    assert isinstance(error, ValueError)
    assert none is None


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(1),
        GeneratorExit(),
        BaseExceptionGroup("", [GeneratorExit(), ValueError("inner")]),
        BaseExceptionGroup("", [SystemExit(2)]),
    ],
    ids=["exit", "closed generator", "mixed group", "group of an exit"],
)
def test_what_is_no_ordinary_error_ends_its_own_task_only(error, caplog):
    async def main():
        told, ended = [], []

        async def fail():
            raise error

        async def go_on():
            await anyio.wait_all_tasks_blocked()
            ended.append(True)

        async with anyio.create_task_group() as group:
            background = Background(group)
            background.start_soon(fail, failed=told.append)
            background.start_soon(go_on)
        return told, ended

    told, ended = anyio.run(main)
    assert len(told) == 1
    assert ended == [True]
    assert type(error).__name__ in caplog.text


def test_a_task_that_fails_while_it_is_cancelled_ends_cancelled(caplog):
    async def main():
        async def fail():
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("while it was cancelled")

        async with anyio.create_task_group() as group:
            Background(group).start_soon(fail)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    anyio.run(main)
    assert "while it was cancelled" in caplog.text
