"""The story of one request, from arrival to reply. Judgement is asked here and obeyed here; nothing is decided here.

rule -> key -> memory -> (redis, file) -> fresh: serve | stale in its window: serve and refresh behind
                                        | else: fly with whoever fetches the same already, or lead
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol, assert_never

from proxy.entry import Entry, Found, Select, Variant
from proxy.errors import Fault, StoreError, UpstreamError
from proxy.fetching import (
    Confirmed,
    Failed,
    Fetching,
    Kept,
    Landing,
    Skipped,
    Trip,
    company,
    in_trouble,
    uncacheable_key,
)
from proxy.flight import Flight, Flights, Lately
from proxy.message import Fields, Reply, Request
from proxy.outcome import Outcome, Tier, Verdict
from proxy.policy.cache_status import forward_word
from proxy.policy.conditional import ORIGIN_CONDITIONS
from proxy.policy.forwarding import has_loop, hops_left
from proxy.policy.freshness import current_age
from proxy.policy.identity import uncovered
from proxy.policy.invalidating import invalidated_urls, rule_targets, unsafe
from proxy.policy.keys import Keyed, Refused, derive, needs_body
from proxy.policy.own_answers import own_answer
from proxy.policy.reuse import Choice, Fetch, Serve, ServeStale, judge_reuse, only_if_cached, vary_values
from proxy.reasons import Why
from proxy.replying import Replying
from proxy.rules import Mode, Rule, RuleTable
from proxy.tasks import Tasks
from proxy.upstream.protocol import Link
from proxy.upstream.routes import Routes


class Shelves(Protocol):
    """The tiers: the near one answers without waiting."""

    def near(self, hash: str, select: Select) -> Found | None: ...

    async def far(self, hash: str, select: Select) -> Found | None: ...


class Standing(Protocol):
    """The journal: None when no purge after its fetch began matches the entry."""

    def ended(self, entry: Entry) -> float | None: ...


# The purges that a successful unsafe request causes: (host, target)s, patterns, tags. They hold when it returns.
Invalidate = Callable[[tuple[tuple[str, str], ...], tuple[str, ...], tuple[str, ...]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the story: bytes of a body read for the key, seconds of waiting."""

    key_body: int = 1 << 20
    flight_wait: float = 30.0
    total: float = 300.0


@dataclass(frozen=True, slots=True)
class Visit:
    """A request on a cached route; `content` is its body where that is part of the key."""

    request: Request
    rule: Rule
    keyed: Keyed
    content: bytes | None
    arrived: float

    def trip(self, found: Found | None, decision: Fetch, *, behind: bool = False) -> Trip:
        return Trip(self.request, self.rule, self.keyed, self.content, found, decision, behind)


class Pipeline:
    """Answers requests. `clock` is wall time in seconds."""

    def __init__(
        self,
        *,
        table: RuleTable,
        shelves: Shelves,
        standing: Standing,
        routes: Routes,
        fetching: Fetching,
        invalidate: Invalidate,
        uncacheable: Lately[Why],
        tasks: Tasks,
        limits: Limits,
        replying: Replying,
        clock: Callable[[], float],
    ) -> None:
        self.table = table
        self._shelves = shelves
        self._standing = standing
        self._routes = routes
        self._fetching = fetching
        self._invalidate = invalidate
        self._uncacheable = uncacheable
        self._tasks = tasks
        self._limits = limits
        self._reply = replying
        self._clock = clock
        self.flights: Flights[Landing] = Flights()
        self.waiting = 0  # requests that wait for a landing
        self._varies: Lately[tuple[str, ...]] = Lately(3600.0, clock)

    def change(self, table: RuleTable, routes: Routes, limits: Limits) -> None:
        """Let new settings hold from the next request on."""
        self.table, self._routes, self._limits = table, routes, limits

    # -- arrival ---------------------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Reply:
        """The reply to `request`; never raises for what an origin, a tier or the network does."""
        rule = self.table.match(request)
        if has_loop(request.fields, self._reply.name):
            return self._refuse(request, rule, 508, Why.LOOP, "This request has passed here before.")
        if hops_left(request) == 0:
            return self._refuse(request, rule, 200, Why.METHOD, "Max-Forwards ended here: this is the gateway.")
        why = _not_for_the_cache(request, rule)
        if why is not None:
            return await self._pass(request, rule, why)
        body = None
        if request.body is not None and needs_body(request, rule):
            body = await request.body.peek(self._limits.key_body)
            if body is None:
                return await self._pass(request, rule, Why.BODY_TOO_LARGE)
        match derive(request, rule, body):
            case Refused(why):
                return await self._pass(request, rule, why)
            case Keyed() as keyed:
                return await self._cached(Visit(request, rule, keyed, body, self._clock()))

    async def upgrade(self, request: Request) -> Link | Reply:
        """A websocket upgrade: the open link to the origin, or the reply when there is none."""
        rule = self.table.match(request)
        if has_loop(request.fields, self._reply.name):
            return self._refuse(request, rule, 508, Why.LOOP, "This request has passed here before.")
        if rule.mode is Mode.ON:  # a cached route takes no upgrade: the field is dropped, the request is a plain one
            return await self.answer(request)
        outcome = Outcome(Verdict.BYPASS, Why.UPGRADE, rule.name, fwd="bypass")
        try:
            result = await self._routes.connect(request, rule)
        except UpstreamError as error:
            return self._reply.failed(request, rule, error, outcome)
        if isinstance(result, Link):
            return result
        return self._reply.streamed(request, rule, result, outcome)

    # -- not for the cache -----------------------------------------------------------------------------------------

    async def _pass(self, request: Request, rule: Rule, why: Why) -> Reply:
        """Send it on as it came; what a successful unsafe request changed is purged before its client is told."""
        outcome = Outcome(Verdict.BYPASS, why, rule.name, fwd=forward_word(why))
        return await self._send(request, rule, outcome)

    async def _send(self, request: Request, rule: Rule, outcome: Outcome, target: str | None = None) -> Reply:
        began = self._clock()
        try:
            answer = await self._routes.send(request, rule, target)
        except UpstreamError as error:
            return self._reply.failed(request, rule, error, outcome)
        outcome.upstream_seconds = self._clock() - began
        try:
            if unsafe(request.method):
                await self._invalidated(request, answer.head.status, invalidated_urls(request, answer.head))
        except BaseException:
            await answer.close()
            raise
        return self._reply.streamed(request, rule, answer, outcome)

    async def _invalidated(self, request: Request, status: int, urls: tuple[tuple[str, str], ...]) -> None:
        patterns: set[str] = set()
        tags: set[str] = set()
        if status < 400:
            for rule in self.table.on_path(request):
                more_patterns, more_tags = rule_targets(rule, request)
                patterns.update(more_patterns)
                tags.update(more_tags)
        if urls or patterns or tags:
            await self._invalidate(urls, tuple(sorted(patterns)), tuple(sorted(tags)))

    def _refuse(self, request: Request, rule: Rule, status: int, why: Why, text: str) -> Reply:
        return self._reply.own(request, rule, own_answer(status, why, text), Outcome(Verdict.BYPASS, why, rule.name))

    # -- cached routes ---------------------------------------------------------------------------------------------

    async def _cached(self, visit: Visit) -> Reply:
        request, rule, key = visit.request, visit.rule, visit.keyed.hash
        choice = Choice(request, rule)
        found = self._shelves.near(key, choice)
        decision = judge_reuse(request, found, rule, visit.arrived, others=choice.others)
        if isinstance(decision, Fetch):
            farther = await self._shelves.far(key, choice)
            found = _newer(found, farther)
            decision = judge_reuse(request, found, rule, visit.arrived, others=choice.others)
        match decision:
            case Serve(age, ttl, why):
                assert found is not None
                if ttl < rule.refresh_ahead * (age + ttl):
                    self._refresh(visit, found, Fetch(Why.REFRESH_AHEAD, conditional=True))
                return self._serve(visit, found, Outcome(Verdict.HIT, why, rule.name, ttl=ttl), age)
            case ServeStale(age, ttl, why):
                assert found is not None
                self._refresh(visit, found, Fetch(why, conditional=True, fallback=True))
                return self._serve(visit, found, Outcome(Verdict.UPDATING, why, rule.name, ttl=ttl), age)
            case Fetch():
                return await self._forward(visit, found, decision)
            case _:
                assert_never(decision)

    def _serve(self, visit: Visit, found: Found, outcome: Outcome, age: float) -> Reply:
        return self._reply.stored(visit.request, visit.rule, found, outcome, age)

    def _refresh(self, visit: Visit, found: Found, decision: Fetch) -> None:
        """Fetch behind the client's back, once: who comes meanwhile finds the flight under way."""
        if visit.request.method == "HEAD" or uncovered(visit.request, visit.rule) is not None:
            return
        key = self._flight_key(visit)
        flight, leads = self.flights.join(key, lambda _: True)
        if not leads:
            return
        try:
            body = found.entry.body.share()  # the client's reply closes the other
        except StoreError:
            self.flights.over(key, flight)
            return
        found = replace(found, entry=replace(found.entry, body=body))
        self._start(key, flight, visit.trip(found, decision, behind=True), body.close)

    async def _forward(self, visit: Visit, found: Found | None, decision: Fetch) -> Reply:
        request, rule = visit.request, visit.rule
        verdict = Verdict.MISS if found is None else Verdict.EXPIRED
        outcome = Outcome(verdict, decision.why, rule.name, visit.keyed.hash, fwd=forward_word(decision.why))
        if only_if_cached(request, rule):
            _close(found)
            outcome = Outcome(Verdict.MISS, Why.ONLY_IF_CACHED, rule.name, visit.keyed.hash)
            return self._reply.own(request, rule, own_answer(504, Why.ONLY_IF_CACHED, "Not in store."), outcome)
        alone = _asked_of_the_origin_alone(request)
        if alone is not None:
            _close(found)
            outcome.stored_why = alone
            return await self._send(request, rule, outcome, visit.keyed.target)
        try:
            return await self._fly(visit, found, decision, outcome)
        except BaseException:
            _close(found)
            raise

    # -- in flight -------------------------------------------------------------------------------------------------

    async def _fly(self, visit: Visit, found: Found | None, decision: Fetch, outcome: Outcome) -> Reply:
        """Share the fetch of whoever asks for the same already, or lead one; alone where sharing leads nowhere."""
        for sharing in (True, True, True, False):
            trip = visit.trip(found, decision)
            alone = not sharing or self._uncacheable.get(uncacheable_key(trip)) is not None
            if alone and sharing and found is None:
                outcome.reason = Why.LATELY_UNCACHEABLE
            landing = await self._landing(visit, trip, alone=alone)
            reply = self._landed(visit, trip, landing, outcome)
            if reply is not None:
                return reply
        raise AssertionError("who leads a flight of its own always gets a reply")

    async def _landing(self, visit: Visit, trip: Trip, *, alone: bool) -> Landing:
        """Wait for the flight; after flight_wait one waiter starts a second fetch, and the rest wait on."""
        key, flight, leads = self._board(visit, alone=alone)
        if leads:
            self._start(key, flight, trip)
        self.waiting += 1
        try:
            landing = await flight.wait(self._limits.total if leads else self._limits.flight_wait)
            if landing is None and not leads and flight.relieve():
                self._start(key, flight, trip)
            if landing is None:
                landing = await flight.wait(self._limits.total)
        except asyncio.CancelledError:
            trip.left = True
            if isinstance(flight.landing, Skipped) and flight.landing.owner is trip:
                self._tasks.spawn(flight.landing.answer.close(), "close")
            raise
        finally:
            self.waiting -= 1
        return landing or Failed(UpstreamError(Fault.FIRST_BYTE_TIMEOUT, "the fetch of this answer took too long"))

    def _board(self, visit: Visit, *, alone: bool) -> tuple[str, Flight[Landing], bool]:
        """The flight to take, by what key it is known, and whether this visit leads it."""
        if alone:
            return "", Flight(), True
        key = self._flight_key(visit)
        flight, leads = self.flights.join(key, lambda landing: self._joinable(visit, landing))
        return key, flight, leads

    def _start(self, key: str, flight: Flight[Landing], trip: Trip, after: Callable[[], None] = lambda: None) -> None:
        """Lead the flight in a task of its own; `after` it is over."""

        def over() -> None:
            self.flights.over(key, flight)
            after()

        if not self._tasks.spawn(self._fetching.lead(flight, trip, over), "fetch"):
            over()
            flight.land(Failed(UpstreamError(Fault.BUSY, "too many fetches are under way", retry_after=1)))

    def _flight_key(self, visit: Visit) -> str:
        """Who may share a fetch: the same key, the same values of what the last answer varied by, and nobody who
        brings credentials together with those who do not."""
        key = company(visit.request, visit.rule, visit.keyed)
        names = self._varies.get(visit.keyed.hash)
        if not names:
            return key
        return f"{key}.{vary_values(names, visit.request.fields, visit.rule)!r}"

    def _joinable(self, visit: Visit, landing: Landing) -> bool:
        """Whether a newcomer may join a flight that has landed already."""
        return isinstance(landing, Kept) and not landing.recording.given_up and self._shares(visit, landing.entry)

    def _shares(self, visit: Visit, entry: Entry) -> bool:
        """Whether the answer to another's request may answer this one too: not purged meanwhile, the same variant,
        and reusable by the same judgement as a stored one."""
        variant = Variant(entry.variant, entry.vary, entry.received_at)
        if self._standing.ended(entry) is not None or Choice(visit.request, visit.rule)((variant,)) is None:
            return False
        found = Found(entry, Tier.MEMORY)
        return isinstance(judge_reuse(visit.request, found, visit.rule, self._clock()), Serve)

    # -- landed ----------------------------------------------------------------------------------------------------

    def _landed(self, visit: Visit, trip: Trip, landing: Landing, outcome: Outcome) -> Reply | None:
        """The reply that a landing gives this visit; None when it has to fetch again."""
        match landing:
            case Kept():
                return self._landed_kept(visit, trip, landing, outcome)
            case Confirmed():
                return self._landed_confirmed(visit, trip, landing, outcome)
            case Skipped(head=head, skip=skip, owner=owner, answer=answer):
                if owner is not trip:
                    if head.status < 500:
                        return None
                    return self._landed_failed(visit, trip, Failed(in_trouble(head.status), head.status), outcome)
                _close(trip.found)
                outcome.stored_why, outcome.origin_ttl = skip.why, skip.origin_ttl
                outcome.upstream_seconds = landing.seconds
                return self._reply.streamed(visit.request, visit.rule, answer, outcome)
            case Failed():
                return self._landed_failed(visit, trip, landing, outcome)
            case _:
                assert_never(landing)

    def _landed_confirmed(self, visit: Visit, trip: Trip, landing: Confirmed, outcome: Outcome) -> Reply | None:
        found, led = landing.found, landing.owner is trip
        if not led:
            own = trip.found
            if own is None or own.entry.key != found.entry.key or not self._shares(visit, found.entry):
                return None
            if own.entry.received_at != landing.was.received_at:
                return None
            found = replace(found, entry=replace(found.entry, body=own.entry.body))
        outcome.verdict, outcome.reason, outcome.collapsed = Verdict.REVALIDATED, Why.REVALIDATED, not led
        outcome.upstream_status, outcome.upstream_seconds, outcome.stored = 304, landing.seconds, True
        reply = self._serve(visit, found, outcome, current_age(found.entry, self._clock()))
        if led and len(landing.personal):
            reply.fields = Fields(reply.fields.pairs + landing.personal.pairs)
        return reply

    def _landed_kept(self, visit: Visit, trip: Trip, kept: Kept, outcome: Outcome) -> Reply | None:
        led = kept.owner is trip
        if kept.entry.vary:
            self._varies.learn(visit.keyed.hash, tuple(name for name, _ in kept.entry.vary))
        if not led and (kept.recording.given_up or not self._shares(visit, kept.entry)):
            return None
        _close(trip.found)
        outcome.stored, outcome.collapsed = True, not led
        outcome.upstream_status, outcome.upstream_seconds = kept.head.status, kept.seconds
        outcome.origin_ttl, outcome.ttl = kept.keep.origin_ttl, kept.keep.lifetime
        age = None if led else current_age(kept.entry, self._clock())
        reader = kept.reader if led else kept.recording.reader()
        return self._reply.recorded(visit.request, visit.rule, kept.entry, reader, outcome, age)

    def _landed_failed(self, visit: Visit, trip: Trip, failed: Failed, outcome: Outcome) -> Reply:
        outcome.upstream_status = failed.status
        if trip.found is not None and trip.decision.fallback:
            outcome.verdict, outcome.reason, outcome.ttl = Verdict.STALE, Why.STALE_IF_ERROR, trip.decision.ttl
            return self._serve(visit, trip.found, outcome, current_age(trip.found.entry, self._clock()))
        _close(trip.found)
        return self._reply.failed(visit.request, visit.rule, failed.error, outcome)


def _not_for_the_cache(request: Request, rule: Rule) -> Why | None:
    match rule.mode:
        case Mode.OFF:
            return Why.RULE_OFF
        case Mode.SHADOW:
            return Why.SHADOW
        case Mode.BYPASS:
            return Why.NO_RULE
    return None if request.method in rule.methods else Why.METHOD


def _asked_of_the_origin_alone(request: Request) -> Why | None:
    """What a fetch for the cache cannot answer: no flight, and nothing of it is kept."""
    if request.method == "HEAD":
        return Why.HEAD_ONLY
    if any(name in request.fields for name in ORIGIN_CONDITIONS):
        return Why.PRECONDITION
    return Why.PARTIAL if "range" in request.fields else None


def _newer(near: Found | None, far: Found | None) -> Found | None:
    """The younger of two copies; the other's body is given back."""
    if near is None or far is None:
        return near or far
    keep, drop = (far, near) if far.entry.received_at > near.entry.received_at else (near, far)
    drop.entry.body.close()
    return keep


def _close(found: Found | None) -> None:
    if found is not None:
        found.entry.body.close()
