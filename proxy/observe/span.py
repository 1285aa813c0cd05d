"""What happened in some time: the difference of two takes of the counters, small enough to keep one of each minute."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

from proxy.observe.counters import Counters
from proxy.observe.rule_counts import RuleCounts, total
from proxy.outcome import Tier, Verdict
from proxy.reasons import Why

FORM = 1  # of what `packed` makes; another one is not read
MAX_PACKED = 1 << 18  # bytes, ...
MAX_UNPACKED = 1 << 21  # ... and what they may come to: who else may write where they lie, may write anything
_LONGEST = 500  # characters of a name
_MOST = 1 << 50  # of anything that is counted: sums of a day stay below 64 bits
_WORDS = {why.word: why for why in Why}


class NoSpan(Exception):
    """These bytes are no span of ours."""


@dataclass(slots=True)
class Lookups:
    """In one tier."""

    hits: int = 0
    misses: int = 0
    errors: int = 0

    def add(self, other: "Lookups") -> None:
        self.hits += other.hits
        self.misses += other.misses
        self.errors += other.errors


@dataclass(slots=True)
class Span:
    """By rule and group of its keys, and by tier."""

    groups: dict[tuple[str, str], RuleCounts] = field(default_factory=dict)
    tiers: dict[Tier, Lookups] = field(default_factory=dict)

    @classmethod
    def between(cls, before: Counters, now: Counters) -> Self:
        """What `now` has counted since `before`; nothing falls, whatever a process that went may have taken along."""
        span = cls()
        for rule, groups in now.groups.by_rule.items():
            known = before.groups.by_rule.get(rule, {})
            for group, counts in groups.items():
                more = _more(known.get(group, _NOTHING), counts)
                if more.outcomes or more.calls:
                    span.groups[rule, group] = more
        for tier, seen in now.tiers.items():
            past = before.tiers[tier]
            lookups = Lookups(seen.hits - past.hits, seen.misses - past.misses, seen.errors - past.errors)
            if lookups.hits > 0 or lookups.misses > 0 or lookups.errors > 0:
                span.tiers[tier] = lookups
        return span

    def add(self, other: "Span") -> None:
        """Let what happened then, or there, count here too."""
        for name, counts in other.groups.items():
            self.groups.setdefault(name, RuleCounts()).add(counts)
        for tier, lookups in other.tiers.items():
            self.tiers.setdefault(tier, Lookups()).add(lookups)

    def take_off(self, other: "Span") -> None:
        """Let what was added before count no longer."""
        for name, counts in other.groups.items():
            left = _more(counts, self.groups.get(name, _NOTHING))
            if left.outcomes or left.calls:
                self.groups[name] = left
            else:
                self.groups.pop(name, None)
        for tier, lookups in other.tiers.items():
            self.tiers.setdefault(tier, Lookups()).add(Lookups(-lookups.hits, -lookups.misses, -lookups.errors))

    @property
    def whole(self) -> RuleCounts:
        """Of all rules."""
        return total(self.groups.values())

    @property
    def rules(self) -> dict[str, RuleCounts]:
        """Of each rule, whatever the group."""
        told: dict[str, RuleCounts] = {}
        for (rule, _), counts in self.groups.items():
            told.setdefault(rule, RuleCounts()).add(counts)
        return told

    def packed(self) -> bytes:
        """A few bytes for each group that did anything. NoSpan where that is more than anybody reads."""
        told = {
            "form": FORM,
            "groups": [[rule, group, *_row(counts)] for (rule, group), counts in self.groups.items()],
            "tiers": {tier.value: [seen.hits, seen.misses, seen.errors] for tier, seen in self.tiers.items()},
        }
        try:
            plain = orjson.dumps(told)
        except TypeError as error:  # a sum past 64 bits
            raise NoSpan(str(error)) from error
        raw = ZstdCompressor().compress(plain)
        if len(plain) > MAX_UNPACKED or len(raw) > MAX_PACKED:
            raise NoSpan(f"{len(plain)} bytes of {len(self.groups)} groups")
        return raw

    @classmethod
    def unpacked(cls, raw: bytes) -> Self:
        """NoSpan for what is none, or larger than any."""
        if len(raw) > MAX_PACKED:
            raise NoSpan(f"{len(raw)} bytes")
        try:
            told = orjson.loads(ZstdDecompressor().decompress(raw, max_output_size=MAX_UNPACKED))
            if told["form"] != FORM:
                raise NoSpan("of another version")
            groups = {(_name(rule), _name(group)): _counts(*row) for rule, group, *row in told["groups"]}
            tiers = {Tier(word): Lookups(*map(_whole, seen)) for word, seen in told["tiers"].items()}
        except (ZstdError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise NoSpan(str(error)) from error
        return cls(groups, tiers)


_NOTHING = RuleCounts()


def merged(parts: Iterable[Span]) -> Span:
    """All of them as one."""
    whole = Span()
    for part in parts:
        whole.add(part)
    return whole


def _more(before: RuleCounts, now: RuleCounts) -> RuleCounts:
    outcomes = {key: count - before.outcomes.get(key, 0) for key, count in now.outcomes.items()}
    return RuleCounts(
        {key: count for key, count in outcomes.items() if count > 0},
        max(0, now.bytes_saved - before.bytes_saved),
        max(0, now.calls_saved - before.calls_saved),
        max(0.0, now.seconds_saved - before.seconds_saved),
        max(0.0, now.money_saved - before.money_saved),
        max(0, now.calls - before.calls),
        max(0.0, now.call_seconds - before.call_seconds),
    )


def _row(counts: RuleCounts) -> tuple[object, ...]:
    return (
        {f"{verdict.value} {why.word}": count for (verdict, why), count in counts.outcomes.items()},
        counts.bytes_saved,
        counts.calls_saved,
        round(counts.seconds_saved, 6),
        round(counts.money_saved, 9),
        counts.calls,
        round(counts.call_seconds, 6),
    )


def _counts(
    outcomes: Mapping[str, Any], size: Any, saved: Any, seconds: Any, money: Any, calls: Any, spent: Any
) -> RuleCounts:
    """Outcomes whose words are of another version are left out."""
    counts = RuleCounts(
        {}, _whole(size), _whole(saved), _amount(seconds), _amount(money), _whole(calls), _amount(spent)
    )
    for words, count in outcomes.items():
        verdict, _, word = words.partition(" ")
        if word in _WORDS:
            counts.count(Verdict(verdict), _WORDS[word], _whole(count))
    return counts


def _name(found: object) -> str:
    if not isinstance(found, str) or len(found) > _LONGEST:
        raise NoSpan("no name")
    return found


def _whole(found: object) -> int:
    if not isinstance(found, int) or not 0 <= found <= _MOST:
        raise NoSpan("no count")
    return found


def _amount(found: object) -> float:
    if not isinstance(found, int | float) or not 0 <= found <= _MOST:
        raise NoSpan("no amount")
    return float(found)
