"""What Redis gave before, asked for again with nobody but a callback that waits, and held against the journal."""

import math
from collections.abc import Callable

from proxy.entry import Found
from proxy.redis.reads import Told
from proxy.store.near import FarHeld, Standing
from proxy.store.redis_again import LaidBody, Mark, RedisAgain


class NearRedis:
    """Records that were found before and that no later purge matches. `trusted`: whether Redis gave no trouble lately;
    while `blind` says so, purges may have come that are not known here. `taken` hears of each that was used."""

    def __init__(
        self,
        again: RedisAgain,
        standing: Standing,
        *,
        trusted: Callable[[], bool],
        blind: Callable[[], bool],
        taken: Callable[[], None],
    ) -> None:
        self._again = again
        self._standing = standing
        self._trusted = trusted
        self._blind = blind
        self._taken = taken

    def held(self, found: Found) -> FarHeld[Mark] | None:
        """What was found just now, to be asked for again; None where it has to be looked for each time."""
        head = self._standing.head
        ended_at = self._standing.ended(found.entry)
        if ended_at == -math.inf or ended_at != found.ended_at:
            return None
        mark = self._again.mark(found.entry, head)
        if mark is None:
            return None
        body = found.entry.body
        return FarHeld(found, mark, body.beside.variants if isinstance(body, LaidBody) else ())

    def ask(self, mark: Mark, seconds: float, told: Told) -> bool:
        """Ask for it again; what is told within `seconds` is for `take`. False, and nothing is told, where it has to be
        looked for anew."""
        return mark.checked == self._standing.head and self._may() and self._again.ask(mark, seconds, told)

    def take(self, mark: Mark, said: object) -> bytes | None:
        """Take what was told, before its `until`, if a look with the same choice would find the same: its content. It
        is counted as a hit then. After any purge it has to be looked for anew."""
        if mark.checked != self._standing.head or not self._may():
            return None
        content = self._again.content(mark, said)
        if content is not None:
            self._taken()
        return content

    def _may(self) -> bool:
        return self._trusted() and not self._blind()
