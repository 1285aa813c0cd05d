"""Methods of any name, on connections in any state (RFC 9110 9.1, 7.6), and where messages begin."""

import asyncio
from dataclasses import dataclass
from itertools import pairwise

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD
from hypothesis import given
from hypothesis import strategies as st

from proxy.server.boundary import Boundary
from proxy.server.methods import KNOWN, Methods
from tests.support.origin import Origin
from tests.support.process import serving
from tests.support.rawtcp import raw

CACHED = [("Cache-Control", "max-age=60")]
GET = b"GET /b HTTP/1.1\r\nHost: site.example\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: site.example\r\n"
BREW = b"BREW /a HTTP/1.1\r\nHost: site.example\r\nContent-Length: 2\r\n\r\nok"


def parser() -> HttpRequestParser:
    loop = asyncio.new_event_loop()
    loop.close()
    return HttpRequestParser(BaseProtocol(loop), loop, 2**16)


@pytest.mark.parametrize("method", sorted(KNOWN - {b"PRI", b"CONNECT", b"SOURCE"}))
def test_what_the_parser_knows_it_gets_as_it_came(method: bytes) -> None:
    head = method + b" /a HTTP/1.1\r\nHost: a\r\n\r\n"
    assert Methods().hide(head, True) == head
    ((message, _),) = parser().feed_data(head)[0]
    assert message.method == method.decode()


@pytest.mark.parametrize(
    ("data", "boundary", "parsed"),
    [
        (b"BREW /a", True, b"PATCH /a"),
        (b"M-BREW.2 /a", True, b"PATCH /a"),
        (b"BREW /a", False, b"BREW /a"),
        (b"\r\nBREW /a", True, b"\r\nPATCH /a"),
        (b"brew /a", True, b"brew /a"),
        (b"Brew /a", True, b"Brew /a"),
        (b"BR EW /a", True, b"PATCH EW /a"),  # the parser's to refuse
        (b"BREW\t/a", True, b"BREW\t/a"),
        (b"B" * 65 + b" /a", True, b"B" * 65 + b" /a"),
        (b" BREW /a", True, b" BREW /a"),
        (b"\x16\x03\x01", True, b"\x16\x03\x01"),
        (b"PRI * HTTP/2.0", True, b"PRI * HTTP/2.0"),
        (b"", True, b""),
    ],
)
def test_what_goes_under_another_name(data: bytes, boundary: bool, parsed: bytes) -> None:
    assert Methods().hide(data, boundary) == parsed


def test_a_method_that_comes_in_pieces() -> None:
    methods = Methods()
    assert [methods.hide(piece, True) for piece in (b"B", b"RE", b"W", b" /a")] == [b"", b"", b"", b"PATCH /a"]
    assert [methods.hide(piece, True) for piece in (b"G", b"ET")] == [b"", b"GET"]


# What is sent on one connection: pieces of requests, each list of them answered before the next.
EXCHANGES = {
    "at once": [[BREW]],
    "split": [[BREW[:2], BREW[2:]]],
    "byte by byte": [[BREW[n : n + 1] for n in range(len(BREW))]],
    "after a GET": [[GET], [BREW]],
    "after an upload": [[POST + b"Content-Length: 5\r\n\r\n12", b"345"], [BREW]],
    "after chunks": [[POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nBRE\r\n0\r\n", b"\r\n"], [BREW]],
    "twice": [[BREW], [BREW]],
    "after empty lines": [[GET], [b"\r\n\r\n" + BREW], [b"\r\n", BREW[:2], BREW[2:]]],
}


async def test_an_unknown_method_passes_and_ends_what_is_stored() -> None:
    async with Origin() as origin, serving(origin) as gateway:
        for path in ("/a", "/b"):
            origin.answer(path, headers=CACHED, body=b"x")
        for name, exchanges in EXCHANGES.items():
            assert await gateway.verdicts("/a", "/a") == ["MISS", "HIT"], name
            async with raw(gateway.port) as connection:
                for pieces in exchanges:
                    for piece in pieces:
                        await connection.send(piece)
                    assert (await connection.response()).status == 200, name
            assert (origin.last.method, origin.last.target, origin.last.body) == ("BREW", "/a", b"ok"), name


async def test_its_end_is_where_it_would_be_with_any_other() -> None:
    """What stands in its body is no request, and what follows it is one."""
    inner = b"GET /inner HTTP/1.1\r\nHost: site.example\r\n\r\n"
    head = b"BREW /a HTTP/1.1\r\nHost: site.example\r\n"
    async with Origin() as origin, serving(origin) as gateway:
        origin.answer("/a", body=b"brewed")
        origin.answer("/b", body=b"after")
        async with raw(gateway.port) as connection:
            await connection.send(head + b"Content-Length: %d\r\n\r\n" % len(inner) + inner + GET)
            assert [(await connection.response()).body for _ in range(2)] == [b"brewed", b"after"]
        assert [request.target for request in origin.requests] == ["/a", "/b"]
        for framing in (b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"Content-Length: 1, 2", b"A : b"):
            async with raw(gateway.port) as connection:
                await connection.send(head + framing + b"\r\n\r\n")
                assert (await connection.response()).status == 400
        for word in (b"brew", b"BR(EW"):
            async with raw(gateway.port) as connection:
                await connection.send(word + head[4:] + b"\r\n")
                assert (await connection.response()).status == 400
        assert len(origin.requests) == 2


@dataclass(frozen=True)
class Message:
    data: bytes
    length: int | None


def message(method: str, framing: str, body: bytes, blank: bool) -> Message:
    head = f"{method} /a HTTP/1.1\r\nHost: a\r\n".encode()
    empty = b"\r\n" * blank
    if framing == "none":
        return Message(empty + head + b"\r\n", 0)
    if framing == "length":
        return Message(empty + head + b"Content-Length: %d\r\n\r\n" % len(body) + body, len(body))
    chunks = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return Message(empty + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", None)


messages = st.builds(
    message,
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["none", "length", "chunked"]),
    st.sampled_from([b"", b"x", b"\r\n\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]),
    st.booleans(),
)


@given(st.lists(messages, min_size=1, max_size=5), st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_a_boundary_is_where_a_message_begins(sent: list[Message], cuts: list[int], whole: bool) -> None:
    """Never elsewhere; and where nothing is sent before its turn, at the end of each."""
    stream = b"".join(each.data for each in sent)
    ends, at = {0}, 0
    for each in sent:
        at += len(each.data)
        ends.add(at)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream)), *(ends if whole else ())})
    http, boundary, body, lengths = parser(), Boundary(), EMPTY_PAYLOAD, iter(sent)
    for start, end in pairwise(places):
        found, length = http.feed_data(stream[start:end])[0], 0
        for _, content in found:
            body, length = content, next(lengths).length
        boundary.fed(stream[start:end], len(found), body, length)
        if boundary.here:
            assert any(one <= end and not stream[one:end].strip(b"\r\n") for one in ends)
        if whole and end in ends:
            assert boundary.here
