"""A tier that may fail without anybody noticing but its operator: each error is a miss, or nothing done."""

from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from typing import Protocol, TypeVar, runtime_checkable

from proxy.deadline import Deadline
from proxy.entry import Entry, Select
from proxy.errors import StoreError
from proxy.store import Glances, Heads, Store

FIRST_PAUSE = 0.25  # seconds without another try after a failure; doubled by each failed try
LONGEST_PAUSE = 30.0

T = TypeVar("T")


class Health(StrEnum):
    """What became of the last tries."""

    READY = "ready"
    FAILED = "failed"


OnChange = Callable[[Health, str], None]


@runtime_checkable
class Sweeps(Protocol):
    """A store that reclaims what is dead only when asked."""

    async def sweep(self) -> int:
        """Remove what is past its `keep_until`; how many entries went."""
        ...


class Pace:
    """Whether to try now: always while all is well; after a failure once per pause, and only one try at a time."""

    __slots__ = ("_failures", "_trying", "_until")

    def __init__(self) -> None:
        self._failures = 0
        self._trying = False
        self._until = 0.0

    @property
    def well(self) -> bool:
        return self._failures == 0

    def is_due(self, now: float) -> bool:
        """As `may_try`, but nobody tries."""
        return self.well or now >= self._until

    def may_try(self, now: float) -> bool:
        if self.well:
            return True
        if now < self._until:
            return False
        self._trying = True
        self._until = now + self._pause()  # for the others; this try may never come back
        return True

    def worked(self) -> None:
        self._failures = 0
        self._trying = False

    def failed(self, now: float) -> None:
        """Of many that failed together, one counts."""
        if self.well or self._trying:
            self._failures += 1
            self._trying = False
            self._until = now + self._pause()

    def _pause(self) -> float:
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 16))


class Unpaced(Pace):
    """For a store that knows by itself when it is not worth asking, and then refuses at once."""

    __slots__ = ()

    def is_due(self, now: float) -> bool:
        return True

    def may_try(self, now: float) -> bool:
        return True


class Guarded:
    """A Store that never raises. Reads and writes are paced apart, so that a full disk still gives hits.

    `on_change` hears of each change between ready and failed, once, with the error's text; `errors` counts all.
    `read_patience` and `write_patience`: seconds after which a get, or a put or delete, counts as failed; None where
    the store itself waits no longer than it may. `clock` is monotonic. Deletes and clears are tried at any time: what
    is purged has to go.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        on_change: OnChange,
        *,
        clock: Callable[[], float],
        read_patience: float | None = 0.25,
        write_patience: float = 30.0,
        pace: Callable[[], Pace] = Pace,
    ) -> None:
        self.name = name
        self.errors = 0
        self.health = Health.READY
        self.reason = ""
        self._store = store
        self._on_change = on_change
        self._clock = clock
        self._reading = None if read_patience is None else Deadline(read_patience)
        self._writing = Deadline(write_patience)
        self._reads = pace()
        self._writes = pace()

    @property
    def reads_well(self) -> bool:
        """Whether the last read gave no trouble."""
        return self._reads.well

    async def get(self, hash: str, select: Select) -> Entry | None:
        if not self._reads.may_try(self._clock()):
            return None
        return await self._attempt(self._reads, lambda: self._store.get(hash, select), None, self._reading)

    async def glance(self, hash: str, select: Select) -> Entry | None:
        """As `get`, but no trouble is noted, and nothing else either; a store that knows no such reading is asked as
        ever. StoreError in words where `get` would have nothing because of trouble."""
        if not self._reads.is_due(self._clock()):
            raise StoreError(f"not asked: {self.reason}")
        read = self._store.glance if isinstance(self._store, Glances) else self._store.get
        try:
            if self._reading is None:
                return await read(hash, select)
            with self._reading.wait():
                return await read(hash, select)
        except Exception as error:
            raise StoreError(_said(error)) from error

    async def heads(self) -> AsyncIterator[Entry]:
        """As `scan`, of a store that can be gone through without a trace; nothing of another, or of one in trouble."""
        if isinstance(self._store, Heads) and self._reads.well:
            async for entry in self._store.heads():
                yield entry

    async def put(self, entry: Entry) -> bool:
        if not self._writes.may_try(self._clock()):
            return False
        return await self._attempt(self._writes, lambda: self._store.put(entry), False, self._writing)

    async def delete(self, key: str) -> int:
        return await self._attempt(self._writes, lambda: self._store.delete(key), 0, self._writing)

    async def scan(self) -> AsyncIterator[Entry]:
        if not self._reads.may_try(self._clock()):
            return
        try:
            async for entry in self._store.scan():
                yield entry
        except Exception as error:
            self._failed(self._reads, error)
        else:
            self._worked(self._reads)

    async def clear(self) -> int:
        return await self._attempt(self._writes, lambda: self._store.clear(), 0, None)

    async def sweep(self) -> int:
        """As the store's own, when it has one."""
        store = self._store
        if not isinstance(store, Sweeps):
            return 0
        return await self._attempt(self._writes, lambda: store.sweep(), 0, None)

    async def close(self) -> None:
        await self._attempt(self._writes, lambda: self._store.close(), None, None)

    async def _attempt(
        self, pace: Pace, work: Callable[[], Awaitable[T]], otherwise: T, deadline: Deadline | None
    ) -> T:
        try:
            if deadline is None:
                result = await work()
            else:
                with deadline.wait():
                    result = await work()
        except Exception as error:
            self._failed(pace, error)
            return otherwise
        self._worked(pace)
        return result

    def _failed(self, pace: Pace, error: Exception) -> None:
        self.errors += 1
        pace.failed(self._clock())
        self._become(Health.FAILED, _said(error))

    def _worked(self, pace: Pace) -> None:
        pace.worked()
        if self._reads.well and self._writes.well:
            self._become(Health.READY, "")

    def _become(self, health: Health, reason: str) -> None:
        if health is not self.health:
            self.health, self.reason = health, reason
            self._on_change(health, reason)


def _said(error: Exception) -> str:
    """What went wrong, in words."""
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
