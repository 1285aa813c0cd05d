"""The file tier where it answers as memory does: at once, what the kernel holds of it, and nothing purged."""

import math
from collections.abc import Callable

from proxy.entry import Entry, Found, Select
from proxy.outcome import Tier
from proxy.store.file_warm import Mark, Warm
from proxy.store.near import FarHeld, Standing


class NearFile:
    """What is warm among the records that no later purge matches. `taken` hears of each entry that was found and
    used."""

    def __init__(self, warm: Warm, standing: Standing, taken: Callable[[Entry | None], None]) -> None:
        self._warm = warm
        self._standing = standing
        self._taken = taken

    def look(self, hash: str, select: Select) -> FarHeld[Mark] | None:
        """The variant that `select` picks; None leaves no trace."""
        head, sight = self._standing.head, self._warm.look(hash, select)
        if sight is None:
            return None
        ended_at = self._standing.ended(sight.entry)
        if ended_at == -math.inf:
            return None
        sight.mark.checked = head
        return FarHeld(Found(sight.entry, Tier.FILE, ended_at), sight.mark, sight.variants)

    def take(self, held: FarHeld[Mark]) -> None:
        """Count it as a hit."""
        self._warm.take(held.slot)
        self._taken(held.found.entry)

    def again(self, mark: Mark) -> bytes | None:
        """Take what was found before, before its `until`, if `look` with the same choice would find the same: its
        content. After any purge it has to be looked for anew."""
        if mark.checked != self._standing.head:
            return None
        content = self._warm.again(mark)
        if content is not None:
            self._warm.take(mark)
            self._taken(None)
        return content
