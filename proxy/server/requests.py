"""aiohttp's request made into ours: every byte kept, every ambiguity refused (RFC 9112 3.2, 6.1)."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

from aiohttp.http import HttpVersion, HttpVersion10, HttpVersion11

from proxy.errors import BadRequest
from proxy.message import Fields, Head, Pair, Request, Upload
from proxy.policy.forwarding import received
from proxy.reasons import Why
from proxy.server.peers import TrustedProxies
from proxy.server.plain import Plain

TOKEN_FIELD = "cachegate-token"  # noqa: S105

# A registered name as DNS has it, or an address; RFC 3986's escapes and sub-delims would only give one host many names.
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{0,5}))?")
_ABSOLUTE = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?]*)(?P<target>.*)", re.IGNORECASE | re.DOTALL)
_BEARER = re.compile(r"bearer +(.*)", re.IGNORECASE | re.DOTALL)
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_DIGITS = re.compile(r"[0-9]{1,18}")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_FOR_US = frozenset({TOKEN_FIELD, "connection"})
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_LONGEST_NAME = 255  # of what is remembered of hosts (RFC 1035 2.3.4)


class Asked(Protocol):
    """A head, as aiohttp's requests show it: `raw_path` is the target as it came, `remote` the peer's address."""

    @property
    def method(self) -> str: ...
    @property
    def version(self) -> HttpVersion: ...
    @property
    def raw_path(self) -> str: ...
    @property
    def raw_headers(self) -> tuple[Pair, ...]: ...
    @property
    def remote(self) -> str | None: ...
    @property
    def secure(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """How requests are read. `max_head` bytes of all fields together; `trusts` tells the admin token."""

    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    trusts: Callable[[str], bool] = lambda token: False
    max_head: int = 32 * 1024

    def __call__(
        self,
        raw: Asked,
        now: float,
        upload: Callable[[], Upload | None] = lambda: None,
        inform: Callable[[Head], None] | None = None,
    ) -> Request:
        """The request, or BadRequest for a head that is refused as malformed; then nobody asks `upload` for a body."""
        fields = raw.fields if isinstance(raw, Plain) else Fields(raw.raw_headers)
        self._check_size(fields)
        check_framing(raw, fields)
        peer = raw.remote or ""
        behind = peer in self.proxies
        scheme = "https" if raw.secure else "http"
        if behind:
            scheme = self.proxies.scheme(peer, fields, scheme)
        target, host = target_and_host(raw, fields, scheme)
        debug = False
        if fields.has_any(_FOR_US):
            token = fields.get(TOKEN_FIELD)
            debug = token is not None and self.trusts(token)
            if token is not None:  # it is for us alone: nothing behind this door ever sees it
                fields = fields.without({TOKEN_FIELD})
            fields = received(fields)
        return Request(
            method=raw.method,
            scheme=scheme,
            host=host,
            target=target,
            fields=fields,
            client=self.proxies.client(peer, fields) if behind else peer,
            received_at=now,
            id=request_id(fields),
            trusted=debug or behind,
            debug=debug,
            version="1.1" if raw.version == HttpVersion11 else "1.0",
            body=upload(),
            inform=inform,
        )

    def for_site(self, request: Request) -> Request:
        """The request as whatever stands behind this door may see it. The admin token that comes as Authorization was
        meant for a page of ours, on another port perhaps: it is taken off, so that nothing keys or forwards it."""
        if "authorization" not in request.fields:
            return request
        if not any(self._is_ours(line) for line in request.fields.lines("authorization")):
            return request
        return replace(request, fields=request.fields.without({"authorization"}))

    def _is_ours(self, authorization: str) -> bool:
        bearer = _BEARER.fullmatch(authorization)
        return bearer is not None and self.trusts(bearer[1].strip())

    def _check_size(self, fields: Fields) -> None:
        if fields.size > self.max_head:
            raise BadRequest(431, Why.MALFORMED, f"The header fields are larger than {self.max_head} bytes together.")


def check_framing(raw: Asked, fields: Fields) -> None:
    """Refuse what two recipients could frame differently (RFC 9112 6.1, 6.2, 6.3)."""
    if raw.version not in (HttpVersion10, HttpVersion11):
        raise BadRequest(505, Why.MALFORMED, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if raw.method == "CONNECT":
        raise BadRequest(501, Why.METHOD, "This is no tunnel.")
    if not fields.has_any(_FRAMING):
        return
    lengths = fields.lines("content-length")
    codings = fields.lines("transfer-encoding")
    if codings:
        if lengths:
            raise BadRequest(400, Why.MALFORMED, "Content-Length together with Transfer-Encoding.")
        if raw.version == HttpVersion10:
            raise BadRequest(400, Why.MALFORMED, "Transfer-Encoding in HTTP/1.0.")
        if len(codings) > 1 or codings[0].strip().lower() != "chunked":
            status = 400 if all(part.strip().lower() in ("", "chunked") for part in codings[0].split(",")) else 501
            raise BadRequest(status, Why.MALFORMED, "Transfer-Encoding other than one chunked.")
    if lengths and (len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0])):
        raise BadRequest(400, Why.MALFORMED, "Content-Length is not one number.")


def target_and_host(raw: Asked, fields: Fields, scheme: str) -> tuple[str, str]:
    """The origin-form target, or "*", and the host: of an absolute-form target, else of Host (RFC 9112 3.2)."""
    target = raw.raw_path
    if "#" in target or not target.isascii():
        raise BadRequest(400, Why.MALFORMED, "A request target is ASCII and has no fragment.")
    hosts = fields.lines("host")
    if len(hosts) > 1 or (not hosts and raw.version == HttpVersion11):
        raise BadRequest(400, Why.MALFORMED, "Exactly one Host is wanted.")
    host = ""
    if hosts:
        host = (_known_host if len(hosts[0]) <= _LONGEST_NAME else normal_host)(hosts[0], scheme)
    if target.startswith("/") or (target == "*" and raw.method == "OPTIONS"):
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise BadRequest(400, Why.MALFORMED, "The request target is neither a path nor an http URL.")
    if absolute["scheme"].lower() == "https" != scheme:  # RFC 9110 7.4
        raise BadRequest(400, Why.MALFORMED, "An https URL wants a connection that is secured.")
    rest = absolute["target"]
    if not rest.startswith("/"):
        rest = "*" if not rest and raw.method == "OPTIONS" else f"/{rest}"
    return rest, normal_host(absolute["authority"], scheme)


def normal_host(text: str, scheme: str) -> str:
    """Lower case, without the default port; BadRequest for what is no host."""
    found = _HOST.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65535:
        raise BadRequest(400, Why.MALFORMED, "Host is no host name.")
    name, port = found["name"].lower(), found["port"] and str(int(found["port"]))
    return name if not port or port == _DEFAULT_PORTS[scheme] else f"{name}:{port}"


_known_host = lru_cache(maxsize=1024)(normal_host)  # nearly all ask for the same few


def request_id(fields: Fields) -> str:
    """The X-Request-Id that came, when it is one visible word of at most 128 characters, else one of our own."""
    given = fields.get("x-request-id")
    return given if given is not None and is_request_id(given.encode("latin-1")) else fresh_id()


def is_request_id(given: bytes) -> bool:
    """Whether it is passed on."""
    return _REQUEST_ID.fullmatch(given) is not None


def fresh_id() -> str:
    """An X-Request-Id that nobody else has."""
    if not _drawn:
        many = os.urandom(16 * _AT_ONCE).hex()
        _drawn.extend(many[at : at + 32] for at in range(0, len(many), 32))
    return _drawn.pop()


_AT_ONCE = 64  # the system is asked for so many, as asking takes longer than they do
_drawn: list[str] = []
os.register_at_fork(after_in_child=_drawn.clear)  # or two processes would draw the same


def wants_websocket(request: Request) -> bool:
    """Whether the client asks for this upgrade; any other is not passed on. HTTP/1.0 knows none, and a content would
    have to be asked for and read before the 101 (RFC 9110 7.8)."""
    upgrade = request.fields.get("upgrade")
    if upgrade is None or request.method != "GET" or upgrade.strip().lower() != "websocket":
        return False
    if request.version != "1.1" or request.body is not None:
        return False
    connection = request.fields.get("connection") or ""
    return any(option.strip().lower() == "upgrade" for option in connection.split(","))
