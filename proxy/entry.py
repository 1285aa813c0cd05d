"""A stored answer: facts only. What they are worth is computed from the current rule, clock and journal."""

from collections.abc import AsyncIterator, Callable, Iterable
from functools import lru_cache
from hashlib import sha256
from sys import intern
from typing import NamedTuple, Protocol

from proxy.fixed import fixed
from proxy.message import Fields
from proxy.outcome import Tier
from proxy.stored_fields import stored_fields

FORMAT = 1  # of keys; a new one makes every older key a miss
Pairs = tuple[tuple[str, str], ...]


class Position(NamedTuple):
    """How much of the journal an instance had applied (see `invalidation.journal`); compared by the journal alone."""

    epoch: int
    stream: int
    local: int


NOWHERE = Position(0, 0, 0)


_LATELY = 256  # things that are known again when they come again


@lru_cache(_LATELY, typed=True)
def _shared(facts: tuple[object, ...]) -> tuple[object, ...]:
    """One of those that are equal."""
    return facts


class Scope(NamedTuple):
    """What all answers of one service to one kind of request have in common: of those that are equal, there is one.

    `method` is the class that shares an entry: GET (HEAD too) or the method itself.
    """

    upstream: str
    namespace: str
    scheme: str
    method: str
    host: str


@lru_cache(_LATELY)
def _written(scope: Scope) -> str:
    return "".join([_told(text) for text in scope])


def _told(text: str) -> str:
    """With its length before it; a character is a byte."""
    return f"{len(text)}:{text}"


@fixed
class KeyParts:
    """Everything that tells one stored answer from another, but its variant. Text is latin-1.

    `query` is None when the target has none. `selected` are the (name, value) pairs that the rule puts into the key:
    request headers, `cookie:<name>`, and credentials as digests.
    """

    scope: Scope
    path: str
    query: str | None = None
    body: str = ""
    selected: Pairs = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "scope", _shared(self.scope))

    @property
    def namespace(self) -> str:
        return self.scope.namespace

    @property
    def method(self) -> str:
        return self.scope.method

    @property
    def host(self) -> str:
        return self.scope.host

    @property
    def target(self) -> str:
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def url(self) -> str:
        return f"{self.scope.scheme}://{self.scope.host}{self.target}"

    def encode(self) -> bytes:
        """The length-prefixed tuple: no two different parts have the same bytes."""
        path, query, body = self.path, self.query, self.body
        asked = "1:00:" if query is None else f"1:1{len(query)}:{query}"
        told = f"{FORMAT}:{_written(self.scope)}{len(path)}:{path}{asked}{len(body)}:{body}"
        if self.selected:
            told += "".join([_told(text) for pair in self.selected for text in pair])
        return told.encode("latin-1")

    def digest(self) -> str:
        """sha256 of `encode`, 64 hex digits: the `<h>` of the contract."""
        return sha256(self.encode()).hexdigest()


@lru_cache(_LATELY)
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


@fixed
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


@fixed
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

    def __post_init__(self) -> None:
        """What is equal in many is the same object in all: it is worth more than the rest in a small answer."""
        set_ = object.__setattr__
        set_(self, "phrase", intern(self.phrase))
        set_(self, "fields", stored_fields(self.fields))
        set_(self, "rule", intern(self.rule))
        set_(self, "position", _shared(self.position))
        if self.vary:
            set_(self, "vary", _shared(self.vary))
            variant_id(self.vary)  # what cannot be written down is refused here, not where it is asked for

    def settle(self, position: Position, body: Body) -> "Entry":
        """Say where it stands in our own journal and what holds its content, as long as it was just made of a record
        and is nobody's yet: unlike `replace` this works out nothing anew."""
        object.__setattr__(self, "position", position)
        object.__setattr__(self, "body", body)
        return self

    @property
    def variant(self) -> str:
        """16 hex digits, "" for an answer that is the same for everybody."""
        return variant_id(self.vary) if self.vary else ""

    @property
    def key(self) -> str:
        """`<h>` or `<h>.<variant>`."""
        return f"{self.hash}.{variant_id(self.vary)}" if self.vary else self.hash

    @property
    def size(self) -> int:
        """Bytes that it is counted for."""
        path, query = self.parts.path, self.parts.query
        target = len(path) if query is None else len(path) + 1 + len(query)
        return self.fields.size + self.body.size + target + 512


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


@fixed
class Found:
    """A stored answer that no later purge matches. `ended_at`: a soft purge ended its lifetime then."""

    entry: Entry
    tier: Tier
    ended_at: float | None = None
