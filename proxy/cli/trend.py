"""Statistics taken again and again: what changed between two of them, and curves of that. Pure."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Stats = dict[str, Any]
Count = Callable[[Stats], float]
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Look:
    """The statistics at a moment in seconds that never go back; None where there were none to be had."""

    at: float
    stats: Stats | None


class Trend:
    """The last `kept` looks. A gateway that was restarted counts from nothing: what seems to fall is no change."""

    def __init__(self, kept: int) -> None:
        self._looks: deque[Look] = deque(maxlen=kept)

    def add(self, at: float, stats: Stats | None) -> None:
        self._looks.append(Look(at, stats))

    @property
    def last(self) -> Stats | None:
        """The newest statistics that could be had."""
        return next((look.stats for look in reversed(self._looks) if look.stats is not None), None)

    def rates(self, count: Count) -> list[float | None]:
        """By how much a figure grew each second, from look to look; None where nobody can say."""
        return [_rate(count, before, now) for before, now in pairwise(self._looks)]

    def shares(self, part: Count, rest: Count) -> list[float | None]:
        """Which share of what both grew by was the `part`'s, from look to look; None where they did not grow."""
        return [_share(part, rest, before, now) for before, now in pairwise(self._looks)]


def sparkline(values: Sequence[float | None], width: int, top: float | None = None) -> str:
    """The newest `width` values as bars, scaled to `top` or the largest of them; a gap where there is none."""
    shown = values[-width:]
    most = top if top is not None else max((value for value in shown if value is not None), default=0.0)
    return "".join(_bar(value, most) for value in shown).rjust(width)


def newest(values: Sequence[float | None]) -> float | None:
    """The last that is known."""
    return next((value for value in reversed(values) if value is not None), None)


def _bar(value: float | None, most: float) -> str:
    if value is None:
        return " "
    level = int(value / most * (len(_BARS) - 1) + 0.5) if most > 0 else 0
    return _BARS[min(max(level, 0), len(_BARS) - 1)]


def _both(before: Look, now: Look) -> Iterator[tuple[Stats, Stats]]:
    """The statistics of both, where the same gateway told them."""
    if before.stats is not None and now.stats is not None and now.stats["uptime"] >= before.stats["uptime"]:
        yield before.stats, now.stats


def _rate(count: Count, before: Look, now: Look) -> float | None:
    for then, later in _both(before, now):
        if now.at > before.at:
            return max(0.0, count(later) - count(then)) / (now.at - before.at)
    return None


def _share(part: Count, rest: Count, before: Look, now: Look) -> float | None:
    for then, later in _both(before, now):
        grew, others = max(0.0, part(later) - part(then)), max(0.0, rest(later) - rest(then))
        if grew + others > 0:
            return grew / (grew + others)
    return None
