"""The client of one origin, over real sockets: what is sent and read is byte for byte what was meant (invariants 6, 8),
connections are kept and used again only when nothing is left in them (invariant 7, RFC 9112 9.3)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.errors import BadRequest, ClientGone, ConfigError, Fault, UpstreamError
from proxy.message import Fields, Framing, Head, Upload
from proxy.upstream.attempt import Timeouts
from proxy.upstream.client import Authority, OriginClient
from proxy.upstream.protocol import Answer, Call
from tests.support.origin import FIN, READ_BODY, Origin, Reader, Recorded, Writer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        yield origin


@pytest.fixture
async def client(origin: Origin) -> AsyncIterator[OriginClient]:
    client = OriginClient(origin.url, keep_alive=60, wall=lambda: 1000.0)  # none expires during a test
    yield client
    await client.close()


def get(target: str, *pairs: tuple[str, str], method: str = "GET", **more: Any) -> Call:
    return Call(method, target, Fields.of(*pairs), **more)


async def read(answer: Answer) -> bytes:
    return b"".join([chunk async for chunk in answer])


def upload(*chunks: bytes, length: int | None = None) -> Upload:
    async def source() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return Upload(source(), length)


# what is sent


async def test_the_request_on_the_wire_is_exactly_the_call(origin: Origin, client: OriginClient) -> None:
    fields = Fields(
        [(b"X-MiXed", b"1"), (b"a", b"2"), (b"x-mixed", b"  3 \xe9\xff"), (b"Cookie", b"a=b; c"), (b"User-Agent", b"")]
    )
    await read(await client.fetch(Call("GET", "/a", fields)))
    assert origin.last.raw == (
        b"GET /a HTTP/1.1\r\nHost: " + origin.authority.encode() + b"\r\n"
        b"X-MiXed: 1\r\na: 2\r\nx-mixed:   3 \xe9\xff\r\nCookie: a=b; c\r\nUser-Agent: \r\n\r\n"
    )


@pytest.mark.parametrize(
    "target",
    [
        "/?",
        "/a?",
        "/a?b?c&&=",
        "/%7euser/%2F%2f/..;/./x//y",
        "/a%00b",
        '/\\a|b^c`{}"<>',
        "/?q=%C3%A9+%20'()*",
        "*",
        "/#x",
    ],
)
async def test_targets_are_sent_as_they_are(origin: Origin, client: OriginClient, target: str) -> None:
    await read(await client.fetch(get(target, method="OPTIONS")))
    assert origin.last.target == target


async def test_the_host_is_the_authority_or_the_one_to_preserve(origin: Origin, client: OriginClient) -> None:
    await read(await client.fetch(get("/", ("Host", "smuggled"), host="shop.example:8443")))
    await read(await client.fetch(get("/")))
    assert [r.lines("host") for r in origin.requests] == [["shop.example:8443"], [origin.authority]]


@pytest.mark.parametrize(
    ("method", "body", "framing"),
    [
        ("GET", None, (None, None)),
        ("HEAD", None, (None, None)),
        ("DELETE", None, (None, None)),
        ("POST", None, ("0", None)),
        ("POST", lambda: upload(b"abc", b"", b"de", length=5), ("5", None)),
        ("PUT", lambda: upload(b"abc", b"", b"de"), (None, "chunked")),
        ("POST", lambda: upload(), (None, "chunked")),
        ("POST", lambda: upload(length=0), ("0", None)),
        ("GET", lambda: upload(b"x", length=1), ("1", None)),
    ],
)
async def test_request_bodies_are_framed_anew(
    origin: Origin, client: OriginClient, method: str, body: Any, framing: tuple[str | None, str | None]
) -> None:
    sent = None if body is None else body()
    call = get("/", ("Content-Length", "99"), ("Transfer-Encoding", "gzip"), method=method, body=sent)
    await read(await client.fetch(call))
    got = origin.last
    assert (got.header("content-length"), got.header("transfer-encoding")) == framing
    assert got.whole
    assert got.body in (b"", b"abcde", b"x")


@pytest.mark.parametrize(
    "call",
    [
        get("/a b"),
        get("/a\r\nX: y"),
        get("/é"),
        get(""),
        get("/", method="GE T"),
        get("/", ("X", "a\r\nY: b")),
        get("/", ("X", "a\nb")),
        get("/", ("X", "a\0b")),
        get("/", host="a\r\nX: y"),
    ],
)
async def test_what_would_be_two_requests_is_never_sent(origin: Origin, client: OriginClient, call: Call) -> None:
    with pytest.raises(BadRequest):
        await client.fetch(call)
    assert origin.connections == 0


# what is read


async def test_the_answer_is_what_came(origin: Origin, client: OriginClient) -> None:
    origin.script(
        "/",
        b"HTTP/1.1 299 Caf\xe9\tau lait\r\nX-a: 1 \r\nset-cookie: a=b\r\nSet-Cookie: c=\xff\r\nx-A:\t2\r\nE:\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8bno",
    )
    answer = await client.fetch(get("/"))
    assert answer.head == Head(
        299,
        "Caf\xe9\tau lait",
        Fields(
            [
                (b"X-a", b"1"),
                (b"set-cookie", b"a=b"),
                (b"Set-Cookie", b"c=\xff"),
                (b"x-A", b"2"),
                (b"E", b""),
                (b"Content-Encoding", b"gzip"),
                (b"Content-Length", b"4"),
            ]
        ),
        Framing.LENGTH,
        1000.0,
        1000.0,
    )
    assert await read(answer) == b"\x1f\x8bno"


async def test_what_came_whole_with_its_head_is_at_hand_until_it_is_read(origin: Origin, client: OriginClient) -> None:
    rest = asyncio.Event()

    async def later(request: Recorded, reader: Reader, writer: Writer) -> None:
        await rest.wait()
        writer.write(b"lf")

    origin.script("/whole", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
    origin.script("/half", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha", later)
    answer = await client.fetch(get("/whole"))
    assert answer.at_hand == b"whole"
    assert await read(answer) == b"whole"
    assert answer.at_hand is None
    answer = await client.fetch(get("/half"))
    assert answer.at_hand is None
    rest.set()
    assert await read(answer) == b"half"
    assert answer.at_hand is None
    assert (await client.fetch(get("/nothing", method="HEAD"))).at_hand == b""


async def test_cookies_are_not_kept_and_redirects_not_followed(origin: Origin, client: OriginClient) -> None:
    origin.answer("/", 302, [("Location", "/b"), ("Set-Cookie", "id=1; Path=/")])
    for _ in range(2):
        assert (await client.fetch(get("/"))).head.status == 302
    assert [(r.target, r.header("cookie")) for r in origin.requests] == [("/", None), ("/", None)]


@pytest.mark.parametrize(
    ("method", "said", "framing", "body"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Framing.NONE, b""),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Framing.NONE, b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", Framing.NONE, b""),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", Framing.NONE, b""),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Framing.LENGTH, b""),
        ("GET", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab", Framing.LENGTH, b"ab"),
        ("GET", CHUNKED + b"2;x=y\r\nab\r\n0\r\nT: 1\r\n\r\n", Framing.CHUNKED, b"ab"),
        ("GET", b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", Framing.LENGTH, b"a"),
    ],
)  # fmt: skip
async def test_a_proven_end_keeps_the_connection(
    origin: Origin, client: OriginClient, method: str, said: bytes, framing: Framing, body: bytes
) -> None:
    origin.script("/", said)
    for _ in range(2):
        answer = await client.fetch(get("/", method=method))
        assert (answer.head.framing, await read(answer)) == (framing, body)
    assert (origin.count(), origin.connections) == (2, 1)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naX",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n\r\n\r\nZ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbad",
    ],
)
async def test_a_connection_with_anything_left_in_it_is_not_used_again(
    origin: Origin, client: OriginClient, said: bytes
) -> None:
    origin.script("/", said)
    for _ in range(2):
        assert await read(await client.fetch(get("/"))) == b"a"
    assert origin.connections == 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_content_that_nobody_expects_is_the_last_on_its_connection(
    origin: Origin, client: OriginClient, method: str
) -> None:
    """A server that ignores it takes it for the next request, and somebody else would get the answer to that."""
    for path in ("/a", "/b"):
        origin.answer(path, body=b"x")
    await read(await client.fetch(get("/a", method=method, body=upload(b"GET /b HTTP/1.1\r\n", length=17))))
    await read(await client.fetch(get("/b")))
    assert origin.connections == 2


@pytest.mark.parametrize("late", [b"HTTP/1.1 2", b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"])
async def test_bytes_that_come_late_to_an_idle_connection_end_it(
    origin: Origin, client: OriginClient, late: bytes
) -> None:
    gate = origin.hold("/never")
    origin.script("/", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", gate, late)
    assert await read(await client.fetch(get("/"))) == b"a"
    gate.release()
    await origin.until(lambda: origin.open == 0)
    assert await read(await client.fetch(get("/"))) == b"a"
    assert origin.connections == 2


async def test_an_answer_given_up_ends_its_connection(origin: Origin, client: OriginClient) -> None:
    origin.script("/", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", origin.hold("/never"))
    answer = await client.fetch(get("/"))
    assert await anext(aiter(answer)) == b"abc"
    await answer.close()
    await answer.close()
    with pytest.raises(UpstreamError):
        await read(answer)
    await origin.until(lambda: origin.open == 0)
    assert client.in_use == 0


async def test_a_cancelled_fetch_ends_its_connection(origin: Origin, client: OriginClient) -> None:
    origin.hold("/")
    fetch = asyncio.ensure_future(client.fetch(get("/")))
    await origin.arrived("/")
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    await origin.until(lambda: origin.open == 0)
    assert client.in_use == 0


async def test_what_lies_unread_in_an_idle_connection_answers_nothing(origin: Origin, client: OriginClient) -> None:
    """Nobody has had the time to read it, and yet it is there."""
    writers = []

    async def keep(request: Recorded, reader: Reader, writer: Writer) -> None:
        writers.append(writer)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")

    origin.script("/a", keep)
    origin.answer("/b", body=b"b")
    await read(await client.fetch(get("/a")))
    writers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    assert await read(await client.fetch(get("/b"))) == b"b"
    assert origin.connections == 2


async def test_idle_connections_are_ended_after_a_while(origin: Origin) -> None:
    client = OriginClient(origin.url, keep_alive=0.01)
    await read(await client.fetch(get("/")))
    await origin.until(lambda: origin.open == 0)
    await read(await client.fetch(get("/")))
    assert origin.connections == 2
    await client.close()


async def test_each_idle_connection_has_a_time_of_its_own(origin: Origin) -> None:
    client = OriginClient(origin.url, keep_alive=0.2)
    gate = origin.hold("/b")
    later = asyncio.ensure_future(client.fetch(get("/b")))
    await origin.arrived("/b")
    await read(await client.fetch(get("/a")))
    await asyncio.sleep(0.1)  # the first one's time is half over
    gate.release()
    await read(await later)
    assert origin.connections == 2
    await origin.until(lambda: origin.open == 0)
    await client.close()


async def test_interim_answers_are_told(origin: Origin, client: OriginClient) -> None:
    origin.script(
        "/", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 2 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )
    told: list[Head] = []
    await client.fetch(get("/"), told.append)
    assert [(head.status, head.fields.get("link")) for head in told] == [(103, "</x>")] * 2


async def test_connections_in_use_are_bounded(origin: Origin) -> None:
    client = OriginClient(origin.url, max_connections=2)
    gate = origin.hold("/")
    held = [asyncio.ensure_future(client.fetch(get("/"))) for _ in range(2)]
    await origin.arrived("/", 2)
    with pytest.raises(UpstreamError) as caught:
        await client.fetch(get("/"))
    assert (caught.value.fault, caught.value.retry_after) == (Fault.BUSY, 1)
    gate.release()
    for answer in held:
        await read(await answer)
    await read(await client.fetch(get("/")))
    await client.close()


# bodies that flow


async def test_an_upload_is_sent_while_it_is_made(origin: Origin, client: OriginClient) -> None:
    sent = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"first"
        await origin.until(lambda: [r.body for r in origin.requests] == [b"first"])
        sent.set()
        yield b"second"

    await read(await client.fetch(get("/", method="POST", body=Upload(source(), None))))
    assert sent.is_set()
    assert origin.last.body == b"firstsecond"


async def test_an_answer_before_the_end_of_the_upload_is_taken(origin: Origin, client: OriginClient) -> None:
    origin.script("/", b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", origin.hold("/x"), early=True)
    never = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"some"
        await never.wait()

    answer = await client.fetch(get("/", method="POST", body=Upload(source(), 1000)))
    assert (answer.head.status, await read(answer)) == (413, b"no")
    assert client.in_use == 0
    await read(await client.fetch(get("/next")))
    assert origin.connections == 2  # half a request went out on the first: nothing could follow there


async def test_an_answer_may_echo_the_upload_as_it_comes(origin: Origin, client: OriginClient) -> None:
    async def echo(request: Recorded, reader: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for _ in range(2):
            writer.write(await reader.readexactly(3))
        request.whole = True

    origin.script("/", echo, early=True)
    turn = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"abc"
        await turn.wait()
        yield b"def"

    answer = await client.fetch(get("/", method="POST", body=Upload(source(), 6)))
    assert await anext(aiter(answer)) == b"abc"
    turn.set()
    assert await read(answer) == b"def"


@pytest.mark.parametrize("length", [None, 10])
@pytest.mark.parametrize("answered", [False, True])
async def test_a_broken_upload_is_never_a_whole_request(
    origin: Origin, client: OriginClient, length: int | None, answered: bool
) -> None:
    origin.script("/", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" if answered else b"", READ_BODY, early=True)
    leave = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"some"
        await leave.wait()
        raise ClientGone("left")

    fetch = asyncio.ensure_future(client.fetch(get("/", method="POST", body=Upload(source(), length))))
    await origin.until(lambda: [r.body for r in origin.requests] == [b"some"])
    answer = await fetch if answered else None
    leave.set()
    with pytest.raises(UpstreamError if answered else ClientGone):
        await read(answer or await fetch)
    await origin.until(lambda: origin.open == 0)
    assert not origin.last.whole


@pytest.mark.parametrize("chunks", [(b"abc",), (b"abc", b"def")])
async def test_an_upload_that_belies_its_length_is_cut(
    origin: Origin, client: OriginClient, chunks: tuple[bytes, ...]
) -> None:
    with pytest.raises(ClientGone):
        await client.fetch(get("/", method="POST", body=upload(*chunks, length=5)))
    await origin.until(lambda: origin.connections == 1 and origin.open == 0)
    assert not any(request.whole for request in origin.requests)


async def test_an_unread_answer_stops_the_origin(origin: Origin, client: OriginClient) -> None:
    written = 0
    size, piece = 64, b"x" * (1 << 20)

    async def flood(request: Recorded, reader: Reader, writer: Writer) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size * len(piece)))
        for _ in range(size):
            writer.write(piece)
            await writer.drain()
            written += len(piece)

    origin.script("/flood", flood)
    answer = await client.fetch(get("/flood"))
    for _ in range(20):  # other exchanges go on, the flood does not
        await read(await client.fetch(get("/")))
    assert written < 32 << 20
    total = largest = 0
    async for chunk in answer:
        total, largest = total + len(chunk), max(largest, len(chunk))
    assert (total, largest <= 1 << 20) == (64 << 20, True)


# where it goes


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://a.example", Authority(False, "a.example", 80, "a.example")),
        ("http://A.example:80/base", Authority(False, "a.example", 80, "a.example")),
        ("https://a.example:80", Authority(True, "a.example", 80, "a.example:80")),
        ("https://[::1]:8443/x", Authority(True, "::1", 8443, "[::1]:8443")),
        ("http://bücher.example", Authority(False, "xn--bcher-kva.example", 80, "xn--bcher-kva.example")),
    ],
)
def test_authorities(url: str, authority: Authority) -> None:
    assert Authority.of(url) == authority


@pytest.mark.parametrize(
    "url", ["", "a.example", "ftp://a", "http://", "http://u:secret@a", "http://a:b", "http://a?q", "http://a:99999"]
)
def test_urls_that_cannot_be_upstreams(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Authority.of(url)
    assert caught.value.problems[0].place == "upstream.url"
    assert "secret" not in str(caught.value)


async def test_a_closed_client_fetches_nothing(origin: Origin) -> None:
    client = OriginClient(origin.url, timeouts=Timeouts())
    await read(await client.fetch(get("/")))
    await client.close()
    await client.close()
    await origin.until(lambda: origin.open == 0)
    with pytest.raises(UpstreamError):
        await client.fetch(get("/"))


async def test_close_delimited_answers_are_told_as_such(origin: Origin, client: OriginClient) -> None:
    origin.script("/", b"HTTP/1.1 200 OK\r\n\r\nabc", FIN)
    answer = await client.fetch(get("/"))
    assert (answer.head.framing, await read(answer)) == (Framing.CLOSE, b"abc")
    assert client.in_use == 0
