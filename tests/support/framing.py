"""What a client may send, bent in the ways in which two recipients come to read two things (RFC 9112 11.2).

`bent` gives the bytes of one connection; `read` says, by h11, which requests stand there.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import h11

HOST = b"Host: site.example\r\n"
INNER = b"GET /{}/inner HTTP/1.1\r\n" + HOST + b"\r\n"
MARK = b"{}"  # stands for what tells one connection's requests from the others'


def _chunks(*parts: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"


_POST = b"POST /{}/a HTTP/1.1\r\n" + HOST
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n"
STRAIGHT = (
    b"GET /{}/a HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /{}/a?x=1 HTTP/1.1\r\n" + HOST + b"Accept: */*\r\nConnection: keep-alive\r\n\r\n" + INNER,
    b"GET /{}/a HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n",
    b"GET http://site.example/{}/a HTTP/1.1\r\n" + HOST + b"\r\n",
    _POST + b"Content-Length: 5\r\n\r\nhello" + INNER,
    _POST + b"Content-Length: %d\r\n\r\n" % len(INNER.replace(MARK, bytes(10))) + INNER + INNER,
    _POST + b"Content-Length: 0\r\n\r\n" + INNER,
    _CHUNKED + b"\r\n" + _chunks(b"hello", b"world") + INNER,
    _CHUNKED + b"\r\n" + _chunks(b"hello", trailers=b"X-T: 1\r\n") + INNER,
    _CHUNKED + b"\r\n" + _chunks(b"a" * 30).replace(b"\r\n", b";ext=1\r\n", 1) + INNER,
    _CHUNKED + b"Expect: 100-continue\r\n\r\n" + _chunks(b"hello"),
    b"PUT /{}/a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello",
    _POST + b"Content-Length: %d\r\n\r\n" % len(INNER.replace(MARK, bytes(10))) + INNER.replace(b"GET", b"NOT"),
    b"BREW /{}/a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello" + INNER,
    b"GET /{}/a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello" + INNER,
)

BYTES = [b"\r", b"\n", b"\r\n", b"\0", b"\t", b"\x0b", b"\x0c", b" ", b":", b";", b",", b"+", b"-", b"_", b'"', b"0"]
BYTES += [b"1", b"5", b"a", b"f", b"x", b"\x7f", b"\x80", b"\xff", b"\xc2\xa0", b"#", b"?", b"@", b"/", b"\\", b"%"]
LINES = [
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: 6",
    b"Content-Length: 05",
    b"Content-Length: +5",
    b"Content-Length: 5, 5",
    b"Content-Length: 5,6",
    b"Content-Length: 5;",
    b"Content-Length: 0x5",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: -1",
    b"Content-Length:",
    b"Content-Length : 5",
    b"Content_Length: 5",
    b" Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: xchunked",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: chunked\t",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding:",
    b"Transfer_Encoding: chunked",
    b"TE: trailers",
    b"Connection: close",
    b"Connection: Content-Length",
    b"Connection: Transfer-Encoding",
    b"Connection: upgrade\r\nUpgrade: websocket",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Expect: something",
    b"Host: other.example",
    b"Host:",
    b"Trailer: Content-Length",
    b"X: a\r\n folded",
    b"X-Y\x00: 1",
    b": nameless",
    b"no colon",
    b"Max-Forwards: 1",
]
SIZES = [b"0x5", b"+5", b"-5", b" 5", b"5 ", b"05", b"5;", b'5;a="\r\n"', b"5\t", b"5_0", b"", b"g", b"f" * 17, b"5\n"]
METHODS = [b"get", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"PRI", b"G T", b"QUERY"]
VERSIONS = [
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/1.1 ",
    b"http/1.1",
    b"HTTP/1",
    b"HTTP/01.1",
    b"",
    b"HTTP/1.1\t",
]


def _one_byte(data: bytes, random: Random) -> bytes:
    at, length = random.randrange(len(data) + 1), random.choice((0, 0, 1, 1, 2))
    return data[:at] + random.choice([b"", *BYTES]) + data[at + length :]


def _line_added(data: bytes, random: Random) -> bytes:
    at = random.choice([found.end() for found in re.finditer(rb"\r\n|\Z", data)])
    return data[:at] + random.choice(LINES) + b"\r\n" + data[at:]


def _line_replaced(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\r\n")
    lines[random.randrange(len(lines))] = random.choice(LINES)
    return b"\r\n".join(lines)


def _line_end(data: bytes, random: Random) -> bytes:
    at = random.choice([found.start() for found in re.finditer(rb"\r\n|\Z", data)])
    return data[:at] + random.choice([b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\r\n", b""]) + data[at + 2 :]


def _size(data: bytes, random: Random) -> bytes:
    return re.sub(rb"\r\n(5|1e|0)\r\n", b"\r\n" + random.choice(SIZES).replace(b"\\", b"") + b"\r\n", data, count=1)


def _method(data: bytes, random: Random) -> bytes:
    return random.choice(METHODS) + data[data.find(b" ") :]


def _version(data: bytes, random: Random) -> bytes:
    return data.replace(b"HTTP/1.1", random.choice(VERSIONS), 1)


def _spliced(data: bytes, random: Random) -> bytes:
    other = random.choice(STRAIGHT)
    return data[: random.randrange(len(data))] + other[random.randrange(len(other)) :]


BENDS: list[Callable[[bytes, Random], bytes]] = [_one_byte, _one_byte, _line_added, _line_added, _line_replaced]
BENDS += [_line_end, _size, _method, _version, _spliced]


_UNMARKED = re.compile(rb" /(?!\{\}/)|(?<!\{\})/(?:a|inner)\b|\{(?!\})|(?<!\{)\}")


def bent(random: Random, mark: bytes) -> bytes:
    """One connection's bytes. `mark`, ten bytes, is in the target of each request that is not bent out of reading."""
    while True:
        straight = data = random.choice(STRAIGHT)
        for _ in range(random.choice((1, 1, 1, 1, 2, 3))):
            data = random.choice(BENDS)(data, random)
        if data != straight and MARK in data and not _UNMARKED.search(data):
            return data.replace(MARK, mark)


@dataclass(frozen=True, slots=True)
class Reading:
    """A request as a recipient read it. The body may still have been under way."""

    method: str
    target: str
    body: bytes
    whole: bool


_TRAILERS = re.compile(rb"(?<=\r\n0\r\n)(?:[^\r\n]+\r\n)+(?=\r\n)")
_SPACES = re.compile(rb"\A(\S+) +(\S+) +(HTTP/1\.[01]\r)")


def read(data: bytes) -> list[Reading]:
    """The requests in these bytes until something cannot be read. Empty lines may stand before each (RFC 9112 2.2), and
    more spaces than one between the parts of the first line (3). What frames nothing since it stands in a trailer (RFC
    9110 6.5.1) is no concern of ours, and an error to h11."""
    data = _TRAILERS.sub(lambda found: re.sub(rb"(?i)(?:Content-Length|Transfer-Encoding) *:", b"X:", found[0]), data)
    readings: list[Reading] = []
    while data := data.lstrip(b"\r\n"):
        reading, data = _first(_SPACES.sub(rb"\1 \2 \3", data))
        if reading is None:
            break
        readings.append(reading)
    return readings


def _first(data: bytes) -> tuple[Reading | None, bytes]:
    """The request at the beginning, and what follows where that is another one's."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    head: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _reading(head, body, whole=True), connection.trailing_data[0] if _kept(connection, head) else b""
            else:
                break
    except h11.RemoteProtocolError:
        pass
    return _reading(head, body, whole=False) if head is not None else None, b""


def _kept(connection: h11.Connection, head: h11.Request) -> bool:
    """Whether the connection goes on: that of HTTP/1.0 too when it says so (RFC 9112 9.3), which h11 leaves out."""
    options = b",".join(value for name, value in head.headers if name == b"connection").lower().split(b",")
    kept = head.http_version == b"1.0" and b"keep-alive" in [option.strip() for option in options]
    return kept or connection.their_state in (h11.DONE, h11.MIGHT_SWITCH_PROTOCOL)


def _reading(head: h11.Request, body: bytes, *, whole: bool) -> Reading:
    absolute = re.fullmatch(rb"(?i:https?)://[^/?#]*(/?)(.*)", head.target)
    target = b"/" + absolute[2] if absolute else head.target
    return Reading(head.method.decode(), target.decode("latin-1"), body, whole)
