"""What happened in the last hour and day, minute by minute: differences of the counters, taken once a minute.

What a window sums up is worked out as minutes come and go, so that asking costs no more on a busy day. A minute is kept
packed, so that a day of a busy instance with MAX_GROUPS groups takes a few MB at most, and usually some hundred KB.
Other instances' minutes lie beside our own: what is told is of all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from proxy.observe.counters import Counters
from proxy.observe.groups import OTHER_GROUPS, OTHER_RULES
from proxy.observe.rule_counts import RuleCounts
from proxy.observe.span import NoSpan, Span, merged

MINUTE = 60.0  # seconds
KEPT = 24 * 60  # minutes
MAX_NAMES = 2000  # groups of a day; what more there are, as those of many instances, count as others of their rule
WINDOWS = {"1h": 60, "24h": KEPT}  # minutes, by the words that ask for them


@dataclass(frozen=True, slots=True)
class Point:
    """One minute (since the epoch) in figures that can be drawn."""

    minute: int
    hits: int
    misses: int
    bypassed: int
    bytes_saved: int
    upstream_seconds: float

    @classmethod
    def of(cls, minute: int, span: Span) -> Self:
        whole = span.whole
        hits, misses = whole.hits, whole.misses
        bypassed = sum(whole.outcomes.values()) - hits - misses
        return cls(minute, hits, misses, bypassed, whole.bytes_saved, whole.call_seconds)


@dataclass(frozen=True, slots=True)
class Window:
    """The last `minutes`, the one that is not over included: all together, and by minute as far as anything is known.
    `since`: the first minute (since the epoch) of which anything is. `shared`: all instances were heard."""

    minutes: int
    since: int
    span: Span
    series: tuple[Point, ...]
    shared: bool = False


class History:
    """`clock` is wall time in seconds; when it is set back, the windows stay where they are until it comes by again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = self.minute  # where the windows end
        self._before = Counters()  # as at the last take, ...
        self._since = self.minute  # ... which was then
        self._own: dict[int, bytes] = {}
        self._others: dict[int, bytes] = {}
        self._points: dict[int, Point] = {}
        self._sums = {minutes: Span() for minutes in WINDOWS.values()}

    @property
    def minute(self) -> int:
        """The one that is now, since the epoch."""
        return int(self._clock() // MINUTE)

    def take(self, counters: Counters) -> tuple[int, bytes] | None:
        """End a minute: which one, and all that was counted here in it; None where nothing was, or more than can be
        kept. `counters` are as of now, and not changed afterwards."""
        self._move()
        span = Span.between(self._before, counters)
        self._before = counters
        minute, self._since = self._since, self.minute
        if not span.groups and not span.tiers:
            return None
        with suppress(NoSpan):
            return minute, self._put(self._own, minute, merged((_unpacked(self._own, minute), span)))
        return None

    def hear(self, minute: int, parts: Sequence[bytes]) -> None:
        """What all the other instances have counted in a minute, in the place of what was heard of them; what is no
        span is left out."""
        self._move()
        spans = []
        for raw in parts:
            with suppress(NoSpan):
                spans.append(Span.unpacked(raw))
        if spans and self._last - KEPT < minute <= self._last + 1:
            with suppress(NoSpan):
                self._put(self._others, minute, merged(spans))

    def window(self, minutes: int, now: Counters, *, shared: bool = False) -> Window:
        """One of WINDOWS; `now`: the counters as of now; `shared` as the window says it."""
        self._move()
        running = Span.between(self._before, now)
        first = self._last - minutes + 1
        points = {minute: point for minute, point in self._points.items() if minute >= first}
        points[self._since] = Point.of(self._since, merged((self._span(self._since), running)))
        series = tuple(points[minute] for minute in sorted(points))
        return Window(minutes, series[0].minute, merged((self._sums[minutes], running)), series, shared)

    def _span(self, minute: int) -> Span:
        return merged(_unpacked(held, minute) for held in (self._own, self._others))

    def _put(self, held: dict[int, bytes], minute: int, span: Span) -> bytes:
        """Keep it in the place of what was held. NoSpan, and nothing is changed, where it is too large."""
        before = self._span(minute)
        raw = self._within(span).packed()
        after = merged((Span.unpacked(raw), _unpacked(self._others if held is self._own else self._own, minute)))
        held[minute] = raw
        self._points[minute] = Point.of(minute, after)
        for minutes, whole in self._sums.items():
            if minute > self._last - minutes:
                whole.take_off(before)
                whole.add(after)
        return raw

    def _within(self, span: Span) -> Span:
        """The same with no more new names than there is room for: before it is kept, so that what is added to a sum is
        what will be taken off."""
        known = self._sums[KEPT].groups
        new = [name for name in span.groups if name not in known]
        if len(known) + len(new) <= MAX_NAMES:
            return span
        rules = {rule for rule, _ in known}
        for rule, group in new[max(0, MAX_NAMES - len(known)) :]:
            other = rule if rule in rules else OTHER_RULES
            counts = span.groups.pop((rule, group))
            span.groups.setdefault((other, OTHER_GROUPS), RuleCounts()).add(counts)
        return span

    def _move(self) -> None:
        """Let the windows end now."""
        now = self.minute
        if now <= self._last:
            return
        for minutes, whole in self._sums.items():
            for minute in [m for m in self._points if self._last - minutes < m <= now - minutes]:
                whole.take_off(self._span(minute))
        self._last = now
        for minute in [minute for minute in self._points if minute <= now - KEPT]:
            for held in (self._own, self._others, self._points):
                held.pop(minute, None)


def _unpacked(held: Mapping[int, bytes], minute: int) -> Span:
    return Span.unpacked(held[minute]) if minute in held else Span()
