"""Requests that go to the origin for their client alone: what is no matter for the cache, and what it cannot answer."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from proxy.entry import Found
from proxy.errors import UpstreamError
from proxy.flying import Flying, give_back
from proxy.insight.shadow import Look
from proxy.landing import Visit
from proxy.message import Reply, Request
from proxy.outcome import Outcome
from proxy.policy.freshness import current_age
from proxy.policy.invalidating import changes, invalidated_urls, rule_targets
from proxy.policy.renewal import FallBack, judge_renewal
from proxy.policy.reuse import Fetch
from proxy.ranging import Ranging
from proxy.reasons import Why
from proxy.replying import Replying
from proxy.rules import Rule, RuleTable
from proxy.upstream.routes import Routes

# The purges that a successful unsafe request causes: (host, target)s, patterns, tags. They hold when it returns the
# numbers of their records.
Invalidate = Callable[[tuple[tuple[str, str], ...], tuple[str, ...], tuple[str, ...]], Awaitable[tuple[int, ...]]]


class Looked(NamedTuple):
    """What was found before the origin is asked."""

    visit: Visit | None
    found: Found | None
    decision: Fetch


_NOT_LOOKED = Looked(None, None, Fetch(Why.URI_MISS))


class Passing:
    """Sends requests on. What a successful unsafe one changed is purged before its client is told; what the answer to a
    HEAD says of stored answers is heard. `table` gives the rules that hold now; `clock` is wall time in seconds."""

    def __init__(
        self,
        table: Callable[[], RuleTable],
        routes: Routes,
        flying: Flying,
        ranging: Ranging,
        invalidate: Invalidate,
        replying: Replying,
        clock: Callable[[], float],
    ) -> None:
        self._table = table
        self._routes = routes
        self._flying = flying
        self._ranging = ranging
        self._invalidate = invalidate
        self._reply = replying
        self._clock = clock

    def change(self, routes: Routes) -> None:
        """Send to these services from now on."""
        self._routes = routes

    async def send(
        self,
        request: Request,
        rule: Rule,
        outcome: Outcome,
        looked: Looked | None = None,
        *,
        look: Look | None = None,
    ) -> Reply:
        """Ask for this client alone. `looked`: what was found before; where it may, it stands in for a failure. `look`:
        that of a rule in shadow, which hears what is sent."""
        visit, found, decision = looked or _NOT_LOOKED
        spare, ttl = found if decision.fallback else None, decision.ttl
        began, posting = self._clock(), self._flying.posting
        start = posting.begin(request)
        try:
            answer = await self._routes.send(request, rule, visit.keyed.target if visit is not None else None)
        except UpstreamError as error:
            if spare is not None:
                return self._stale(request, rule, spare, outcome, ttl)
            give_back(found)
            return self._reply.failed(request, rule, error, outcome)
        outcome.upstream_seconds = self._clock() - began
        if spare is not None and isinstance(
            judge_renewal(spare.entry, answer.head, rule, began, fallback=True), FallBack
        ):
            await answer.close()
            outcome.upstream_status = answer.head.status
            return self._stale(request, rule, spare, outcome, ttl)
        if visit is not None and request.method == "HEAD":
            self._ranging.heard(visit, answer.head)
            if found is not None:
                self._flying.heard(visit, found, answer.head)
        else:
            give_back(found)
        try:
            if visit is None and changes(request, rule, outcome.reason):  # what was looked up is a question (9111 4.4)
                offer = posting.offer(request, rule, answer, start, self._table())
                own = await self._invalidated(request, answer.head.status, invalidated_urls(request, answer.head))
                if (reply := posting.keep(request, rule, offer, own, outcome)) is not None:
                    return reply
        except BaseException:
            await answer.close()
            raise
        return self._reply.streamed(request, rule, answer if look is None else look.over(answer), outcome)

    def _stale(self, request: Request, rule: Rule, found: Found, outcome: Outcome, ttl: float) -> Reply:
        return self._reply.stale(request, rule, found, outcome, ttl, current_age(found.entry, self._clock()))

    async def _invalidated(self, request: Request, status: int, urls: tuple[tuple[str, str], ...]) -> tuple[int, ...]:
        patterns: set[str] = set()
        tags: set[str] = set()
        if status < 400:
            for rule in self._table().on_path(request):
                more_patterns, more_tags = rule_targets(rule, request)
                patterns.update(more_patterns)
                tags.update(more_tags)
        if urls or patterns or tags:
            return await self._invalidate(urls, tuple(sorted(patterns)), tuple(sorted(tags)))
        return ()
