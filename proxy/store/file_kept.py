"""Files of records that are read again and again, kept open: a bounded number, each until something becomes of its
record.

All of it belongs to the event loop, but that descriptors are given back in a thread: the last one of a file that was
deleted frees what it took on disk, which may have to wait for that.
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol


class Kept:
    """One that is open. It may be read while it is on disk as it was when it was opened: `intact` asks the kernel,
    which waits for nothing to tell that."""

    __slots__ = ("_changed", "_files", "_owner", "fd", "used")

    def __init__(self, fd: int, owner: "Owner", files: "KeptFiles") -> None:
        self.fd = fd
        self.used = False
        self._owner = owner
        self._changed = os.fstat(fd).st_ctime_ns
        self._files = files

    def intact(self) -> bool:
        """Whether nobody deleted, replaced, renamed or wrote to it, whoever that may have been."""
        status = os.fstat(self.fd)
        return status.st_nlink > 0 and status.st_ctime_ns == self._changed

    def end(self) -> None:
        """It is read no more."""
        self._owner.kept = None
        self._files.drop(self)


class Owner(Protocol):
    """What a file can be kept for."""

    kept: Kept | None


class KeptFiles:
    """At most so many. `close` gives a descriptor back, off the event loop."""

    __slots__ = ("_close", "_files", "_most")

    def __init__(self, most: int, close: Callable[[int], None]) -> None:
        self._most = most
        self._close = close
        self._files: OrderedDict[Kept, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._files)

    def keep(self, owner: Owner, fd: int) -> bool:
        """Take over the descriptor, if there is room for one. Where there is none the longest kept has to go, but for
        one that was used meanwhile: then it is the next one's turn with whoever comes next. So a few too many files
        that are read in turn do not drive each other out."""
        if len(self._files) >= self._most:
            oldest = next(iter(self._files), None)
            if oldest is None:
                return False
            if oldest.used:
                oldest.used = False
                self._files.move_to_end(oldest)
                return False
            oldest.end()
        owner.kept = Kept(fd, owner, self)
        self._files[owner.kept] = None
        return True

    def drop(self, kept: Kept) -> None:
        del self._files[kept]
        self._close(kept.fd)

    def clear(self) -> None:
        """Keep none of them any longer."""
        for kept in list(self._files):
            kept.end()
