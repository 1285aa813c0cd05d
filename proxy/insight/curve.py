"""How many requests a tier of each size would answer, without a run for each: the miss-ratio curve, upside down.

A sample of the keys is chosen by a hash of the key, so that all requests of a key are in it or none (spatially hashed
sampling; Waldspurger, Park, Garthwaite, Ahmad: Efficient MRC construction with SHARDS, FAST 2015). Its size is fixed:
when there are more keys, the rate falls, and who is beyond it leaves. For each size runs a cache in miniature, of the
size times the rate, which evicts by the code of the real one (Waldspurger, Saemundsson, Ahmad, Park: Cache modeling and
optimization using miniature simulations, ATC 2017).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from proxy.store.eviction import Name, policy
from proxy.store.shelves import Eviction, Node

KEYS = 8192  # of the sample: the 8K of SHARDS, whose error was below 0.01 on average
SMALLEST = 1 << 14  # bytes of the sample in the first cache; each further one is of twice the size
_HASHES = 1 << 32

# What became of what was there: "" nothing, it was fetched anew behind this answer, the origin confirmed it, or it had
# been ended before.
How = Literal["", "refreshed", "confirmed", "purged"]


@dataclass(frozen=True, slots=True)
class Point:
    """The share of requests that a tier of so many `bytes` answers."""

    bytes: int
    hit_ratio: float


class _Item(Node):
    """A key of the sample in one cache; `until` is when it is of use no more."""

    __slots__ = ("hash", "key", "received_at", "size", "until")

    def __init__(self, key: str, size: int, until: float) -> None:
        self.key = self.hash = key
        self.size = size
        self.received_at = 0.0
        self.until = until


class _Mini:
    """A cache of one size, of which the sample sees its share."""

    __slots__ = ("eviction", "hits", "items", "size")

    def __init__(self, name: Name, size: int, rate: float) -> None:
        self.size = size
        self.hits = 0.0
        self.items: dict[str, _Item] = {}  # in the order in which they would leave, until one has
        self.eviction: Eviction[_Item] = policy(name, 1 << 62, int(size * rate))

    @property
    def full(self) -> bool:
        """Whether somebody has to leave."""
        return self.eviction.bytes > self.eviction.max_bytes

    def ask(self, key: str, size: int, life: float, now: float, how: How) -> None:
        """`evict` has to be called next."""
        old = self.items.get(key)
        if old is not None:
            if how == "confirmed" or (now < old.until and how != "purged"):
                self.hits += 1
                self.eviction.touch(old)
                if not self.eviction.only_counts:
                    self.items[key] = self.items.pop(key)
                old.until = now + life if how else old.until
                return
            self.eviction.remove(old)
            del self.items[key]
        item = self.items[key] = _Item(key, size, now + life)
        self.eviction.add(item)

    def evict(self) -> None:
        while (left := self.eviction.evict()) is not None:
            del self.items[left.key]

    def scale(self, rate: float, ratio: float, beyond: set[str]) -> None:
        """The rate has fallen to `rate`, `ratio` of what it was."""
        self.hits *= ratio
        for key in beyond:
            if (item := self.items.pop(key, None)) is not None:
                self.eviction.remove(item)
        self.eviction.max_bytes = int(self.size * rate)

    def larger(self, name: Name, rate: float) -> "_Mini":
        """One of twice the size that has seen the same: nobody has left this one yet."""
        other = _Mini(name, 2 * self.size, rate)
        other.hits = self.hits
        for item in self.items.values():
            same = other.items[item.key] = _Item(item.key, item.size, item.until)
            other.eviction.add(same)
            same.uses = item.uses
        return other


class Curve:
    """Fed with each request that looked into the cache. `eviction` as in the settings."""

    def __init__(self, eviction: Name, keys: int = KEYS) -> None:
        self._most = keys
        self._eviction: Name = eviction
        self._minis = [_Mini(eviction, SMALLEST, 1.0)]  # to the first that holds all; larger ones would do the same
        self._sampled: dict[str, int] = {}  # key: its hash
        self._below = _HASHES
        self._seen = 0.0  # requests of the sample, as if the rate had always been what it is now
        self._all = 0

    @property
    def rate(self) -> float:
        """The share of the keys that is in the sample."""
        return self._below / _HASHES

    def ask(self, key: str, size: int, life: float, now: float, how: How = "") -> None:
        """A request for `key`, whose answer weighs `size` bytes and is of use for `life` seconds from its fetch; "" is
        what is not kept."""
        self._all += 1
        number = int.from_bytes(blake2b(key.encode(), digest_size=4).digest()) if key else self._all * 2654435761
        if number % _HASHES >= self._below:
            return
        self._seen += 1
        if not key:
            return
        self._sampled[key] = number
        for mini in self._minis:
            mini.ask(key, size, life, now, how)
        self._evict()
        if len(self._sampled) > self._most:
            self._lower()

    def _lower(self) -> None:
        """Let an eighth of the sample go."""
        numbers = sorted(self._sampled.values())
        below = numbers[len(numbers) * 7 // 8]
        ratio, self._below = below / self._below, below
        beyond = {key for key, number in self._sampled.items() if number >= below}
        for key in beyond:
            del self._sampled[key]
        self._seen *= ratio
        for mini in self._minis:
            mini.scale(self.rate, ratio, beyond)
        self._evict()
        while len(self._minis) > 1 and self._minis[0].eviction.max_bytes < SMALLEST:
            del self._minis[0]  # it holds too few of the sample to tell anything

    def _evict(self) -> None:
        """The last has room for all of the sample."""
        while (last := self._minis[-1]).full:
            self._minis.append(last.larger(self._eviction, self.rate))
        for mini in self._minis:
            if mini.full:
                mini.evict()

    def points(self) -> tuple[Point, ...]:
        """From the smallest that the sample tells of to the first that no larger one is better than; () unasked."""
        return tuple(self._points()) if self._all else ()

    def _points(self) -> Iterator[Point]:
        expected, most = self._all * self.rate, max(mini.hits for mini in self._minis)
        # SHARDS 3.2: a sample with more or fewer requests than expected has the hottest keys, or has them not, and
        # those are hits at every size.
        missing = expected - self._seen
        for mini in self._minis:
            ratio = (mini.hits + missing) / expected if mini.hits else 0.0
            yield Point(mini.size, round(min(1.0, max(0.0, ratio)), 4))
            if mini.hits >= most:
                return
