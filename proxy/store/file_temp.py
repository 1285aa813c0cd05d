"""A record that is being written: room for the header, then the body as it comes; head and header at the end."""

from zlib import crc32

from proxy.errors import StoreError
from proxy.store.file_dir import Directory
from proxy.store.file_handle import OpenFile, disk_errors, write_all

STEP = 256 * 1024  # bytes that `seal` reads at once


class TempFile:
    """`size` and `sum` (CRC-32) are those of the body so far. Blocks; readers may be many.

    It has one writer who appends, or any number of them who write where they like, until one seals it.
    """

    __slots__ = ("_file", "_path", "_reserve", "directory", "size", "sum")

    def __init__(self, directory: Directory, reserve: int) -> None:
        self.directory = directory
        self.size = 0
        self.sum = 0
        self._reserve = reserve
        self._path, fd = directory.create_temp()
        self._file = OpenFile(fd)

    @property
    def published(self) -> bool:
        return not self._path

    def append(self, data: bytes) -> None:
        """StoreError when the disk does not take it; `size` then stays, and what it counts is still whole."""
        with self._file.held() as fd, disk_errors("write"):
            write_all(fd, data, self._reserve + self.size)
        self.size += len(data)
        self.sum = crc32(data, self.sum)

    def write(self, data: bytes, at: int) -> None:
        """Put bytes where they belong, leaving holes; StoreError when the disk does not take them. They count when all
        is there and sealed."""
        with self._file.held() as fd, disk_errors("write"):
            write_all(fd, data, self._reserve + at)

    def seal(self, size: int) -> None:
        """Every byte of a body of this size has been written."""
        total = 0
        for start in range(0, size, STEP):
            total = crc32(self.read(start, min(start + STEP, size)), total)
        self.size, self.sum = size, total

    def read(self, start: int, end: int) -> bytes:
        """Bytes [start, end) of the body."""
        return self._file.read(end - start, self._reserve + start)

    def publish(self, key: str, header: bytes, head: bytes, used_at: float, keep_until: float) -> int:
        """Make it the record of `key`; the file's length. It stays readable, and `discard` now only closes it."""
        if self.published:
            raise StoreError("this recording is a record already")
        with self._file.held() as fd:
            with disk_errors("write"):
                write_all(fd, head, self._reserve + self.size)
                write_all(fd, header, 0)
            self.directory.publish(self._path, fd, key, used_at, keep_until)
        self._path = ""
        return self._reserve + self.size + len(head)

    def discard(self) -> None:
        """Close it, and remove it unless it has become a record; idempotent."""
        self._file.close()
        if self._path:
            self.directory.drop_temp(self._path)
            self._path = ""
