"""RFC 9110 6.4 (content), 6.5 (trailers), 6.6 (Date, Trailer), over the wire: from the origin through the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import pytest

from proxy.message import Fields
from proxy.policy.presenting import dated
from tests.support.gateway import Client, Clock, running
from tests.support.judged import T, answer, date
from tests.support.origin import Origin
from tests.support.rawtcp import raw

CACHED = [("Cache-Control", "max-age=60")]
HEAD = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"


@asynccontextmanager
async def gate(clock: Clock | None = None) -> AsyncIterator[tuple[Origin, Client]]:
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        yield origin, gateway


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_content_gets_none(status: int) -> None:
    """6.4.1: the next answer begins right behind the head, stored or not."""
    async with gate() as (origin, gateway), raw(gateway.port) as client:
        origin.answer("/a", status, headers=CACHED)
        for _ in range(2):
            got = await client.get("/a")
            assert (got.status, got.body, got.header("content-length")) == (status, b"", None)
            await gateway.settled()
        assert (await client.get("/none")).status == 404


async def test_head_has_the_fields_of_get_and_no_content() -> None:
    """6.4.1, 9.3.2."""
    async with gate() as (origin, gateway), raw(gateway.port) as client:
        origin.answer("/a", headers=[*CACHED, ("Content-Type", "text/x"), ("ETag", '"1"'), ("X", "y")], body=b"hello")
        fields = []
        for method in ("HEAD", "GET", "GET", "HEAD"):  # passed on, fetched, from store, from store
            got = await client.get("/a", method=method)
            assert got.body == (b"" if method == "HEAD" else b"hello")
            ours = {b"age", b"x-cache", b"x-cache-tier", b"cache-status", b"x-request-id", b"date"}
            fields.append([pair for pair in got.pairs if pair[0].lower() not in ours])
        assert fields == [fields[0]] * 4
        assert (b"Content-Length", b"5") in fields[0]
        assert origin.count("/a") == 2


async def test_trailers_are_dropped_and_never_merged() -> None:
    """6.5.1, 6.6.2, 7.6.1 and http-caching.md: on the way and from store."""
    trailers = b'0\r\nX-Sum: 1\r\nCache-Control: no-store\r\nETag: "t"\r\nAge: 100\r\n\r\n'
    head = HEAD + b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with gate() as (origin, gateway), raw(gateway.port) as client:
        origin.script("/a", head + b"5\r\nhello\r\n" + trailers)
        for verdict in ("MISS", "HIT"):
            await client.send(b"GET /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
            got = await client.response()
            assert (got.body, got.header("x-cache")) == (b"hello", verdict)
            assert got.header("cache-control") == "max-age=60"
            assert not {b"trailer", b"x-sum", b"etag"} & {name.lower() for name, _ in got.pairs}
            await gateway.settled()
        assert origin.of("/a")[0].header("te") is None


async def test_trailers_of_a_request_go_no_further() -> None:
    """6.5.1 MUST NOT: neither among its own fields, nor among those of the next one, whoever sends that."""
    async with gate() as (origin, gateway), raw(gateway.port) as client:
        origin.answer("/a", headers=CACHED, body=b"x")
        head = b"POST /a HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
        behind = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
        await client.send(head + b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nCookie: a=b\r\n\r\n" + behind)
        assert (await client.response()).header("connection") == "close"
        assert (origin.count(), origin.last.body) == (1, b"hi")
        assert [origin.last.header(name) for name in ("x-sum", "cookie", "trailer", "te")] == [None] * 4


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_the_version_is_ours_both_ways(version: str) -> None:
    """6.2: the highest that we speak, whatever the other side said."""
    async with gate() as (origin, gateway), raw(gateway.port) as client:
        origin.script("/a", f"HTTP/{version} 200 OK\r\nContent-Length: 1\r\n\r\nx".encode())
        await client.send(f"GET /a HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        assert (await client.response()).head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert origin.last.version == "HTTP/1.1"


async def test_a_date_is_recorded_and_added_where_the_origin_sent_none() -> None:
    """6.6.1: when it came, also when it is served later."""
    clock = Clock()
    async with gate(clock) as (origin, gateway):
        origin.answer("/kept", headers=CACHED, body=b"x")
        origin.answer("/passed", headers=[("Cache-Control", "no-store")], body=b"x")
        came = int(clock.now)
        for path in ("/kept", "/passed"):
            got = await gateway.get(path)
            assert int(parsedate_to_datetime(got.header("date") or "").timestamp()) == came
        await gateway.settled()
        clock.advance(20)
        got = await gateway.get("/kept")
        assert int(parsedate_to_datetime(got.header("date") or "").timestamp()) == came
        assert (got.verdict, got.header("age")) == ("HIT", "20")


async def test_the_origins_date_stays() -> None:
    """http-caching.md: a hit keeps the origin's Date."""
    clock = Clock()
    async with gate(clock) as (origin, gateway):
        when = "Sun, 06 Nov 1994 08:49:37 GMT"
        origin.answer("/a", headers=[("Cache-Control", "max-age=9999999999"), ("Date", when)], body=b"x")
        for _ in range(2):
            assert (await gateway.get("/a")).header("date") == when
            await gateway.settled()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param([], [date()], id="6.6.1 none: when it was received"),
        pytest.param([("Date", date(-5))], [date(-5)], id="6.6.1 one stays"),
        pytest.param([("Date", "then")], ["then"], id="6.6.1 an invalid one may stay"),
    ],
)
def test_dated(told: list[tuple[str, str]], expected: list[str]) -> None:
    head = answer(*told, at=T + 0.9)
    assert list(dated(head, Fields.of(*told)).lines("date")) == expected


async def test_our_own_words_have_a_date() -> None:
    """6.6.1."""
    clock = Clock()
    async with gate(clock) as (_, gateway):
        got = await gateway.get("/a", {"Cache-Control": "only-if-cached"})
        assert got.status == 504
        assert int(parsedate_to_datetime(got.header("date") or "").timestamp()) == int(clock.now)
