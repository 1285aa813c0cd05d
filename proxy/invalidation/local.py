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
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from proxy.invalidation.course import NEVER
from proxy.invalidation.disk import Disk
from proxy.invalidation.journal import Journal
from proxy.invalidation.lines import compact_copy, line, record_line, restore
from proxy.invalidation.records import Appended, Purge
from proxy.invalidation.tie import Tie

LEAP = 1 << 32  # more numbers than are ever given between two syncs
RETRY = 5.0  # seconds between attempts to bring back a file that could not be written
LAZY = 1.0  # seconds that what can be read again from elsewhere may wait for its sync


class LocalLog:
    """Applies purges to `journal` and keeps them in the file at `path`; None: in memory only.

    The directory is made when it is missing. `durable` tells whether purges outlive this process, `reason` why not;
    `distrusted`, what of the file that was there could not be used, and what follows: empty when all could.
    `shares`: other instances have to be told of what is appended. `on_read` hears of each purge that was not, `on_line`
    of every line as soon as what it says holds, whether there is a file or not.
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
        self.on_line: Callable[[bytes], None] = lambda line: None
        self.instance = secrets.token_hex(2)
        self.durable = False
        self.distrusted = ""
        self.reason = "not opened" if path else "no directory for the journal"

    def open(self) -> Journal:
        """Read what is there and start a file of our own; blocks, and raises nothing."""
        if self._path is None:
            return self.journal
        try:
            self._disk = Disk(self._path)
            self.instance = self._disk.instance() or self.instance
            if (data := self._disk.read()) is not None:
                self._trust(data)
            self.journal.advance(self.journal.head + LEAP)
            self._disk.rewrite(compact_copy(self.journal.copy(), self.tie))
            self._recovered()
        except OSError as error:
            if self._disk is not None:
                self._disk.discard()
            self._failed(error)
        self._settled = self.journal.head
        return self.journal

    def _trust(self, data: bytes) -> None:
        """Take what the file held, or say why a new epoch begins."""
        kept = restore(data, self._records)
        if kept is None:
            found = "is damaged or of another version" if data else "is empty"
            self.distrusted = (
                f"the journal of purges {self._path} {found}: nothing that was stored before is used, since a purge "
                "that can no longer be read may have named it; a new journal was begun"
            )
        else:
            self.journal, self.tie = kept

    def append(self, purge: Purge) -> Coroutine[Any, Any, bool]:
        """Apply the purge, now; awaited, True once it is on disk, False when it will not outlive this process."""
        seq = self.journal.append(purge)
        overflows = self._shares and self.tie.owe(seq, purge)
        self._note(record_line(seq, purge, unsent=self._shares))
        if overflows:
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
        self._note(line({"read": number, "applied": applied, "sent": owed, "since": since}), soon=True)
        for seq, purge in applied:
            self.on_read(seq, purge)
        return first

    def distrust(self, purge: Purge) -> None:
        """See `invalidation.chain.Ledger`."""
        seq = self.journal.append(purge)
        self._note(line({"tie": self.tie.to_json(), "seq": seq, "purge": purge}), soon=True)
        self.on_read(seq, purge)

    def keep_tie(self) -> None:
        """Write the tie as it is now."""
        self._note(line({"tie": self.tie.to_json()}), soon=True)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _note(self, line: bytes, *, soon: bool = False) -> None:
        """Have it written with what comes next, or `soon` though nothing does."""
        self.on_line(line)
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
