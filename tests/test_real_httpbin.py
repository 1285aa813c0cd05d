"""In front of httpbin, a program nobody here wrote: with the gateway it answers what it answers without.

Every route of httpbin, by every method it takes, is asked directly, through the gateway, and through the gateway
again, over raw sockets so that no client normalises. Equal must be the status and its phrase, the bytes of the
content, and the end-to-end fields with their order, case and repetitions (RFC 9110 7.6.1; features rows 1, 5, 13).
What may differ is named: in `support.end_to_end` what the gateway adds and what belongs to one connection; in `ECHO`
and `DRAWN`, with reasons, the routes that do not answer alike even when asked directly; in `OTHERWISE` what is meant.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import brotlicffi
import pytest
from httpbin import app

from tests.support.end_to_end import end_to_end, status_line
from tests.support.programs import Program, gateway, httpbin
from tests.support.rawtcp import RawAnswer, raw

HOST = "site.example"

# What the gateway adds to a request and httpbin shows: where it comes from, and its own conditions when it asks again
# for a stored answer. Via, X-Request-Id and other X-Forwarded-* httpbin hides itself.
SENT = {"Forwarded", "X-Forwarded-Host", "If-None-Match", "If-Modified-Since"}

# An example of each route of httpbin, or several.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "/": ("/",),
    "/absolute-redirect/<int:n>": ("/absolute-redirect/1", "/absolute-redirect/3"),
    "/anything": ("/anything", "/anything?b=2&a=1&b=1&empty=&bare"),
    "/anything/<path:anything>": ("/anything/a%20b/c%2Fd/%C3%BC;p=1", "/anything/a//b"),
    "/base64/<value>": ("/base64/aGVsbG8gd29ybGQ=", "/base64/!"),
    "/basic-auth/<user>/<passwd>": ("/basic-auth/user/passwd",),
    "/bearer": ("/bearer",),
    "/brotli": ("/brotli",),
    "/bytes/<int:n>": ("/bytes/10", "/bytes/0?seed=1", "/bytes/70000?seed=1"),
    "/cache": ("/cache",),
    "/cache/<int:value>": ("/cache/60", "/cache/0"),
    "/cookies": ("/cookies",),
    "/cookies/delete": ("/cookies/delete?a&b",),
    "/cookies/set": ("/cookies/set?a=1&b=2",),
    "/cookies/set/<name>/<value>": ("/cookies/set/a/1",),
    "/deflate": ("/deflate",),
    "/delay/<delay>": ("/delay/0.05",),
    "/delete": ("/delete",),
    "/deny": ("/deny",),
    "/digest-auth/<qop>/<user>/<passwd>": ("/digest-auth/auth/user/passwd",),
    "/digest-auth/<qop>/<user>/<passwd>/<algorithm>": ("/digest-auth/auth/user/passwd/SHA-256",),
    "/digest-auth/<qop>/<user>/<passwd>/<algorithm>/<stale_after>": ("/digest-auth/auth/user/passwd/MD5/3",),
    "/drip": ("/drip?duration=0.1&numbytes=5&delay=0", "/drip?duration=0&numbytes=5&delay=0&code=500"),
    "/encoding/utf8": ("/encoding/utf8",),
    "/etag/<etag>": ("/etag/thing", "/etag/%22thing%22"),
    "/forms/post": ("/forms/post",),
    "/get": ("/get", "/get?a=1&a=2"),
    "/gzip": ("/gzip",),
    "/headers": ("/headers",),
    "/hidden-basic-auth/<user>/<passwd>": ("/hidden-basic-auth/user/passwd",),
    "/html": ("/html",),
    "/image": ("/image",),
    "/image/jpeg": ("/image/jpeg",),
    "/image/png": ("/image/png",),
    "/image/svg": ("/image/svg",),
    "/image/webp": ("/image/webp",),
    "/ip": ("/ip",),
    "/json": ("/json",),
    "/links/<int:n>": ("/links/3",),
    "/links/<int:n>/<int:offset>": ("/links/3/1",),
    "/patch": ("/patch",),
    "/post": ("/post",),
    "/put": ("/put",),
    "/range/<int:numbytes>": ("/range/1024", "/range/100000?chunk_size=1000", "/range/0"),
    "/redirect-to": (
        "/redirect-to?url=/get",
        "/redirect-to?url=https%3A%2F%2Felsewhere.example%2F%3Fa%3D1&status_code=307",
    ),
    "/redirect/<int:n>": ("/redirect/1", "/redirect/2?absolute=true"),
    "/relative-redirect/<int:n>": ("/relative-redirect/2",),
    "/response-headers": (
        "/response-headers?a=1&A=2&a=3&lower=x&UPPER=y&Content-Language=de&Content-Language=en",
        "/response-headers?Cache-Control=max-age%3D60&Cache-Control=public&Vary=Accept&ETag=%22v1%22&Empty=",
        "/response-headers?Cache-Control=no-store&Warning=199%20-%20%22%C3%BC%22&Set-Cookie=a%3D1",
        "/response-headers?Set-Cookie=who%3Done&Set-Cookie=other%3D2",
        "/response-headers?Content-Type=text%2Fplain%3B%20charset%3DUTF-8&Date=Thu,%2001%20Jan%201970%2000:00:00%20GMT",
    ),
    "/robots.txt": ("/robots.txt",),
    "/static/<path:filename>": ("/static/favicon.ico", "/static/nothing.css"),
    "/status/<codes>": tuple(
        f"/status/{code}"
        for code in (*range(200, 207), *range(300, 309), *range(400, 419), 421, 422, 425, 426, 428, 429, 431, 451,
                     *range(500, 506), 511, 520, 599, 700, "nonsense", "200:1,404:0")
    ),
    "/stream-bytes/<int:n>": ("/stream-bytes/10", "/stream-bytes/50000?seed=1&chunk_size=100"),
    "/stream/<int:n>": ("/stream/3",),
    "/user-agent": ("/user-agent",),
    "/uuid": ("/uuid",),
    "/xml": ("/xml",),
}  # fmt: skip

# Answers that show the request's fields, and so the few that the gateway adds: equal but for `SENT`.
ECHO = (
    *("/anything", "/get", "/post", "/put", "/patch", "/delete", "/delay/", "/headers", "/stream/"),
    *("/cache", "/etag/", "/gzip", "/deflate", "/brotli"),
)
# Answers that are drawn at random, or tell the time: compared by status, names of the fields, and shape of the content.
DRAWN = {
    "/bytes/10": "random bytes, without a seed",
    "/stream-bytes/10": "random bytes, without a seed",
    "/uuid": "a random name",
    "/cache": "ETag is a random name, Last-Modified the time",
    "/digest-auth/": "the challenge has a random nonce",
}

DECODERS: dict[str, Any] = {
    "": bytes,
    "br": brotlicffi.decompress,
    "deflate": zlib.decompress,
    "gzip": gzip.decompress,
}


@dataclass(frozen=True)
class Ask:
    """One request. `fields` come after those that every request has."""

    target: str
    method: str = "GET"
    fields: tuple[str, ...] = ()
    content: bytes = b""
    chunked: bool = False

    def __str__(self) -> str:
        return " ".join((self.method, self.target, *self.fields))[:80]

    def sent(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {HOST}", "User-Agent: check/1", *self.fields]
        said = {field.partition(":")[0].lower() for field in self.fields}
        # with a value that is in its normal form already, so that the origin sees the same (`cache.accept_encoding`)
        lines += [
            field
            for field in ("Accept: */*", "Accept-Encoding: identity")
            if field.partition(":")[0].lower() not in said
        ]
        content = self.content
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
            content = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (content[:9], content[9:], b""))
        elif content or self.method in ("PATCH", "POST", "PUT"):  # RFC 9110 8.6: these say it even without content
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + content

    async def of(self, program: Program) -> RawAnswer:
        async with raw(program.port) as connection:
            await connection.send(self.sent())
            return await connection.response(method=self.method)

    @property
    def drawn(self) -> bool:
        return any(self.target == name or (name.endswith("/") and self.target.startswith(name)) for name in DRAWN)

    @property
    def echo(self) -> bool:
        return self.target.startswith(ECHO)


BASIC = "Authorization: Basic dXNlcjpwYXNzd2Q="
FORM = b'------x\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n\r\n\x00\xff\r\n------x--\r\n'
MORE = (
    Ask("/basic-auth/user/passwd", fields=(BASIC,)),
    Ask("/basic-auth/user/passwd", fields=("Authorization: Basic d3Jvbmc6d3Jvbmc=",)),
    Ask("/hidden-basic-auth/user/passwd", fields=(BASIC,)),
    Ask("/bearer", fields=("Authorization: Bearer of-good-news",)),
    Ask("/cookies", fields=("Cookie: a=1; b=2",)),
    Ask("/image", fields=("Accept: image/webp",)),
    Ask("/image", fields=("Accept: image/svg+xml",)),
    Ask("/image", fields=("Accept: image/jpeg",)),
    Ask("/image", fields=("Accept: text/html",)),
    Ask("/etag/thing", fields=("If-Match: thing",)),
    Ask("/etag/thing", fields=("If-Match: other",)),
    Ask("/range/2048", fields=("Range: bytes=0-9",)),
    Ask("/range/2048", fields=("Range: bytes=2000-",)),
    Ask("/range/2048", fields=("Range: bytes=-24",)),
    Ask("/range/2048", fields=("Range: bytes=5000-",)),
    Ask("/get", fields=("Origin: https://elsewhere.example",)),
    Ask("/get", "OPTIONS", ("Origin: https://elsewhere.example", "Access-Control-Request-Headers: x-a")),
    Ask("/headers?more", fields=("X-Twice: 1", "X-Twice: 2", "x-lower: a", "Accept-Language: de, en;q=0.5")),
    Ask("/gzip?wanted", fields=("Accept-Encoding: gzip",)),
    Ask("/post", "POST", ("Content-Type: application/json",), b'{"a": [1, 2.50, "\xc3\xbc"]}'),
    Ask("/post", "POST", ("Content-Type: application/x-www-form-urlencoded",), b"a=1&b=2&a=3"),
    Ask("/post", "POST", ("Content-Type: multipart/form-data; boundary=----x",), FORM),
    Ask("/post", "POST", ("Content-Type: application/octet-stream",), bytes(range(256)) * 300),
    Ask("/post", "POST", ("Content-Type: text/plain",), b""),
    Ask("/post", "POST", ("Content-Type: text/plain",), b"in several pieces", chunked=True),
    Ask("/put", "PUT", ("Content-Type: text/plain",), b"put"),
    Ask("/patch", "PATCH", ("Content-Type: text/plain",), b"patch"),
    Ask("/delete", "DELETE", ("Content-Type: text/plain",), b"delete"),
    Ask("/anything", "PUT", ("Content-Type: text/plain",), b"put in pieces", chunked=True),
    Ask("/no/such/route"),
    Ask("/get", "DELETE"),
    Ask("/get", "PROPFIND"),
)  # fmt: skip

ROUTES = {rule.rule: sorted(rule.methods or ()) for rule in app.url_map.iter_rules()}
ASKS = [
    *(
        Ask(target, method)
        for rule in ROUTES
        for target in EXAMPLES.get(rule, ())
        for method in ROUTES[rule]
        if method != "TRACE"
    ),
    *MORE,
]

# Where the gateway means to differ: its status, and why.
OTHERWISE = (
    (Ask("/anything", "TRACE"), 200, 501, "it would show what is added on the way upstream (RFC 9110 9.3.8)"),
    (Ask("/cache", fields=("If-None-Match: anything",)), 304, 200, "httpbin takes every condition as fulfilled"),
    (Ask("/cache", fields=("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT",)), 304, 200, "as above"),
)  # fmt: skip

# httpbin does not say that /image depends on Accept, nor that its CORS fields depend on Origin: the rule does. And it
# tells the order of the query's parameters.
RULES = [{"pattern": "*", "ttl": 60, "key": {"headers": ["accept", "origin"], "query": {"sort": False}}}]
FULL = {200, 203, 204, 300, 301, 308}  # what a rule's ttl covers
PERSONAL = ("Authorization", "Cookie", "If-Match", "Range")  # asked of the origin alone


@dataclass(frozen=True)
class Front:
    """A gateway; `ruled`: every GET is a rule's, else the origin's word alone decides."""

    program: Program
    ruled: bool


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with httpbin(tmp_path_factory.mktemp("httpbin")) as started:
        yield started


@pytest.fixture(scope="module", params=[False, True], ids=["by the origin's word", "by a rule"])
def front(request: pytest.FixtureRequest, origin: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    settings = {
        "admin": {"prefix": "/_gateway"},  # httpbin has routes under /cache itself
        "upstream": {  # httpbin says 500 a lot, because it is asked to
            "preserve_host": True,
            "breaker": {"consecutive": 1_000_000, "min_requests": 1_000_000},
        },
        "rules": RULES if request.param else [],
    }
    with gateway(tmp_path_factory.mktemp("gateway"), origin, settings) as started:
        yield Front(started, request.param)


def test_no_route_of_httpbin_is_forgotten() -> None:
    assert set(EXAMPLES) == set(ROUTES)


@pytest.mark.parametrize("ask", ASKS, ids=str)
async def test_the_same_with_and_without_the_gateway(origin: Program, front: Front, ask: Ask) -> None:
    direct, first, second = [await ask.of(program) for program in (origin, front.program, front.program)]
    assert_same(ask, direct, first)
    assert_same(ask, direct, second)
    if front.ruled and may_hit(ask, direct):
        assert second.header("x-cache") == "HIT"
    if direct.header("set-cookie"):
        assert second.header("x-cache") != "HIT"
    if second.header("x-cache") == "HIT":
        assert (second.body, second.header("date")) == (first.body, first.header("date"))


@pytest.mark.parametrize("ranges", ["0-9", "1000-", "-24", "0-0", "1023-1023", "5000-"])
async def test_a_range_of_a_stored_answer_is_what_the_origin_would_cut(
    origin: Program, front: Front, ranges: str
) -> None:
    ask = Ask("/range/1024", fields=(f"Range: bytes={ranges}",))
    await Ask("/range/1024").of(front.program)
    direct, got = await ask.of(origin), await ask.of(front.program)
    assert got.header("x-cache") == ("HIT" if front.ruled else "MISS")
    assert (got.status, got.header("content-range")) == (direct.status, direct.header("content-range"))
    if direct.status == 206:
        assert got.body == direct.body


@pytest.mark.parametrize(("ask", "directly", "through", "why"), OTHERWISE, ids=str)
async def test_what_is_meant_to_differ(
    origin: Program, front: Front, ask: Ask, directly: int, through: int, why: str
) -> None:
    direct, got = await ask.of(origin), await ask.of(front.program)
    assert (direct.status, got.status) == (directly, through), why


def may_hit(ask: Ask, direct: RawAnswer) -> bool:
    """Whether a rule's ttl makes of this a hit, the second time."""
    if ask.method != "GET" or any(field.startswith(PERSONAL) for field in ask.fields):
        return False
    if "%2F" in ask.target or "//" in ask.target:  # targets that servers read differently: BYPASS unsafe-target
        return False
    own_word = direct.header("cache-control") or direct.header("set-cookie") or direct.header("vary")
    return direct.status in FULL and own_word is None


def assert_same(ask: Ask, direct: RawAnswer, got: RawAnswer) -> None:
    assert got.complete
    assert got.header("x-cache") is not None
    assert status_line(got) == status_line(direct)
    ours, theirs = (end_to_end(answer, direct, unequal=unequal(ask)) for answer in (got, direct))
    assert ours == theirs
    assert content(ask, got) == content(ask, direct)
    if ask.method != "HEAD" and direct.status != 304:
        assert got.header("content-length") in (None, str(len(got.body)))


def unequal(ask: Ask) -> set[bytes]:
    """Fields whose values depend on what is shown or drawn."""
    shown = {b"content-length"} if ask.echo else set()
    return shown | {b"etag", b"last-modified", b"www-authenticate"} if ask.drawn else shown


def content(ask: Ask, answer: RawAnswer) -> Any:
    """What has to be equal of the content: every byte, or for an echo all but what the gateway sent, or the shape."""
    if ask.echo and answer.body and answer.header("content-type") == "application/json":
        decoded = DECODERS[answer.header("content-encoding") or ""](answer.body)
        texts = decoded.splitlines() if ask.target.startswith("/stream") else [decoded]
        return [without_sent(ask, json.loads(text)) for text in texts]
    if ask.drawn:
        return re.sub(rb"[0-9a-f]{4,}", b"", answer.body) if ask.target == "/uuid" else len(answer.body)
    return answer.body


def without_sent(ask: Ask, document: Any) -> Any:
    """An echoed request without what the gateway has to change in it."""
    changed = SENT | ({"Content-Length", "Transfer-Encoding"} if ask.chunked else set())
    document["headers"] = {name: value for name, value in document["headers"].items() if name not in changed}
    return document
