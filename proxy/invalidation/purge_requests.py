"""What an operator asks to be purged: the JSON that says it, and what is wrong with it. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import quote

from proxy.errors import CachegateError
from proxy.invalidation.records import Kind, url_name

MAX_NAMES = 1000
MAX_NAME = 8192  # characters
MAX_PORT = 65535  # the door refuses a Host beyond it, so that nothing is stored under one

_WAYS = ("url", "key", "pattern", "tag", "tags", "rule", "namespace", "all")
_LISTED = ", ".join(_WAYS)
_FLAGS = ("soft", "dry_run")
_PLAIN = "".join(map(chr, range(0x20, 0x7F)))
_UNWANTED = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()*+,;=%-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_KEY = re.compile(r"[0-9a-f]{8,64}|[0-9a-f]{8,64}\.[0-9a-f]{16}")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class PurgeError(CachegateError):
    """A purge body that cannot be taken; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """What to purge. `names` as in `Purge`; those of urls as they came, their normal forms are added."""

    kind: Kind
    names: tuple[str, ...] = ()
    soft: bool = False
    dry_run: bool = False

    @property
    def short(self) -> bool:
        """Whether the key is abbreviated, so that the caller has to resolve it first."""
        return self.kind is Kind.KEY and any(len(name.partition(".")[0]) < 64 for name in self.names)


def parse_purge(body: object) -> PurgeRequest:
    """The JSON of `POST /cache/purge`; PurgeError says what is wrong and what is allowed."""
    if not isinstance(body, Mapping):
        raise PurgeError(f"wanted a JSON object with exactly one of {_LISTED}, and optionally soft, dry_run")
    for name in body:
        if name not in _WAYS and name not in _FLAGS:
            near = get_close_matches(str(name), (*_WAYS, *_FLAGS), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed are {_LISTED}, soft, dry_run"
            raise PurgeError(f"{str(name)[:80]}: unknown field; {hint}")
    ways = [name for name in _WAYS if name in body]
    if len(ways) != 1:
        raise PurgeError(f"wanted exactly one of {_LISTED}; found {' and '.join(ways) or 'none'}")
    flags = [body.get(name, False) for name in _FLAGS]
    for name, value in zip(_FLAGS, flags, strict=True):
        if not isinstance(value, bool):
            raise PurgeError(f"{name}: wanted true or false, found {_shown(value)}")
    kind, names = _named(ways[0], body[ways[0]])
    return PurgeRequest(kind, names, *flags)


def _named(way: str, value: object) -> tuple[Kind, tuple[str, ...]]:
    if way == "all":
        if value is not True:
            raise PurgeError(f"all: wanted true, found {_shown(value)}")
        return Kind.ALL, ()
    if way == "tags":
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_NAMES:
            raise PurgeError(f"tags: wanted a list of 1 to {MAX_NAMES} tags, found {_shown(value)}")
        return Kind.TAG, tuple(_text(way, item) for item in value)
    text = _text(way, value)
    match kind := Kind(way):
        case Kind.URL:
            return kind, (_url(text),)
        case Kind.KEY:
            if not _KEY.fullmatch(text.lower()):
                raise PurgeError(f"key: wanted 8 to 64 hex digits, or those, '.' and 16 more; found {_shown(text)}")
            return kind, (text.lower(),)
        case Kind.PATTERN:
            return kind, (_ascii(text),)
        case _:
            return kind, (text,)


def _text(way: str, value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_NAME:
        raise PurgeError(f"{way}: wanted text of 1 to {MAX_NAME} characters, found {_shown(value)}")
    if _UNWANTED.search(value):
        raise PurgeError(f"{way}: wanted text without control characters, found {_shown(value)}")
    return value


def _url(text: str) -> str:
    """The url name of an absolute URL, or of a bare path on every host."""
    host, rest = "", text
    if not text.startswith("/"):
        parsed = _URL.fullmatch(text)
        place = _HOST.fullmatch(parsed[2]) if parsed else None
        if parsed is None or place is None:
            raise PurgeError(
                f"url: wanted an absolute http(s) URL or a path that begins with '/', found {_shown(text)}"
            )
        if place[2] and int(place[2]) > MAX_PORT:
            raise PurgeError(f"url: wanted a port up to {MAX_PORT}, found {_shown(text)}")
        port = place[2] and str(int(place[2]))
        host = place[1].lower()
        host = f"{host}:{port}" if port and port != _DEFAULT_PORTS[parsed[1].lower()] else host
        rest = parsed[3] if parsed[3].startswith("/") else f"/{parsed[3]}"
    target = rest.partition("#")[0]
    if " " in target:
        raise PurgeError(f"url: wanted %20 for a space, found {_shown(text)}")
    return url_name(host, _ascii(target))


def _ascii(text: str) -> str:
    """What is sent for a path that is written with other letters: their UTF-8, percent-encoded (RFC 3987 3.1)."""
    return quote(text, safe=_PLAIN)


def _shown(value: object) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 80 else f"{text[:77]}..."
