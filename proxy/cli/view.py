"""The live view of `cachegate monitor`, drawn by rich: refreshed in place, laid out anew when the window changes.

Lines and columns stand in the order of their worth, so that what a small window has no room for is cut off at the end.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from proxy.cli.output import percent, plain, plural, size, span, spent
from proxy.cli.trend import Count, Stats, Trend, newest, sparkline

REDRAW = 0.25  # seconds between two looks at the keys and the size of the window
RULES = 12  # rules that are shown
LOST = 8  # URLs
_GAP = 2  # columns between two
_LABEL = 13  # columns of what a line is about
_NAME = 24  # columns of the name of a rule
_CURVE = range(8, 49)  # columns of a curve
_WIDEST = 120  # columns that are laid out: what stands further apart is hard to read
_STATES = {"closed": "green", "half-open": "yellow", "open": "bold red"}

Curve = tuple[list[float | None], str, float | None]  # what it is of, its style, and what its top stands for
_NO_CURVE: Curve = ([], "", None)


class Screen:
    """Draws on a terminal. `live` is rich's."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, url: str, trend: Trend, trouble: str, every: float) -> None:
        """Draw how things stand."""
        columns, lines = self._live.console.size
        self._live.update(picture(url, trend, trouble, every, columns, lines), refresh=True)


@contextmanager
def screen(console: Console | None = None) -> Iterator[Screen]:
    """The whole terminal, which is given back as it was."""
    console = console or Console()
    with Live(console=console, screen=console.is_terminal, auto_refresh=False, vertical_overflow="crop") as live:
        yield Screen(live)


def picture(url: str, trend: Trend, trouble: str, every: float, width: int, height: int) -> RenderableType:
    """All that there is room for in a window of so many columns and lines."""
    head = Text.assemble(("cachegate ", "bold"), (url, "cyan"), f"  every {every:g} s, q ends")
    parts: list[RenderableType] = [_line(head)]
    if trouble:
        parts.append(_line(Text(f"not reached, trying again: {trouble}", style="bold red")))
    stats = trend.last
    if stats is not None:
        rows = _summary(stats, trend)[: max(0, height - len(parts))]
        parts.append(_lines(rows, width))
        left = height - len(parts) + 1 - len(rows)
        for table in (_tiers(stats, trend), _rules(stats, trend), _lost(stats)):
            shown = table[: max(0, left - 1)]
            if len(shown) > 1:  # a heading alone is worth nothing
                parts += [Text(), _table(shown, width)]
                left -= len(shown) + 1
    return Group(*parts)


# -- what is told ------------------------------------------------------------------------------------------------------

Row = tuple[Sequence[str], Curve]
Line = tuple[tuple[str, str | Text], Curve]


def _summary(stats: Stats, trend: Trend) -> list[Line]:
    requests, calls = trend.rates(_requests), trend.rates(lambda told: told["upstream"]["requests"])
    ratio = trend.shares(_hits, _misses)
    time, upstream = stats["responseTime"], stats["upstream"]
    up = f"{stats['version']}, up {span(stats['uptime'])}, {plural(stats['workers'], 'worker')}"
    since = f"{_now(ratio)} now, {percent(stats['hitRate'])} since the start"
    return [
        (("from store", since), (ratio, "green", 1.0)),
        (("requests", _per_second(requests, stats["requests"])), (requests, "cyan", None)),
        (("upstream", _per_second(calls, upstream["requests"])), (calls, "yellow", None)),
        (("answered in", f"p50 {time['p50']:.1f}, p95 {time['p95']:.1f}, p99 {time['p99']:.1f} ms"), _NO_CURVE),
        (("breaker", _breaker(upstream)), _NO_CURVE),
        (("redis", _redis(stats["redis"])), _NO_CURVE),
        (("saved", _saved(stats["rules"])), _NO_CURVE),
        (("clients", f"{plural(stats['activeSessions'], 'connection')}, {stats['inFlight']:,} in flight"), _NO_CURVE),
        (("gateway", up), _NO_CURVE),
    ]


def _tiers(stats: Stats, trend: Trend) -> list[Row]:
    rows: list[Row] = [(("tier", "hit ratio", "hits", "entries", "bytes", "evicted"), _NO_CURVE)]
    for name in ("memory", "redis", "file"):
        tier = stats[name]
        if tier.get("enabled", True) and (name == "redis" or tier["maxBytes"]):
            hits = _field(name, "hits")
            shares = trend.shares(hits, _field(name, "misses"))
            held = size(tier["memoryUsage"] if name == "redis" else tier["bytes"])
            cells = (name, _now(shares), f"{hits(stats):,.0f}", f"{tier['size']:,}", held, f"{tier['evictions']:,}")
            rows.append((cells, (shares, "green", 1.0)))
    return rows


def _rules(stats: Stats, trend: Trend) -> list[Row]:
    rows: list[Row] = [(("rule", "hit ratio", "hits", "misses", "saved", "upstream"), _NO_CURVE)]
    rules = stats["rules"]
    busiest = sorted(rules, key=lambda name: -(rules[name]["hits"] + rules[name]["misses"]))[:RULES]
    for name in busiest:
        rule, told = rules[name], plain(name)
        shares = trend.shares(_rule(name, "hits"), _rule(name, "misses"))
        times = spent(rule["secondsSaved"]), spent(rule["upstreamSeconds"])
        shown = told if len(told) <= _NAME else f"{told[: _NAME - 1]}…"
        cells = (shown or "(no rule)", _now(shares), f"{rule['hits']:,}", f"{rule['misses']:,}", *times)
        rows.append((cells, (shares, "green", 1.0)))
    return rows


def _lost(stats: Stats) -> list[Row]:
    """What was missed at the greatest cost; told to the token alone."""
    most = [(f"{miss['seconds']:>10,.1f} s", plain(miss["url"])) for miss in (stats.get("topMisses") or ())[:LOST]]
    return [
        ((f"{seconds}  {url}",), _NO_CURVE)
        for seconds, url in [("        took", "missed at most upstream time"), *most]
    ]


def _breaker(upstream: dict[str, Any]) -> Text:
    state = upstream["breaker"]
    cause = f" ({upstream['cause']})" if upstream.get("cause") else ""
    return Text.assemble((f"{state}{cause}", _STATES.get(state, "")), f", {upstream['errors']:,} errors")


def _redis(redis: dict[str, Any]) -> Text:
    if not redis["enabled"]:
        return Text("not enabled", style="dim")
    if not redis["connected"]:
        return Text.assemble(("fallback", "bold red"), f": {redis.get('reason') or 'not connected'}")
    return Text.assemble((redis.get("state", "ready"), "green"), f", {redis['keys']:,} keys, {redis['latency']} ms")


def _saved(rules: dict[str, Any]) -> str:
    """By all rules, since the start."""
    calls, held, seconds, money = (
        sum(rule[name] for rule in rules.values())
        for name in ("callsSaved", "bytesSaved", "secondsSaved", "moneySaved")
    )
    return f"{plural(calls, 'call')}, {spent(seconds)}, {size(held)}{f', {money:,.2f} of money' if money else ''}"


# -- how it is laid out ------------------------------------------------------------------------------------------------


def _line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _lines(rows: Sequence[Line], width: int) -> RenderableType:
    """What is told in words, and curves of it where there is room."""
    words = max((len(told) for (_, told), (values, _, _) in rows if values), default=0)
    drawn = []
    for (name, told), curve in rows:
        drawn.append(_with_curve(Text.assemble(f"{name:<{_LABEL}}", told), _LABEL + words, curve, width))
    return Group(*drawn)


def _table(rows: Sequence[Row], width: int) -> RenderableType:
    """As many of the columns as there is room for, and a curve where any is left; the first row is the heading."""
    widths = [max(cell_len(str(cell)) for cell in column) for column in zip(*(cells for cells, _ in rows), strict=True)]
    ends = [end - _GAP for end in accumulate(wide + _GAP for wide in widths)]
    shown = max(1, sum(end <= width for end in ends))
    drawn = []
    for number, (cells, curve) in enumerate(rows):
        padded = [f"{' ' * (wide - cell_len(str(cell)))}{cell}" for cell, wide in zip(cells, widths, strict=True)]
        first = f"{cells[0]}{' ' * (widths[0] - cell_len(str(cells[0])))}"
        line = Text((" " * _GAP).join([first, *padded[1:shown]]), style="" if number else "dim")
        drawn.append(_with_curve(line, line.cell_len, curve, width))
    return Group(*drawn)


def _with_curve(line: Text, at: int, curve: Curve, width: int) -> Text:
    """The line, and at the right a curve, where there is one and room for it; what has curves has `at` columns."""
    values, style, top = curve
    width = min(width, _WIDEST)
    room = min(width - at - _GAP, _CURVE[-1])
    if values and room >= _CURVE[0]:
        line.pad_right(width - room - line.cell_len)
        line.append(sparkline(values, room, top), style)
    return _line(line)


def _per_second(rates: list[float | None], total: float) -> str:
    now = newest(rates)
    return f"{'-' if now is None else f'{now:,.1f}'}/s, {total:,} in all"


def _now(shares: list[float | None]) -> str:
    now = newest(shares)
    return "-" if now is None else percent(now)


def _field(tier: str, name: str) -> Count:
    """A tier's hits or misses, which memory calls by other names."""
    told = {"hits": "totalHits", "misses": "totalMisses"}[name] if tier == "memory" else name
    return lambda stats: float(stats[tier][told])


def _rule(name: str, field: str) -> Count:
    return lambda stats: float(stats["rules"].get(name, {}).get(field, 0))


def _verdicts(*names: str) -> Callable[[Stats], float]:
    return lambda stats: float(sum(stats["verdicts"][name] for name in names))


_hits = _verdicts("HIT", "STALE", "UPDATING", "REVALIDATED")
_misses = _verdicts("MISS", "EXPIRED")


def _requests(stats: Stats) -> float:
    return float(stats["requests"])
