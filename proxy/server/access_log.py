"""The access log: one line a request, with the same words as X-Cache, Cache-Status and the metrics."""

import hmac
import re
import secrets
from collections.abc import Callable, Collection
from urllib.parse import unquote_plus

from proxy.message import Reply, Request
from proxy.observe.counters import Counters, told
from proxy.observe.logs import Format, LineWriter, json_line, printable, timestamp

# The request, its reply, bytes of content sent, seconds from head to last byte, whether the reply went out whole.
Finished = Callable[[Request, Reply, int, float, bool], None]

_BARE = re.compile(r'[^\s"=\\]+')


class Redaction:
    """Replaces the values of named query parameters by keyed hashes: equal values stay recognisable within one run
    of the process, and nobody can tell what they were."""

    def __init__(self, names: Collection[str], key: bytes | None = None) -> None:
        self._names = frozenset(names)
        self._key = key or secrets.token_bytes(32)

    def __call__(self, query: str) -> str:
        if not self._names:
            return query
        # Some origins take ";" for a separator too, so that a name may begin behind either.
        return "".join(part if part in "&;" else self._parameter(part) for part in re.split("([&;])", query) if part)

    def _parameter(self, part: str) -> str:
        name, mark, value = part.partition("=")
        if not mark or unquote_plus(name) not in self._names:
            return part
        digest = hmac.digest(self._key, value.encode("latin-1", "replace"), "sha256").hex()[:12]
        return f"{name}=hmac:{digest}"


class AccessLog:
    """Writes the line of each finished request."""

    def __init__(self, writer: LineWriter, form: Format, redact: Redaction) -> None:
        self._writer = writer
        self._form = form
        self._redact = redact

    def write(self, request: Request, reply: Reply, sent: int, seconds: float) -> None:
        fields = self._fields(request, reply, sent, seconds)
        if self._form == "json":
            self._writer.write(json_line(fields))
        else:
            self._writer.write(" ".join(f"{name}={_text(value)}" for name, value in fields.items()).encode())

    def _fields(self, request: Request, reply: Reply, sent: int, seconds: float) -> dict[str, object]:
        outcome = reply.outcome
        query = request.query
        return {
            "time": timestamp(request.received_at),
            "method": request.method,
            "host": request.host,
            "path": request.path,
            "query": None if query is None else self._redact(query),
            "status": reply.status,
            "bytes": sent,
            "seconds": round(seconds, 6),
            "verdict": outcome.verdict.value,
            "tier": outcome.tier.value if outcome.tier else None,
            "reason": told(outcome).word,
            "rule": outcome.rule or None,
            "key": outcome.key or None,
            "origin_ttl": outcome.origin_ttl,
            "stored": outcome.stored,
            "content_type": reply.fields.get("content-type"),
            "upstream_seconds": None if outcome.upstream_seconds is None else round(outcome.upstream_seconds, 6),
            "client": request.client,
            "request_id": request.id,
        }


def _text(value: object) -> str:
    """A value of logfmt: bare when it is one word, else quoted."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = printable(str(value))
    if _BARE.fullmatch(text) and text != "-":
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def bookkeeping(counters: Counters, log: AccessLog | None) -> Finished:
    """What is done when a request is over: count it, and log it where a log is wanted."""

    def finished(request: Request, reply: Reply, sent: int, seconds: float, complete: bool) -> None:
        counters.finish(reply.outcome, seconds, sent)
        if log is not None:
            log.write(request, reply, sent, seconds)

    return finished
