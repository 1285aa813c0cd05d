"""Interim answers (RFC 9110 15.2, RFC 8297): to the client at once, never kept, never mixed into the final answer."""

import pytest

from tests.support.gateway import running
from tests.support.origin import Gate, Origin
from tests.support.rawtcp import raw

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-own\r\nX-Own: 1\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\n\r\nhello"
RELAYED = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("GET", None),
        ("GET", "Cache-Control: no-store"),
        ("GET", "Authorization: Bearer x"),
        ("GET", "If-Match: *"),
        ("POST", "Content-Length: 0"),
    ],
    ids=str,
)
async def test_they_come_before_the_answer_is_there_and_are_not_kept(method: str, field: str | None) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        hinted = Gate()
        origin.script("/a", HINTS, PROCESSING, hinted, FINAL)
        line = "" if field is None else f"{field}\r\n"
        await client.send(f"{method} /a HTTP/1.1\r\nHost: a\r\n{line}\r\n".encode())
        assert await client.head() == RELAYED
        assert await client.head() == PROCESSING
        hinted.release()
        got = await client.response()
        assert (got.status, got.body, got.header("link")) == (200, b"hello", None)
        if field is None:
            await gateway.settled()
            await client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")  # a hit, and nothing before it


@pytest.mark.parametrize(
    ("version", "interim"),
    [
        pytest.param("1.0", HINTS, id="to one who knows none (15.2)"),
        pytest.param("1.1", b"HTTP/1.1 100 Continue\r\n\r\n", id="100 is ours to say (10.1.1)"),
    ],
)
async def test_some_are_not_passed_on(version: str, interim: bytes) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.script("/a", interim, FINAL)
        await client.send(f"GET /a HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_those_of_another_who_fetches_are_not_ours_nor_of_a_fetch_behind() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as one, raw(gateway.port) as other:
        gate = Gate()
        origin.script("/a", gate, HINTS, FINAL)
        await one.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await origin.arrived("/a")
        await other.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await gateway.waiting(2)
        gate.release()
        assert await one.head() == RELAYED
        assert (await one.response()).body == b"hello"
        assert (await other.head()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("number", [17, 900])
async def test_many_are_as_good_as_one(number: int) -> None:
    """A 102 now and then keeps a long job alive (15.2: one or more); all at once, they break nothing either."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.script("/a", PROCESSING * number + FINAL)
        await client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [await client.head() for _ in range(number)] == [PROCESSING] * number
        got = await client.response()
        assert (got.status, got.body, got.complete) == (200, b"hello", True)
        await gateway.settled()
        assert (await client.get("/a", host="a")).header("x-cache") == "HIT"


@pytest.mark.parametrize("interim", [PROCESSING * 1001, PROCESSING[:-2] + b"X: " + b"x" * 70_000 + b"\r\n\r\n"])
async def test_endless_ones_are_refused_before_the_answer_begins(interim: bytes) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.script("/a", interim + FINAL)
        await client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        got = await client.response()
        assert (got.status, got.complete) == (502, True)
        assert "detail=upstream-framing" in str(got.header("cache-status"))
