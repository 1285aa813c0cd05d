"""Reading the stream: one connection that waits for records, and the proof that there is nothing more to read.

Linked means: all that the stream held at a moment less than LEASE ago is applied here. A connection that breaks ends
that at once, one that hangs when the proof has aged.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from proxy.invalidation.chain import Chain, Fit, Record
from proxy.invalidation.stream import Look, Stream
from proxy.redis.breaker import pause
from proxy.redis.errors import RedisError

LEASE = 5.0  # seconds that a proof of being up to date holds
BLIND = 30.0  # seconds without a link after which a strict instance trusts its own tiers no more
LONGEST = 1.0  # seconds between tries to read again
DOUBT = 0.01  # before another look at a stream that does not fit together


class Ahead(NamedTuple):
    """A record that was there at `at`, and is not read yet."""

    number: int
    at: float


class Proof(NamedTuple):
    """`until`: when the last proof that nothing is missing here is too old, 0 for none; `unlinked`: since when there
    was none, the last time. Both in monotonic seconds."""

    until: float
    unlinked: float

    def blind(self, now: float) -> bool:
        """Whether that was too long ago for a strict instance to trust its own tiers."""
        return now >= self.until and now - max(self.unlinked, self.until) >= BLIND


class Link:
    """`chain` is where we stand; nobody else changes it. `clock` is monotonic, in seconds.

    `announce` shows that we live, before we read: what others have told without waiting for us is there to be read.
    `on_read` hears of records as they are applied, and whether they brought anything; `on_place` each time when all
    that there was has been read or is lost to us, with True when another epoch was entered; `on_change` whenever
    `linked` may have changed.
    """

    def __init__(
        self,
        chain: Chain,
        stream: Stream,
        *,
        announce: Callable[[], Awaitable[None]],
        on_read: Callable[[Sequence[Record], bool], None],
        on_place: Callable[[bool], None],
        on_change: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self.look: Look | None = None
        self.joined = False  # all there was has been read since we connected
        self.reason = "not asked yet"  # why it is not linked
        self.ahead: Ahead | None = None
        self._chain = chain
        self._stream = stream
        self._announce = announce
        self._on_read = on_read
        self._on_place = on_place
        self._on_change = on_change
        self._clock = clock
        self._proven = -math.inf  # when we were up to date
        self._doubt = False  # whether the stream is still what it was

    @property
    def linked(self) -> bool:
        return self.joined and self._clock() - self._proven < LEASE

    @property
    def proven_until(self) -> float:
        """When the last proof is, or was, too old."""
        return self._proven + LEASE

    async def keep(self) -> None:
        """Read for as long as we live."""
        tries = 0
        await self._stream.asked()
        while True:
            try:
                await self._follow()
            except RedisError as error:
                tries = 0 if self.joined else tries + 1
                self.part(error.reason)
            await asyncio.sleep(min(LONGEST, pause(tries)) if tries else 0)

    async def prove(self) -> None:
        """Look whether there is more than we have read. RedisError when that cannot be seen."""
        chain, began = self._chain, self._clock()
        epoch, last = chain.epoch, chain.last
        self.look = look = await self._stream.look()
        if not self.joined or chain.epoch != epoch:
            return
        if look.epoch != epoch or look.last < last:
            self._doubt = True
        elif look.last <= chain.last:
            self._proven, self.ahead = max(self._proven, began), None
        elif self.ahead is None:
            self.ahead = Ahead(look.last, began)
        self._on_change()

    def doubt(self) -> None:
        """Something does not fit: look again where we stand, within the time of one read."""
        self._doubt = True

    def part(self, reason: str) -> None:
        """Not linked until all has been read again."""
        self.joined, self._proven, self.ahead = False, -math.inf, None
        self.reason = reason
        self._on_change()

    async def _follow(self) -> None:
        """Read until something breaks: a RedisError."""
        tail = self._stream.tail()
        try:
            await self._announce()
            await self._place()
            while True:
                records = await tail.read(self._chain.last, wait=self.joined)
                await self._take(records)
                if self._doubt:
                    await asyncio.sleep(DOUBT)
                if self._doubt or not (records or self.joined):
                    await self._place()
        finally:
            await tail.close()

    async def _place(self) -> None:
        """Find out where we stand: at the end of the stream, before it, or in another one."""
        chain, began = self._chain, self._clock()
        self.look = look = await self._stream.look()
        if (look.epoch, look.last) < (chain.epoch, chain.last) or look.epoch == 0:  # lost, or put back
            await self._begin(look.epoch)
            self.look = look = await self._stream.look()
        self._doubt = False
        if look.epoch != chain.epoch:
            if chain.epoch:
                self.part("the stream was begun anew")
            chain.enter(look.epoch)
            self._on_place(True)
        elif look.last == chain.last:
            chain.settled()
            self.joined, self._proven, self.ahead = True, began, None
            self._on_place(False)
            self._on_change()

    async def _begin(self, over: int) -> None:
        """Begin a new epoch, unless another instance has done so since `over`."""
        chain = self._chain
        self.part("the stream was lost")
        await self._stream.begin(over, chain.last, chain.seed())

    async def _take(self, records: Sequence[Record]) -> None:
        """Apply what follows; look into what does not."""
        chain, taken, news = self._chain, 0, False
        for record in records:
            fit = chain.fit(record)
            if fit is Fit.HOLE and await self._stream.first() <= chain.last:
                fit = Fit.BACK
            if fit is Fit.BACK or record.epoch == 0:
                await self._begin(chain.epoch)
            if fit in (Fit.BACK, Fit.OTHER):
                self._doubt = True
                break
            if fit is Fit.HOLE:
                chain.skip(record.prior)
                self._on_place(False)
            news = chain.take(record) or news
            taken += 1
        if taken:
            self._on_read(records[:taken], news)
            if self.ahead is not None and chain.last >= self.ahead.number:
                self._proven, self.ahead = self.ahead.at, None
            self._on_change()
