"""One timer for many deadlines: it acts at the last one that was set, once, and at no other."""

import asyncio
from math import inf

from proxy.alarm import Alarm, Row

FAR = 3600.0


class Bell:
    """Notes at which deadlines an alarm has acted: those that lay behind when it did."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.alarm = Alarm(self._ring)
        self.rang = asyncio.Event()
        self.due = inf
        self.early = self.times = 0

    def set(self, seconds: float) -> None:
        self.due = self.loop.time() + seconds
        self.alarm.set(self.due)

    def _ring(self) -> None:
        self.times += 1
        self.early += self.loop.time() < self.due
        self.rang.set()

    async def behind(self, seconds: float) -> None:
        """Until a timer that was made now has rung."""
        passed = self.loop.create_future()
        self.loop.call_later(seconds, passed.set_result, None)
        await passed


async def test_it_acts_once_when_it_is_due() -> None:
    bell = Bell()
    bell.set(0.01)
    await bell.rang.wait()
    await bell.behind(0.02)
    assert (bell.times, bell.early) == (1, 0)


async def test_a_later_deadline_takes_the_place_of_the_one_before() -> None:
    bell = Bell()
    bell.set(0.01)
    bell.set(0.05)
    await bell.rang.wait()
    assert (bell.times, bell.early) == (1, 0)


async def test_an_earlier_deadline_does_not_wait_for_the_timer_of_the_one_before() -> None:
    bell = Bell()
    bell.set(FAR)
    bell.set(0.01)
    await bell.rang.wait()
    assert (bell.times, bell.early) == (1, 0)


async def test_what_was_cleared_does_not_act_and_can_be_set_again() -> None:
    bell = Bell()
    bell.set(0.01)
    bell.alarm.clear()
    await bell.behind(0.02)
    assert bell.times == 0
    bell.set(0.01)
    await bell.rang.wait()
    assert (bell.times, bell.early) == (1, 0)


async def test_a_time_that_is_over_acts_with_the_next_turn_of_the_loop() -> None:
    bell = Bell()
    bell.set(-1.0)
    assert bell.times == 0
    await bell.rang.wait()


async def test_what_was_stopped_leaves_nothing_behind() -> None:
    bell = Bell()
    bell.set(0.01)
    bell.alarm.stop()
    await bell.behind(0.02)
    assert bell.times == 0
    bell.set(0.01)
    await bell.rang.wait()


Waiters = Row[asyncio.Future[None]]


def row_of(seconds: float) -> Waiters:
    return Row(seconds, lambda waiter: waiter.set_result(None))


async def stood(row: Waiters, turns: list[int], number: int) -> None:
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    row.join(waiter)
    try:
        await waiter
        turns.append(number)
    finally:
        row.leave(waiter)


async def test_those_in_a_row_are_woken_in_turn_when_they_have_waited_for_so_long() -> None:
    loop, row, turns = asyncio.get_running_loop(), row_of(0.02), list[int]()
    began = loop.time()
    await asyncio.gather(*(stood(row, turns, number) for number in range(3)))
    assert turns == [0, 1, 2]
    assert loop.time() >= began + 0.02
    await stood(row, turns, 3)  # the timer goes on for who comes later
    assert turns == [0, 1, 2, 3]
    assert len(row) == 0


async def test_who_stands_behind_others_has_a_time_of_his_own() -> None:
    loop, row, turns = asyncio.get_running_loop(), row_of(0.02), list[int]()
    first = asyncio.ensure_future(stood(row, turns, 0))
    await Bell().behind(0.01)
    began = loop.time()
    await stood(row, turns, 1)
    assert turns == [0, 1]
    assert loop.time() >= began + 0.02
    await first


async def test_who_has_left_a_row_is_not_woken_and_holds_up_nobody() -> None:
    row, turns = row_of(0.01), list[int]()
    leaver = asyncio.ensure_future(stood(row, turns, 0))
    await asyncio.sleep(0)
    assert len(row) == 1
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    assert len(row) == 0
    await stood(row, turns, 1)
    assert turns == [1]
