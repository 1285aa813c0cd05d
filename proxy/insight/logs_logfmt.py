"""Lines of logfmt, as our own access log has them in text, and as other programs write them.

    time=2026-11-21T22:10:00.000Z method=GET host=a.example path=/a query="x=1" status=200 bytes=5 …

A value is bare, or quoted with backslashes before quotes and backslashes; a bare "-" is nothing.
"""

import re
from typing import Any

from proxy.insight.logs_json import seen_of
from proxy.insight.seen import Malformed, Names, Seen

_PAIR = re.compile(r'([A-Za-z_@][\w.@-]*+)=(?:"((?:[^"\\]|\\.)*+)"|([^\s"]*+))(?:\s+|\Z)')
_BEGIN = re.compile(rb"[A-Za-z_@][\w.@-]*+=")
_MESSAGE = re.compile(rb"\d{4}-\d\d-\d\dT\S+ (?:debug|info|warning|error|critical) ")
_ESCAPED = re.compile(r"\\(.)")
_MEANT = {"n": "\n", "t": "\t", "r": "\r"}


def is_logfmt(line: bytes) -> bool:
    """Whether it is one of these, or a message of ours between them."""
    return _BEGIN.match(line) is not None or _MESSAGE.match(line) is not None


def logfmt_line_of(line: bytes, names: Names) -> Seen | None:
    """What the line says; None for one that is not about a request. Malformed as `seen_of`, or when it is of another
    form."""
    if _MESSAGE.match(line):
        return None
    return seen_of(_pairs(line.decode("utf-8", "replace")), names)


def _pairs(line: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    at = 0
    while at < len(line):
        found = _PAIR.match(line, at)
        if found is None:
            raise Malformed(f"no name=value: {line[at : at + 40]!r}")
        name, quoted, bare = found.groups()
        told[name] = _meant(quoted) if bare is None else None if bare == "-" else bare
        at = found.end()
    return told


def _meant(quoted: str) -> str:
    return _ESCAPED.sub(lambda found: _MEANT.get(found[1], found[1]), quoted) if "\\" in quoted else quoted
