"""The one Redis client of a process: whoever asks waits no longer than the request's budget, and only a task of its own
knocks at a server that does not answer."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from hashlib import sha1
from typing import Any

from redis.asyncio import RedisCluster

from proxy.redis.address import Address, Mode
from proxy.redis.breaker import Breaker, pause
from proxy.redis.budget import spending
from proxy.redis.dial import Client, Patience, dial, hang_up
from proxy.redis.errors import Away, RedisError, Refused, Slow, translated
from proxy.redis.lag import Lag, heard
from proxy.redis.pipelines import Pipelines
from proxy.redis.reach import reach
from proxy.redis.reads import Hearing, Reads, Told
from proxy.redis.wire import Word, Words, packed
from proxy.tasks import end

LATENCY_WEIGHT = 0.1


class State(StrEnum):
    """What Redis is to us. `degraded`: it answers, but takes no writes."""

    CONNECTING = "connecting"
    READY = "ready"
    DEGRADED = "degraded"
    CLOSED = "closed"


class Script:
    """Lua that Redis runs in one go."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = sha1(source.encode()).hexdigest()  # noqa: S324 that is how Redis names it


class Server:
    """Redis as this process sees it. Every call raises RedisError and nothing else.

    `on_change` hears each change of state once, with the reason. `clock` is monotonic.
    """

    def __init__(
        self,
        address: Address,
        patience: Patience,
        on_change: Callable[[State, str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self.patience = patience
        self.mode = address.mode  # what it turned out to be, once it is not auto
        self.state = State.CONNECTING
        self.reason = "not asked yet"
        self.latency = 0.0  # seconds that an answer takes, a moving average
        self.errors = 0
        self._on_change = on_change
        self._clock = clock
        self._breaker = Breaker(clock)
        self._client: Client | None = None
        self._reads: Reads | None = None  # no cluster has one
        self._lag = Lag(self._waits, patience.connect + patience.read)
        self._hearing = Hearing(self._worked, self._failed, self._refused)
        self._pipelines = Pipelines(lambda: self.client, patience, self._hearing, clock)
        self._keeper: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()  # the first try has ended, either way
        self._lost = asyncio.Event()
        self._writes_from = 0.0  # no write before this time
        self._refusals = 0
        self._skew: float | None = None  # seconds from our clock to the server's

    # -- life ------------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether it is worth asking."""
        return self.state in (State.READY, State.DEGRADED)

    @property
    def writable(self) -> bool:
        """Whether it is worth writing: after a refusal one write in a while finds out."""
        return self.usable and self._clock() >= self._writes_from

    def start(self) -> None:
        """Connect, and go on trying; needs a running loop."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="redis")

    async def looked(self, seconds: float) -> bool:
        """Wait until the first try has ended, `seconds` at most; whether Redis can be used."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._looked.wait()
        return self.usable

    async def close(self) -> None:
        """End what is under way; idempotent."""
        if self._keeper is not None:
            await end([self._keeper])
        await self._pipelines.close()
        await self._drop_client()
        if self.state is not State.CLOSED:
            self.state, self.reason = State.CLOSED, "we are closing"

    def now(self) -> int | None:
        """Microseconds by the server's clock, as near as we know it; None before it was ever reached."""
        return None if self._skew is None else int((self._clock() + self._skew) * 1e6)

    def heard(self, seconds: float) -> None:
        """The server's clock said `seconds` just now."""
        self._skew = seconds - self._clock()

    # -- asking ----------------------------------------------------------------------------------------------------

    async def call(self, *words: Word, write: bool = False) -> Any:
        """One command. Away within the budget at the latest, Refused for an error reply."""
        (answer,) = await self.calls(words, write=write)
        if isinstance(answer, Refused):
            raise answer
        if write:
            self._written()
        return answer

    async def calls(self, *commands: Words, write: bool = False) -> list[Any]:
        """Several, waited for together: the answers in order, a Refused for each error reply. Away as `call`."""
        if not self.usable:
            raise Away(self.reason)
        if write and not self.writable:
            raise Refused("READONLY", self.reason)
        try:
            with spending(self.patience.connect + self.patience.read) as seconds:
                if not seconds:
                    raise TimeoutError
                self._lag.watch()
                return await heard([self._pipelines.ask(words) for words in commands], seconds)
        except TimeoutError:
            raise Slow("no answer in time") from None

    async def read(self, *commands: Words) -> list[Any]:
        """As `calls`, of what changes nothing and is answered shortly: it goes out with what all others read, where
        there is no cluster. A hash comes as it is on the wire there, in a row."""
        if not self.usable:
            raise Away(self.reason)
        if self._reads is None:
            return await self.calls(*commands)
        try:
            with spending(self.patience.connect + self.patience.read) as seconds:
                if not seconds:
                    raise TimeoutError
                return await self._read(commands, seconds)
        except TimeoutError:
            raise Slow("no answer in time") from None

    async def _read(self, commands: Sequence[Words], seconds: float) -> list[Any]:
        """TimeoutError when there is no answer in time."""
        answers: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def told(said: list[Any] | RedisError) -> None:
            if answers.done():  # who asked does not wait any more
                return
            if isinstance(said, RedisError):
                answers.set_exception(TimeoutError() if isinstance(said, Slow) else said)
                answers.exception()  # seen, should nobody wait
            else:
                answers.set_result(said)

        self.ask(packed(commands), len(commands), seconds, told)
        return await answers

    def ask(self, packed: bytes, count: int, seconds: float, told: Told) -> bool:
        """As `read`, told as soon as it is here, and within `seconds`. False where there is nobody to ask so."""
        if self._reads is None or not self.usable:
            return False
        self._reads.ask(packed, count, seconds, told)
        self._lag.watch()
        return True

    async def script(self, script: Script, keys: Sequence[str], *words: Word, write: bool = True) -> Any:
        """Run a script whose keys share a slot. It is sent whole only where the server does not know it yet."""
        try:
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *words, write=write)
        except Refused as error:
            if error.word != "NOSCRIPT":
                raise
            return await self.call("EVAL", script.source, len(keys), *keys, *words, write=write)

    def apart(self, patience: Patience) -> Client:
        """A client of the caller's own, for reads that block, from primaries; to be closed by `hang_up`. Away while
        there is none."""
        if not self.usable:
            raise Away(self.reason)
        return dial(replace(self.address, replicas=False), self.mode, patience)

    def masters(self) -> Sequence[Client | Any]:
        """What a SCAN has to walk: each primary. Away while there is none."""
        client = self._client
        if client is None or not self.usable:
            raise Away(self.reason)
        return list(client.get_primaries()) if isinstance(client, RedisCluster) else [client]

    @property
    def client(self) -> Client:
        """For what no pipeline serves, such as SCAN and INFO; errors are `translated` by who uses it."""
        if self._client is None or not self.usable:
            raise Away(self.reason)
        return self._client

    def _waits(self) -> bool:
        return self._pipelines.waited_for or (self._reads is not None and self._reads.waited_for)

    # -- standing --------------------------------------------------------------------------------------------------

    def _worked(self, seconds: float) -> None:
        self._breaker.worked()
        self.latency += LATENCY_WEIGHT * (seconds - self.latency) if self.latency else seconds

    def _failed(self, error: RedisError) -> None:
        self.errors += 1
        if isinstance(error, Slow) and self._lag.lately:
            return
        if self.usable and self._breaker.failed(timeout=isinstance(error, Slow)):
            self._become(State.CLOSED, error.reason)
            self._lost.set()

    def _refused(self, error: Refused) -> None:
        if error.word == "NOSCRIPT":  # how it says that it wants the script whole
            return
        self.errors += 1
        if error.word == "MOVED" and self.mode is not Mode.CLUSTER:
            self._become(State.CLOSED, "it is a cluster")
            self._lost.set()
        elif error.for_writes and self.usable:
            if self.writable:  # else it was sent before the pause began, and says nothing new
                self._refusals += 1
                self._writes_from = self._clock() + pause(self._refusals)
            self._become(State.DEGRADED, error.reason)
            if error.word == "READONLY":  # who was the primary is none any more: the name may mean another by now
                self._lost.set()

    def _written(self) -> None:
        if self.state is State.DEGRADED:
            self._refusals, self._writes_from = 0, 0.0
            self._become(State.READY, "")

    def _become(self, state: State, reason: str) -> None:
        self.reason = reason
        if state is not self.state:
            self.state = state
            self._on_change(state, reason)

    # -- keeping ---------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Reach it, wait until it is lost, and again."""
        tries = 0
        while True:
            self._lost.clear()
            try:
                async with asyncio.timeout(4 * (self.patience.connect + self.patience.read)):
                    self._client, self.mode, seconds = await reach(self.address, self.patience)
            except Exception as error:
                tries += 1
                self._become(State.CLOSED, translated(error).reason)
                self._looked.set()
                await self._drop_client()
                await asyncio.sleep(pause(tries))
                continue
            tries = 0
            self._reads = self._reading(self._client)
            self.heard(seconds)
            self._breaker.worked()
            if self.state is not State.DEGRADED:
                self._become(State.READY, "")
            self._looked.set()
            await self._lost.wait()
            await self._drop_client()
            if not self.usable:
                await asyncio.sleep(pause(1))

    def _reading(self, client: Client) -> Reads | None:
        if isinstance(client, RedisCluster):  # whose nodes, slots and redirections are the library's
            return None
        return Reads(client.connection_pool, self.patience.connect + self.patience.read, self._hearing)

    async def _drop_client(self) -> None:
        reads, self._reads = self._reads, None
        if reads is not None:
            await reads.close(Away("we are closing" if self.usable else self.reason))
        client, self._client = self._client, None
        if client is not None:
            await hang_up(client)
