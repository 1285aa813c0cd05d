"""Clients that do as little as they can, in a process: `python -m tests.load.pounding PORT CLIENTS PATHS`.

One process that notes every answer is slower than a gateway that answers from memory; several of these are not. It
prints a line when its connections are open, begins when it reads a number of seconds, and ends with one line of JSON.
"""

import asyncio
import gc
import json
import sys
from itertools import cycle, islice
from time import monotonic

from tests.load.scenarios import HOST


class _Tally:
    def __init__(self, paths: int) -> None:
        self.asked = [f"GET /paths/{number} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() for number in range(paths)]
        self.answers = self.hits = self.errors = 0
        self.end = 0.0


class _Client(asyncio.Protocol):
    def __init__(self, tally: _Tally, number: int) -> None:
        self._tally = tally
        self._next = cycle(tally.asked[number % len(tally.asked) :] + tally.asked[: number % len(tally.asked)])
        self._got = b""
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def begin(self) -> None:
        self._transport.write(next(self._next))

    def data_received(self, data: bytes) -> None:
        self._got += data
        head = self._got.find(b"\r\n\r\n")
        if head < 0 or len(self._got) < head + 4 + _length(self._got, head):
            return
        tally = self._tally
        tally.answers += 1
        tally.errors += not self._got.startswith(b"HTTP/1.1 200")
        tally.hits += self._got.find(b"\r\nX-Cache: HIT\r\n", 0, head + 2) >= 0
        self._got = b""
        if monotonic() < tally.end:
            self.begin()
        else:
            self.over.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self._tally.errors += 1
            self.over.set_result(None)


def _length(got: bytes, head: int) -> int:
    at = got.find(b"\r\nContent-Length: ", 0, head)
    return int(got[at + 18 : got.index(b"\r\n", at + 2)]) if at >= 0 else 0


async def pound(port: int, clients: int, paths: int) -> None:
    loop, tally = asyncio.get_running_loop(), _Tally(paths)
    opened = [await loop.create_connection(lambda n=n: _Client(tally, n), "127.0.0.1", port) for n in range(clients)]
    print("open", flush=True)
    seconds = float(await loop.run_in_executor(None, sys.stdin.readline))
    gc.disable()
    began = monotonic()
    tally.end = began + seconds
    for _, client in opened:
        client.begin()
    await asyncio.gather(*(client.over for _, client in opened))
    took = monotonic() - began
    for transport, _ in opened:
        transport.close()
    told = {"answers": tally.answers, "hits": tally.hits, "errors": tally.errors, "seconds": took}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(pound(*(int(each) for each in islice(sys.argv, 1, 4))))
