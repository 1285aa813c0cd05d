"""Stored things by key, a hash's variants side by side on one shelf, bounded by a policy that says who leaves."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

KEY = re.compile(r"[0-9a-f]{64}(?:\.[0-9a-f]{16})?")  # `Entry.key`: nothing else gives a name to what is stored


class Node:
    """The place of a thing among those that wait to leave, kept in the thing itself: tables beside a million of them
    would weigh more than the things.

    `uses` counts how often it was used since it was added; policies may take some of them as `spent`.
    """

    __slots__ = ("after", "before", "queue", "spent", "uses")

    after: Any
    before: Any
    queue: Any
    spent: int
    uses: int


class Shelved(Protocol):
    """What shelves and policies ask of a thing: a `Node` with a name, and a size in bytes that stays as it is for as
    long as the thing lies there. `hash` is the `<h>` of its key."""

    after: Any
    before: Any
    queue: Any
    spent: int
    uses: int

    @property
    def key(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def received_at(self) -> float: ...


T = TypeVar("T", bound=Shelved)


class Eviction(Protocol[T]):
    """Who leaves when a tier is full. There are two bounds, of which `max_bytes` may be changed: `evict` then tells who
    has to leave. What it is asked about is there, and what is added is not."""

    max_bytes: int

    @property
    def bytes(self) -> int: ...

    def __len__(self) -> int: ...

    def add(self, item: T) -> None:
        """It is new."""
        ...

    def replace(self, old: T, item: T) -> None:
        """It takes the place of what had its key."""
        ...

    def restore(self, item: T) -> None:
        """It is from before a restart, older than all that are there."""
        ...

    @property
    def only_counts(self) -> bool:
        """Whether `touch` does nothing but to add one to `uses`, so that who has no time may do that."""
        ...

    def touch(self, item: T) -> None:
        """It was used."""
        ...

    def remove(self, item: T) -> None:
        """It went for another reason."""
        ...

    def evict(self) -> T | None:
        """Name who leaves next, and forget it; None once both bounds hold."""
        ...


def hash_of(key: str) -> str:
    """`<h>` of `<h>` or `<h>.<variant>`."""
    return key.partition(".")[0]


class Shelves(Generic[T]):
    """`by_hash` is there to be read on the hot path: what lies alone is its own shelf, variants are a tuple. Only the
    methods change it. `moved` is called for each thing on a shelf from which something goes, or to which it comes,
    `left` for each that goes and was used, or did not have to."""

    __slots__ = ("_eviction", "_moved", "_variants", "by_hash", "evictions", "left")

    def __init__(self, eviction: Eviction[T], variants: int, moved: Callable[[T], object] | None = None) -> None:
        self._moved = moved
        self.by_hash: dict[str, T | tuple[T, ...]] = {}
        self.evictions = 0
        self.left: Callable[[T], object] | None = None
        self._eviction = eviction
        self._variants = variants

    @property
    def bytes(self) -> int:
        return self._eviction.bytes

    @property
    def max_bytes(self) -> int:
        return self._eviction.max_bytes

    def resize(self, max_bytes: int) -> list[T]:
        """Let another bound hold; returns who left for it."""
        self._eviction.max_bytes = max_bytes
        return self.evict()

    def __len__(self) -> int:
        return len(self._eviction)

    def __iter__(self) -> Iterator[T]:
        for shelf in self.by_hash.values():
            if isinstance(shelf, tuple):
                yield from shelf
            else:
                yield shelf

    def of(self, hash: str) -> tuple[T, ...]:
        """All variants of a hash, the one that came last behind the others; () where there is none."""
        shelf = self.by_hash.get(hash, ())
        return shelf if isinstance(shelf, tuple) else (shelf,)

    def find(self, key: str) -> T | None:
        shelf = self.by_hash.get(hash_of(key))
        if shelf is None or not isinstance(shelf, tuple):
            return shelf if shelf is not None and shelf.key == key else None
        return next((item for item in shelf if item.key == key), None)

    def add(self, item: T) -> list[T]:
        """Put it in its place; returns who left for it: the oldest variant beyond the bound, then the policy's."""
        if item.hash not in self.by_hash:
            self._eviction.add(item)
            self.by_hash[item.hash] = item
            return self.evict()
        if (old := self.find(item.key)) is not None:
            self._eviction.replace(old, item)
            self._lay(item.hash, (*(other for other in self.of(item.hash) if other is not old), item))
            return self.evict()
        left = self._make_room(item.hash)
        self._eviction.add(item)
        self._lay(item.hash, (*self.of(item.hash), item))
        return left + self.evict()

    def restore(self, item: T) -> None:
        """Put back what was there before a restart, newest first, with no one leaving yet."""
        if self.find(item.key) is None:
            self._eviction.restore(item)
            self._lay(item.hash, (*self.of(item.hash), item))

    def touch(self, item: T) -> None:
        self._eviction.touch(item)

    def drop(self, key: str) -> tuple[T, ...]:
        """Take away `<h>` with all its variants, or one `<h>.<variant>`; returns what was there."""
        name, _, variant = key.partition(".")
        gone = tuple(item for item in self.of(name) if not variant or item.key == key)
        for item in gone:
            self._remove(item)
        return gone

    def discard(self, item: T) -> bool:
        """Take away this very thing, unless another has taken its place already."""
        if not any(other is item for other in self.of(item.hash)):
            return False
        self._remove(item)
        return True

    def evict(self) -> list[T]:
        """Let those leave that the bounds have no room for."""
        left = []
        while (item := self._eviction.evict()) is not None:
            self._unshelve(item)
            left.append(item)
            if item.uses and self.left is not None:
                self.left(item)
        self.evictions += len(left)
        return left

    def _make_room(self, hash: str) -> list[T]:
        others = self.of(hash)
        if len(others) < self._variants:
            return []
        oldest = min(others, key=lambda other: other.received_at)
        self.discard(oldest)
        self.evictions += 1
        return [oldest]

    def _remove(self, item: T) -> None:
        self._eviction.remove(item)
        self._unshelve(item)
        if self.left is not None:
            self.left(item)

    def _unshelve(self, item: T) -> None:
        self._lay(item.hash, tuple(other for other in self.of(item.hash) if other is not item))

    def _lay(self, hash: str, shelf: tuple[T, ...]) -> None:
        if self._moved is not None:
            for item in self.of(hash):
                self._moved(item)
        if not shelf:
            del self.by_hash[hash]
        else:
            self.by_hash[hash] = shelf if len(shelf) > 1 else shelf[0]
