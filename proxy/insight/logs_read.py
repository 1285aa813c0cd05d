"""Logs of any size, in bounded memory: ours, JSON lines, logfmt, the combined format, HAR; plain or gzip."""

import gzip
import heapq
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO, cast

from proxy.insight.logs_combined import combined
from proxy.insight.logs_har import har
from proxy.insight.logs_json import json_line_of
from proxy.insight.logs_logfmt import is_logfmt, logfmt_line_of
from proxy.insight.seen import Malformed, Names, Seen, Unreadable

LINE = 1 << 20  # bytes of a line; a longer one is unreadable
_GZIP = b"\x1f\x8b"
_HEAD = 1 << 16
_LOOKS = 256  # lines between two looks at how far the file was read
_TURNS = 8192  # lines that wait for earlier ones: logs are written as answers end, in another order than they came
_HAR = re.compile(rb'\A(?:\xef\xbb\xbf)?\s*\{\s*"log"\s*:')
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
_DAMAGED = "the compressed data is damaged, and the rest lost: {}"

Told = Callable[[int], None]  # how many bytes of the file have been read by now


def read(path: str, names: Names, told: Told = lambda at: None) -> Iterator[Seen | Unreadable]:
    """Every request that the log tells of, by its time; "-" is the standard input. OSError when it cannot be opened."""
    with _opened(path) as raw:
        yield from in_order(_watched(_read(raw, names), raw, told))


def in_order(found: Iterator[Seen | Unreadable]) -> Iterator[Seen | Unreadable]:
    """By the time at which requests came, as far as those that are _TURNS lines apart."""
    waiting: list[tuple[float, int, Seen]] = []
    for number, each in enumerate(found):
        if isinstance(each, Unreadable):
            yield each
        elif len(waiting) < _TURNS:
            heapq.heappush(waiting, (each.time, number, each))
        else:
            yield heapq.heappushpop(waiting, (each.time, number, each))[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


@contextmanager
def _opened(path: str) -> Iterator[BufferedReader]:
    if path == "-":
        assert isinstance(sys.stdin.buffer, BufferedReader)
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as raw:
        yield raw


def _watched(found: Iterator[Seen | Unreadable], raw: BufferedReader, told: Told) -> Iterator[Seen | Unreadable]:
    for number, each in enumerate(found):
        if number % _LOOKS == 0 and raw.seekable():
            told(raw.tell())
        yield each


def _read(raw: BufferedReader, names: Names) -> Iterator[Seen | Unreadable]:
    zipped = raw.peek(2)[:2] == _GZIP
    stream = BufferedReader(cast(RawIOBase, gzip.GzipFile(fileobj=raw)), _HEAD) if zipped else raw
    try:
        if _HAR.match(stream.peek(_HEAD)):
            yield from har(stream)
        else:
            yield from _lines(stream, names)
    except _DAMAGE as error:
        yield Unreadable(1, _DAMAGED.format(error))


def _lines(stream: BinaryIO, names: Names) -> Iterator[Seen | Unreadable]:
    number = 0
    for number, line in enumerate(_cut(stream), 1):
        if isinstance(line, str):
            yield Unreadable(number, line)
            continue
        line = line.strip()
        if not line:
            continue
        try:
            seen = _line_of(line, names)
        except Malformed as error:
            yield Unreadable(number, str(error))
        else:
            if seen is not None:
                yield seen


def _line_of(line: bytes, names: Names) -> Seen | None:
    if line[0] == 0x7B:
        return json_line_of(line, names)
    return logfmt_line_of(line, names) if is_logfmt(line) else combined(line.decode("utf-8", "replace"))


def _cut(stream: BinaryIO) -> Iterator[bytes | str]:
    """The lines; in the place of one that cannot be had, why not."""
    while True:
        try:
            line = stream.readline(LINE)
            long = len(line) == LINE and not line.endswith(b"\n")
            while long and (more := stream.readline(LINE)) and not more.endswith(b"\n"):
                pass
        except _DAMAGE as error:
            yield _DAMAGED.format(error)
            return
        if not line:
            return
        yield f"longer than {LINE >> 20} MiB" if long else line
