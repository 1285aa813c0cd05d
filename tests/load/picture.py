"""The course of one scenario as SVG: what was answered from where, and how long it took."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

from tests.load.cases import Told
from tests.load.clients import Answered

SLOTS = 40  # of each plot
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BETWEEN = 760, 286, 64, 28, 26, 44
_PLOT = 96  # the height of each
_KINDS = (("from store", "#3f8f5f"), ("not from store", "#d08a3c"), ("errors", "#b3261e"))
_LINES = (("p50", 50, "#0b6e99"), ("p99", 99, "#7a3fa0"))


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
    """Two plots with one axis of time, and marks where something was done."""
    begin = min(each.at for each in told.answers)
    width = (max(each.at + each.took for each in told.answers) - begin) / SLOTS or 1.0
    slots: defaultdict[int, list[Answered]] = defaultdict(list)
    for each in told.answers:
        slots[min(int((each.at + each.took - begin) / width), SLOTS - 1)].append(each)
    rate = _Axes(begin, width, _TOP, _round(max(map(len, slots.values())) / width))
    slowest = max(_late(slot, 99) for slot in slots.values()) * 1000
    wait = _Axes(begin, width, _TOP + _PLOT + _BETWEEN, _round(slowest))
    text = f'font-family="system-ui,sans-serif" font-size="12" role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {text}><title>{escape(told.scenario.title)}</title>']
    parts += [f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>']
    parts += [*_axes(rate, "answers per second", _KINDS), *_bars(rate, slots)]
    parts += [*_axes(wait, "milliseconds until answered", [(name, colour) for name, _, colour in _LINES])]
    parts += [*_lines(wait, slots), *_marks(told, rate), "</svg>"]
    return "\n".join(parts)


def _axes(axes: _Axes, title: str, legend: Sequence[tuple[str, str]]) -> Iterator[str]:
    right, bottom = _WIDTH - _RIGHT, axes.top + _PLOT
    yield f'<text x="{_LEFT}" y="{axes.top - 10:.0f}" font-weight="600">{title}</text>'
    for number, (name, colour) in enumerate(legend):
        x = right - 116 * (len(legend) - number)
        yield f'<rect x="{x}" y="{axes.top - 19:.0f}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 15}" y="{axes.top - 10:.0f}">{name}</text>'
    for share in (0, 0.5, 1):
        y = axes.y(axes.most * share)
        yield f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{axes.most * share:,g}</text>'
    for share in (0, 0.25, 0.5, 0.75, 1):
        seconds = axes.width * SLOTS * share
        x = axes.x(axes.begin + seconds)
        yield f'<text x="{x:.1f}" y="{bottom + 16:.0f}" text-anchor="middle">{seconds:.1f} s</text>'


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
        places = (
            f"{axes.x(axes.begin + axes.width * (number + 0.5)):.1f},{axes.y(_late(slot, percent) * 1000):.1f}"
            for number, slot in sorted(slots.items())
        )
        yield f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _marks(told: Told, axes: _Axes) -> Iterator[str]:
    bottom = axes.top + 2 * _PLOT + _BETWEEN
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
