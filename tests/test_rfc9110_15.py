"""RFC 9110 15 (status codes) as far as caches and intermediaries are meant, over the wire."""

import asyncio
from http import HTTPStatus

import pytest

from proxy.policy.freshness import HEURISTIC_STATUSES
from proxy.policy.own_answers import own_answer
from proxy.reasons import Why
from tests.support.gateway import Clock, running
from tests.support.origin import FIN, STALL, Origin
from tests.support.rawtcp import raw

CACHED = [("Cache-Control", "max-age=60")]
OLD = ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
FINAL = [200, 201, 202, 203, 204, 205, 226, 299, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406, 409]
FINAL += [407, 408, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 428, 429, 451, 471, 499, 500, 501, 502, 503, 504]
FINAL += [505, 511, 599, 600, 999]


@pytest.mark.parametrize("status", FINAL)
async def test_any_final_status_passes_and_is_kept_when_the_origin_says_so(status: int) -> None:
    """15, 16.2.2: as it came, phrase and all; unknown ones like their class."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        length = b"" if status == 204 else b"Content-Length: 1\r\n"
        head = b"HTTP/1.1 %d As It Came\r\nCache-Control: max-age=60\r\nLocation: /else\r\n%b\r\n" % (status, length)
        origin.script("/a", head + (b"x" if length else b""))
        for verdict in ("MISS", "HIT"):
            got = await client.get("/a")
            assert got.head.startswith(b"HTTP/1.1 %d As It Came\r\n" % status)
            assert (got.header("x-cache"), got.header("location")) == (verdict, "/else")  # 15.4: never followed
            await gateway.settled()
        assert origin.count() == 1


@pytest.mark.parametrize("status", FINAL)
async def test_without_a_word_those_of_15_1_are_kept_by_heuristics(status: int) -> None:
    """15.1: 206 is kept otherwise, 304 is no answer; and no error, which would take more than a guess."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", status, headers=[OLD], body=b"" if status == 204 else b"x")
        await client.get("/a")
        await gateway.settled()
        verdict = "HIT" if status in HEURISTIC_STATUSES and status < 400 else "MISS"
        assert (await client.get("/a")).header("x-cache") == verdict
    assert {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501} == HEURISTIC_STATUSES


@pytest.mark.parametrize("status", [600, 999])
async def test_an_invalid_status_is_a_server_error(status: int) -> None:
    """15: it does not put out a good answer, which stands in for it."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=CACHED, body=b"good", times=1)
        origin.script("/a", b"HTTP/1.1 %d Odd\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n\r\nx" % status)
        await client.get("/a")
        await gateway.settled()
        clock.advance(61)
        got = await client.get("/a")
        assert (got.status, got.body, got.header("x-cache")) == (200, b"good", "STALE")


@pytest.mark.parametrize("status", [b"99", b"000", b"20", b"2000", b"xyz"])
async def test_what_is_no_status_is_a_bad_gateway(status: bytes) -> None:
    """15, 15.6.3."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.script("/a", b"HTTP/1.1 %b OK\r\nContent-Length: 1\r\n\r\nx" % status, FIN)
        assert (await client.get("/a")).status == 502


async def test_the_fields_of_a_304() -> None:
    """15.4.5: what a 200 would have said of caching, and no metadata but what identifies the representation."""
    kept = {
        "Content-Location": "/b",
        "Date": "Sun, 06 Nov 1994 08:49:37 GMT",
        "ETag": 'W/"1"',
        "Vary": "Accept",
        "Cache-Control": "max-age=9999999999",
        "Expires": "Sun, 06 Nov 2094 08:49:37 GMT",
    }
    gone = {"Content-Type": "a/b", "Content-Language": "da", "Content-Encoding": "x", "Last-Modified": kept["Date"]}
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[*kept.items(), *gone.items()], body=b"hello")
        for verdict in ("MISS", "HIT"):
            got = await gateway.get("/a", {"If-None-Match": '"1"'})
            assert (got.status, got.verdict, got.body) == (304, verdict, b"")
            assert {name: got.header(name) for name in (*kept, *gone)} == kept | dict.fromkeys(gone)
            await gateway.settled()


async def test_the_origins_304_to_a_client_is_the_clients() -> None:
    """15.4.5: where the condition is not ours."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", 304, headers=[("ETag", '"1"'), ("Content-Type", "a/b")])
        got = await gateway.ask("HEAD", "/a", {"If-None-Match": '"1"'})
        assert (got.status, got.header("content-type")) == (304, "a/b")


@pytest.mark.parametrize("protocols", ["websocket", "HTTP/3.0, websocket"])
@pytest.mark.parametrize("request_version", ["1.1", "1.0"])
async def test_a_426_says_what_it_wants(protocols: str, request_version: str) -> None:
    """15.5.22, 7.8: with a Connection of its own, which closes or not."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", 426, headers=[("Upgrade", protocols), ("Connection", "Upgrade")], body=b"x")
        await client.send(f"GET /a HTTP/{request_version}\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        got = await client.response()
        assert (got.status, got.header("upgrade"), got.body) == (426, protocols, b"x")
        assert got.header("connection") == "upgrade, close"


async def test_a_stored_426_says_what_it_wants() -> None:
    """15.5.22."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", 426, headers=[*CACHED, ("Upgrade", "websocket"), ("Connection", "Upgrade")], body=b"x")
        for verdict in ("MISS", "HIT"):
            got = await client.get("/a")
            assert (got.status, got.header("x-cache"), got.header("upgrade")) == (426, verdict, "websocket")
            assert got.header("connection") == "upgrade"
            await gateway.settled()


async def test_no_other_answer_offers_an_upgrade() -> None:
    """7.8: what the origin offers, we do not."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=[("Upgrade", "h2c"), ("Connection", "Upgrade")], body=b"x")
        got = await client.get("/a")
        assert (got.header("upgrade"), got.header("connection")) == (None, None)


@pytest.mark.parametrize(
    ("trouble", "status", "word"),
    [
        pytest.param("refused", 502, "upstream-refused", id="15.6.3 nobody there"),
        pytest.param("junk", 502, "upstream-framing", id="15.6.3 an invalid answer"),
        pytest.param("stall", 504, "upstream-first-byte-timeout", id="15.6.5 no timely answer"),
    ],
)
async def test_what_we_say_when_the_origin_fails(trouble: str, status: int, word: str) -> None:
    """15.6: words of our own that say why, which nobody stores, whatever the rule has clients told of answers."""
    extra = {
        "rules": [{"pattern": "*", "ttl": 60, "client_cache_control": "public, max-age=600"}],
        "upstream": {"first_byte_timeout": 0.2},
    }
    async with Origin() as origin, running(origin, extra) as gateway:
        origin.script("/junk", b"junk\r\n\r\n", FIN)
        origin.script("/stall", STALL)
        if trouble == "refused":
            await origin.stop()
        for method in ("GET", "HEAD"):
            got = await gateway.ask(method, f"/{trouble}")
            assert (got.status, got.header("cache-control"), got.detail) == (status, "no-store", word)
            assert (got.header("content-type") or "").startswith("text/plain")
            assert (word.encode() in got.body) is (method == "GET")


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_who_is_too_busy_says_when_to_come_again(method: str) -> None:
    """15.6.4: 503 with Retry-After."""
    async with Origin() as origin, running(origin, {"upstream": {"max_in_flight": 1, "max_queue": 0}}) as gateway:
        gate = origin.hold("/a")
        first = asyncio.ensure_future(gateway.get("/a"))
        await origin.arrived("/a")
        got = await gateway.ask(method, "/b")
        assert (got.status, got.header("retry-after"), got.header("cache-control")) == (503, "1", "no-store")
        gate.release()
        assert (await first).status == 404


PHRASES = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 499: "Client Closed Request"}


@pytest.mark.parametrize("status", [400, 408, 413, 414, 416, 431, 499, 500, 501, 502, 503, 504, 505, 508])
def test_our_own_answers(status: int) -> None:
    """15.5, 15.6: content that explains; 15.1: some of these would be kept by heuristics, so they say no-store."""
    reply = own_answer(status, Why.RANGE, "Because.", fields=(("Retry-After", "5"),))
    assert isinstance(reply.body, bytes)
    assert reply.body.endswith(b"(range)\nBecause.\n")
    assert reply.phrase == (PHRASES.get(status) or HTTPStatus(status).phrase)
    assert reply.fields.get("content-length") == str(len(reply.body))
    assert (reply.fields.get("cache-control"), reply.fields.get("retry-after")) == ("no-store", "5")
