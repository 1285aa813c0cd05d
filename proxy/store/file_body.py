"""Bodies whose bytes lie on disk. They are read in parts, in worker threads, and never held whole."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol
from zlib import crc32

from proxy.errors import StoreError
from proxy.store.file_dir import Directory
from proxy.store.file_handle import OpenFile
from proxy.store.file_temp import TempFile

CHUNK = 256 * 1024


class AbsentBody:
    """The body of an entry that `scan` found: its size is known, its bytes were not opened."""

    __slots__ = ("size",)

    data = None

    def __init__(self, size: int) -> None:
        self.size = size

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        raise StoreError("a scan does not open bodies")
        yield b""

    async def verify(self) -> None:
        raise StoreError("a scan does not open bodies")

    def share(self) -> "AbsentBody":
        return self

    def close(self) -> None:
        pass


OnDamage = Callable[[], None]


class Expected(Protocol):
    """Length and CRC-32 that a record's header tells of its body."""

    @property
    def body_size(self) -> int: ...
    @property
    def body_sum(self) -> int: ...


class Proof:
    """Whether a record's body has been held against its checksum in this process."""

    __slots__ = ("sound",)

    def __init__(self) -> None:
        self.sound = False


class FileBody:
    """A record's body, open. Its checksum is verified before the first byte comes out, unless `proof` says it was.

    `handle` and `offset` are for sendfile: the descriptor is valid until `close`, and only what `verify` has seen
    may be sent.
    """

    __slots__ = ("_directory", "_expected", "_file", "_on_damage", "_proof", "offset", "size")

    data = None

    def __init__(
        self, directory: Directory, file: OpenFile, offset: int, expected: Expected, proof: Proof, on_damage: OnDamage
    ) -> None:
        self.offset = offset
        self.size = expected.body_size
        self._directory = directory
        self._file = file
        self._expected = expected
        self._proof = proof
        self._on_damage = on_damage

    @property
    def handle(self) -> int:
        return self._file.fd

    async def verify(self) -> None:
        """Hold the body against its checksum, once per file and process; StoreError when it is damaged."""
        if self._proof.sound:
            return
        if await self._directory.run(self._computed_sum) != self._expected.body_sum:
            self._on_damage()
            raise StoreError("a stored body is damaged")
        self._proof.sound = True

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        await self.verify()
        for position, size in _steps(start, end, self.size):
            yield await self._directory.run(self._file.read, size, self.offset + position)

    def share(self) -> "FileBody":
        return FileBody(self._directory, self._file.share(), self.offset, self._expected, self._proof, self._on_damage)

    def close(self) -> None:
        self._file.close()

    def _computed_sum(self) -> int:
        total = 0
        for position, size in _steps(0, None, self.size):
            total = crc32(self._file.read(size, self.offset + position), total)
        return total


class SpoolBody:
    """The body of a finished recording, in the temporary file that can become its record."""

    __slots__ = ("_charged", "temp")

    data = None

    def __init__(self, temp: TempFile) -> None:
        self.temp = temp
        self._charged = 0

    @property
    def size(self) -> int:
        return self.temp.size

    def charge(self, size: int) -> None:
        """Count that many bytes more against what recordings may take together; StoreError when it is too much."""
        directory = self.temp.directory
        if directory.spooled + size > directory.spool_max:
            raise StoreError("recordings under way take all the room they may")
        directory.spooled += size
        self._charged += size

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        for position, size in _steps(start, end, self.size):
            yield await self.temp.directory.run(self.temp.read, position, position + size)

    async def verify(self) -> None:
        pass

    def share(self) -> "SpoolBody":
        raise StoreError("a recording's spool has one owner")

    def close(self) -> None:
        """Give the file back; it is gone unless a store has made it a record."""
        self.temp.directory.spooled -= self._charged
        self._charged = 0
        self.temp.directory.later(self.temp.discard)


def _steps(start: int, end: int | None, size: int) -> list[tuple[int, int]]:
    """(position, length) of the parts that make up [start, end)."""
    end = size if end is None else min(end, size)
    return [(position, min(CHUNK, end - position)) for position in range(start, end, CHUNK)]
