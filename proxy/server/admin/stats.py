"""The statistics document (contract, "Stats")."""

import time
from collections.abc import Callable

from proxy.errors import Fault
from proxy.message import Reply
from proxy.observe.counters import Counters, rate
from proxy.observe.figures import BREAKER_STATES, FILES, Figures, RedisFigures, Take, TierFigures
from proxy.observe.sizes import spoken
from proxy.outcome import Tier
from proxy.server.admin.pages import Ask, Page, json_reply
from proxy.server.admin.rights import Grant, Level
from proxy.version import VERSION

Document = dict[str, object]


def stats_page(take: Take, *, started: float, timer: Callable[[], float] = time.monotonic) -> Page:
    """`started` by `timer`, in seconds. The names of files are for the token alone."""

    async def stats(ask: Ask) -> Reply:
        return json_reply(build(*await take(), timer() - started, names=ask.grant is Grant.FULL))

    return Page("GET", "/stats", Level.GLANCE, stats)


def build(counters: Counters, figures: Figures, uptime: float, *, names: bool) -> Document:
    """The whole document; `uptime` in seconds, `names`: with the names of files."""
    return {
        "uptime": round(uptime, 3),
        "version": VERSION,
        "requests": counters.requests,
        "hitRate": counters.hit_rate,
        "responseTime": counters.response_time.summary(),
        "inFlight": counters.in_flight,
        "activeSessions": counters.connections,
        "memory": _memory(counters, figures),
        "redis": _redis(counters, figures),
        "file": _file(counters, figures, names),
        "parts": {"size": figures.parts, "bytes": figures.part_bytes},
        "process": _process(counters, figures),
        "verdicts": {verdict.value: count for verdict, count in counters.verdicts.items()},
        "reasons": {why.word: count for why, count in counters.reasons.items()},
        "rules": _rules(counters),
        "upstream": _upstream(counters, figures),
        "coalesced": counters.coalesced,
        "malformed": counters.malformed,
        "passed": {bound.value: count for bound, count in counters.passed.items()},
        "workers": figures.workers,
    }


def _memory(counters: Counters, figures: Figures) -> Document:
    now, seen = figures.tiers.get(Tier.MEMORY, TierFigures()), counters.tiers[Tier.MEMORY]
    document: Document = {
        "size": now.entries,
        "bytes": now.bytes,
        "maxBytes": now.max_bytes,
        "hitRate": rate(seen.hits, seen.misses),
        "totalHits": seen.hits,
        "totalMisses": seen.misses,
        "evictions": now.evictions,
    }
    return document | ({"off": now.off} if now.off else {})


def _process(counters: Counters, figures: Figures) -> Document:
    """What the processes that serve take, and how `memory.limit` was kept."""
    now = figures.pressure
    return {
        "memory": now.used,
        "memoryLimit": now.limit,
        "memoryRoom": now.room,
        "pressure": now.level.value,
        "shrinks": counters.shrinks,
        "refused": counters.upstream.outcomes.get(Fault.OVER_MEMORY.value, 0),
    }


def _file(counters: Counters, figures: Figures, names: bool) -> Document:
    now, seen = figures.tiers.get(Tier.FILE, TierFigures()), counters.tiers[Tier.FILE]
    document: Document = {
        "size": now.entries,
        "bytes": now.bytes,
        "maxBytes": now.max_bytes,
        "hitRate": rate(seen.hits, seen.misses),
        "hits": seen.hits,
        "misses": seen.misses,
        "errors": seen.errors,
        "evictions": now.evictions,
    }
    if names:
        document["files"] = list(figures.files[:FILES])
    return document | ({"off": now.off} if now.off else {})


def _redis(counters: Counters, figures: Figures) -> Document:
    """`mode` is "fallback" while this instance keeps its answers to itself; `localFallbackSize` is how many stand in
    for those in Redis then."""
    now, seen = figures.redis or _NONE, counters.tiers[Tier.REDIS]
    document: Document = {
        "enabled": figures.redis is not None,
        "connected": now.connected,
        "isConnected": now.connected,
        "mode": "shared" if now.connected else "fallback",
        "size": now.keys,
        "keys": now.keys,
        "memory": spoken(now.memory),
        "memoryUsage": now.memory,
        "latency": round(now.latency * 1000, 3),
        "keyspace": dict(now.keyspace),
        "hits": seen.hits,
        "misses": seen.misses,
        "errors": now.errors,
        "evictions": now.evictions,
        "localFallbackSize": 0 if now.connected else figures.tiers.get(Tier.MEMORY, TierFigures()).entries,
    }
    return document | ({"state": now.state, "reason": now.reason} if figures.redis is not None else {})


_NONE = RedisFigures("closed", False)


def _rules(counters: Counters) -> Document:
    return {
        name: {
            "hits": rule.hits,
            "misses": rule.misses,
            "bytesSaved": rule.bytes_saved,
            "secondsSaved": round(rule.seconds_saved, 3),
            "callsSaved": rule.calls_saved,
            "moneySaved": round(rule.money_saved, 6),
        }
        for name, rule in counters.rules.items()
    }


def _upstream(counters: Counters, figures: Figures) -> Document:
    """All services together: the breaker's state that is furthest from closed, what opened it, and whose replicas are
    to be told apart."""
    document: Document = {
        "requests": counters.upstream.requests,
        "errors": counters.upstream.errors,
        "inFlight": counters.upstream.in_flight,
        "breaker": "closed",
    }
    worst = max(figures.services.values(), key=lambda each: BREAKER_STATES.index(each.breaker), default=None)
    if worst is not None and worst.cause:
        document |= {"breaker": worst.breaker, "cause": worst.cause}
    replicas = [
        {
            "upstream": name,
            "name": replica.name,
            "up": replica.up,
            "inFlight": replica.in_flight,
            "requests": replica.requests,
            "errors": replica.errors,
        }
        for name, service in figures.services.items()
        for replica in service.replicas
    ]
    return document | ({"replicas": replicas} if replicas else {})
