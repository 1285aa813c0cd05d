"""Where messages begin on a connection, told from outside the parser, which keeps its own place to itself.

What follows a boundary may be looked at before the parser gets it. In doubt there is none.
"""

from typing import Protocol

_END = b"\r\n\r\n"  # of a head, and of the last chunk with its trailers; the beginning of a head never ends so
_BARE = b"\r\n0" + _END  # of a chunked body without trailers, after which nothing has come yet
_EMPTY = b"\r\n"  # lines of it may stand before a head (RFC 9112 2.2)
# What a chunked body may have beside its content (sizes, extensions, trailers), which no limit of the parser reaches:
# so many bytes, and so many more for each byte of content. Go's net/http reckons alike since CVE-2023-39326.
_BESIDE, _BESIDE_EACH = 16 << 10, 16


class Content(Protocol):
    """The body of a message, as it comes in. `total_bytes` of content have come."""

    total_bytes: int

    def is_eof(self) -> bool: ...


class Boundary:
    """To be fed with what the parser was fed with. `here`: the next byte begins a message."""

    def __init__(self) -> None:
        self.here = True
        self._head: bytes | None = b""  # the last bytes of a head that has begun; None within a body
        self._due: int | None = 0  # bytes of the body that are still to come; None when only its end tells
        self._lost = False  # until a message ends in a way that nothing else can end
        self._last = b""  # bytes of all that came
        self._chunked = 0  # bytes that came of a body whose length only its end tells
        self.bloated = False  # it has too much beside its content

    def fed(self, data: bytes, heads: int, body: Content, length: int | None) -> None:
        """`data` went through the parser, and so many heads came of it. `body` is the last message's, with `length`
        bytes, or None where only its own end tells."""
        if heads:
            self._chunked = 0
        self._last = (self._last + data[-len(_BARE) :])[-len(_BARE) :]
        if self._lost or heads > 1 or (heads and self._head is None):
            self._weigh(b"" if heads else data, body)
            self._at_an_end(body, bool(heads) and length == 0)
        elif heads:
            self._after_head(data, body, length)
        elif self._head is not None:
            self._within_head(data)
        else:
            self._within_body(data, body)

    @property
    def begun(self) -> bool:
        """Whether some of a head has come."""
        return bool(self._head)

    @property
    def bare(self) -> bool:
        """Whether all that came ends with a last chunk that no trailers follow."""
        return self._last == _BARE

    def _after_head(self, data: bytes, body: Content, length: int | None) -> None:
        _, end, rest = self._read(data).partition(_END)
        if not end:
            self._at_an_end(body, False)
            return
        self.here, self._head, self._due = False, None, length
        self._within_body(rest, body)

    def _within_head(self, data: bytes) -> None:
        text = self._read(data)
        self.here = not text
        self._head = text[1 - len(_END) :]

    def _read(self, data: bytes) -> bytes:
        return data.lstrip(_EMPTY) if self.here else (self._head or b"") + data

    def _within_body(self, data: bytes, body: Content) -> None:
        if self._due is None:
            self._weigh(data, body)
            if body.is_eof():
                self._at_an_end(body, True)
            return
        due, self._due = self._due, self._due - len(data)
        if self._due <= 0:
            self.here, self._head, self._due = True, b"", 0
            self._within_head(data[due:])

    def _weigh(self, data: bytes, body: Content) -> None:
        """More came of a body. What follows its end is weighed with it, and does not matter then."""
        self._chunked += len(data)
        allowed = _BESIDE + (1 + _BESIDE_EACH) * body.total_bytes
        self.bloated = self._chunked > allowed and not body.is_eof()

    def _at_an_end(self, body: Content, told: bool) -> None:
        self._lost = not (told and body.is_eof() and self._last.endswith(_END))
        self.here, self._head, self._due = not self._lost, b"", 0
