"""Conditions: the client's own, answered from a fresh copy, and ours, made of a stored one (RFC 9110 13, 9111 4.3)."""

from proxy.entry import Entry, Pairs
from proxy.message import Fields, Request
from proxy.policy.fields import IS_TAG, date_field, entity_tags, etag, parse_date, same_weakly

# Answered by us, so taken off before a fetch whose answer is to be kept.
CLIENT_CONDITIONS = frozenset({"if-none-match", "if-modified-since"})
# Left out of a fetch whose answer is to be kept: it must be the whole representation.
NOT_WHOLE = CLIENT_CONDITIONS | {"range", "if-range"}
# For the origin alone: a cache must not evaluate them, and sends them on (RFC 9111 4.3.2).
ORIGIN_CONDITIONS = frozenset({"if-match", "if-unmodified-since"})

# What a client that has the representation need not be told again of it: left out of a 304, and of a 206 that
# If-Range made one (RFC 9110 15.4.5, 15.3.7). Validators are told apart.
METADATA = frozenset(
    {
        "content-type",
        "content-length",
        "content-encoding",
        "content-language",
        "content-range",
        "content-md5",
        "content-digest",
        "repr-digest",
        "digest",
    }
)


def client_condition(request: Request, status: int, fields: Fields) -> int | None:
    """304 when the client's own condition says that it has this very answer, else None: send it whole.

    Precedence as in RFC 9110 13.2.2; conditions count only where the answer would be a success (13.2.1).
    """
    if not 200 <= status < 300 or request.method not in ("GET", "HEAD"):
        return None
    if not request.fields.has_any(CLIENT_CONDITIONS):
        return None
    match = request.fields.get("if-none-match")
    if match is not None:
        return 304 if _matches(match, fields) else None
    since = request.fields.get("if-modified-since")
    if since is not None:
        return 304 if _unmodified(since, fields, request.received_at) else None
    return None


def _matches(value: str, fields: Fields) -> bool:
    if value.strip(" \t") == "*":
        return True
    tag = etag(fields)
    if tag is None:  # some origins send one without quotes, and clients send back what they got
        return value.strip(" \t") == fields.get("etag")
    return any(same_weakly(tag, other) for other in entity_tags(value))


def _unmodified(value: str, fields: Fields, now: float) -> bool:
    """A stored answer without Last-Modified is as old as its Date (RFC 9111 4.3.2)."""
    since = parse_date(value, now)
    if since is None:
        return False
    modified = date_field(fields, "last-modified", now)
    if modified is None:
        modified = date_field(fields, "date", now)
    return modified is not None and modified <= since


def not_modified_fields(fields: Fields) -> Fields:
    """What a 304 carries of the stored fields; Last-Modified only where no entity tag does its work (15.4.5)."""
    return fields.without(METADATA | {"last-modified"} if "etag" in fields else METADATA)


def for_the_origin(request: Request) -> bool:
    """Whether the request has a condition that a cache must not evaluate (RFC 9111 4.3.2), or one that would mean 412
    for its method, which only the origin can say (RFC 9110 13.1.2)."""
    if request.fields.has_any(ORIGIN_CONDITIONS):
        return True
    return request.method not in ("GET", "HEAD") and "if-none-match" in request.fields


def validators(entry: Entry) -> Pairs:
    """The conditions of our own request for a stored answer; () when it cannot be renewed (RFC 9111 4.3.1)."""
    return conditions(entry.parts.method, entry.status, entry.fields)


def conditions(method: str, status: int, fields: Fields) -> Pairs:
    """As `validators`. Only a success to a GET can be confirmed: to anything else an origin ignores conditions, or
    answers 412 (RFC 9110 13.1.2, 13.2.1)."""
    if method != "GET" or not 200 <= status < 300:
        return ()
    found = []
    tag = fields.get("etag")
    if tag is not None and (IS_TAG(tag) or etag(fields) is not None):
        found.append(("If-None-Match", tag.strip(" \t")))
    modified = fields.get("last-modified")
    if modified is not None and parse_date(modified, 0.0) is not None:
        found.append(("If-Modified-Since", modified))
    return tuple(found)
