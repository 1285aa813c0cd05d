"""What requests are as spans of traces: which are recorded, whose they are part of, and what is told of them.

Where a task stands in its trace is known by its context, which every task inherits from who began it. How spans get to
a collector is the matter of `observe.otlp` alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random

from proxy.message import Fields
from proxy.policy.trace_context import RANDOM, SAMPLED, TraceContext, chosen, context_of

Value = str | int | float | bool


METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})


def method(asked: str) -> str:
    """As the semantic conventions tell it: clients may say anything, and what is told has to be of few kinds."""
    return asked if asked in METHODS else "_OTHER"


def named(asked: str) -> str:
    """The same in the name of a span."""
    return asked if asked in METHODS else "HTTP"


class Kind(Enum):
    """Whose side of what happens a span tells."""

    SERVER = auto()
    CLIENT = auto()
    INTERNAL = auto()


@dataclass(slots=True, eq=False)
class TraceSpan:
    """One that is recorded. Times are nanoseconds of wall clock; `owner` is the request that it tells of, where it
    tells of one; `error` says in one word how it failed."""

    name: str
    kind: Kind
    context: TraceContext
    parent: TraceContext | None
    began: int
    attributes: dict[str, Value] = field(default_factory=dict)
    links: list[TraceContext] = field(default_factory=list)
    owner: object = None
    ended: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Unrecorded:
    """One that is not; those behind us are told so."""

    context: TraceContext
    owner: object = None


Current = TraceSpan | Unrecorded
_HERE: ContextVar[Current | None] = ContextVar("cachegate_span", default=None)


class Tracing:
    """Begins spans and hands those that have ended to `record`. Who calls decides whether his request is traced; of
    those that nobody decided about, a share of `ratio` is. `clock` is wall time in nanoseconds."""

    def __init__(
        self,
        record: Callable[[TraceSpan], None],
        ratio: float,
        *,
        clock: Callable[[], int] = time.time_ns,
        random: Random | None = None,
    ) -> None:
        self.clock = clock
        self._record = record
        self._ratio = ratio
        self._draw = (random or Random()).getrandbits  # noqa: S311 - names, not secrets

    @property
    def current(self) -> Current | None:
        """Where this task stands."""
        return _HERE.get()

    def arrived(self, fields: Fields, owner: object) -> None:
        """A request of this task begins."""
        _HERE.set(self.received(context_of(fields), owner))

    def of(self, owner: object) -> Current | None:
        """What began with this request in this task, which is over now."""
        here = _HERE.get()
        if here is None or here.owner is not owner:  # of another, in whose context this was begun long ago
            return None
        _HERE.set(None)
        return here

    def received(self, caller: TraceContext | None, owner: object = None) -> Current:
        """A request that came with this context, or none."""
        if caller is None:
            return self._root("", Kind.SERVER, owner)
        if not caller.sampled:
            return Unrecorded(caller, owner)
        return self._child("", Kind.SERVER, caller, owner)

    def recorded(self, caller: TraceContext | None) -> TraceSpan | None:
        """As `received`, where it is recorded; where not, it costs next to nothing."""
        if caller is None:
            trace = self._trace()
            return self._own("", Kind.SERVER, trace) if chosen(trace, self._ratio) else None
        return self._child("", Kind.SERVER, caller) if caller.sampled else None

    def begin(self, name: str, kind: Kind = Kind.INTERNAL) -> Current:
        """Something that this task does for what it stands in."""
        here = _HERE.get()
        if here is None:
            return self._root(name, kind)
        return here if isinstance(here, Unrecorded) else self._child(name, kind, here.context)

    def apart(self, name: str) -> Current:
        """Something that this task causes and nobody waits for: a trace of its own with a link to the cause, recorded
        where that is."""
        here = _HERE.get()
        if here is None:
            return self._root(name, Kind.INTERNAL)
        trace = self._trace()
        if isinstance(here, Unrecorded):
            return Unrecorded(TraceContext(trace, self._id(), RANDOM))
        span = self._own(name, Kind.INTERNAL, trace)
        span.links.append(here.context)
        return span

    def always(self, name: str) -> TraceSpan:
        """Something rare that somebody asked for by hand."""
        here = _HERE.get()
        if isinstance(here, TraceSpan):
            return self._child(name, Kind.INTERNAL, here.context)
        return self._own(name, Kind.INTERNAL, self._trace())

    def link(self, context: TraceContext | None) -> None:
        """What this task does waits for that."""
        here = _HERE.get()
        if context is not None and isinstance(here, TraceSpan):
            here.links.append(context)

    @contextmanager
    def within(self, span: Current) -> Iterator[None]:
        """What is begun in here is part of it."""
        token = _HERE.set(span)
        try:
            yield
        finally:
            _HERE.reset(token)

    def end(self, span: Current) -> None:
        """It is over, where it has not been before."""
        if isinstance(span, TraceSpan) and not span.ended:
            span.ended = self.clock()
            self._record(span)

    def over(self, span: TraceSpan, seconds: float) -> None:
        """As `end`, of something that took so long until now; where it is over already, until then."""
        span.ended = span.ended or self.clock()
        span.began = span.ended - int(seconds * 1e9)
        self._record(span)

    def past(self, name: str, parent: TraceSpan, began: int, seconds: float, attributes: dict[str, Value]) -> int:
        """A part of `parent` that was measured and is over; when it ended."""
        span = self._child(name, Kind.INTERNAL, parent.context)
        span.began, span.ended, span.attributes = began, began + int(seconds * 1e9), attributes
        self._record(span)
        return span.ended

    # -- ids -------------------------------------------------------------------------------------------------------

    def _root(self, name: str, kind: Kind, owner: object = None) -> Current:
        trace = self._trace()
        if not chosen(trace, self._ratio):
            return Unrecorded(TraceContext(trace, self._id(), RANDOM), owner)
        return self._own(name, kind, trace, owner)

    def _own(self, name: str, kind: Kind, trace: int, owner: object = None) -> TraceSpan:
        context = TraceContext(trace, self._id(), SAMPLED | RANDOM)
        return TraceSpan(name, kind, context, None, self.clock(), owner=owner)

    def _child(self, name: str, kind: Kind, parent: TraceContext, owner: object = None) -> TraceSpan:
        context = TraceContext(parent.trace, self._id(), parent.flags, parent.state)
        return TraceSpan(name, kind, context, parent, self.clock(), owner=owner)

    def _trace(self) -> int:
        return self._draw(128) or 1

    def _id(self) -> int:
        return self._draw(64) or 1
