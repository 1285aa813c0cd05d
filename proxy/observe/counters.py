"""What has happened since the start, in plain integers: cheap to count on every request, read only when asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self, TypeVar

from proxy.errors import WITHHELD, Fault
from proxy.observe.latency import Histogram
from proxy.outcome import Outcome, Tier, Verdict
from proxy.reasons import Why

HITS = frozenset({Verdict.HIT, Verdict.STALE, Verdict.UPDATING, Verdict.REVALIDATED})
MISSES = frozenset({Verdict.MISS, Verdict.EXPIRED})
_NO_CALL = frozenset({Verdict.HIT, Verdict.UPDATING})
MAX_RULES = 1000  # names come from the configuration, but every reload may bring new ones
OTHER_RULES = "(other)"

K = TypeVar("K")


class Bound(StrEnum):
    """What can be passed without a request that could tell of it, by the name of its setting where it has one."""

    CONNECTIONS = "limits.connections"  # connections that were refused
    HEAD = "timeouts.head"  # heads that had begun and did not come in time; they count as malformed too
    TAGS = "limits.tags"  # tags that entries were stored without, those that are too long included
    LINES = "log lines"  # lines that found too many waiting, or nobody to read them


@dataclass(slots=True)
class RuleCounts:
    """What one rule did. A call is saved when a client was answered without one of its own; what a call would have
    taken is the mean of those that were made."""

    verdicts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    bytes_saved: int = 0
    calls_saved: int = 0
    seconds_saved: float = 0.0
    money_saved: float = 0.0
    calls: int = 0
    call_seconds: float = 0.0

    @property
    def hits(self) -> int:
        return sum(self.verdicts[verdict] for verdict in HITS)

    @property
    def misses(self) -> int:
        return sum(self.verdicts[verdict] for verdict in MISSES)

    def add(self, other: "RuleCounts") -> None:
        """Count what another process did by the same rule."""
        _add(self.verdicts, other.verdicts)
        self.bytes_saved += other.bytes_saved
        self.calls_saved += other.calls_saved
        self.seconds_saved += other.seconds_saved
        self.money_saved += other.money_saved
        self.calls += other.calls
        self.call_seconds += other.call_seconds


@dataclass(slots=True)
class TierCounts:
    """Lookups in one tier."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    seconds: Histogram = field(default_factory=Histogram)

    def add(self, other: "TierCounts") -> None:
        self.hits += other.hits
        self.misses += other.misses
        self.errors += other.errors
        self.seconds.add(other.seconds)


@dataclass(slots=True)
class UpstreamCounts:
    """Calls to the origins, by how they went: `ok` or the word of the fault. Those that were withheld are told by their
    word, but are no requests to an origin."""

    outcomes: dict[str, int] = field(default_factory=dict)
    in_flight: int = 0
    seconds: Histogram = field(default_factory=Histogram)

    def began(self) -> None:
        self.in_flight += 1

    def ended(self, fault: Fault | None, seconds: float) -> None:
        """The head came after `seconds`, or the call failed."""
        self.in_flight -= 1
        word = "ok" if fault is None else fault.value
        self.outcomes[word] = self.outcomes.get(word, 0) + 1
        if fault not in WITHHELD:
            self.seconds.observe(seconds)

    def add(self, other: "UpstreamCounts") -> None:
        _add(self.outcomes, other.outcomes)
        self.in_flight += other.in_flight
        self.seconds.add(other.seconds)

    @property
    def requests(self) -> int:
        return sum(self.outcomes.values()) - sum(self.outcomes.get(fault.value, 0) for fault in WITHHELD)

    @property
    def errors(self) -> int:
        return self.requests - self.outcomes.get("ok", 0)


class Tally:
    """Hits of one rule for one reason, bytes of their content, and how long each took: counted apart by whom
    microseconds matter to, and taken in by `Counters.settle`."""

    __slots__ = ("count", "seconds", "sent")

    def __init__(self) -> None:
        self.count = 0
        self.sent = 0
        self.seconds = Histogram()


class Counters:
    """The counters of one process. `costs` is the money that one upstream call of a rule costs."""

    def __init__(self, costs: Mapping[str, float] | None = None) -> None:
        self.costs: Mapping[str, float] = costs or {}
        self.verdicts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)
        self.reasons: dict[Why, int] = {}
        self.rules: dict[str, RuleCounts] = {}
        self.tiers: dict[Tier, TierCounts] = {tier: TierCounts() for tier in Tier}
        self.upstream = UpstreamCounts()
        self.seconds: dict[Verdict, Histogram] = {verdict: Histogram() for verdict in Verdict}
        self.purges: dict[str, int] = {}
        self.rate_limited: dict[str, int] = {}
        self.openings: dict[tuple[str, str], int] = {}  # of breakers, by upstream and cause
        self.malformed = 0
        self.coalesced = 0
        self.in_flight = 0
        self.connections = 0
        self.shrinks = 0  # how often memory came under pressure
        self.passed: dict[Bound, int] = dict.fromkeys(Bound, 0)
        self._tallies: dict[tuple[str, Why], Tally] = {}

    @classmethod
    def merged(cls, parts: Iterable["Counters"]) -> Self:
        """The counters of several processes as one; money per call as the first of them has it."""
        whole = cls()
        for part in parts:
            whole._add(part)
        return whole

    def forget_present(self) -> None:
        """Its process has gone: nothing is under way there any more."""
        self.in_flight = self.connections = self.upstream.in_flight = 0

    @property
    def requests(self) -> int:
        """Every request has one verdict, so that the sum is exact by construction."""
        return sum(self.verdicts.values())

    @property
    def hit_rate(self) -> float:
        """(HIT+STALE+UPDATING+REVALIDATED) / (those + MISS + EXPIRED); 0 when there were none."""
        hits = sum(self.verdicts[verdict] for verdict in HITS)
        return rate(hits, sum(self.verdicts[verdict] for verdict in MISSES))

    @property
    def response_time(self) -> Histogram:
        """Of all requests since the start."""
        return Histogram.merged(self.seconds.values())

    def finish(self, outcome: Outcome, seconds: float, sent: int) -> None:
        """One request is over: `seconds` from its head to the last byte, `sent` bytes of content."""
        self.verdicts[outcome.verdict] += 1
        why = told(outcome)
        self.reasons[why] = self.reasons.get(why, 0) + 1
        self.seconds[outcome.verdict].observe(seconds)
        if outcome.collapsed:
            self.coalesced += 1
        if outcome.reason is Why.RATE_LIMITED:
            self.rate_limited[outcome.rule] = self.rate_limited.get(outcome.rule, 0) + 1
        self._count_rule(outcome, seconds, sent)

    def tally(self, rule: str, why: Why) -> Tally:
        """Where to count hits of this rule for this reason, until the next `settle` that is `over`."""
        return self._tallies.setdefault((rule, why), Tally())

    def settle(self, *, over: bool = False) -> None:
        """Take in what was tallied. `over`: nobody counts there any more."""
        for (rule, why), tally in self._tallies.items():
            if tally.count:
                self._take_in(rule, why, tally)
                tally.count = tally.sent = 0
                tally.seconds = Histogram()
        if over:
            self._tallies.clear()

    def _take_in(self, name: str, why: Why, tally: Tally) -> None:
        self.verdicts[Verdict.HIT] += tally.count
        self.reasons[why] = self.reasons.get(why, 0) + tally.count
        self.seconds[Verdict.HIT].add(tally.seconds)
        rule = self._rule(name)
        rule.verdicts[Verdict.HIT] += tally.count
        rule.bytes_saved += tally.sent
        rule.calls_saved += tally.count
        rule.money_saved += tally.count * self.costs.get(name, 0.0)
        if rule.calls:
            rule.seconds_saved += max(0.0, tally.count * rule.call_seconds / rule.calls - tally.seconds.total)

    def _rule(self, name: str) -> RuleCounts:
        rule = self.rules.get(name)
        if rule is None:
            rule = self.rules.setdefault(name if len(self.rules) < MAX_RULES else OTHER_RULES, RuleCounts())
        return rule

    def _count_rule(self, outcome: Outcome, seconds: float, sent: int) -> None:
        rule = self._rule(outcome.rule)
        rule.verdicts[outcome.verdict] += 1
        if outcome.verdict in HITS or outcome.collapsed:
            rule.bytes_saved += sent
        if outcome.verdict in _NO_CALL or outcome.collapsed:
            rule.calls_saved += 1
            rule.money_saved += self.costs.get(outcome.rule, 0.0)
            if rule.calls:
                rule.seconds_saved += max(0.0, rule.call_seconds / rule.calls - seconds)
        elif outcome.upstream_seconds is not None:
            rule.calls += 1
            rule.call_seconds += outcome.upstream_seconds

    def _add(self, part: "Counters") -> None:
        self.costs = self.costs or part.costs
        _add(self.verdicts, part.verdicts)
        _add(self.reasons, part.reasons)
        _add(self.purges, part.purges)
        _add(self.rate_limited, part.rate_limited)
        _add(self.openings, part.openings)
        for name, rule in part.rules.items():
            known = name if name in self.rules or len(self.rules) < MAX_RULES else OTHER_RULES
            self.rules.setdefault(known, RuleCounts()).add(rule)
        for tier, counts in part.tiers.items():
            self.tiers[tier].add(counts)
        for verdict, seconds in part.seconds.items():
            self.seconds[verdict].add(seconds)
        self.upstream.add(part.upstream)
        self.malformed += part.malformed
        self.coalesced += part.coalesced
        self.in_flight += part.in_flight
        self.connections += part.connections
        self.shrinks += part.shrinks
        _add(self.passed, part.passed)

    def add_passed(self, bound: Bound, number: int) -> None:
        """So much more was refused or dropped past this bound."""
        self.passed[bound] += number

    def purged(self, kind: str) -> None:
        """`kind` is one of the few words of the purge body."""
        self.purges[kind] = self.purges.get(kind, 0) + 1

    def opened(self, upstream: str, cause: str) -> None:
        """A breaker has opened; `cause` is one of the few settings that say when."""
        self.openings[upstream, cause] = self.openings.get((upstream, cause), 0) + 1


def told(outcome: Outcome) -> Why:
    """The one reason that is shown: why an answer was not kept, where it was not, else why it was given as it was."""
    return outcome.stored_why if outcome.stored_why is not None and not outcome.stored else outcome.reason


def rate(hits: int, misses: int) -> float:
    """hits / (hits + misses), 0 when there were none."""
    return round(hits / (hits + misses), 4) if hits or misses else 0.0


def _add(mine: dict[K, int], others: Mapping[K, int]) -> None:
    for name, count in others.items():
        mine[name] = mine.get(name, 0) + count
