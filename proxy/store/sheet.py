"""Sheets: where the bytes of an answer of which only parts are held lie at their own positions, with holes."""

from collections.abc import AsyncIterator
from typing import Protocol

from proxy.entry import Body, BytesBody
from proxy.errors import StoreError
from proxy.policy.parts import Extents
from proxy.policy.ranges import Part
from proxy.store.codec import HEADER
from proxy.store.file_body import CHUNK, SpoolBody
from proxy.store.file_dir import Directory
from proxy.store.file_temp import TempFile


class Sheet(Protocol):
    """Where bytes lie at their own positions. StoreError when they cannot be written or read."""

    async def write(self, data: bytes, at: int) -> None: ...

    async def read(self, start: int, end: int) -> bytes: ...

    async def whole(self) -> Body:
        """All of it, when every byte was written; its room is still the sheet's."""
        ...

    def discard(self) -> None: ...


class MemorySheet:
    """Room for `size` bytes in memory."""

    __slots__ = ("_bytes",)

    def __init__(self, size: int) -> None:
        self._bytes = bytearray(size)

    async def write(self, data: bytes, at: int) -> None:
        self._bytes[at : at + len(data)] = data

    async def read(self, start: int, end: int) -> bytes:
        return bytes(memoryview(self._bytes)[start:end])

    async def whole(self) -> Body:
        return BytesBody(bytes(self._bytes))

    def discard(self) -> None:
        """Nothing is held but memory, which goes with the object."""


class FileSheet:
    """Room for `size` bytes in a temporary file, laid out as a record, so that it can become one without a copy. What
    is written counts against what recordings may take."""

    __slots__ = ("_directory", "_size", "_spool")

    def __init__(self, directory: Directory, size: int) -> None:
        self._directory = directory
        self._size = size
        self._spool: SpoolBody | None = None

    async def write(self, data: bytes, at: int) -> None:
        if self._spool is None:
            temp = await self._directory.run_open(lambda: TempFile(self._directory, HEADER), TempFile.discard)
            self._spool = SpoolBody(temp)
        self._spool.charge(len(data))
        await self._directory.run(self._spool.temp.write, data, at)

    async def read(self, start: int, end: int) -> bytes:
        if self._spool is None:
            raise StoreError("nothing was written yet")
        return await self._directory.run(self._spool.temp.read, start, end)

    async def whole(self) -> Body:
        if self._spool is None:
            raise StoreError("nothing was written yet")
        await self._directory.run(self._spool.temp.seal, self._size)
        return self._spool

    def discard(self) -> None:
        if self._spool is not None:
            self._spool.close()


class PartialBody:
    """What is held of a representation of `size` bytes. Beyond `extents` nothing can be read (RFC 9111 3.3). The sheet
    is given back with the last of its bodies."""

    __slots__ = ("_sheet", "_users", "extents", "size")

    data = None

    def __init__(self, sheet: Sheet, size: int, extents: Extents, users: list["PartialBody"]) -> None:
        self.size = size
        self.extents = extents
        self._sheet = sheet
        self._users = users
        self._users.append(self)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        end = self.size if end is None else min(end, self.size)
        if start < end and not self.extents.covers(Part(start, end)):
            raise StoreError("these bytes are not held")
        for position in range(start, end, CHUNK):
            yield await self._sheet.read(position, min(position + CHUNK, end))

    async def verify(self) -> None:
        if self.extents.gaps(Part(0, self.size)):
            raise StoreError("only parts of this body are held")

    def share(self) -> "PartialBody":
        return self.grown(self.extents)

    def grown(self, extents: Extents) -> "PartialBody":
        """The same sheet with more on it, to be closed by another owner; StoreError when this one is closed."""
        if self not in self._users:
            raise StoreError("this body is closed")
        return PartialBody(self._sheet, self.size, extents, self._users)

    def close(self) -> None:
        if self in self._users:
            self._users.remove(self)
            if not self._users:
                self._sheet.discard()
