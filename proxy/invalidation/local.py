"""The journal's durable local transport: one file of checksummed lines, written by one process.

A purge holds in memory at once and is acknowledged when it is on the disk; appends that meet share one sync. The file
starts with a compact copy of the journal and is written anew, beside itself and renamed, at every start and when it has
grown to several times its live names. Numbers go on after a restart, with a leap, so that none is given twice even when
the last unacknowledged records are lost.

What the file cannot prove is not trusted: where it is missing, foreign, or damaged anywhere but in an unfinished last
line, a new epoch begins, in which everything fetched before is dead. When it cannot be written, purges hold in memory,
`durable` is False, and the file is taken away so that the next start begins a new epoch; it comes back when it can.
"""

import asyncio
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from proxy.invalidation.journal import Journal
from proxy.invalidation.records import Appended, Purge

FORMAT = 1
LEAP = 1 << 32  # more numbers than are ever given between two syncs
REWRITE_FROM = 1 << 20  # bytes; and only when it is GROWTH times what the last copy took
GROWTH = 4
RETRY = 5.0  # seconds between attempts to bring back a file that could not be written

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class LocalLog:
    """Applies purges to `journal` and keeps them in the file at `path`; None: in memory only.

    The directory is made when it is missing. `durable` tells whether purges outlive this process, `reason` why not.
    """

    def __init__(
        self, path: Path | None, records: int = 100_000, *, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._ticks = ticks
        self._disk: _Disk | None = None
        self._pending: list[bytes] = []
        self._settled = 0  # the last number whose fate on disk is known
        self._writer: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._records = records
        self.journal = Journal(_new_epoch(), records)
        self.instance = secrets.token_hex(2)
        self.durable = False
        self.reason = "not opened" if path else "no directory for the journal"

    def open(self) -> Journal:
        """Read what is there and start a file of our own; blocks, and raises nothing."""
        if self._path is None:
            return self.journal
        try:
            self._disk = _Disk(self._path)
            self.instance = self._disk.instance() or self.instance
            if (data := self._disk.read()) is not None:
                self.journal = replay(data, self._records) or self.journal
            self.journal.advance(self.journal.head + LEAP)
            self._disk.rewrite(self.journal.copy())
            self._recovered()
        except OSError as error:
            if self._disk is not None:
                self._disk.discard()
            self._failed(error)
        self._settled = self.journal.head
        return self.journal

    def append(self, purge: Purge) -> Coroutine[Any, Any, bool]:
        """Apply the purge, now; awaited, True once it is on disk, False when it will not outlive this process."""
        line = record_line(self.journal.head + 1, purge)
        seq = self.journal.append(purge)
        if self._disk is not None:
            self._pending.append(line)
        return self._kept(seq, self._disk)

    async def apply(self, purge: Purge) -> Appended:
        """As `append`; the number at once, and awaited later what that gives."""
        kept = self.append(purge)
        return Appended(self.journal.head, kept)

    async def _kept(self, seq: int, disk: "_Disk | None") -> bool:
        if disk is None:
            return False
        while self._settled < seq:
            await self._flush(disk)
        return self.durable

    async def _flush(self, disk: "_Disk") -> None:
        """Start a write, or wait for the one under way; a caller that is cancelled leaves it running."""
        if self._writer is None:
            self._writer = asyncio.create_task(self._settle(disk), name="journal")
        await asyncio.shield(self._writer)

    async def _settle(self, disk: "_Disk") -> None:
        """Write and sync all that is pending; the only place that touches the disk once it is open."""
        lines, self._pending = b"".join(self._pending), []
        head = self.journal.head
        try:
            if self.durable and not disk.overgrown:
                await asyncio.to_thread(disk.append, lines)
            elif self.durable or self._ticks() >= self._retry_at:
                await asyncio.to_thread(disk.rewrite, self.journal.copy())
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


class _Disk:
    """The file and its directory. Every call blocks; OSError is the caller's. No symlink is followed in the directory,
    and a lock beside the file keeps other gateways away from it."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file: int | None = None
        self._size = 0
        self._copied = 0  # bytes of the compact copy it starts with
        with suppress(FileExistsError):
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o700)  # whatever the umask
        self._lock: int | None = None
        self._directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._lock = self._open(f"{self._name}.lock", _OLD | os.O_CREAT)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise OSError(error.errno, "another gateway keeps its journal here") from error
        except OSError:
            self.close()
            raise

    @property
    def overgrown(self) -> bool:
        return self._size > max(REWRITE_FROM, GROWTH * self._copied)

    def instance(self) -> str:
        """The four hex digits that name this instance, made at the first start."""
        raw = self._read("instance") or b""
        if re.fullmatch(rb"[0-9a-f]{4}", raw.strip()):
            return raw.strip().decode()
        name = secrets.token_hex(2)
        self._remove("instance")
        file = self._open("instance", _NEW)
        try:
            os.write(file, f"{name}\n".encode())
        finally:
            os.close(file)
        return name

    def read(self) -> bytes | None:
        """All of the journal file; None when there is none."""
        return self._read(self._name)

    def rewrite(self, journal: Journal) -> None:
        """Put a compact copy in the file's place; it is there wholly or not at all."""
        fresh = f"{self._name}.new"
        self._remove(fresh)
        file = self._open(fresh, _NEW)
        size = 0
        try:
            for chunk in compact_copy(journal):
                size += _write(file, chunk)
            _sync(file)
            os.rename(fresh, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError:
            os.close(file)
            with suppress(OSError):
                self._remove(fresh)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file, self._size, self._copied = file, size, size
        os.fsync(self._directory)

    def append(self, lines: bytes) -> None:
        assert self._file is not None
        self._size += _write(self._file, lines)
        _sync(self._file)

    def discard(self) -> None:
        """See to it that no later start trusts the file, by whatever still works."""
        with suppress(OSError):
            if self._file is None:
                self._file = self._open(self._name, _OLD)
            os.ftruncate(self._file, 0)
        if self._file is not None:
            os.close(self._file)
            self._file = None
        with suppress(OSError):
            self._remove(self._name)
            os.fsync(self._directory)

    def close(self) -> None:
        for file in (self._file, self._lock, self._directory):
            if file is not None:
                os.close(file)
        self._file = None

    def _open(self, name: str, flags: int) -> int:
        file = os.open(name, flags, 0o600, dir_fd=self._directory)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(f"{name} is not a file")
        if flags & os.O_CREAT:
            os.fchmod(file, 0o600)
        return file

    def _read(self, name: str) -> bytes | None:
        try:
            file = self._open(name, _OLD)
        except FileNotFoundError:
            return None
        with os.fdopen(file, "rb") as stream:
            return stream.read()

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._directory)


def _write(file: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
    return len(data)


def _new_epoch() -> int:
    return secrets.randbits(52) + 1  # never that of NOWHERE, and exact in every JSON


def compact_copy(journal: Journal) -> Iterator[bytes]:
    """The file of a journal, in chunks: the head line, then the fewest records that give the same answers."""
    yield _line({"journal": FORMAT, "epoch": journal.epoch, "head": journal.head, "floor": journal.floor})
    records = journal.compacted()
    for start in range(0, len(records), 1000):
        yield b"".join(record_line(seq, purge) for seq, purge in records[start : start + 1000])


def record_line(seq: int, purge: Purge) -> bytes:
    """One line of the file."""
    return _line({"seq": seq, "purge": purge})


def replay(data: bytes, records: int = 100_000) -> Journal | None:
    """The journal of a file; None when it is damaged. An unfinished last line was not acknowledged: it is left out."""
    *lines, _unfinished = data.split(b"\n")
    try:
        first, *rest = map(_unline, lines)
        if first["journal"] != FORMAT:
            return None
        journal = Journal(first["epoch"], records, head=first["head"], floor=first["floor"])
        latest = 0
        for record in rest:
            if record["seq"] < latest:
                return None
            latest = record["seq"]
            journal.apply(latest, Purge.from_json(record["purge"]))
    except (ValueError, KeyError, TypeError):
        return None
    return journal


def _line(content: dict[str, Any]) -> bytes:
    raw = orjson.dumps(content)
    return b"%08x %b\n" % (crc32(raw), raw)


def _unline(line: bytes) -> dict[str, Any]:
    checksum, _, raw = line.partition(b" ")
    if checksum != b"%08x" % crc32(raw):
        raise ValueError("damaged line")
    content: dict[str, Any] = orjson.loads(raw)
    return content
