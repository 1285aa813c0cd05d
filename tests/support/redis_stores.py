"""The Redis tier on a real server, with a journal that says what a test wants."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from proxy.entry import NOWHERE, Entry, Position
from proxy.redis.address import Address
from proxy.redis.dial import Patience
from proxy.redis.keys import Names
from proxy.redis.server import Server, State
from proxy.store.redis import RedisStore
from tests.support.entries import FakeClock

PATIENT = Patience(connect=5.0, read=5.0)
NAMES = Names("test:")


def nowhere(epoch: int, number: int) -> Position | None:
    return NOWHERE


@dataclass
class Journal:
    """What the shared journal says: its stamp (None while it is not linked), where others' stamps lie in the own one,
    and which paths were purged."""

    at: tuple[int, int] | None = (7, 100)
    place: Callable[[int, int], Position | None] = nowhere
    purged: dict[str, float] = field(default_factory=dict)

    def stamp(self) -> tuple[int, int] | None:
        return self.at

    def local(self, epoch: int, number: int) -> Position | None:
        return self.place(epoch, number)

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        return self.purged.get(entry.parts.path)


@asynccontextmanager
async def redis_link(
    url: str, patience: Patience = PATIENT, on_change: Callable[[State, str], None] = lambda state, reason: None
) -> AsyncIterator[Server]:
    """The client of one instance, which has reached its server."""
    server = Server(Address.parse(url), patience, on_change)
    server.start()
    try:
        assert await server.looked(20), server.reason
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def redis_store(
    url: str,
    *,
    kind: type[RedisStore] = RedisStore,
    journal: Journal | None = None,
    patience: Patience = PATIENT,
    **changes: Any,
) -> AsyncIterator[RedisStore]:
    """The Redis tier of one instance."""
    how: dict[str, Any] = {
        "max_object": 1024 * 1024,
        "compression": True,
        "scan_count": 100,
        "variants": 32,
        "clock": FakeClock(),
    }
    async with redis_link(url, patience) as server:
        yield kind(server, NAMES, journal or Journal(), **how | changes)
