"""Stored things by key, a hash's variants side by side on one shelf, bounded by a policy that says who leaves."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Eviction(Protocol):
    """Who leaves when a tier is full. It knows keys and sizes in bytes, and both bounds, of which `max_bytes` may be
    changed: `evict` then tells who has to leave."""

    max_bytes: int

    @property
    def bytes(self) -> int: ...

    def __len__(self) -> int: ...

    def add(self, key: str, size: int) -> None:
        """A new key, or a new size of one that is there."""
        ...

    def restore(self, key: str, size: int) -> None:
        """A key from before a restart, older than all that are there; nothing when it is there."""
        ...

    def touch(self, key: str) -> None:
        """It was used; `key` is there."""
        ...

    def remove(self, key: str) -> None:
        """It went for another reason; `key` is there."""
        ...

    def evict(self) -> str | None:
        """Name who leaves next, and forget it; None once both bounds hold."""
        ...


class Shelved(Protocol):
    """What a shelf asks of a thing that lies on it."""

    @property
    def key(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def received_at(self) -> float: ...


T = TypeVar("T", bound=Shelved)


def hash_of(key: str) -> str:
    """`<h>` of `<h>` or `<h>.<variant>`."""
    return key.partition(".")[0]


class Shelves(Generic[T]):
    """`by_hash` is there to be read on the hot path; only the methods change it."""

    __slots__ = ("_eviction", "_variants", "by_hash", "evictions")

    def __init__(self, eviction: Eviction, variants: int) -> None:
        self.by_hash: dict[str, tuple[T, ...]] = {}
        self.evictions = 0
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
            yield from shelf

    def find(self, key: str) -> T | None:
        return next((item for item in self.by_hash.get(hash_of(key), ()) if item.key == key), None)

    def add(self, item: T) -> list[T]:
        """Put it in its place; returns who left for it: the oldest variant beyond the bound, then the policy's."""
        left = self._make_room(item)
        name = hash_of(item.key)
        shelf = self.by_hash.get(name, ())
        self.by_hash[name] = (*(other for other in shelf if other.key != item.key), item)
        self._eviction.add(item.key, item.size)
        return left + self.evict()

    def restore(self, item: T) -> None:
        """Put back what was there before a restart, newest first, with no one leaving yet."""
        if self.find(item.key) is None:
            name = hash_of(item.key)
            self.by_hash[name] = (*self.by_hash.get(name, ()), item)
            self._eviction.restore(item.key, item.size)

    def touch(self, item: T) -> None:
        self._eviction.touch(item.key)

    def drop(self, key: str) -> tuple[T, ...]:
        """Take away `<h>` with all its variants, or one `<h>.<variant>`; returns what was there."""
        name, _, variant = key.partition(".")
        gone = tuple(item for item in self.by_hash.get(name, ()) if not variant or item.key == key)
        for item in gone:
            self._eviction.remove(item.key)
            self._unshelve(item)
        return gone

    def discard(self, item: T) -> bool:
        """Take away this very thing, unless another has taken its place already."""
        if not any(other is item for other in self.by_hash.get(hash_of(item.key), ())):
            return False
        self._eviction.remove(item.key)
        self._unshelve(item)
        return True

    def evict(self) -> list[T]:
        """Let those leave that the bounds have no room for."""
        left = []
        while (key := self._eviction.evict()) is not None:
            item = self.find(key)
            assert item is not None, key
            self._unshelve(item)
            left.append(item)
        self.evictions += len(left)
        return left

    def _make_room(self, item: T) -> list[T]:
        others = [other for other in self.by_hash.get(hash_of(item.key), ()) if other.key != item.key]
        if len(others) < self._variants:
            return []
        oldest = min(others, key=lambda other: other.received_at)
        self.discard(oldest)
        self.evictions += 1
        return [oldest]

    def _unshelve(self, item: T) -> None:
        name = hash_of(item.key)
        rest = tuple(other for other in self.by_hash[name] if other is not item)
        if rest:
            self.by_hash[name] = rest
        else:
            del self.by_hash[name]
