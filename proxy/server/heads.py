"""One whole head of a GET or HEAD without a body, read by llhttp as strictly as it can.

Whatever is not of the plainest form is None: it is read by those who read everything. What is read here could not be
read in another way by anybody (RFC 9112 3, 5, 6.3), so that it does not matter who read it.
"""

import re
from collections.abc import Collection
from functools import partial

import httptools

END = b"\r\n\r\n"
TARGET = b""  # under this name the target stands among the fields; no field has it
_GET, _HEAD = b"GET ", b"HEAD "
_VERSION = b" HTTP/1.1\r\n"
# Values as `expression` takes them: a part of what RFC 9112 allows, and nothing beside it. None is tried twice.
_PATH, _VALUE, _WORD = rb"/[!-~]*+", rb"[ -~]*+", rb"[!-~]{1,128}+"


class Heads:
    """Reads one head after the other. `fields` holds the last one's, by their names as they came, until the next call:
    one reader is enough for a process."""

    __slots__ = ("_parser", "fields", "method")

    def __init__(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.method = "GET"
        self.renew()

    def read(self, data: bytes) -> bool:
        """Whether `data`, which ends with the only empty line in it, is such a head; then `fields` and `method` are
        its. No name stands in it twice."""
        if data.startswith(_GET):
            begin, self.method = len(_GET), "GET"
        elif data.startswith(_HEAD):
            begin, self.method = len(_HEAD), "HEAD"
        else:
            return False
        fields = self.fields
        fields.clear()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.renew()
            return False
        target = fields.get(TARGET, b"")
        # Every line has made one field, and ends with CRLF; the target stands between single spaces.
        lines, end = len(fields) + 1, begin + len(target)
        plain = (
            data.count(b"\n") == lines == data.count(b"\r")
            and data[end : end + len(_VERSION)] == _VERSION
            and target.startswith(b"/")
        )
        if not plain:
            self.renew()
        return plain

    def renew(self) -> None:
        """After a head that announces more than itself, or an end."""
        self._parser = httptools.HttpRequestParser(_Sink(self.fields))


def expression(
    method: str, names: tuple[bytes, ...], captured: Collection[bytes], word: bytes | None = None
) -> "re.Pattern[bytes]":
    """One for heads with exactly these names, TARGET the first of them, whose values are told of those `captured`; the
    value of `word` is one visible word of at most 128 characters. What matches is read by `Heads` as the same, but for
    white space around values; what does not, it may read all the same."""
    lines = [
        b"%b: %b\r\n" % (re.escape(name), _group(name, _WORD if name == word else _VALUE, captured))
        for name in names[1:]
    ]
    start = b"%b %b HTTP/1\\.1\r\n" % (method.encode(), _group(TARGET, _PATH, captured))
    return re.compile(b"".join((start, *lines, b"\r\n")))


def _group(name: bytes, values: bytes, captured: Collection[bytes]) -> bytes:
    return b"(%b)" % values if name in captured else values


class _Sink:
    """What llhttp finds goes into the dict with no Python between."""

    def __init__(self, fields: dict[bytes, bytes]) -> None:
        self.on_header = fields.__setitem__
        self.on_url = partial(fields.__setitem__, TARGET)
