"""HTTP/1.1 as it stands on the wire: the head we send, and what a head we got says about its body (RFC 9112)."""

import re

from proxy.errors import BadRequest, Fault, UpstreamError
from proxy.message import Fields, Framing, Pair
from proxy.reasons import Why
from proxy.upstream.protocol import Call

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(r"[!-~]+")
# Framing and Host are made here, whatever the call holds: a message has one of each (RFC 9112 6.3, 3.2).
OURS = frozenset({"host", "content-length", "transfer-encoding"})
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 9.2.2
_FRAMING = OURS - {"host"}
_WANT_NOTHING = frozenset({"GET", "HEAD", "DELETE"})  # RFC 9110 9.3: content here has no generally defined semantics
_WANT_LENGTH = frozenset({"POST", "PUT", "PATCH"})  # RFC 9110 8.6: a length of 0 is said for these


def request_head(call: Call, authority: str, extra: tuple[Pair, ...] = ()) -> bytes:
    """The head of a request, its field lines byte for byte in the call's order, Host before and framing after them.

    Raises BadRequest for what would not be one request on the wire.
    """
    fields = call.fields.without(OURS)
    if extra:
        fields = fields.followed_by(Fields(extra))
    host = (call.host or authority).encode("latin-1", "replace")
    own = _own(call)
    first = f"{call.method} {call.target} HTTP/1.1".encode("ascii", "replace")
    head = b"%b\r\nHost: %b\r\n%b%b\r\n" % (first, host, fields.written, own)
    ends = len(fields) + (4 if own else 3)  # of lines, the empty one included
    splits = not head.count(b"\n") == head.count(b"\r") == ends or 0 in head
    if splits or not _TOKEN.fullmatch(call.method) or not _TARGET.fullmatch(call.target):
        raise BadRequest(400, Why.MALFORMED, "the request cannot be sent upstream as one request")
    return head


def _own(call: Call) -> bytes:
    """The line that tells of the body's end, where one is due."""
    if call.body is None:
        return b"Content-Length: 0\r\n" if call.method in _WANT_LENGTH else b""
    length = call.body.length
    return b"Transfer-Encoding: chunked\r\n" if length is None else b"Content-Length: %d\r\n" % length


def resendable(call: Call) -> bool:
    """Whether the call may be sent a second time when nothing is known of the first (RFC 9110 9.2.2)."""
    return call.method in IDEMPOTENT and (call.body is None or call.body.replayable)


def misreadable(call: Call) -> bool:
    """Whether some server would take the content for the next request, since it expects none here (RFC 9110 9.3.1,
    9.3.2, 9.3.5): what it answers to that would answer somebody else."""
    return call.body is not None and call.method in _WANT_NOTHING


def framing(method: str, status: int, version: str, fields: Fields) -> Framing:
    """How the end of this answer's body is told (RFC 9112 6.3). UpstreamError(FRAMING) when two readers could disagree
    about it, and for a coding that we did not ask for and could not pass on."""
    if method == "HEAD" or status < 200 or status in (204, 304):
        return Framing.NONE
    if not fields.has_any(_FRAMING):
        return Framing.CLOSE
    lengths = fields.lines("content-length")
    codings = fields.lines("transfer-encoding")
    if codings:
        if lengths:
            raise _ambiguous("both Content-Length and Transfer-Encoding")
        if version != "1.1" or [coding.strip().lower() for coding in codings] != ["chunked"]:
            raise _ambiguous("a Transfer-Encoding other than chunked")
        return Framing.CHUNKED
    if lengths:
        if len(lengths) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            raise _ambiguous("more than one Content-Length, or one that is no number")
        return Framing.LENGTH
    return Framing.CLOSE


def _ambiguous(what: str) -> UpstreamError:
    return UpstreamError(Fault.FRAMING, f"the upstream's answer has {what}")
