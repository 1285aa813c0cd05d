"""Where a recording goes that outgrows memory: a temporary file in the file tier's own directory.

Who writes a recording has a client that waits for the same bytes: a disk that hangs is given little time.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from proxy.errors import StoreError
from proxy.store.codec import HEADER
from proxy.store.file_body import SpoolBody
from proxy.store.file_dir import Directory
from proxy.store.file_temp import TempFile

PATIENCE = 0.25  # seconds that a recording waits for the disk, after which it is passed on and not kept

R = TypeVar("R")


async def open_spool(directory: Directory, patience: float = PATIENCE) -> "Spool | None":
    """A new one; None when the disk gives no file within `patience` seconds, in which each write has to be done too."""

    def made() -> Spool:
        return Spool(TempFile(directory, HEADER), patience)

    try:
        return await _in_time(directory.run_open(made, Spool.discard), patience)
    except StoreError:
        return None


class Spool:
    """Satisfies `recording.Spool`. It is laid out as a record, so that `finish` gives a body that needs no copy."""

    __slots__ = ("_body", "_patience", "_temp")

    def __init__(self, temp: TempFile, patience: float = PATIENCE) -> None:
        self._temp = temp
        self._patience = patience
        self._body = SpoolBody(temp)

    async def write(self, data: bytes) -> None:
        """Append; StoreError when the disk, or the share of it that recordings may take, is full, or takes too long:
        then nobody knows what it holds."""
        self._body.charge(len(data))
        await _in_time(self._temp.directory.run(self._temp.append, data), self._patience)

    async def read(self, start: int, end: int) -> bytes:
        """Bytes [start, end) of what has been written."""
        return await self._temp.directory.run(self._temp.read, start, end)

    async def finish(self) -> SpoolBody:
        return self._body

    def discard(self) -> None:
        """Give up what was written; idempotent."""
        self._body.close()


async def _in_time(work: Awaitable[R], seconds: float) -> R:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        raise StoreError("no answer in time") from error
