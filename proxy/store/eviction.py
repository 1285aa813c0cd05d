"""Three ways to choose who leaves a full tier, each bounded by entries and by bytes.

`s3fifo` is the default in memory: one pass over many keys cannot wash out what is used again, and a hit only counts
(Yang, Zhang, Qiu, Yue, Vinayak: FIFO queues are all you need for cache eviction, SOSP 2023), here weighed by bytes.
"""

from itertools import islice
from typing import Generic, Literal, TypeVar

from proxy.store.shelves import Eviction, Node, Shelved

Name = Literal["s3fifo", "lru", "fifo"]
T = TypeVar("T", bound=Shelved)


def policy(name: Name, max_entries: int, max_bytes: int) -> Eviction[T]:
    """The one of that name, with its bounds."""
    if name == "s3fifo":
        return S3Fifo(max_entries, max_bytes)
    return Lru(max_entries, max_bytes) if name == "lru" else Fifo(max_entries, max_bytes)


class Queue(Generic[T]):
    """Things in order, linked through themselves: whoever leaves from the middle costs no more than the first."""

    __slots__ = ("_ends", "bytes", "length")

    def __init__(self) -> None:
        self._ends = Node()
        self._ends.after = self._ends.before = self._ends
        self.length = 0  # to be read, as `bytes` is: len() would cost a call for each look
        self.bytes = 0

    @property
    def first(self) -> T:
        """There is one."""
        item: T = self._ends.after
        return item

    def push(self, item: T) -> None:
        """At the end."""
        self._take(item, self._ends.before)

    def push_first(self, item: T) -> None:
        self._take(item, self._ends)

    def replace(self, old: T, item: T) -> None:
        self._take(item, old)
        self.remove(old)

    def move_to_end(self, item: T) -> None:
        item.before.after, item.after.before = item.after, item.before
        _link(item, self._ends.before)

    def remove(self, item: T) -> None:
        item.before.after, item.after.before = item.after, item.before
        del item.before, item.after, item.queue  # whoever holds it longer holds none of its neighbours
        self.length -= 1
        self.bytes -= item.size

    def _take(self, item: T, before: T | Node) -> None:
        _link(item, before)
        item.queue = self
        self.length += 1
        self.bytes += item.size


def _link(item: Shelved, before: Shelved | Node) -> None:
    item.before, item.after = before, before.after
    before.after = item.after.before = item


class Fifo(Generic[T]):
    """First in, first out; an entry that is replaced counts as new."""

    __slots__ = ("_max_entries", "_queue", "max_bytes")
    only_counts = True

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self.max_bytes = max_bytes
        self._queue: Queue[T] = Queue()

    @property
    def bytes(self) -> int:
        return self._queue.bytes

    def __len__(self) -> int:
        return self._queue.length

    def add(self, item: T) -> None:
        item.uses = 0
        self._queue.push(item)

    def replace(self, old: T, item: T) -> None:
        self._queue.remove(old)
        self.add(item)

    def restore(self, item: T) -> None:
        item.uses = 0
        self._queue.push_first(item)

    def touch(self, item: T) -> None:
        item.uses += 1

    def remove(self, item: T) -> None:
        self._queue.remove(item)

    def evict(self) -> T | None:
        if self._queue.length <= self._max_entries and self._queue.bytes <= self.max_bytes:
            return None
        item = self._queue.first
        self._queue.remove(item)
        return item


class Lru(Fifo[T]):
    """The least recently used leaves first."""

    __slots__ = ()
    only_counts = False

    def touch(self, item: T) -> None:
        item.uses += 1
        self._queue.move_to_end(item)


class S3Fifo(Generic[T]):
    """New keys wait in a small queue (10%); only those used more than once there go on to the main one.

    A key that left the small queue is remembered without its value, and comes back straight into main. Main gives a
    key one more round for each use, three at most. A hit moves nothing: uses that were not spent yet are counted when
    it is a thing's turn to leave.
    """

    __slots__ = ("_ghost", "_main", "_max_entries", "_small", "max_bytes")
    only_counts = True

    SMALL_SHARE = 10  # of both bounds, one in ten
    MOST_USES = 3

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self.max_bytes = max_bytes
        self._small: Queue[T] = Queue()
        self._main: Queue[T] = Queue()
        self._ghost = Ghost()

    @property
    def bytes(self) -> int:
        return self._small.bytes + self._main.bytes

    def __len__(self) -> int:
        return self._small.length + self._main.length

    def add(self, item: T) -> None:
        item.uses = item.spent = 0
        (self._main if self._ghost.forget(item.key) else self._small).push(item)

    def replace(self, old: T, item: T) -> None:
        item.uses, item.spent = 0, -self._unspent(old)
        old.queue.replace(old, item)

    def restore(self, item: T) -> None:
        item.uses = item.spent = 0
        self._main.push_first(item)

    def touch(self, item: T) -> None:
        item.uses += 1

    def remove(self, item: T) -> None:
        item.queue.remove(item)

    def evict(self) -> T | None:
        small, main = self._small, self._main
        while small.length + main.length > self._max_entries or small.bytes + main.bytes > self.max_bytes:
            item = self._leave_small() if self._small_is_full() or not main.length else self._leave_main()
            if item is not None:
                return item
        return None

    def _small_is_full(self) -> bool:
        small, share = self._small, self.SMALL_SHARE
        return small.length * share > self._max_entries or small.bytes * share > self.max_bytes

    def _leave_small(self) -> T | None:
        item = self._small.first
        self._small.remove(item)
        if self._unspent(item) > 1:
            item.spent = item.uses
            self._main.push(item)
            return None
        self._ghost.remember(item.key, len(self))
        return item

    def _leave_main(self) -> T | None:
        item = self._main.first
        unspent = self._unspent(item)
        if unspent:
            item.spent = item.uses - (unspent - 1)
            self._main.move_to_end(item)
            return None
        self._main.remove(item)
        return item

    def _unspent(self, item: T) -> int:
        return min(item.uses - item.spent, self.MOST_USES)


class Ghost:
    """Keys that left lately, by numbers: rarely have two keys the same, and then one is thought to have been here."""

    __slots__ = ("_numbers",)

    SLACK = 16  # of so many one is forgotten too early: a dict is slow to find its first key after deletions

    def __init__(self) -> None:
        self._numbers: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def remember(self, key: str, most: int) -> None:
        """It leaves; of all that left at most `most` are to be remembered."""
        numbers = self._numbers
        numbers[hash(key)] = None
        beyond = len(numbers) - most
        if beyond > 0:
            for number in list(islice(numbers, beyond + most // self.SLACK)):
                del numbers[number]

    def forget(self, key: str) -> bool:
        """It comes back; whether it was known."""
        return self._numbers.pop(hash(key), True) is None
