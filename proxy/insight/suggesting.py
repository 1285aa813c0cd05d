"""What samples say of rules: which parts of requests never changed an answer, which split keys, how fast it changes.

A pair are two answers of one place whose requests differ in one part alone. When no pair of so many differs, the part
changes an answer at most so often (`bounds`); below ENOUGH it is suggested to be ignored. Parts that are new on every
request (a time stamp beside a session) have no such pairs, since they never come alone: they are tried together.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.insight.bounds import rate_at_most, share_at_most
from proxy.insight.samples import Sample

ENOUGH = 0.05  # the largest share of changed answers that may remain possible: 59 pairs without one
OUTDATED = 0.05  # share of answers given that may be out of date with the suggested ttl
_GAPS = 20  # times that an answer was seen again, for a ttl
_FRESH = 0.5  # share of values never seen before past which a part is thought to be new on every request
_SPLITS = 1.2  # keys there are for each that there would be without a part
_ROUNDS = 4
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 21600, 86400)
_VARIABLE = re.compile(r"/(?:\d+|[0-9a-fA-F-]{8,}|[^/]*\d[^/]*)(?=/|\Z)")

Patch = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`kind` is query, header, json, cookie, split or ttl; `name` is the part's, or the rule's for a ttl. Of `pairs`
    answers that were compared, `bound` is the largest share that may differ (of a ttl: changes per second). `patch` is
    what to change in the settings, None where the evidence is all there is."""

    kind: str
    name: str
    rule: str
    pairs: int
    bound: float
    text: str
    patch: Patch | None = None


@dataclass(slots=True)
class _Part:
    """What was seen of one part of the requests of a group."""

    pairs: set[tuple[int, str, str]] = field(default_factory=set)
    changed: int = 0
    values: set[str] = field(default_factory=set)
    seen: int = 0
    without: set[int] = field(default_factory=set)  # keys, were it not in them

    @property
    def bound(self) -> float:
        return share_at_most(self.changed, len(self.pairs))

    def compare(self, rest: int, one: tuple[str, str], other: tuple[str, str]) -> None:
        """Two (value, digest) of requests that are the same for the rest; where a digest is not known, nothing is."""
        if one[0] == other[0] or not one[1] or not other[1]:
            return
        pair = (rest, min(one[0], other[0]), max(one[0], other[0]))
        if pair not in self.pairs:
            self.pairs.add(pair)
            self.changed += one[1] != other[1]


def suggestions(samples: Iterable[Sample]) -> list[Suggestion]:
    """In the order of the groups, which are rules or, without one, paths that look alike."""
    groups: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.at):
        groups[group_of(sample)].append(sample)
    return [each for group, found in sorted(groups.items()) for each in _of_group(group, found)]


def group_of(sample: Sample) -> str:
    """The rule's name, or a pattern for the paths that look like this one."""
    return sample.rule or _VARIABLE.sub("/*", "/" + sample.place.partition("/")[2])


def _of_group(group: str, samples: Sequence[Sample]) -> Iterator[Suggestion]:
    ignored: set[str] = set()
    for _ in range(_ROUNDS):
        parts = _examined(samples, ignored)
        found = {name: part for name, part in parts.items() if not part.changed and part.bound <= ENOUGH}
        alone, found = bool(found), found or _together(samples, parts, ignored)
        for name, part in found.items():
            with_it = () if alone else [other for other in found if other != name]
            yield _ignorable(group, name, part, parts, with_it)
        ignored |= found.keys()
        if not found:
            break
    keys = {_key(sample, ignored) for sample in samples}
    for name, part in sorted(parts.items()):
        if name not in ignored and len(keys) >= _SPLITS * len(part.without) and len(part.values) > 1:
            yield _split(group, name, part, len(keys))
    yield from _ttl(group, samples, ignored)


# -- parts -------------------------------------------------------------------------------------------------------------


def _examined(samples: Sequence[Sample], ignored: Collection[str]) -> dict[str, _Part]:
    names = {name for sample in samples for name, _ in sample.parts} - set(ignored)
    parts = {name: _Part() for name in sorted(names)}
    last: dict[tuple[str, int], tuple[str, str]] = {}
    for sample in samples:
        own = dict(sample.parts)
        whole = [(name, value) for name, value in sample.parts if name not in ignored]
        for name, part in parts.items():
            value = own.get(name, "")
            rest = hash((sample.place, *(pair for pair in whole if pair[0] != name)))
            part.without.add(rest)
            if value:
                part.seen += 1
                part.values.add(value)
            before, last[name, rest] = last.get((name, rest)), (value, sample.digest)
            if before is not None:
                part.compare(rest, before, (value, sample.digest))
    return parts


def _together(samples: Sequence[Sample], parts: Mapping[str, _Part], ignored: Collection[str]) -> dict[str, _Part]:
    """Those that are new on every request, if all of them together never changed an answer."""
    fresh = {name for name, part in parts.items() if len(part.values) > max(10, _FRESH * part.seen)}
    if len(fresh) < 2:
        return {}
    joint = _Part()
    last: dict[int, tuple[str, str]] = {}
    for sample in samples:
        rest = _key(sample, {*ignored, *fresh})
        value = str([pair for pair in sample.parts if pair[0] in fresh])
        before, last[rest] = last.get(rest), (value, sample.digest)
        if before is not None:
            joint.compare(rest, before, (value, sample.digest))
    return {} if joint.changed or joint.bound > ENOUGH else dict.fromkeys(sorted(fresh), joint)


def _key(sample: Sample, ignored: Collection[str]) -> int:
    return hash((sample.place, *(pair for pair in sample.parts if pair[0] not in ignored)))


def _ignorable(group: str, name: str, part: _Part, parts: Mapping[str, _Part], with_it: Sequence[str]) -> Suggestion:
    kind, _, own = name.partition(".")
    pairs, bound = len(part.pairs), part.bound
    where = f"in it and {' and '.join(with_it)}" if with_it else "in it alone"
    text = f"{name}: {pairs} pairs of requests that differ {where} had the same answers; at most {bound:.1%} may differ"
    key: Patch | None = None
    match kind:
        case "query":
            key = {"query": {"ignore": [own]}}
        case "json":
            key = {"body": {"json": {"ignore": [own]}}}
        case "header":
            others = (other for other in parts if other.startswith("header.") and other != name)
            key = {"headers": [other.partition(".")[2] for other in others]}
        case "vary":
            kind, text = "header", f"{text}; it is the origin's Vary that names it"
    return Suggestion(kind, own or name, group, pairs, bound, text, key and patch_for(group, {"key": key}))


def _split(group: str, name: str, part: _Part, keys: int) -> Suggestion:
    kind, _, own = name.partition(".")
    changed = (
        f"{part.changed} of {len(part.pairs)} pairs that differ in it alone had other answers" if part.pairs else ""
    )
    text = f"{name} makes {keys} keys of {len(part.without)}" + (f"; {changed}" if changed else "; nothing to compare")
    return Suggestion("split", own or kind, group, len(part.pairs), part.bound, text)


# -- lifetimes ---------------------------------------------------------------------------------------------------------


def _ttl(group: str, samples: Sequence[Sample], ignored: Collection[str]) -> Iterator[Suggestion]:
    last: dict[int, Sample] = {}
    gaps = changes = 0
    seconds = 0.0
    for sample in samples:
        if not sample.digest:
            continue
        key = _key(sample, ignored)
        before, last[key] = last.get(key), sample
        if before is not None and sample.at > before.at:
            gaps += 1
            seconds += sample.at - before.at
            changes += sample.digest != before.digest
    if gaps < _GAPS:
        return
    # Of answers given evenly over a lifetime, about rate * ttl / 2 come after a change.
    rate = rate_at_most(changes, seconds)
    ttl = next((step for step in reversed(_STEPS) if step <= 2 * OUTDATED / rate), None)
    text = f"{changes} changes in {gaps} fetches of the same, {seconds:,.0f} s apart together"
    if ttl is not None:
        told = f"{text}: with this ttl at most {OUTDATED:.0%} of the answers are out of date"
        yield Suggestion("ttl", group, group, gaps, rate, told, patch_for(group, {"ttl": ttl}))


# -- patches -----------------------------------------------------------------------------------------------------------


def patch_for(group: str, change: Patch) -> Patch:
    """As it would stand in the YAML file: by the rule's name, or as a new rule for a pattern of paths."""
    named = {"pattern": group} if group.startswith("/") else {"name": group}
    return {"rules": [{**named, **change}]}


def merged(found: Iterable[Suggestion]) -> dict[str, Any]:
    """One patch of all."""
    rules: dict[str, dict[str, Any]] = {}
    for suggestion in found:
        if suggestion.patch is not None:
            (rule,) = suggestion.patch["rules"]
            rules[suggestion.rule] = _merged(rules.get(suggestion.rule, {}), rule)
    return {"rules": list(rules.values())} if rules else {}


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(one)
    for name, value in other.items():
        known = out.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            out[name] = _merged(known, value)
        elif isinstance(known, list) and name == "ignore":
            out[name] = [*known, *value]
        elif isinstance(known, list) and name == "headers":  # each says which are left without its own
            out[name] = [header for header in known if header in value]
        else:
            out[name] = value
    return out
