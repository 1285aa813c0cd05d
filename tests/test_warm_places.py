"""Places of jobs (contract, warm): no worker's lie idle, and all of them have no more than the settings allow."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.warming_jobs import Board, End, Progress
from proxy.warming_one import Pace, Stop
from proxy.warming_places import Places
from tests.support.gateway import Clock


def job(worker: int, ended: End | None = None) -> Progress:
    return Progress(f"job-{worker}", worker, 1, 0.0, ended=ended)


async def test_the_only_worker_with_a_job_has_all_of_them() -> None:
    board = Board(Clock(0.0), 60)
    await board.begin(job(1))
    assert await board.share(1, 0, 8) == 8
    await board.begin(job(0))
    assert await board.share(0, 0, 8) == 0  # worker 1 holds them still
    assert await board.share(1, 8, 8) == 4
    assert await board.share(0, 0, 8) == 0
    assert await board.share(1, 5, 8) == 4  # three have been left
    assert await board.share(0, 0, 8) == 3
    assert await board.share(1, 4, 8) == 4
    assert await board.share(0, 3, 8) == 4
    board.note(job(1, End.COMPLETE))
    assert await board.share(0, 4, 8) == 8


async def test_the_places_of_a_worker_that_died_are_free() -> None:
    board = Board(Clock(0.0), 60)
    await board.begin(job(0))
    await board.begin(job(1))
    assert await board.share(0, 0, 1) == 1
    assert await board.share(1, 0, 1) == 0
    board.died(0)
    assert await board.share(1, 0, 1) == 1


@given(st.integers(1, 9), st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40))
def test_nobody_holds_what_another_holds(whole: int, steps: list[tuple[int, bool]]) -> None:
    async def played() -> None:
        board, held = Board(Clock(0.0), 60), dict.fromkeys(range(4), 0)
        for worker in range(4):
            await board.begin(job(worker))
        for worker, left in steps:
            share = await board.share(worker, held[worker], whole)
            assert share is not None
            held[worker] = share if left else max(held[worker], share)
            assert sum(held.values()) <= whole

    asyncio.run(played())


async def test_places_that_are_taken_are_given_back_when_they_are_left() -> None:
    places, stop = Places(3, 30, Pace(30, Clock(0.0))), Stop()
    await places.change(3)
    await places.take(stop)
    await places.take(stop)
    await places.change(1)
    assert places.held == 2
    places.leave()
    assert places.held == 1
    places.leave()
    assert places.held == 1
    await places.change(0)
    assert places.held == 0


async def test_the_pace_is_the_share_of_the_whole() -> None:
    clock = Clock(0.0)
    places = Places(8, 4, Pace(4, clock))
    await places.change(4)
    assert [places.pace.turn() for _ in range(3)] == [0, 0.5, 1.0]


async def test_who_waits_for_a_place_is_cancelled_with_the_job() -> None:
    places, stop = Places(1, 0, Pace(0, Clock(0.0))), Stop()
    waiting = asyncio.create_task(places.take(stop))
    await asyncio.wait({waiting}, timeout=0)
    stop.call(End.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await places.change(1)
    await places.take(Stop())
