"""The tier that instances share. What lies there proves itself at every read, and never replaces what is newer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from proxy.entry import Entry, Position, Select, Variant
from proxy.errors import StoreError
from proxy.redis.errors import Away, RedisError
from proxy.redis.keys import EntryKey, Names
from proxy.redis.server import Server
from proxy.store import codec
from proxy.store.codec import HEADER, BadRecord, Header
from proxy.store.file_body import AbsentBody
from proxy.store.packing import PackedBody, worth_packing
from proxy.store.redis_again import Beside, RedisAgain, laid
from proxy.store.redis_lua import FENCE, RedisLua
from proxy.store.redis_record import Sealed, described, framed, opened, seal, unsealed, variant_of
from proxy.store.redis_walk import RedisWalk
from proxy.store.shelves import KEY

HEAD_ROOM = 256 * 1024  # bytes that the head of a record may take here
OFF_LOOP = 64 * 1024  # bytes from which on work on them is done in a thread
LONGEST = 365 * 86400.0  # seconds that anything stays
HEADS = 25  # records whose heads are asked for together


class Shared(Protocol):
    """The journal that the instances share, as far as this one has it."""

    def stamp(self) -> tuple[int, int] | None:
        """Epoch of the stream and number of its last record applied here; None while we are cut off from it."""
        ...

    def local(self, epoch: int, number: int) -> Position | None:
        """The own position up to which everything had been applied by who wrote that stamp; None: who knows."""
        ...

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        """None: no later purge matches, as far as is known here (`invalidation.journal`)."""
        ...


class RedisStore:
    """A Store in Redis. It counts on `server` for connections, `shared` for what a position of elsewhere means here.

    `max_object` bounds a body, `variants` those of one hash that have request values (the one without lies beside
    them), `scan_count` a step of SCAN; `compression` packs bodies. `clock` is the wall clock.

    The entries that come out have a position in the own journal. One that had no fence has got one: the time on the
    server's clock at which its fetch began, as near as can be said by durations alone. While we are cut off from the
    journal nothing here is trusted and nothing is put.
    """

    def __init__(
        self,
        server: Server,
        names: Names,
        shared: Shared,
        *,
        max_object: int,
        compression: bool,
        scan_count: int,
        variants: int,
        clock: Callable[[], float],
    ) -> None:
        self.poisoned = 0  # records and indexes that were none, damaged, or another key's: they went
        self.too_large = 0  # what was larger than any record may be: it went, and was not read whole
        self.refused_older = 0  # puts that came after a newer one
        self._server = server
        self._lua = RedisLua(server, names, variants)
        self._walk = RedisWalk(server, names, scan_count)
        self._shared = shared
        self._max_object = max_object
        self._limit = HEADER + max_object + HEAD_ROOM
        self._compression = compression
        self._clock = clock
        self._tells = False

    def again(self) -> RedisAgain:
        """What was got before, to be asked for again: what is got from now on tells how it lay there."""
        self._tells = True
        return RedisAgain(self._server, self._lua, self._shared, self._limit, self._max_object)

    async def get(self, hash: str, select: Select) -> Entry | None:
        return await self._find(hash, select, tidy=True)

    async def glance(self, hash: str, select: Select) -> Entry | None:
        """As `get`, but it leaves no trace here, and what is bad stays where it is. Away where `get` would not ask.
        Redis itself notes the read for its own evictions, as it does any."""
        if not self._server.usable:
            raise Away(f"not asked: {self._server.reason}")
        if self._shared.stamp() is None:
            raise Away("not asked: cut off from the purges of the others")
        return await self._find(hash, select, tidy=False)

    async def _find(self, hash: str, select: Select, *, tidy: bool) -> Entry | None:
        if not KEY.fullmatch(hash) or self._shared.stamp() is None:
            return None
        record, index = await self._lua.both(hash, self._limit)
        variants = await self._described(hash, index, tidy=tidy)
        beside = None if index is None or not tidy else Beside(index, tuple(variants))
        plain = await self._proven(hash, record, beside, tidy=tidy)
        if plain is not None:
            variants.append(Variant("", (), plain.received_at))
        wanted = select(variants) if variants else None
        if plain is not None and wanted == "":
            return plain
        if wanted is None or all(variant.id != wanted for variant in variants):
            return None
        key = f"{hash}.{wanted}"
        if record:
            beside = None
        record = await self._lua.record(key, self._limit)
        if not record and tidy:
            await _quietly(self._lua.missed(key))
        return await self._proven(key, record, beside, tidy=tidy)

    async def put(self, entry: Entry) -> bool:
        """As the port says. What it does not want ends the life of what it would have replaced. Away when it cannot be
        told yet which purges it has to outlive."""
        self._stamp()
        life = int(min(entry.keep_until - self._clock(), LONGEST) * 1000)
        wanted = life > 0 and entry.body.size <= self._max_object
        sealed = await self._seal(entry) if wanted else None
        if self._shared.ended(entry) is not None:
            return False
        ours = replace(entry, position=Position(*self._stamp(), 0), fence=entry.fence or self._fence(entry))
        record = framed(ours, sealed) if sealed else b""
        if len(record) > self._limit:
            record = b""
        done = await self._lua.put(ours.key, codec.begin(ours.fence), life, described(ours), record)
        self.refused_older += not done
        return done and bool(record)

    async def delete(self, key: str) -> int:
        return await self._lua.delete(key) if KEY.fullmatch(key) else 0

    async def scan(self) -> AsyncIterator[Entry]:
        if self._shared.stamp() is None:
            return
        async for found in self._walk.entries():
            for start in range(0, len(found), HEADS):
                for entry in await self._heads(found[start : start + HEADS]):
                    yield entry

    async def count(self) -> int:
        """How many entries there are, ours alone; walks through all keys of the server."""
        total = 0
        async for found in self._walk.entries():
            total += len(found)
        return total

    async def clear(self) -> int:
        return await self._walk.clear()

    async def close(self) -> None:
        """Nothing is held here; the connections are the server's."""

    # reading

    async def _proven(self, key: str, record: bytes, beside: Beside | None, *, tidy: bool) -> Entry | None:
        """The entry of a record that proves to be one, with its place in our journal; a bad one goes, to `tidy` up."""
        if not record:
            return None
        if len(record) > self._limit:
            if tidy:
                self.too_large += 1
                await _quietly(self._lua.drop(key))
            return None
        try:
            entry = await self._opened(key, record)
        except BadRecord:
            if tidy:
                self.poisoned += 1
                await _quietly(self._lua.drop(key))
            return None
        stamp = entry.position
        found = self._placed(entry)
        if found is None or beside is None or not self._tells or len(record) > OFF_LOOP or found.body.size > OFF_LOOP:
            return found
        return laid(found, record, beside, stamp)

    async def _opened(self, key: str, record: bytes) -> Entry:
        most = self._max_object
        if len(record) > OFF_LOOP:
            return await asyncio.to_thread(opened, key, record, most)
        entry = opened(key, record, most, OFF_LOOP)
        return await asyncio.to_thread(unsealed, entry, most) if isinstance(entry.body, PackedBody) else entry

    def _placed(self, entry: Entry) -> Entry | None:
        """None when it is over, or nobody can say here which purges came after it: we may be the one who is behind."""
        if entry.keep_until <= self._clock() or self._shared.stamp() is None:
            return None
        position = self._shared.local(entry.position.epoch, entry.position.stream)
        return None if position is None else entry.settle(position, entry.body)

    async def _described(self, hash: str, index: Mapping[bytes, bytes] | None, *, tidy: bool) -> list[Variant]:
        """The variants that the index tells of; what is no description goes, to `tidy` up."""
        if index is None:
            if tidy:
                self.poisoned += 1
                await _quietly(self._lua.drop_index(hash))
            return []
        read = {name: variant_of(name, line) for name, line in index.items() if name != FENCE}
        bad = [name for name, variant in read.items() if variant is None]
        if bad and tidy:
            self.poisoned += 1
            await _quietly(self._lua.drop_described(hash, bad))
        return [variant for variant in read.values() if variant is not None]

    async def _heads(self, found: Sequence[tuple[bytes, EntryKey]]) -> list[Entry]:
        """The entries of these records, without their bodies; bad ones are left out, and go when they are asked for."""
        part, size = self._lua.part, self._lua.size
        sizes = await asyncio.gather(*(size(name) for name, _ in found))
        firsts = await asyncio.gather(*(part(name, 0, HEADER - 1) for name, _ in found))
        headed = []
        for (name, key), length, raw in zip(found, sizes, firsts, strict=True):
            with suppress(BadRecord):
                headed.append((name, key, raw, Header.parse(raw, length)))
        starts = [HEADER + header.body_size for *_, header in headed]
        heads = await asyncio.gather(
            *(
                part(name, start, start + header.head_size - 1)
                for (name, _, _, header), start in zip(headed, starts, strict=True)
            )
        )
        entries = []
        for (_, key, raw, header), head in zip(headed, heads, strict=True):
            with suppress(BadRecord):
                body = AbsentBody(header.body_size)
                entries.append(self._placed(codec.entry_of(raw, head, key.name, body, AbsentBody)))
        return [entry for entry in entries if entry is not None]

    # writing

    def _stamp(self) -> tuple[int, int]:
        stamp = self._shared.stamp()
        if stamp is None:
            raise Away("the journal is not linked with the others' yet")
        return stamp

    def _fence(self, entry: Entry) -> int:
        now = self._server.now()
        if now is None:
            raise Away("it was not reached yet")
        age = max(0.0, self._clock() - entry.requested_at)
        return max(1, now - int(age * 1e6))

    async def _seal(self, entry: Entry) -> Sealed:
        data = entry.body.data
        if data is None:
            data = b"".join([chunk async for chunk in entry.body.read()])
            if len(data) != entry.body.size:
                raise StoreError("a body is not as long as it says")
        packs = self._compression and worth_packing(entry.fields, len(data))
        if len(data) > OFF_LOOP:
            return await asyncio.to_thread(seal, data, packs)
        return seal(data, packs)


async def _quietly(work: Awaitable[object]) -> None:
    """Tidying up on a reader's way: he gets what he came for, or a miss, whether it succeeds or not."""
    with suppress(RedisError):
        await work
