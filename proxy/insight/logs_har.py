"""HAR (HTTP Archive 1.2), entry by entry: a document of gigabytes is never held as a whole."""

import base64
import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, BinaryIO

from proxy.insight.logs_fields import fields_of, host_of, method_of, status_of, target_of, time_of
from proxy.insight.seen import Malformed, Seen, Unreadable

_CHUNK = 1 << 16
_MOST = 64 << 20  # bytes of one entry, its content included
_ENTRIES = re.compile(r'"entries"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")


def har(stream: BinaryIO) -> Iterator[Seen | Unreadable]:
    """The entries of `log.entries`, in order. Whatever makes the rest of the document unreadable ends it."""
    text = _Text(stream)
    while (begin := _ENTRIES.search(text.held)) is None:
        if not text.more(keep=64):
            yield Unreadable(1, 'no HAR: there is no "entries"')
            return
    text.skip(begin.end())
    number, decoder = 0, json.JSONDecoder()
    while True:
        text.skip(_BETWEEN.match(text.held).end())  # type: ignore[union-attr]
        if not text.held and text.more():
            continue
        if not text.held or text.held[0] == "]":
            return
        number += 1
        try:
            entry = _next(text, decoder)
        except Malformed as error:
            yield Unreadable(number, str(error), "entry")
            return
        yield _read(entry, number)


def _read(entry: Any, number: int) -> Seen | Unreadable:
    try:
        return _seen(_object(entry, ""))
    except Malformed as error:
        why = str(error)
    except KeyError as error:
        why = f"an entry without {error}"
    except (TypeError, AttributeError, ValueError):  # deep within, where to name each would cost more than it tells
        why = "a value of another type than HAR has there"
    return Unreadable(number, why, "entry")


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{name}{': ' if name else ''}wanted an object, found {_shown(value)}")
    return value


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise Malformed(f"{name}: wanted a list, found {_shown(value)}")
    return [_object(each, name) for each in value]


def _word(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Malformed(f"{name}: wanted text, found {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """As JSON has it, the beginning of what is long."""
    return json.dumps(value)[:40]


class _Text:
    """What is read and not used yet."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._rest = b""  # of a character
        self.held = ""

    def more(self, keep: int | None = None) -> bool:
        """Read on, twice as much as there is; False at the end. `keep`: so many characters are enough of the rest."""
        raw = self._rest + self._stream.read(max(_CHUNK, len(self.held)))
        if len(raw) == len(self._rest):
            return False
        end = len(raw)
        while end and raw[end - 1] & 0xC0 == 0x80:
            end -= 1
        end = max(0, end - 1) if end and raw[end - 1] >= 0xC0 else len(raw)
        held = self.held if keep is None else self.held[-keep:]
        self.held, self._rest = held + raw[:end].decode("utf-8-sig" if not held else "utf-8", "replace"), raw[end:]
        return True

    def skip(self, number: int) -> None:
        self.held = self.held[number:]


def _next(text: _Text, decoder: json.JSONDecoder) -> Any:
    while True:
        try:
            entry, end = decoder.raw_decode(text.held)
        except (ValueError, RecursionError) as error:
            if len(text.held) > _MOST:
                raise Malformed(f"no JSON, or more than {_MOST >> 20} MiB in one entry") from None
            if not text.more():
                raise Malformed(f"the document ends within an entry, or is no JSON here: {error}") from None
        else:
            text.skip(end)
            return entry


def _seen(entry: dict[str, Any]) -> Seen:
    request, response = _object(entry["request"], "request"), _object(entry["response"], "response")
    scheme, host, target = target_of(_word(request["url"], "url"))
    posted = _object(request.get("postData") or {}, "postData")
    asked = fields_of((each["name"], each["value"]) for each in _objects(request["headers"], "headers"))
    content = _object(response.get("content") or {}, "content")
    took = entry.get("time") or 0
    if not isinstance(took, int | float):
        raise Malformed(f"time: wanted a number, found {_shown(took)}")
    return Seen(
        time_of(entry["startedDateTime"]),
        method_of(_word(request["method"], "method")),
        host_of(host, scheme),
        target,
        status_of(response["status"]),
        _size(response, content),
        max(0.0, took / 1000),
        scheme or "http",
        asked,
        fields_of((each["name"], each["value"]) for each in _objects(response["headers"], "headers")),
        str(posted["text"]).encode() if "text" in posted else None,
        _digest(content),
    )


def _size(response: dict[str, Any], content: dict[str, Any]) -> int:
    """Of the content as it was sent, if that is known, else decoded."""
    sent = response.get("bodySize", -1)
    return int(sent if isinstance(sent, int | float) and sent > 0 else max(0, content.get("size") or 0))


def _digest(content: dict[str, Any]) -> str:
    if "text" not in content:
        return ""
    text = str(content["text"])
    raw = base64.b64decode(text) if content.get("encoding") == "base64" else text.encode("utf-8", "surrogatepass")
    return sha256(raw).hexdigest()[:16]
