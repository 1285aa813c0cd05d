"""The access log: one line a request, with the same words as X-Cache, Cache-Status and the metrics."""

import hmac
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from urllib.parse import unquote_plus

from proxy.message import Reply, Request
from proxy.observe.counters import Counters, Tally, told
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


class Template:
    """Lines that differ only in when, for how long and for whom."""

    __slots__ = ("_answered", "_asked", "_json", "_writer")

    def __init__(self, writer: LineWriter, asked: bytes, answered: bytes, *, json: bool) -> None:
        self._writer = writer
        self._asked = asked
        self._answered = answered
        self._json = json

    def write(self, now: float, seconds: float, client: str, request_id: str) -> None:
        """`now` is wall clock; `seconds` and the others as in `AccessLog.write`."""
        who = {"client": client, "request_id": request_id}
        if self._json:
            form, last = b'{"time":"%b",%b,"seconds":%.6f,%b,%b', json_line(who)[1:]
        else:
            form, last = b"time=%b %b seconds=%.6f %b %b", _text_line(who)
        self._writer.write(form % (timestamp(now).encode(), self._asked, seconds, self._answered, last))


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
        self._counters.finish(reply.outcome, seconds, sent)
        if self._log is not None:
            self._log.write(request, reply, sent, seconds)

    def account(self, request: Request, reply: Reply, sent: int) -> "Account":
        """Where it is booked that others get the same hit."""
        tally = self._counters.tally(reply.outcome.rule, reply.outcome.reason)
        return Account(tally, sent, None if self._log is None else self._log.template(request, reply, sent))

    def close_accounts(self) -> None:
        """Nobody has one any more."""
        self._counters.settle(over=True)


class Account:
    """Books one hit after the other, of which one is like the other."""

    __slots__ = ("_sent", "_tally", "_template")

    def __init__(self, tally: Tally, sent: int, template: Template | None) -> None:
        self._tally = tally
        self._sent = sent
        self._template = template

    def __call__(self, now: float, seconds: float, client: str, request_id: bytes) -> None:
        tally = self._tally
        tally.count += 1
        tally.sent += self._sent
        tally.seconds.observe(seconds)
        if self._template is not None:
            self._template.write(now, seconds, client, request_id.decode("ascii"))
