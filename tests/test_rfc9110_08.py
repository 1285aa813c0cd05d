"""RFC 9110 8 (representation data and metadata), over the wire; grammar and comparisons are in test_policy_fields."""

import gzip

import pytest

from tests.support.gateway import running
from tests.support.origin import FIN, Origin, Recorded
from tests.support.rawtcp import raw

CACHED = [("Cache-Control", "max-age=60")]


async def test_representation_fields_come_back_byte_for_byte() -> None:
    """8.3, 8.4, 8.5, 8.7, 8.8: never interpreted, never made right, content never decoded; passed on and from store."""
    told = [
        ("Content-Type", "Text/HTML;Charset=\"utf-8\""),
        ("content-TYPE", "text/plain"),  # 8.3: which of two counts is the user agent's to say
        ("Content-Encoding", "x-gzip, identity"),
        ("Content-Language", "mi, en"),
        ("Content-Location", "../elsewhere?x=%7e"),
        ("ETag", "W/\"a\\b\xff\""),
        ("Last-Modified", "Sunday, 06-Nov-94 08:49:37 GMT"),
        ("Accept-Ranges", "none"),
    ]  # fmt: skip
    content = gzip.compress(b"hello")
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=[*CACHED, *told], body=content)
        for verdict in ("MISS", "HIT"):
            got = await client.get("/a", "Accept-Encoding: gzip")
            assert (got.header("x-cache"), got.body) == (verdict, content)
            names = {name.lower().encode() for name, _ in told}
            lines = [(name.decode(), value.decode("latin-1")) for name, value in got.pairs if name.lower() in names]
            assert lines == told
            await gateway.settled()
        assert (await client.get("/elsewhere?x=%7e")).header("x-cache") == "MISS"  # 6.4.2: it was the target's


JUNK = ["5, 5", "-5", "five", "", "9" * 5000, str(2**64 + 5), "5\r\nContent-Length: 5", "5\r\nContent-Length: 6"]


@pytest.mark.parametrize("length", JUNK)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_invalid_length_is_never_passed_on(method: str, length: str) -> None:
    """8.6: refused, also where it frames nothing; large numerals break nothing; nothing is stored."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        head = f"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {length}\r\n\r\n"
        origin.script("/a", head.encode() + (b"hello" if method == "GET" else b""), FIN)
        for _ in range(2):
            got = await client.get("/a", method=method)
            assert (got.status, got.header("x-cache")) == (502, "MISS")
        assert origin.count("/a") >= 2


@pytest.mark.parametrize(
    ("status", "body", "get", "head"),
    [
        pytest.param(200, b"hello", "5", "5", id="8.6 HEAD tells what GET would"),
        pytest.param(200, b"", "0", "0", id="8.6 also of nothing"),
        pytest.param(204, b"", None, None, id="8.6 none with 204"),
        pytest.param(404, b"none", "4", "4", id="8.6 any status"),
    ],
)
async def test_lengths_from_store(status: int, body: bytes, get: str | None, head: str | None) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", status, headers=CACHED, body=body, chunked=status != 204)
        await client.get("/a")
        await gateway.settled()
        got, bare = await client.get("/a"), await client.get("/a", method="HEAD")
        assert [each.header("x-cache") for each in (got, bare)] == ["HIT", "HIT"]
        assert (got.header("content-length"), bare.header("content-length")) == (get, head)
        assert (got.body, bare.body) == (body, b"")


async def test_a_304_of_ours_tells_no_length() -> None:
    """8.6, 15.4.5: it would be the content's, and nobody needs it."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=[*CACHED, ("ETag", '"1"')], body=b"hello")
        for verdict in ("MISS", "HIT"):
            got = await client.get("/a", 'If-None-Match: "1"')
            assert (got.status, got.header("x-cache"), got.header("content-length")) == (304, verdict, None)
            await gateway.settled()


@pytest.mark.parametrize("asked", ["deflate", "gzip, br", "br;q=0.1, gzip", "identity", None])
async def test_a_head_that_is_passed_on_tells_the_length_of_its_get(asked: str | None) -> None:
    """8.6 MUST NOT, 9.3.2: both are asked for in the same coding."""

    def say(request: Recorded) -> bytes:
        return b"x" * len(request.header("accept-encoding") or "")

    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=[("Vary", "Accept-Encoding")], body=say)
        wish = () if asked is None else (f"Accept-Encoding: {asked}",)
        head, got = await client.get("/a", *wish, method="HEAD"), await client.get("/a", *wish)
        assert head.header("content-length") == got.header("content-length") == str(len(got.body))
        assert origin.count() == 2
