"""What a target is, how bytes become inputs, and what "linear" means."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MOST = 64 * 1024  # bytes of one input
PATIENCE = 2.0  # seconds of CPU time that one input may take; a linear reader takes some hundredths


@dataclass(frozen=True, slots=True)
class Target:
    """One family. No input has more than `most` bytes: the next bound is that of what comes before the parser."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    tokens: tuple[bytes, ...]
    most: int = MOST

    def __call__(self, data: bytes) -> None:
        with in_time():
            self.check(data[: self.most])


@contextmanager
def in_time() -> Iterator[None]:
    """CPU time of this thread, so that no busy neighbour counts."""
    began = time.thread_time()
    yield
    took = time.thread_time() - began
    assert took < PATIENCE, f"took {took:.1f} s"


class Feed:
    """Bytes, taken from the front. What is not there is empty."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def number(self) -> int:
        """One byte of it, 0 to 255."""
        first, self._rest = self._rest[:1], self._rest[1:]
        return int.from_bytes(first)

    def line(self) -> bytes:
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def text(self) -> str:
        """A line as a field's value is read."""
        return self.line().decode("latin-1")

    def rest(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest
