"""What is asked in one turn of the event loop goes out in one pipeline; what is large goes alone, holding up nobody."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import RedisCluster

from proxy.redis.dial import Client, Patience
from proxy.redis.errors import Away, RedisError, Refused, translated
from proxy.redis.reads import Hearing
from proxy.redis.wire import Words, exchange

BATCH = 32  # commands of one pipeline: what one slow reply holds up
LARGE = 64 * 1024  # bytes of a command that goes alone


@dataclass(slots=True)
class _Asked:
    words: Words
    answer: asyncio.Future[Any]


class Pipelines:
    """As many at once as `patience` has connections, each within its seconds. `client` tells who they go to now, Away
    where there is none. `clock` is monotonic."""

    def __init__(
        self, client: Callable[[], Client], patience: Patience, hearing: Hearing, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._patience = patience
        self._hearing = hearing
        self._clock = clock
        self._queue: list[_Asked] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(patience.pool)

    def ask(self, words: Words) -> asyncio.Future[Any]:
        """Its answer, or a Refused for an error reply; RedisError when there is none."""
        loop = asyncio.get_running_loop()
        asked = _Asked(words, loop.create_future())
        if not self._queue:
            loop.call_soon(self._flush)
        self._queue.append(asked)
        return asked.answer

    @property
    def waited_for(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._queue or self._sending)

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _flush(self) -> None:
        queue, self._queue = self._queue, []
        small = [asked for asked in queue if not _large(asked.words)]
        batches = [small[start : start + BATCH] for start in range(0, len(small), BATCH)]
        for batch in (*batches, *([asked] for asked in queue if _large(asked.words))):
            task = asyncio.create_task(self._send(batch))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, batch: Sequence[_Asked]) -> None:
        began = self._clock()
        try:
            async with self._places, asyncio.timeout(self._patience.connect + self._patience.read):
                answers = await self._exchange([asked.words for asked in batch])
        except (Exception, asyncio.CancelledError) as error:
            failure = translated(error) if isinstance(error, Exception) else Away("we are closing")
            self._hearing.failed(failure)
            answers = [failure] * len(batch)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            self._hearing.worked(self._clock() - began)
        finally:
            for asked, answer in zip(batch, answers, strict=True):
                self._tell(asked, answer)

    async def _exchange(self, commands: Sequence[Words]) -> list[Any]:
        """The answers in order; an error reply is one of them."""
        client = self._client()
        if not isinstance(client, RedisCluster):
            answers = await exchange(client, commands)
        elif len(commands) == 1:
            try:
                return [await client.execute_command(*commands[0])]
            except Exception as error:
                failure = translated(error)
                if isinstance(failure, Refused):
                    return [failure]
                raise failure from error
        else:
            pipeline = client.pipeline(transaction=False)
            for words in commands:
                pipeline.execute_command(*words)
            answers = await pipeline.execute(raise_on_error=False)
        return [translated(answer) if isinstance(answer, Exception) else answer for answer in answers]

    def _tell(self, asked: _Asked, answer: Any) -> None:
        if isinstance(answer, Refused):
            self._hearing.refused(answer)
        if asked.answer.done():  # who asked does not wait any more
            return
        if isinstance(answer, RedisError) and not isinstance(answer, Refused):
            asked.answer.set_exception(answer)
            asked.answer.exception()  # seen, should nobody wait
        else:
            asked.answer.set_result(answer)


def _large(words: Words) -> bool:
    return any(isinstance(word, bytes) and len(word) >= LARGE for word in words)
