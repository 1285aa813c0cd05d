"""The URL that somebody asks about, or wants warmed, as the door would hear of it. Pure."""

import re
from typing import NamedTuple
from urllib.parse import quote

from proxy.errors import BadRequest
from proxy.server.requests import normal_host
from proxy.settings.problems import found

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_WARMED = re.compile(r"[\x21-\x22\x24-\x7e]{1,8000}")  # visible ASCII without "#"


class Place(NamedTuple):
    """`scheme` and `host` are "" for a bare path; `target` is as a client sends it."""

    scheme: str
    host: str
    target: str


def placed(url: object) -> Place:
    """Where it is. ValueError for what no client could ask for; the message says what was found."""
    if not isinstance(url, str):
        raise ValueError(f"url: wanted text, found {found(url)}.")
    if _CONTROL.search(url):
        raise ValueError(f"url: wanted text without control characters, found {found(url, url=True)}.")
    if url.startswith("/"):
        return Place("", "", _sent(url))
    scheme, mark, rest = url.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in ("http", "https"):
        text = "wanted an absolute http(s) URL, or a path that begins with '/'"
        raise ValueError(f"url: {text}, found {found(url, url=True)}.")
    end = min([place for place in map(rest.find, "/?#") if place >= 0], default=len(rest))
    host, target = rest[:end], rest[end:]
    try:
        normal_host(host, scheme)
    except BadRequest:
        text = "wanted a host, perhaps with a port up to 65535, and no user"
        raise ValueError(f"url: {text}, found {found(url, url=True)}.") from None
    return Place(scheme, host, _sent(target if target.startswith("/") else f"/{target}"))


def check_warmed(target: str) -> None:
    """ValueError for a target that cannot be warmed."""
    if _WARMED.fullmatch(target) is None:
        raise ValueError(f"url: it is too long, or has characters that no request can have: {found(target, url=True)}.")


def _sent(target: str) -> str:
    """What a client sends for it: no fragment, and letters beyond ASCII percent-encoded (RFC 3987 3.1)."""
    return quote(target.partition("#")[0], safe=_VISIBLE)
