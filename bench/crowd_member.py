"""One instance of a crowd: what an instance has towards the others, and no HTTP."""

import asyncio
import secrets
import time

from bench.crowd_table import FETCH
from proxy.entry import BytesBody, Entry, KeyParts
from proxy.invalidation.local import LocalLog
from proxy.invalidation.shared import SharedLog
from proxy.message import Fields
from proxy.redis.address import Address
from proxy.redis.dial import Patience
from proxy.redis.keys import Names
from proxy.redis.lease import Elsewhere, Held, Leases
from proxy.redis.server import Server
from proxy.settings import Settings
from proxy.store.redis import RedisStore

PATIENCE = 60.0  # seconds that any one step may take


class Member:
    """One instance, as Redis sees it."""

    def __init__(self, url: str, settings: Settings) -> None:
        patience = Patience(5.0, 5.0, settings.redis.pool)  # one core for all of them: what waits for it is not Redis
        self.names = names = Names(settings.redis.key_prefix)
        self.server = Server(Address.parse(url), patience, lambda state, reason: None)
        self.log = LocalLog(None, shares=True)
        self.log.open()
        self.shared = SharedLog(self.log, self.server, names, records=settings.journal.records)
        flight = settings.flight
        self.leases = Leases(
            self.server, names, instance=self.shared.instance, seconds=flight.lease, uncacheable=flight.uncacheable
        )
        self.store = RedisStore(
            self.server,
            names,
            self.shared,
            max_object=settings.redis.max_object,
            compression=settings.redis.compression,
            scan_count=settings.redis.scan_count,
            variants=settings.limits.variants,
            clock=time.time,
        )

    def start(self) -> None:
        self.server.start()
        self.shared.start()
        self.leases.start()

    async def close(self) -> None:
        await self.leases.close()
        await self.shared.close()
        await self.server.close()

    async def wants(self, parts: KeyParts, origin: list[str]) -> None:
        """As a request on a miss: look, fetch if nobody does, else wait and look again."""
        key = parts.digest()
        while await self.store.get(key, lambda found: "") is None:
            match await self.leases.take(key):
                case Held() as held:
                    origin.append(parts.path)
                    await asyncio.sleep(FETCH)
                    await self.store.put(answer(parts, self.shared, held.fence))
                    await held.release()
                    return
                case Elsewhere() as elsewhere:
                    await elsewhere.over(PATIENCE)
                case other:
                    raise RuntimeError(f"Redis cannot say who fetches: {other}")


def answer(parts: KeyParts, shared: SharedLog, fence: int) -> Entry:
    """A kilobyte that lives for an hour, fetched now."""
    now = time.time()
    return Entry(
        hash=parts.digest(),
        parts=parts,
        status=200,
        phrase="OK",
        fields=Fields(),
        requested_at=now,
        received_at=now,
        keep_until=now + 3600,
        body=BytesBody(secrets.token_bytes(1024)),
        position=shared.position(),
        fence=fence,
    )
