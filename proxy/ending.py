"""How stored answers end: purged by operators, invalidated by unsafe requests, outdated by newer answers."""

from collections.abc import Awaitable, Callable, Sequence

from proxy.entry import Entry
from proxy.invalidation.purge_requests import PurgeRequest
from proxy.invalidation.records import Kind, PathPattern, Purge, url_name
from proxy.message import Fields, Request
from proxy.outcome import Tier
from proxy.place import Place
from proxy.policy.keys import Keyed, derive, url_forms
from proxy.rules import RuleTable
from proxy.server.admin.clearing import Cleared
from proxy.tiers import Tiers
from proxy.tracing import Parts


class Ending:
    """Ends answers in every tier, and everywhere. `table` gives the rules that hold now; `clock` is wall time in
    seconds; `on_purge` hears of every record once it holds."""

    def __init__(
        self,
        place: Place,
        tiers: Tiers,
        table: Callable[[], RuleTable],
        clock: Callable[[], float],
        on_purge: Callable[[Purge], None],
        receipt_life: float,
        parts: Parts,
    ) -> None:
        self._tiers = tiers
        self._table = table
        self.purger = parts.purger(
            place.log,
            clock,
            forms=lambda host, target: url_forms(table(), host, target),
            drop=self._drop,
            scan_memory=tiers.near_entries,
            on_purge=on_purge,
            others=place.others,
            receipt_life=receipt_life,
        )

    async def invalidate(
        self, named: tuple[tuple[str, str], ...], patterns: tuple[str, ...], tags: tuple[str, ...]
    ) -> tuple[int, ...]:
        """What a successful unsafe request ends: (host, target)s, patterns, tags. The numbers of its records."""
        wanted = {
            Kind.URL: tuple(url_name(host, target) for host, target in named),
            Kind.PATTERN: patterns,
            Kind.TAG: tags,
        }
        return await self.purger.invalidate([PurgeRequest(kind, names) for kind, names in wanted.items() if names])

    async def outdate(self, entry: Entry) -> None:
        """End what a newer answer has shown to be the past."""
        await self.purger.invalidate([PurgeRequest(Kind.KEY, (entry.key,))])

    async def clear(
        self,
        everywhere: Callable[[Tier | None, str | None], Awaitable[int]],
        tier: Tier | None,
        pattern: str | None,
    ) -> Cleared:
        """One tier is emptied here; all of them are purged first: nothing of it is good anywhere from then on, however
        long it takes to free the space, and nothing under way brings it back. `everywhere` frees the space in each
        worker, and says how many entries went."""
        if pattern is not None:
            PathPattern.parse(pattern)
        receipt = None
        if tier is None:
            kind, names = (Kind.ALL, ()) if pattern is None else (Kind.PATTERN, (pattern,))
            receipt = await self.purger.purge(PurgeRequest(kind, names))
        went = await everywhere(tier, pattern)
        # What was still being stored may have gone by itself when it found itself purged.
        return Cleared(went if receipt is None else max(went, receipt.matched), receipt)

    async def _drop(self, kind: Kind, names: Sequence[str]) -> None:
        """Free the space of what keys, or the plain requests for urls, name; the journal has ended all of it."""
        for name in names:
            if kind is Kind.KEY:
                await self._tiers.tiered.delete(name)
                continue
            host, _, target = name.partition("|")
            for scheme in ("http", "https"):
                request = Request("GET", scheme, host, target, _NO_FIELDS)
                keyed = derive(request, self._table().match(request))
                if isinstance(keyed, Keyed):
                    await self._tiers.tiered.delete(keyed.hash)


_NO_FIELDS = Fields()
