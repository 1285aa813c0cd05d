"""Who may see or do what under the admin prefix. Pure: the whole of it is one table in the tests."""

import hmac
import ipaddress
import re
from dataclasses import dataclass
from enum import Enum

from proxy.message import Fields, Request

_FORWARDED = ("forwarded", "x-real-ip", "via")  # and whatever begins with x-forwarded-
_BEARER = re.compile(r"bearer(?: +(.*))?", re.IGNORECASE | re.DOTALL)
_ORIGIN = re.compile(r"(https?)://(.+)")
_PORT = re.compile(r":\d*\Z")


class Level(Enum):
    """What a page asks for."""

    OPEN = "open"  # anyone: probes
    PUBLIC = "public"  # anyone but who sends a wrong token
    GLANCE = "glance"  # figures without names: the token, or a local visitor
    TOKEN = "token"  # noqa: S105 - whatever changes or lists something


class Grant(Enum):
    """What a visitor gets: everything, or a glance at the figures."""

    FULL = "full"
    GLANCE = "glance"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to who may not: a status, and the word and message of the JSON error."""

    status: int
    word: str
    message: str


NOT_FOUND = Refusal(404, "not-found", "There is no such page.")
WRONG_TOKEN = Refusal(401, "wrong-token", "This is not the admin token.")
FOREIGN = Refusal(403, "foreign-origin", "Pages of other origins may not ask here.")
NO_RIGHT = Refusal(403, "forbidden", "PURGE wants the admin token.")


@dataclass(frozen=True, slots=True)
class Rights:
    """Decides by the token; None (`admin.token: none`) trusts local visitors instead. `open_metrics` opens that page to
    all, which the configuration allows on the admin port alone."""

    token: str | None
    open_metrics: bool = False

    def page(self, request: Request, peer: str, level: Level) -> Grant | Refusal:
        """May this request see a page of `level`? `peer` is the address at the other end of the socket."""
        if level is Level.OPEN:
            return Grant.FULL
        grant = self._by_token(request.fields.get("authorization"))
        if grant is None:
            grant = self._by_place(request, peer, level)
        return FOREIGN if isinstance(grant, Grant) and foreign(request) else grant

    def purge(self, request: Request, peer: str, cachegate_token: str | None = None) -> Grant | Refusal:
        """May this request purge by PURGE? Its Host is the site's, so that the Host cannot tell who is local."""
        grant = self._by_token(request.fields.get("authorization"), cachegate_token)
        if grant is None:
            local = self.token is None and loopback(peer) and not forwarded(request.fields)
            grant = Grant.FULL if local else NO_RIGHT
        return FOREIGN if isinstance(grant, Grant) and foreign(request) else grant

    def trusts(self, token: str) -> bool:
        """Whether this is the token; compared in constant time."""
        return self.token is not None and hmac.compare_digest(_bytes(token), _bytes(self.token))

    def _by_token(self, authorization: str | None, cachegate_token: str | None = None) -> Grant | Refusal | None:
        """By the token that was sent; None when none was, or when there is none to compare with."""
        if self.token is None:
            return None
        bearer = _BEARER.fullmatch(authorization or "")
        sent = [(bearer[1] or "").strip()] if bearer else []
        if cachegate_token is not None:
            sent.append(cachegate_token)
        if not sent:
            return None
        return Grant.FULL if any(self.trusts(token) for token in sent) else WRONG_TOKEN

    def _by_place(self, request: Request, peer: str, level: Level) -> Grant | Refusal:
        if level is Level.PUBLIC:
            return Grant.GLANCE
        local = loopback(peer) and loopback_host(request.host) and not forwarded(request.fields)
        if local and self.token is None:
            return Grant.FULL
        return Grant.GLANCE if local and level is Level.GLANCE else NOT_FOUND


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def loopback(peer: str) -> bool:
    """Whether an address is of the loopback interface."""
    try:
        found = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def loopback_host(host: str) -> bool:
    """Whether a Host is localhost or a loopback address; any other may be a name that was rebound to us."""
    name = _PORT.sub("", host)
    return name == "localhost" or loopback(name.strip("[]"))


def forwarded(fields: Fields) -> bool:
    """Whether somebody forwarded this request for another."""
    names = [name.replace("_", "-") for name, _ in fields]
    return any(name in _FORWARDED or name.startswith("x-forwarded-") for name in names)


def foreign(request: Request) -> bool:
    """Whether a browser sent this from a page of another origin (RFC 6454 7)."""
    origin = request.fields.get("origin")
    if origin is None:
        return False
    found = _ORIGIN.fullmatch(origin.strip().lower())
    if found is None:
        return True
    default = ":443" if found[1] == "https" else ":80"
    return found[2].removesuffix(default) != request.host.removesuffix(default)
