"""Log lines: made where they arise, written by a thread of their own: a slow reader of our output delays nobody.

A record is one line whatever it holds: control characters are escaped, in text and in JSON. Several workers write to
one pipe; of what is longer than PIPE_BUF it may take a part, and then another's lines (POSIX write), so lines go in
pieces that are not. A line that is longer itself goes alone.
"""

import logging
import queue
import re
import select
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import BinaryIO, Literal

import orjson

Format = Literal["text", "json"]
LINES = 10_000  # that may wait to be written; more are dropped and counted

# C0, DEL, C1 and the Unicode line separators: whatever a terminal or a line reader could take for more than text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# The same in UTF-8, as far as JSON leaves them as they are.
_ALLOWED = re.compile(b"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")


def printable(text: str) -> str:
    """Text without a control character: each is told by its escape."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def timestamp(seconds: float) -> str:
    """Wall-clock seconds as RFC 3339 in UTC, with milliseconds."""
    whole, rest = divmod(int(seconds * 1000), 1000)
    return f"{_to_seconds(whole)}.{rest:03d}Z"


@lru_cache(maxsize=16)
def _to_seconds(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


class LineWriter:
    """Writes lines to a stream from its own thread. `write` never waits: what finds LINES waiting is dropped."""

    def __init__(self, stream: BinaryIO) -> None:
        self.dropped = 0
        self._stream = stream
        self._waiting: queue.Queue[bytes | None] = queue.Queue(LINES)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """`line` ends without a newline and holds none."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, for at most `timeout` seconds; idempotent."""
        try:
            self._waiting.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _run(self) -> None:
        while (line := self._waiting.get()) is not None:
            batch = [line]
            while len(batch) < 256 and not self._waiting.empty():
                following = self._waiting.get_nowait()
                if following is None:
                    self._flush(batch)
                    return
                batch.append(following)
            self._flush(batch)

    def _flush(self, batch: list[bytes]) -> None:
        for piece in _pieces(batch):
            try:
                self._stream.write(b"".join(piece))
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more; there is no other place to say so
                self.dropped += len(piece)


def _pieces(batch: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The lines with their ends, as many at once as a pipe takes whole."""
    piece: list[bytes] = []
    size = 0
    for line in batch:
        if piece and size + len(line) + 1 > select.PIPE_BUF:
            yield piece
            piece, size = [], 0
        piece.append(line + b"\n")
        size += len(line) + 1
    yield piece


class LineHandler(logging.Handler):
    """Turns records into lines for a LineWriter."""

    def __init__(self, writer: LineWriter, form: Format) -> None:
        super().__init__()
        self._writer = writer
        self._form = form

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self._line(record).encode())
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
