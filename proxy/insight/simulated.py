"""The cache of these settings over the time that a log tells: asked in the order of the pipeline, judged by the same
functions, kept in tiers that evict by the same code. No socket and no clock; bodies are their sizes.

What is simplified: workers have one memory together, Redis holds whatever it is given, ranges are not put together
from parts, and what limits, breakers and full queues refused is taken as it was logged.
"""

import heapq
from collections import Counter
from dataclasses import replace
from math import inf
from typing import assert_never

from proxy.entry import Entry, Found
from proxy.fixed import fixed
from proxy.insight.bodiless import Ledger, Weight
from proxy.insight.recalled import Recollection, Said
from proxy.insight.seen import Seen
from proxy.invalidation.journal import Journal
from proxy.invalidation.records import Kind, Purge, url_name
from proxy.message import Request
from proxy.observe.counters import Counters
from proxy.outcome import Outcome, Tier, Verdict
from proxy.policy.conditional import validators
from proxy.policy.freshness import lifetime, windows
from proxy.policy.identity import for_everybody
from proxy.policy.invalidating import changes, invalidated_urls, rule_targets
from proxy.policy.keys import Keyed, Refused, derive, needs_body
from proxy.policy.renewal import FallBack, Mismatch, Renewed, Replaced, judge_renewal
from proxy.policy.reuse import Choice, Fetch, Serve, ServeStale, answers, judge_reuse, only_if_cached
from proxy.policy.storing import Keep, barred, entry_of, judge_renewed, judge_size, judge_storing, may_replace
from proxy.reasons import Why
from proxy.rules import Rule, RuleTable
from proxy.settings.compile import compile_rules
from proxy.settings.model import Settings

FAR_ENTRIES = 200_000  # entries that a far tier is taken to hold at most, whatever its bytes: each takes 1 KB here
# Reasons of ours for which the origin was never asked by what the rules say.
_AS_LOGGED = frozenset(
    {"upgrade", "loop", "malformed", "too-large", "rate-limited", "limiter-away", "forbidden", "body-too-large"}
)


@fixed
class Step:
    """What became of one request. `key` names what answered it, or would next time, "" where nothing is kept; `size` is
    what that weighs in a tier and `life` how many seconds it can be of use from its fetch; `purged`: what was there had
    been ended."""

    outcome: Outcome
    key: str = ""
    size: int = 0
    life: float = 0.0
    purged: bool = False


@fixed
class _Visit:
    request: Request
    rule: Rule
    keyed: Keyed
    body: bytes | None
    now: float


@fixed
class _Flight:
    """A fetch under way until `lands`; `entry` is what it will have stored."""

    lands: float
    entry: Entry | None
    verdict: Verdict


class Simulation:
    """One instance with these settings. `said` tells what the origin answers; `assumed` counts the requests for which
    something had to be assumed, by what, and `refreshes` the calls that no client waited for."""

    def __init__(self, settings: Settings, said: Recollection) -> None:
        self.table = RuleTable(*compile_rules(settings))
        self.counters = Counters()
        self.assumed: Counter[str] = Counter()
        self.refreshes = 0
        self.tiers = _tiers(settings)
        self._said = said
        self._key_body = settings.limits.key_body
        self._journal = Journal(1, settings.journal.records)
        self._flights: dict[str, _Flight] = {}
        self._landing: list[tuple[float, int, str]] = []
        self._number = 0
        self._now = -inf
        self._sweep_each = settings.cache.cleanup_interval
        self._swept = -inf
        self._purged = False  # whether something was found by this request that was purged before

    def step(self, seen: Seen) -> Step:
        """The next request, in the order of time."""
        now = self._now = max(self._now, seen.time)
        self._purged = False
        self._land(now)
        self._clean(now)
        request, body = self._said.request(seen, self.table, self.assumed)
        step = self._answer(seen, request, body, now)
        self.counters.finish(step.outcome, 0.0, seen.size)
        return replace(step, purged=True) if self._purged else step

    # -- arrival, as in `pipeline` -------------------------------------------------------------------------------------

    def _answer(self, seen: Seen, request: Request, body: bytes | None, now: float) -> Step:
        rule = self.table.match(request)
        if seen.ours is not None and seen.ours.verdict is Verdict.BYPASS and seen.ours.reason in _AS_LOGGED:
            return Step(Outcome(Verdict.BYPASS, Why(seen.ours.reason), rule.name))
        why = barred(request, rule)
        if why is None and request.body is not None and needs_body(request, rule):
            why = Why.BODY_TOO_LARGE if body is not None and len(body) > self._key_body else None
        if why is not None:
            return self._pass(seen, request, rule, why)
        match derive(request, rule, body):
            case Refused(why):
                return self._pass(seen, request, rule, why)
            case Keyed() as keyed:
                return self._receive(seen, _Visit(request, rule, keyed, body, now))

    def _pass(self, seen: Seen, request: Request, rule: Rule, why: Why) -> Step:
        said = self._said.answer(seen, self._now, self.assumed, conditional=False)
        if changes(request, rule, why) and not said.failed:
            self._invalidate(request, said)
        return Step(Outcome(Verdict.BYPASS, why, rule.name, upstream_seconds=said.took))

    def _receive(self, seen: Seen, visit: _Visit) -> Step:
        request, rule, now = visit.request, visit.rule, visit.now
        choice = Choice(request, rule)
        found = self._find(visit.keyed.hash, choice, now)
        decision = judge_reuse(request, found, rule, now, others=choice.others)
        match decision:
            case Serve(ttl=ttl, why=why, refresh=refresh):
                assert found is not None
                if refresh:
                    self._refresh(seen, visit, found)
                return _step(visit, found.entry, Outcome(Verdict.HIT, why, rule.name, ttl=ttl))
            case ServeStale(ttl=ttl, why=why):
                assert found is not None
                self._refresh(seen, visit, found)
                return _step(visit, found.entry, Outcome(Verdict.UPDATING, why, rule.name, ttl=ttl))
            case Fetch():
                return self._forward(seen, visit, found, decision)
            case _:
                assert_never(decision)

    def _forward(self, seen: Seen, visit: _Visit, found: Found | None, decision: Fetch) -> Step:
        request, rule, now = visit.request, visit.rule, visit.now
        outcome = Outcome(Verdict.MISS if found is None else Verdict.EXPIRED, decision.why, rule.name)
        if only_if_cached(request, rule):
            return Step(Outcome(Verdict.MISS, Why.ONLY_IF_CACHED, rule.name))
        flight = self._flights.get(visit.keyed.hash)
        if flight is not None and flight.entry is not None and answers(request, flight.entry, rule, now):
            outcome.collapsed = True
            if flight.verdict is Verdict.REVALIDATED:
                outcome.verdict = Verdict.REVALIDATED
            return Step(outcome)
        return self._fetch(seen, visit, found, decision, outcome)

    # -- the fetch, as in `fetching` -----------------------------------------------------------------------------------

    def _fetch(self, seen: Seen, visit: _Visit, found: Found | None, decision: Fetch, outcome: Outcome) -> Step:
        request, rule = visit.request, visit.rule
        asked = decision.conditional and found is not None and bool(validators(found.entry))
        said = self._said.answer(seen, visit.now, self.assumed, conditional=asked)
        then = visit.now + said.took
        outcome.upstream_seconds = said.took
        if found is not None:
            head = None if said.failed else said.head
            match judge_renewal(found.entry, head, rule, then, fallback=decision.fallback):
                case Renewed(renewed):
                    outcome.verdict, outcome.reason = Verdict.REVALIDATED, Why.REVALIDATED
                    if judge_renewed(request, said.head, renewed, rule, then) is None:
                        self._start(visit, renewed, then, outcome.verdict)
                    return _step(visit, renewed, outcome)
                case FallBack():
                    outcome.verdict, outcome.reason = Verdict.STALE, Why.STALE_IF_ERROR
                    return _step(visit, found.entry, outcome)
                case Replaced() | Mismatch():
                    pass
        entry = None if said.failed else self._kept(visit, found, said, then, outcome)
        if entry is None:
            return Step(outcome)
        self._start(visit, entry, then, outcome.verdict)
        return _step(visit, entry, outcome)

    def _kept(self, visit: _Visit, found: Found | None, said: Said, then: float, outcome: Outcome) -> Entry | None:
        request, rule, head = visit.request, visit.rule, said.head
        storing = judge_storing(request, head, rule, then)
        if isinstance(storing, Keep):
            if found is not None and not may_replace(found.entry, head):
                outcome.stored_why = Why.STATUS
                return None
            storing = judge_size(rule, said.size) or storing
        if not isinstance(storing, Keep):
            outcome.stored_why = storing.why
            return None
        outcome.stored = True
        position, body = self._journal.position(), Weight(said.size)
        return entry_of(request, rule, visit.keyed, head, storing, position, content=visit.body, body=body)[0]

    def _refresh(self, seen: Seen, visit: _Visit, found: Found) -> None:
        """Behind the client's back, once at a time; a call of the origin all the same."""
        if visit.keyed.hash not in self._flights:
            behind = replace(visit, request=for_everybody(visit.request, visit.rule, found.entry.vary))
            outcome = Outcome(Verdict.EXPIRED, Why.STALE, visit.rule.name)
            self._fetch(seen, behind, found, Fetch(Why.STALE, conditional=True, fallback=True), outcome)
            self.refreshes += 1

    # -- what is kept --------------------------------------------------------------------------------------------------

    def _start(self, visit: _Visit, entry: Entry, lands: float, verdict: Verdict) -> None:
        key = visit.keyed.hash
        self._flights[key] = _Flight(lands, entry, verdict)
        self._number += 1
        heapq.heappush(self._landing, (lands, self._number, key))
        self._land(visit.now)

    def _land(self, now: float) -> None:
        """Store what has come by now."""
        while self._landing and self._landing[0][0] <= now:
            lands, _, key = heapq.heappop(self._landing)
            flight = self._flights.get(key)
            if flight is not None and flight.lands == lands:
                del self._flights[key]
                if flight.entry is not None:
                    for tier in self.tiers:
                        tier.keep(flight.entry, lands)

    def _find(self, hash: str, choice: Choice, now: float) -> Found | None:
        """In the nearest tier that has it; the nearer ones get it back."""
        for n, tier in enumerate(self.tiers):
            entry = tier.find(hash, choice, now)
            if entry is None:
                continue
            ended = self._journal.ended(entry)
            if ended is not None:
                tier.drop(entry)
                self._purged = True
                continue
            for nearer in self.tiers[:n]:
                nearer.keep(entry, now)
            return Found(entry, Tier.MEMORY if n == 0 else Tier.FILE)
        return None

    def _clean(self, now: float) -> None:
        if now - self._swept >= self._sweep_each:
            self._swept = now
            for tier in self.tiers:
                tier.sweep(now)

    def _invalidate(self, request: Request, said: Said) -> None:
        """What a successful unsafe request ends, as in `passing`."""
        head = said.head
        urls = invalidated_urls(request, head)
        patterns: set[str] = set()
        tags: set[str] = set()
        if head.status < 400:
            for rule in self.table.on_path(request):
                more_patterns, more_tags = rule_targets(rule, request)
                patterns.update(more_patterns)
                tags.update(more_tags)
        for kind, names in (
            (Kind.URL, [url_name(host, target) for host, target in urls]),
            (Kind.PATTERN, sorted(patterns)),
            (Kind.TAG, sorted(tags)),
        ):
            if names:
                self._journal.append(Purge("", kind, tuple(names), False, self._now, ""))


def _tiers(settings: Settings) -> tuple[Ledger, ...]:
    """Nearest first. What is off is not there."""
    memory, file, variants = settings.memory, settings.file, settings.limits.variants
    tiers = []
    if memory.on:
        tiers.append(
            Ledger(
                memory.eviction,
                max_entries=memory.max_entries,
                max_bytes=memory.max_bytes,
                max_object=memory.max_object,
                variants=variants,
                ttl=memory.ttl,
            )
        )
    if settings.redis.enabled:
        most = settings.redis.max_object
        tiers.append(Ledger("lru", max_entries=FAR_ENTRIES, max_bytes=1 << 62, max_object=most, variants=variants))
    if file.on:
        most = file.max_object
        tiers.append(
            Ledger(file.eviction, max_entries=FAR_ENTRIES, max_bytes=file.max_bytes, max_object=most, variants=variants)
        )
    return tuple(tiers)


def _step(visit: _Visit, entry: Entry, outcome: Outcome) -> Step:
    life = lifetime(entry.fields, entry.status, visit.rule, entry.received_at)
    return Step(outcome, entry.key, entry.size, max(0.0, life.seconds) + windows(life, visit.rule).while_revalidate)
