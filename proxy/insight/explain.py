"""Why a request is answered as it is, or would be: the questions of `Pipeline`, asked and not acted upon.

Nothing is fetched, counted or changed: tiers are looked into, limits and breakers glanced at, and no flight begins.
Each question is put to the code that the pipeline asks, in its order, so that both come to the same verdict and reason.

That order stands here once more, and `tests/test_explain_property.py` holds both together. The pipeline stops at its
first answer, and between two questions it acts: it takes a turn, reads a body, promotes, begins a flight. We go on
behind the answer, to tell what else there is. One list for both would have to carry each question's side effects and
whatever the ones before found out, as state beside the request; to walk such a list, or a generator, also takes half a
microsecond of each request. What can be asked at once is shared: `turned_away`, `barred`, `derive`, `judge_reuse`.
"""

import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace

from proxy.entry import Entry, Found
from proxy.flying import Flying
from proxy.insight.explain_advice import advice, warnings
from proxy.insight.explain_asking import Asking, from_store, limited, withheld
from proxy.insight.explain_tiers import Look, Survey
from proxy.insight.explained import Explained, InParts, Ruling, Upstream
from proxy.insight.nearest import Search, Searching
from proxy.landing import Visit
from proxy.limiting import Limiting
from proxy.message import Request
from proxy.outcome import Tier, Verdict
from proxy.pipeline import turned_away, wants_part
from proxy.policy.keys import Keyed, Refused, derive, needs_body
from proxy.policy.reuse import Choice, Fetch, judge_reuse
from proxy.policy.storing import barred
from proxy.policy.vary import vary_value
from proxy.ranging import Ranging, served
from proxy.reasons import Why
from proxy.rules import Mode, Rule, RuleTable
from proxy.upstream.routes import Routes

_LATER = Ruling(Verdict.BYPASS, Why.NO_RULE)  # until it is known


class Explaining:
    """Explains requests, as the pipeline would answer them now. `survey` looks into the tiers, `near` and `heads` give
    what lies in memory and, without bodies, on disk; `gone` says of an entry that a purge ended it. `name` is what our
    Via says; `clock` is wall time and `ticks` a steady one, both in seconds."""

    def __init__(
        self,
        *,
        table: RuleTable,
        routes: Routes,
        key_body: int,
        survey: Survey,
        near: Callable[[], list[Entry]],
        heads: Callable[[], AsyncGenerator[Entry]],
        gone: Callable[[Entry], bool],
        flying: Flying,
        ranging: Ranging,
        limiting: Limiting,
        full: Callable[[], bool],
        name: str,
        clock: Callable[[], float],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._routes = routes
        self._key_body = key_body
        self._survey = survey
        self._near = near
        self._heads = heads
        self._gone = gone
        self._asking = Asking(flying, ranging, clock)
        self._ranging = ranging
        self._limiting = limiting
        self._full = full
        self._name = name
        self._clock = clock
        self._ticks = ticks

    def change(self, table: RuleTable, routes: Routes, key_body: int) -> None:
        """Explain by new settings from now on."""
        self._table, self._routes, self._key_body = table, routes, key_body

    async def explain(self, request: Request, *, upgrade: bool = False) -> Explained:
        """What would become of `request` now. `upgrade`: it asks for a websocket that can be carried."""
        rule = self._table.match(request)
        told = Explained(request, rule, self._table.tried(request), _LATER, self._clock())
        told = replace(told, stand=await self._limiting.stand(request, rule))
        content, keyed = await self._keyed(request, rule)
        if isinstance(keyed, Keyed):
            told = replace(told, keyed=keyed)
        told = replace(told, upstream=self._upstream(request, rule, told.keyed))
        upgrade = upgrade and rule.mode is not Mode.ON
        why = Why.UPGRADE if upgrade else barred(request, rule) or (keyed.why if isinstance(keyed, Refused) else None)
        if why is not None:
            told = replace(told, ruling=self._passed(told, why))
        elif isinstance(keyed, Keyed):
            told = await self._visited(told, Visit(request, rule, keyed, content, told.now))
        if (refusal := self._refused(told, upgrade=upgrade)) is not None:
            told = replace(told, ruling=Ruling(Verdict.BYPASS, refusal))
        return replace(told, advice=advice(told), warnings=warnings(told))

    async def _keyed(self, request: Request, rule: Rule) -> tuple[bytes | None, Keyed | Refused]:
        """The content that the key is made of, and the key."""
        if request.body is None or not needs_body(request, rule):
            return None, derive(request, rule)
        content = await request.body.peek(self._key_body, self._full)
        return content, Refused(Why.BODY_TOO_LARGE) if content is None else derive(request, rule, content)

    def _upstream(self, request: Request, rule: Rule, keyed: Keyed | None) -> Upstream:
        now, fault = self._routes.glance(rule)
        target = self._routes.target(rule, request.target if keyed is None else keyed.target)
        return Upstream(rule.upstream, target, now, None if fault is None else fault.why)

    # -- not for the cache -----------------------------------------------------------------------------------------

    def _refused(self, told: Explained, *, upgrade: bool) -> Why | None:
        """What we answer ourselves, without a look at store or origin."""
        request, stand = told.request, told.stand
        if request.method == "TRACE":
            return Why.METHOD
        if stand is not None and stand.refusal is not None and (stand.arriving or upgrade):
            return stand.refusal
        return turned_away(request, told.rule, self._routes, self._name)

    def _passed(self, told: Explained, why: Why) -> Ruling:
        """It goes to the origin as it came, unless it is refused on the way."""
        return Ruling(Verdict.BYPASS, limited(told) or withheld(told) or why)

    # -- cached routes ---------------------------------------------------------------------------------------------

    async def _visited(self, told: Explained, visit: Visit) -> Explained:
        request, rule, now = visit.request, visit.rule, told.now
        looks = await self._survey(request, rule, visit.keyed.hash)
        near = _first(look for look in looks if look.tier is Tier.MEMORY)
        told = replace(told, looks=looks, parts=self._in_parts(visit))
        decision = judge_reuse(request, near, rule, now, others=any(look.others for look in looks))
        if isinstance(decision, Fetch) and wants_part(request):
            partly, course = self._ranging.look(visit)
            if partly is not None and (within := served(partly, course, near)) is not None:
                return replace(told, ruling=from_store(request, partly.found, within))
        found = near
        if isinstance(decision, Fetch):
            found = _better(Choice(request, rule), near, _first(look for look in looks if look.tier is not Tier.MEMORY))
            decision = judge_reuse(request, found, rule, now, others=any(look.others for look in looks))
        if found is not None and not isinstance(decision, Fetch):
            return replace(told, ruling=from_store(request, found, decision))
        assert isinstance(decision, Fetch)
        if found is None and self._survey.blind:
            decision = Fetch(Why.CUT_OFF)
        return await self._missed(told, visit, found, decision)

    async def _missed(self, told: Explained, visit: Visit, found: Found | None, decision: Fetch) -> Explained:
        """Store does not answer it: what comes of that, and what lies nearest to what was asked for."""
        if found is None:
            told = replace(told, search=await self._search(visit))
        return await self._asking.asked(told, visit, found, decision)

    # -- what else is known ----------------------------------------------------------------------------------------

    def _in_parts(self, visit: Visit) -> InParts | None:
        partly, _ = self._ranging.look(visit)
        if partly is None:
            return None
        return InParts(partly.held.tier, partly.extents.size, partly.entry.body.size)

    async def _search(self, visit: Visit) -> Search:
        request, rule = visit.request, visit.rule
        searching = Searching(
            visit.keyed.parts,
            lambda name: vary_value(name, request.fields, rule),
            lambda entry: not self._gone(entry),
            self._ticks,
        )
        async with aclosing(self._heads()) as heads:
            return await searching.among(self._near(), heads)


def _first(looks: Iterable[Look]) -> Found | None:
    return next((look.good for look in looks if look.good is not None), None)


def _better(choice: Choice, near: Found | None, far: Found | None) -> Found | None:
    """Of two copies the one that suits better."""
    if near is None or far is None:
        return near or far
    return far if choice.better(far.entry, near.entry) else near
