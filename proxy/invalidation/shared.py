"""The journal that instances share: the local log, and its link to the stream in Redis.

What is appended here holds here at once, and is sent as soon as it can be. Whoever is not linked goes on with its own
journal; it neither trusts what lies in Redis nor puts anything there.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from proxy.entry import Entry, Position
from proxy.invalidation.chain import Chain, Record
from proxy.invalidation.journal import Journal
from proxy.invalidation.link import Link, Proof
from proxy.invalidation.local import LocalLog
from proxy.invalidation.records import Appended, Purge, Spread
from proxy.invalidation.sending import Sender
from proxy.invalidation.spread import Numbers, Standing
from proxy.invalidation.stream import Stream
from proxy.redis.errors import RedisError
from proxy.redis.keys import Names
from proxy.redis.server import Server
from proxy.tasks import end

BEAT = 1.0  # seconds between signs of life
POLLS = (0.002, 0.005, 0.01, 0.02, 0.05)  # seconds between looks at what the others have applied; the last for good


class Bell:
    """Wakes all who wait."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Until the next ring, or for so long."""
        event = self._event
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


class SharedLog:
    """`log` is an opened local log that `shares`; `close` closes it. `records` bounds the stream. `on_link` hears when
    the link is there and when it is not, with the reason. `wall` is wall time, `clock` monotonic, both in seconds."""

    def __init__(
        self,
        log: LocalLog,
        server: Server,
        names: Names,
        *,
        records: int = 100_000,
        strict: bool = False,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._server = server
        self._strict = strict
        self.on_link: Callable[[bool, str], None] = lambda linked, reason: None
        self.on_proof: Callable[[], None] = lambda: None
        self._clock = clock
        self._stream = Stream(server, names, records)
        self._chain = Chain(log, wall, lambda: secrets.token_hex(8))
        self._link = Link(
            self._chain,
            self._stream,
            announce=self._mark,
            on_read=self._was_read,
            on_place=self._placed,
            on_change=self._changed,
            clock=clock,
        )
        self._numbers = Numbers()
        self._process = secrets.token_hex(8)
        self._marked = False
        self._sender = Sender(log, self._chain, self._stream, self._link, on_sent=self._was_sent)
        self._unlinked = clock()  # since when, while it is so
        self._was_linked = False
        self._tasks: list[asyncio.Task[None]] = []
        self._beat, self._asked = asyncio.Event(), asyncio.Event()
        self._moved = Bell()
        self._waiting = 0
        self._polls = 0

    # -- as a log and what it says of entries ----------------------------------------------------------------------

    @property
    def journal(self) -> Journal:
        return self._log.journal

    @property
    def instance(self) -> str:
        return self._log.instance

    @property
    def durable(self) -> bool:
        return self._log.durable

    @property
    def head(self) -> int:
        return self._log.journal.head

    def position(self) -> Position:
        return self._log.journal.position()

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        return self._log.journal.ended(entry, checked)

    def append(self, purge: Purge) -> Coroutine[Any, Any, bool]:
        """As `LocalLog.append`; it is sent whether anybody waits or not."""
        kept = self._log.append(purge)
        self._numbers.made(purge.id)
        self._sender.owes()
        return kept

    async def apply(self, purge: Purge) -> Appended:
        """As `append`; the number at once, and awaited later what that gives."""
        kept = self.append(purge)
        return Appended(self.head, kept)

    # -- the link --------------------------------------------------------------------------------------------------

    @property
    def linked(self) -> bool:
        """Whether all that the others have told is applied here, as of some moments ago."""
        return self._link.linked

    @property
    def reason(self) -> str:
        """Why it is not linked."""
        return "" if self.linked else self._link.reason

    @property
    def proof(self) -> Proof:
        return Proof(self._link.proven_until if self._link.joined else 0.0, self._unlinked)

    @property
    def strict(self) -> bool:
        """Whether it is `blind` after a while without a link."""
        return self._strict

    @property
    def blind(self) -> bool:
        """Whether a strict instance was cut off for too long to trust its own tiers."""
        return self._strict and self.proof.blind(self._clock())

    @property
    def unsent(self) -> int:
        """How many purges the others have not been told."""
        return len(self._log.tie.unsent)

    def stamp(self) -> tuple[int, int] | None:
        """What an answer that goes to Redis now carries: the epoch of the stream, and the last record applied here.
        None while we are cut off."""
        return (self._chain.epoch, self._chain.last) if self.linked else None

    def local(self, epoch: int, number: int) -> Position | None:
        """The position here of an answer with that stamp; None: it cannot be known, or we are cut off."""
        if not self.linked:
            return None
        local = self._log.tie.local(epoch, number, self.head)
        return None if local is None else Position(self.journal.epoch, 0, local)

    def told(self, id: str) -> Spread:
        """What every live instance has made of a purge of ours, as far as we know now; those last known to live when
        we are cut off."""
        epoch = self._chain.epoch if self.linked else 0
        return self._numbers.spread(id, Standing(self.instance, epoch, self._link.look))

    async def spread(self, id: str, seconds: float = 1.0) -> Spread:
        """As `told`, after so many seconds or when all have applied it; at once when nobody can be told."""
        until = self._clock() + seconds
        self._waiting += 1
        self._polls = 0
        self._asked.set()
        try:
            looked = False
            while (left := until - self._clock()) > 0 and not (looked and self.told(id).complete):
                if not self.linked or not (self._server.writable or self._numbers.number(id)):
                    break
                if self.told(id).complete:
                    looked = True  # somebody may have come since we looked; who comes later reads it first
                    with suppress(RedisError):
                        await self._link.prove()
                else:
                    await self._moved.wait(left)
            return self.told(id)
        finally:
            self._waiting -= 1

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Link, and go on trying; needs a running loop."""
        if not self._tasks:
            self._unlinked = self._clock()
            self._changed()
            loops = (self._link.keep, self._sender.keep, self._beat_on, self._poll_on)
            self._tasks = [asyncio.create_task(self._always(loop), name="journal link") for loop in loops]

    async def close(self) -> None:
        """End the link, of which nobody is told, and close the local log; what is unsent is sent when we are back."""
        self.on_link = lambda linked, reason: None
        tasks, self._tasks = self._tasks, []
        await end(tasks)
        if self.linked:
            with suppress(RedisError):  # who waits for us does so for some seconds
                await self._stream.leave(self.instance)
        if tasks:
            self._link.part("we are closing")
        await self._log.close()

    async def _always(self, loop: Callable[[], Awaitable[None]]) -> None:
        """What nobody foresaw ends the link, and not the attempts at it."""
        while True:
            try:
                await loop()
            except Exception as error:
                self._link.part(f"{type(error).__name__}: {error}")
            await asyncio.sleep(BEAT)

    # -- what the link tells ---------------------------------------------------------------------------------------

    def _was_read(self, records: Sequence[Record], news: bool) -> None:
        for record in records:
            if record.told is not None:
                self._numbers.told(record.told.id, record.number)
                self._sender.read_back(record.told.id)
        if news:
            self._beat.set()
        self._sender.owes()
        self._see_all_told()

    def _was_sent(self, numbers: Mapping[str, int]) -> None:
        for name, number in numbers.items():
            self._numbers.told(name, number)
        self._moved.ring()

    def _placed(self, entered: bool) -> None:
        self._sender.begin_again()
        if entered:
            self._numbers.epoch_began()
        self._sender.owes()
        self._beat.set()
        self._see_all_told()

    def _see_all_told(self) -> None:
        if self._link.joined and not self.unsent:
            self._numbers.all_told(self._chain.last)

    def _changed(self) -> None:
        """Tell a change of the link once, and each proof of it."""
        if changed := (linked := self.linked) is not self._was_linked:
            self._was_linked = linked
            if not linked:
                self._unlinked = self._clock()
                if self._link.joined:
                    self._link.reason = "no sign of life from Redis"
        self.on_proof()
        if changed:
            self.on_link(linked, self.reason)
        self._moved.ring()

    # -- signs of life ---------------------------------------------------------------------------------------------

    async def _beat_on(self) -> None:
        while True:
            with suppress(RedisError):
                await asyncio.gather(self._link.prove(), self._mark())
            self._changed()
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT):
                    await self._beat.wait()
            self._beat.clear()

    async def _mark(self) -> None:
        """Show how far we have read. A full or read-only Redis takes no mark, and can be read all the same."""
        with suppress(RedisError):
            chain = self._chain
            before = await self._stream.mark(self.instance, self._process, chain.epoch, chain.last)
            if self._marked and before not in ("", self._process):
                self._log.instance = secrets.token_hex(2)  # another one bears our name: a receipt must tell us apart
            self._marked = True

    async def _poll_on(self) -> None:
        """While somebody waits for others to apply a purge, look often; less so when it takes them long."""
        while True:
            if not self._waiting:
                self._asked.clear()
                await self._asked.wait()
            await asyncio.sleep(POLLS[min(self._polls, len(POLLS) - 1)])
            self._polls += 1
            with suppress(RedisError):
                await self._link.prove()
            self._moved.ring()
