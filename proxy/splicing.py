"""What is held of an answer and what is just being fetched of it, read as one body."""

from collections.abc import AsyncIterator

from proxy.entry import Body
from proxy.errors import StoreError
from proxy.policy.parts import Extents
from proxy.policy.ranges import Part
from proxy.recording_reader import Reader


class SplicedBody:
    """A `Body` of `held.size` bytes: what `extents` cover comes from `held`, the rest from `reader`, which gives the
    bytes of `fetched` once and in order. StoreError when that ends early, or goes on. Takes over both."""

    __slots__ = ("_at", "_extents", "_fetched", "_held", "_reader", "_rest", "size")

    data = None

    def __init__(self, held: Body, extents: Extents, fetched: Part, reader: Reader) -> None:
        self.size = held.size
        self._held = held
        self._extents = extents
        self._fetched = fetched
        self._reader = reader
        self._at = fetched.start  # where `_rest` begins
        self._rest = b""

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        wanted = Part(start, self.size if end is None else min(end, self.size))
        at = wanted.start
        for gap in self._extents.gaps(wanted):
            async for chunk in self._there(at, gap.start):
                yield chunk
            async for chunk in self._come(gap):
                yield chunk
            at = gap.end
        async for chunk in self._there(at, wanted.end):
            yield chunk

    async def verify(self) -> None:
        pass

    def share(self) -> "SplicedBody":
        raise StoreError("what is being fetched is read once")

    def close(self) -> None:
        self._held.close()
        self._reader.leave()

    async def _there(self, start: int, end: int) -> AsyncIterator[bytes]:
        if start < end:
            async for chunk in self._held.read(start, end):
                yield chunk

    async def _come(self, gap: Part) -> AsyncIterator[bytes]:
        """The bytes of a gap; the last ones that were announced come out once there is proof that no more came."""
        while self._at < gap.end:
            chunk = self._rest or await self._next()
            skipped = min(len(chunk), max(0, gap.start - self._at))
            taken = chunk[skipped : skipped + gap.end - max(self._at, gap.start)]
            self._at += skipped + len(taken)
            self._rest = chunk[skipped + len(taken) :]
            if self._at == self._fetched.end and (self._rest or await anext(self._reader, b"")):
                raise StoreError("more came than was announced")
            if taken:
                yield taken

    async def _next(self) -> bytes:
        chunk = await anext(self._reader, b"")
        if not chunk:
            raise StoreError("less came than was announced")
        return chunk
