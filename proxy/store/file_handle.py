"""Open files and the errors of a disk. Everything here blocks, and belongs into a worker thread."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from proxy.errors import StoreError

BLOCK = 4096  # what a file takes on disk is a multiple of this


class Foreign(StoreError):
    """What stands where a record should be is none of ours: a link, a folder, a device."""


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Translate what the disk says."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{doing}: {error.strerror or error}") from error


def disk_size(size: int) -> int:
    """Bytes that a file of `size` takes on disk."""
    return -(-size // BLOCK) * BLOCK


def write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


class OpenFile:
    """A file descriptor that outlives the reads under way, whoever closes it meanwhile.

    Without this, a number closed while its read waits for a thread could by then be another file's. `size` is the
    file's when it was opened.
    """

    __slots__ = ("_busy", "_closing", "_lock", "fd", "size")

    def __init__(self, fd: int, size: int = 0) -> None:
        self.fd = fd
        self.size = size
        self._busy = 0
        self._closing = False
        self._lock = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[int]:
        """The descriptor, open as long as this lasts; StoreError when it has been closed."""
        with self._lock:
            if self._closing:
                raise StoreError("the file is closed")
            self._busy += 1
        try:
            yield self.fd
        finally:
            with self._lock:
                self._busy -= 1
                if self._closing and not self._busy:
                    os.close(self.fd)

    def read(self, size: int, offset: int) -> bytes:
        """Exactly `size` bytes from `offset`; StoreError when there are fewer."""
        with self.held() as fd, disk_errors("read"):
            data = os.pread(fd, size, offset)
            while len(data) < size:
                more = os.pread(fd, size - len(data), offset + len(data))
                if not more:
                    raise StoreError("read: the file ends too early")
                data += more
            return data

    def share(self) -> "OpenFile":
        """The same file for another owner to close; StoreError when it has been closed."""
        with self.held() as fd, disk_errors("dup"):
            return OpenFile(os.dup(fd), self.size)

    def close(self) -> None:
        """Give the descriptor back, now or after the last read under way; idempotent."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            if not self._busy:
                os.close(self.fd)
