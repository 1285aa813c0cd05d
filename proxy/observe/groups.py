"""What each rule did by group of its keys (`observe.grouping`), and what that saved."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.observe.rule_counts import HITS, RuleCounts, total
from proxy.outcome import Outcome, Verdict
from proxy.reasons import Why

MAX_RULES = 1000  # names come from the configuration, but every reload may bring new ones
OTHER_RULES = "(other)"
MAX_GROUPS = 200  # of all rules together, beside one for whatever else a rule does
OTHER_GROUPS = "(other)"
_NO_CALL = frozenset({Verdict.HIT, Verdict.UPDATING})


@dataclass(slots=True)
class _Mean:
    """Of so many values."""

    number: int = 0
    whole: float = 0.0

    def add(self, value: float) -> None:
        self.number += 1
        self.whole += value


class Groups:
    """The counts of one process, `by_rule` and then by group: "" is what has none of its own. `costs` is the money that
    one upstream call of a rule costs."""

    def __init__(self, costs: Mapping[str, float] | None = None) -> None:
        self.costs: Mapping[str, float] = costs or {}
        self.by_rule: dict[str, dict[str, RuleCounts]] = {}
        self._calls: dict[str, _Mean] = {}  # seconds of upstream calls, by rule
        self._prices: dict[str, _Mean] = {}  # what answers have told that they cost, by rule
        self._named = 0  # how many groups have names of their own

    @property
    def rules(self) -> dict[str, RuleCounts]:
        """What each rule did, whatever the group."""
        return {name: total(groups.values()) for name, groups in self.by_rule.items()}

    def of(self, rule: str, group: str) -> RuleCounts:
        """Where a group is counted."""
        try:
            return self.by_rule[rule][group]
        except KeyError:
            rule, group = self.named(rule, group)
            return self.by_rule.setdefault(rule, {}).setdefault(group, RuleCounts())

    def named(self, rule: str, group: str) -> tuple[str, str]:
        """The names that it is counted under: those that it has, as long as there is room for more of them."""
        if rule not in self.by_rule:
            rule = rule if len(self.by_rule) < MAX_RULES else OTHER_RULES
        groups = self.by_rule.setdefault(rule, {})
        if group and group not in groups:
            if self._named >= MAX_GROUPS:
                return rule, OTHER_GROUPS
            self._named += 1
            groups[group] = RuleCounts()
        return rule, group

    def price(self, rule: str, money: float) -> None:
        """An answer that was fetched has told what it cost; what is saved from now on is the mean of such."""
        _mean(self._prices, rule).add(money)

    def finish(self, outcome: Outcome, why: Why, seconds: float, sent: int, group: str) -> None:
        """One request is over, for the reason `why`."""
        rule = outcome.rule
        counts = self.of(rule, group)
        counts.count(outcome.verdict, why)
        if outcome.verdict in HITS or outcome.collapsed:
            counts.bytes_saved += sent
        if outcome.verdict in _NO_CALL or outcome.collapsed:
            self._spare(rule, counts, 1, seconds)
        elif outcome.upstream_seconds is not None:
            counts.calls += 1
            counts.call_seconds += outcome.upstream_seconds
            _mean(self._calls, rule).add(outcome.upstream_seconds)

    def take_in(self, rule: str, group: str, why: Why, number: int, seconds: float, sent: int) -> None:
        """So many hits, which took so many seconds all together."""
        counts = self.of(rule, group)
        counts.count(Verdict.HIT, why, number)
        counts.bytes_saved += sent
        self._spare(rule, counts, number, seconds)

    def add(self, other: "Groups") -> None:
        """Count what another process has done; money per call as the first of them has it."""
        self.costs = self.costs or other.costs
        for rule, groups in other.by_rule.items():
            for group, done in groups.items():
                self.of(rule, group).add(done)

    def _spare(self, rule: str, counts: RuleCounts, number: int, seconds: float) -> None:
        """So many calls were not made. Each would have taken what calls of its group take, or those of its rule where
        the group has had none, as after a restart with full files; and it would have cost what its rule's do."""
        counts.calls_saved += number
        counts.money_saved += number * self._price(rule)
        mean = _Mean(counts.calls, counts.call_seconds) if counts.calls else self._calls.get(rule)
        if mean is not None:
            counts.seconds_saved += max(0.0, number * mean.whole / mean.number - seconds)

    def _price(self, rule: str) -> float:
        """The money that one call costs, 0 where nobody knows."""
        fixed, told = self.costs.get(rule), self._prices.get(rule)
        if fixed is not None:
            return fixed
        return 0.0 if told is None else told.whole / told.number


def _mean(means: dict[str, _Mean], rule: str) -> _Mean:
    return means.setdefault(rule if rule in means or len(means) < MAX_RULES else OTHER_RULES, _Mean())
