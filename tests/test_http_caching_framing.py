"""Over the wire, defaults only: what the framing of an origin's answer proves (http-caching: invalid, duplicated or
junk framing; RFC 9112 6.3, 7.1). Every failure of a connection is in test_upstream_faults."""

from typing import Any

import pytest

from tests.support.gateway import running
from tests.support.judged import cc
from tests.support.origin import FIN, RST, Gate, Origin
from tests.support.rawtcp import raw

OK = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "body"),
    [
        pytest.param(OK + b"Content-Length: 3\r\n\r\nabc", b"abc", id="a length"),
        pytest.param(OK + b"Content-Length: 003\r\n\r\nabc", b"abc", id="a length with zeros"),
        pytest.param(
            OK + b"Content-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n", b"abc", id="and what nobody asked for"
        ),
        pytest.param(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"abc", id="chunks"),
        pytest.param(CHUNKED + b"1;x=y\r\na\r\n0002\r\nbc\r\n0;z\r\n\r\n", b"abc", id="chunks with extensions"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n", b"abc", id="chunks and a trailer"),
        pytest.param(OK.replace(b"200 OK", b"204 No") + b"\r\n", b"", id="none by its status"),
    ],
)
async def test_what_is_proven_is_passed_on_and_stored(said: bytes, body: bytes) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.script("/a", said, FIN)
        for verdict in ("MISS", "HIT"):
            got = await client.get("/a")
            await gateway.settled()
            assert (got.header("x-cache"), got.body, got.complete) == (verdict, body, True)
        assert origin.count() == 1


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", id="two lengths"),
        pytest.param(
            OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="a length and chunks"
        ),
        pytest.param(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="a coding that nobody asked for"),
        pytest.param(OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", id="chunked twice"),
        pytest.param(CHUNKED.replace(b"1.1", b"1.0") + b"3\r\nabc\r\n0\r\n\r\n", id="chunks in HTTP/1.0"),
        pytest.param(OK + b"Content-Length: 3x\r\n\r\nabc", id="no number"),
        pytest.param(OK + b"Content-Length : 3\r\n\r\nabc", id="a space before the colon"),
        pytest.param(OK + b" Content-Length: 3\r\n\r\nabc", id="a folded line"),
        pytest.param(OK + b"Content-Length: 3\r\nX: a\0b\r\n\r\nabc", id="NUL in a field (9110 5.5)"),
        pytest.param(OK + b"Content-Length: 3\r\nX: a\rb\r\n\r\nabc", id="a bare CR in a field (9110 5.5)"),
        pytest.param(b"HTTP/1.1 20 OK\r\nContent-Length: 3\r\n\r\nabc", id="no status"),
        pytest.param(b"junk\r\n\r\n", id="junk"),
    ],
)
async def test_the_rest_is_refused(said: bytes) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.script("/a", said, FIN, times=1)
        origin.answer("/a", headers=[cc("max-age=60")], body=b"good")
        got = await client.get("/a")
        assert (got.status, "upstream-framing" in (got.header("cache-status") or "")) == (502, True)
        await gateway.settled()
        assert (await client.get("/a")).body == b"good"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(OK + b"Connection: close\r\n\r\nabc", id="until the connection ends"),
        pytest.param(OK.replace(b"1.1", b"1.0") + b"\r\nabc", id="HTTP/1.0"),
        pytest.param(OK + b"Content-Length: 4\r\n\r\nabc", id="short of its length"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n", id="without the last chunk"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n0\r\n", id="without the last empty line"),
        pytest.param(CHUNKED + b"3\r\nabc\r\nzz\r\n", id="a chunk that is none"),
    ],
)
async def test_what_is_not_proven_is_passed_on_as_that_and_not_stored(said: bytes) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", said, FIN, times=1)
        origin.answer("/a", headers=[cc("max-age=60")], body=b"good")
        async with raw(gateway.port) as client:
            got = await client.get("/a")
            assert not got.complete
            assert b"abc".startswith(got.body)
        await gateway.settled()
        assert (await gateway.get("/a")).body == b"good"


@pytest.mark.parametrize(("end", "told"), [(FIN, "fin"), (RST, "rst")], ids=["ended", "reset"])
async def test_how_a_body_without_an_announced_end_ended_is_passed_on(end: Any, told: str) -> None:
    """RFC 9112 8: the connection's end in good order is all that such a body has to prove itself by."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        rest = Gate()
        origin.script("/a", OK + b"Connection: close\r\n\r\nabc", rest, end)
        await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
        await client.reader.readuntil(b"abc")
        rest.release()
        assert await client.closed() == told
