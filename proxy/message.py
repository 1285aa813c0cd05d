"""HTTP messages as every floor speaks of them: parsed once at the door, then only read."""

from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from proxy.outcome import Outcome

Pair = tuple[bytes, bytes]


class Fields:
    """Header fields as they came: order, case, duplicates and bytes are kept (RFC 9110 5).

    Names are asked for in lower case. `str` values are latin-1, so that no byte is lost.
    """

    __slots__ = ("_index", "pairs")

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self.pairs: tuple[Pair, ...] = tuple(pairs)
        self._index: dict[str, list[bytes]] | None = None

    @classmethod
    def of(cls, *pairs: tuple[str, str]) -> "Fields":
        """Fields from text: `Fields.of(("ETag", '"a"'))`."""
        return cls((name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)

    def _lines(self, name: str) -> list[bytes] | None:
        index = self._index
        if index is None:
            index = self._index = {}
            for raw, value in self.pairs:
                index.setdefault(lower_name(raw), []).append(value)
        return index.get(name)

    def get(self, name: str) -> str | None:
        """All lines of one field, joined by ", " (RFC 9110 5.3); None when absent."""
        lines = self._lines(name)
        if lines is None:
            return None
        return (lines[0] if len(lines) == 1 else b", ".join(lines)).decode("latin-1")

    def lines(self, name: str) -> tuple[str, ...]:
        """Each line of one field by itself, in order."""
        return tuple(line.decode("latin-1") for line in self._lines(name) or ())

    def __contains__(self, name: str) -> bool:
        return self._lines(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(lower-case name, value) of each line, in order."""
        for raw, value in self.pairs:
            yield lower_name(raw), value.decode("latin-1")

    def __len__(self) -> int:
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __repr__(self) -> str:
        return f"Fields{self.pairs!r}"

    def without(self, names: Container[str]) -> "Fields":
        """A copy without the fields of these (lower-case) names."""
        return Fields(pair for pair in self.pairs if lower_name(pair[0]) not in names)

    def plus(self, *pairs: tuple[str, str]) -> "Fields":
        """A copy with these lines at the end."""
        return Fields(self.pairs + Fields.of(*pairs).pairs)

    def replacing(self, *pairs: tuple[str, str]) -> "Fields":
        """A copy in which each named field has only this value, at the end."""
        return self.without({name.lower() for name, _ in pairs}).plus(*pairs)


_NAMES: dict[bytes, str] = {}


def lower_name(raw: bytes) -> str:
    """A field name in lower case; the common ones are looked up, and the table is bounded."""
    name = _NAMES.get(raw)
    if name is None:
        name = raw.decode("latin-1").lower()
        if len(_NAMES) < 4096 and len(raw) <= 64:
            _NAMES[bytes(raw)] = name
    return name


class Framing(Enum):
    """How a body's end is told on the wire (RFC 9112 6.3)."""

    NONE = "none"  # no body by definition: HEAD, 1xx, 204, 304
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"  # the end cannot be proven


class Upload:
    """A request body that is read once; `peek` keeps what it read, so that streaming still starts at byte 0."""

    __slots__ = ("_ended", "_kept", "_source", "length")

    def __init__(self, source: AsyncIterator[bytes], length: int | None) -> None:
        self.length = length
        self._source = source
        self._kept: list[bytes] = []
        self._ended = False

    async def peek(self, limit: int, full: Callable[[], bool] = lambda: False) -> bytes | None:
        """The whole body when it is at most `limit` bytes, else None, also once nothing more can be held because memory
        is `full`; either way nothing is lost."""
        if self.length is not None and self.length > limit:
            return None
        size = sum(map(len, self._kept))
        while not self._ended and size <= limit:
            if full():
                return None
            chunk = await anext(self._source, None)
            if chunk is None:
                self._ended = True
            else:
                self._kept.append(chunk)
                size += len(chunk)
        if size > limit:
            return None
        self._kept = [b"".join(self._kept)] if self._kept else []
        return self._kept[0] if self._kept else b""

    @property
    def replayable(self) -> bool:
        """Whether the whole body is at hand, so that it can be sent a second time."""
        return self._ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._kept:
            yield chunk
        if not self._ended:
            self._kept = []
            async for chunk in self._source:
                yield chunk


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an upstream's answer, with when it was asked for and when it came (wall clock)."""

    status: int
    phrase: str
    fields: Fields
    framing: Framing = Framing.LENGTH
    requested_at: float = 0.0
    received_at: float = 0.0

    @property
    def length(self) -> int | None:
        """Content-Length when the framing is by length."""
        if self.framing is not Framing.LENGTH:
            return None
        text = self.fields.get("content-length")
        return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else None


@dataclass(frozen=True, slots=True)
class Request:
    """One client request. `target` is the origin-form as it came; times are wall-clock seconds."""

    method: str
    scheme: str  # "http" or "https", as the client used it (TLS, or a trusted X-Forwarded-Proto)
    host: str  # lower case, default port off, "" when there was none
    target: str
    fields: Fields
    client: str = ""  # the address of the right-most hop that is not a trusted proxy
    received_at: float = 0.0
    id: str = ""  # X-Request-Id, passed on or made
    trusted: bool = False  # came through a trusted proxy, or with a valid Cachegate-Token
    debug: bool = False  # came with a valid Cachegate-Token
    version: str = "1.1"  # of HTTP, as the client spoke it
    body: Upload | None = None
    inform: Callable[[Head], None] | None = None  # where interim answers go, at once; None: nowhere

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str | None:
        """What follows the first "?", None when there is none (a bare "?" is the empty string)."""
        _, mark, query = self.target.partition("?")
        return query if mark else None


@dataclass(slots=True)
class Reply:
    """What the door sends. `fields` hold every end-to-end field, Content-Length as it is to be told included.

    `body` is the content: bytes, or a stream that raises when its end cannot be proven (the door then cuts the
    connection). `framing` CLOSE means that the upstream's end is unproven, so that the client's must be too.
    A HEAD, 204 or 304 reply has an empty body.
    """

    status: int
    phrase: str
    fields: Fields
    body: bytes | AsyncIterator[bytes]
    outcome: Outcome
    framing: Framing = Framing.LENGTH
    close: bool = False  # close the client connection after this reply
