"""What an origin sends, and what is sent to it (RFC 9112). A byte that chooses the method, one for where the bytes are
cut; then the bytes of the answer, or, for requests, lines: method, target, Host, field name and value."""

import asyncio
from itertools import pairwise
from typing import NamedTuple

import h11

from proxy.errors import BadRequest, UpstreamError
from proxy.message import Fields, Framing, Head
from proxy.upstream.connection import BUFFER, FIELDS, HEAD, Connection
from proxy.upstream.protocol import Call
from proxy.upstream.wire import framing, request_head
from tests.fuzz.target import Feed, Target

_LOOP = asyncio.new_event_loop()  # nobody waits here
_LOOP.close()
_OK = b"HTTP/1.1 200 OK\r\n"
SEEDS = (
    b"\x00\x05" + _OK + b"Content-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
    b"\x00\x07" + _OK + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",  # 7.1
    b"\x00\x03HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.0 200 OK\r\n\r\nhello",
    b"\x01\x02" + _OK + b"Content-Length: 5\r\n\r\n",
    b'\x00\x11HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
    b"\x00\x11" + _OK + b"Content-Length: 5, 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"\x00\x04HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x01a",
    b"\x02GET\n/where?q=now\nwww.example.org\nAccept\ntext/html",  # 3.2.1
    b"\x02GET\n/\n\nX\na\0b",
    b"\x02POST\n/\n\nX\r\nY\nb",
)
TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b": ",
    b"Content-Length: ",
    b"Transfer-Encoding: ",
    b"chunked",
    b"HTTP/1.1 ",
    b"100",
    b"204",
    b"200 OK",
    b"0\r\n\r\n",
    b"f\r\n",
    b" ",
    b"\0",
    b"Connection: close\r\n",
    b"a:b\r\n",
)


def check(data: bytes) -> None:
    feed = Feed(data)
    match feed.number() % 3:
        case 0 | 1 as head:
            _answer("HEAD" if head else "GET", feed.number(), feed.rest())
        case _:
            _request(feed)


class Told(NamedTuple):
    """All that a connection says of an answer."""

    heads: tuple[tuple[int, str, Fields, Framing], ...]
    body: bytes
    done: bool
    upgraded: bool
    failed: bool
    reusable: bool


class Wire:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.closed = False

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def _answer(method: str, cut: int, data: bytes) -> None:
    whole = _told(method, [data])
    assert len(whole.body) <= len(data)
    assert len(whole.heads) <= 1001
    assert all(len(fields) <= FIELDS and 100 <= status <= 999 for status, _, fields, _ in whole.heads)
    _whole(whole)
    step = cut or 1
    if len(data) // step < 2000:
        pieces = [data[start:end] for start, end in pairwise([*range(0, len(data), step), len(data)])]
        other = _told(method, pieces)
        assert (other.heads[:1], other.body[:1]) == (whole.heads[:1], other.body[:1]) or whole.failed or other.failed
        if not (whole.failed or other.failed):
            assert other == whole
        assert other.reusable <= other.done
    if whole.done and whole.reusable and len(data) < 4000:
        _agrees(method, data, whole)


def _whole(told: Told) -> None:
    """A body that has ended is as long as its length says; where none can be, there is none."""
    if told.done and not told.failed:
        _, _, fields, framing = told.heads[-1]
        if framing is Framing.LENGTH:
            assert len(told.body) == int(fields.get("content-length") or 0)
        elif framing is Framing.NONE:
            assert told.body == b""


def _told(method: str, pieces: list[bytes]) -> Told:
    connection, wire = Connection(_LOOP), Wire()
    connection.connection_made(wire)  # type: ignore[arg-type]
    connection.begin(method, b"")
    heads: list[Head] = []
    body: list[bytes] = []
    for piece in pieces:
        if wire.closed:
            break
        connection.data_received(piece)
        assert connection._buffered <= BUFFER + len(piece)
        heads += connection._heads
        connection._heads.clear()
        body.append(connection.take())
    reusable = connection.reusable
    assert sum(map(len, connection._names + connection._values)) <= HEAD + max(map(len, pieces), default=0)
    connection.connection_lost(None)
    assert connection.done or connection.failure is not None or connection.upgraded
    told = tuple((head.status, head.phrase, head.fields, head.framing) for head in heads)
    return Told(told, b"".join(body), connection.done, connection.upgraded, connection.failure is not None, reusable)


def _agrees(method: str, data: bytes, told: Told) -> None:
    """An answer that was proven whole, on a connection that may be used again, is that to another reader too."""
    reader = h11.Connection(h11.CLIENT)
    target = [("Host", "a")]
    reader.send(h11.Request(method=method, target="/", headers=target))
    reader.send(h11.EndOfMessage())
    body = b""
    try:
        reader.receive_data(data)
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if event in (h11.NEED_DATA, h11.PAUSED):
                raise AssertionError(f"{told} is not whole")
            body += bytes(event.data) if isinstance(event, h11.Data) else b""
    except h11.RemoteProtocolError:
        return  # it refuses more than we do
    assert body == told.body


def _request(feed: Feed) -> None:
    method, target, host = feed.text(), feed.text(), feed.text()
    name, value = feed.line(), feed.rest()
    call = Call(method, target, Fields(((name, value),)), host=host or None)
    try:
        head = request_head(call, "origin:80")
    except BadRequest:
        return
    assert head.endswith(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    assert lines[0].split(b" ") == [method.encode(), target.encode(), b"HTTP/1.1"]
    assert len(lines) <= 4
    _framing(Fields(((name, value), (b"Content-Length", value))))


def _framing(fields: Fields) -> None:
    for status in (200, 204, 101):
        try:
            assert framing("GET", status, "1.1", fields) in Framing
        except UpstreamError:
            continue


TARGET = Target(check, SEEDS, TOKENS)
