"""Flights: one fetch for many (rows 41, 98), and what is remembered of uncacheable keys, bounded."""

import asyncio

from proxy.alarm import Row
from proxy.flight import Flight, Flights, Lately, wake


def always(_: object) -> bool:
    return True


async def test_the_first_leads_and_the_rest_share_the_landing() -> None:
    flights: Flights[str] = Flights()
    flight, leads = flights.join("k", always)
    same, follows = flights.join("k", always)
    assert leads
    assert not follows
    assert same is flight
    waiting = [asyncio.ensure_future(flight.wait(Row(5, wake))) for _ in range(3)]
    assert flight.land("news")
    assert await asyncio.gather(*waiting) == ["news"] * 3


async def test_a_second_landing_is_refused() -> None:
    flight: Flight[int] = Flight()
    assert flight.land(1)
    assert not flight.land(2)
    assert await flight.wait(Row(5, wake)) == 1


async def test_a_landed_flight_that_does_not_fit_is_replaced_and_left_to_its_passengers() -> None:
    flights: Flights[str] = Flights()
    old, _ = flights.join("k", always)
    old.land("purged meanwhile")
    new, leads = flights.join("k", lambda landing: landing != "purged meanwhile")
    assert leads
    assert new is not old
    flights.over("k", old)  # the end of the old one must not end the new one
    assert flights.join("k", always) == (new, False)
    flights.over("k", new)
    assert len(flights) == 0


async def test_only_one_waiter_relieves_a_flight_and_none_after_its_landing() -> None:
    flight: Flight[int] = Flight()
    assert await flight.wait(Row(0, wake)) is None
    assert [flight.relieve() for _ in range(3)] == [True, False, False]
    landed: Flight[int] = Flight()
    landed.land(1)
    assert not landed.relieve()


async def test_a_cancelled_waiter_does_nothing_to_the_others() -> None:
    flight: Flight[int] = Flight()
    leaver, stayer = asyncio.ensure_future(flight.wait(Row(5, wake))), asyncio.ensure_future(flight.wait(Row(5, wake)))
    await asyncio.sleep(0)
    assert flight.passengers == 2
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    assert flight.passengers == 1
    flight.land(7)
    assert await stayer == 7


def test_lately_forgets_by_time_and_by_number() -> None:
    now = 0.0
    lately: Lately[str] = Lately(10.0, lambda: now, size=2)
    lately.learn("a", "set-cookie")
    now = 9.9
    assert lately.get("a") == "set-cookie"
    now = 10.1
    assert lately.get("a") is None
    for key in "abc":
        lately.learn(key, key)
    assert (lately.get("a"), lately.get("b"), lately.get("c")) == (None, "b", "c")
    assert len(lately) == 2
