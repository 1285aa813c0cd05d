"""Answers of which only parts are held: each on a sheet of its own where bytes lie at their positions, with holes.

One per key and variant, all of one representation: what is added has its strong validator and its length, or takes its
place (RFC 9111 3.4). When the last hole is filled it becomes a plain entry of the tiers. Nothing of this outlives the
process, and nothing goes to Redis.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from proxy.entry import Body, Entry, Found, Select
from proxy.errors import StoreError
from proxy.outcome import Tier
from proxy.policy.parts import Piece, same_representation
from proxy.policy.ranges import Part
from proxy.policy.variants import as_variant
from proxy.store.eviction import policy
from proxy.store.file_dir import Directory
from proxy.store.parts_held import Held, InParts, Partly
from proxy.store.sheet import FileSheet, MemorySheet, Sheet
from proxy.store.shelves import Shelves, hash_of

MOST = 256  # parts of one answer that do not touch: each takes a block on disk, however small it is


class Standing(Protocol):
    """What the journal says of entries: see `tiered.Standing`."""

    def ended(self, entry: Entry) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes: `max_object` of the largest answer whose parts are held there, `max_bytes` of all of them."""

    max_object: int = 0
    max_bytes: int = 0

    @property
    def largest(self) -> int:
        """Bytes of the largest that can become whole there."""
        return min(self.max_object, self.max_bytes)


class Parts:
    """All that are held, the least recently used leave first: `near` in memory, `far` in the directory, where there is
    one. `put` stores what has become whole; `blind` as in `Tiered`; `clock` is the wall clock."""

    def __init__(
        self,
        *,
        near: Room,
        far: Room,
        entries: int,
        variants: int,
        directory: Callable[[], Directory | None],
        standing: Standing,
        put: Callable[[Entry], Awaitable[object]],
        clock: Callable[[], float],
        blind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._rooms = {Tier.MEMORY: near, Tier.FILE: far}
        self._shelves: dict[Tier, Shelves[Held]] = {
            tier: Shelves(policy("lru", entries, room.max_bytes), variants) for tier, room in self._rooms.items()
        }
        self._directory = directory
        self._standing = standing
        self._put = put
        self._clock = clock
        self._blind = blind

    def __len__(self) -> int:
        return sum(map(len, self._shelves.values()))

    def __bool__(self) -> bool:
        near, far = self._shelves.values()
        return bool(near.by_hash or far.by_hash)

    def takes(self, total: int) -> bool:
        """Whether parts of an answer of so many bytes may be held."""
        return self._tier_for(total) is not None

    def find(self, hash: str, select: Select) -> Partly | None:
        """What is held of the variant that `select` picks; no await, no lock. What nobody can want any more goes."""
        for held in self._of(hash):
            self._lives(held)
        partly = self.look(hash, select)
        if partly is not None:
            self._shelves[partly.held.tier].touch(partly.held)
        return partly

    def look(self, hash: str, select: Select) -> Partly | None:
        """As `find`, but it leaves no trace."""
        if self._blind():
            return None
        live = {held.entry.variant: held for held in self._of(hash) if self._is_wanted(held)}
        wanted = select([as_variant(held.entry) for held in live.values()]) if live else None
        held = live.get(wanted) if wanted is not None else None
        if held is None:
            return None
        return Partly(held, Found(held.entry, held.tier, self._standing.ended(held.entry)), held.body.extents)

    async def add(self, entry: Entry, piece: Piece, content: Body) -> bool:
        """Hold one more part, the head of whose message `entry` has; whether it is held now. `content` stays the
        caller's to close. What became whole is in the tiers when this returns."""
        if content.size != piece.size or (held := self._place(entry, piece.total)) is None:
            return False
        body = held.body.share()  # the sheet stays as long as it is written
        try:
            async with held.lock:
                if len(held.body.extents.plus(piece.part).parts) > MOST:
                    return False
                for gap in held.body.extents.gaps(piece.part):
                    await _copy(content, gap, piece.part.start, held.sheet)
                if not self._mark(held, entry, piece.part):
                    return False
                if held.body.extents.covers(Part(0, piece.total)):
                    await self._put(replace(held.entry, body=await held.sheet.whole()))
                    self.end(held)
                return True
        except StoreError:
            return False
        finally:
            body.close()

    def renew(self, partly: Partly, entry: Entry) -> bool:
        """Hold it under the fields that a 304 made; whether it was still what that was asked about."""
        held = partly.held
        if not self._is_current(held) or held.entry is not partly.entry or self._gone(entry):
            return False
        held.become(entry, held.body.extents)
        self._account(held)
        return True

    def end(self, held: Held) -> None:
        """It is of no use any more; idempotent."""
        if self._shelves[held.tier].discard(held):
            held.body.close()

    def outdate(self, key: str) -> None:
        """A whole answer lies under this key now."""
        if not self:
            return
        for held in self._of(hash_of(key)):
            if key in (held.key, held.entry.hash):
                self.end(held)

    def sweep(self) -> int:
        """Give back what nobody can want any more; how many went."""
        return sum(not self._lives(held) for held in self._all())

    def clear(self, tier: Tier | None = None, fits: Callable[[Entry], bool] = lambda entry: True) -> int:
        """Give up those of one tier, or all, that fit; how many went."""
        gone = [held for held in self._all() if tier in (None, held.tier) and fits(held.entry)]
        for held in gone:
            self.end(held)
        return len(gone)

    def listed(self) -> list[InParts]:
        """All that may still be wanted."""
        return [InParts(held.tier, held.entry, held.body.extents.size) for held in self._all() if self._lives(held)]

    @property
    def bytes(self) -> int:
        """What they take, in memory and on disk."""
        return sum(held.size for held in self._all())

    @property
    def near_bytes(self) -> int:
        """What they take in memory."""
        return self._shelves[Tier.MEMORY].bytes

    def resize(self, max_bytes: int) -> None:
        """Let another bound hold for those in memory; who has no room leaves."""
        self._rooms[Tier.MEMORY] = replace(self._rooms[Tier.MEMORY], max_bytes=max_bytes)
        for held in self._shelves[Tier.MEMORY].resize(max_bytes):
            held.body.close()

    # -- places ----------------------------------------------------------------------------------------------------

    def _all(self) -> list[Held]:
        return [held for shelves in self._shelves.values() for held in shelves]

    def _of(self, hash: str) -> list[Held]:
        return [held for shelves in self._shelves.values() for held in shelves.of(hash)]

    def _tier_for(self, total: int) -> Tier | None:
        if total <= self._rooms[Tier.MEMORY].largest:
            return Tier.MEMORY
        fits = total <= self._rooms[Tier.FILE].largest and self._directory() is not None
        return Tier.FILE if fits else None

    def _place(self, entry: Entry, total: int) -> Held | None:
        """Where a part of this answer belongs; what is held of another representation gives way to it, unless that was
        asked for later."""
        tier = self._tier_for(total)
        held = self._under(entry.key)
        if held is not None and self._lives(held):
            if same_representation(held.entry, entry.fields, entry.received_at, total):
                return held
            if held.entry.requested_at > entry.requested_at:
                return None
            self.end(held)
        if tier is None or self._gone(entry):
            return None
        directory = self._directory()
        sheet = MemorySheet(total) if tier is Tier.MEMORY or directory is None else FileSheet(directory, total)
        held = Held(entry, total, sheet, tier)
        self._account(held)
        return held if self._is_current(held) else None

    def _mark(self, held: Held, entry: Entry, part: Part) -> bool:
        """The part was written: it counts, and the head of the newest message rules (RFC 9111 3.4), unless a purge came
        meanwhile."""
        if not self._is_current(held) or not self._lives(held) or self._gone(entry):
            return False
        newest = entry if entry.requested_at >= held.entry.requested_at else held.entry
        held.become(newest, held.body.extents.plus(part))
        self._account(held)
        return self._is_current(held)

    def _account(self, held: Held) -> None:
        shelves = self._shelves[held.tier]
        shelves.discard(held)
        held.measure()
        for other in shelves.add(held):
            other.body.close()

    def _under(self, key: str) -> Held | None:
        return next((held for shelves in self._shelves.values() if (held := shelves.find(key)) is not None), None)

    def _is_current(self, held: Held) -> bool:
        return self._under(held.key) is held

    def _lives(self, held: Held) -> bool:
        """Whether it may still be wanted; what may not be goes."""
        if self._is_wanted(held):
            return True
        self.end(held)
        return False

    def _is_wanted(self, held: Held) -> bool:
        return held.entry.keep_until > self._clock() and not self._gone(held.entry)

    def _gone(self, entry: Entry) -> bool:
        return self._standing.ended(entry) == -math.inf


async def _copy(content: Body, gap: Part, start: int, sheet: Sheet) -> None:
    """Bring the bytes of `gap` from a content that begins at `start` to their place."""
    at = gap.start
    async for chunk in content.read(gap.start - start, gap.end - start):
        await sheet.write(chunk, at)
        at += len(chunk)


class Shelf(Protocol):
    """The tiers, as who fetches whole answers knows them."""

    async def put(self, entry: Entry) -> frozenset[Tier]: ...

    async def far(self, hash: str, select: Select, spent: dict[Tier, float]) -> Found | None: ...


@dataclass(frozen=True, slots=True)
class Beside:
    """The tiers with the parts beside them: what is stored whole ends what is held of it in parts."""

    tiers: Shelf
    parts: Parts

    async def put(self, entry: Entry) -> frozenset[Tier]:
        took = await self.tiers.put(entry)
        if took:
            self.parts.outdate(entry.key)
        return took

    async def far(self, hash: str, select: Select, spent: dict[Tier, float]) -> Found | None:
        return await self.tiers.far(hash, select, spent)
