"""Fields and targets on their way through: what is meant for one connection stays behind, what only a proxy may say
is said by us (RFC 9110 7.6).

End-to-end fields pass byte for byte and in order. A client's own X-Forwarded-*, Forwarded and the like never pass:
they are not in the key, and origins believe them. The same goes for their spelling with "_", which CGI and its heirs
read as "-" (RFC 3875 4.1.18). Nor can a client have them taken off before we have read them ourselves.
"""

from collections.abc import Iterator
from functools import lru_cache

from proxy.entry import Pairs
from proxy.message import Fields, Head, Request
from proxy.names import Order, Take, lower_name
from proxy.policy.fields import delta_seconds
from proxy.policy.identity import SET_COOKIES
from proxy.policy.paths import climbs
from proxy.rules import Mode, Rule

# For one connection only, whether Connection names them or not (RFC 9110 7.6.1); trailers are not passed on either.
_HOP = frozenset(
    {
        "close",  # a connection option whose name is reserved as a field's (RFC 9112 9.6)
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Written anew by whoever sends the message, or settled between the client and us.
_FRAMING = frozenset({"host", "content-length", "expect", "cachegate-token"})
# Between an origin and a proxy that it challenges, and never to be stored (RFC 9111 3.1).
_PROXY_ANSWERS = frozenset({"proxy-authenticate", "proxy-authentication-info", "proxy-authorization"})
# For every recipient of an answer, whatever Connection says (RFC 9110 7.6.1): a cache judges by them, and takes none of
# them for absent because somebody named it there. The targeted fields (RFC 9213) are known by the end of their names.
_FOR_ALL = frozenset(
    {
        "age",
        "cache-control",
        "date",
        "etag",
        "expires",
        "last-modified",
        "vary",
        *SET_COOKIES,
    }
)
# What Connection may name without taking away what was meant for the origin, or what the door still has to read.
_OPTIONS = _HOP | _FRAMING
# Who asks, and by which way: a proxy may pass on a Connection that is not its own, and with "Connection: Via" or
# "X-Forwarded-For" strangers would seem to come from next to us. Whatever begins with _FORWARDED is meant too.
_WITNESSES = frozenset({"forwarded", "origin", "via", "x-real-ip"})
_FORWARDED = "x-forwarded-"
_UNCACHED = frozenset({Mode.OFF, Mode.BYPASS})

# Made by us.
_MADE = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"})
# Where a request came from or was meant for, in words that only a proxy may use, as all of X-Forwarded-*; and Proxy,
# which CGI makes HTTP_PROXY. A rule that names one in its key has it passed on.
_CLAIMS = frozenset(
    {
        "base-url",
        "cf-connecting-ip",
        "client-ip",
        "fastly-client-ip",
        "forwarded-for",
        "front-end-https",
        "path-info",
        "proxy",
        "request-uri",
        "script-name",
        "true-client-ip",
        "x-accel-redirect",
        "x-backend-host",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-forwarded",
        "x-forwarded.host",
        "x-host",
        "x-host-override",
        "x-http-destinationurl",
        "x-http-host-override",
        "x-http-path-override",
        "x-original-host",
        "x-original-method",
        "x-original-uri",
        "x-original-url",
        "x-proxyuser-ip",
        "x-real-ip",
        "x-rewrite-uri",
        "x-rewrite-url",
        "x-url-scheme",
        "x-waws-unencoded-url",
    }
)
# Fields that choose or describe the answer: spelled with "_" they would do so behind the key's back.
_CHOOSING = frozenset(
    {
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-type",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "user-agent",
        "x-requested-with",
    }
)
_NOT_ANSWERED = _HOP | _PROXY_ANSWERS
_NOT_ASKED = _HOP | _FRAMING | _MADE | _CLAIMS


def received(fields: Fields) -> Fields:
    """A request's fields as everybody past the door sees them: without those that its Connection names (RFC 9110
    7.6.1), so that nothing is matched or keyed by a field that will not be sent. Hop-by-hop fields stay, and what tells
    who asks."""
    value = fields.get("connection")
    if value is None or value.lower() in ("keep-alive", "close"):
        return fields
    return fields.without(_taken_off(value) - _OPTIONS)


def outgoing(
    request: Request,
    *,
    via_name: str,
    added: Pairs = (),
    forward_client_ip: bool = True,
    drop: frozenset[str] = frozenset(),
    extra: Pairs = (),
    rule: Rule | None = None,
) -> Fields:
    """The fields to send upstream, without Host and framing.

    `added` (the operator's) and `extra` (ours for this call) replace the client's fields of these names; `drop` are
    lower-case names to leave out. `rule`: what its key names is passed on, and with `key.host` off no Host goes along.
    """
    rule = rule or _NO_RULE
    said = (*added, *extra)
    fields, names = request.fields, tuple([name.lower() for name, _ in said])
    connection = fields.get("connection")
    nominated = _NOTHING if connection is None else _taken_off(connection)
    believed = request.trusted and rule.mode in _UNCACHED  # nothing of the answer is for another
    long = not fields.order.lasting or len(connection or "") > _LONG
    kept, take = (_passing.__wrapped__ if long else _passing)(
        fields.order, nominated, rule.key.headers, rule.request_headers, names, drop, believed
    )
    host = request.host if rule.key.host else ""
    client = request.client if forward_client_ip else ""
    brief = len(host) + sum([len(value) for _, value in extra]) <= _LONG
    tell = _told if brief else _told.__wrapped__
    told = tell(f"{request.version} {via_name}", client, request.scheme, host, said)
    whole = Fields.laid(kept, take(fields.values)).followed_by(told)
    if request.id and "x-request-id" not in fields and "x-request-id" not in names:
        whole = whole.plus(("X-Request-Id", request.id))
    return _one_hop_less(whole) if request.method in ("OPTIONS", "TRACE") else whole


_NO_RULE = Rule()
_NOTHING: frozenset[str] = frozenset()
_LONG = 1024  # bytes of what a client says, up to which it is remembered


def response_fields(fields: Fields) -> Fields:
    """An answer's end-to-end fields, in order and byte for byte."""
    value = fields.get("connection")
    if value is None or value.lower() in ("keep-alive", "close"):
        return fields.without(_NOT_ANSWERED)
    nominated = frozenset(
        name for name in _nominated(value) if name not in _FOR_ALL and not name.endswith("-cache-control")
    )
    return fields.without(_NOT_ANSWERED | nominated)


def upgrade_required(head: Head) -> Pairs:
    """What a 426 must say although it is for one connection only: which protocols it wants (RFC 9110 15.5.22)."""
    value = head.fields.get("upgrade") if head.status == 426 else None
    return () if value is None else (("Upgrade", value),)


def has_loop(fields: Fields, via_name: str) -> bool:
    """Whether a Via says that the message was here before (RFC 9110 7.6.3)."""
    value = fields.get("via")
    if value is None:
        return False
    name = via_name.lower()
    return any(member.lower().split()[1:2] == [name] for member in value.split(","))


def hops_left(request: Request) -> int | None:
    """What Max-Forwards of an OPTIONS or TRACE allows; at 0 we are the final recipient (RFC 9110 7.6.2)."""
    value = request.fields.get("max-forwards") if request.method in ("OPTIONS", "TRACE") else None
    return None if value is None else delta_seconds(value)


def upstream_target(base_path: str, strip_prefix: str, target: str) -> str:
    """The target at the upstream: `strip_prefix` off when it covers whole segments, `base_path` before it."""
    if not (base_path or strip_prefix) or not target.startswith("/"):
        return target  # nothing is put before it, and nothing taken off; or it is OPTIONS *
    return base_path.rstrip("/") + _stripped(strip_prefix, target)


def leaves_base(base_path: str, strip_prefix: str, target: str) -> bool:
    """Whether a server could read the target that `upstream_target` makes as one outside of `base_path`. Where there
    is neither base nor prefix, there is nothing to leave."""
    if base_path.rstrip("/") or strip_prefix.rstrip("/"):
        return climbs(_stripped(strip_prefix, target).partition("?")[0])
    return False


def _stripped(strip_prefix: str, target: str) -> str:
    prefix = strip_prefix.rstrip("/")
    if prefix and target.startswith(prefix) and target[len(prefix) : len(prefix) + 1] in ("", "/", "?"):
        rest = target[len(prefix) :]
        return rest if rest.startswith("/") else "/" + rest
    return target


def _taken_off(value: str) -> frozenset[str]:
    """Which of a request's fields its Connection takes off."""
    names = _nominated(value) - _WITNESSES
    return frozenset(name for name in names if not name.startswith(_FORWARDED)) if names else names


def _nominated(value: str) -> frozenset[str]:
    return frozenset(option.strip().lower() for option in value.split(","))


@lru_cache(maxsize=1024)
def _passing(
    order: Order,
    nominated: frozenset[str],
    key: tuple[str, ...],
    conditions: Pairs,
    said: tuple[str, ...],
    drop: frozenset[str],
    believed: bool,
) -> tuple[Order, Take]:
    """Which of those names are sent on, and what takes their values; clients send the same ones again and again."""
    keyed, gone, shadowed = _left_out(key, conditions, said, drop)
    kept = []
    for place, name in enumerate(map(lower_name, order.names)):
        meant = name.replace("_", "-")
        claimed = meant.startswith(_FORWARDED) and name not in keyed and not (believed and meant == name)
        if not (claimed or name in gone or name in nominated or (meant != name and meant in shadowed)):
            kept.append(place)
    return order.only(tuple(kept))


def _left_out(
    key: tuple[str, ...], conditions: Pairs, said: tuple[str, ...], drop: frozenset[str]
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """What is in the key, the client's fields that do not pass, and those that do not when spelled with "_"."""
    keyed = frozenset(key).union(name for name, _ in conditions)
    gone = (_NOT_ASKED - (_CLAIMS & keyed)).union(said, drop)
    return keyed, gone, gone.union(_CHOOSING, keyed)


@lru_cache(maxsize=1024)
def _told(via: str, client: str, scheme: str, host: str, said: Pairs) -> Fields:
    """What every proxy says, that it is one, and what it knows, but for what is `said` in its place; then that."""
    names = {name.lower() for name, _ in said}
    made = [pair for pair in _made(client, scheme, host) if pair[0].lower() not in names]
    return Fields.of(("Via", via), *made, *said)


def _made(client: str, scheme: str, host: str) -> Iterator[tuple[str, str]]:
    """Who asked, by which scheme, for which host: the old names and the new one (RFC 7239 4)."""
    forwarded = [f"for={_node(client)}"] if client else []
    if client:
        yield "X-Forwarded-For", client
    yield "X-Forwarded-Proto", scheme
    if host:
        yield "X-Forwarded-Host", host
        forwarded.append(f'host="{host}"' if ":" in host else f"host={host}")
    forwarded.append(f"proto={scheme}")
    yield "Forwarded", ";".join(forwarded)


def _node(client: str) -> str:
    """An address as RFC 7239 6 writes it; a peer that has none, on a unix socket, is unknown."""
    if ":" in client:
        return f'"[{client}]"'
    return client if client[:1].isdigit() else "unknown"


def _one_hop_less(fields: Fields) -> Fields:
    hops = delta_seconds(fields.get("max-forwards") or "")  # what is greater than our greatest becomes that
    return fields if hops is None else fields.replacing(("Max-Forwards", str(max(hops - 1, 0))))
