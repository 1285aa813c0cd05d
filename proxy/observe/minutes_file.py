"""Minutes of the history in a file beside the journal: lines that are only added, so that a restart loses none.

A line is the minute, who counted it, and the span in base64; the last line of a minute and a counter holds. What is no
such line is left out. The file is written anew when it is opened, and when it has LINES lines, with the newest that
count.
"""

import asyncio
import os
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from proxy.observe.history import KEPT
from proxy.observe.span import MAX_PACKED

LINES = 3 * KEPT
MOST = 2 * KEPT  # lines that are written anew: processes that end soon, one after the other, leave more for a minute
_LONGEST = 2 * MAX_PACKED  # bytes of a line
_DIGITS = 12  # of a minute
T = TypeVar("T")


class MinutesFile:
    """The file at `path`, for one process at a time; `own` tells our lines from those of the process before us."""

    shared = False

    def __init__(self, path: Path, own: str) -> None:
        self._path = path
        self._own = own
        self._lines = LINES  # it is read and written anew first
        self._asked = False
        # Of threads, since one goes on when who waits for it is cancelled: a line must not fall between two files.
        self._turn = threading.Lock()
        self._doing: set[asyncio.Future[Any]] = set()

    async def put(self, minute: int, raw: bytes, who: str = "") -> None:
        """Keep all that we have counted in a minute so far; `who`: in the name of a process before us. OSError."""
        await self._aside(self._put, minute, raw, who or self._own)

    async def left(self, oldest: int) -> dict[tuple[int, str], bytes]:
        """What the processes before us have put, of minutes newer than `oldest`, with who they were; MOST at most.
        OSError."""
        found = await self._aside(self._opened, oldest + 1)
        return {(minute, who): b64decode(raw) for (minute, who), raw in found.items() if who != self._own}

    async def clear(self) -> None:
        """Nothing of it is wanted any more. OSError."""
        await self._aside(self._clear)

    async def others(self, first: int, last: int) -> Mapping[int, Sequence[bytes]]:
        """What the processes before us have counted since minute `first`; nothing when it was asked before. OSError."""
        if self._asked:
            return {}
        found = await self._aside(self._opened, first)
        self._asked = True
        told: dict[int, list[bytes]] = {}
        for (minute, who), raw in found.items():
            if who != self._own:
                told.setdefault(minute, []).append(b64decode(raw))
        return told

    async def settled(self, within: float) -> None:
        """Wait for what goes on though nobody waits for it any more, so many seconds: after that the file is another
        process's."""
        if self._doing:
            await asyncio.wait(self._doing, timeout=within)

    async def _aside(self, work: Callable[..., T], *args: Any) -> T:
        doing = asyncio.ensure_future(asyncio.to_thread(work, *args))
        self._doing.add(doing)
        doing.add_done_callback(self._done)
        return await asyncio.shield(doing)

    def _done(self, doing: "asyncio.Future[Any]") -> None:
        self._doing.discard(doing)
        if not doing.cancelled():
            doing.exception()  # whoever has gone wants no log of it

    def _put(self, minute: int, raw: bytes, who: str) -> None:
        with self._turn:
            if self._lines >= LINES:
                self._compact(minute - KEPT)
            before, self._lines = self._lines, LINES  # should it fail: what half a line is left is not written on
            with open(self._path, "ab", opener=_private) as file:
                file.write(b"%d %b %b\n" % (minute, who.encode(), b64encode(raw)))
            self._lines = before + 1

    def _clear(self) -> None:
        with self._turn:
            self._path.unlink(missing_ok=True)
            self._lines = 0

    def _opened(self, first: int) -> dict[tuple[int, str], bytes]:
        with self._turn:
            return self._compact(first)

    def _compact(self, first: int) -> dict[tuple[int, str], bytes]:
        """Write it anew with the lines alone that hold; blocks."""
        found = self._read(first)
        found = {key: found[key] for key in sorted(found)[-MOST:]}
        beside = self._path.with_name(f"{self._path.name}.new")
        lines = [b"%d %b %b\n" % (minute, who.encode(), raw) for (minute, who), raw in found.items()]
        with open(beside, "wb", opener=_private) as file:
            file.writelines(lines)
        beside.replace(self._path)
        self._lines = len(lines)
        return found

    def _read(self, first: int) -> dict[tuple[int, str], bytes]:
        found: dict[tuple[int, str], bytes] = {}
        try:
            with self._path.open("rb") as file:
                while line := file.readline(_LONGEST):
                    match line.split():
                        case [minute, who, raw] if minute.isdigit() and len(minute) <= _DIGITS and who.isalnum():
                            if int(minute) >= first:
                                found[int(minute), who.decode("ascii")] = _sound(raw)
        except FileNotFoundError:
            pass
        return found


def _sound(raw: bytes) -> bytes:
    """The same where it is base64, else nothing of it."""
    try:
        b64decode(raw, validate=True)
    except ValueError:
        return b""
    return raw


def _private(path: str, flags: int) -> int:
    """Nobody else reads it, made anew after somebody deleted it too."""
    return os.open(path, flags, 0o600)
