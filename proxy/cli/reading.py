"""How the commands read a log: with a bar while it lasts, and the names that JSON lines of others have for things."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from proxy.cli.output import plain, plural
from proxy.insight.logs_json import KNOWN
from proxy.insight.logs_read import read
from proxy.insight.seen import Seen, Unreadable

_STEP = 1 << 18  # bytes between two looks of the bar


def field_names(given: Sequence[str]) -> dict[str, str]:
    """What --field says: ("time=ts", …); UsageError for what it cannot say."""
    names = {}
    for text in given:
        name, mark, theirs = text.partition("=")
        if not mark or name not in KNOWN or not theirs:
            raise click.UsageError(f"--field {text}: wanted NAME=THEIRS, with NAME one of {', '.join(KNOWN)}")
        names[name] = theirs
    return names


field_option = click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=THEIRS",
    help="What JSON lines or logfmt call NAME (time, method, target, status, …); THEIRS may be a path: request.uri",
)


@contextmanager
def log(path: str, fields: Sequence[str]) -> Iterator[Iterator[Seen | Unreadable]]:
    """The requests of a log, with a progress bar where somebody looks. UsageError when it cannot be opened."""
    names = field_names(fields)
    try:
        size = 0
        if path != "-":
            with Path(path).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise click.UsageError(plain(f"{path}: {error.strerror}")) from error
    watched = bool(size) and sys.stderr.isatty()
    with click.progressbar(length=max(1, size), label="reading", file=sys.stderr, hidden=not watched) as bar:
        at = 0

        def told(now: int) -> None:
            nonlocal at
            if now - at >= _STEP:
                bar.update(now - at)
                at = now

        yield read(path, names, told)
        bar.update(max(0, size - at))


def counted(number: int, first: Unreadable) -> str:
    """How many lines or entries of a log tell of no request."""
    if first.unit == "line" or number == 1:
        return plural(number, f"unreadable {first.unit}")
    return f"{number:,} unreadable entries"
