"""Interim answers (1xx) on their way to a client: at once, before the final one, and never after it has begun."""

from aiohttp.http import HttpVersion11

from proxy.message import Head
from proxy.names import lower_name
from proxy.policy.forwarding import response_fields
from proxy.server.plain import Raw

MOST = 1 << 20  # bytes that a client may leave unread before it gets no more of them
_UNFRAMED = frozenset({"content-length", "transfer-encoding"})  # an interim answer ends with its head (RFC 9110 15.2)
_OURS = (100, 101)  # 100 is said by us, when we want the body (10.1.1); 101 is final for HTTP


class Interim:
    """Tells one client. Who speaks HTTP/1.0 is told nothing (RFC 9110 15.2)."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._over = raw.version < HttpVersion11

    def __call__(self, head: Head) -> None:
        """Pass it on, without what was meant for the origin's connection. One that cannot be sent is left out."""
        transport = self._raw.transport
        if self._over or head.status in _OURS or transport is None or transport.is_closing():
            return
        lines = [b"HTTP/1.1 %d %b" % (head.status, head.phrase.encode("latin-1"))]
        lines += [
            b"%b: %b" % (name, value)
            for name, value in response_fields(head.fields).pairs
            if lower_name(name) not in _UNFRAMED
        ]
        said = b"\r\n".join(lines) + b"\r\n\r\n"
        if said.count(b"\n") == said.count(b"\r") == len(lines) + 1 and transport.get_write_buffer_size() < MOST:
            transport.write(said)

    def end(self) -> None:
        """The final answer begins."""
        self._over = True
