"""What of the rules can never act: what the mode switches off, and rules behind others that take all their requests.

Only what is proven is told: a rule that is hidden by several others together is not found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from proxy.policy.globs import compile_glob
from proxy.policy.paths import path_glob
from proxy.settings.compile import with_head
from proxy.settings.model import Settings
from proxy.settings.problems import Steps
from proxy.settings.rule_model import RuleSettings

_OF_STORED_ANSWERS = (
    "ttl",
    "override",
    "stale_while_revalidate",
    "stale_if_error",
    "refresh_ahead",
    "negative_ttl",
)


def without_effect(settings: Settings) -> Iterator[tuple[Steps, str]]:
    """Rules, and settings of rules, that no request ever feels, by path."""
    taken = [_Taken.by(rule, settings.cache.methods) for rule in settings.rules]
    for n, rule in enumerate(settings.rules):
        first = next((m for m in range(n) if taken[m].covers(taken[n])), None)
        if first is not None:
            besides = "; only its `invalidates` act" if rule.invalidates else ""  # they ask for no match
            yield ("rules", n), f"can never match: rules[{first}] takes every such request first{besides}"
        if rule.mode == "off":
            for name in _OF_STORED_ANSWERS:
                if getattr(rule, name) != type(rule).model_fields[name].default:
                    yield (
                        ("rules", n, name),
                        "can never act: the rule's `mode: off` keeps every answer out of the cache",
                    )
            if rule.rate_limit is not None and rule.rate_limit.hits == "exempt":
                text = "can never act: the rule's `mode: off` has no hits, so that every request counts"
                yield ("rules", n, "rate_limit", "hits"), text


def writes_elsewhere(settings: Settings) -> Iterator[tuple[Steps, str]]:
    """Rules that send what is read to a service, while what is written under the same paths goes to the main one."""
    taken = [_Taken.by(rule, settings.cache.methods) for rule in settings.rules]
    for n, (rule, mine) in enumerate(zip(settings.rules, taken, strict=True)):
        if rule.upstream is None or not mine.reads:
            continue
        theirs = [other for other, by in zip(taken, settings.rules, strict=True) if by.upstream == rule.upstream]
        if not any(other.meets(mine) for other in theirs if not other.reads):
            text = (
                f"{', '.join(sorted(mine.methods))} alone go to '{rule.upstream}', all else of the pattern to the main"
                " upstream: a rule with `mode: off`, the other methods and the same `upstream` sends writes there too"
            )
            yield ("rules", n, "upstream"), text


@dataclass(frozen=True, slots=True)
class _Taken:
    """Which requests a rule takes."""

    paths: tuple[str, ...]  # globs on normal paths
    methods: frozenset[str]
    host: str
    headers: tuple[tuple[str, str], ...]  # names, and globs on their values

    @classmethod
    def by(cls, rule: RuleSettings, methods: Sequence[str]) -> "_Taken":
        return cls(
            tuple(path_glob(pattern).pattern for pattern in rule.pattern),
            with_head(tuple(methods) if rule.methods is None else rule.methods),
            "*" if rule.host is None else rule.host,
            tuple(rule.conditions.headers.items()),
        )

    @property
    def reads(self) -> bool:
        """Whether it takes no other methods than GET and HEAD."""
        return self.methods <= {"GET", "HEAD"}

    def meets(self, other: "_Taken") -> bool:
        """Whether one of the two takes all of the other's, but for the methods."""
        same = replace(other, methods=self.methods)
        return self.covers(same) or same.covers(self)

    def covers(self, other: "_Taken") -> bool:
        """Whether every request that the other takes is one of these."""
        return (
            bool(other.paths)
            and other.methods <= self.methods
            and _wider(self.host, other.host)
            and all(any(_wider(wide, narrow) for wide in self.paths) for narrow in other.paths)
            and all(
                any(name == same and _wider(wide, narrow) for same, narrow in other.headers)
                for name, wide in self.headers
            )
        )


def _wider(wide: str, narrow: str) -> bool:
    """Whether it is plain that whatever fits `narrow` fits `wide` too.

    Their wildcards are held against each other as characters that no pattern names: only a `*` can take them, and it
    takes whatever stands in their place as well. A `?` is no match for a `*`, so one in `wide` proves nothing.
    """
    if wide == narrow:
        return True
    return "?" not in wide and compile_glob(wide).match(narrow.replace("*", "\0").replace("?", "\1"))
