"""Several instances in one process, each with a journal of its own, and one stream in a real Redis.

async with instance(redis.url, directory) as a, instance(redis.url, other) as b:
    await linked(a, b)
    stored = a.fetch("tag")             # an answer whose fetch begins now
    spread = await a.purge("tag")
    assert not a.alive(stored)
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from proxy.entry import Entry
from proxy.invalidation.local import LocalLog
from proxy.invalidation.records import Kind, Purge, Spread
from proxy.invalidation.shared import SharedLog
from proxy.redis.address import Address
from proxy.redis.dial import Patience
from proxy.redis.keys import Names
from proxy.redis.server import Server
from tests.support.journal import entry

PATIENCE = 20.0  # seconds after which a wait of a test is a failure of the test
NAMES = Names("t:")


@dataclass
class Instance:
    """One instance. `obeyed` is what `check` said each time the link came."""

    shared: SharedLog
    log: LocalLog
    server: Server
    links: list[tuple[bool, str]] = field(default_factory=list)
    read: list[Purge] = field(default_factory=list)
    check: Callable[[], object] = lambda: None
    obeyed: list[object] = field(default_factory=list)

    def fetch(self, tag: str) -> Entry:
        """An answer with this tag, whose fetch began now."""
        journal = self.shared.journal
        return entry("http://a/x", journal.head, tags=(tag,), epoch=journal.epoch)

    def alive(self, stored: Entry) -> bool:
        return self.shared.ended(stored) is None

    def found(self, stored: Entry, stamp: tuple[int, int]) -> bool:
        """Whether this answer, written to Redis with this stamp, is good here."""
        position = self.shared.local(*stamp)
        return position is not None and self.alive(replace(stored, position=position))

    def made(self, tag: str, *, soft: bool = False) -> Purge:
        return Purge(secrets.token_hex(8), Kind.TAG, (tag,), soft, 0.0, self.shared.instance)

    async def purge(self, tag: str, *, soft: bool = False, seconds: float = PATIENCE) -> Spread:
        """Purge it, durably, and wait for all others for so long."""
        purge = self.made(tag, soft=soft)
        assert await self.shared.append(purge) is self.log.durable
        return await self.shared.spread(purge.id, seconds)

    @property
    def floor(self) -> int:
        return self.shared.journal.floor


@asynccontextmanager
async def instance(
    url: str, directory: Path | None, *, records: int = 100_000, patience: Patience | None = None, start: bool = True
) -> AsyncIterator[Instance]:
    """Its journal lies in `directory`, or in memory only."""
    server = Server(Address.parse(url), patience or Patience(1.0, 1.0), lambda state, reason: None)
    log = LocalLog(directory and directory / "journal", shares=True)
    log.open()

    def changed(linked: bool, reason: str) -> None:
        one.links.append((linked, reason))
        if linked:
            one.obeyed.append(one.check())

    one = Instance(SharedLog(log, server, NAMES, records=records), log, server)
    one.shared.on_link = changed
    log.on_read = lambda seq, purge: one.read.append(purge)
    server.start()
    if start:
        one.shared.start()
    try:
        yield one
    finally:
        await one.shared.close()
        await server.close()


async def until(holds: Callable[[], object]) -> None:
    """Wait for what comes without a sign; AssertionError when it does not."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError("what the test waits for did not come") from None


async def linked(*instances: Instance) -> None:
    """Wait until all are linked, at the same record, have told what they had to tell, and know of each other."""
    names: set[str] = set()

    def well() -> bool:
        stamps = {one.shared.stamp() for one in instances}
        return (
            len(stamps) == 1
            and None not in stamps
            and not any(one.shared.unsent for one in instances)
            and all(names <= one.shared.told("").instances.keys() for one in instances)
        )

    await until(lambda: all(one.shared.linked for one in instances))
    names = {one.shared.instance for one in instances}
    for one in (*instances, *instances):  # else they hear of each other within a second
        await one.shared._mark()
        await one.shared._link.prove()
    await until(well)
