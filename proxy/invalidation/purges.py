"""Purging as endpoints, PURGE and unsafe methods ask for it: a request in, a receipt out.

The journal's record is what makes a purge hold. Deleting what a url or key names saves the space at once, and counting
what was hit in memory is a courtesy with a time limit; neither can fail a purge.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from proxy.entry import Entry
from proxy.hooks import hook
from proxy.invalidation.journal import DEAD, Journal
from proxy.invalidation.purge_requests import PurgeError, PurgeRequest
from proxy.invalidation.records import Appended, Kind, Matcher, Purge, Spread, url_name

COUNT_LIMIT = 0.050  # seconds of counting
SLICE = 0.005  # of it, after which other work gets its turn
BATCH = 64  # entries counted between two looks at the clock: however busy the machine is, few are counted exactly
DROP_LIMIT = 1.0  # seconds that a receipt waits for deletes
KEEP_LIMIT = 1.0  # seconds that a receipt waits for the disk; then it says that the purge is not known to outlive us
WAIT_LIMIT = 0.25  # seconds that the answer to an unsafe request waits for it
SAMPLE = 20
RECEIPTS = 1000


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a purge. `exact`: the count of `matched` came to its end. `complete`: every live instance has
    applied it."""

    id: str
    kind: Kind
    soft: bool
    at: float  # wall-clock seconds
    instances: Mapping[str, str]
    matched: int = 0
    exact: bool = True
    durable: bool = True
    dry_run: bool = False
    sample: tuple[str, ...] = ()
    complete: bool = True

    def to_json(self) -> dict[str, Any]:
        """The receipt as the contract shows it."""
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind.value,
            "soft": self.soft,
            "matched": {"memory": self.matched},
            "exact": self.exact,
            "instances": dict(self.instances),
            "complete": self.complete,
            "at": at,
            "durable": self.durable,
        }
        return body | {"dry_run": True, "sample": list(self.sample)} if self.dry_run else body


class Log(Protocol):
    """The journal and the transport that keeps it."""

    @property
    def journal(self) -> Journal: ...
    @property
    def instance(self) -> str: ...
    @property
    def durable(self) -> bool: ...

    async def apply(self, purge: Purge) -> Appended:
        """Let it hold, here and on every other worker, before it returns."""
        ...


class Others(Protocol):
    """The other instances, as far as purges of this one have spread to them."""

    async def spread(self, id: str, seconds: float = 1.0) -> Spread:
        """When all have applied it, or after so many seconds."""
        ...


class Counting(NamedTuple):
    """What to count: entries that are alive and named by the purge, or, with its `number`, were alive before it."""

    purge: Purge
    number: int | None = None


class Count(NamedTuple):
    """How many there are in memory, whether they were all looked at, and the URLs of some."""

    matched: int
    exact: bool
    sample: tuple[str, ...]

    @classmethod
    def sum(cls, parts: Sequence["Count"]) -> "Count":
        urls = dict.fromkeys(url for part in parts for url in part.sample)
        return cls(sum(part.matched for part in parts), all(part.exact for part in parts), tuple(urls)[:SAMPLE])


Forms = Callable[[str, str], Iterable[str]]  # (host, or "" for every one; target) -> the targets rules make of it
Drop = Callable[[Kind, Sequence[str]], Awaitable[object]]


class Purger:
    """Applies purges. `clock` is wall time and `ticks` a steady one, both in seconds.

    `memory` gives the entries of the memory tier, safe to iterate across awaits; `drop` deletes what urls or keys
    name, in every tier, as far as it can; `on_purge` hears of every record once it holds. `others`: None when no
    instance shares the journal. Receipts are kept for `receipt_life` seconds, RECEIPTS at most.
    """

    def __init__(
        self,
        log: Log,
        clock: Callable[[], float],
        *,
        forms: Forms,
        drop: Drop,
        scan_memory: Callable[[], Iterable[Entry]],
        on_purge: Callable[[Purge], None] = lambda purge: None,
        others: Others | None = None,
        ticks: Callable[[], float] = time.monotonic,
        receipt_life: float = 3600.0,
    ) -> None:
        self._log = log
        self._clock = clock
        self._forms = forms
        self._drop = drop
        self._scan_memory = scan_memory
        self._on_purge = on_purge
        self._others = others
        self._ticks = ticks
        self._receipt_life = receipt_life
        self.everywhere: Callable[[Counting], Awaitable[Count]] = self.count  # with several workers: in all of them
        self._receipts: OrderedDict[str, tuple[float, Receipt]] = OrderedDict()

    async def purge(self, request: PurgeRequest) -> Receipt:
        """Apply the purge before anything else, then count what it hit. PurgeError for an abbreviated key."""
        if request.short:
            raise PurgeError("key: an abbreviated key has to be resolved first")
        purge = Purge(
            secrets.token_hex(8), request.kind, self._names(request), request.soft, self._clock(), self._log.instance
        )
        receipt = await (self._try(purge) if request.dry_run else self._apply(purge))
        self._receipts[receipt.id] = self._ticks(), receipt
        self._forget_old_receipts()
        return receipt

    async def invalidate(self, requests: Iterable[PurgeRequest]) -> tuple[int, ...]:
        """Apply purges that no operator asked for: nothing is counted and there are no receipts. They hold at once,
        and outlive this process when this returns, unless the disk hangs; the numbers of their records."""
        purges = [
            Purge(secrets.token_hex(8), each.kind, self._names(each), each.soft, self._clock(), self._log.instance)
            for each in requests
        ]
        applied = [await self._log.apply(purge) for purge in purges]
        for purge in purges:
            self._on_purge(purge)
        await asyncio.gather(*(_in_time(each.kept, WAIT_LIMIT) for each in applied))
        return tuple(each.number for each in applied)

    async def receipt(self, id: str) -> Receipt | None:
        """A receipt again, as long as it is kept."""
        self._forget_old_receipts()
        kept = self._receipts.get(id)
        if kept is None:
            return None
        at, receipt = kept
        if self._others is not None and not receipt.complete:
            receipt = replace(receipt, **(await self._others.spread(id, 0.0))._asdict())
            if id in self._receipts:
                self._receipts[id] = at, receipt
        return receipt

    @hook
    async def _apply(self, purge: Purge) -> Receipt:
        number, kept = await self._log.apply(purge)
        self._on_purge(purge)
        keeping = asyncio.ensure_future(_in_time(kept, KEEP_LIMIT))
        count = await self.everywhere(Counting(purge, number))  # at once: whoever wrote meanwhile takes his entry away
        durable = await keeping
        spread, _ = await asyncio.gather(self._spread(purge), self._free(purge))
        return Receipt(
            purge.id,
            purge.kind,
            purge.soft,
            purge.at,
            spread.instances,
            count.matched,
            count.exact,
            durable,
            complete=spread.complete,
        )

    async def _spread(self, purge: Purge) -> Spread:
        if self._others is None:
            return Spread({self._log.instance: "applied"}, complete=True)
        return await self._others.spread(purge.id)

    async def _free(self, purge: Purge) -> None:
        """Delete what it names; the record holds whether or not the space is freed now."""
        if purge.kind in (Kind.URL, Kind.KEY) and not purge.soft:
            with suppress(Exception):
                async with asyncio.timeout(DROP_LIMIT):
                    await self._drop(purge.kind, purge.names)

    async def _try(self, purge: Purge) -> Receipt:
        count = await self.everywhere(Counting(purge))
        counted = (count.matched, count.exact, self._log.durable)
        return Receipt(purge.id, purge.kind, purge.soft, purge.at, {}, *counted, dry_run=True, sample=count.sample)

    def _names(self, request: PurgeRequest) -> tuple[str, ...]:
        if request.kind is not Kind.URL:
            return tuple(dict.fromkeys(request.names))
        names = dict.fromkeys(request.names)
        for name in request.names:
            host, _, target = name.partition("|")
            names |= dict.fromkeys(url_name(host, form) for form in self._forms(host, target))
        return tuple(names)

    async def count(self, counting: Counting) -> Count:
        """What a purge hits in this worker's memory, for at most COUNT_LIMIT seconds."""
        purge, record = counting
        journal, fits = self._log.journal, Matcher(purge)

        def alive(entry: Entry) -> bool:
            return journal.ended(entry) != DEAD if record is None else journal.alive_before(entry, record)

        matched = 0
        sample: list[str] = []
        began = turn = self._ticks()
        for number, entry in enumerate(self._scan_memory(), 1):
            if number % BATCH == 0:
                now = self._ticks()
                if now - began >= COUNT_LIMIT:
                    return Count(matched, False, tuple(sample))
                if now - turn >= SLICE:
                    await asyncio.sleep(0)
                    turn = self._ticks()
            if fits(entry) and alive(entry):
                matched += 1
                if len(sample) < SAMPLE:
                    sample.append(entry.parts.url if entry.parts.host else entry.parts.target)
        return Count(matched, True, tuple(sample))

    def _forget_old_receipts(self) -> None:
        now = self._ticks()
        while self._receipts:
            kept_at, _ = next(iter(self._receipts.values()))
            if len(self._receipts) <= RECEIPTS and now - kept_at < self._receipt_life:
                return
            self._receipts.popitem(last=False)


async def _in_time(kept: Awaitable[bool], seconds: float) -> bool:
    """Whether it is on disk by then."""
    try:
        async with asyncio.timeout(seconds):
            return await kept
    except TimeoutError:
        return False
