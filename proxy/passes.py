"""One fetch of an answer at a time over all instances: who may fetch, and what the others learn of it.

Waiting for another instance is bounded, and where Redis cannot say who fetches, everybody does (fail open): a lease
saves work, the fence that comes with it keeps the order of what is stored.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import assert_never

from proxy.entry import Found
from proxy.reasons import Why
from proxy.redis.budget import one_budget
from proxy.redis.lease import Elsewhere, Held, Known, Leases

Look = Callable[[], Awaitable[Found | None]]


@dataclass(slots=True)
class Pass:
    """Leave to fetch. `fence`: microseconds, above those of all fetches that began before; `learnt`: why another
    instance could not keep the answer, not long ago."""

    fence: int
    learnt: Why | None = None
    _held: Held | None = None
    _max_object: int = 0
    _word: str = ""

    def tell(self, why: Why) -> None:
        """The answer is not going to be stored: the others need not wait for it, for a while."""
        self._word = why.word

    async def told_size(self, size: int) -> None:
        """The answer has so many bytes: too many for them to come by Redis, and the others may begin now."""
        if self._held is not None and size > self._max_object:
            self.tell(Why.MAX_SIZE)
            await self.end()

    async def end(self) -> None:
        """Let the others have it. Idempotent, never raises."""
        held, self._held = self._held, None
        if held is not None:
            with one_budget():
                await held.release(self._word)


class Passes:
    """Gives leave to fetch. Without `leases` everybody has it at once. `wait`: seconds that another instance's fetch
    is waited for; `max_object`: bytes of an answer that comes by Redis; `clock` is wall time; `now` gives microseconds
    on Redis's clock, None before it was reached."""

    def __init__(
        self,
        leases: Leases | None,
        clock: Callable[[], float],
        *,
        now: Callable[[], int | None] = lambda: None,
        wait: float = 30.0,
        max_object: int = 0,
    ) -> None:
        self._leases = leases
        self._now = now
        self._wait = wait
        self._max_object = max_object
        self._skew = clock() - time.monotonic()  # from here on a clock that is set does not reorder fetches

    def free(self, company: str) -> Pass | None:
        """Leave to fetch where nobody has to be asked for it; None: see `for_trip`."""
        return Pass(self.fence()) if self._leases is None or not company else None

    @asynccontextmanager
    async def for_trip(self, hash: str, company: str, known: int, look: Look) -> AsyncIterator[Pass | Found]:
        """Leave to fetch, or what another instance has fetched as `look` finds it. `company` are those who may share
        a fetch; "" asks nobody. `known`: the fence of the stored answer that is to be renewed, 0 for none."""
        leave = await self._leave(hash, company, known, look)
        try:
            yield leave
        finally:
            if isinstance(leave, Pass):
                await leave.end()

    async def look(self, hash: str, company: str) -> Why | bool:
        """Whether another process fetches for this company now, or why the last answer could not be kept; nothing
        changes."""
        if self._leases is None:
            return False
        with one_budget():
            found = await self._leases.look(hash, "" if company == hash else company)
        return _why(found.learnt) or False if isinstance(found, Known) else found

    async def _leave(self, hash: str, company: str, known: int, look: Look) -> Pass | Found:
        if self._leases is None or not company:
            return Pass(self.fence())
        until = time.monotonic() + self._wait
        while True:
            match await self._leases.take(hash, "" if company == hash else company):
                case Held() as held:
                    return await self._begun(held, known, look)
                case Known(learnt):
                    return Pass(self.fence(), _why(learnt))
                case None:
                    return Pass(self.fence())
                case Elsewhere() as other:
                    left = until - time.monotonic()
                    if left <= 0:
                        return Pass(self.fence())
                    await other.over(left)
                    with one_budget():
                        found = await look()
                    if found is not None:
                        return found
                case never:
                    assert_never(never)

    async def _begun(self, held: Held, known: int, look: Look) -> Pass | Found:
        """It is ours; but somebody may have stored it since we looked."""
        leave = Pass(held.fence, None, held, self._max_object)
        if held.seen <= known:
            return leave
        try:
            found = await look()
        except BaseException:
            await leave.end()
            raise
        if found is None:
            return leave
        await leave.end()
        return found

    def fence(self) -> int:
        """When a fetch begins that nobody gave a fence: by Redis's clock, or by ours as long as it is not known."""
        now = self._now()
        return int((time.monotonic() + self._skew) * 1e6) if now is None else now


def _why(learnt: str) -> Why | None:
    """The size is no reason here: it was too large for Redis, and may fit our tiers."""
    try:
        why = Why(learnt)
    except ValueError:
        return None
    return None if why is Why.MAX_SIZE else why
