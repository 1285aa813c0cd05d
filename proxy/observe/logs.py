"""Log lines: made where they arise, written by a thread of their own: a slow reader of our output delays nobody.

A record is one line whatever it holds: control characters are escaped, in text and in JSON. Several workers write to
one pipe; of what is longer than PIPE_BUF it may take a part, and then another's lines (POSIX write), so lines go in
pieces that are not. A line that is longer itself goes alone. A file takes all that waits at once.
"""

import logging
import os
import re
import select
import stat
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import BinaryIO, Literal

import orjson

_log = logging.getLogger(__name__)

Format = Literal["text", "json"]
LINES = 10_000  # that may wait to be written; more are dropped and counted
_AT_ONCE = 1 << 18  # bytes
_GATHER = 0.01  # seconds that a line waits for others: a thread that is woken for each takes more time than they do

# C0, DEL, C1 and the Unicode line separators: whatever a terminal or a line reader could take for more than text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# The same in UTF-8, as far as JSON leaves them as they are.
_ALLOWED = re.compile(b"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")


def printable(text: str) -> str:
    """Text without a control character: each is told by its escape."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@lru_cache(maxsize=16)
def stamp(milliseconds: int) -> bytes:
    """Of the wall clock, as `timestamp` has them."""
    told = datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    return f"{told}.{milliseconds % 1000:03d}Z".encode()


def timestamp(seconds: float) -> str:
    """Wall-clock seconds as RFC 3339 in UTC, with milliseconds."""
    return stamp(int(seconds * 1000)).decode()


class LineWriter:
    """Writes lines to a stream from its own thread. `write` never waits: what finds LINES waiting is dropped, which is
    told in the log, once, as soon as lines are taken again."""

    def __init__(self, stream: BinaryIO) -> None:
        self.dropped = 0
        self._told = 0  # of these
        self._taken = True  # what went out last
        self._stream = stream
        self._most = _most(stream)
        self._waiting: deque[bytes] = deque()
        self._asked = False  # the thread will look once more
        self._woken = threading.Event()
        self._hurry = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes, *, soon: bool = False) -> None:
        """`line` ends without a newline and holds none. `soon`: it waits for no others."""
        if len(self._waiting) >= LINES:
            self.dropped += 1
            return
        self._waiting.append(line)
        if not self._asked:
            self._asked = True
            self._woken.set()
        if soon:
            self._hurry.set()

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, for at most `timeout` seconds; idempotent."""
        self._over = True
        self._woken.set()
        self._hurry.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        waiting, over = self._waiting, False
        while not over:
            self._woken.wait()
            self._hurry.wait(_GATHER)
            over = self._over
            self._woken.clear()
            self._hurry.clear()
            self._asked = False  # before we look: whoever comes later asks again
            while waiting or self._tells_loss():
                self._flush([waiting.popleft() for _ in range(min(len(waiting), 256))])

    def _flush(self, batch: list[bytes]) -> None:
        for piece in _pieces(batch, self._most):
            try:
                self._stream.write(b"\n".join(piece))
                self._stream.flush()
                self._taken = True
            except (OSError, ValueError):  # nobody reads any more; there is no other place to say so
                self._taken = False
                self.dropped += len(piece) - 1

    def _tells_loss(self) -> bool:
        lost = self.dropped - self._told
        if not lost or not self._taken:
            return False
        self._told += lost
        _log.warning("%d lines of this log were lost: nobody took them in time", lost)
        return True


def _most(stream: BinaryIO) -> int:
    """Bytes that may go at once: what a pipe takes whole, while a file takes whatever it is given."""
    try:
        whole = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        whole = False
    return _AT_ONCE if whole else select.PIPE_BUF


def _pieces(batch: Sequence[bytes], most: int) -> Iterator[list[bytes]]:
    """The lines, and an empty one behind them for the end of the last, as many at once as go together."""
    piece: list[bytes] = []
    size = 0
    for line in batch:
        if piece and size + len(line) + 1 > most:
            piece.append(b"")
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line) + 1
    piece.append(b"")
    yield piece


class LineHandler(logging.Handler):
    """Turns records into lines for a LineWriter."""

    def __init__(self, writer: LineWriter, form: Format) -> None:
        super().__init__()
        self._writer = writer
        self._form = form

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self._line(record).encode(), soon=True)
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        message, level = record.getMessage(), record.levelname.lower()
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        if self._form == "text":
            tail = f" | {' / '.join(trace.splitlines())}" if trace else ""
            return printable(f"{timestamp(record.created)} {level} {message}{tail}")
        told = {"time": timestamp(record.created), "level": level, "logger": record.name, "message": message}
        if trace:
            told["trace"] = trace
        return json_line(told).decode()


def json_line(fields: Mapping[str, object]) -> bytes:
    """One line of JSON without a control character, those that JSON itself allows included."""
    try:
        line = orjson.dumps(fields)
    except TypeError:  # a lone surrogate, which UTF-8 cannot say
        line = orjson.dumps({name: printable(v) if isinstance(v, str) else v for name, v in fields.items()})
    return _ALLOWED.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), line)


def setup(level: str, form: Format, stream: BinaryIO | None = None) -> LineWriter:
    """Send everything of this process's loggers at `level` ("debug" … "error") and above to `stream` (stderr).

    Returns the writer; close it last.
    """
    writer = LineWriter(stream if stream is not None else sys.stderr.buffer)
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, LineHandler)]:
        root.removeHandler(old)
    root.addHandler(LineHandler(writer, form))
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, root.level))
    # It tells of every change in the directory that it watches; where the log itself lies there, without end.
    logging.getLogger("watchfiles").setLevel(max(logging.WARNING, root.level))
    # It warns of every websocket whose subprotocol the origin did not choose.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    return writer
