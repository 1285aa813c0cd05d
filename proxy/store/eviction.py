"""Three ways to choose who leaves a full tier, each bounded by entries and by bytes.

`s3fifo` is the default in memory: one pass over many keys cannot wash out what is used again, and a hit only counts
(Yang, Zhang, Qiu, Yue, Vinayak: FIFO queues are all you need for cache eviction, SOSP 2023), here weighed by bytes.
"""

from collections import OrderedDict
from typing import Literal

from proxy.store.shelves import Eviction

Name = Literal["s3fifo", "lru", "fifo"]


def policy(name: Name, max_entries: int, max_bytes: int) -> Eviction:
    """The one of that name, with its bounds."""
    policies: dict[Name, type[S3Fifo | Lru | Fifo]] = {"s3fifo": S3Fifo, "lru": Lru, "fifo": Fifo}
    return policies[name](max_entries, max_bytes)


class Queue:
    """Keys in order with their sizes; OrderedDict, because a plain dict finds its first key slowly after deletions."""

    __slots__ = ("bytes", "sizes")

    def __init__(self) -> None:
        self.sizes: OrderedDict[str, int] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.sizes)

    def push(self, key: str, size: int, *, last: bool = True) -> None:
        """At the end, or at the front; a key that is there moves."""
        self.bytes += size - self.sizes.get(key, 0)
        self.sizes[key] = size
        self.sizes.move_to_end(key, last)

    def resize(self, key: str, size: int) -> None:
        self.bytes += size - self.sizes[key]
        self.sizes[key] = size

    def pop(self) -> tuple[str, int]:
        key, size = self.sizes.popitem(last=False)
        self.bytes -= size
        return key, size

    def remove(self, key: str) -> None:
        self.bytes -= self.sizes.pop(key)


class Fifo:
    """First in, first out; an entry that is replaced counts as new."""

    __slots__ = ("_max_entries", "_queue", "max_bytes")

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self.max_bytes = max_bytes
        self._queue = Queue()

    @property
    def bytes(self) -> int:
        return self._queue.bytes

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, key: str, size: int) -> None:
        self._queue.push(key, size)

    def restore(self, key: str, size: int) -> None:
        if key not in self._queue.sizes:
            self._queue.push(key, size, last=False)

    def touch(self, key: str) -> None:
        pass

    def remove(self, key: str) -> None:
        self._queue.remove(key)

    def evict(self) -> str | None:
        if len(self._queue) <= self._max_entries and self._queue.bytes <= self.max_bytes:
            return None
        return self._queue.pop()[0]


class Lru(Fifo):
    """The least recently used leaves first."""

    __slots__ = ()

    def touch(self, key: str) -> None:
        self._queue.sizes.move_to_end(key)


class S3Fifo:
    """New keys wait in a small queue (10%); only those used more than once there go on to the main one.

    A key that left the small queue is remembered without its value, and comes back straight into main. Main gives a
    key one more round for each use, three at most. A hit moves nothing: it counts to three and stops.
    """

    __slots__ = ("_ghost", "_main", "_max_entries", "_small", "_uses", "max_bytes")

    SMALL_SHARE = 10  # of both bounds, one in ten
    MOST_USES = 3

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self.max_bytes = max_bytes
        self._small = Queue()
        self._main = Queue()
        self._ghost = Queue()  # of keys and the sizes they had, as large as what is kept
        self._uses: dict[str, int] = {}

    @property
    def bytes(self) -> int:
        return self._small.bytes + self._main.bytes

    def __len__(self) -> int:
        return len(self._uses)

    def add(self, key: str, size: int) -> None:
        if key in self._small.sizes:
            self._small.resize(key, size)
        elif key in self._main.sizes:
            self._main.resize(key, size)
        else:
            self._uses[key] = 0
            if key in self._ghost.sizes:
                self._ghost.remove(key)
                self._main.push(key, size)
            else:
                self._small.push(key, size)

    def restore(self, key: str, size: int) -> None:
        if key not in self._uses:
            self._uses[key] = 0
            self._main.push(key, size, last=False)

    def touch(self, key: str) -> None:
        uses = self._uses[key]
        if uses < self.MOST_USES:
            self._uses[key] = uses + 1

    def remove(self, key: str) -> None:
        del self._uses[key]
        (self._small if key in self._small.sizes else self._main).remove(key)

    def evict(self) -> str | None:
        while len(self._uses) > self._max_entries or self.bytes > self.max_bytes:
            key = self._leave_small() if self._small_is_full() or not self._main else self._leave_main()
            if key is not None:
                return key
        return None

    def _small_is_full(self) -> bool:
        small, share = self._small, self.SMALL_SHARE
        return len(small) * share > self._max_entries or small.bytes * share > self.max_bytes

    def _leave_small(self) -> str | None:
        key, size = self._small.pop()
        if self._uses[key] > 1:
            self._uses[key] = 0
            self._main.push(key, size)
            return None
        del self._uses[key]
        self._remember(key, size)
        return key

    def _leave_main(self) -> str | None:
        key, size = self._main.pop()
        uses = self._uses[key]
        if uses:
            self._uses[key] = uses - 1
            self._main.push(key, size)
            return None
        del self._uses[key]
        return key

    def _remember(self, key: str, size: int) -> None:
        ghost = self._ghost
        ghost.push(key, size)
        while len(ghost) > self._max_entries or ghost.bytes > self.max_bytes:
            ghost.pop()
