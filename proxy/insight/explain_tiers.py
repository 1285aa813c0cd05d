"""What each tier holds for a request, read so that nothing there changes: no figure, no order, no promotion."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from proxy.entry import Found, Variant
from proxy.errors import StoreError
from proxy.invalidation.journal import DEAD, Ender, Journal
from proxy.message import Request
from proxy.outcome import Tier
from proxy.policy.reuse import Choice
from proxy.redis.budget import one_budget
from proxy.rules import Rule
from proxy.store import Store
from proxy.store.guarded import Guarded
from proxy.store.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class Look:
    """One tier, looked at. `found` lies there for this request, whether a purge ended it (`ender`) or not; `variants`
    are so many as it chose among. `trouble`: why nobody knows what the tier has, "" where it has."""

    tier: Tier
    found: Found | None = None
    ender: Ender | None = None
    variants: int = 0
    trouble: str = ""
    again: bool = False  # it is looked into once more behind the others, without what a purge ended

    @property
    def good(self) -> Found | None:
        """What a lookup would give."""
        return None if self.found is None or self.found.ended_at == DEAD else self.found

    @property
    def others(self) -> bool:
        """Whether variants lie there, of which none fits."""
        if self.again and self.found is not None and self.good is None:
            return self.variants > 1
        return self.found is None and self.variants > 0


class Survey:
    """Looks into `stores`, nearest first. `journal` says what was purged, as far as is known by now; while `blind`
    says so nothing is found, and while memory is `full` the far tiers are not asked."""

    def __init__(
        self,
        stores: Mapping[Tier, Store],
        memory: MemoryStore | None,
        journal: Callable[[], Journal],
        blind: Callable[[], bool],
        full: Callable[[], bool],
    ) -> None:
        self._stores = stores
        self._memory = memory
        self._journal = journal
        self._blind = blind
        self._full = full

    @property
    def blind(self) -> bool:
        """Whether nothing is found because nothing may be trusted."""
        return self._blind()

    async def __call__(self, request: Request, rule: Rule, hash: str) -> tuple[Look, ...]:
        """Every tier there is, also those behind the one that answers."""
        if self.blind:
            return tuple(
                Look(tier, trouble="cut off: purges may have come that are not known here") for tier in self._stores
            )
        looks = []
        with one_budget():
            for tier, store in self._stores.items():
                listening = _Listening(Choice(request, rule))
                if tier is not Tier.MEMORY:
                    looks.append(await self._far(tier, store, hash, listening))
                elif self._memory is not None:
                    slot = self._memory.look(hash, listening)
                    found, again = None if slot is None else Found(slot.entry, tier), len(self._stores) > 1
                    looks.append(Look(tier, found, variants=listening.heard, again=again))
        return tuple(map(self._judged, looks))

    async def _far(self, tier: Tier, store: Store, hash: str, listening: "_Listening") -> Look:
        if self._full():
            return Look(tier, trouble="not asked: memory has no room for more")
        try:
            entry = await (store.glance if isinstance(store, Guarded) else store.get)(hash, listening)
        except StoreError as error:
            return Look(tier, trouble=str(error))
        if entry is None:
            return Look(tier, variants=listening.heard)
        entry.body.close()
        return Look(tier, Found(entry, tier), variants=listening.heard)

    def _judged(self, look: Look) -> Look:
        """Held against the journal."""
        if look.found is None:
            return look
        ender = self._journal().ender(look.found.entry)
        if ender is None:
            return look
        return replace(look, found=replace(look.found, ended_at=ender.at), ender=ender)


class _Listening:
    """A choice that remembers among how many it was."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self.heard = 0

    def __call__(self, variants: Iterable[Variant]) -> str | None:
        seen = list(variants)
        self.heard = len(seen)
        return self._choice(seen)
