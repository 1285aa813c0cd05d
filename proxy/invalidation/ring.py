"""Records that one process writes and others read, in memory that they share: no system call, no lock, no waiting.

    words    8 bytes each: how far it is written, the oldest byte still whole, the last number, what else is told
    ring     records, each 4 bytes of length, 4 of CRC-32 and its content, one behind the other, round and round

Positions only grow; where one lies in the ring is its remainder. The writer raises `oldest` before it touches a byte
and `written` after the last one; a reader copies first and looks at `oldest` afterwards (a seqlock: Lameter, Effective
synchronization on Linux/NUMA systems, 2005). A word is one aligned store of eight bytes. The checksum covers a record's
position too, so that neither a machine with a looser memory order nor an earlier round can pass for what was written.
"""

import mmap
import os
import tempfile
import threading
from enum import IntEnum
from struct import Struct
from zlib import crc32

CAPACITY = 4 << 20  # bytes: some 20,000 purges of one name each
WORDS = 8
_WORDS_SIZE = 8 * WORDS
_HEAD = Struct("<II")
_PLACE = Struct("<Q")
_TRIES = 100  # a record whose bytes are not all there yet, on a machine that reorders stores


class Word(IntEnum):
    """What stands in the words."""

    WRITTEN = 0
    OLDEST = 1
    NUMBER = 2
    DURABLE = 3  # 1 while purges outlive the instance
    LINKED = 4  # until when it is proven that nothing told elsewhere is missing; 0: it is not
    UNLINKED = 5  # since when that was not so, the last time; both are monotonic microseconds


def shared_memory(capacity: int = CAPACITY) -> int:
    """A descriptor of memory that has no name: whoever holds it can map it, and it goes with its last holder."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("cachegate-journal")
    else:  # macOS
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, _WORDS_SIZE + capacity)
    return fd


class Ring:
    """The writing end; one process has it. `fd` is `shared_memory`'s, and stays the caller's to close."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, os.fstat(fd).st_size)
        self._words = memoryview(self._map)[:_WORDS_SIZE].cast("Q")
        self._capacity = len(self._map) - _WORDS_SIZE

    @property
    def written(self) -> int:
        """The position behind the last record."""
        return self._words[Word.WRITTEN]

    def set(self, word: Word, value: int) -> None:
        """Let every reader know; what is written later is seen no earlier, what was written before no later."""
        _fence()
        self._words[word] = value

    def fits(self, content: bytes) -> bool:
        """Whether readers get the chance to read it before it is written over."""
        return _HEAD.size + len(content) <= self._capacity // 2

    def write(self, number: int, content: bytes) -> None:
        """Append a record that `fits`; `number` is its, or that of the last one where it has none."""
        start = self.written
        record = _HEAD.pack(len(content), _sum(start, content)) + content
        end = start + len(record)
        self._words[Word.OLDEST] = max(self._words[Word.OLDEST], end - self._capacity)
        _fence()
        at = start % self._capacity
        first = record[: self._capacity - at]
        self._map[_WORDS_SIZE + at : _WORDS_SIZE + at + len(first)] = first
        rest = record[len(first) :]
        self._map[_WORDS_SIZE : _WORDS_SIZE + len(rest)] = rest
        self._words[Word.NUMBER] = number
        _fence()
        self._words[Word.WRITTEN] = end

    def close(self) -> None:
        self._words.release()
        self._map.close()


class RingView:
    """A reading end, from position `at` on; it can write nothing. `fd` may be closed once this is made."""

    def __init__(self, fd: int, at: int) -> None:
        self._map = mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ)
        self._words = memoryview(self._map)[:_WORDS_SIZE].cast("Q")
        self._capacity = len(self._map) - _WORDS_SIZE
        self._at = at

    @property
    def behind(self) -> bool:
        """Whether there is something to read: one comparison, to be made as often as one likes."""
        return self._words[Word.WRITTEN] != self._at

    def get(self, word: Word) -> int:
        """What `behind` says afterwards is no older."""
        value = self._words[word]
        _fence()
        return value

    def go(self, at: int) -> None:
        """Read on from this position, wherever that is."""
        self._at = at

    def read(self) -> list[bytes] | None:
        """What was written since the last time; None when some of that is lost for this reader, which then goes on
        from here: every number up to `get(Word.NUMBER)`, asked for afterwards, was perhaps missed."""
        end = self._words[Word.WRITTEN]
        found: list[bytes] = []
        at = self._at
        while at < end:
            content = self._record(at)
            if content is None:
                self._at = end
                return None
            found.append(content)
            at += _HEAD.size + len(content)
        self._at = at
        return found

    def close(self) -> None:
        self._words.release()
        self._map.close()

    def _record(self, at: int) -> bytes | None:
        for _ in range(_TRIES):
            _fence()
            size, checksum = _HEAD.unpack(self._copy(at, _HEAD.size))
            content = self._copy(at + _HEAD.size, size) if size <= self._capacity else b""
            _fence()
            if self._words[Word.OLDEST] > at:
                return None
            if len(content) == size and _sum(at, content) == checksum:
                return content
        return None

    def _copy(self, position: int, size: int) -> bytes:
        at = position % self._capacity
        first = self._map[_WORDS_SIZE + at : _WORDS_SIZE + min(at + size, self._capacity)]
        return first + self._map[_WORDS_SIZE : _WORDS_SIZE + size - len(first)]


def _sum(position: int, content: bytes) -> int:
    return crc32(content, crc32(_PLACE.pack(position)))


_lock = threading.Lock()


def _fence() -> None:
    """Keep the loads and stores before it apart from those after it, on processors that reorder them: what comes
    before stays before the first release, what comes after behind the second acquisition."""
    for _ in range(2):
        with _lock:
            pass
