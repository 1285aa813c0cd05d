"""Minutes of the history on their way to where they outlive this process.

While that is away they wait here, and also in a file, from which the next process sends what this one could not.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from proxy.observe.minutes_file import MinutesFile
from proxy.redis.errors import RedisError

_log = logging.getLogger("cachegate")


class Minutes(Protocol):
    """Where minutes outlive us. RedisError or OSError when they cannot, now. `shared`: other instances keep theirs
    there too."""

    @property
    def shared(self) -> bool: ...

    async def put(self, minute: int, raw: bytes, who: str = "") -> None:
        """Keep all that we have counted in a minute so far; `who`: in the name of a process before us."""
        ...

    async def others(self, first: int, last: int) -> Mapping[int, Sequence[bytes]]:
        """What others have counted from minute `first` to `last`, those that we were before a restart included."""
        ...


class Unsent:
    """What `minutes` has not got yet. `spare` is a file of this instance's own, for one process at a time; None where
    `minutes` is a file itself."""

    def __init__(self, minutes: Minutes, spare: MinutesFile | None = None) -> None:
        self._minutes = minutes
        self._spare = spare
        self._waiting: dict[tuple[int, str], bytes] = {}  # ours are "": KEPT of them, and MOST that the file had
        self._written: dict[int, bytes] = {}  # of those, what the file has of our own
        self._opened = spare is None  # whether what was left for us has been read
        self._clean = spare is None  # whether the file is known to be away

    def add(self, minute: int, raw: bytes) -> None:
        """All that was counted here in a minute; it takes the place of what was."""
        self._waiting[minute, ""] = raw

    async def send(self, oldest: int) -> None:
        """Send what there is, as far as that can be done now, and keep what waits on; minutes that are not newer than
        `oldest` are given up."""
        await self._open(oldest)
        if await self._sent(oldest):
            await self._clear()
        else:
            await self.keep()

    async def keep(self) -> None:
        """Write down what of our own is not in the file yet; what was left for us is there."""
        if self._spare is None:
            return
        try:
            for (minute, who), raw in sorted(self._waiting.items()):
                if not who and self._written.get(minute) is not raw:
                    self._clean = False
                    await self._spare.put(minute, raw)
                    self._written[minute] = raw
        except OSError as error:
            _log.debug("the history of a minute is in memory alone: %s", error)

    async def _open(self, oldest: int) -> None:
        if self._opened or self._spare is None:
            return
        try:
            left = await self._spare.left(oldest)
        except OSError as error:
            _log.debug("the minutes that were left cannot be read now: %s", error)
            return
        self._opened = True
        self._waiting = left | self._waiting

    async def _sent(self, oldest: int) -> bool:
        """Whether nothing waits any more."""
        for (minute, who), raw in sorted(self._waiting.items()):
            try:
                if minute > oldest:
                    await self._minutes.put(minute, raw, who)
            except (RedisError, OSError) as error:
                _log.debug("the history of a minute waits: %s", error)
                return False
            if self._waiting.get((minute, who)) is raw:  # there may be more of it by now
                del self._waiting[minute, who]
        return not self._waiting

    async def _clear(self) -> None:
        """The file has nothing that would have to be sent."""
        if self._clean or not self._opened or self._spare is None:
            return
        try:
            await self._spare.clear()
        except OSError as error:
            _log.debug("the minutes that were sent are still in their file: %s", error)
        else:
            self._clean = True
            self._written.clear()
