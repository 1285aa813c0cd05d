"""What the kernel holds of a file in memory, taken without waiting for a disk.

Two calls of Linux promise that. openat2(2) with RESOLVE_CACHED (Linux 5.12) fails where a name would have to be looked
up on disk, preadv2(2) with RWF_NOWAIT (4.14) where a page would have to be read. Python has the second alone; the first
is called by its number, which is the same on every processor that Python runs on. A file system that has to ask
somebody else, over a network or in another process, refuses the second: `works` finds that out. And O_NOATIME, because
to note that a file was read is a write, which may have to wait for the journal of the file system.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Callable

MOST = 64 * 1024  # bytes of a file; for a larger one a thread is worth its while
_TRIES = 3  # a name that somebody changes just then is not looked up
_OPENAT2 = 437
_FROM_HERE = -100  # AT_FDCWD
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_RESOLVE_CACHED = 0x20

Opener = Callable[[bytes], int]


class PageCache:
    """For one thread: what it gives is good until it is asked again."""

    __slots__ = ("_buffer", "_flag", "_open", "_view")

    def __init__(self) -> None:
        self._open = _opener()
        self._flag: int = getattr(os, "RWF_NOWAIT", 0)
        self._buffer = bytearray(MOST + 1)
        self._view = memoryview(self._buffer)

    def works(self, path: bytes) -> bool:
        """Whether the file system of this file says at once what it has; the file may be empty. Blocks."""
        return any(self.read(path) is not None for _ in range(_TRIES))

    def read(self, path: bytes) -> memoryview | None:
        """The file from its first byte on, as far as it lies in memory; None when nobody can say at once, when it has
        more than MOST bytes, and when there is none. No link is followed in its last part."""
        fd = self.open(path)
        if fd < 0:
            return None
        try:
            return self.read_from(fd)
        finally:
            os.close(fd)

    def open(self, path: bytes) -> int:
        """A descriptor; negative when nobody can say at once what it has."""
        return self._open(path) if self._open is not None and self._flag else -1

    def read_from(self, fd: int) -> memoryview | None:
        """As `read`, of a file that is open."""
        try:
            size = os.preadv(fd, (self._buffer,), 0, self._flag)
        except OSError:
            return None
        return self._view[:size] if size <= MOST else None


def _opener() -> Opener | None:
    """Opens a file for reading, and gives a negative number where it cannot be done at once."""
    if sys.platform != "linux":
        return None
    try:
        call = ctypes.PyDLL(None).syscall  # nothing is waited for, so nobody else needs to run meanwhile
    except (OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long)
    call.restype = ctypes.c_long
    how = struct.pack("QQQ", _FLAGS | os.O_NOATIME, 0, _RESOLVE_CACHED)
    return lambda path: int(call(_OPENAT2, _FROM_HERE, path, how, len(how)))
