"""Telling the others: what they have not been told goes to the stream in its order, once it is on our own disk."""

import asyncio
from collections.abc import Callable, Mapping

from proxy.invalidation.chain import Chain
from proxy.invalidation.link import Link
from proxy.invalidation.local import LocalLog
from proxy.invalidation.records import encode
from proxy.invalidation.stream import Stream
from proxy.invalidation.tie import Unsent
from proxy.redis.breaker import pause
from proxy.redis.errors import Away, RedisError

SENT = 64  # records sent at once
SENT_BYTES = 256 * 1024
LONGEST = 1.0  # seconds between tries


class Sender:
    """Sends while the link is there. It is told again by `owes` whenever there may be something; `on_sent` hears which
    numbers the records have got by their ids. They stay owed until they are read back."""

    def __init__(
        self,
        log: LocalLog,
        chain: Chain,
        stream: Stream,
        link: Link,
        *,
        on_sent: Callable[[Mapping[str, int]], None],
    ) -> None:
        self._log = log
        self._chain = chain
        self._stream = stream
        self._link = link
        self._on_sent = on_sent
        self._flying: set[str] = set()  # sent, and not read back yet
        self._owing = asyncio.Event()

    def owes(self) -> None:
        self._owing.set()

    def read_back(self, id: str) -> None:
        """It stands in the stream for all to read."""
        self._flying.discard(id)

    def begin_again(self) -> None:
        """What was sent has been read back by now, or was lost."""
        self._flying.clear()

    async def keep(self) -> None:
        """Send for as long as we live."""
        tries = 0
        while True:
            await self._owing.wait()
            self._owing.clear()
            try:
                while self._link.joined and await self._send():
                    tries = 0
            except RedisError:
                tries += 1
                await asyncio.sleep(min(LONGEST, pause(tries)))
                self._owing.set()

    async def _send(self) -> bool:
        """Send the first of what is owed; whether there was any."""
        tie, epoch = self._log.tie, self._chain.epoch
        batch = self._batch()
        if not batch:
            return False
        await self._log.kept(max(owed.local for _, owed in batch))
        batch = [(name, owed) for name, owed in batch if name in tie.unsent]
        if not batch:
            return True
        numbers = await self._stream.append(epoch, [encode(owed.told) for _, owed in batch])
        if not numbers:
            self._link.doubt()
            raise Away("the stream is another one")
        if self._chain.epoch == epoch:
            self._flying.update(name for name, _ in batch if name in tie.unsent)
            self._on_sent({name: number for (name, _), number in zip(batch, numbers, strict=True)})
        return True

    def _batch(self) -> list[tuple[str, Unsent]]:
        batch, size = [], 0
        for name, owed in self._log.tie.unsent.items():
            if name not in self._flying:
                batch.append((name, owed))
                size += owed.size
            if len(batch) == SENT or size > SENT_BYTES:
                break
        return batch
