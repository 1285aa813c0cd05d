"""Where a recording goes that outgrows memory: a temporary file in the file tier's own directory."""

from proxy.errors import StoreError
from proxy.store.codec import HEADER
from proxy.store.file_body import SpoolBody
from proxy.store.file_dir import Directory
from proxy.store.file_temp import TempFile


async def open_spool(directory: Directory) -> "Spool | None":
    """A new one; None when the disk gives no file."""
    try:
        return await directory.run_open(lambda: Spool(TempFile(directory, HEADER)), Spool.discard)
    except StoreError:
        return None


class Spool:
    """Satisfies `recording.Spool`. It is laid out as a record, so that `finish` gives a body that needs no copy."""

    __slots__ = ("_body", "_temp")

    def __init__(self, temp: TempFile) -> None:
        self._temp = temp
        self._body = SpoolBody(temp)

    async def write(self, data: bytes) -> None:
        """Append; StoreError when the disk, or the share of it that recordings may take, is full."""
        self._body.charge(len(data))
        await self._temp.directory.run(self._temp.append, data)

    async def read(self, start: int, end: int) -> bytes:
        """Bytes [start, end) of what has been written."""
        return await self._temp.directory.run(self._temp.read, start, end)

    async def finish(self) -> SpoolBody:
        return self._body

    def discard(self) -> None:
        """Give up what was written; idempotent."""
        self._body.close()
