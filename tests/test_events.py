"""Events as they happen (row 53): of every kind, of all workers, and nobody is waited for."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from proxy.observe.events import KEPT, LEASE, LISTENERS, QUEUED, SAMPLES, Event, Events, Kind, TooMany
from proxy.server.admin.events import Stream
from tests.support.gateway import TOKEN, Client, Clock, running
from tests.support.origin import Origin
from tests.support.process import Process, instances, serving
from tests.support.redis_servers import redis_server

ALL = frozenset(Kind)

# -- the hub -----------------------------------------------------------------------------------------------------------


async def taken(events: Events, kinds: frozenset[Kind], happen: Callable[[], object], after: str = "") -> list[Any]:
    listener = events.listen(kinds, after)
    happen()
    told = await listener.take(0)
    listener.close()
    return [(one.event.kind, one.event.data) for one in told]


async def test_those_who_listen_get_what_they_listen_for() -> None:
    events = Events(Clock(5.0))

    def happen() -> None:
        events.tell(Kind.PURGE, {"id": "a"})
        events.tell(Kind.STORE, {"url": "/"})
        events.tell_here(Kind.EVICT, {"entries": 1})

    assert await taken(events, frozenset({Kind.PURGE}), happen) == [
        (Kind.PURGE, {"worker": 0, "id": "a", "skipped": 0})
    ]
    assert [kind for kind, _ in await taken(events, ALL, happen)] == [Kind.PURGE, Kind.STORE, Kind.EVICT]
    assert events.here == frozenset()


async def test_who_does_not_take_them_is_told_so_and_ended() -> None:
    events = Events(Clock())
    slow, quick = events.listen(ALL), events.listen(ALL)
    for number in range(QUEUED + 1):
        events.tell(Kind.TIER, {"id": number})
        assert len(await quick.take(0)) == 1
    assert (await slow.take(0), quick.over) == ([], "")
    assert str(QUEUED) in slow.over
    stream = Stream(events, slow, 10.0)
    said = [chunk async for chunk in stream]
    assert said == [b"retry: 2000\n\n", b'event: end\ndata: {"reason":"more than 500 events were waiting"}\n\n']
    await stream.aclose()
    assert events.here == ALL
    quick.close()


async def test_what_is_rare_is_told_again_to_who_comes_back() -> None:
    events = Events(Clock())
    listener = events.listen(ALL)
    for number in range(3):
        events.tell(Kind.PURGE, {"id": number})
        events.tell_here(Kind.STATS, {})
    seen = [events.named(told) for told in await listener.take(0)]
    listener.close()
    ids = [data["id"] for _, data in await taken(events, ALL, lambda: None, seen[1])]
    assert ids == [1, 2]
    assert await taken(events, frozenset({Kind.BREAKER}), lambda: None, seen[0]) == []
    for strange in ("", "x", "other-1", f"{events.id}-", f"{events.id}-x", f"{events.id}-²"):
        assert await taken(events, ALL, lambda: None, strange) == []
    for number in range(KEPT + 50):
        events.tell(Kind.TIER, {"id": number})
    assert len(await taken(events, ALL, lambda: None, f"{events.id}-0")) == KEPT


@pytest.mark.parametrize("kind", [Kind.STORE, Kind.HIT, Kind.PURGE])
async def test_frequent_kinds_are_samples_that_say_how_many_are_missing(kind: Kind) -> None:
    clock = Clock(100.0)
    events = Events(clock)
    listener = events.listen(ALL)
    for second in range(2):
        for _ in range(SAMPLES + 7):
            events.tell(kind, {})
        told = await listener.take(0)
        assert [one.event.data["skipped"] for one in told] == [7 * second] + [0] * (SAMPLES - 1)
        clock.advance(1)


async def test_workers_tell_each_other_what_is_rare_and_what_is_wanted() -> None:
    clock, heard = Clock(100.0), list[Event]()
    events = Events(clock, lambda verb, event: heard.append(event), worker=3)
    events.tell(Kind.STORE, {})
    assert heard == []
    events.tell(Kind.PURGE, {})
    events.want([Kind.STORE])
    events.tell(Kind.STORE, {})
    assert [(event.kind, event.data["worker"]) for event in heard] == [(Kind.PURGE, 3), (Kind.STORE, 3)]
    clock.advance(LEASE)
    events.tell(Kind.STORE, {})
    assert len(heard) == 2


async def test_listeners_are_bounded() -> None:
    events = Events(Clock())
    listeners = [events.listen(ALL) for _ in range(LISTENERS)]
    with pytest.raises(TooMany):
        events.listen(ALL)
    listeners[0].close()
    events.listen(ALL)


async def test_signs_of_life_and_the_end() -> None:
    events = Events(Clock())
    stream = Stream(events, events.listen(ALL), 0.0)
    assert [await anext(stream), await anext(stream)] == [b"retry: 2000\n\n", b": still here\n\n"]
    events.end("this gateway ends")
    assert [chunk async for chunk in stream] == [b'event: end\ndata: {"reason":"this gateway ends"}\n\n']


# -- over the wire -----------------------------------------------------------------------------------------------------

Said = tuple[str, str, Any]  # id, event, data
RULES = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}


class Reading:
    """What a client reads of the events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.seen: list[Said] = []

    async def until(self, holds: Callable[[Said], object]) -> Said:
        """The first event for which this holds."""
        async with asyncio.timeout(20):
            fields: dict[str, str] = {}
            async for raw in self.response.content:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    said = fields.get("id", ""), fields["event"], json.loads(fields["data"])
                    self.seen.append(said)
                    if holds(said):
                        return said
                    fields = {}
        raise AssertionError("the events ended")

    async def event(self, kind: str) -> Any:
        return (await self.until(lambda said: said[1] == kind))[2]


@asynccontextmanager
async def reading(gateway: Client | Process, types: str = "", after: str = "") -> AsyncIterator[Reading]:
    headers = {"Authorization": f"Bearer {TOKEN}", "Last-Event-ID": after}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{gateway.url}/cache/events?types={types}", headers=headers) as response,
    ):
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        assert await response.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
        yield Reading(response)


async def test_every_kind_is_told_as_it_happens() -> None:
    more = {
        **RULES,
        "memory": {"max_entries": 20},
        "file": {"enabled": False},
        "upstream": {"breaker": {"consecutive": 1}},
    }
    async with Origin() as origin, running(origin, more) as gateway, reading(gateway) as events:
        first = await events.event("stats")
        assert (first["requests"], "files" in first["file"]) == (0, False)
        for number in range(30):
            origin.answer(f"/{number}", body=b"x")
            await gateway.get(f"/{number}")
        stored = await events.event("store")
        assert (stored["url"].rpartition("/")[2], stored["rule"], stored["bytes"]) == ("0", "all", 1)
        evicted = 0
        while evicted < 10:
            told = await events.event("evict")
            assert told["tier"] == "memory"
            evicted += told["entries"]
        assert evicted == 10
        await gateway.purge(url="/29")
        purged = await events.event("purge")
        assert (purged["kind"], purged["soft"], purged["names"]) == ("url", False, ["|/29"])
        assert purged["instance"] == gateway.gateway.log.instance
        await gateway.get("/28")
        assert (await gateway.get("/28")).verdict == "HIT"
        hit = await events.event("hit")
        assert (hit["url"].rpartition("/")[2], hit["rule"], hit["tier"]) == ("28", "all", "memory")
        assert all(told["hits"] for _, kind, told in events.seen if kind == "hit")
        origin.answer("/broken", 500)
        await gateway.get("/broken")
        assert (await events.event("breaker"))["state"] == "open"


async def test_who_may_and_which_types_there_are() -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        assert (await gateway.get("/cache/events", {"Host": "127.0.0.1"})).status == 404
        assert (await gateway.get("/cache/events", {"Authorization": "Bearer wrong"})).status == 401
        assert (await gateway.admin("GET", "/events?types=purge,naps")).json["error"] == "bad-types"
        head = await gateway.admin("HEAD", "/events")
        assert (head.status, head.body) == (200, b"")
        assert gateway.gateway.events.here == frozenset()
        async with reading(gateway, "purge") as events:
            await gateway.purge(url="/a")
            name, _, _ = await events.until(lambda said: True)
        await gateway.purge(url="/b")
        async with reading(gateway, "purge", name) as events:
            assert (await events.event("purge"))["names"] == ["|/b"]
        async with asyncio.timeout(20):
            while gateway.gateway.events.here:
                await asyncio.sleep(0.001)


@pytest.mark.slow
async def test_all_workers_are_heard_and_the_end_is_told() -> None:
    async with Origin() as origin, serving(origin, {**RULES, "listen": {"workers": 2}}) as gateway:
        origin.answer("/x", body=b"x")
        async with reading(gateway, "store,stats,purge") as events:
            await events.event("stats")
            workers = set()
            number = 0
            while workers != {0, 1}:
                number += 1
                async with aiohttp.ClientSession() as session:  # another connection may come to another worker
                    await (await session.get(f"{gateway.url}/x?{number}")).read()
                workers.add((await events.event("store"))["worker"])
            stopping = asyncio.create_task(gateway.stop())
            assert (await events.event("end"))["reason"] == "this gateway ends"
            assert await stopping == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_purges_of_other_instances_are_told_once(workers: int) -> None:
    settings = {**RULES, "listen": {"workers": workers}}
    async with (
        redis_server() as redis,
        Origin() as origin,
        instances(2, origin, settings, redis.url) as (a, b),
        reading(a, "purge") as here,
        reading(b, "purge") as there,
    ):
        for path in ("/1", "/2"):
            receipt = (await b.admin("POST", "/purge", {"url": path, "soft": True})).json
            seen, heard = await there.event("purge"), await here.event("purge")
            assert seen["id"] == heard["id"] == receipt["id"]
            assert (seen["instance"], seen["names"], seen["soft"]) == (heard["instance"], [f"|{path}"], True)
        assert (heard.get("worker"), "worker" in seen) == (0 if workers == 1 else None, True)


async def test_a_slow_reader_costs_the_gateway_nothing() -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        origin.answer("/x", body=b"x")
        async with reading(gateway, "tier") as events:
            events.response.connection.transport.pause_reading()  # type: ignore[union-attr]
            hub, number = gateway.gateway.events, 0
            listener = next(iter(hub._listeners))
            while not listener.over:
                number += 1
                hub.tell(Kind.TIER, {"reason": "x" * 10_000})
                if number % 100 == 0:
                    assert (await gateway.get("/x")).status == 200
            events.response.connection.transport.resume_reading()  # type: ignore[union-attr]
            with suppress(aiohttp.ClientPayloadError):
                assert "waiting" in (await events.event("end"))["reason"]
