"""Background work is bounded, its errors are told, and it ends with its owner (invariant 11)."""

import asyncio

import pytest

from proxy.tasks import Tasks, end, repeat


async def test_errors_are_told_and_work_beyond_the_bound_is_refused() -> None:
    told: list[tuple[str, str]] = []
    tasks = Tasks(lambda name, error: told.append((name, str(error))), limit=1)

    async def fail() -> None:
        raise ValueError("broken")

    assert tasks.spawn(fail(), "one")
    assert not tasks.spawn(fail(), "two")
    await tasks.close(1.0)
    assert told == [("one", "broken")]
    assert len(tasks) == 0


async def test_close_lets_work_end_then_cancels_it_and_takes_no_more() -> None:
    tasks = Tasks(lambda *_: None)
    steps: list[str] = []

    async def short() -> None:
        await asyncio.sleep(0)
        steps.append("done")

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("cancelled")

    tasks.spawn(short())
    tasks.spawn(endless())
    await tasks.close(grace=0.01)
    assert steps == ["done", "cancelled"]
    assert not tasks.spawn(short())


async def test_what_is_repeated_goes_on_whatever_it_raises(caplog: pytest.LogCaptureFixture) -> None:
    rounds, done = 0, asyncio.Event()

    async def broken() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            done.set()
        raise ValueError("broken")

    task = asyncio.create_task(repeat("a sweep", broken, 0.0))
    async with asyncio.timeout(10):
        await done.wait()
    await end([task])
    assert [record.getMessage() for record in caplog.records] == ["a sweep failed"] * rounds


async def test_end_repeats_a_cancellation_that_was_lost_and_hides_what_tasks_raise() -> None:
    steps: list[str] = []

    async def deaf() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            steps.append("lost")
        await asyncio.sleep(3600)

    async def broken() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ValueError("broken")

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(broken())]
    await asyncio.sleep(0)
    await end(tasks)
    assert steps == ["lost"]
    assert all(task.done() for task in tasks)
    assert isinstance(tasks[1].exception(), ValueError)
    await end([])
