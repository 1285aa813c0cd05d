"""The journal's durable local transport: one file of checksummed lines, written by one process.

A purge holds in memory at once and is acknowledged when it is on the disk; appends that meet share one sync. The file
starts with a compact copy of the journal and is written anew, beside itself and renamed, at every start and when it has
grown to several times its live names. Numbers go on after a restart, with a leap, so that none is given twice even when
the last unacknowledged records are lost.

Where instances share a stream, the file also holds how the journal is tied to it (`invalidation.tie`): what others have
to be told is on disk before it is acknowledged, what can be read again from the stream follows when there is time.

What the file cannot prove is not trusted: where it is missing, foreign, or damaged anywhere but in an unfinished last
line, a new epoch begins, in which everything fetched before is dead. When it cannot be written, purges hold in memory,
`durable` is False, and the file is taken away so that the next start begins a new epoch; it comes back when it can.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from proxy.invalidation.course import NEVER
from proxy.invalidation.disk import Disk
from proxy.invalidation.journal import Journal
from proxy.invalidation.records import Appended, Purge
from proxy.invalidation.tie import Tie

FORMAT = 1
LEAP = 1 << 32  # more numbers than are ever given between two syncs
RETRY = 5.0  # seconds between attempts to bring back a file that could not be written
LAZY = 1.0  # seconds that what can be read again from elsewhere may wait for its sync


class LocalLog:
    """Applies purges to `journal` and keeps them in the file at `path`; None: in memory only.

    The directory is made when it is missing. `durable` tells whether purges outlive this process, `reason` why not.
    `shares`: other instances have to be told of what is appended. `on_read` hears of each purge that was not.
    """

    def __init__(
        self,
        path: Path | None,
        records: int = 100_000,
        *,
        shares: bool = False,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._shares = shares
        self._ticks = ticks
        self._disk: Disk | None = None
        self._pending: list[bytes] = []
        self._settled = 0  # the last number whose fate on disk is known
        self._writer: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._records = records
        self._soon: asyncio.TimerHandle | None = None
        self.journal = Journal(_new_epoch(), records)
        self.tie = Tie()
        self.on_read: Callable[[int, Purge], None] = lambda seq, purge: None
        self.instance = secrets.token_hex(2)
        self.durable = False
        self.reason = "not opened" if path else "no directory for the journal"

    def open(self) -> Journal:
        """Read what is there and start a file of our own; blocks, and raises nothing."""
        if self._path is None:
            return self.journal
        try:
            self._disk = Disk(self._path)
            self.instance = self._disk.instance() or self.instance
            if (data := self._disk.read()) is not None:
                self.journal, self.tie = restore(data, self._records) or (self.journal, self.tie)
            self.journal.advance(self.journal.head + LEAP)
            self._disk.rewrite(compact_copy(self.journal.copy(), self.tie))
            self._recovered()
        except OSError as error:
            if self._disk is not None:
                self._disk.discard()
            self._failed(error)
        self._settled = self.journal.head
        return self.journal

    def append(self, purge: Purge) -> Coroutine[Any, Any, bool]:
        """Apply the purge, now; awaited, True once it is on disk, False when it will not outlive this process."""
        seq = self.journal.append(purge)
        self._note(record_line(seq, purge, unsent=self._shares))
        if self._shares and self.tie.owe(seq, purge):
            self.keep_tie()
        return self.kept(seq)

    async def apply(self, purge: Purge) -> Appended:
        """As `append`; the number at once, and awaited later what that gives."""
        kept = self.append(purge)
        return Appended(self.journal.head, kept)

    async def kept(self, seq: int) -> bool:
        """Wait until the fate of what was appended up to this number is known; True: it is on disk."""
        disk = self._disk
        if disk is None:
            return False
        while self._settled < seq:
            await self._flush(disk)
        return self.durable

    # -- the stream ------------------------------------------------------------------------------------------------

    def read(self, number: int, purges: Sequence[Purge], sent: Iterable[str], since: int = NEVER) -> int:
        """See `invalidation.chain.Ledger`."""
        first = self.journal.head + 1
        applied = [(self.journal.append(purge), purge) for purge in purges]
        owed = [name for name in sent if name in self.tie.unsent]
        since = min(since, first if applied else NEVER)
        self.tie.read(number, since, owed)
        self._note(_line({"read": number, "applied": applied, "sent": owed, "since": since}), soon=True)
        for seq, purge in applied:
            self.on_read(seq, purge)
        return first

    def distrust(self, purge: Purge) -> None:
        """Apply what stands in no record and is of no concern to others."""
        seq = self.journal.append(purge)
        self._note(record_line(seq, purge), soon=True)
        self.on_read(seq, purge)

    def keep_tie(self) -> None:
        """Write the tie as it is now."""
        self._note(_line({"tie": self.tie.to_json()}), soon=True)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _note(self, line: bytes, *, soon: bool = False) -> None:
        """Have it written with what comes next, or `soon` though nothing does."""
        if self._disk is None:
            return
        self._pending.append(line)
        if soon and self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(LAZY, self._write_soon)

    def _write_soon(self) -> None:
        self._soon = None
        if self._disk is None or not self._pending:
            return
        if self._writer is None:
            self._writer = asyncio.create_task(self._settle(self._disk), name="journal")
        else:
            self._soon = asyncio.get_running_loop().call_later(LAZY, self._write_soon)

    async def _flush(self, disk: Disk) -> None:
        """Start a write, or wait for the one under way; a caller that is cancelled leaves it running."""
        if self._writer is None:
            self._writer = asyncio.create_task(self._settle(disk), name="journal")
        await asyncio.shield(self._writer)

    async def _settle(self, disk: Disk) -> None:
        """Write and sync all that is pending; the only place that touches the disk once it is open."""
        lines, self._pending = b"".join(self._pending), []
        head = self.journal.head
        try:
            if self.durable and not disk.overgrown:
                await asyncio.to_thread(disk.append, lines)
            elif self.durable or self._ticks() >= self._retry_at:
                copy = compact_copy(self.journal.copy(), self.tie)
                await asyncio.to_thread(disk.rewrite, copy)
                self._recovered()
        except OSError as error:
            await asyncio.to_thread(disk.discard)
            self._failed(error)
        finally:
            self._settled = head
            self._writer = None

    async def close(self) -> None:
        """End what is under way, try once more for a file if there is none, and give back the directory."""
        disk, self._disk = self._disk, None
        if disk is None:
            return
        if self._soon is not None:
            self._soon.cancel()
        while self._pending or self._writer:
            await self._flush(disk)
        if not self.durable:
            self._retry_at = 0.0
            await self._flush(disk)
        disk.close()

    def _recovered(self) -> None:
        self.durable, self.reason = True, ""

    def _failed(self, error: OSError) -> None:
        self.durable, self.reason = False, f"{self._path}: {error.strerror or error}"
        self._retry_at = self._ticks() + RETRY


def _new_epoch() -> int:
    return secrets.randbits(52) + 1  # never that of NOWHERE, and exact in every JSON


def compact_copy(journal: Journal, tie: Tie | None = None) -> Iterator[bytes]:
    """The file of a journal, in chunks: the head line, then the fewest records that give the same answers. The tie is
    copied now, the journal must not change."""
    head = {"journal": FORMAT, "epoch": journal.epoch, "head": journal.head, "floor": journal.floor}
    start = _line(head) + (_line({"tie": tie.to_json()}) if tie is not None and (tie.courses or tie.unsent) else b"")

    def chunks() -> Iterator[bytes]:
        yield start
        records = journal.compacted()
        for first in range(0, len(records), 1000):
            yield b"".join(record_line(seq, purge) for seq, purge in records[first : first + 1000])

    return chunks()


def record_line(seq: int, purge: Purge, *, unsent: bool = False) -> bytes:
    """One line of the file."""
    return _line({"seq": seq, "purge": purge} | ({"unsent": True} if unsent else {}))


class Kept(NamedTuple):
    """What the lines of a file make up."""

    journal: Journal
    tie: Tie


def replay(data: bytes, records: int = 100_000) -> Journal | None:
    """The journal of a file; see `restore`."""
    kept = restore(data, records)
    return kept.journal if kept else None


def restore(data: bytes, records: int = 100_000) -> Kept | None:
    """What a file holds; None when it is damaged. An unfinished last line was not acknowledged: it is left out."""
    *lines, _unfinished = data.split(b"\n")
    try:
        first, *rest = map(_unline, lines)
        if first["journal"] != FORMAT:
            return None
        kept = Kept(Journal(first["epoch"], records, head=first["head"], floor=first["floor"]), Tie())
        latest = 0
        for line in rest:
            if "tie" in line:
                kept = Kept(kept.journal, Tie.from_json(line["tie"]))
            applied = line["applied"] if "read" in line else [(line["seq"], line["purge"])] if "seq" in line else ()
            for seq, content in applied:
                if seq < latest:
                    return None
                latest = seq
                kept.journal.apply(seq, Purge.from_json(content))
                if "unsent" in line:
                    kept.tie.owe(seq, Purge.from_json(content))
            if "read" in line:
                kept.tie.read(line["read"], line["since"], line["sent"])
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return kept


def _line(content: dict[str, Any]) -> bytes:
    raw = orjson.dumps(content)
    return b"%08x %b\n" % (crc32(raw), raw)


def _unline(line: bytes) -> dict[str, Any]:
    checksum, _, raw = line.partition(b" ")
    if checksum != b"%08x" % crc32(raw):
        raise ValueError("damaged line")
    content: dict[str, Any] = orjson.loads(raw)
    return content
