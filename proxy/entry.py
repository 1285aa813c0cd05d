"""A stored answer: facts only. What they are worth is computed from the current rule, clock and journal."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple, Protocol

from proxy.message import Fields
from proxy.outcome import Tier

FORMAT = 1  # of keys; a new one makes every older key a miss
Pairs = tuple[tuple[str, str], ...]


class Position(NamedTuple):
    """How much of the journal an instance had applied (see `invalidation.journal`); compared by the journal alone."""

    epoch: int
    stream: int
    local: int


NOWHERE = Position(0, 0, 0)


@dataclass(frozen=True, slots=True)
class KeyParts:
    """Everything that tells one stored answer from another, but its variant. Text is latin-1.

    `method` is the class that shares an entry: GET (HEAD too) or the method itself. `query` is None when the
    target has none. `selected` are the (name, value) pairs that the rule puts into the key: request headers,
    `cookie:<name>`, and credentials as digests.
    """

    upstream: str
    namespace: str
    scheme: str
    method: str
    host: str
    path: str
    query: str | None = None
    body: str = ""
    selected: Pairs = ()

    @property
    def target(self) -> str:
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}{self.target}"

    def encode(self) -> bytes:
        """The length-prefixed tuple: no two different parts have the same bytes."""
        texts = [self.upstream, self.namespace, self.scheme, self.method, self.host, self.path]
        texts += ["0", ""] if self.query is None else ["1", self.query]
        texts.append(self.body)
        for name, value in self.selected:
            texts += [name, value]
        out = [b"%d:" % FORMAT]
        for text in texts:
            raw = text.encode("latin-1")
            out.append(b"%d:%b" % (len(raw), raw))
        return b"".join(out)

    def digest(self) -> str:
        """sha256 of `encode`, 64 hex digits: the `<h>` of the contract."""
        return sha256(self.encode()).hexdigest()


def variant_id(request_values: Pairs) -> str:
    """16 hex digits for the request values that a Vary nominated, "" when it nominated none (RFC 9111 4.1)."""
    if not request_values:
        return ""
    raw = b"".join(
        b"%d:%b%d:%b" % (len(n), n, len(v), v)
        for n, v in ((name.encode("latin-1"), value.encode("latin-1")) for name, value in request_values)
    )
    return sha256(raw).hexdigest()[:16]


class Body(Protocol):
    """Stored content. `data` holds it whole when it is small; a larger one is read in parts, never all at once."""

    @property
    def size(self) -> int: ...

    @property
    def data(self) -> bytes | None: ...

    def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Bytes [start, end) in chunks; StoreError when they cannot be read or are damaged."""
        ...

    async def verify(self) -> None:
        """Make sure that it can be read whole, before anybody is promised it; StoreError when it is damaged."""
        ...

    def share(self) -> "Body":
        """The same content to be closed by another owner; StoreError when this one is closed already."""
        ...

    def close(self) -> None:
        """Give back what it holds open; idempotent, also for one that was never read."""
        ...


@dataclass(frozen=True, slots=True)
class BytesBody:
    """Content that is held in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        yield self.data[start:end]

    async def verify(self) -> None:
        pass

    def share(self) -> "BytesBody":
        return self

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored answer. Times are wall-clock seconds; `keep_until` is when nobody can want it any more."""

    hash: str  # KeyParts.digest()
    parts: KeyParts
    status: int
    phrase: str
    fields: Fields  # end-to-end fields as received; a 304 replaces some
    requested_at: float
    received_at: float
    keep_until: float
    body: Body
    vary: Pairs = ()  # nominated names with this variant's normalised request values
    rule: str = ""
    tags: tuple[str, ...] = ()
    position: Position = NOWHERE  # what the journal held when the fetch began
    fence: int = 0
    variant: str = field(default="", init=False)
    key: str = field(default="", init=False)  # "<h>" or "<h>.<variant>"
    size: int = field(default=0, init=False)  # bytes it is counted for

    def __post_init__(self) -> None:
        variant = variant_id(self.vary)
        set_ = object.__setattr__
        set_(self, "variant", variant)
        set_(self, "key", f"{self.hash}.{variant}" if variant else self.hash)
        head = sum(len(n) + len(v) + 4 for n, v in self.fields.pairs)
        set_(self, "size", head + self.body.size + len(self.parts.target) + 512)


class Variant(NamedTuple):
    """What choosing among stored variants needs to know of one. Wall-clock seconds; `dated_at` is by the answer's own
    Date, 0 where nobody looked. `told`: what it is, by the names of the fields that ask for that."""

    id: str
    vary: Pairs
    received_at: float
    dated_at: float = 0.0
    told: Pairs = ()


# Picks the id of the variant that fits the request, or None; pure, and cheap enough to call under no lock.
Select = Callable[[Iterable[Variant]], str | None]


def any_variant(variants: Iterable[Variant]) -> str | None:
    """A Select that takes the newest, for tools that do not negotiate."""
    newest = max(variants, key=lambda v: v.received_at, default=None)
    return newest.id if newest else None


@dataclass(frozen=True, slots=True)
class Found:
    """A stored answer that no later purge matches. `ended_at`: a soft purge ended its lifetime then."""

    entry: Entry
    tier: Tier
    ended_at: float | None = None
