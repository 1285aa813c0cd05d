"""The one Redis client of a process: what is asked in one turn of the event loop goes out as one pipeline, and whoever
asks waits no longer than the request's budget. Only a task of its own knocks at a server that does not answer."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
from proxy.redis.reach import reach
from proxy.tasks import end

BATCH = 32  # commands of one pipeline: what one slow reply holds up
LARGE = 64 * 1024  # bytes of a command that goes alone
LATENCY_WEIGHT = 0.1
Word = str | bytes | int | float


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


@dataclass(slots=True)
class _Asked:
    words: tuple[Word, ...]
    answer: asyncio.Future[Any]


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
        self._queue: list[_Asked] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._lag = Lag(lambda: bool(self._sending), patience.connect + patience.read)
        self._pipelines = asyncio.Semaphore(patience.pool)
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
        await asyncio.gather(*self._sending, return_exceptions=True)
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

    async def calls(self, *commands: tuple[Word, ...], write: bool = False) -> list[Any]:
        """Several, waited for together: the answers in order, a Refused for each error reply. Away as `call`."""
        if not self.usable:
            raise Away(self.reason)
        if write and not self.writable:
            raise Refused("READONLY", self.reason)
        try:
            with spending(self.patience.connect + self.patience.read) as seconds:
                if not seconds:
                    raise TimeoutError
                return await heard([self._ask(words) for words in commands], seconds)
        except TimeoutError:
            raise Slow("no answer in time") from None

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

    def _ask(self, words: tuple[Word, ...]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        asked = _Asked(words, loop.create_future())
        if not self._queue:
            loop.call_soon(self._flush)
        self._queue.append(asked)
        return asked.answer

    # -- sending ---------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send what was asked in this turn of the loop; what is large goes alone, and holds up nobody."""
        queue, self._queue = self._queue, []
        small = [asked for asked in queue if not _large(asked.words)]
        batches = [small[start : start + BATCH] for start in range(0, len(small), BATCH)]
        for batch in (*batches, *([asked] for asked in queue if _large(asked.words))):
            task = asyncio.create_task(self._send(batch))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        self._lag.watch()

    async def _send(self, batch: Sequence[_Asked]) -> None:
        began = self._clock()
        try:
            async with self._pipelines, asyncio.timeout(self.patience.connect + self.patience.read):
                answers = await self._exchange([asked.words for asked in batch])
        except (Exception, asyncio.CancelledError) as error:
            failure = translated(error) if isinstance(error, Exception) else Away("we are closing")
            self._failed(failure)
            answers = [failure] * len(batch)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            self._worked(self._clock() - began)
        finally:
            for asked, answer in zip(batch, answers, strict=True):
                self._tell(asked, answer)

    async def _exchange(self, commands: Sequence[tuple[Word, ...]]) -> list[Any]:
        """The answers in order; an error reply is one of them."""
        client = self.client
        if len(commands) == 1:
            try:
                return [await client.execute_command(*commands[0])]
            except Exception as error:
                failure = translated(error)
                if isinstance(failure, Refused):
                    return [failure]
                raise failure from error
        pipeline = client.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return [translated(answer) if isinstance(answer, Exception) else answer for answer in answers]

    def _tell(self, asked: _Asked, answer: Any) -> None:
        if isinstance(answer, Refused):
            self._refused(answer)
        if asked.answer.done():  # who asked does not wait any more
            return
        if isinstance(answer, RedisError) and not isinstance(answer, Refused):
            asked.answer.set_exception(answer)
            asked.answer.exception()  # seen, should nobody wait
        else:
            asked.answer.set_result(answer)

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
            self.heard(seconds)
            self._breaker.worked()
            if self.state is not State.DEGRADED:
                self._become(State.READY, "")
            self._looked.set()
            await self._lost.wait()
            await self._drop_client()
            if not self.usable:
                await asyncio.sleep(pause(1))

    async def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await hang_up(client)


def _large(words: tuple[Word, ...]) -> bool:
    return any(isinstance(word, bytes) and len(word) >= LARGE for word in words)
