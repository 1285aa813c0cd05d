"""One scenario as SVG: what was answered from where, how long it took, and what it took of the machine."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

from tests.load.cases import Told
from tests.load.clients import Answered
from tests.load.watching import REDIS, RUNNER, cores, memory, names, stretches

SLOTS = 40  # of each plot
_WIDTH, _LEFT, _RIGHT, _TOP, _BETWEEN = 760, 64, 28, 26, 44
_PLOT = 96  # the height of each
_KINDS = (("from store", "#3f8f5f"), ("not from store", "#d08a3c"), ("errors", "#b3261e"))
_LINES = (("p50", 50, "#0b6e99"), ("p99", 99, "#7a3fa0"))
_COLOURS = ("#0b6e99", "#5fa8c4", "#12465c")  # of gateways
_BESIDE = {RUNNER: "#8a8a8a", REDIS: "#b3261e"}


@dataclass(frozen=True, slots=True)
class _Axes:
    """One plot: time to the right, and values from 0 to `most` upwards."""

    begin: float
    width: float  # seconds of each slot
    top: float
    most: float

    def x(self, at: float) -> float:
        return _LEFT + min(max((at - self.begin) / self.width, 0), SLOTS) * (_WIDTH - _LEFT - _RIGHT) / SLOTS

    def y(self, value: float) -> float:
        return self.top + _PLOT * (1 - value / self.most)


def svg(told: Told) -> str:
    """Plots with one axis of time, one below the other, and marks where something was done. Without answers (other
    processes asked) those of the machine alone."""
    begin, end = _span(told)
    width = (end - begin) / SLOTS or 1.0
    plots = [*_of_answers(told, begin, width)] if told.answers else []
    plots += _of_the_machine(told, begin, width, _TOP + len(plots) * (_PLOT + _BETWEEN))
    height = _TOP + len(plots) * (_PLOT + _BETWEEN) - _BETWEEN + 24
    text = f'font-family="system-ui,sans-serif" font-size="12" role="img" viewBox="0 0 {_WIDTH} {height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {text}><title>{escape(told.scenario.title)}</title>']
    parts += [f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>', *(part for plot in plots for part in plot)]
    parts += [*_marks(told, _Axes(begin, width, _TOP, 1), height - 24), "</svg>"]
    return "\n".join(parts)


def _span(told: Told) -> tuple[float, float]:
    """From the first question to the last answer, or of all samples."""
    if told.answers:
        return min(each.at for each in told.answers), max(each.at + each.took for each in told.answers)
    return told.samples[0].at, told.samples[-1].at


def _of_answers(told: Told, begin: float, width: float) -> Iterator[list[str]]:
    slots: defaultdict[int, list[Answered]] = defaultdict(list)
    for each in told.answers:
        slots[min(int((each.at + each.took - begin) / width), SLOTS - 1)].append(each)
    rate = _Axes(begin, width, _TOP, _round(max(map(len, slots.values())) / width))
    yield [*_axes(rate, "answers per second", _KINDS), *_bars(rate, slots)]
    slowest = max(_late(slot, 99) for slot in slots.values()) * 1000
    wait = _Axes(begin, width, _TOP + _PLOT + _BETWEEN, _round(slowest))
    legend = [(name, colour) for name, _, colour in _LINES]
    yield [*_axes(wait, "milliseconds until answered", legend), *_lines(wait, slots)]


def _of_the_machine(told: Told, begin: float, width: float, top: float) -> Iterator[list[str]]:
    """Cores and MB of each gateway, of the clients with the upstream, and of Redis."""
    seen = names(told.samples)
    within = [each for each in told.samples if begin <= each.at <= begin + width * SLOTS]
    legend = [(name, _BESIDE.get(name) or _COLOURS[place % len(_COLOURS)]) for place, name in enumerate(seen)]
    for place, (title, told_of) in enumerate((("cores in use", cores), ("MB of memory", memory))):
        lines = [(told_of(part, name), colour) for name, colour in legend for part in stretches(within, name)]
        most = max((value for line, _ in lines for _, value in line), default=1)
        axes = _Axes(begin, width, top + place * (_PLOT + _BETWEEN), _round(most))
        yield [*_axes(axes, title, legend), *(_line(axes, line, colour) for line, colour in lines)]


def _axes(axes: _Axes, title: str, legend: Sequence[tuple[str, str]]) -> Iterator[str]:
    right, bottom = _WIDTH - _RIGHT, axes.top + _PLOT
    yield f'<text x="{_LEFT}" y="{axes.top - 10:.0f}" font-weight="600">{title}</text>'
    x = right - sum(_legend(name) for name, _ in legend)
    for name, colour in legend:
        yield f'<rect x="{x}" y="{axes.top - 19:.0f}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 15}" y="{axes.top - 10:.0f}">{name}</text>'
        x += _legend(name)
    for share in (0, 0.5, 1):
        y = axes.y(axes.most * share)
        yield f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{axes.most * share:,g}</text>'
    for share in (0, 0.25, 0.5, 0.75, 1):
        seconds = axes.width * SLOTS * share
        x = axes.x(axes.begin + seconds)
        yield f'<text x="{x:.1f}" y="{bottom + 16:.0f}" text-anchor="middle">{seconds:.1f} s</text>'


def _legend(name: str) -> int:
    """The width of its mark, the word and the gap behind it."""
    return 33 + 7 * len(name)


def _bars(axes: _Axes, slots: dict[int, list[Answered]]) -> Iterator[str]:
    for number, slot in sorted(slots.items()):
        left, right = (axes.x(axes.begin + axes.width * at) for at in (number, number + 1))
        wrong = sum(bool(each.error) for each in slot)
        stored = sum(each.hit and not each.error for each in slot)
        base = 0.0
        for height, (_, colour) in zip((stored, len(slot) - stored - wrong, wrong), _KINDS, strict=True):
            top, bottom = axes.y((base + height) / axes.width), axes.y(base / axes.width)
            base += height
            if height:
                box = f'x="{left:.1f}" y="{top:.1f}" width="{right - left - 1:.1f}" height="{bottom - top:.1f}"'
                yield f'<rect {box} fill="{colour}"/>'


def _lines(axes: _Axes, slots: dict[int, list[Answered]]) -> Iterator[str]:
    for _, percent, colour in _LINES:
        middles = ((axes.begin + axes.width * (number + 0.5), slot) for number, slot in sorted(slots.items()))
        yield _line(axes, [(at, _late(slot, percent) * 1000) for at, slot in middles], colour)


def _line(axes: _Axes, values: Sequence[tuple[float, float]], colour: str) -> str:
    places = " ".join(f"{axes.x(at):.1f},{axes.y(value):.1f}" for at, value in values)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _marks(told: Told, axes: _Axes, bottom: float) -> Iterator[str]:
    for at, name in told.marks:
        x = axes.x(at)
        stroke = 'stroke="#333" stroke-dasharray="4 3"' if name else 'stroke="#333" stroke-opacity="0.25"'
        yield f'<path d="M{x:.1f} {axes.top}V{bottom}" {stroke}/>'
    for number, (at, name) in enumerate(each for each in told.marks if each[1]):
        halo = 'stroke="#fff" stroke-width="4" paint-order="stroke"'  # it may lie on bars
        yield f'<text x="{axes.x(at) + 4:.1f}" y="{axes.top + 12 + 16 * number}" {halo}>{escape(name)}</text>'


def _late(slot: Sequence[Answered], percent: int) -> float:
    """Seconds that so many percent of them did not exceed."""
    took = sorted(each.took for each in slot)
    return took[len(took) * percent // 100]


def _round(value: float) -> float:
    """The next number from there on that is easy to read."""
    power = 10.0 ** floor(log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value)
