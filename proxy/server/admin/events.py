"""Events as an operator's program or page reads them: server-sent events (HTML Living Standard 9.2)."""

from typing import Self

import orjson

from proxy.message import Fields, Reply
from proxy.observe.events import Events, Kind, Listener, Told, TooMany
from proxy.outcome import Outcome, Verdict
from proxy.policy.own_answers import phrase
from proxy.reasons import Why
from proxy.server.admin.pages import AdminError, Ask, Page
from proxy.server.admin.rights import Level
from proxy.settings.problems import found

HEARTBEAT = 10.0  # seconds between signs of life: who goes on without knows that we have gone
RETRY = 2000  # milliseconds after which a reader comes again


def events_page(events: Events, *, heartbeat: float = HEARTBEAT) -> Page:
    """`types`: kinds by comma, all of them without it."""

    async def answer(ask: Ask) -> Reply:
        kinds = _kinds(ask.query.get("types", ""))
        after = ask.request.fields.get("last-event-id") or ""
        try:
            body = Stream(events, events.listen(kinds, after), heartbeat)
        except TooMany as error:
            raise AdminError(503, "too-many", f"{error}.") from None
        return Reply(200, phrase(200), _FIELDS, body, Outcome(Verdict.BYPASS, Why.NO_RULE))

    return Page("GET", "/events", Level.TOKEN, answer, ("types",))


class Stream:
    """The body: events as they come, a comment where none does, and at last why there are no more."""

    def __init__(self, events: Events, listener: Listener, heartbeat: float) -> None:
        self._events = events
        self._listener = listener
        self._heartbeat = heartbeat
        self._begun = self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._begun:
            self._begun = True
            return b"retry: %d\n\n" % RETRY
        if self._over:
            raise StopAsyncIteration
        told = await self._listener.take(self._heartbeat)
        if told:
            return b"".join(map(self._line, told))
        if not self._listener.over:
            return b": still here\n\n"
        self._over = True
        return b"event: end\ndata: %b\n\n" % orjson.dumps({"reason": self._listener.over})

    async def aclose(self) -> None:
        """Listen no more; idempotent."""
        self._listener.close()

    def _line(self, told: Told) -> bytes:
        event = told.event
        data = orjson.dumps({"at": round(event.at, 3), **event.data}, option=orjson.OPT_NON_STR_KEYS)
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (self._events.named(told).encode(), event.kind.encode(), data)


_FIELDS = Fields.of(
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # what stands between us and the reader is to hold nothing back
    ("X-Content-Type-Options", "nosniff"),
)


def _kinds(types: str) -> frozenset[Kind]:
    """Those that are named, all where none is. AdminError for any other word."""
    words = [word for word in map(str.strip, types.split(",")) if word]
    try:
        return frozenset(map(Kind, words)) or frozenset(Kind)
    except ValueError:
        raise AdminError(400, "bad-types", f"types: wanted some of {', '.join(Kind)}, found {found(types)}.") from None
