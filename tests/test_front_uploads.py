"""Request bodies: streamed, bounded (413), asked for when somebody wants them (RFC 9110 10.1.1), their failures told as
the client's, and never parsed as a request when nobody read them (invariant 7)."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy.errors import BadRequest, ClientGone
from proxy.message import Reply, Request
from proxy.observe.counters import Counters
from proxy.reasons import Why
from proxy.server.front import Doorway, Front
from proxy.server.gate import application
from proxy.server.http1 import Limits
from proxy.server.uploads import Uploads
from tests.support.door import Answer, NoPages, Scripted, door, reply
from tests.support.rawtcp import raw

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


async def echo(request: Request) -> Reply:
    """The body, read as it comes."""
    if request.body is None:
        return reply(b"(none)")
    return reply(b"".join([chunk async for chunk in request.body]), ("X-Length", str(request.body.length)))


async def streaming(request: Request) -> Reply:
    """The body, told again while it comes."""
    assert request.body is not None
    return reply(aiter(request.body))


BODIES = [
    ("length", LENGTH % 5 + b"hello", b"hello", "5"),
    ("chunked", CHUNKED + b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello", "None"),
    ("empty and chunked", CHUNKED + b"0\r\n\r\n", b"", "None"),
    ("no length at all", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"(none)", None),
    ("length 0", LENGTH % 0, b"(none)", None),
    ("GET with a body", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", b"hi", "2"),
    ("not decoded", LENGTH % 25 + gzip.compress(b"hello", mtime=0), gzip.compress(b"hello", mtime=0), "25"),
]


@pytest.mark.parametrize(("sent", "body", "length"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
async def test_bodies_are_read_and_the_connection_is_kept(sent: bytes, body: bytes, length: str | None) -> None:
    sent = sent.replace(b"25\r\n", b"25\r\nContent-Encoding: gzip\r\n")
    async with door(echo) as d, raw(d.port) as client:
        for _ in range(2):
            await client.send(sent)
            got = await client.response()
            assert (got.body, got.header("x-length"), got.header("connection")) == (body, length, None)


@pytest.mark.parametrize(
    "last", [b"0\r\n", b"0\r\nX-T: 1\r\n", b"0\r\nX-T: 0\r\nCookie: a=b\r\n"], ids=["none", "one", "two"]
)
@pytest.mark.parametrize("behind", [b"", b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", CHUNKED + b"1\r\nx\r\n0\r\n\r\n"])
@pytest.mark.parametrize("read", [echo, lambda request: reply(b"ok")], ids=["read", "unread"])
async def test_trailers_are_fields_of_no_request(read: Answer, behind: bytes, last: bytes) -> None:
    """RFC 9110 6.5.1 MUST NOT: aiohttp's parser would make the last of them the first field of the next request."""
    async with door(read) as d, raw(d.port) as client:
        await client.send(CHUNKED + b"2\r\nhi\r\n" + last + b"\r\n" + behind)
        kept = (await client.response()).header("connection") is None
        assert not kept or last == b"0\r\n"
        if kept:
            await client.get("/next")
        else:
            assert await client.closed() in ("fin", "rst")
        assert len(d.requests) == 1 + kept
        assert [name for request in d.requests for name in ("x-t", "cookie") if name in request.fields] == []


async def test_an_upload_streams_both_ways() -> None:
    async with door(streaming) as d, raw(d.port) as client:
        await client.send(CHUNKED + b"5\r\nfirst\r\n")
        head = await client.head()
        assert b"chunked" in head
        assert await client.reader.readexactly(10) == b"5\r\nfirst\r\n"
        await client.send(b"6\r\nsecond\r\n0\r\n\r\n")
        assert await client.reader.readexactly(16) == b"6\r\nsecond\r\n0\r\n\r\n"


@pytest.mark.parametrize("expected", [b"100-continue", b", x, 100-Continue", b"x\r\nExpect: 100-continue"])
async def test_the_client_is_asked_for_its_body_only_when_it_is_wanted(expected: bytes) -> None:
    async with door(echo) as d, raw(d.port) as client:
        await client.send((LENGTH % 5).replace(b"\r\n\r\n", b"\r\nExpect: " + expected + b"\r\n\r\n"))
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        assert (await client.response()).body == b"hello"
    async with door(lambda request: reply(b"no")) as d, raw(d.port) as client:
        await client.send((LENGTH % 5).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 200")
        assert b"Connection: close" in head


async def test_nobody_is_asked_after_the_final_head() -> None:
    async with door(streaming) as d, raw(d.port) as client:
        await client.send(CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert (await client.head()).startswith(b"HTTP/1.1 200")
        await client.send(b"5\r\nhello\r\n0\r\n\r\n")
        assert await client.reader.readexactly(10) == b"5\r\nhello\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        LENGTH % 11,
        (LENGTH % 11).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
        CHUNKED + b"b\r\nhello world\r\n",
    ],
    ids=["announced", "before it is sent", "chunked"],
)
async def test_a_body_past_the_limit_is_413(sent: bytes) -> None:
    async with door(echo, doorway=Doorway("gate", uploads=Uploads(max_body=10))) as d, raw(d.port) as client:
        await client.send(sent)
        got = await client.response()
        assert (got.status, got.header("connection"), got.header("x-cache")) == (413, "close", "BYPASS")
        assert (await d.over()).reply.outcome.reason is Why.TOO_LARGE
        assert (d.counters.requests, d.counters.malformed) == (1, 0)


async def test_a_body_at_the_limit_is_taken() -> None:
    async with door(echo, doorway=Doorway("gate", uploads=Uploads(max_body=10))) as d, raw(d.port) as client:
        await client.send(LENGTH % 10 + b"0123456789")
        assert (await client.response()).body == b"0123456789"


async def test_a_body_past_the_limit_cuts_what_streams() -> None:
    async with door(streaming, doorway=Doorway("gate", uploads=Uploads(max_body=10))) as d, raw(d.port) as client:
        await client.send(CHUNKED + b"5\r\nhello\r\n")
        await client.head()
        await client.send(b"6\r\n world\r\n0\r\n\r\n")
        assert not (await d.over()).complete


async def test_an_answerer_that_hides_a_broken_body_does_not_hide_it_from_the_client() -> None:
    """A broken upload looks like a broken upstream to who sends it on; the client is told the truth."""

    async def hides(request: Request) -> Reply:
        try:
            return await echo(request)
        except BadRequest:
            return reply(b"bad gateway", status=502)

    async with door(hides, doorway=Doorway("gate", uploads=Uploads(max_body=10))) as d, raw(d.port) as client:
        await client.send(CHUNKED + b"b\r\nhello world\r\n")
        assert (await client.response()).status == 413


@pytest.mark.parametrize("broken", [b"zz\r\n", b"-1\r\n", b"5\r\nhello!\r\n", b"5 \r\nhello\r\n", b"\r\n", b"1\nx\n"])
async def test_broken_chunks_are_400_and_the_connection_ends(broken: bytes) -> None:
    started = asyncio.Event()

    async def read(request: Request) -> Reply:
        started.set()
        return await echo(request)

    async with door(read) as d, raw(d.port) as client:
        await client.send(CHUNKED + b"5\r\nhello\r\n")
        await started.wait()
        await client.send(broken + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        got = await client.response()
        assert (got.status, got.header("connection"), got.header("x-cache")) == (400, "close", "BYPASS")
        assert await client.closed() in ("fin", "rst")
        assert [request.target for request in d.requests] == ["/"]
        assert (d.counters.requests, d.counters.malformed) == (1, 0)


async def test_broken_chunks_in_the_head_s_own_packet_make_no_request() -> None:
    async with door(echo) as d, raw(d.port) as client:
        await client.send(CHUNKED + b"zz\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        assert ((await client.response()).status, d.requests, d.counters.malformed) == (400, [], 1)


async def test_a_body_that_stops_coming_is_408() -> None:
    async with door(echo, doorway=Doorway("gate", uploads=Uploads(idle=0.05))) as d, raw(d.port) as client:
        await client.send(LENGTH % 10 + b"hello")
        got = await client.response()
        assert (got.status, got.header("connection")) == (408, "close")


async def test_a_body_that_trickles_is_408() -> None:
    """Parts that come often enough, but less than `slowest` bytes a second on the whole."""
    now = 0.0

    def timer() -> float:
        nonlocal now
        now += 10
        return now

    uploads = Uploads(idle=30, slowest=1000, timer=timer)
    async with door(streaming, doorway=Doorway("gate", uploads=uploads)) as d, raw(d.port) as client:
        await client.send(LENGTH % 1000)
        try:
            for _ in range(1000):
                await client.send(b"x")
                await asyncio.sleep(0.001)
                if d.ended:
                    break
        except ConnectionError:
            pass
        ended = await d.over()
        assert not ended.complete
        assert ended.sent < 10


async def test_a_client_that_leaves_in_its_body_is_gone() -> None:
    seen: list[BaseException] = []
    started = asyncio.Event()

    async def read(request: Request) -> Reply:
        started.set()
        try:
            return await echo(request)
        except BaseException as error:
            seen.append(error)
            raise

    async with door(read) as d:
        async with raw(d.port) as client:
            await client.send(LENGTH % 10 + b"hello")
            await started.wait()
        ended = await d.over()
        assert (ended.reply.status, ended.reply.outcome.reason) == (499, Why.CLIENT_GONE)
        assert isinstance(seen[0], ClientGone | asyncio.CancelledError)


@pytest.mark.parametrize("tail", [b"", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"])
async def test_a_body_nobody_reads_is_never_a_request(tail: bytes) -> None:
    hidden = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
    async with door(lambda request: reply(b"no thanks")) as d, raw(d.port) as client:
        await client.send(LENGTH % (len(hidden) + 5))
        got = await client.response()
        assert (got.status, got.header("connection")) == (200, "close")
        await client.send(hidden + b"12345" + tail)
        assert await client.closed() in ("fin", "rst")
        assert [request.target for request in d.requests] == ["/"]


async def test_a_body_that_breaks_while_it_is_read_off_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async with door(lambda request: reply(b"no thanks")) as d, raw(d.port) as client:
        await client.send(CHUNKED + b"5\r\nhello\r\n")
        assert (await client.response()).status == 200
        await client.send(b"five\r\n")
        assert await client.closed() in ("fin", "rst")
        while d.counters.connections:
            await asyncio.sleep(0.01)
    assert not caplog.records


@pytest.mark.parametrize("sent", [LENGTH % 11, LENGTH % 10 + b"hello"], ids=["413", "408"])
async def test_a_connection_that_ends_before_its_body_says_so_at_once(sent: bytes) -> None:
    """The client sees our end while its own is still read off: it can tell the answer from a break (RFC 9112 9.6)."""
    async with door(echo, doorway=Doorway("gate", uploads=Uploads(max_body=10, idle=0.05))) as d, raw(d.port) as client:
        await client.send(sent)
        assert (await client.response()).header("connection") == "close"
        assert await client.closed() == "fin"
        assert d.counters.connections == 1  # what is still under way is taken
        await client.send(b"world")
        while d.counters.connections:
            await asyncio.sleep(0.01)
        assert d.counters.requests == 1


async def test_a_body_that_is_there_and_unread_costs_no_connection() -> None:
    async with door(lambda request: reply(request.target.encode())) as d, raw(d.port) as client:
        for _ in range(2):
            await client.send(LENGTH % 5 + b"hello")
            got = await client.response()
            assert (got.body, got.header("connection")) == (b"/", None)


async def test_uploads_are_not_gathered_in_memory() -> None:
    """Back-pressure: while nobody reads, little is taken from the client."""
    go = asyncio.Event()
    size = 0

    async def later(request: Request) -> Reply:
        nonlocal size
        await go.wait()
        assert request.body is not None
        async for chunk in request.body:
            size += len(chunk)
        return reply(b"ok")

    total = 64 << 20
    async with door(later) as d, raw(d.port) as client:
        sending = asyncio.create_task(client.send(LENGTH % total + bytes(total)))
        await asyncio.sleep(0.2)
        assert not sending.done()
        assert client.writer.transport.get_write_buffer_size() > total // 2
        go.set()
        await sending
        assert ((await client.response()).status, size) == (200, total)


async def test_inside_another_application(aiohttp_client) -> None:  # type: ignore[no-untyped-def]
    """The same front as an aiohttp application, alone and in another whose server decodes bodies."""
    scripted, ended = Scripted(echo), []
    front = Front(scripted, NoPages(), Doorway("gate"), Counters(), lambda *what: ended.append(what))
    alone = await aiohttp_client(application(front, Limits()), auto_decompress=False)
    packed = gzip.compress(b"hello", mtime=0)
    async with alone.post("/x?y", data=packed, headers={"Content-Encoding": "gzip"}) as got:
        assert await got.read() == packed
    async with alone.post("/x", data=b"hi", expect100=True) as got:
        assert await got.read() == b"hi"
    outer = web.Application()
    outer.add_subapp("/in", application(front, Limits()))
    inside = await aiohttp_client(outer)
    async with inside.get("/in/x?y") as got:
        assert (got.status, scripted.requests[-1].target) == (200, "/in/x?y")
    async with inside.post("/in/x", data=packed, headers={"Content-Encoding": "gzip"}) as got:
        assert got.status == 415
    assert len(ended) == 4


async def test_a_stream_of_the_body_can_be_read_before_the_reply() -> None:
    async def peeks(request: Request) -> Reply:
        assert request.body is not None
        assert await request.body.peek(3) is None
        rest: AsyncIterator[bytes] = aiter(request.body)
        return reply(b"".join([chunk async for chunk in rest]))

    async with door(peeks) as d, raw(d.port) as client:
        await client.send(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")
        assert (await client.response()).body == b"hello"
