"""What has happened since the start, in plain integers: cheap to count on every request, read only when asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from proxy.errors import WITHHELD, Fault
from proxy.observe.groups import MAX_RULES, OTHER_RULES, Groups
from proxy.observe.heavy import Heavy
from proxy.observe.latency import FLOOR, Histogram
from proxy.observe.rule_counts import HITS, MISSES, RuleCounts, ShadowCounts, add_counts, rate
from proxy.outcome import Outcome, Tier, Verdict
from proxy.reasons import Why

OK = "ok"  # an answer that says nothing against the origin
LEFT = "client-left"  # who asked did not wait for the head, which says nothing against the origin either
CUT = Why.TRUNCATED.word  # the head came, and the body ended too early
RETRIED = "retried"  # sent to an origin, and sent again: the call is counted by what the last attempt brought
_BLAMELESS = frozenset({OK, LEFT, RETRIED})
MAX_LOST = 100  # URLs whose misses are told by the time that they took


class Bound(StrEnum):
    """What can be passed without a request that could tell of it, by the name of its setting where it has one."""

    CONNECTIONS = "limits.connections"  # connections that were refused
    HEAD = "timeouts.head"  # heads that had begun and did not come in time; they count as malformed too
    TAGS = "limits.tags"  # tags that entries were stored without, those that are too long included
    LINES = "log lines"  # lines that found too many waiting, or nobody to read them
    SPANS = "spans"  # of traces: those that found too many waiting, or were not taken by the collector


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
    """Requests to the origins, by how they went: OK, LEFT, CUT, RETRIED or the word of the fault; `coming`: the head
    was fine, and how the body ends is not known yet. Those that were withheld are no requests to an origin, and told
    apart, by why. Health checks are not counted here."""

    outcomes: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, int] = field(default_factory=dict)
    in_flight: int = 0  # until their head
    coming: int = 0
    seconds: Histogram = field(default_factory=Histogram)

    def began(self) -> None:
        self.in_flight += 1

    def ended(self, fault: Fault | None, seconds: float) -> None:
        """The head came after `seconds`, or the call failed, or was withheld."""
        if fault in WITHHELD:
            self.in_flight -= 1
            self.withheld[fault.value] = self.withheld.get(fault.value, 0) + 1
        else:
            self._ended(OK if fault is None else fault.value, seconds)

    def left(self, seconds: float) -> None:
        """Who asked has gone, after `seconds`."""
        self._ended(LEFT, seconds)

    def answered(self, seconds: float) -> None:
        """A head that is fine came after `seconds`; `over` follows."""
        self.in_flight -= 1
        self.coming += 1
        self.seconds.observe(seconds)

    def over(self, *, cut: bool) -> None:
        """The body has come, or was not wanted any more; or it was `cut`."""
        self.coming -= 1
        self._count(CUT if cut else OK)

    def retried(self) -> None:
        """An attempt that was sent has brought nothing, and is made again."""
        self._count(RETRIED)

    def forget_present(self) -> None:
        """Its process has gone, with whoever waited for what was coming."""
        self.in_flight, coming, self.coming = 0, self.coming, 0
        if coming:
            self._count(LEFT, coming)

    def _ended(self, word: str, seconds: float) -> None:
        self.in_flight -= 1
        self._count(word)
        self.seconds.observe(seconds)

    def _count(self, word: str, number: int = 1) -> None:
        self.outcomes[word] = self.outcomes.get(word, 0) + number

    def add(self, other: "UpstreamCounts") -> None:
        add_counts(self.outcomes, other.outcomes)
        add_counts(self.withheld, other.withheld)
        self.in_flight += other.in_flight
        self.coming += other.coming
        self.seconds.add(other.seconds)

    @property
    def requests(self) -> int:
        """What the origins were sent, each attempt of a call by itself; what could not be sent counts once a call."""
        return sum(self.outcomes.values()) + self.coming

    @property
    def retries(self) -> int:
        return self.outcomes.get(RETRIED, 0)

    @property
    def errors(self) -> int:
        """What a breaker takes for failures, as far as they have ended."""
        return sum(count for word, count in self.outcomes.items() if word not in _BLAMELESS)


class Tally:
    """Hits of one rule for one reason, bytes of their content, and how long each took: counted apart by whom
    microseconds matter to, and taken in by `Counters.settle`. `count` is of all; those that took no longer than FLOOR
    have their sum in `quick`, the others are in `slow`."""

    __slots__ = ("count", "quick", "sent", "slow")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin again."""
        self.count = self.sent = 0
        self.quick = 0.0
        self.slow = Histogram()

    def book(self, seconds: float, sent: int) -> None:
        """One more."""
        self.count += 1
        self.sent += sent
        if seconds <= FLOOR:
            self.quick += seconds
        else:
            self.slow.observe(seconds)

    @property
    def seconds(self) -> Histogram:
        """Of all of them."""
        whole = Histogram()
        whole.add_quick(self.count - self.slow.count, self.quick)
        whole.add(self.slow)
        return whole


class Counters:
    """The counters of one process. `costs` is the money that one upstream call of a rule costs."""

    def __init__(self, costs: Mapping[str, float] | None = None) -> None:
        self.verdicts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)
        self.reasons: dict[Why, int] = {}
        self.groups = Groups(costs)
        self.lost = Heavy(MAX_LOST)  # seconds of upstream time, by the URLs without their queries that were missed
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
        self._tallies: dict[tuple[str, str, Why], Tally] = {}

    @classmethod
    def merged(cls, parts: Iterable["Counters"]) -> Self:
        """The counters of several processes as one; money per call as the first of them has it."""
        whole = cls()
        for part in parts:
            whole._add(part)
        return whole

    def forget_present(self) -> None:
        """Its process has gone: nothing is under way there any more."""
        self.in_flight = self.connections = 0
        self.upstream.forget_present()

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
    def rules(self) -> dict[str, RuleCounts]:
        """What each rule did, whatever the group."""
        return self.groups.rules

    @property
    def response_time(self) -> Histogram:
        """Of all requests since the start."""
        return Histogram.merged(self.seconds.values())

    def finish(self, outcome: Outcome, seconds: float, sent: int, group: str = "") -> None:
        """One request is over: `seconds` from its head to the last byte, `sent` bytes of content."""
        self.verdicts[outcome.verdict] += 1
        why = told(outcome)
        self.reasons[why] = self.reasons.get(why, 0) + 1
        self.seconds[outcome.verdict].observe(seconds)
        if outcome.collapsed:
            self.coalesced += 1
        if outcome.reason is Why.RATE_LIMITED:
            rule = _bounded(self.rate_limited, outcome.rule)
            self.rate_limited[rule] = self.rate_limited.get(rule, 0) + 1
        self.groups.finish(outcome, why, seconds, sent, group)

    def tally(self, rule: str, why: Why, group: str = "") -> Tally:
        """Where to count hits of this rule for this reason, until the next `settle` that is `over`."""
        rule, group = self.groups.named(rule, group)
        return self._tallies.setdefault((rule, group, why), Tally())

    def settle(self, *, over: bool = False) -> None:
        """Take in what was tallied. `over`: nobody counts there any more."""
        for (rule, group, why), tally in self._tallies.items():
            if tally.count:
                self._take_in(rule, group, why, tally)
                tally.clear()
        if over:
            self._tallies.clear()

    def _take_in(self, rule: str, group: str, why: Why, tally: Tally) -> None:
        seconds = tally.seconds
        self.verdicts[Verdict.HIT] += tally.count
        self.reasons[why] = self.reasons.get(why, 0) + tally.count
        self.seconds[Verdict.HIT].add(seconds)
        self.groups.take_in(rule, group, why, tally.count, seconds.total, tally.sent)

    def shadow(self, name: str) -> ShadowCounts:
        """Where to count for a rule in shadow."""
        rule = self.groups.of(name, "")
        if rule.shadow is None:
            rule.shadow = ShadowCounts()
        return rule.shadow

    def _add(self, part: "Counters") -> None:
        add_counts(self.verdicts, part.verdicts)
        add_counts(self.reasons, part.reasons)
        add_counts(self.purges, part.purges)
        add_counts(self.rate_limited, part.rate_limited)
        add_counts(self.openings, part.openings)
        self.groups.add(part.groups)
        self.lost.add(part.lost)
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
        add_counts(self.passed, part.passed)

    def add_passed(self, bound: Bound, number: int) -> None:
        """So much more was refused or dropped past this bound."""
        self.passed[bound] += number

    def purged(self, kind: str) -> None:
        """`kind` is one of the few words of the purge body."""
        self.purges[kind] = self.purges.get(kind, 0) + 1

    def opened(self, upstream: str, cause: str) -> None:
        """A breaker has opened; `cause` is one of the few settings that say when."""
        opening = upstream, cause
        if opening not in self.openings and len(self.openings) >= MAX_RULES:
            opening = OTHER_RULES, cause
        self.openings[opening] = self.openings.get(opening, 0) + 1


def told(outcome: Outcome) -> Why:
    """The one reason that is shown: why an answer was not kept, where it was not, else why it was given as it was."""
    return outcome.stored_why if outcome.stored_why is not None and not outcome.stored else outcome.reason


def _bounded(counts: Mapping[str, object], name: str) -> str:
    """The name to count under."""
    return name if name in counts or len(counts) < MAX_RULES else OTHER_RULES
