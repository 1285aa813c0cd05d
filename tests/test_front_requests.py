"""Requests as they come in: RFC 9112 3 (request line, Host, target forms), 6.1-6.3 (ambiguous framing), the limits of
heads, X-Request-Id, the client's address behind trusted proxies, Cachegate-Token. Invariants 4, 6 and 7 at the door."""

import asyncio
import ipaddress
import re
import socket
import ssl
from contextlib import AsyncExitStack

import pytest
import trustme

from proxy.errors import BadRequest
from proxy.message import Fields
from proxy.observe.counters import Bound
from proxy.reasons import Why
from proxy.server.front import Doorway
from proxy.server.gate import _TURNED_AWAY
from proxy.server.http1 import Limits
from proxy.server.peers import TrustedProxies
from proxy.server.requests import Reading, normal_host
from tests.support.door import door, reply
from tests.support.rawtcp import raw

HOST = b"Host: a\r\n"
OK = [
    # name, what is sent, (method, target, host) as the pipeline sees it
    ("origin form", b"GET /a?b HTTP/1.1\r\nHost: Example.COM\r\n\r\n", ("GET", "/a?b", "example.com")),
    ("a bare question mark", b"GET /a? HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "/a?", "a")),
    (
        "nothing is normalised",
        b"GET /%7e/../a//b;x?%41 HTTP/1.1\r\nHost: a\r\n\r\n",
        ("GET", "/%7e/../a//b;x?%41", "a"),
    ),
    ("default port", b"GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", ("GET", "/", "a")),
    ("default port with zeros", b"GET / HTTP/1.1\r\nHost: a:0080\r\n\r\n", ("GET", "/", "a")),
    ("empty port", b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", ("GET", "/", "a")),
    ("another port", b"GET / HTTP/1.1\r\nHost: a:443\r\n\r\n", ("GET", "/", "a:443")),
    ("IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", ("GET", "/", "[::1]:8080")),
    ("absolute form wins over Host", b"GET http://B:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "/x?y", "b")),
    ("absolute form without a path", b"GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "/?y", "b")),
    ("asterisk form", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ("OPTIONS", "*", "a")),
    ("asterisk in absolute form", b"OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", ("OPTIONS", "*", "b")),
    ("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", ("GET", "/", "")),
    ("another upgrade is no upgrade", b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", ("GET", "/", "a")),
]


@pytest.mark.parametrize(("sent", "seen"), [case[1:] for case in OK], ids=[case[0] for case in OK])
async def test_what_is_taken(sent: bytes, seen: tuple[str, str, str]) -> None:
    async with door(lambda request: reply(b"ok")) as d, raw(d.port) as client:
        await client.send(sent)
        assert (await client.response()).status == 200
        (request,) = d.requests
        assert (request.method, request.target, request.host) == seen
        assert (request.scheme, request.client, request.body, request.trusted) == ("http", "127.0.0.1", None, False)


def post(*fields: bytes, version: bytes = b"1.1", body: bytes = b"0\r\n\r\n") -> bytes:
    return b"POST / HTTP/%b\r\n" % version + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"
BAD = [
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("userinfo in Host", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    ("path in Host", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("list in Host", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("escape in Host", b"GET / HTTP/1.1\r\nHost: %61\r\n\r\n", 400),
    ("port out of range", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
    ("port of letters", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    ("Host beyond ASCII", b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", 400),
    ("userinfo in the target", b"GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("https without TLS", b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("another scheme", b"GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no path", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("bytes beyond ASCII", b"GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a control character", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("asterisk for GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", (400, 505)),  # 400 when more follows in the same packet
    ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
    ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("a space before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
    ("folding", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400),
    ("NUL in a field", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    ("bare CR in a field", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    ("length and coding", post(b"Content-Length: 5", CHUNKED), 400),
    ("coding and length", post(CHUNKED, b"Content-Length: 5"), 400),
    ("two lengths", post(b"Content-Length: 5", b"Content-Length: 6"), 400),
    ("the same length twice", post(b"Content-Length: 5", b"Content-Length: 5"), 400),
    ("a list of lengths", post(b"Content-Length: 5, 5"), 400),
    ("a signed length", post(b"Content-Length: +5"), 400),
    ("a negative length", post(b"Content-Length: -5"), 400),
    ("a hex length", post(b"Content-Length: 0x5"), 400),
    ("a huge length", post(b"Content-Length: 99999999999999999999"), 400),
    ("an empty coding", post(b"Transfer-Encoding: ,chunked"), 400),
    ("chunked twice", post(b"Transfer-Encoding: chunked, chunked"), 400),
    ("chunked in two lines", post(CHUNKED, CHUNKED), 400),
    ("another coding", post(b"Transfer-Encoding: gzip, chunked"), 501),
    ("chunked not last", post(b"Transfer-Encoding: chunked, gzip"), (400, 501)),
    ("another coding alone", post(b"Transfer-Encoding: identity"), (400, 501)),
    ("an odd space in the coding", post(b"Transfer-Encoding: \x0bchunked"), (400, 501)),
    ("chunked in HTTP/1.0", post(CHUNKED, version=b"1.0"), 400),
]


@pytest.mark.parametrize("smuggled", [b"", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["alone", "followed"])
@pytest.mark.parametrize(("sent", "status"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_what_is_refused(sent: bytes, status: int | tuple[int, ...], smuggled: bytes) -> None:
    """... closes the connection, reaches no pipeline and is counted apart."""
    async with door(lambda request: reply(b"ok")) as d, raw(d.port) as client:
        await client.send(sent + smuggled)
        got = await client.response()
        assert got.status in (status if isinstance(status, tuple) else (status,))
        assert (got.header("connection"), got.header("x-cache")) == ("close", None)
        assert (got.header("content-type"), got.header("cache-control")) == ("text/plain; charset=utf-8", "no-store")
        assert await client.closed() in ("fin", "rst")
        assert (d.requests, d.counters.malformed, d.counters.requests) == ([], 1, 0)


LONG = b"x" * 9000
TOO_LARGE = [
    ("request line", b"GET /" + LONG + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    ("one value", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + LONG + b"\r\n\r\n", 431),
    ("one name", b"GET / HTTP/1.1\r\n" + HOST + LONG + b": x\r\n\r\n", 431),
    ("many fields", b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 100 + b"\r\n", 431),
    ("all fields", b"GET / HTTP/1.1\r\n" + HOST + (b"X: " + b"y" * 4000 + b"\r\n") * 9 + b"\r\n", 431),
]


@pytest.mark.parametrize(("sent", "status"), [case[1:] for case in TOO_LARGE], ids=[case[0] for case in TOO_LARGE])
async def test_heads_are_bounded(sent: bytes, status: int) -> None:
    async with door(lambda request: reply(b"ok")) as d, raw(d.port) as client:
        await client.send(sent)
        got = await client.response()
        assert (got.status, got.header("connection"), d.counters.malformed) == (status, "close", 1)


async def test_the_largest_head_is_taken() -> None:
    target = b"/" + b"x" * (8190 - len(b"GET / HTTP/1.1"))
    fields = b"".join(b"X-%d: %b\r\n" % (n, b"y" * 8100) for n in range(3)) + b"X: y\r\n" * 96
    async with door(lambda request: reply(b"ok")) as d, raw(d.port) as client:
        await client.send(b"GET " + target + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n")
        assert (await client.response()).status == 200
        assert len(d.requests[0].fields) == 100


async def test_a_slow_head_is_cut() -> None:
    async with door(lambda request: reply(b"ok"), limits=Limits(head=0.05)) as d, raw(d.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHo")
        got = await client.response()
        assert (got.status, await client.closed(), d.counters.malformed) == (408, "fin", 1)


async def test_a_slow_head_is_cut_on_a_kept_connection_too() -> None:
    async with door(lambda request: reply(b"ok"), limits=Limits(head=0.05)) as d, raw(d.port) as client:
        await client.get("/")
        await client.send(b"GET / HTT")
        assert ((await client.response()).status, d.counters.requests) == (408, 1)


@pytest.mark.parametrize("kept", [False, True])
async def test_a_head_that_has_begun_is_no_idle_connection(kept: bool) -> None:
    """However little of the idle time is left: it is cut by the deadline of heads, and told so."""
    limits = Limits(head=0.2, keep_alive=0.1)
    async with door(lambda request: reply(b"ok"), limits=limits) as d, raw(d.port) as client:
        if kept:
            await client.get("/")
        await client.send(b"GET / HTT")
        assert ((await client.response()).status, await client.closed()) == (408, "fin")


async def test_who_sends_nothing_is_closed_without_a_word() -> None:
    async with door(lambda request: reply(b"ok"), limits=Limits(head=0.05)) as d, raw(d.port) as client:
        assert (await client.closed(), d.counters.malformed) == ("fin", 0)


async def test_a_slow_answer_is_no_slow_head() -> None:
    async def slow(request: object) -> object:
        await asyncio.sleep(0.3)
        return reply(b"ok")

    async with door(slow, limits=Limits(head=0.05)) as d, raw(d.port) as client:  # type: ignore[arg-type]
        assert (await client.get("/")).body == b"ok"


async def test_connections_are_bounded() -> None:
    async with door(lambda request: reply(b"ok"), limits=Limits(connections=1)) as d, raw(d.port) as first:
        assert (await first.get("/")).status == 200
        async with raw(d.port) as second:
            got = await second.response()
            assert (got.status, got.header("retry-after"), await second.closed()) == (503, "1", "fin")
        assert (await first.get("/")).status == 200
        assert d.counters.connections == 1


async def test_one_too_many_is_told_so_whatever_was_on_its_way() -> None:
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"x" * 30_000
    loop = asyncio.get_running_loop()
    async with door(lambda request: reply(b"ok"), limits=Limits(connections=1)) as d, raw(d.port) as first:
        for _ in range(20):
            with socket.socket() as client:
                client.connect(("127.0.0.1", d.port))
                client.sendall(request)  # before it is accepted
                client.setblocking(False)
                told = b""
                while piece := await loop.sock_recv(client, 1000):
                    told += piece
                    await loop.sock_sendall(client, b"x" * 1000)
                assert told.startswith(b"HTTP/1.1 503 ")
        assert (await first.get("/")).status == 200
        assert (d.counters.passed[Bound.CONNECTIONS], d.counters.connections, len(d.requests)) == (20, 1, 1)


async def test_those_who_are_told_so_are_bounded_themselves() -> None:
    async with (
        door(lambda request: reply(b"ok"), limits=Limits(connections=1, head=60, keep_alive=60)) as d,
        raw(d.port) as first,
        AsyncExitStack() as stack,
    ):
        crowd = [await stack.enter_async_context(raw(d.port)) for _ in range(_TURNED_AWAY + 10)]
        async with asyncio.timeout(20):
            told = [await client.reader.read() for client in crowd]  # nobody leaves: we do
        assert (told.count(b""), sum(b" 503 " in each for each in told)) == (10, _TURNED_AWAY)
        assert (await first.get("/")).status == 200
        first.close()
        async with asyncio.timeout(20):
            while d.gate.connections:
                await asyncio.sleep(0.01)
        async with raw(d.port) as next_one:
            assert (await next_one.get("/")).status == 200


async def test_every_field_is_kept_as_it_came() -> None:
    sent = [(b"Host", b"a"), (b"x-B", b"\xff"), (b"X-b", b""), (b"Accept", b"a,  b"), (b"Cookie", b"a=\xc3\xbc")]
    async with door(lambda request: reply(b"ok")) as d, raw(d.port) as client:
        await client.send(b"GET / HTTP/1.1\r\n" + b"".join(n + b": " + v + b" \t\r\n" for n, v in sent) + b"\r\n")
        await client.response()
        assert d.requests[0].fields == Fields(sent)


async def test_trace_is_not_answered() -> None:
    async with door(lambda request: reply(b"ok")) as d, raw(d.port) as client:
        got = await client.get("/", "X-Secret: 1", method="TRACE")
        assert (got.status, got.header("x-cache"), b"Secret" in got.body) == (501, "BYPASS", False)
        assert (d.requests, d.counters.requests) == ([], 1)


async def test_purge_without_the_right_is_a_refused_request() -> None:
    async with door(lambda request: reply(b"ok")) as d, raw(d.port) as client:
        got = await client.get("/", method="PURGE")
        assert (got.status, got.header("x-cache")) == (403, "BYPASS")
        assert (d.requests, (await d.over()).reply.outcome.reason) == ([], Why.FORBIDDEN)


# -- who asks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-123", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("a\xe4", False), ("", False)],
)
async def test_request_ids(given: str, kept: bool) -> None:
    async with door(lambda request: reply(b"ok")) as d, raw(d.port) as client:
        await client.get("/", f"X-Request-Id: {given}")
        (request,) = d.requests
        assert (request.id == given) if kept else re.fullmatch("[0-9a-f]{32}", request.id)


async def test_request_ids_are_made_anew_for_each() -> None:
    async with door(lambda request: reply(b"ok")) as d, raw(d.port) as client:
        for _ in range(5):
            await client.get("/")
        assert len({request.id for request in d.requests}) == 5


async def test_tls_makes_the_scheme() -> None:
    authority = trustme.CA()
    server, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(trusting)
    async with door(lambda request: reply(b"ok"), tls=server) as d, raw(d.port, tls=trusting) as client:
        assert (await client.get("/", host="a:443")).body == b"ok"
        assert (d.requests[0].scheme, d.requests[0].host) == ("https", "a")
        await client.send(b"GET https://B/x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response()).body == b"ok"
        assert (d.requests[1].scheme, d.requests[1].host, d.requests[1].target) == ("https", "b", "/x")


def trusting(*networks: str) -> TrustedProxies:
    return TrustedProxies(map(ipaddress.ip_network, networks))


HOPS = [
    # trusted networks, peer, fields, (client, scheme)
    ((), "1.1.1.1", {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https"}, ("1.1.1.1", "http")),
    (("10.0.0.0/8",), "1.1.1.1", {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https"}, ("1.1.1.1", "http")),
    (("10.0.0.0/8",), "10.0.0.1", {}, ("10.0.0.1", "http")),
    (("10.0.0.0/8",), "10.0.0.1", {"X-Forwarded-For": "9.9.9.9"}, ("9.9.9.9", "http")),
    (("10.0.0.0/8",), "10.0.0.1", {"X-Forwarded-For": "6.6.6.6, 9.9.9.9"}, ("9.9.9.9", "http")),
    (("10.0.0.0/8",), "10.0.0.1", {"X-Forwarded-For": "6.6.6.6, 9.9.9.9, 10.0.0.2"}, ("9.9.9.9", "http")),
    (("10.0.0.0/8",), "10.0.0.1", {"X-Forwarded-For": "10.0.0.3, 10.0.0.2"}, ("10.0.0.3", "http")),
    (("10.0.0.0/8",), "10.0.0.1", {"X-Forwarded-For": "9.9.9.9, garbage"}, ("10.0.0.1", "http")),
    (("10.0.0.0/8",), "10.0.0.1", {"X-Forwarded-For": "9.9.9.9:1234"}, ("9.9.9.9", "http")),
    (("10.0.0.0/8",), "10.0.0.1", {"X-Forwarded-For": "[2001:db8::1]:1234"}, ("2001:db8::1", "http")),
    (("10.0.0.0/8",), "::ffff:10.0.0.1", {"X-Forwarded-For": "2001:DB8::1"}, ("2001:db8::1", "http")),
    (("::1/128",), "::1", {"Forwarded": 'for="[2001:db8::1]:80";proto=https'}, ("2001:db8::1", "https")),
    (("::1/128",), "::1", {"Forwarded": "for=6.6.6.6, For=9.9.9.9;by=x; Proto=HTTPS"}, ("9.9.9.9", "https")),
    (("::1/128",), "::1", {"Forwarded": "for=9.9.9.9;notfor=6.6.6.6"}, ("9.9.9.9", "http")),
    (("::1/128",), "::1", {"Forwarded": "for=unknown, for=_hidden"}, ("::1", "http")),
    (("::1/128",), "::1", {"Forwarded": "for=6.6.6.6", "X-Forwarded-For": "9.9.9.9"}, ("9.9.9.9", "http")),
    (("::1/128",), "::1", {"X-Forwarded-Proto": "https"}, ("::1", "https")),
    (("::1/128",), "::1", {"X-Forwarded-Proto": "http, HTTPS"}, ("::1", "https")),
    (("::1/128",), "::1", {"X-Forwarded-Proto": "https, http"}, ("::1", "http")),
    (("::1/128",), "::1", {"X-Forwarded-Proto": "javascript"}, ("::1", "http")),
    (("10.0.0.0/8",), "", {"X-Forwarded-For": "9.9.9.9"}, ("", "http")),
]


@pytest.mark.parametrize(("networks", "peer", "fields", "seen"), HOPS)
def test_the_client_is_the_right_most_hop_that_is_not_trusted(
    networks: tuple[str, ...], peer: str, fields: dict[str, str], seen: tuple[str, str]
) -> None:
    proxies, headers = trusting(*networks), Fields.of(*fields.items())
    assert (proxies.client(peer, headers), proxies.scheme(peer, headers, "http")) == seen


async def test_a_trusted_proxy_speaks_for_its_client() -> None:
    doorway = Doorway("gate", Reading(proxies=trusting("127.0.0.0/8")))
    async with door(lambda request: reply(b"ok"), doorway=doorway) as d, raw(d.port) as client:
        await client.get("/", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https", host="a:443")
        (request,) = d.requests
        assert (request.client, request.scheme, request.host, request.trusted) == ("9.9.9.9", "https", "a", True)


@pytest.mark.parametrize(("token", "trusted"), [("right", True), ("wrong", False), ("right, right", False)])
async def test_the_token_makes_trusted_and_goes_no_further(token: str, trusted: bool) -> None:
    doorway = Doorway("gate", Reading(trusts=lambda given: given == "right"))
    async with door(lambda request: reply(b"ok"), doorway=doorway) as d, raw(d.port) as client:
        await client.get("/", f"Cachegate-Token: {token}", "cachegate-TOKEN: " if "," in token else "X: y")
        (request,) = d.requests
        assert (request.trusted, "cachegate-token" in request.fields) == (trusted, False)


@pytest.mark.parametrize(
    ("sent", "forwarded"),
    [
        (["Authorization: Bearer right"], []),
        (["AUTHORIZATION: bearer   right  "], []),
        (["Authorization: Basic eDp5", "Authorization: Bearer right"], []),
        (["Authorization: Bearer wrong"], ["Bearer wrong"]),
        (["Authorization: Basic right"], ["Basic right"]),
        (["Authorization: Bearer"], ["Bearer"]),
        (["Authorization: Bearer right, right"], ["Bearer right, right"]),
        (["X-Authorization: Bearer right"], []),
    ],
)
async def test_our_own_bearer_token_goes_no_further_either(sent: list[str], forwarded: list[str]) -> None:
    """An operator who names the wrong port does not tell the site behind it; and nothing is keyed by it."""
    doorway = Doorway("gate", Reading(trusts=lambda given: given == "right"))
    async with door(lambda request: reply(b"ok"), doorway=doorway) as d, raw(d.port) as client:
        assert (await client.get("/", *sent)).status == 200
        (request,) = d.requests
        assert (list(request.fields.lines("authorization")), request.trusted) == (forwarded, False)


@pytest.mark.parametrize("text", ["a b", "a\n", "a:1:2", "[::1", "::1", "a:", ":80", "a?b", "a#b", "a\\b", "a%00"])
def test_hosts_have_one_spelling(text: str) -> None:
    if text == "a:":
        assert normal_host(text, "http") == "a"
    else:
        with pytest.raises(BadRequest):
            normal_host(text, "http")
