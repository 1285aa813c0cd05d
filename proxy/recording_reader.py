"""One reading of an answer's body while that comes in (`recording`)."""

from collections.abc import Awaitable, Callable
from typing import Self


class Reader:
    """One reading of a recording, from byte 0. Close it when it is left before its end."""

    __slots__ = ("_leave", "_pull", "_whole", "position")

    def __init__(self, pull: "Pull", leave: "Leave", whole: "Whole") -> None:
        self.position = 0
        self._pull = pull
        self._leave = leave
        self._whole = whole

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next bytes, at most CHUNK; raises what made the recording fail, StoreError when a spool does."""
        chunk = await self._pull(self)
        if not chunk:
            self._leave(self)
            raise StopAsyncIteration
        return chunk

    def whole(self) -> bytes | None:
        """The whole body at once, and the reader has left: where it is complete, in memory, and none of it was read."""
        data = self._whole() if self.position == 0 else None
        if data is not None:
            self._leave(self)
        return data

    def leave(self) -> None:
        """Read no more; idempotent."""
        self._leave(self)

    async def aclose(self) -> None:
        """`leave`, as an async iterator has it."""
        self._leave(self)


Pull = Callable[[Reader], Awaitable[bytes]]
Leave = Callable[[Reader], None]
Whole = Callable[[], bytes | None]
