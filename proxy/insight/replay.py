"""What rules would have done with the requests of a log: counted as a running gateway counts."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from proxy.insight.curve import Curve, How, Point
from proxy.insight.recalled import Recollection
from proxy.insight.seen import Seen, Unreadable
from proxy.insight.simulated import Simulation, Step
from proxy.observe.counters import Counters
from proxy.outcome import Verdict
from proxy.settings.model import Settings

NAMED = 20  # unreadable lines that are told one by one
CHANGED = 100  # URLs whose verdicts differ that are told, those with the most requests
_TRACKED = 20_000  # URLs that are counted for that

Costs = Callable[[Settings], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Change:
    """A URL whose requests got another verdict, so many of them."""

    url: str
    was: str
    now: str
    requests: int


@dataclass(slots=True)
class Side:
    """What one set of rules would have done. `upstream_saved` are calls of the origin; `assumed` says, with the number
    of requests that it was for, what had to be assumed."""

    counters: Counters
    upstream_saved: int
    bytes_saved: int
    curve: tuple[Point, ...]
    rate: float  # of the sample that the curve is of
    held: dict[str, int]  # entries and bytes at the end, and evictions
    assumed: Counter[str]


@dataclass(slots=True)
class Report:
    """`logged` is the hit ratio that the log itself tells, None where it has no verdicts."""

    after: Side
    before: Side | None
    changed: tuple[Change, ...]
    unreadable: int
    named: tuple[Unreadable, ...]
    logged: float | None
    seconds: float  # from the first request to the last


@dataclass(slots=True)
class _Changes:
    """Verdicts that differ, by URL. Past the bound those that were seen once make room."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, url: str, was: str, now: str) -> None:
        if len(self.counts) >= _TRACKED:
            self.counts = Counter({change: count - 1 for change, count in self.counts.items() if count > 1})
        self.counts[url, was, now] += 1

    def most(self) -> tuple[Change, ...]:
        return tuple(Change(*change, count) for change, count in self.counts.most_common(CHANGED))


class _Run:
    """A simulation with its curve."""

    def __init__(self, settings: Settings, said: Recollection) -> None:
        self.simulation = Simulation(settings, said)
        self.curve = Curve(settings.memory.eviction)

    def step(self, seen: Seen) -> Step:
        step = self.simulation.step(seen)
        outcome = step.outcome
        if outcome.verdict is not Verdict.BYPASS:
            self.curve.ask(step.key, step.size, step.life, seen.time, _how(step))
        return step

    def side(self) -> Side:
        simulation, counters = self.simulation, self.simulation.counters
        tiers = simulation.tiers
        return Side(
            counters,
            sum(rule.calls_saved for rule in counters.rules.values()) - simulation.refreshes,
            sum(rule.bytes_saved for rule in counters.rules.values()),
            self.curve.points(),
            self.curve.rate,
            {
                "entries": max((len(tier) for tier in tiers), default=0),
                "bytes": max((tier.bytes for tier in tiers), default=0),
                "evictions": tiers[0].evictions if tiers else 0,
            },
            simulation.assumed,
        )


def _how(step: Step) -> How:
    if step.purged:
        return "purged"
    match step.outcome.verdict:
        case Verdict.REVALIDATED | Verdict.STALE:
            return "confirmed"
        case Verdict.UPDATING:
            return "refreshed"
        case _:
            return ""


def replay(log: Iterator[Seen | Unreadable], rules: Settings, compare: Settings | None = None) -> Report:
    """Both sets of rules over the same requests."""
    said = Recollection()
    after, before = _Run(rules, said), _Run(compare, said) if compare is not None else None
    changes, logged, named, unreadable = _Changes(), Counters(), list[Unreadable](), 0
    first = last = None
    for seen in log:
        if isinstance(seen, Unreadable):
            unreadable += 1
            if len(named) < NAMED:
                named.append(seen)
            continue
        first = seen.time if first is None else first
        last = seen.time
        said.hear(seen)
        if seen.ours is not None:
            logged.verdicts[seen.ours.verdict] += 1
        now = after.step(seen).outcome.verdict
        if before is not None and (was := before.step(seen).outcome.verdict) is not now:
            changes.add(seen.url, was.value, now.value)
    return Report(
        after.side(),
        before.side() if before is not None else None,
        changes.most(),
        unreadable,
        tuple(named),
        logged.hit_rate if logged.requests else None,
        (last or 0.0) - (first or 0.0),
    )
