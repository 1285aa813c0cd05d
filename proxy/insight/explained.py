"""What explain says of a request: the parts of it, and how they are told as JSON (contract "Other JSON")."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from proxy.entry import Found, KeyParts
from proxy.insight.explain_tiers import Look
from proxy.insight.nearest import Search, cost
from proxy.invalidation.journal import DEAD, Ender
from proxy.limiting import Stand
from proxy.message import Request
from proxy.observe.figures import ServiceGlance
from proxy.outcome import Tier, Verdict
from proxy.policy.freshness import lifetime, windows
from proxy.policy.keys import Keyed
from proxy.policy.reuse import judge_reuse
from proxy.reasons import Why
from proxy.rules import MAIN, Rule, Tried

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What would become of the request. `maybe`: what else the origin's answer may make of the verdict; `because`: why
    the origin is asked, where `why` is why its answer is not kept. `refreshes`: it is fetched anew behind."""

    verdict: Verdict
    why: Why
    maybe: tuple[Verdict, ...] = ()
    because: Why | None = None
    found: Found | None = None
    refreshes: bool = False


@dataclass(frozen=True, slots=True)
class Storing:
    """Whether an answer would be stored, as far as it is known before it comes: judged by what is `assumed` of it.
    `lately`: why the last one could not be shared, not long ago."""

    why: Why
    stored: bool
    assumed: str
    seconds: float | None = None
    lately: Why | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """The service that would be asked, for what, and why that would be refused at once."""

    name: str
    target: str
    now: ServiceGlance
    refusal: Why | None = None


@dataclass(frozen=True, slots=True)
class InParts:
    """What is held of the answer in parts, in bytes."""

    tier: Tier
    there: int
    of: int


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A fetch of the same that this request would wait for, with so many others; `elsewhere`: in another instance."""

    passengers: int
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Explained:
    """All of it. `refused`: why the request has no key; `now` is wall-clock seconds."""

    request: Request
    rule: Rule
    tried: Sequence[Tried]
    ruling: Ruling
    now: float
    keyed: Keyed | None = None
    refused: Why | None = None
    looks: Sequence[Look] = ()
    parts: InParts | None = None
    under_way: UnderWay | None = None
    storing: Storing | None = None
    stand: Stand | None = None
    upstream: Upstream | None = None
    search: Search | None = None
    advice: str = ""
    warnings: Sequence[str] = ()

    def to_json(self) -> Document:
        """As the contract has it, and more."""
        ruling = self.ruling
        return {
            "verdict": ruling.verdict.value,
            "reason": ruling.why.word,
            "clause": ruling.why.clause,
            "maybe": [verdict.value for verdict in ruling.maybe],
            "because": None if ruling.because is None else ruling.because.word,
            "refreshes": ruling.refreshes,
            "method": self.request.method,
            "url": self._url(),
            "client": self.request.client,
            "rule": self.rule.name,
            "mode": self.rule.mode.value,
            "rules": [asdict(tried) for tried in self.tried],
            "key": self._key(),
            "tiers": [self._tier(look) for look in self.looks],
            "parts": None if self.parts is None else asdict(self.parts),
            "freshness": self._freshness(),
            "fetch": None if self.under_way is None else asdict(self.under_way),
            "storing": _storing(self.storing),
            "limit": _limit(self.stand),
            "upstream": _upstream(self.upstream),
            "nearest": _nearest(self.search),
            "searched": _searched(self.search),
            "advice": self.advice,
            "warnings": list(self.warnings),
        }

    def _url(self) -> str:
        """As it is keyed, where it is."""
        target = self.request.target if self.keyed is None else self.keyed.target
        return f"{self.request.scheme}://{self.request.host}{target}"

    def _key(self) -> Document | None:
        if self.keyed is None:
            return None
        found = self.ruling.found
        whole = self.keyed.hash if found is None else found.entry.key
        return {"hash": self.keyed.hash, "key": whole, "parts": _parts(self.keyed.parts)}

    def _tier(self, look: Look) -> Document:
        told: Document = {"tier": look.tier.value, "found": look.good is not None, "age": None, "ttl": None}
        if look.found is not None:
            alive = look.found if look.good is not None else replace(look.found, ended_at=None)
            alone = judge_reuse(self.request, alive, self.rule, self.now)
            entry = look.found.entry
            told |= {"age": round(alone.age, 3), "ttl": round(alone.ttl, 3), "key": entry.key, "status": entry.status}
            told |= {"size": entry.body.size, "stored_by": entry.rule}
        told |= {"variants": look.variants, "purged": _purged(look.ender)}
        return told | ({"found": None, "trouble": look.trouble} if look.trouble else {})

    def _freshness(self) -> Document | None:
        """Of what was found, and what is left of it."""
        found = self.ruling.found
        if found is None:
            return None
        entry = found.entry
        life, alone = (
            lifetime(entry.fields, entry.status, self.rule, entry.received_at),
            judge_reuse(self.request, found, self.rule, self.now),
        )
        window = windows(life, self.rule)
        return {
            "tier": found.tier.value,
            "lifetime": life.seconds,
            "source": life.source,
            "age": round(alone.age, 3),
            "ttl": round(alone.ttl, 3),
            "stale_while_revalidate": window.while_revalidate,
            "stale_if_error": window.if_error,
        }


def together(own: Document, others: Sequence[Document]) -> Document:
    """What several workers say of one request: the first in full, of all of them what they may differ in. The nearest
    is that of all."""
    said = sorted([own, *others], key=lambda each: each["worker"])
    near = [each["nearest"] for each in said if each["nearest"] is not None]
    nearest = min(near, key=lambda each: cost(each["differs"]), default=None)
    brief = [
        {name: each[name] for name in ("worker", "verdict", "reason", "fetch")}
        | {"memory": [tier for tier in each["tiers"] if tier["tier"] == Tier.MEMORY.value]}
        for each in said
    ]
    return own | {"nearest": nearest, "workers": brief}


def _parts(parts: KeyParts) -> Document:
    """Credentials and cookies are digests."""
    others = {"path": parts.path, "query": parts.query, "body": parts.body, "selected": dict(parts.selected)}
    return {**parts.scope._asdict(), **others}


def _purged(ender: Ender | None) -> Document | None:
    if ender is None:
        return None
    kind = "forgotten" if ender.kind is None else ender.kind.value
    soft = ender.at != DEAD
    told = {"kind": kind, "name": ender.name, "record": ender.number, "id": ender.id or None}
    return {**told, "soft": soft, "at": ender.at if soft else None}


def _storing(storing: Storing | None) -> Document | None:
    if storing is None:
        return None
    lately = None if storing.lately is None else storing.lately.word
    seconds = None if storing.seconds is None else round(storing.seconds, 3)
    told = {"stored": storing.stored, "why": storing.why.word, "clause": storing.why.clause, "ttl": seconds}
    return {**told, "assumed": storing.assumed, "lately": lately}


def _limit(stand: Stand | None) -> Document | None:
    if stand is None:
        return None
    return {**asdict(stand.status), "refuses": None if stand.refusal is None else stand.refusal.word}


def _upstream(upstream: Upstream | None) -> Document | None:
    if upstream is None:
        return None
    refuses = None if upstream.refusal is None else upstream.refusal.word
    return {"name": upstream.name or MAIN, "target": upstream.target, **asdict(upstream.now), "refuses": refuses}


def _searched(search: Search | None) -> Document | None:
    """How far the nearest was looked for."""
    return None if search is None else {"entries": search.looked, "complete": search.complete}


def _nearest(search: Search | None) -> Document | None:
    """`here` is what was asked for and `there` what is stored, by what differs."""
    nearest = search.nearest if search is not None else None
    if nearest is None:
        return None
    here = {name: own for name, (own, _) in nearest.differs.items()}
    there = {name: other for name, (_, other) in nearest.differs.items()}
    told = {"key": nearest.entry.key, "url": nearest.url, "tier": nearest.tier.value}
    return {**told, "differs": list(nearest.differs), "here": here, "there": there}
