"""Replies on the wire: heads byte for byte, framing (RFC 9112 6, 9.3), invariant 2 (no valid-looking end of a body
that has none), one count for each request. RFC 9110 6.6.1 (Date), 8.6 (Content-Length), 9.3.2 (HEAD)."""

import asyncio
import socket
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Fault, TruncatedError, UpstreamError
from proxy.message import Fields, Framing, Reply, Request
from proxy.outcome import Outcome, Verdict
from proxy.reasons import Why
from proxy.server.front import Doorway
from proxy.server.http1 import Limits
from proxy.server.replies import Unsendable, render
from tests.support.door import door, reply
from tests.support.rawtcp import raw

DATE = b"Sat, 01 Jan 2000 00:00:00 GMT"


async def stream(*chunks: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


def head(answer: Reply, *, method: str = "GET", http11: bool = True, keep_alive: bool = True) -> bytes:
    return render(answer, method=method, http11=http11, keep_alive=keep_alive, date=DATE).head


# -- rendering: a table -------------------------------------------------------------------------------------------

LENGTH = ("content-LENGTH", "5")
CASES = [
    # name, reply, method, http11, what framing fields the head ends with
    ("bytes get a length", reply(b"hello"), "GET", True, [b"Content-Length: 5"]),
    ("no bytes too", reply(b""), "GET", True, [b"Content-Length: 0"]),
    ("a length stays as it was told", reply(b"hello", LENGTH), "GET", True, [b"content-LENGTH: 5"]),
    ("a stream of known length", reply(stream(), LENGTH), "GET", True, [b"content-LENGTH: 5"]),
    ("a stream of unknown length", reply(stream()), "GET", True, [b"Transfer-Encoding: chunked"]),
    ("... for HTTP/1.0", reply(stream()), "GET", False, [b"Connection: close"]),
    ("an unproven end stays one", reply(stream(), framing=Framing.CLOSE), "GET", True, [b"Connection: close"]),
    ("HEAD keeps the length", reply(b"", LENGTH), "HEAD", True, [b"content-LENGTH: 5"]),
    ("HEAD of our own words", reply(b"hello"), "HEAD", True, [b"Content-Length: 5"]),
    ("HEAD without a length", reply(b""), "HEAD", True, []),
    ("304 keeps the length", reply(b"", LENGTH, status=304), "GET", True, [b"content-LENGTH: 5"]),
    ("304 without a length", reply(b"", status=304), "GET", True, []),
    ("204 has none", reply(b"", ("Content-Length", "0"), status=204), "GET", True, []),
    ("HTTP/1.0 is told that it is kept", reply(b""), "GET", False, [b"Content-Length: 0", b"Connection: keep-alive"]),
    ("closing is told", reply(b"", close=True), "GET", True, [b"Content-Length: 0", b"Connection: close"]),
    ("a length that is told twice", reply(b"hello", LENGTH, LENGTH), "GET", True, [b"content-LENGTH: 5"]),
]


@pytest.mark.parametrize(("answer", "method", "http11", "wanted"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_framing(answer: Reply, method: str, http11: bool, wanted: list[bytes]) -> None:
    lines = head(answer, method=method, http11=http11).split(b"\r\n")[1:-2]
    assert sorted(line for line in lines if line != b"Date: " + DATE) == sorted(wanted)


def test_fields_keep_bytes_order_case_and_duplicates() -> None:
    pairs = ((b"X-b", b"\xff\xe4 v"), (b"set-cookie", b"a=1"), (b"X-B", b""), (b"Set-Cookie", b"b=2"), (b"DATE", b"d"))
    got = head(Reply(200, "Gr\xfc\xdfe", Fields(pairs), b"", Outcome(Verdict.HIT, Why.FRESH)))
    assert got == (
        b"HTTP/1.1 200 Gr\xfc\xdfe\r\nX-b: \xff\xe4 v\r\nset-cookie: a=1\r\nX-B: \r\nSet-Cookie: b=2\r\nDATE: d\r\n"
        b"Content-Length: 0\r\n\r\n"
    )


def test_fields_of_the_hop_are_ours_alone() -> None:
    names = ("Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Proxy-Connection")
    got = head(reply(b"", *((name, "chunked") for name in names)))
    assert got == b"HTTP/1.1 200 OK\r\nDate: " + DATE + b"\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("name", ["X", "X\r\nY", "X\n"])
@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x", "a\nb", "a\rb", "a\0b", "\r\n\r\n<html>"])
def test_no_field_becomes_two(name: str, value: str) -> None:
    with pytest.raises(Unsendable):
        head(reply(b"", (name, value)))


@pytest.mark.parametrize("values", [("5", "6"), ("-1",), ("5, 5",), ("+5",), ("",)])
def test_a_length_is_one_number(values: tuple[str, ...]) -> None:
    with pytest.raises(Unsendable):
        head(reply(b"hello", *(("Content-Length", value) for value in values)))


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1), st.text())), st.text())
def test_whatever_is_rendered_reads_back_as_what_it_was(fields: list[tuple[str, str]], phrase: str) -> None:
    pairs = [(b"x-" + name.encode("utf-8", "replace"), value.encode("utf-8", "replace")) for name, value in fields]
    answer = Reply(200, phrase.encode("utf-8", "replace").decode("latin-1"), Fields(pairs), b"", reply().outcome)
    try:
        lines = head(answer).split(b"\r\n")
    except Unsendable:
        assert any(control in b"".join((phrase.encode(), *sum(pairs, ()))) for control in (b"\r", b"\n", b"\0"))
        return
    assert lines[1 : len(pairs) + 1] == [name + b": " + value for name, value in pairs]
    assert lines[len(pairs) + 1 :] == [b"Date: " + DATE, b"Content-Length: 0", b"", b""]


# -- sending: stories ---------------------------------------------------------------------------------------------


async def test_bytes_go_out_with_their_head_and_the_connection_is_kept() -> None:
    async with door(lambda request: reply(b"hello", ("X-A", "1"))) as d, raw(d.port) as client:
        for _ in range(3):
            got = await client.get("/")
            assert (got.status, got.body, got.header("x-a")) == (200, b"hello", "1")
        ended = await d.over(3)
        assert (ended.sent, ended.complete, len(d.ended)) == (5, True, 3)


async def test_a_date_is_added_where_there_is_none() -> None:
    async with door(lambda request: reply(b"")) as d, raw(d.port) as client:
        got = await client.get("/")
        assert parsedate_to_datetime(got.header("date") or "").year >= 2024


async def test_a_stream_is_chunked_and_empty_chunks_do_not_end_it() -> None:
    async with door(lambda request: reply(stream(b"a", b"", b"bc"))) as d, raw(d.port) as client:
        got = await client.get("/")
        assert (got.body, got.complete, got.header("transfer-encoding")) == (b"abc", True, "chunked")
        assert (await d.over()).sent == 3
        assert (await client.get("/")).body == b"abc"


async def test_http_1_0_gets_a_stream_until_the_end_of_the_connection() -> None:
    async with door(lambda request: reply(stream(b"abc"))) as d, raw(d.port) as client:
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        got = await client.response()
        assert (got.body, got.ending, got.header("connection")) == (b"abc", "fin", "close")


async def test_http_1_0_is_kept_when_it_asks() -> None:
    async with door(lambda request: reply(b"abc")) as d, raw(d.port) as client:
        for _ in range(2):
            await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (await client.response()).header("connection") == "keep-alive"
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.response()).header("connection") == "close"
        assert await client.closed() == "fin"


@pytest.mark.parametrize(
    ("body", "fields", "framing"),
    [
        (lambda: stream(b"half", error=UpstreamError(Fault.RESET, "gone")), (), Framing.CHUNKED),
        (lambda: stream(b"half", error=UpstreamError(Fault.RESET, "gone")), (("Content-Length", "8"),), Framing.LENGTH),
        (lambda: stream(b"half", error=UpstreamError(Fault.RESET, "gone")), (), Framing.CLOSE),
        (lambda: stream(b"half", error=TruncatedError("bit rot")), (), Framing.CHUNKED),
        (lambda: stream(b"half", error=ZeroDivisionError()), (), Framing.CHUNKED),
        (lambda: stream(b"half"), (("Content-Length", "8"),), Framing.LENGTH),
        (lambda: b"half", (("Content-Length", "8"),), Framing.LENGTH),
    ],
    ids=["chunked", "length", "close", "store", "bug", "too short", "bytes too short"],
)
async def test_a_body_without_its_end_never_looks_whole(body, fields, framing) -> None:  # type: ignore[no-untyped-def]
    async with door(lambda request: reply(body(), *fields, framing=framing)) as d, raw(d.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            got = await client.response()
        except AssertionError:  # the reset overtook the head
            pass
        else:
            assert (got.complete, got.ending) == (False, "rst")
        ended = await d.over()
        assert not ended.complete
        assert ended.reply.outcome.verdict is Verdict.MISS


async def test_never_more_than_was_announced() -> None:
    chunks = [b"1234", b"5678", b"HTTP/1.1 200 OK\r\n\r\n"]
    async with door(lambda request: reply(stream(*chunks), ("Content-Length", "8"))) as d, raw(d.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            assert len((await client.response()).body) <= 8
        except AssertionError:
            pass
        assert not (await d.over()).complete
    async with door(lambda request: reply(b"123456789", ("Content-Length", "8"))) as d, raw(d.port) as client:
        assert (await client.get("/")).body == b"12345678"
        assert (await client.get("/")).status == 200  # the ninth was not taken for the next answer


async def test_head_is_answered_without_a_body() -> None:
    closed = []

    class Watched:
        def __aiter__(self) -> AsyncIterator[bytes]:
            return stream(b"hello")

        async def aclose(self) -> None:
            closed.append(True)

    answers = {"/bytes": lambda: b"hello", "/stream": Watched}
    async with door(lambda request: reply(answers[request.path](), ("Content-Length", "5"))) as d, raw(d.port) as c:
        for path in answers:
            got = await c.get(path, method="HEAD")
            assert (got.header("content-length"), got.body) == ("5", b"")
        assert (await d.over(2)).sent == 0
        assert closed == [True]
        assert (await c.get("/bytes")).body == b"hello"


async def test_a_reply_that_cannot_be_sent_is_a_500() -> None:
    async with door(lambda request: reply(b"", ("X", "a\r\nb: c"))) as d, raw(d.port) as client:
        got = await client.get("/")
        assert (got.status, got.header("x-cache")) == (500, "BYPASS")
        assert [ended.reply.status for ended in d.ended] == [500]


async def test_an_answerer_that_fails_is_a_500_and_counted() -> None:
    def fail(request: object) -> Reply:
        raise ZeroDivisionError

    async with door(fail) as d, raw(d.port) as client:
        got = await client.get("/")
        assert (got.status, got.header("x-cache")) == (500, "BYPASS")
        assert b"(internal)" in got.body
        assert "detail=internal" in (got.header("cache-status") or "")
        ended = await d.over()
        assert (ended.reply.outcome.reason, d.counters.requests, d.counters.in_flight) == (Why.INTERNAL, 1, 0)


async def test_a_slow_reader_is_not_overrun() -> None:
    """Flow control: what is written and not yet read stays bounded."""
    made, begun = 0, asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        nonlocal made
        begun.set()
        while True:
            made += 1
            yield bytes(65536)
            await asyncio.sleep(0)

    async with door(lambda request: reply(endless())) as d, raw(d.port) as client:
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.writer.transport.pause_reading()
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await begun.wait()
        before = -1
        while made != before:  # until it stands still
            before = made
            await asyncio.sleep(0.1)
        assert 0 < made < 500
        client.writer.transport.abort()
        ended = await d.over()
        assert not ended.complete
        assert d.counters.in_flight == 0


async def test_a_client_that_reads_nothing_is_cut() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    doorway = Doorway("gate", send_idle=0.05)
    async with door(lambda request: reply(endless()), doorway=doorway) as d, raw(d.port) as client:
        client.writer.transport.pause_reading()
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not (await d.over()).complete
        while d.counters.connections:  # what was not sent yet holds up nothing
            await asyncio.sleep(0)


async def test_a_client_that_leaves_closes_the_stream() -> None:
    closed = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with door(lambda request: reply(slow())) as d:
        async with raw(d.port) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.head()
        async with asyncio.timeout(20):
            await closed.wait()
        ended = await d.over()
        assert (ended.complete, ended.sent, d.counters.in_flight) == (False, 5, 0)


async def test_a_client_that_leaves_before_its_answer_ends_the_asking_and_is_counted_once() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def never(request: object) -> Reply:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    async with door(never) as d:
        async with raw(d.port) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asked.wait()
        async with asyncio.timeout(20):
            await left.wait()
        ended = await d.over()
        assert (ended.reply.status, ended.reply.outcome.reason) == (499, Why.CLIENT_GONE)
        assert (len(d.ended), d.counters.requests) == (1, 1)


def pipeline(number: int) -> bytes:
    return b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(number))


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with door(lambda request: reply(request.target.encode())) as d, raw(d.port) as client:
        await client.send(pipeline(20))
        assert [(await client.response()).body for _ in range(20)] == [b"/%d" % n for n in range(20)]


@pytest.mark.parametrize(("limit", "sent"), [(32, 33), (32, 2000), (1, 2), (4, 5), (40, 41)])
async def test_past_the_limit_of_pipelined_requests_the_connection_ends(limit: int, sent: int) -> None:
    """Those up to the limit are answered, the last of them says that it is the last, and nothing after it is read."""
    limits = Limits(pipelined=limit)
    async with door(lambda request: reply(request.target.encode()), limits=limits) as d, raw(d.port) as client:
        await client.send(pipeline(sent))
        got = [await client.response() for _ in range(limit)]
        assert [answer.body for answer in got] == [b"/%d" % n for n in range(limit)]
        assert [answer.header("connection") for answer in got] == [None] * (limit - 1) + ["close"]
        assert await client.closed() == "fin"
        assert len(d.requests) == limit


async def test_those_that_wait_behind_a_slow_one_count_with_it() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Reply:
        if request.target == "/0":
            asked.set()
            await go.wait()
        return reply(request.target.encode())

    async with door(slow, limits=Limits(pipelined=2)) as d, raw(d.port) as client, raw(d.port) as other:
        await client.send(pipeline(1))
        await asked.wait()
        await client.send(pipeline(2))
        assert (await other.get("/other")).body == b"/other"  # by now what was sent before has been read, too
        go.set()
        assert [(await client.response()).body for _ in range(2)] == [b"/0", b"/0"]
        assert (await client.closed(), len(d.requests)) == ("fin", 3)


@pytest.mark.parametrize("limit", [1, 32])
async def test_at_the_limit_the_connection_is_kept(limit: int) -> None:
    async with door(lambda request: reply(b"x"), limits=Limits(pipelined=limit)) as d, raw(d.port) as client:
        for _ in range(3):
            await client.send(pipeline(limit))
            assert [(await client.response()).header("connection") for _ in range(limit)] == [None] * limit


@pytest.mark.parametrize("taken", [True, False])
async def test_what_is_written_and_not_taken_is_waited_for_and_then_cut(taken: bool) -> None:
    async with door(lambda request: reply(filling())) as d, raw(d.port) as client:

        async def filling() -> AsyncIterator[bytes]:
            """As much as a client that does not read lets be sent, and a little more."""
            while (transport := d.gate.connections[0].transport) and not transport.get_write_buffer_size():
                yield bytes(16384)

        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        size = (await d.over()).sent
        drained = asyncio.create_task(d.gate.drained())
        await asyncio.sleep(0)
        if not taken:
            await d.gate.shutdown(0.05)
            await drained  # nothing is left to wait for
        assert drained.done() is not taken
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        got = await client.response()
        assert (len(got.body) == size, await client.closed()) == (taken, "fin" if taken else "rst")
        await drained
