"""Where messages begin at our door, methods that the parser has no name for, and what the log makes of it all. A byte
for where the bytes are cut, then the bytes of a connection, whose requests are answered as they come."""

import asyncio
from contextlib import suppress
from functools import cache
from itertools import pairwise
from types import SimpleNamespace

import orjson
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from proxy.errors import BadRequest
from proxy.message import Fields
from proxy.observe.logs import json_line, printable
from proxy.server.access_log import Redaction
from proxy.server.boundary import Boundary
from proxy.server.methods import Methods
from proxy.server.requests import check_framing, target_and_host
from tests.fuzz.target import Feed, Target
from tests.support.framing import read

_HOST = b" / HTTP/1.1\r\nHost: a\r\n"
_PROBE = b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n"
SEEDS = (
    b"\x00PUT" + _HOST + b"Content-Length: 5\r\n\r\nhello",
    b"\x00GET" + _HOST + b"\r\n\r\n\r\nBREW" + _HOST + b"Content-Length: 2\r\n\r\nokGET" + _HOST + b"\r\n",
    b"\x07PUT" + _HOST + b"Content-Length: 5\r\n\r\nhelloGET" + _HOST + b"\r\nGET" + _HOST + b"\r\n",
    b"\x05POST" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nBRE\r\n0\r\nX: 1\r\n\r\nM-BREW" + _HOST + b"\r\n",
    b"\x01brew" + _HOST + b"\r\n",
    b"\x31PUT"
    + _HOST
    + b"Content-Length: 24\r\n\r\nGET /inner HTTP/1.1\r\n\r\n\r\nTRACE"
    + _HOST
    + b"Connection: close\r\n\r\n",
    b"\x02GET /?token=a&x;token=b&%74oken=c HTTP/1.0\r\n\r\n",
)
TOKENS = (
    b"\r\n",
    b"\n",
    b"GET",
    b"BREW",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    _HOST,
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"3\r\n",
    b" ",
    b":",
    b"CONNECT",
    b"&",
    b";",
    b"token=",
    b"Upgrade: a\r\nConnection: upgrade\r\n",
)
_LONGEST = 2000  # bytes up to which another reader is asked


def check(data: bytes) -> None:
    feed = Feed(data)
    cut = feed.number()
    stream = feed.rest()
    step = cut or len(stream) or 1
    if len(stream) // step < _LONGEST:
        for end in (len(stream), len(stream) - 1, len(stream) // 2):
            _connection([stream[at : min(at + step, end)] for at in range(0, end, step)])
    if len(stream) <= _LONGEST:
        _boundaries(stream)
    _logged(stream.decode("latin-1"))


class Door:
    """As `server.connections` feeds its parser."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._parser = HttpRequestParser(BaseProtocol(_loop()), _loop(), 2**16)
        self._boundary, self._methods = Boundary(), Methods()
        self._body: StreamReader = EMPTY_PAYLOAD

    @property
    def here(self) -> bool:
        return self._boundary.here and self._body.is_eof() and not self._methods._held

    def feed(self, data: bytes) -> None:
        fed = self._methods.hide(data, self._boundary.here and self._body.is_eof())
        found, upgraded, _ = self._parser.feed_data(fed)
        length: int | None = 0
        if found:
            message, self._body = found[-1]
            if self._body is not EMPTY_PAYLOAD:
                told = message.headers.get("Content-Length")
                length = None if message.chunked or told is None else int(told)
            first = self._methods.restore(found[0][0])
            self.seen += [_named(first), *(_named(message) for message, _ in found[1:])]
        self._boundary.fed(fed, len(found), self._body, length)
        if upgraded:
            raise HttpProcessingError(message="the rest is not HTTP")


def _named(message: RawRequestMessage) -> tuple[str, str]:
    fields = Fields(message.raw_headers)  # type: ignore[arg-type]
    raw = SimpleNamespace(method=message.method, version=message.version, raw_path=message.path)
    check_framing(raw, fields)  # type: ignore[arg-type]
    return message.method, target_and_host(raw, fields, "http")[0]  # type: ignore[arg-type]


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


def _connection(pieces: list[bytes]) -> None:
    door = Door()
    try:
        for piece in pieces:
            door.feed(piece)
        if door.here:
            before = len(door.seen)
            door.feed(_PROBE)
            assert door.seen[before:] == [("GET", "/probe")], "a request that began there was not read as one"
            door.seen.pop()
    except (HttpProcessingError, BadRequest):
        pass  # the connection ends with a 400
    stream = b"".join(pieces)
    if len(stream) <= _LONGEST:
        there = iter([(reading.method, reading.target) for reading in read(stream)])
        assert all(any(own == other for other in there) for own in door.seen if own[0] != "PRI"), door.seen


def _boundaries(stream: bytes) -> None:
    """A boundary is where a message begins. None is missed where nothing is sent before its turn."""
    ends = _ends(stream)
    for offsets in ((-1, 0, 1), (1,), (4,)):  # from the ends of messages, to cut there
        near = {place for end in ends for place in (end + offset for offset in offsets) if 0 <= place <= len(stream)}
        door = Door()
        with suppress(HttpProcessingError, BadRequest):
            for start, place in pairwise(sorted({*near, 0, len(stream)})):
                door.feed(stream[start:place])
                begins = any(end <= place and not stream[end:place].strip(b"\r\n") for end in ends)
                assert begins >= door.here, "no message begins there"
                assert door.here >= (begins and 0 in offsets), "a message begins there"


def _ends(stream: bytes) -> list[int]:
    """Where messages end, the beginning with them, as far as they can be read."""
    ends = [0]
    while (end := _end(stream, ends[-1])) is not None:
        ends.append(end)
    return ends


def _end(stream: bytes, start: int) -> int | None:
    """Where the message that begins there ends; told by a parser of its own that gets one byte after the other, and so
    by nothing that looks for boundaries."""
    parser, body = HttpRequestParser(BaseProtocol(_loop()), _loop(), 2**16), None
    fed = Methods().hide(stream[start:].lstrip(b"\r\n"), True)
    with suppress(HttpProcessingError):
        for at in range(len(fed)):
            found, upgraded, _ = parser.feed_data(fed[at : at + 1])
            body = found[0][1] if found else body
            if upgraded:
                return None
            if body is not None and body.is_eof():
                return at + 1 + len(stream) - len(fed)
    return None


_HIDE = Redaction(["token"], b"key")


def _logged(text: str) -> None:
    assert printable(text).isprintable() or "\xa0" in text or "\xad" in text
    made = json_line({"text": text})
    assert orjson.loads(made) == {"text": text}
    assert not any(byte < 32 or byte == 127 for byte in made)
    hidden = _HIDE(text)
    assert "token=s3cret" not in _HIDE(f"{text}&token=s3cret&{text}")
    assert _HIDE(hidden).count("&") == text.count("&") or "token" in hidden


TARGET = Target(check, SEEDS, TOKENS)
