"""One fetch for many: coalescing, privacy among the waiting, purge against fill, late joiners, leavers (rows 36, 41,
207; invariants 1-4, 10)."""

import asyncio
import socket
from typing import Any

import pytest

from proxy.outcome import Tier
from tests.support.gateway import Client, Clock, Got, running
from tests.support.origin import FIN, RST, STALL, Gate, Origin
from tests.support.rawtcp import Raw, raw

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}
CACHED = [("Cache-Control", "max-age=60")]


async def many(gateway: Client, number: int, target: str = "/a", **headers: str) -> "asyncio.Future[list[Got]]":
    return asyncio.gather(*(gateway.get(target, headers) for _ in range(number)))


async def rest_of(client: Raw) -> bytes:
    """What still comes before the connection ends, in whatever way."""
    try:
        return await client.reader.read()
    except ConnectionError:
        return b""


async def test_200_concurrent_cold_requests_are_one_fetch() -> None:
    async with Origin() as origin, running(origin, ALL) as gateway:
        origin.answer("/a", body=b"slow")
        gate = origin.hold("/a")
        all_of_them = await many(gateway, 200)
        await origin.arrived("/a")
        await gateway.waiting(200)
        gate.release()
        answers = await all_of_them
        assert {(got.status, got.body) for got in answers} == {(200, b"slow")}
        assert origin.count("/a") == 1
        assert sum("collapsed" in (got.header("cache-status") or "") for got in answers) == 199


async def test_a_leader_that_reads_nothing_slows_neither_the_fill_nor_those_beside_it() -> None:
    body = bytes(range(256)) * (32 << 10)  # more than goes into memory, and into the socket
    async with Origin() as origin, running(origin, ALL) as gateway:
        origin.answer("/a", body=body)
        gate = origin.hold("/a")
        with socket.socket() as leader:
            leader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            leader.setblocking(False)
            await asyncio.get_running_loop().sock_connect(leader, ("127.0.0.1", gateway.port))
            leader.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await origin.arrived("/a")
            follower = asyncio.ensure_future(gateway.get("/a"))
            await gateway.waiting(2)
            gate.release()
            assert (await follower).body == body
            await gateway.settled()
            assert ((await gateway.get("/a")).verdict, origin.count("/a")) == ("HIT", 1)


async def test_a_private_answer_is_never_shared_among_the_waiting() -> None:
    async with Origin() as origin, running(origin) as gateway:
        serial = iter(range(1000))
        origin.answer("/a", headers=[("Cache-Control", "private")], body=lambda _: b"for one: %d" % next(serial))
        gate = origin.hold("/a")
        all_of_them = await many(gateway, 30)
        await origin.arrived("/a")
        await gateway.waiting(30)
        gate.release()
        answers = await all_of_them
        assert len({got.body for got in answers}) == 30
        assert {got.verdict for got in answers} == {"MISS"}


async def test_those_with_credentials_do_not_hold_up_those_without() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=lambda r: (r.header("authorization") or "anyone").encode())
        gate = origin.hold("/a")
        ann = asyncio.ensure_future(gateway.get("/a", {"Authorization": "ann"}))
        await origin.arrived("/a")
        rest = await many(gateway, 5)
        await origin.arrived("/a", 2)
        gate.release()
        assert (await ann).body == b"ann"
        assert {got.body for got in await rest} == {b"anyone"}
        assert origin.count("/a") == 2


@pytest.mark.parametrize("what", [{"url": "/a"}, {"tag": "t"}, {"pattern": "/*"}, {"all": True}, {"rule": "all"}])
async def test_a_purge_during_the_fill_is_not_undone(what: dict[str, Any]) -> None:
    async with Origin() as origin, running(origin, ALL) as gateway:
        origin.answer("/a", headers=[("Cache-Tag", "t")], body=b"old", times=1)
        origin.answer("/a", headers=[("Cache-Tag", "t")], body=b"new")
        gate = origin.hold("/a")
        first = asyncio.ensure_future(gateway.get("/a"))
        await origin.arrived("/a")
        assert (await gateway.purge(**what)).status == 200
        second = asyncio.ensure_future(gateway.get("/a"))  # after the purge: it may not share what began before
        gate.release()
        assert (await first).body == b"old"
        assert (await second).body == b"new"
        await gateway.settled()
        assert (await gateway.get("/a")).body == b"new"


async def test_what_found_itself_purged_while_it_was_stored_counts_as_cleared() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=b"x")
        await gateway.get("/a")

        async def gone_by_itself(tier: Tier | None, pattern: str | None) -> int:
            return 0

        cleared = await gateway.gateway.ending.clear(gone_by_itself, None, None)
        assert cleared.entries == 1


async def test_a_purge_while_the_body_streams_cuts_newcomers_off_from_it() -> None:
    async with Origin() as origin, running(origin, ALL) as gateway:
        rest = Gate()
        origin.script("/a", b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nold-", rest, b"tail", times=1)
        origin.answer("/a", body=b"new")
        async with raw(gateway.port) as first:
            await first.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await first.reader.readuntil(b"old-")
            await gateway.purge(url="/a")
            assert (await gateway.get("/a")).body == b"new"
            rest.release()
            await first.reader.readuntil(b"tail")
        await gateway.settled()
        assert (await gateway.get("/a")).body == b"new"


async def test_a_late_joiner_reads_the_stream_from_its_first_byte() -> None:
    async with Origin() as origin, running(origin, ALL) as gateway:
        rest = Gate()
        origin.script("/a", b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf", rest, b"-end")
        async with raw(gateway.port) as first, raw(gateway.port) as late:
            for client in (first, late):
                await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
                await client.reader.readuntil(b"half")
            rest.release()
            for client in (first, late):
                await client.reader.readuntil(b"-end")
        assert origin.count("/a") == 1


async def test_a_cut_answer_is_cut_for_everyone_and_kept_nowhere() -> None:
    async with Origin() as origin, running(origin, ALL) as gateway:
        rest = Gate()
        origin.script("/a", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", rest, RST, times=1)
        origin.answer("/a", body=b"whole")
        async with raw(gateway.port) as first, raw(gateway.port) as late:
            for client in (first, late):
                await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
                await client.reader.readuntil(b"half")
            rest.release()
            for client in (first, late):
                assert await rest_of(client) == b""
        await gateway.settled()
        got = await gateway.get("/a")
        assert (got.verdict, got.body) == ("MISS", b"whole")


@pytest.mark.parametrize("end", ["close", "chunked-cut", "length-cut"])
async def test_no_unproven_end_is_stored_or_made_to_look_proven(end: str) -> None:
    heads = {
        "close": b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nConnection: close\r\n\r\nabc",
        "chunked-cut": b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n",
        "length-cut": b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\nabc",
    }
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", heads[end], FIN)
        for turn in (1, 2):
            async with raw(gateway.port) as client:
                await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
                answer = await client.response()
                assert answer.body == b"abc"
                assert not answer.complete
            await gateway.settled()
            assert origin.count("/a") == turn


@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"Content-Length: 5", b"whole"), (b"Transfer-Encoding: chunked", b"5\r\nwhole\r\n0\r\n\r\n")],
)
async def test_no_client_learns_how_the_answer_was_cut_into_packets(framing: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n" + framing + b"\r\n\r\n"
    rest = Gate()
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/one", head + body)
        origin.script("/two", head, rest, body)
        for target in (b"/one", b"/two"):
            async with raw(gateway.port) as client:
                await client.send(b"GET " + target + b" HTTP/1.1\r\nHost: site.example\r\n\r\n")
                told = await client.head()
                assert framing in told.split(b"\r\n")
                assert told.count(b"Content-Length") + told.count(b"Transfer-Encoding") == 1
                rest.release()
                assert await client.reader.readexactly(len(body)) == body
        await gateway.settled()
        assert [(await gateway.get(target)).verdict for target in ("/one", "/two")] == ["HIT", "HIT"]


async def test_a_leader_that_leaves_does_not_end_what_others_wait_for() -> None:
    async with Origin() as origin, running(origin, ALL) as gateway:
        origin.answer("/a", body=b"slow")
        gate = origin.hold("/a")
        async with raw(gateway.port) as leader:
            await leader.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await origin.arrived("/a")
        follower = asyncio.ensure_future(gateway.get("/a"))
        await gateway.waiting(1)
        gate.release()
        assert (await follower).body == b"slow"
        assert origin.count("/a") == 1


async def test_a_failed_fetch_fails_for_all_without_a_storm() -> None:
    async with Origin() as origin, running(origin, ALL) as gateway:
        origin.answer("/a", 500, body=b"broken")
        gate = origin.hold("/a")
        all_of_them = await many(gateway, 20)
        await origin.arrived("/a")
        await gateway.waiting(20)
        gate.release()
        answers = await all_of_them
        assert origin.count("/a") == 1
        assert sorted(got.status for got in answers) == [500] + [502] * 19


async def test_uncacheable_keys_do_not_queue_a_second_time() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[("Cache-Control", "no-store")], body=b"x")
        await gateway.get("/a")
        gate = origin.hold("/a")
        burst = await many(gateway, 10)
        await origin.arrived("/a", 11)  # all at once, none behind another
        gate.release()
        assert {got.detail for got in await burst} == {"no-store"}
        clock.advance(11)
        gate = origin.hold("/a")
        again = await many(gateway, 3)
        await origin.arrived("/a", 12)
        await gateway.waiting(3)
        assert origin.count("/a") == 12
        gate.release()
        await again


async def test_followers_of_another_variant_fly_by_themselves() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer(
            "/a",
            headers=[*CACHED, ("Vary", "Accept-Language")],
            body=lambda r: (r.header("accept-language") or "").encode(),
        )
        gate = origin.hold("/a")
        german = await many(gateway, 10, **{"Accept-Language": "de"})
        await origin.arrived("/a")
        french = await many(gateway, 10, **{"Accept-Language": "fr"})
        await gateway.waiting(20)
        gate.release()
        assert {got.body for got in await german} == {b"de"}
        assert {got.body for got in await french} == {b"fr"}
        assert origin.count("/a") == 2


async def test_after_flight_wait_one_follower_becomes_a_second_leader() -> None:
    extra = {**ALL, "flight": {"wait": 0.05}, "upstream": {}}
    async with Origin() as origin, running(origin, extra) as gateway:
        origin.script("/a", STALL, times=1)
        origin.answer("/a", body=b"second")
        first = asyncio.ensure_future(gateway.get("/a"))
        await origin.arrived("/a")
        rest = await many(gateway, 10)
        assert {got.body for got in await rest} == {b"second"}
        assert (await first).body == b"second"
        assert origin.count("/a") == 2
