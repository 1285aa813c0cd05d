"""A day of one API: few things are asked for often and many seldom (Zipf), and at noon the gateway is restarted.

The day is drawn with a fixed seed, so that it is the same everywhere. What is counted is counted from the answers: the
tier that each says it came from.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from time import sleep
from typing import Any

from bench.arena import Arena
from bench.client import get
from bench.figures import Figure, Line, at_least
from bench.heads import HOST
from bench.pacer import each_once
from bench.peers.cachegate import NAME, NO_FILES, Settings, cachegate, stats
from bench.programs import ADDRESS, Missing, free_port
from bench.redis import redis

KEYS = 10_000  # things that may be asked for
REQUESTS = 60_000
REPLAYED = 20_000  # of them, where money is counted
HOT = 500  # of the keys, those that are asked for most
EXPONENT = 1.0  # Breslau et al., "Web Caching and Zipf-like Distributions", INFOCOM 1999, found 0.6 to 0.9
PRICE = 0.002  # money for each call of the origin
_CLIENTS = 8
_TIER = re.compile(rb"\r\nX-Cache-Tier: (\w+)", re.IGNORECASE)
_ROOM: dict[str, Any] = {"max_entries": KEYS // 5}


@dataclass(frozen=True, slots=True)
class Afternoon:
    """For each request after the restart its key, and the tier that answered, "" for the origin. `morning`: the keys
    that were asked for before it."""

    came: tuple[tuple[int, str], ...]
    morning: frozenset[int]

    def from_memory(self) -> float:
        """Percent of the requests for the hot keys that memory answered."""
        hot = [tier for key, tier in self.came if key < HOT]
        return 100 * hot.count("memory") / len(hot)

    def beyond(self, tier: str) -> float:
        """Percent of the lookups in a tier behind memory that it answered: whatever memory did not."""
        lookups = [found for _, found in self.came if found != "memory"]
        return 100 * lookups.count(tier) / len(lookups)

    def known(self) -> float:
        """Percent of these lookups that were for something asked for before: no tier can have more."""
        known, lookups, had = set(self.morning), 0, 0
        for key, found in self.came:
            if found != "memory":
                lookups, had = lookups + 1, had + (key in known)
            known.add(key)
        return 100 * had / lookups


def drawn(seed: int = 1) -> list[int]:
    """The keys of the day in their order; 0 is the most popular."""
    weights = list(accumulate(1 / rank**EXPONENT for rank in range(1, KEYS + 1)))
    return random.Random(seed).choices(range(KEYS), cum_weights=weights, k=REQUESTS)


def hit_ratios(arena: Arena) -> Iterator[Line]:
    """One day with Redis behind memory and one with files: the tier behind decides what a restart costs."""
    hot = f"of requests for the {HOT} hottest of {KEYS:,} keys, afternoon"
    rest = "of lookups that memory did not answer, after the restart"
    afternoon = _day(arena, {"memory": _ROOM}, "file")
    yield _line("Zipf day: memory", afternoon.from_memory(), 95, hot)
    yield _line("Zipf day: file", afternoon.beyond("file"), 60, rest, afternoon.known())
    try:
        with redis(arena.directory(), arena.on) as server:
            url = f"redis://{ADDRESS}:{server.port}/0"
            afternoon = _day(arena, {"memory": _ROOM, "file": NO_FILES, "redis": {"url": url}}, "redis")
    except Missing as missing:
        absent = Figure(NAME, problem=str(missing))
        yield Line("hit_ratios", "Zipf day: Redis", "%", (absent,), (at_least(80),), rest)
        return
    yield _line("Zipf day: Redis", afternoon.beyond("redis"), 80, rest, afternoon.known())


def _line(title: str, percent: float, bound: float, note: str, known: float | None = None) -> Line:
    most = () if known is None else (Figure("asked for before", (known,)),)
    return Line("hit_ratios", title, "%", (Figure(NAME, (percent,)), *most), (at_least(bound),), note)


def saved(arena: Arena) -> Iterator[Line]:
    """The same day without a restart, before a service that costs money for each call."""
    keys = drawn()[:REPLAYED]
    rules = [{"name": "paid", "pattern": "*", "cost": PRICE}]
    with cachegate(arena.directory(), arena.on, arena.origin.url, {"rules": rules}) as server:
        before = arena.origin.asked()
        _asked(server.port, keys)
        calls = arena.origin.asked() - before - 1
        money = float(stats(server.port)["rules"]["paid"]["moneySaved"])
    note = f"{REPLAYED:,} requests for {len(set(keys)):,} things of {KEYS:,}"
    without = Figure("without a cache", (float(len(keys)),))
    yield Line("saved", "calls of the origin on a replayed log", "", (Figure(NAME, (float(calls),)), without), (), note)
    spent = Figure("spent without", (len(keys) * PRICE,))
    yield Line("saved", "money saved at 0.002 a call", "", (Figure(NAME, (money,)), spent), (), note)


def _day(arena: Arena, settings: Settings, behind: str) -> Afternoon:
    """The gateway is restarted at noon, which empties memory alone."""
    keys, place, port = drawn(), arena.directory(), free_port()
    morning, afternoon = keys[: REQUESTS // 2], keys[REQUESTS // 2 :]
    with cachegate(place, arena.on, arena.origin.url, settings, port=port) as server:
        _asked(server.port, morning)
        _settled(server.port, behind)
    with cachegate(place, arena.on, arena.origin.url, settings, port=port) as server:
        came = tuple(zip(afternoon, _asked(server.port, afternoon), strict=True))
        return Afternoon(came, frozenset(morning))


def _asked(port: int, keys: Sequence[int]) -> list[str]:
    """The tier that answered each. Some clients ask at once, so that neighbours may change places."""
    tiers = [""] * len(keys)

    def note(number: int, answer: bytes) -> None:
        found = _TIER.search(answer)
        tiers[number] = found[1].decode() if found else ""

    told = each_once(port, (get(f"/1k/things/{key}", host=HOST) for key in keys), _CLIENTS, note)
    if told.problem:
        raise RuntimeError(told.problem)
    return tiers


def _settled(port: int, tier: str) -> None:
    """Wait until the tier holds as much as it did a moment ago: answers are stored behind those who got them."""
    size = -1
    while (now := int(stats(port)[tier]["size"])) != size:
        size = now
        sleep(0.2)
