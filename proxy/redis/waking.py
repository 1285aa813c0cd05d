"""Being told by Redis that a lease is over: one subscription for all of a process who wait.

It is a courtesy. Messages may be lost with a connection, and an ACL may forbid to subscribe: whoever waits looks at the
lease now and then, and here learns when it is time to.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from proxy.redis.breaker import pause
from proxy.redis.dial import hang_up
from proxy.redis.errors import Away
from proxy.redis.server import Server
from proxy.tasks import end

QUIET = 10.0  # seconds without a message after which the connection has to prove that it is one


class Ear:
    """One who waits. `landed` once the message came."""

    def __init__(self) -> None:
        self.landed = False
        self._stirred = asyncio.Event()

    async def listen(self, seconds: float) -> None:
        """Until the message comes, or there is a reason to look at the lease before `seconds` are over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        self._stirred.clear()

    def stir(self, *, landed: bool = False) -> None:
        self.landed |= landed
        self._stirred.set()


class Waking:
    """Subscribes to `channel` when somebody waits for the first time, and again whenever that is lost."""

    def __init__(self, server: Server, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._ears: dict[str, set[Ear]] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @contextmanager
    def ear(self, name: str) -> Iterator[Ear]:
        """Listen for this name in here."""
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._keep(), name="redis waking")
        ear = Ear()
        self._ears.setdefault(name, set()).add(ear)
        try:
            yield ear
        finally:
            same = self._ears[name]
            same.discard(ear)
            if not same:
                del self._ears[name]

    def stir(self) -> None:
        """Whoever waits may have missed something, or Redis is lost: let them look."""
        for same in self._ears.values():
            for ear in same:
                ear.stir()

    async def close(self) -> None:
        """End the subscription; idempotent."""
        self._closed = True
        if self._task is not None:
            await end([self._task])
        self.stir()

    async def _keep(self) -> None:
        tries = 0
        while True:
            tries = 1 if await self._subscribed() else tries + 1
            await asyncio.sleep(pause(tries))

    async def _subscribed(self) -> bool:
        """Be subscribed until that is lost; whether it ever was. In a cluster any node does: each message goes to
        all of them."""
        try:
            client = self._server.apart(replace(self._server.patience, pool=4))
        except Away:
            return False
        was = False
        try:
            await client.initialize()
            async with client.pubsub() as pubsub:  # type: ignore[no-untyped-call, unused-ignore]
                await pubsub.subscribe(self._channel)
                while True:
                    was |= self._heard(await _next(pubsub))
        except Exception:  # whatever it was: who waits looks for himself meanwhile
            return was
        finally:
            await hang_up(client)
            self.stir()

    def _heard(self, message: dict[str, Any]) -> bool:
        match message:
            case {"type": "message", "data": bytes(data)}:
                for ear in self._ears.get(data.decode("latin-1"), ()):
                    ear.stir(landed=True)
            case {"type": "subscribe"}:  # what landed before is not repeated
                self.stir()
        return True


async def _next(pubsub: Any) -> dict[str, Any]:
    """The next message. After a quiet time the answer to a PING is one; a connection without is none (Away)."""
    for _ in range(2):
        if message := await pubsub.get_message(timeout=QUIET):
            return dict(message)
        await pubsub.ping()
    raise Away("no answer in time")
