"""Everything an origin can do wrong, over real sockets (reliability.md, fault classes; invariants 1 and 2): each has
its own Fault, no cut or ambiguous answer ever looks whole, and no text tells secrets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Fault, UpstreamError
from proxy.message import Fields, Framing, Upload
from proxy.upstream.attempt import AttemptFailed, Stage, Timeouts
from proxy.upstream.client import OriginClient
from proxy.upstream.connection import Connection
from proxy.upstream.protocol import Call
from tests.support.origin import FIN, READ_BODY, RST, STALL, Origin, Step

QUICK = Timeouts(connect=5.0, first_byte=0.05, read=0.05, total=0.5)
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        yield origin


async def outcome(
    origin: Origin | str, timeouts: Timeouts = QUICK, call: Call | None = None
) -> tuple[Fault | None, bytes]:
    """How a fetch ends, and what of the body was handed on before."""
    client = OriginClient(origin if isinstance(origin, str) else origin.url, timeouts=timeouts)
    got, failure = b"", None
    try:
        answer = await client.fetch(call or Call("GET", "/", Fields.of(("Authorization", "hunter2"))))
        async for chunk in answer:
            got += chunk
    except UpstreamError as e:
        failure = e
    assert "hunter2" not in str(failure)
    assert client.in_use == 0
    await client.close()
    return failure.fault if failure else None, got


@pytest.mark.parametrize(
    ("steps", "fault", "body"),
    [
        # no answer
        ((FIN,), Fault.RESET, b""),
        ((RST,), Fault.RESET, b""),
        ((OK, FIN), Fault.RESET, b""),
        ((OK + b"Content-Le", RST), Fault.RESET, b""),
        ((b"HTTP/1.1 103 Early Hints\r\n\r\n", FIN), Fault.RESET, b""),
        # a body that is cut
        ((OK + b"Content-Length: 9\r\n\r\nabc", FIN), Fault.RESET, b"abc"),
        ((OK + b"Content-Length: 9\r\n\r\n", RST), Fault.RESET, b""),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", FIN), Fault.RESET, b"abc"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", FIN), Fault.RESET, b"abc"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n", FIN), Fault.RESET, b"abc"),
        ((OK + b"\r\nabc", FIN), None, b"abc"),  # unproven, and told so by its framing
        # framing that two readers could read in two ways
        ((OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Content-Length: 3, 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Content-Length: +3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Content-Length: -1\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Content-Length: 99999999999999999999999\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Content-Length:\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", STALL), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", STALL), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: gzip\r\n\r\nabc", FIN), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: identity\r\n\r\nabc", FIN), Fault.FRAMING, b""),
        ((b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", STALL), Fault.FRAMING, b""),
        ((OK + b"Content-Length : 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"X: a\r\n b\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"X: a\0b\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", STALL), Fault.FRAMING, b""),
        ((b"HTTP/2 200 OK\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((b"HTTP/1.1 099 No\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((b"SSH-2.0-OpenSSH_9.2\r\n", STALL), Fault.FRAMING, b""),
        # a reason phrase that is none (RFC 9112 4)
        ((b"HTTP/1.1 200 O\0K\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((b"HTTP/1.1 200 \x1b[2J\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((b"HTTP/1.1 200 OK\x7f\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((b"HTTP/1.1 103 \x08\r\n\r\n" + OK + b"Content-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", STALL), Fault.FRAMING, b"abc"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", STALL), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", STALL), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc", STALL), Fault.FRAMING, b""),
        # without end
        ((b"HTTP/1.1 100 Continue\r\n\r\n" * 1001, STALL), Fault.FRAMING, b""),
        ((b"HTTP/1.1 103 Hints\r\nX: " + b"a" * 70_000, STALL), Fault.FRAMING, b""),
        ((b"HTTP/1.1 103 Hints\r\nContent-Length: 3\r\n\r\nabc" + OK + b"\r\n", STALL), Fault.FRAMING, b""),
        ((b"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"X: " + b"a" * 70_000, STALL), Fault.FRAMING, b""),
        ((OK + b"X: a\r\n" * 300 + b"Content-Length: 0\r\n\r\n", STALL), Fault.FRAMING, b""),
        ((OK + b"X: " + b"a" * 70_000 + b"\r\nContent-Length: 3\r\n\r\nabc", STALL), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nT: " + b"a" * 70_000, STALL), Fault.FRAMING, b""),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 70_000, STALL), Fault.FRAMING, b""),
        # what was not asked for
        ((b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", STALL), Fault.FRAMING, b""),
        ((b"HTTP/1.1 101 Switching\r\n\r\n", STALL), Fault.FRAMING, b""),
        # silence
        ((STALL,), Fault.FIRST_BYTE_TIMEOUT, b""),
        ((OK + b"Content-Le", STALL), Fault.FIRST_BYTE_TIMEOUT, b""),
        ((b"HTTP/1.1 103 Early Hints\r\n\r\n", STALL), Fault.FIRST_BYTE_TIMEOUT, b""),
        ((OK + b"Content-Length: 9\r\n\r\nabc", STALL), Fault.READ_TIMEOUT, b"abc"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", STALL), Fault.READ_TIMEOUT, b"abc"),
    ],
)  # fmt: skip
async def test_each_failure_has_its_fault(
    origin: Origin, steps: tuple[Step, ...], fault: Fault | None, body: bytes
) -> None:
    origin.script("/", *steps)
    assert await outcome(origin) == (fault, body)
    assert origin.count() == 1  # nothing was sent a second time


@pytest.mark.parametrize(
    ("extension", "times", "due"),
    [(5, 20_000, None), (1000, 60, None), (1000, 500, Fault.FRAMING), (30, 50_000, Fault.FRAMING)],
)
async def test_what_stands_beside_the_content_is_bounded_by_it(
    origin: Origin, extension: int, times: int, due: Fault | None
) -> None:
    """Each chunk of one byte for itself is well within what a head may have."""
    chunks = (b"1;" + b"x" * extension + b"\r\ny\r\n") * times
    origin.script("/", OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    fault, body = await outcome(origin)
    assert fault == due
    assert (len(body) == times) is (due is None)


async def test_a_reset_is_told_from_the_end_of_a_close_delimited_body(origin: Origin) -> None:
    gate = origin.hold("/never")
    origin.script("/", OK + b"\r\nabc", gate, RST)
    client = OriginClient(origin.url)
    answer = await client.fetch(Call("GET", "/", Fields()))
    assert answer.head.framing is Framing.CLOSE
    assert await anext(aiter(answer)) == b"abc"
    gate.release()
    with pytest.raises(UpstreamError) as caught:
        await anext(aiter(answer))
    assert caught.value.fault is Fault.RESET
    with pytest.raises(UpstreamError):  # asked again it is no better
        await anext(aiter(answer))
    await client.close()


async def test_the_total_bounds_an_answer_that_trickles(origin: Origin) -> None:
    async def trickle(request: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
            await asyncio.sleep(0.005)

    head = OK + b"Transfer-Encoding: chunked\r\n"
    origin.script("/", head + b"\r\n", trickle)
    fault, body = await outcome(origin, Timeouts(read=5, total=0.1))
    assert fault is Fault.READ_TIMEOUT
    assert body
    origin.script("/", head + b"Content-Type: Text/Event-Stream; charset=utf-8\r\n\r\n", trickle)
    client = OriginClient(origin.url, timeouts=Timeouts(read=5, total=0.02))
    answer = await client.fetch(Call("GET", "/", Fields()))
    stream = aiter(answer)
    for _ in range(20):  # far beyond the total: streams end when they like
        await anext(stream)
    await client.close()


async def test_the_total_bounds_interim_answers_that_trickle(origin: Origin) -> None:
    """Each of them is in time, and no final one ever comes."""

    async def trickle(request: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.005)

    origin.script("/", trickle)
    assert await outcome(origin, Timeouts(first_byte=5, total=0.1)) == (Fault.FIRST_BYTE_TIMEOUT, b"")


async def test_a_slow_reader_uses_up_nobodys_time(origin: Origin) -> None:
    gate = origin.hold("/never")
    origin.script("/", OK + b"Content-Length: 6\r\n\r\nabc", gate, b"def")
    client = OriginClient(origin.url, timeouts=Timeouts(read=0.2, total=0.2))
    answer = await client.fetch(Call("GET", "/", Fields()))
    assert await anext(aiter(answer)) == b"abc"
    await asyncio.sleep(0.3)  # longer than both, and not the origin's fault
    gate.release()
    assert b"".join([chunk async for chunk in answer]) == b"def"
    await client.close()


async def test_an_origin_that_takes_nothing_of_an_upload(origin: Origin) -> None:
    origin.script("/", origin.hold("/never"), early=True)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    call = Call("PUT", "/", Fields(), Upload(endless(), None))
    assert await outcome(origin, Timeouts(read=0.1), call) == (Fault.READ_TIMEOUT, b"")


@pytest.mark.parametrize("early", [b"", b"HTTP/1.1 10", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_upload_may_take_longer_than_the_first_byte(origin: Origin, early: bytes) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.05)
            yield b"x"

    whole = b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n"
    origin.script("/", early, READ_BODY, whole.removeprefix(early), early=True)
    call = Call("PUT", "/", Fields(), Upload(slow(), 4))
    assert await outcome(origin, Timeouts(first_byte=0.1, read=0.1, total=0.1), call) == (None, b"")


# connections that do not come about


@contextmanager
def deaf() -> Iterator[str]:
    """A listening socket whose backlog is full, so that nobody else gets through."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for filler in fillers:
            filler.close()


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_refused_unknown_and_deaf() -> None:
    assert await outcome(f"http://127.0.0.1:{closed_port()}", Timeouts()) == (Fault.REFUSED, b"")
    assert await outcome("http://no-such-host.invalid", Timeouts()) == (Fault.DNS, b"")
    with deaf() as url:
        assert await outcome(url, Timeouts(connect=0.05)) == (Fault.CONNECT_TIMEOUT, b"")


# every way of cutting and splitting an answer


class Wire(asyncio.Transport):
    """A transport without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self._closing = False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def write(self, data: object) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def replayed(pieces: list[bytes], *, ended: bool) -> tuple[bytes, Stage | None, Framing | None]:
    """What a connection makes of these reads."""
    connection = Connection(asyncio.get_running_loop())
    connection.connection_made(Wire())
    connection.begin("GET", b"")
    for piece in pieces:
        connection.data_received(piece)
    if ended:
        connection.connection_lost(None)
    got, kind = b"", None
    try:
        kind = (await connection.head()).framing
        while chunk := await connection.body():
            got += chunk
    except AttemptFailed as e:
        return got, e.stage, kind
    return got, None, kind


content = st.binary(max_size=300)
lines = st.lists(
    st.tuples(st.sampled_from([b"X-A", b"Etag", b"vary"]), st.text("abc \t;=", max_size=9).map(str.encode)), max_size=5
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A well-formed answer with a provable end, and its content."""
    fields = b"".join(b"%b: %b\r\n" % line for line in draw(lines))
    if draw(st.booleans()):
        body = draw(content)
        return OK + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body, body
    chunks = draw(st.lists(content.filter(len), max_size=4))
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return OK + fields + b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n", b"".join(chunks)


@settings(max_examples=150, deadline=None)
@given(answers(), st.data())
def test_no_split_changes_an_answer_and_no_cut_passes_for_one(answer: tuple[bytes, bytes], data: st.DataObject) -> None:
    wire, body = answer
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True) if a != b]
    got, failed, _ = asyncio.run(replayed(pieces, ended=data.draw(st.booleans())))
    assert (got, failed) == (body, None)
    length = data.draw(st.integers(0, len(wire) - 1))
    got, failed, _ = asyncio.run(replayed([wire[:length]] if length else [], ended=True))
    assert failed is (Stage.ANSWER if length else Stage.SENT)
    assert body.startswith(got)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), answers().map(lambda a: a[0])), max_size=4))
def test_no_bytes_break_the_reader(pieces: list[bytes]) -> None:
    asyncio.run(replayed([OK, *[piece for piece in pieces if piece]], ended=True))
