"""What the fast lane takes for a request head is one to everybody, and the same."""

import asyncio
import string

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.server.heads import TARGET, Heads, expression

PLAIN = b"GET /a?b=1 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"


def test_a_plain_head() -> None:
    heads = Heads()
    for method in ("GET", "HEAD"):
        assert heads.read(PLAIN.replace(b"GET", method.encode()))
        assert heads.method == method
        assert heads.fields == {TARGET: b"/a?b=1", b"Host": b"x", b"Accept": b"*/*"}


@pytest.mark.parametrize(
    "data",
    [
        b"POST /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"get /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.2\r\nHost: x\r\n\r\n",
        b"GET  /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a  HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a\tHTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xe4 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: x\n\n",
        b"GET /a HTTP/1.1\r\nHost: x\n\r\n",
        b"GET /a HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /a HTTP/1.1\r\n Host: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nFolded: a\r\n b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nA: a\rb\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nA: a\0b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nA: 1\r\nA: 2\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"GET /a\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_not_plain_is_for_others_and_leaves_nothing_behind(data: bytes) -> None:
    heads = Heads()
    assert not heads.read(data)
    assert heads.read(PLAIN)
    assert heads.fields[TARGET] == b"/a?b=1"


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: close"])
def test_who_stands_aside_renews(field: bytes) -> None:
    heads = Heads()
    heads.read(b"GET /a HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n\r\n")
    heads.renew()
    assert heads.read(PLAIN)


# -- whoever else reads it ---------------------------------------------------------------------------------------------


def by_aiohttp(data: bytes) -> tuple[str, str, tuple[tuple[bytes, bytes], ...]] | None:
    """Method, target and fields of one whole head as aiohttp's parser reads it; None when it is no such head to it."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, auto_decompress=False)
        messages, upgraded, tail = parser.feed_data(data)
        if len(messages) != 1 or upgraded or tail or not messages[0][1].is_eof():
            return None
        message = messages[0][0]
        return message.method, message.path, message.raw_headers
    except HttpProcessingError:
        return None
    finally:
        loop.close()


NAMES = st.sampled_from(
    ["Host", "host", "A", "X-Long-Name", "Content-Length", "Transfer-Encoding", "Connection", "_", "x!#"]
)
VALUES = st.one_of(
    st.sampled_from(
        ["", "x", "0", "5", "chunked", "close", "keep-alive", " a", "a ", "\ta\t", "a\tb", "a  b", "ä", "\x7f"]
    ),
    st.text(string.printable + "\0\x01\x80\xff", max_size=12),
)
LINES = st.tuples(
    NAMES, st.sampled_from([":", ": ", ":\t", " :", ""]), VALUES, st.sampled_from(["\r\n"] * 9 + ["\n", "\r", "\r\n "])
)
TARGETS = st.one_of(
    st.sampled_from(["/", "/a", "/a?b", "/a#b", "*", "a", "/\xe4", "/%zz", "//a"]), st.text("/a?%#\t \x01", max_size=6)
)


@settings(max_examples=600, deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD", "get", "POST", "GETT"]),
    gaps=st.tuples(st.sampled_from([" ", "  ", "\t", ""]), st.sampled_from([" ", " ", "  "])),
    target=TARGETS,
    version=st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1", ""]),
    lines=st.lists(LINES, max_size=5),
    host=st.sampled_from([True, True, True, False]),
)
def test_aiohttp_reads_the_same(
    method: str, gaps: tuple[str, str], target: str, version: str, lines: list[tuple[str, str, str, str]], host: bool
) -> None:
    lines = [("Host", ":", "x", "\r\n"), *lines] if host else lines
    text = f"{method}{gaps[0]}{target}{gaps[1]}{version}\r\n" + "".join(map("".join, lines)) + "\r\n"
    data = text.encode("latin-1")
    heads = Heads()
    if data.find(b"\r\n\r\n") + 4 != len(data) or not heads.read(data):
        return
    names = [name.lower() for name in heads.fields]
    if names.count(b"host") != 1 or not {b"content-length", b"transfer-encoding", b"connection"}.isdisjoint(names):
        return  # `Reading` refuses it, or it is more than its head: the lane stands aside
    read = by_aiohttp(data)
    assert read is not None, data
    pairs = tuple((name, value.strip(b" \t")) for name, value in heads.fields.items() if name != TARGET)
    assert read == (heads.method, heads.fields[TARGET].decode(), pairs)


# -- heads like another ------------------------------------------------------------------------------------------------


ALIKE = (TARGET, b"Host", b"x-Request-Id", b"A.b")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_expression_finds_what_is_asked_of_it(method: str) -> None:
    find = expression(method, ALIKE, {TARGET, b"x-Request-Id"}, b"x-Request-Id")
    head = b"%b /a?b=1 HTTP/1.1\r\nHost: x\r\nx-Request-Id: 17\r\nA.b: \r\n\r\n"
    found = find.fullmatch(head % method.encode())
    assert found is not None
    assert found.groups() == (b"/a?b=1", b"17")
    assert find.fullmatch(head % b"POST") is None


@pytest.mark.parametrize("id", ["", " 17", "17 ", "1 7", "1\x7f", "\xe4", "1" * 129])
def test_a_request_id_that_is_not_passed_on_is_not_found(id: str) -> None:
    head = f"GET /a HTTP/1.1\r\nHost: x\r\nx-Request-Id: {id}\r\nA.b: \r\n\r\n".encode("latin-1")
    assert expression("GET", ALIKE, set(ALIKE), b"x-Request-Id").fullmatch(head) is None
    assert expression("GET", ALIKE, set(ALIKE)).fullmatch(head) is not None or not id.isprintable() or not id.isascii()


@settings(max_examples=1500, deadline=None)
@given(
    target=TARGETS,
    values=st.tuples(VALUES, VALUES, VALUES),
    bend=st.one_of(
        st.none(), st.tuples(st.integers(0, 80), st.sampled_from(["", " ", "\r", "\n", "\r\n", ":", "\0", "a"]))
    ),
)
def test_what_an_expression_takes_is_read_the_same(
    target: str, values: tuple[str, str, str], bend: tuple[int, str] | None
) -> None:
    lines = (f"{name.decode()}: {value}\r\n" for name, value in zip(ALIKE[1:], values, strict=True))
    text = f"GET {target} HTTP/1.1\r\n" + "".join(lines) + "\r\n"
    if bend is not None:
        text = text[: bend[0]] + bend[1] + text[bend[0] + 1 :]
    data = text.encode("latin-1")
    found = expression("GET", ALIKE, set(ALIKE)).fullmatch(data)
    if found is None:
        return
    heads = Heads()
    assert data.find(b"\r\n\r\n") + 4 == len(data)
    if not heads.read(data):  # the target is of no form at all: nothing was ever remembered of it
        assert "#" in target or not target.startswith("/")
        return
    assert tuple(heads.fields) == ALIKE
    assert [value.strip() for value in found.groups()] == [value.strip() for value in heads.fields.values()]
