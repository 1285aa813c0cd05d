"""HTTP messages as every floor speaks of them: parsed once at the door, then only read."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum

from proxy.fixed import fixed
from proxy.names import Order, Values, lower_name, order_of
from proxy.outcome import Outcome

Pair = tuple[bytes, bytes]


class Fields:
    """Header fields as they came: order, case, duplicates and bytes are kept (RFC 9110 5).

    Names are asked for in lower case. `str` values are latin-1, so that no byte is lost.
    """

    __slots__ = ("order", "values")

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        pairs = tuple(pairs)
        names, values = zip(*pairs, strict=True) if pairs else ((), ())
        self.order: Order = order_of(names)
        self.values: Values = values

    @classmethod
    def of(cls, *pairs: tuple[str, str]) -> "Fields":
        """Fields from text: `Fields.of(("ETag", '"a"'))`."""
        return cls([(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs])

    @staticmethod
    def laid(order: Order, values: Values) -> "Fields":
        """As many values as there are names in the order."""
        fields = _new(Fields)
        fields.order, fields.values = order, values
        return fields

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """(name, value) of each line, in order."""
        return tuple(zip(self.order.names, self.values, strict=True))

    def get(self, name: str) -> str | None:
        """All lines of one field, joined by ", " (RFC 9110 5.3); None when absent."""
        line = self.order.lines.get(name)
        if line is None:
            return None
        if isinstance(line, int):
            return self.values[line].decode("latin-1")
        return b", ".join([self.values[each] for each in line]).decode("latin-1")

    def lines(self, name: str) -> tuple[str, ...]:
        """Each line of one field by itself, in order."""
        line = self.order.lines.get(name)
        if line is None:
            return ()
        if isinstance(line, int):
            return (self.values[line].decode("latin-1"),)
        return tuple([self.values[each].decode("latin-1") for each in line])

    def __contains__(self, name: str) -> bool:
        return name in self.order.lines

    def has_any(self, names: frozenset[str]) -> bool:
        """Whether any of these (lower-case) names is here."""
        return self.order.any_of[names]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(lower-case name, value) of each line, in order."""
        for raw, value in zip(self.order.names, self.values, strict=True):
            yield lower_name(raw), value.decode("latin-1")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def size(self) -> int:
        """Bytes of all lines on the wire."""
        return self.order.size + sum(map(len, self.values))

    @property
    def written(self) -> bytes:
        """All lines as they stand on the wire."""
        return self.order.form % self.values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.values == other.values and self.order.names == other.order.names

    def __hash__(self) -> int:
        return hash((self.order.names, self.values))

    def __repr__(self) -> str:
        return f"Fields{self.pairs!r}"

    def without(self, names: AbstractSet[str]) -> "Fields":
        """These without the fields of these (lower-case) names; the same where none of them is here."""
        left = self.order.without[names if isinstance(names, frozenset) else frozenset(names)]
        if left is None:
            return self
        fields = _new(Fields)
        fields.order, take = left
        fields.values = take(self.values)
        return fields

    def followed_by(self, others: "Fields") -> "Fields":
        """These lines, then those."""
        fields = _new(Fields)
        fields.order, fields.values = self.order.followed_by[others.order], self.values + others.values
        return fields

    def plus(self, *pairs: tuple[str, str]) -> "Fields":
        """These with more lines at the end."""
        return self.followed_by(Fields.of(*pairs)) if pairs else self

    def replacing(self, *pairs: tuple[str, str]) -> "Fields":
        """A copy in which each named field has only this value, at the end."""
        return self.without(frozenset(name.lower() for name, _ in pairs)).plus(*pairs)


_new = Fields.__new__


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


@fixed
class Head:
    """The head of an upstream's answer, with when it was asked for and when it came (wall clock)."""

    status: int
    phrase: str
    fields: Fields
    framing: Framing = Framing.LENGTH
    requested_at: float = 0.0
    received_at: float = 0.0

    def at(self, requested_at: float, received_at: float) -> "Head":
        """The same, with its times."""
        return Head(self.status, self.phrase, self.fields, self.framing, requested_at, received_at)

    def having(self, fields: Fields) -> "Head":
        """The same, with these fields."""
        return Head(self.status, self.phrase, fields, self.framing, self.requested_at, self.received_at)

    @property
    def length(self) -> int | None:
        """Content-Length when the framing is by length."""
        if self.framing is not Framing.LENGTH:
            return None
        text = self.fields.get("content-length")
        return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else None


@fixed
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
