"""Who asks, for which site, by which head; and which URL a purge names. Lines: peer, X-Forwarded-For, Forwarded,
X-Forwarded-Proto, Host, Connection, method, Transfer-Encoding, Content-Length, target; then the JSON of a purge."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import orjson
from aiohttp.http import HttpVersion11

from proxy.errors import BadRequest
from proxy.invalidation.purge_requests import MAX_NAME, MAX_NAMES, PurgeError, PurgeRequest, parse_purge
from proxy.limits.client import by_address
from proxy.message import Fields, Request
from proxy.policy.forwarding import outgoing, received, response_fields
from proxy.server.admin.rights import Rights, foreign, loopback_host
from proxy.server.peers import TrustedProxies, address
from proxy.server.requests import Reading, normal_host
from tests.fuzz.target import Feed, Target

SEEDS = (
    (
        b"127.0.0.1\n203.0.113.195, 2001:db8::7, 10.0.0.1\nfor=192.0.2.60;proto=http;by=203.0.113.43"
        b'\nhttps\nExample.com:80\nclose, x-a\nGET\n\n\n/index.html?a\n{"url": "http://Example.com:80/index.html"}'
    ),  # RFC 7239 4
    (
        b'::1\n"[2001:db8::1]:80", ::ffff:10.0.0.9\nFor="[2001:db8:cafe::17]:4711", for=_hidden;Proto="https"'
        b'\nhttp, https\n[::1]:080\nkeep-alive\nOPTIONS\nchunked\n\n*\n{"tags": ["a", "b"], "soft": true}'
    ),
    (
        b'10.1.2.3\n\nfor="\\"_x\\""; host=a,for=10.0.0.1\n\nexample.com.\nupgrade\nPOST\ngzip, chunked\n5, 5'
        b'\nhttp://user@host:99999/a b\n{"key": "00000000000000000000000000000000", "dry_run": true}'
    ),
    b'fe80::1%eth0\n\n\n\n[::1]:080\n\nGET\n\n\n/a\n{"url": "http://[::1]:080/a"}',
)
TOKENS = (
    b"for=",
    b'"',
    b'\\"',
    b",",
    b";",
    b"proto=",
    b"10.0.0.1",
    b"::1",
    b"[",
    b"]:80",
    b"%",
    b"\n",
    b"http://",
    b'{"url":"',
    b"\xb2",
    b":",
)
_PROXIES = TrustedProxies([ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"), ip_network("::1")])
_HOP = ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection")


@dataclass
class Head:
    """What `Reading` reads of aiohttp's request."""

    raw_headers: tuple[tuple[bytes, bytes], ...]
    remote: str
    method: str
    raw_path: str
    secure: bool = False
    version: object = HttpVersion11


def check(data: bytes) -> None:
    feed = Feed(data)
    peer, hops, forwarded, proto = (feed.text() for _ in range(4))
    host, options, method, coding, length, target = (feed.text() for _ in range(6))
    body = feed.rest()
    lines = [("X-Forwarded-For", hops), ("Forwarded", forwarded), ("X-Forwarded-Proto", proto), ("Host", host)]
    lines += [("Connection", options), ("Transfer-Encoding", coding), ("Content-Length", length), ("Origin", hops)]
    said = [(name, value) for name, value in lines if value]
    for peer_name in (peer, "127.0.0.1"):
        for chosen in (said, [line for line in said if line[0] != "X-Forwarded-For"]):
            _client(peer_name, Fields.of(*chosen))
    _head(Head(Fields.of(*said).pairs, peer, method, target))
    _host(host)
    _purge(body)
    _purge(orjson.dumps({"url": body.decode("latin-1")}))


def _client(peer: str, fields: Fields) -> None:
    client = _PROXIES.client(peer, fields)
    assert client == peer or str(ip_address(client)) == client
    assert peer in _PROXIES or client == peer
    assert _PROXIES.scheme(peer, fields, "http") in ("http", "https")
    counted = by_address(client)
    assert str(address(client)) != client or by_address(counted.partition(":")[2].partition("/")[0]) == counted
    found = address(peer)
    assert found is None or address(str(found)) == found


def _head(head: Head) -> None:
    for chosen in (head, Head(head.raw_headers[3:4], head.remote, head.method, head.raw_path)):
        try:
            request = Reading(_PROXIES)(chosen, 0.0)  # type: ignore[arg-type]
        except BadRequest:
            continue
        _read(request)


def _read(request: Request) -> None:
    assert request.target.startswith("/") or request.target == "*"
    assert request.host == "" or normal_host(request.host, request.scheme) == request.host
    assert received(request.fields) == request.fields
    sent = outgoing(request, via_name="us")
    assert not any(name in sent for name in _HOP)
    assert not any(name in response_fields(request.fields) for name in _HOP)
    foreign(request)
    Rights(None).purge(request, request.client)
    loopback_host(request.host)


def _host(host: str) -> None:
    """A purge of a URL means the entries of requests with that Host."""
    for scheme in ("http", "https"):
        try:
            normal = normal_host(host, scheme)
        except BadRequest:
            continue
        assert normal_host(normal, scheme) == normal == normal.lower()
        if not host.endswith(":"):
            assert parse_purge({"url": f"{scheme}://{host}/a"}).names == (f"{normal}|/a",)


def _purge(body: bytes) -> None:
    try:
        wanted = orjson.loads(body)
    except ValueError:
        return
    request = _asked(wanted)
    if isinstance(request, PurgeError):
        assert len(str(request)) < 1000
        return
    assert len(request.names) <= MAX_NAMES
    assert all((0 < len(name) <= 12 * MAX_NAME and name.isprintable()) or not name.isascii() for name in request.names)
    if request.kind == "url":
        host, _, target = request.names[0].partition("|")
        url = f"http://{host}{target}" if host else target
        assert parse_purge({"url": url}).names == request.names or len(url) > MAX_NAME


def _asked(body: object) -> PurgeRequest | PurgeError:
    try:
        return parse_purge(body)
    except PurgeError as error:
        return error


TARGET = Target(check, SEEDS, TOKENS)
