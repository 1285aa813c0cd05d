"""A process to be killed: fills a file tier without end, or stops in the middle of one record."""

import asyncio
import sys
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from time import time

from proxy.entry import Entry
from proxy.store.file import FileStore
from tests.support.entries import entry


def numbered(number: int) -> Entry:
    """Its body says which one it is, from the first byte to the last."""
    path = f"/{number % 20}"
    return entry(path, f"{path}|".encode() * (1 + number * 7919 % 100_000), keep_until=2**33)


class Stuck:
    """A body that never ends: half of it is on disk when `half` is printed."""

    size = 4_000_000
    data = None

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        print("half", flush=True)
        await asyncio.Event().wait()

    def close(self) -> None:
        pass


async def main(dir: Path, mode: str) -> None:
    store = FileStore(dir, max_bytes=1 << 28, max_object=1 << 24, clock=time)
    await store.open()
    if mode == "stuck":
        await store.put(entry("/whole", b"whole", keep_until=2**33))
        await store.put(entry("/stuck", Stuck(), keep_until=2**33))
    for number in count():
        await store.put(numbered(number))
        if number == 10:
            print("going", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
