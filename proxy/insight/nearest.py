"""The stored answer whose key is the nearest to one that was not found, and by what the two differ.

Near is what has the same path, or lies on the same host beside it: one segment of the path is another. Of these the one
that differs in the fewest parts of the key. The search is bounded in time, and says when it was cut.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from proxy.entry import Entry, KeyParts, Pairs
from proxy.outcome import Tier

BATCH = 64  # entries between two looks at the clock
SLICE = 0.005  # seconds, after which other work gets its turn
NEAR_SECONDS = 0.05  # for what is in memory
FAR_SECONDS = 0.25  # for the heads of what is on disk, which takes a read for each
_VARY = "vary."
_CLOSEST = (False, 1)  # nothing is nearer than what differs in one part

Differences = Mapping[str, tuple[str | None, str | None]]


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest; `differs` has what is asked for and what is stored by the name of each part that differs."""

    entry: Entry
    tier: Tier
    differs: Differences

    @property
    def url(self) -> str:
        parts = self.entry.parts
        return parts.url if parts.host else parts.target

    @property
    def cost(self) -> tuple[bool, int]:
        return cost(self.differs)


@dataclass(frozen=True, slots=True)
class Search:
    """What was found among so many that were `looked` at; `complete` says whether these were all."""

    nearest: Nearest | None = None
    looked: int = 0
    complete: bool = True


def cost(differs: Collection[str]) -> tuple[bool, int]:
    """What is less is nearer: the same path goes before all else."""
    return any(name.startswith("path[") for name in differs), len(differs)


def differences(one: KeyParts, other: KeyParts) -> Differences:
    """The parts of two keys that differ, by names as rules have them: "host", "query.ts", "header.accept",
    "cookie.tenant", "path[2]"."""
    here, there = _named(one), _named(other)
    found = {name: (here.get(name), there.get(name)) for name in here | there if here.get(name) != there.get(name)}
    if not any(name.startswith("query.") for name in found) and one.query != other.query:
        found["query"] = one.query, other.query  # the same parameters in another order, or spelled otherwise
    return found


def vary_differences(wanted: Callable[[str], str], entry: Entry) -> Differences:
    """Where a variant of an answer differs from what the request asks for; `wanted` gives its value of a field."""
    return {f"{_VARY}{name}": (own, value) for name, value in entry.vary if (own := wanted(name)) != value}


class Searching:
    """One search. `wanted`: the key's parts; `vary`: the request's value of a field that answers may vary by; `good`
    says of an entry that no purge ended it; `ticks` measures, in seconds."""

    def __init__(
        self, wanted: KeyParts, vary: Callable[[str], str], good: Callable[[Entry], bool], ticks: Callable[[], float]
    ) -> None:
        self._wanted = wanted
        self._vary = vary
        self._good = good
        self._ticks = ticks
        self._segments = wanted.path.split("/")
        self._best: Nearest | None = None
        self._looked = 0

    async def among(self, entries: Iterable[Entry], far: AsyncIterator[Entry]) -> Search:
        """The nearest of what is in memory, and of what is on disk where nothing near was found there."""
        complete = await self._near(entries)
        if self._best is None or self._best.cost[0]:
            complete = await self._far(far) and complete
        return Search(self._best, self._looked, complete)

    async def _near(self, entries: Iterable[Entry]) -> bool:
        began = turn = self._ticks()
        for number, entry in enumerate(entries, 1):
            if number % BATCH == 0:
                now = self._ticks()
                if now - began >= NEAR_SECONDS:
                    return False
                if now - turn >= SLICE:
                    await asyncio.sleep(0)
                    turn = self._ticks()
            self._weigh(entry, Tier.MEMORY)
            if self._best is not None and self._best.cost <= _CLOSEST:
                return True
        return True

    async def _far(self, entries: AsyncIterator[Entry]) -> bool:
        try:
            async with asyncio.timeout(FAR_SECONDS):
                async for entry in entries:
                    self._weigh(entry, Tier.FILE)
        except TimeoutError:
            return False
        return True

    def _weigh(self, entry: Entry, tier: Tier) -> None:
        self._looked += 1
        parts = entry.parts
        if parts.path != self._wanted.path and not self._beside(parts):
            return
        differs = differences(self._wanted, parts) or vary_differences(self._vary, entry)
        found = Nearest(entry, tier, differs)
        if differs and (self._best is None or found.cost < self._best.cost) and self._good(entry):
            self._best = found

    def _beside(self, parts: KeyParts) -> bool:
        """Whether it lies on the same host, under a path of which one segment is another."""
        if parts.host != self._wanted.host:
            return False
        segments = parts.path.split("/")
        if len(segments) != len(self._segments) or len(segments) < 3:
            return False
        return sum(own != other for own, other in zip(segments, self._segments, strict=True)) == 1


def _named(parts: KeyParts) -> dict[str, str]:
    """What a key is made of, by name; the method goes before what hangs on it."""
    named: dict[str, str] = parts.scope._asdict()
    named |= {f"path[{n}]": segment for n, segment in enumerate(parts.path.split("/")[1:])}
    named |= _query(parts.query)
    named |= {"body": parts.body} if parts.body else {}
    return named | dict(_selected(parts.selected))


def _query(query: str | None) -> dict[str, str]:
    """Its parameters by name; the values of one that is repeated stand side by side."""
    values: dict[str, list[str]] = {}
    for member in (query or "").split("&"):
        if member:
            name, _, value = member.partition("=")
            values.setdefault(name, []).append(value)
    return {f"query.{name}": "&".join(each) for name, each in values.items()}


def _selected(selected: Pairs) -> Iterable[tuple[str, str]]:
    for name, value in selected:
        kind, colon, rest = name.partition(":")
        match kind:
            case "cookie" if colon:
                yield f"cookie.{rest}", value
            case "credential" if colon:
                yield f"header.{rest}", value
            case _:
                yield f"header.{name}", value
