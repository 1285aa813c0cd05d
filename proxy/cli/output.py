"""Plain aligned text for people. `click.echo` takes the colours off where no terminal reads them."""

from collections.abc import Sequence
from itertools import zip_longest

import click

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
SPANS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def table(rows: Sequence[Sequence[str]], *, indent: int = 0, numeric: bool = True) -> str:
    """Columns side by side; the first to the left, the others to the right when they hold numbers."""
    widths = [max(len(click.unstyle(cell)) for cell in column) for column in zip_longest(*rows, fillvalue="")]
    lines = []
    for row in rows:
        cells = [
            _pad(cell, width, right=numeric and column > 0)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def _pad(cell: str, width: int, *, right: bool) -> str:
    space = " " * (width - len(click.unstyle(cell)))
    return space + cell if right else cell + space


def heading(*cells: str) -> list[str]:
    """The first row of a table."""
    return [click.style(cell, dim=True) for cell in cells]


def size(count: float) -> str:
    """Bytes in the units that the settings speak: 12345 is "12.1 KiB"."""
    power = 0
    while round(count, 1) >= 1024 and power < len(UNITS) - 1:
        count /= 1024
        power += 1
    return f"{count:.0f} B" if power == 0 else f"{count:.1f} {UNITS[power]}"


def span(seconds: float) -> str:
    """Seconds in the two largest units that are not zero: 3725 is "1h 2m"."""
    left = int(seconds)
    parts = []
    for length, unit in SPANS:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def spent(seconds: float) -> str:
    """A sum of time, which may be short: 0.83 is "830ms", 3.25 is "3.2s"; from ten seconds on as `span`."""
    if seconds >= 9.95:
        return span(seconds)
    if seconds >= 0.9995:
        return f"{seconds:.1f}s"
    if seconds >= 0.0005:
        return f"{seconds * 1000:.0f}ms"
    return "<1ms" if seconds > 0 else "0s"


def plural(number: int, noun: str) -> str:
    """A number with its noun: "1 rule", "2,000 rules"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(ratio: float) -> str:
    return f"{ratio:.1%}"


def plain(text: str) -> str:
    """What others have named, for a terminal: whatever would move the cursor or turn the line stands as a mark."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
