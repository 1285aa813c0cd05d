"""One fetch of an answer at a time in all instances: who takes the lease fetches, the others wait until it is over.

A lease only saves work: where Redis cannot say, everybody fetches by himself. What keeps truth is the fence that comes
with it, a number on Redis's own clock (microseconds) above those of all records of the answer that lie there: a record
never replaces one with a higher fence, so whoever was thought dead and writes late changes nothing. As a lease expires
by that same clock, the next one's fence is higher, also where the clock was set back meanwhile.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_hex
from typing import Any

from proxy.redis.errors import RedisError, Refused
from proxy.redis.keys import Names
from proxy.redis.lease_lua import LeaseLua
from proxy.redis.server import Server
from proxy.redis.waking import Waking
from proxy.tasks import end

MAX_OWED = 1000  # ends of leases that are kept for Redis while it is away
TRIES_EVERY = 1.0  # seconds between two tries to tell it


@dataclass(frozen=True, slots=True)
class Known:
    """Nobody fetches, and waiting leads nowhere: this is what the last who did learnt."""

    learnt: str


@dataclass(slots=True, eq=False)
class Held:
    """The lease is ours until it is released, which has to be done. `seen`: the highest fence of what is stored
    already, 0 for nothing. `lost`: it turned out not to be ours any more."""

    fence: int
    seen: int
    name: str
    token: str
    lost: bool = False
    _end: Callable[["Held", str], Awaitable[None]] = field(kw_only=True)

    async def release(self, learnt: str = "") -> None:
        """Let the others have it, or tell them what was learnt, for a while. Never raises; idempotent."""
        await self._end(self, learnt)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another has it."""

    name: str
    value: str
    _lua: LeaseLua
    _waking: Waking
    _pauses: tuple[float, float]

    async def over(self, seconds: float) -> None:
        """Wait until it was released or expired, or Redis cannot say, `seconds` at most. Never raises."""
        with suppress(TimeoutError, RedisError), self._waking.ear(self.name) as ear:
            async with asyncio.timeout(seconds):
                for pause in _growing(*self._pauses):
                    if not await self._lua.stands(self.name, self.value):
                        return
                    await ear.listen(pause)
                    if ear.landed:
                        return


Taken = Held | Elsewhere | Known | None


class Leases:
    """The leases that this process holds and waits for. A lease lasts `seconds` and is renewed every third of them;
    what was learnt lasts `uncacheable`. `pauses`: seconds between looks at another's lease, at first and at last, where
    no message comes.
    """

    def __init__(
        self,
        server: Server,
        names: Names,
        *,
        instance: str,
        seconds: float = 10.0,
        uncacheable: float = 10.0,
        pauses: tuple[float, float] = (0.05, 1.0),
    ) -> None:
        self._server = server
        self._instance = instance
        self._seconds = seconds
        self._pauses = pauses
        self._lua = LeaseLua(server, names, seconds, uncacheable)
        self._waking = Waking(server, names.landed)
        self._held: set[Held] = set()
        self._owed: set[asyncio.Task[None]] = set()
        self._forsaken: set[str] = set()  # tokens of ours under which nobody fetches, whatever Redis says
        self._renewing: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def start(self) -> None:
        """Renew what will be held; needs a running loop."""
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(), name="redis leases")

    async def close(self) -> None:
        """Give back what is held, as far as Redis answers at once; idempotent."""
        self._closed = True
        await asyncio.gather(*(held.release() for held in self._held))
        tasks = [*self._owed, *([self._renewing] if self._renewing is not None else [])]
        await end(tasks)
        await self._waking.close()

    def stir(self) -> None:
        """Redis is lost, or came back: whoever waits for it looks now."""
        self._waking.stir()

    async def take(self, hash: str, company: str = "") -> Taken:
        """Take the lease of this answer, for those in this company (who may share a fetch). None: Redis cannot say,
        so it is up to the caller. Never raises."""
        if self._closed or not self._server.writable:
            return None
        name = _name(hash, company)
        token = f"{self._instance}:{token_hex(8)}"
        try:
            what, word, seen = await self._lua.take(name, token)
        except Refused:
            return None
        except BaseException as error:  # Redis may have obeyed, or do so while the take is not late
            self._owe(token, self._untake(name, token))
            if isinstance(error, RedisError):
                return None
            raise
        match what:
            case "fence":
                held = Held(int(word), seen, name, token, _end=self._end)
                self._held.add(held)
                return held
            case "held" if word[1:] in self._forsaken:
                return None
            case "held":
                return Elsewhere(name, word, self._lua, self._waking, self._pauses)
            case "learnt":
                return Known(word)
            case _:
                return None

    async def look(self, hash: str, company: str = "") -> Known | bool:
        """Whether another process has the lease now, or what the last who had it learnt; nothing changes. False too
        where Redis cannot say. Never raises."""
        try:
            value = await self._lua.look(_name(hash, company))
        except RedisError:
            return False
        if value.startswith("l"):
            return Known(value[1:])
        return value.startswith("h") and value[1:] not in {*self._forsaken, *(held.token for held in self._held)}

    # -- holding ---------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / 3)
            await asyncio.gather(*(self._renew_one(held) for held in self._held))

    async def _renew_one(self, held: Held) -> None:
        with suppress(RedisError):  # there are two more tries before it expires
            if not await self._lua.renew(held.name, held.token) and held in self._held:
                self._held.discard(held)
                held.lost = True

    async def _end(self, held: Held, learnt: str) -> None:
        if held not in self._held:
            return
        self._held.discard(held)
        try:
            await self._lua.end(held.name, held.token, learnt)
        except BaseException as error:
            self._owe(held.token, self._tell(held.name, held.token, learnt))
            if not isinstance(error, RedisError):
                raise

    def _owe(self, token: str, telling: Coroutine[Any, Any, None]) -> None:
        """So that nobody waits for a lease that has no holder. Past the bound it expires, as it would anyway."""
        if self._closed or len(self._owed) >= MAX_OWED:
            telling.close()
            return
        task = asyncio.create_task(telling)
        self._owed.add(task)
        self._forsaken.add(token)
        task.add_done_callback(self._owed.discard)
        task.add_done_callback(lambda _: self._forsaken.discard(token))

    async def _untake(self, name: str, token: str) -> None:
        """Give back what was taken, should it have been; and once more when it cannot happen any more."""
        with suppress(RedisError):
            await self._lua.end(name, token, "")
        await asyncio.sleep(self._lua.late)
        await self._tell(name, token, "")

    async def _tell(self, name: str, token: str, learnt: str) -> None:
        """Tell Redis that a lease is over, unless it expires first."""
        for _ in range(math.ceil(self._seconds / TRIES_EVERY)):
            with suppress(RedisError):
                await self._lua.end(name, token, learnt)
                return
            await asyncio.sleep(TRIES_EVERY)


def _name(hash: str, company: str) -> str:
    return f"{hash}.{sha256(company.encode()).hexdigest()[:16]}" if company else hash


def _growing(first: float, last: float) -> Iterator[float]:
    """Pauses that double, with jitter: many wait for the same."""
    pause = first
    while True:
        yield pause * random.uniform(0.75, 1.25)  # noqa: S311
        pause = min(2 * pause, last)
