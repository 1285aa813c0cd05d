"""What the admin pages ask, of every worker of the instance: each answers for its own part, whoever was asked first
puts the parts together. With one worker there is nobody else to ask."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from proxy.insight.explained import Document, together
from proxy.insight.inventory import Inventory, Listing, Near, Row
from proxy.insight.samples import Sample
from proxy.insight.search import Search
from proxy.invalidation.purges import Count, Counting, Purger, Receipt
from proxy.observe.counters import Counters
from proxy.observe.figures import Figures
from proxy.observe.merging import merged
from proxy.outcome import Tier
from proxy.server.admin.explain import Question


class Ask(Protocol):
    """Asks every other worker, and the parent; what those say who answer in time."""

    async def __call__(self, verb: str, *args: object) -> Sequence[Any]: ...


class Explain(Protocol):
    """What would become of a request in this worker."""

    async def __call__(self, question: Question) -> Document: ...


async def nobody(verb: str, *args: object) -> Sequence[Any]:
    """There is one worker alone."""
    return ()


class Everywhere:
    """`own` counts and measures this worker, `samples` are what it fetched last, `explain` says what it would answer.
    `duties` is what others may ask of it, by verb."""

    def __init__(
        self,
        own: Callable[[], tuple[Counters, Figures]],
        inventory: Inventory,
        purger: Purger,
        samples: Callable[[], list[Sample]],
        explain: Explain,
        ask: Ask = nobody,
    ) -> None:
        self._own = own
        self._explain = explain
        self._inventory = inventory
        self._purger = purger
        self._samples = samples
        self._ask = ask

    @property
    def duties(self) -> Mapping[str, Callable[..., Awaitable[object]]]:
        return {
            "take": self._take,
            "near": self._inventory.near,
            "named": self._inventory.named_near,
            "clear": self._inventory.clear_near,
            "count": self._purger.count,
            "receipt": self._receipt,
            "samples": self._sampled,
            "explain": self._explain,
        }

    async def take(self) -> tuple[Counters, Figures]:
        """What was counted, and how things stand."""
        parts = [self._own(), *await self._ask("take")]
        return Counters.merged([counters for counters, _ in parts]), merged([figures for _, figures in parts])

    async def listed(self, limit: int, search: Search) -> Listing:
        """As `Inventory.listed`, with what lies in the memory of the others."""
        others: Sequence[Near] = await self._ask("near", limit, search)
        return await self._inventory.listed(limit, search, others)

    async def named(self, key: str) -> Sequence[Row]:
        """As `Inventory.named`, with what lies in the memory of the others: a key is shown once, from the nearest
        tier of whoever has it."""
        rows: dict[str, Row] = {}
        for row in [
            *await self._inventory.named(key),
            *(row for part in await self._ask("named", key) for row in part),
        ]:
            held = rows.get(row["key"])
            if held is None or (row["tier"] == Tier.MEMORY.value) > (held["tier"] == Tier.MEMORY.value):
                rows[row["key"]] = row
        return list(rows.values())

    async def clear(self, tier: Tier | None, pattern: str | None) -> int:
        """As `Inventory.clear`; of memory and of what is held in parts, every worker's. A tier that all share is
        emptied by one of them."""
        went = await self._inventory.clear(tier, pattern)
        parts = await self._ask("clear", tier, pattern)
        return went if tier is None else went + sum(parts)

    async def count(self, counting: Counting) -> Count:
        """What a purge hits in the memory of all workers."""
        return Count.sum([await self._purger.count(counting), *await self._ask("count", counting)])

    async def receipt(self, id: str) -> Receipt | None:
        """A receipt again, whoever gave it."""
        here = await self._purger.receipt(id)
        return here or next((receipt for receipt in await self._ask("receipt", id) if receipt is not None), None)

    async def samples(self) -> list[Sample]:
        """The answers that were fetched last."""
        return [*self._samples(), *(sample for part in await self._ask("samples") for sample in part)]

    async def _sampled(self) -> list[Sample]:
        return self._samples()

    async def explain(self, question: Question) -> Document:
        """What would become of a request here, and, side by side, in the others: each has a memory and flights of its
        own, and a connection may be anybody's."""
        own = await self._explain(question)
        return together(own, await self._ask("explain", question))

    async def _take(self) -> tuple[Counters, Figures]:
        return self._own()

    async def _receipt(self, id: str) -> Receipt | None:
        return await self._purger.receipt(id)
