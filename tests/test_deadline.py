"""Waits that are all over after equally long: as `asyncio.timeout`, with one timer for all of them."""

import asyncio

import pytest

from proxy.deadline import Deadline

LONG = 1000.0


async def wait(deadline: Deadline, until: asyncio.Event) -> str:
    with deadline.wait():
        await until.wait()
    return "in time"


async def test_what_ends_in_time_is_left_alone() -> None:
    deadline, event = Deadline(LONG), asyncio.Event()
    tasks = [asyncio.create_task(wait(deadline, event)) for _ in range(3)]
    await asyncio.sleep(0)
    event.set()
    assert await asyncio.gather(*tasks) == ["in time"] * 3
    with deadline.wait():
        pass


async def test_what_takes_too_long_is_cancelled_and_told_so() -> None:
    deadline, never = Deadline(0.01), asyncio.Event()
    for _ in range(2):  # the second time with a timer of its own
        tasks = [asyncio.create_task(wait(deadline, never)) for _ in range(3)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [TimeoutError] * 3
    with pytest.raises(TimeoutError) as caught, deadline.wait():
        await never.wait()
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert (current := asyncio.current_task()) is not None
    assert current.cancelling() == 0  # nothing of it is left in the task


async def test_one_timer_for_all() -> None:
    deadline, event = Deadline(LONG), asyncio.Event()
    tasks = [asyncio.create_task(wait(deadline, event))]
    await asyncio.sleep(0)
    timer = deadline._row._timer
    assert timer is not None
    tasks += [asyncio.create_task(wait(deadline, event)) for _ in range(100)]
    await asyncio.sleep(0)
    event.set()
    await asyncio.gather(*tasks)
    assert await wait(deadline, event) == "in time"
    assert deadline._row._timer is timer


async def test_nobody_is_ended_before_or_forgotten_behind_another() -> None:
    """The timer of the first ends nobody else, and is followed by one for the next."""
    deadline, loop = Deadline(0.05), asyncio.get_running_loop()

    async def lasted() -> float:
        began = loop.time()
        with pytest.raises(TimeoutError):
            await wait(deadline, asyncio.Event())
        return loop.time() - began

    tasks = []
    for _ in range(3):
        tasks.append(asyncio.create_task(lasted()))
        await asyncio.sleep(0.01)  # so that their ends lie apart
    async with asyncio.timeout(20):
        assert min(await asyncio.gather(*tasks)) > 0.049


async def test_who_is_cancelled_by_another_is_cancelled() -> None:
    deadline = Deadline(LONG)
    task = asyncio.create_task(wait(deadline, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_meets_the_end_is_not_lost() -> None:
    deadline = Deadline(0.0)
    task = asyncio.create_task(wait(deadline, asyncio.Event()))
    asyncio.get_running_loop().call_later(0.0, task.cancel)  # in the turn in which it is over
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_ones_own_comes_out() -> None:
    with pytest.raises(LookupError), Deadline(LONG).wait():
        raise LookupError


async def test_the_shorter_of_two_ends_it() -> None:
    never = asyncio.Event()
    with Deadline(LONG).wait(), pytest.raises(TimeoutError), Deadline(0.01).wait():
        await never.wait()
    with pytest.raises(TimeoutError), Deadline(0.01).wait(), Deadline(LONG).wait():
        await never.wait()
