"""Small records that the kernel holds in memory, read in the event loop with no thread and no wait.

A look that comes to nothing changes nothing: what cannot be read so, and whatever is wrong with a record, is for
`FileStore.get`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from proxy.entry import Entry, Select, Variant
from proxy.store import codec
from proxy.store.codec import HEADER, BadRecord
from proxy.store.file_cached import MOST, PageCache
from proxy.store.file_dir import Directory
from proxy.store.file_handle import disk_size
from proxy.store.file_index import Record
from proxy.store.file_kept import KeptFiles
from proxy.store.memory import Hold

Shelf = Record | tuple[Record, ...]  # what lies alone is its own shelf


class Index(Protocol):
    """What is known of records without asking the disk."""

    def known(self, hash: str) -> Shelf | None:
        """The records of one hash; None when the disk has to be asked."""
        ...

    def touch(self, record: Record) -> None: ...


class Mark:
    """By what a record that was read is known again: where it lies, how often something had changed on its shelf, the
    place of its body, and length and CRC-32 of all of it when it had been proven. Nothing of its body is kept, and all
    is here: of a thousand records in turn nothing lies in the processor's caches.

    `checked` is the journal's head at which nothing had ended it for good, `noted` when its use was noted last. It
    `holds` nobody, since each looks at the file.
    """

    __slots__ = ("checked", "end", "holds", "moves", "noted", "path", "record", "size", "sum")

    def __init__(self, record: Record, path: bytes, raw: memoryview, end: int) -> None:
        self.record = record
        self.moves = record.moves
        self.path = path
        self.size = len(raw)
        self.sum = crc32(raw)
        self.end = end
        self.checked = -1
        self.noted = -1
        self.holds: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """A record that was read, its body in memory, and all that live on its shelf. Nothing is counted until it is
    taken."""

    entry: Entry
    mark: Mark
    variants: Sequence[Variant]


class Warm:
    """`trusted`: whether the disk gave no trouble lately; while it did, threads find out. `clock` is the wall clock.
    What is read again is `kept` open."""

    def __init__(
        self,
        directory: Directory,
        index: Index,
        clock: Callable[[], float],
        trusted: Callable[[], bool],
        kept: KeptFiles,
    ) -> None:
        self._directory = directory
        self._index = index
        self._clock = clock
        self._trusted = trusted
        self._kept = kept

    def look(self, hash: str, select: Select) -> Sight | None:
        """What `FileStore.get` would give."""
        shelf = self._index.known(hash)
        if not shelf or not self._trusted():
            return None
        now = self._clock()
        records = shelf if isinstance(shelf, tuple) else (shelf,)
        live = [record for record in records if record.keep_until > now]
        variants = [record.variant for record in live if record.variant is not None]
        if not live or len(variants) < len(live):
            return None
        wanted = select(variants)
        record = next((record for record, variant in zip(live, variants, strict=True) if variant.id == wanted), None)
        return None if record is None else self._read(record, variants, now)

    def _read(self, record: Record, variants: Sequence[Variant], now: float) -> Sight | None:
        path = self._directory.path_of(record.key) if record.size <= disk_size(MOST) else None
        raw = None if path is None else self._directory.cached(path)
        if path is None or raw is None:
            return None
        try:
            entry = codec.decode(raw, record.key)
        except BadRecord:
            return None
        if entry.keep_until <= now:
            return None
        return Sight(entry, Mark(record, path, raw, HEADER + entry.body.size), variants)

    def again(self, mark: Mark) -> bytes | None:
        """The content of the very record that was read before, if `look` with the same choice would find it, as long
        as it is kept. Each byte of it is checked, but nothing is read out of its head anew."""
        record, cache = mark.record, self._directory.cache
        if record.moves != mark.moves or cache is None or not self._trusted():
            return None
        kept = record.kept
        if kept is None:
            raw = self._kept_open(cache, mark)
        elif kept.intact():
            kept.used = True
            raw = cache.read_from(kept.fd)
        else:
            kept.end()
            return None
        if raw is None or len(raw) != mark.size or crc32(raw) != mark.sum:
            return None
        return bytes(raw[HEADER : mark.end])

    def _kept_open(self, cache: PageCache, mark: Mark) -> memoryview | None:
        """What is wanted a second time may be wanted more often."""
        fd = cache.open(mark.path)
        if fd < 0:
            return None
        try:
            return cache.read_from(fd)
        finally:
            if not self._kept.keep(mark.record, fd):
                os.close(fd)

    def take(self, mark: Mark) -> None:
        """It was used."""
        self._index.touch(mark.record)
        if mark.noted != self._directory.notes:
            mark.noted = self._directory.notes
            self._directory.used(mark.path)
