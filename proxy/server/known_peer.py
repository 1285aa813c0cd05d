"""What the lane remembers of who is at the other end of a connection."""

from aiohttp.web_protocol import RequestHandler

from proxy.server.ready import Ready
from proxy.server.shapes import Shape


class Last:
    """The last head that was answered out of what is remembered, and how: many ask for one thing again and again."""

    __slots__ = ("head", "id", "ready")

    def __init__(self) -> None:
        self.head = b""
        self.ready: Ready | None = None
        self.id: bytes | None = None  # the X-Request-Id that came


class Peer:
    """The other end of a connection; a `trusted` one speaks for others, the last time for `client`. `kind` tells apart
    whose fields are read in another way; `last` is shared by all of a kind, but those who are trusted. `shape` is that
    of the last head that came from here, `at` when the lane last looked at one, by its timer."""

    __slots__ = ("at", "client", "kind", "last", "protocol", "remote", "secure", "shape", "trusted")

    def __init__(self, protocol: RequestHandler, remote: str, *, secure: bool, trusted: bool, last: Last) -> None:
        self.protocol = protocol
        self.remote = self.client = remote
        self.secure = secure
        self.trusted = trusted
        self.kind = secure + 2 * trusted
        self.last = last
        self.shape: Shape | None = None
        self.at = 0.0
