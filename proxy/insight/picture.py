"""The miss-ratio curve as a picture that every browser shows: SVG, alone or in a page with the figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from proxy.insight.curve import Point

TITLE = "Share of requests that a memory tier of this size would answer"
_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 48, 64
_COLOURS = ("#0b6e99", "#b0562f")


@dataclass(frozen=True, slots=True)
class Line:
    """One curve with its name; `bound` is the size in bytes that its settings give the memory tier."""

    name: str
    points: Sequence[Point]
    bound: int = 0


def svg(lines: Sequence[Line], title: str = TITLE) -> str:
    """Hit ratio over the size of a tier, on a scale where each step doubles it."""
    return "\n".join(_svg(lines, title))


def page(lines: Sequence[Line], title: str, text: str) -> str:
    """The picture in a page, with the report below it. No script, nothing from elsewhere."""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:{_WIDTH + 40}px;padding:0 1rem}}
pre{{overflow-x:auto;font-size:13px}}svg{{width:100%;height:auto}}</style>
<h1>{escape(title)}</h1>
{svg(lines)}
<pre>{escape(text)}</pre>
</html>
"""


def _svg(lines: Sequence[Line], title: str) -> Iterator[str]:
    sizes = sorted({point.bytes for line in lines for point in line.points}) or [1 << 20]
    scale = _Scale(sizes[0].bit_length() - 1, max(sizes[-1].bit_length() - 1, sizes[0].bit_length()))
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" font-family="system-ui,sans-serif" font-size="13">'
    yield f'<title>{escape(title)}</title><rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
    yield f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>'
    yield from _grid(scale)
    for line, colour in zip(lines, _COLOURS, strict=False):
        yield from _line(line, scale, colour)
    for n, (line, colour) in enumerate(zip(lines, _COLOURS, strict=False)):
        x = _LEFT + n * 260
        yield f'<rect x="{x}" y="{_HEIGHT - 20}" width="14" height="4" fill="{colour}"/>'
        yield f'<text x="{x + 20}" y="{_HEIGHT - 14}">{escape(line.name[:34])}</text>'
    yield "</svg>"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Powers of two from left to right."""

    first: int
    last: int

    def x(self, size: float) -> float:
        power = size.bit_length() - 1 if isinstance(size, int) else 0
        share = (power + size / (1 << power) - 1 - self.first) / (self.last - self.first)
        return _LEFT + min(1.0, max(0.0, share)) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, ratio: float) -> float:
        return _TOP + (1 - ratio) * (_HEIGHT - _TOP - _BOTTOM)


def _grid(scale: _Scale) -> Iterator[str]:
    for tenth in range(0, 11, 2):
        y = scale.y(tenth / 10)
        yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth * 10} %</text>'
    step = max(1, (scale.last - scale.first + 7) // 8)
    for power in range(scale.first, scale.last + 1, step):
        x = scale.x(1 << power)
        yield f'<path d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#eee"/>'
        yield f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{_size(power)}</text>'


def _size(power: int) -> str:
    """Two to this power, in bytes."""
    return f"{1 << power % 10} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[power // 10]}"


def _line(line: Line, scale: _Scale, colour: str) -> Iterator[str]:
    places = [f"{scale.x(point.bytes):.1f},{scale.y(point.hit_ratio):.1f}" for point in line.points]
    if places:
        flat = f"{_WIDTH - _RIGHT},{scale.y(line.points[-1].hit_ratio):.1f}"  # all of it fits: more changes nothing
        yield f'<polyline points="{" ".join([*places, flat])}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
        yield from (
            f'<circle cx="{place.split(",")[0]}" cy="{place.split(",")[1]}" r="3" fill="{colour}"/>' for place in places
        )
    if line.bound and 1 << scale.first <= line.bound <= 1 << scale.last:
        x = scale.x(line.bound)
        yield (
            f'<path d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="{colour}" stroke-dasharray="4 4"/>'
            f'<text x="{x:.1f}" y="{_TOP - 6}" text-anchor="middle" fill="{colour}">memory.max_bytes</text>'
        )
