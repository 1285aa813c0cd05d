"""What could not be put while Redis was away, to be put once it is back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice

from proxy.entry import Entry, Select
from proxy.errors import StoreError
from proxy.redis.errors import Away, Refused
from proxy.store import Glances, Store
from proxy.store.shelves import hash_of

MOST = 10_000  # keys that are remembered, the newest
PACE = 500.0  # entries a second, so that who comes back is not run over
BATCH = 10  # entries put together, in one pipeline
Find = Callable[[str], Awaitable[Entry | None]]


class Backlog:
    """A Store that notes the key of each entry which the store behind it could not take now, and raises all the same.

    Only keys are kept: `resync` puts what the other tiers hold under them by then. `pace` is how many entries it puts
    a second at most; `timer` is monotonic.
    """

    def __init__(
        self,
        store: Store,
        *,
        most: int = MOST,
        pace: float = PACE,
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._most = most
        self._pace = pace
        self._timer = timer
        self._sleep = sleep
        self._missing: dict[str, int] = {}  # key -> number of its note; the newest at the end
        self._notes = 0
        self._by_hash: dict[str, set[str]] = {}  # the same keys
        self._resyncing = False

    def __len__(self) -> int:
        return len(self._missing)

    async def get(self, hash: str, select: Select) -> Entry | None:
        return await self._store.get(hash, select)

    async def glance(self, hash: str, select: Select) -> Entry | None:
        """As `get`, and as traceless as the store behind can be."""
        store = self._store
        return await (store.glance if isinstance(store, Glances) else store.get)(hash, select)

    async def put(self, entry: Entry) -> bool:
        try:
            done = await self._store.put(entry)
        except StoreError as error:
            if _passes(error):
                self._note(entry.key)
            raise
        self._forget(entry.key)
        return done

    async def delete(self, key: str) -> int:
        for other in list(self._by_hash.get(key, ())) or [key]:
            self._forget(other)
        return await self._store.delete(key)

    def scan(self) -> AsyncIterator[Entry]:
        return self._store.scan()

    async def clear(self) -> int:
        noted = self._notes
        went = await self._store.clear()  # where this fails nothing is cleared, and what is missing stays so
        for key in [key for key, number in self._missing.items() if number <= noted]:
            self._forget(key)
        return went

    async def close(self) -> None:
        await self._store.close()

    async def resync(self, find: Find) -> int:
        """Put what is missing, newest first; how many entries went. `find` gives what another tier holds under a key:
        None when nothing good is there any more. Ends early, and keeps the rest, when the store cannot take it again.
        One at a time: 0 while another is under way."""
        if self._resyncing:
            return 0
        self._resyncing = True
        try:
            return await self._resync(find)
        finally:
            self._resyncing = False

    async def _resync(self, find: Find) -> int:
        went = 0
        due = self._timer()
        while self._missing:
            keys = list(islice(reversed(self._missing), BATCH))
            results = await asyncio.gather(*(self._push(key, find) for key in keys))
            went += sum(done is True for done in results)
            if None in results:
                break
            due += len(keys) / self._pace
            await self._sleep(max(0.0, due - self._timer()))
        return went

    async def _push(self, key: str, find: Find) -> bool | None:
        """Whether it is there now; None, and it stays noted, when the store cannot take it now."""
        noted = self._missing.get(key)
        if noted is None:  # it went from here in this very turn
            return False
        try:
            entry = await find(key)
            if (
                entry is not None and self._missing.get(key) != noted
            ):  # it was cleared meanwhile, or there is a newer one
                entry.body.close()
                return False
            done = entry is not None and await self._put_found(entry)
        except StoreError as error:
            if _passes(error):
                return None
            done = False
        if self._missing.get(key) == noted:  # else a newer one has been noted meanwhile
            self._forget(key)
        return done

    async def _put_found(self, entry: Entry) -> bool:
        try:
            return await self._store.put(entry)
        finally:
            entry.body.close()

    def _note(self, key: str) -> None:
        self._forget(key)
        self._notes += 1
        self._missing[key] = self._notes
        self._by_hash.setdefault(hash_of(key), set()).add(key)
        if len(self._missing) > self._most:
            self._forget(next(iter(self._missing)))

    def _forget(self, key: str) -> None:
        if self._missing.pop(key, None) is None:
            return
        keys = self._by_hash[hash_of(key)]
        keys.discard(key)
        if not keys:
            del self._by_hash[hash_of(key)]


def _passes(error: StoreError) -> bool:
    """Whether the trouble is the store's, and may pass; another try with the same entry makes sense then."""
    return isinstance(error, Away) or (isinstance(error, Refused) and error.for_writes)
