"""Answers that come bit by bit: each bit reaches its clients as it comes, who is late gets all from the first, and
what ended cleanly is stored and comes again byte for byte (row 207)."""

from typing import Any

import pytest

from tests.support.gateway import running
from tests.support.origin import FIN, RST, Gate, Origin
from tests.support.rawtcp import raw

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = [b"id: %d\ndata: %s\n\n" % (n, b"\xc3\xa4" * n) for n in range(1, 4)]
ASK = b"GET /events HTTP/1.1\r\nHost: site.example\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize("tiers", [{}, {"memory": {"max_entries": 0}}, {"file": {"enabled": False}}])
async def test_a_stream_reaches_all_as_it_comes_and_then_again(tiers: dict[str, Any]) -> None:
    async with Origin() as origin, running(origin, {**ALL, **tiers}) as gateway:
        first, second = Gate(), Gate()
        origin.script(
            "/events", HEAD + chunk(EVENTS[0]), first, chunk(EVENTS[1]), second, chunk(EVENTS[2]) + b"0\r\n\r\n"
        )
        async with raw(gateway.port) as early, raw(gateway.port) as late:
            await early.send(ASK)
            await early.reader.readuntil(EVENTS[0])  # while the origin waits
            first.release()
            await early.reader.readuntil(EVENTS[1])
            await late.send(ASK)
            await late.reader.readuntil(EVENTS[0])
            await late.reader.readuntil(EVENTS[1])
            second.release()
            for client in (early, late):
                await client.reader.readuntil(EVENTS[2])
                assert await client.reader.readexactly(7) == b"\r\n0\r\n\r\n"
        await gateway.settled()
        again = await gateway.get("/events")
        assert (again.verdict, again.body, again.header("content-type")) == (
            "HIT", b"".join(EVENTS), "text/event-stream",
        )  # fmt: skip
        assert origin.count("/events") == 1


@pytest.mark.parametrize("end", [FIN, RST])
async def test_a_stream_that_did_not_end_cleanly_is_kept_nowhere(end: Any) -> None:
    async with Origin() as origin, running(origin, ALL) as gateway:
        rest = Gate()
        origin.script("/events", HEAD + chunk(EVENTS[0]), rest, end, times=1)
        origin.script("/events", HEAD + chunk(EVENTS[1]) + b"0\r\n\r\n")
        async with raw(gateway.port) as client:
            await client.send(ASK)
            await client.reader.readuntil(EVENTS[0])
            rest.release()
            assert not (await client.reader.read()).endswith(b"0\r\n\r\n"), "nothing says that it ended"
        await gateway.settled()
        got = await gateway.get("/events")
        assert (got.verdict, got.body) == ("MISS", EVENTS[1])
