"""Purging as endpoints, PURGE and unsafe methods ask for it: a request in, a receipt out.

The journal's record is what makes a purge hold. Deleting what a url or key names saves the space at once, and counting
what was hit in memory is a courtesy with a time limit; neither can fail a purge.
"""

import asyncio
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from proxy.entry import Entry
from proxy.errors import CachegateError
from proxy.invalidation.journal import DEAD, Journal
from proxy.invalidation.records import Appended, Kind, Matcher, Purge, Spread, url_name

COUNT_LIMIT = 0.050  # seconds of counting
SLICE = 0.005  # of it, after which other work gets its turn
DROP_LIMIT = 1.0  # seconds that a receipt waits for deletes
SAMPLE = 20
RECEIPTS = 1000
RECEIPT_LIFE = 3600.0
MAX_NAMES = 1000
MAX_NAME = 8192  # characters

_WAYS = ("url", "key", "pattern", "tag", "tags", "rule", "namespace", "all")
_LISTED = ", ".join(_WAYS)
_FLAGS = ("soft", "dry_run")
_PLAIN = "".join(map(chr, range(0x20, 0x7F)))
_UNWANTED = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()*+,;=%-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_KEY = re.compile(r"[0-9a-f]{8,64}|[0-9a-f]{8,64}\.[0-9a-f]{16}")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class PurgeError(CachegateError):
    """A purge body that cannot be taken; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """What to purge. `names` as in `Purge`; those of urls as they came, their normal forms are added."""

    kind: Kind
    names: tuple[str, ...] = ()
    soft: bool = False
    dry_run: bool = False

    @property
    def short(self) -> bool:
        """Whether the key is abbreviated, so that the caller has to resolve it first."""
        return self.kind is Kind.KEY and any(len(name.partition(".")[0]) < 64 for name in self.names)


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
    instance shares the journal.
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
    ) -> None:
        self._log = log
        self._clock = clock
        self._forms = forms
        self._drop = drop
        self._scan_memory = scan_memory
        self._on_purge = on_purge
        self._others = others
        self._ticks = ticks
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
        and outlive this process when this returns; the numbers of their records."""
        purges = [
            Purge(secrets.token_hex(8), each.kind, self._names(each), each.soft, self._clock(), self._log.instance)
            for each in requests
        ]
        applied = [await self._log.apply(purge) for purge in purges]
        for purge in purges:
            self._on_purge(purge)
        await asyncio.gather(*(each.kept for each in applied))
        return tuple(each.number for each in applied)

    async def receipt(self, id: str) -> Receipt | None:
        """A receipt again, for RECEIPT_LIFE seconds."""
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

    async def _apply(self, purge: Purge) -> Receipt:
        number, kept = await self._log.apply(purge)
        self._on_purge(purge)
        keeping = asyncio.ensure_future(kept)
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
        purge, number = counting
        journal, fits = self._log.journal, Matcher(purge)

        def alive(entry: Entry) -> bool:
            return journal.ended(entry) != DEAD if number is None else journal.alive_before(entry, number)

        matched = 0
        sample: list[str] = []
        began = turn = self._ticks()
        for entry in self._scan_memory():
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
            if len(self._receipts) <= RECEIPTS and now - kept_at < RECEIPT_LIFE:
                return
            self._receipts.popitem(last=False)


def parse_purge(body: object) -> PurgeRequest:
    """The JSON of `POST /cache/purge`; PurgeError says what is wrong and what is allowed."""
    if not isinstance(body, Mapping):
        raise PurgeError(f"wanted a JSON object with exactly one of {_LISTED}, and optionally soft, dry_run")
    for name in body:
        if name not in _WAYS and name not in _FLAGS:
            near = get_close_matches(str(name), (*_WAYS, *_FLAGS), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed are {_LISTED}, soft, dry_run"
            raise PurgeError(f"{name}: unknown field; {hint}")
    ways = [name for name in _WAYS if name in body]
    if len(ways) != 1:
        raise PurgeError(f"wanted exactly one of {_LISTED}; found {' and '.join(ways) or 'none'}")
    flags = [body.get(name, False) for name in _FLAGS]
    for name, value in zip(_FLAGS, flags, strict=True):
        if not isinstance(value, bool):
            raise PurgeError(f"{name}: wanted true or false, found {_shown(value)}")
    kind, names = _named(ways[0], body[ways[0]])
    return PurgeRequest(kind, names, *flags)


def _named(way: str, value: object) -> tuple[Kind, tuple[str, ...]]:
    if way == "all":
        if value is not True:
            raise PurgeError(f"all: wanted true, found {_shown(value)}")
        return Kind.ALL, ()
    if way == "tags":
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_NAMES:
            raise PurgeError(f"tags: wanted a list of 1 to {MAX_NAMES} tags, found {_shown(value)}")
        return Kind.TAG, tuple(_text(way, item) for item in value)
    text = _text(way, value)
    match kind := Kind(way):
        case Kind.URL:
            return kind, (_url(text),)
        case Kind.KEY:
            if not _KEY.fullmatch(text.lower()):
                raise PurgeError(f"key: wanted 8 to 64 hex digits, or those, '.' and 16 more; found {_shown(text)}")
            return kind, (text.lower(),)
        case Kind.PATTERN:
            return kind, (_ascii(text),)
        case _:
            return kind, (text,)


def _text(way: str, value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_NAME:
        raise PurgeError(f"{way}: wanted text of 1 to {MAX_NAME} characters, found {_shown(value)}")
    if _UNWANTED.search(value):
        raise PurgeError(f"{way}: wanted text without control characters, found {_shown(value)}")
    return value


def _url(text: str) -> str:
    """The url name of an absolute URL, or of a bare path on every host."""
    host, rest = "", text
    if not text.startswith("/"):
        parsed = _URL.fullmatch(text)
        place = _HOST.fullmatch(parsed[2]) if parsed else None
        if parsed is None or place is None:
            raise PurgeError(
                f"url: wanted an absolute http(s) URL or a path that begins with '/', found {_shown(text)}"
            )
        port = place[2] and str(int(place[2]))
        host = place[1].lower()
        host = f"{host}:{port}" if port and port != _DEFAULT_PORTS[parsed[1].lower()] else host
        rest = parsed[3] if parsed[3].startswith("/") else f"/{parsed[3]}"
    target = rest.partition("#")[0]
    if " " in target:
        raise PurgeError(f"url: wanted %20 for a space, found {_shown(text)}")
    return url_name(host, _ascii(target))


def _ascii(text: str) -> str:
    """What is sent for a path that is written with other letters: their UTF-8, percent-encoded (RFC 3987 3.1)."""
    return quote(text, safe=_PLAIN)


def _shown(value: object) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 80 else f"{text[:77]}..."
