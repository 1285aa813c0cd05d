"""May a stored answer be reused? (RFC 9111 4)"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

from proxy.entry import Entry, Found, Pairs, Variant
from proxy.fixed import fixed
from proxy.message import Request
from proxy.outcome import Tier
from proxy.policy.cache_control import SILENT, Directives, asked
from proxy.policy.conditional import for_the_origin, validators
from proxy.policy.freshness import Lifetime, current_age, lifetime, windows
from proxy.policy.identity import sets_cookies, uncovered
from proxy.policy.variants import as_variant, rank
from proxy.policy.vary import accepts_coding, negotiates, vary_value, vary_values
from proxy.reasons import Why
from proxy.rules import Rule

__all__ = ["Choice", "Fetch", "Reuse", "Serve", "ServeStale", "judge_reuse", "only_if_cached", "vary_values"]


@fixed
class Serve:
    """Answer from store as fresh. Seconds; `ttl` is what is left of the lifetime (negative under max-stale).
    `refresh`: it has come into the rule's `refresh_ahead`, so fetch it anew behind. `lasting`: for so long the same
    request is answered the same way, but for `age` and `ttl`, which go on with the clock; 0 when that is not known."""

    age: float
    ttl: float
    why: Why = Why.FRESH
    refresh: bool = False
    lasting: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class ServeStale:
    """Answer from store in its stale-while-revalidate window and refresh once behind (RFC 5861 3)."""

    age: float
    ttl: float
    why: Why = Why.STALE_WHILE_REVALIDATE


@fixed
class Fetch:
    """Ask upstream. `conditional`: with the stored validators; `fallback`: the stored answer may stand in when the
    upstream fails (RFC 5861 4)."""

    why: Why
    conditional: bool = False
    fallback: bool = False
    age: float = 0.0
    ttl: float = 0.0


Reuse = Serve | ServeStale | Fetch

_NOTHING, _OTHERS = Fetch(Why.URI_MISS), Fetch(Why.VARY_MISS)
JITTER = 0.25  # of the time in which answers are refreshed ahead: in it each begins at a moment of its own


def judge_reuse(request: Request, found: Found | None, rule: Rule, now: float, *, others: bool = False) -> Reuse:
    """Serve it, serve it stale, or fetch? `found` fits the request's key and variant, and no later purge matches it;
    `others`: variants are stored, but none fits. `now` is wall-clock seconds."""
    if found is None:
        return _OTHERS if others else _NOTHING
    entry = found.entry
    life = lifetime(entry.fields, entry.status, rule, entry.received_at)
    why = _unusable(request, entry, life.said, rule)
    if why is None and not life.shareable and (why := uncovered(request, rule)) is not None:
        own = lifetime(entry.fields, entry.status, rule, entry.received_at, own=True)
        if own.shareable:  # an override may be shorter than what the origin permits, and holds for everybody
            why, life = None, own._replace(seconds=min(own.seconds, life.seconds))
    age = current_age(entry, now)
    ttl = life.seconds - age
    if found.ended_at is not None:  # a soft purge ends a lifetime, never prolongs it
        ttl = min(ttl, found.ended_at - now)
    if why is not None:
        return Fetch(why, age=age, ttl=ttl)
    wish = asked(request, rule)
    if ttl > 0:
        return _fresh(entry, life, rule, wish, age, ttl)
    return _stale(found, life, rule, wish, age, ttl)


def only_if_cached(request: Request, rule: Rule) -> bool:
    """Whether the client wants 504 rather than a fetch (RFC 9111 5.2.1.7)."""
    return asked(request, rule).only_if_cached


class Choice:
    """Picks the stored variant that fits a request, of several the one that suits it best (RFC 9111 4.1); a `Select`.

    `others` tells after the calls whether one of them saw variants of which none fitted.
    """

    __slots__ = ("_fields", "_rule", "_values", "others")

    def __init__(self, request: Request, rule: Rule) -> None:
        self._fields = request.fields
        self._rule = rule
        self._values: dict[str, str] = {}
        self.others = False

    def __call__(self, variants: Iterable[Variant]) -> str | None:
        seen = list(variants)
        fitting = [variant for variant in seen if not variant.vary or self._fits(variant.vary)]
        if not fitting:
            self.others = self.others or bool(seen)
            return None
        if len(fitting) == 1:
            return fitting[0].id
        return max(fitting, key=lambda variant: rank(variant, self._fields)).id

    def better(self, one: Entry, other: Entry) -> bool:
        """Whether `one` suits better, where both were picked."""
        return rank(as_variant(one), self._fields) > rank(as_variant(other), self._fields)

    def _fits(self, vary: Pairs) -> bool:
        for name, value in vary:
            own = self._values.get(name)
            if own is None:
                own = self._values[name] = vary_value(name, self._fields, self._rule)
            if own != value:
                return False
        return True


# -- judge_reuse, in the order of its questions ------------------------------------------------------------------------


def _unusable(request: Request, entry: Entry, said: Directives, rule: Rule) -> Why | None:
    """Why this entry answers this request in no state of freshness. What may not be stored may not be reused: a 304
    or a reload can have changed that since."""
    if said.no_store and not said.must_understand:
        return Why.NO_STORE
    if said.private and not rule.store_private:
        return Why.PRIVATE
    if said.withheld and entry.fields.has_any(said.withheld):
        return Why.PRIVATE
    if sets_cookies(entry.fields) and not (said.public and rule.store_set_cookie):
        return Why.SET_COOKIE
    if entry.vary and "content-encoding" in entry.fields and _unreadable(request, entry, rule):
        return Why.VARY_MISS
    return Why.PRECONDITION if for_the_origin(request) else None


def _unreadable(request: Request, entry: Entry, rule: Rule) -> bool:
    """An origin that sent another coding than it was asked for has made a variant that not all of its class read."""
    if not negotiates(rule) or all(name != "accept-encoding" for name, _ in entry.vary):
        return False
    return not accepts_coding(request.fields.get("accept-encoding"), entry.fields.get("content-encoding") or "")


def _fresh(entry: Entry, life: Lifetime, rule: Rule, wish: Directives, age: float, ttl: float) -> Serve | Fetch:
    why = None if wish is SILENT else _declined(life, wish, age, ttl)
    if why is None:
        # RFC 8246 2.1: what cannot change is not asked for again while it is fresh.
        ahead = _ahead(entry, rule) * (age + ttl) if rule.refresh_ahead and not life.said.immutable else 0.0
        return Serve(age, ttl, refresh=ttl < ahead, lasting=max(0.0, ttl - ahead) if wish is SILENT else 0.0)
    return Fetch(why, conditional=bool(validators(entry)), fallback=True, age=age, ttl=ttl)


def _ahead(entry: Entry, rule: Rule) -> float:
    """The last share of a lifetime in which an answer is refreshed. What was stored together is not asked for again
    together, and all who hold one answer mean the same moment."""
    return rule.refresh_ahead * (1 - JITTER * crc32(entry.key.encode("latin-1")) / 2**32)


def _declined(life: Lifetime, wish: Directives, age: float, ttl: float) -> Why | None:
    """Which wish of the client a fresh answer does not meet (RFC 9111 5.2.1)."""
    if wish.no_cache:
        return Why.REQUEST_NO_CACHE
    # RFC 8246 2.1: a plain reload (max-age) does not revalidate what cannot change; no-cache does.
    if wish.max_age is not None and not life.said.immutable and (age > wish.max_age or wish.max_age == 0):
        return Why.REQUEST_MAX_AGE
    return Why.REQUEST_MIN_FRESH if wish.min_fresh and ttl < wish.min_fresh else None


def _stale(found: Found, life: Lifetime, rule: Rule, wish: Directives, age: float, ttl: float) -> Reuse:
    late = -ttl
    window = windows(life, rule)
    welcome = _tolerates(wish, age, late)
    if welcome and late < window.while_revalidate:
        return ServeStale(age, ttl)
    if welcome and wish.max_stale is not None and not life.never_stale:
        return Serve(age, ttl, Why.MAX_STALE)
    why = _why_stale(found, life, age)
    if why is Why.STALE and late < window.while_revalidate:
        why = _declined(life, wish, age, ttl) or why
    # RFC 5861 4: in a request it holds for that request, wider or narrower than what everybody gets.
    if_error = window.if_error if wish.stale_if_error is None or life.never_stale else wish.stale_if_error
    return Fetch(why, conditional=bool(validators(found.entry)), fallback=late < if_error, age=age, ttl=ttl)


def _tolerates(wish: Directives, age: float, late: float) -> bool:
    """Whether the client takes an answer that is stale by `late` seconds, if we may send it (RFC 9111 5.2.1)."""
    if wish.no_cache or wish.min_fresh:
        return False
    if wish.max_age is not None and (wish.max_stale is None or age > wish.max_age):
        return False
    return wish.max_stale is None or late <= wish.max_stale


def _why_stale(found: Found, life: Lifetime, age: float) -> Why:
    if life.source == "no-cache":
        return Why.ORIGIN_NO_CACHE
    if found.ended_at is not None and life.seconds > age:
        return Why.PURGED
    return Why.MUST_REVALIDATE if life.said.must_revalidate or life.said.proxy_revalidate else Why.STALE


def answers(request: Request, entry: Entry, rule: Rule, now: float) -> bool:
    """Whether what answered another's request may answer this one too: the same variant, and reusable by the same
    judgement as a stored answer."""
    if Choice(request, rule)((as_variant(entry),)) is None:
        return False
    return isinstance(judge_reuse(request, Found(entry, Tier.MEMORY), rule, now), Serve)
