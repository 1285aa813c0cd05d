"""Turns of jobs that fetch ahead, and their ends: of a job, which waits for no turn, and of one URL."""

import asyncio

import pytest

from proxy.message import Fields, Reply, Request
from proxy.outcome import Outcome, Verdict
from proxy.reasons import Why
from proxy.warming_jobs import End, Wanted
from proxy.warming_one import Pace, Result, Stop, Warmer
from tests.support.gateway import Clock


@pytest.mark.parametrize(
    ("rate", "after", "waits"),
    [
        (4, [0, 0, 0], [0, 0.25, 0.5]),
        (4, [0, 0.25, 0.125], [0, 0, 0.125]),
        (4, [0, 60, 0], [0, 0, 0.25]),  # what was not used is not made up for
        (0, [0, 0, 0], [0, 0, 0]),
    ],
)
def test_turns_come_one_after_the_other(rate: float, after: list[float], waits: list[float]) -> None:
    clock = Clock(0.0)
    pace = Pace(rate, clock)
    got = []
    for seconds in after:
        clock.advance(seconds)
        got.append(pace.turn())
    assert got == waits


async def test_who_waits_for_a_turn_hears_of_the_end() -> None:
    stop = Stop()
    waiting = [asyncio.create_task(stop.within(3600)) for _ in range(3)]
    assert await stop.within(0) is False
    stop.call(End.CANCELLED)
    stop.call(End.DRAINING)
    async with asyncio.timeout(20):
        assert await asyncio.gather(*waiting) == [True] * 3
    assert (stop.why, await stop.within(3600)) == (End.CANCELLED, True)


class Slow:
    """A guard with nothing against anything, in front of a store that is slow to write."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.written = False

    def refuses(self, request: Request) -> Why | None:
        return None

    def fresh(self, request: Request) -> bool:
        return False

    def heeds(self, request: Request) -> bool:
        return False

    def under_way(self, request: Request) -> bool:
        self.asked.set()
        return not self.written

    def forbids(self, request: Request) -> End | None:
        return None

    def room(self, request: Request) -> bool:
        return True


@pytest.mark.parametrize("ended", [True, False])
async def test_what_is_stored_is_written_before_it_counts_unless_the_job_ends(ended: bool) -> None:
    guard, clock, stop = Slow(), Clock(), Stop()

    async def answer(request: Request) -> Reply:
        return Reply(200, "", Fields(), b"x", Outcome(Verdict.MISS, Why.URI_MISS, stored=True))

    warming = asyncio.create_task(Warmer(answer, guard, clock).warm(Wanted("http", "a", "/"), Pace(0, clock), stop))
    async with asyncio.timeout(20):
        await guard.asked.wait()
        assert not warming.done()
        if ended:
            stop.call(End.DRAINING)
        else:
            guard.written = True
        assert await warming == Result("ok")
