"""Methods that the parser has no name for: any token can be one (RFC 9110 9.1), but llhttp reads those of a list alone.

Such a request goes through the parser under another name, and has its own again when it comes out. Lower-case letters
are left to the parser, which refuses them: `get` is not GET, and who comes after us may think it is.
"""

import re

from aiohttp.http import RawRequestMessage

# What https://github.com/nodejs/llhttp names for HTTP, CONNECT and PRI (the preface of HTTP/2) with it.
KNOWN = frozenset(
    b"""GET HEAD POST PUT DELETE PATCH OPTIONS TRACE CONNECT PRI COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK
    BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR
    LINK UNLINK SOURCE QUERY""".split()
)
_STAND_IN = b"PATCH"  # has no meaning of its own to the parser
_BEGINNING = re.compile(rb"(?:\r\n)*([!#$%&'*+.^_`|~0-9A-Z-]{1,64})( |\Z)")


class Methods:
    """Of one connection."""

    def __init__(self) -> None:
        self._held = b""  # the beginning of a method, until the rest of it comes
        self._own: str | None = None  # of the request in the parser that has another name there

    @property
    def held(self) -> bool:
        """Whether a method has begun."""
        return bool(self._held)

    def hide(self, data: bytes, boundary: bool) -> bytes:
        """What the parser is to get of `data`, which begins a request where `boundary` says so."""
        if not (boundary or self._held):
            return data
        data, self._held = self._held + data, b""
        begun = _BEGINNING.match(data)
        if begun is None or begun[1] in KNOWN:
            return data
        if not begun[2]:
            self._held = data
            return b""
        self._own = begun[1].decode("ascii")
        return data[: begun.start(1)] + _STAND_IN + data[begun.end(1) :]

    def restore(self, message: RawRequestMessage) -> RawRequestMessage:
        """The first request that came out of the parser since `hide`, under its own name."""
        if self._own is None:
            return message
        own, self._own = self._own, None
        return message._replace(method=own)
