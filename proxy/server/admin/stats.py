"""The statistics document (contract, "Stats")."""

import time
from collections.abc import Awaitable, Callable, Mapping

from proxy.errors import Fault
from proxy.message import Reply
from proxy.observe.counters import Counters
from proxy.observe.figures import BREAKER_STATES, FILES, Figures, RedisFigures, Take, TierFigures
from proxy.observe.history import WINDOWS, Window
from proxy.observe.rule_counts import RuleCounts, ShadowCounts, rate
from proxy.observe.sizes import spoken
from proxy.outcome import Tier
from proxy.reasons import Why
from proxy.server.admin.pages import AdminError, Ask, Page, json_reply
from proxy.server.admin.rights import Grant, Level
from proxy.settings.problems import found
from proxy.version import VERSION

Document = dict[str, object]
Look = Callable[[int], Awaitable[Window | None]]  # at the last minutes
MOST = 20  # URLs that are named for what their misses took


def stats_page(take: Take, look: Look, *, started: float, timer: Callable[[], float] = time.monotonic) -> Page:
    """`started` by `timer`, in seconds. The names of files, and of what is asked for, are for the token alone."""

    async def stats(ask: Ask) -> Reply:
        names, word = ask.grant is Grant.FULL, ask.query.get("window")
        if word is not None and word not in WINDOWS:
            raise AdminError(400, "bad-window", f"window: wanted one of {', '.join(WINDOWS)}, found {found(word)}.")
        document = build(*await take(), timer() - started, names=names)
        if word is not None:
            window = await look(WINDOWS[word])
            if window is None:
                raise AdminError(503, "busy", "The history cannot be told now.")
            document["window"] = {"name": word, **windowed(window, names=names)}
        return json_reply(document)

    return Page("GET", "/stats", Level.GLANCE, stats, ("window",))


def build(counters: Counters, figures: Figures, uptime: float, *, names: bool) -> Document:
    """The whole document; `uptime` in seconds, `names`: with the names of files."""
    times = counters.response_time
    return {
        "uptime": round(uptime, 3),
        "version": VERSION,
        "requests": counters.requests,
        "hitRate": counters.hit_rate,
        "responseTime": times.summary(),
        "responseTimes": [[round(bound * 1000, 4), count] for bound, count in times.occupied()],
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
        "upstreams": {name: {"breaker": each.breaker, "cause": each.cause} for name, each in figures.services.items()},
        "durable": figures.durable,
        "coalesced": counters.coalesced,
        "malformed": counters.malformed,
        "passed": {bound.value: count for bound, count in counters.passed.items()},
        "workers": figures.workers,
    } | ({"topMisses": _lost(counters)} if names else {})


def windowed(window: Window, *, names: bool) -> Document:
    """What happened in a window; `names`: with the groups of keys, of which those that took most upstream time come
    first. `shared`: it is that of all instances over one Redis. Times are Unix seconds at which a minute began."""
    span, whole = window.span, window.span.whole
    verdicts = whole.verdicts
    document: Document = {
        "minutes": window.minutes,
        "shared": window.shared,
        "since": window.since * 60,
        "requests": sum(verdicts.values()),
        "hitRate": rate(whole.hits, whole.misses),
        "verdicts": {verdict.value: count for verdict, count in verdicts.items()},
        "reasons": _reasons(whole.missed),
        "tiers": {
            tier.value: {
                "hits": seen.hits,
                "misses": seen.misses,
                "errors": seen.errors,
                "hitRate": rate(seen.hits, seen.misses),
            }
            for tier, seen in span.tiers.items()
        },
        "rules": {name: _told(counts) for name, counts in span.rules.items()},
        "series": [
            {
                "at": point.minute * 60,
                "hits": point.hits,
                "misses": point.misses,
                "bypassed": point.bypassed,
                "bytesSaved": point.bytes_saved,
                "upstreamSeconds": round(point.upstream_seconds, 3),
            }
            for point in window.series
        ],
    }
    if names:
        most = sorted(span.groups.items(), key=lambda item: -item[1].call_seconds)
        document["groups"] = [{"rule": rule, "group": group, **_told(counts)} for (rule, group), counts in most]
    return document


def _told(counts: RuleCounts) -> Document:
    return _saved(counts) | {
        "calls": counts.calls,
        "upstreamSeconds": round(counts.call_seconds, 3),
        "reasons": _reasons(counts.missed),
    }


def _reasons(missed: Mapping[Why, int]) -> Document:
    return {why.word: count for why, count in sorted(missed.items(), key=lambda item: -item[1])}


def _lost(counters: Counters) -> list[Document]:
    """What was missed at the greatest cost of upstream time, and by how much that may be told too large."""
    error = round(counters.lost.error, 3)
    return [{"url": url, "seconds": round(lost, 3), "error": error} for url, lost in counters.lost.most(MOST)]


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
        "refused": counters.upstream.withheld.get(Fault.OVER_MEMORY.value, 0),
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
        name: _saved(rule)
        | {"calls": rule.calls, "upstreamSeconds": round(rule.call_seconds, 3)}
        | (_shadow(rule.shadow) if rule.shadow is not None else {})
        for name, rule in counters.rules.items()
    }


def _shadow(counts: ShadowCounts) -> Document:
    return {
        "wouldHits": counts.would_hits,
        "compared": counts.compared,
        "wrong": counts.wrong,
        "wrongRate": counts.wrong_rate,
    }


def _saved(rule: RuleCounts) -> Document:
    return {
        "hits": rule.hits,
        "misses": rule.misses,
        "bytesSaved": rule.bytes_saved,
        "secondsSaved": round(rule.seconds_saved, 3),
        "callsSaved": rule.calls_saved,
        "moneySaved": round(rule.money_saved, 6),
    }


def _upstream(counters: Counters, figures: Figures) -> Document:
    """All services together: the breaker's state that is furthest from closed, what opened it, and whose replicas are
    to be told apart."""
    document: Document = {
        "requests": counters.upstream.requests,
        "errors": counters.upstream.errors,
        "retries": counters.upstream.retries,
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
            "checks": replica.checks,
        }
        for name, service in figures.services.items()
        for replica in service.replicas
    ]
    return document | ({"replicas": replicas} if replicas else {})
