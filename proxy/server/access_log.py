"""The access log: one line a request, with the same words as X-Cache, Cache-Status and the metrics."""

import hmac
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Protocol
from urllib.parse import unquote_plus

from proxy.message import Reply, Request
from proxy.observe.counters import Counters, Tally, told
from proxy.observe.grouping import group_of
from proxy.observe.logs import Format, LineWriter, json_line, printable, stamp, timestamp
from proxy.observe.rule_counts import MISSES

# The request, its reply, bytes of content sent, seconds from head to last byte, whether the reply went out whole.
Finished = Callable[[Request, Reply, int, float, bool], None]

_BARE = re.compile(r'[^\s"=\\]+')
_WORD = re.compile(rb'(?!-\Z)[^"=\\]+').fullmatch  # of visible characters, which stands in both forms as it is


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
        told = {
            "time": timestamp(request.received_at),
            **self._asked(request, reply, sent),
            "seconds": round(seconds, 6),
            **self._answered(reply),
            "client": request.client,
            "request_id": request.id,
        }
        self._writer.write(json_line(told) if self._form == "json" else _text_line(told))

    def template(self, request: Request, reply: Reply, sent: int) -> "Template":
        """The lines of all who get this same reply to this same request."""
        asked, answered = self._asked(request, reply, sent), self._answered(reply)
        if self._form == "json":
            return Template(self._writer, json_line(asked)[1:-1], json_line(answered)[1:-1], json=True)
        return Template(self._writer, _text_line(asked), _text_line(answered), json=False)

    def _asked(self, request: Request, reply: Reply, sent: int) -> dict[str, object]:
        query = request.query
        return {
            "method": request.method,
            "host": request.host,
            "path": request.path,
            "query": None if query is None else self._redact(query),
            "status": reply.status,
            "bytes": sent,
        }

    def _answered(self, reply: Reply) -> dict[str, object]:
        outcome = reply.outcome
        return {
            "verdict": outcome.verdict.value,
            "tier": outcome.tier.value if outcome.tier else None,
            "reason": told(outcome).word,
            "rule": outcome.rule or None,
            "key": outcome.key or None,
            "origin_ttl": outcome.origin_ttl,
            "stored": outcome.stored,
            "content_type": reply.fields.get("content-type"),
            "upstream_seconds": None if outcome.upstream_seconds is None else round(outcome.upstream_seconds, 6),
        }


class Line(Protocol):
    """What is told of each who gets this same reply to this same request."""

    def write(self, now: float, seconds: float, client: str, request_id: bytes) -> None:
        """`now` is wall clock; `seconds` and the others as in `AccessLog.write`."""
        ...


class Template:
    """Lines that differ only in when, for how long and for whom."""

    __slots__ = ("_client", "_end", "_form", "_json", "_who", "_writer")

    def __init__(self, writer: LineWriter, asked: bytes, answered: bytes, *, json: bool) -> None:
        self._writer = writer
        self._json = json
        form = b'{"time":"%%b",%b,"seconds":%%.6f,%b,%%b%%b%%b' if json else b"time=%%b %b seconds=%%.6f %b %%b%%b%%b"
        self._form = form % (asked.replace(b"%", b"%%"), answered.replace(b"%", b"%%"))
        self._end = b'"}' if json else b""
        self._client, self._who = "", b""  # the last client, and all that is said of it before the request's id

    def write(self, now: float, seconds: float, client: str, request_id: bytes) -> None:
        """As `Line` says."""
        if client != self._client or not self._who:
            self._client, self._who = client, self._told(client, "")
        who, told, end = self._who, request_id, self._end
        if not request_id.isalnum() and not _WORD(request_id):
            who, told, end = self._told(client, request_id.decode("ascii")), b"", b""
        self._writer.write(self._form % (stamp(int(now * 1000)), seconds, who, told, end))

    def _told(self, client: str, request_id: str) -> bytes:
        """Of an empty one the end is left open."""
        told = {"client": client, "request_id": request_id or "0"}
        line = json_line(told)[1:] if self._json else _text_line(told)
        return line if request_id else line.removesuffix(b'0"}' if self._json else b"0")


def _text_line(told: Mapping[str, object]) -> bytes:
    return " ".join(f"{name}={_text(value)}" for name, value in told.items()).encode()


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


class Books:
    """What is done when a request is over: count it, and log it where a log is wanted."""

    def __init__(self, counters: Counters, log: AccessLog | None) -> None:
        self._counters = counters
        self._log = log

    def __call__(self, request: Request, reply: Reply, sent: int, seconds: float, complete: bool) -> None:
        outcome = reply.outcome
        # What an origin knows nothing of makes no name: a scan for holes would take them all.
        self._counters.finish(outcome, seconds, sent, group_of(request.path) if reply.status < 400 else "")
        if outcome.upstream_seconds is not None and outcome.verdict in MISSES and not outcome.collapsed:
            self._counters.lost.count(f"{request.host}{request.path}", outcome.upstream_seconds)
        if self._log is not None:
            self._log.write(request, reply, sent, seconds)

    def account(self, request: Request, reply: Reply, sent: int) -> tuple[Tally, Line | None]:
        """Where it is booked that others get the same hit: `Tally.book`, and `Line.write` where a log is wanted."""
        group = group_of(request.path) if reply.status < 400 else ""
        tally = self._counters.tally(reply.outcome.rule, reply.outcome.reason, group)
        return tally, None if self._log is None else self._log.template(request, reply, sent)

    def close_accounts(self) -> None:
        """Nobody has one any more."""
        self._counters.settle(over=True)
