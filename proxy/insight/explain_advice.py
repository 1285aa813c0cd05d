"""What an operator can change so that a request is a hit the next time, and what of his rules does not act."""

from collections.abc import Iterator

from proxy.insight.explained import Explained
from proxy.insight.nearest import Search
from proxy.outcome import Verdict
from proxy.policy.freshness import lifetime, rule_ttl
from proxy.policy.paths import normal_query
from proxy.reasons import Why
from proxy.rules import Mode, Rule

_ANSWERED = frozenset({Verdict.HIT, Verdict.UPDATING, Verdict.STALE})


def advice(told: Explained) -> str:
    """In one line, "" where there is nothing to change."""
    if told.ruling.verdict in _ANSWERED:
        return ""
    return "; ".join(dict.fromkeys(_advised(told)))


def warnings(told: Explained) -> tuple[str, ...]:
    """What the rule says and what does not come of it."""
    rule, found = told.rule, told.ruling.found
    if found is None or rule.override:
        return ()
    entry = found.entry
    ttl, life = rule_ttl(rule, entry.status), lifetime(entry.fields, entry.status, rule, entry.received_at)
    if ttl is None or life.source == "rule" or ttl == life.seconds:
        return ()
    said = f"the origin's own {life.source} gives {life.seconds:g} s"
    return (f"the rule's ttl of {ttl:g} s does not act: {said} (override: true lets the rule's ttl win)",)


def _advised(told: Explained) -> Iterator[str]:
    ruling, storing = told.ruling, told.storing
    if ruling.why.advice:
        yield ruling.why.advice
    if storing is not None and storing.lately not in (None, ruling.why):
        yield f"the last answer could not be stored ({storing.lately}): {_mended(storing.lately)}"
    elif storing is not None and not storing.stored and storing.why is not ruling.why:
        yield f"{storing.assumed} would not be stored ({storing.why}): {_mended(storing.why)}"
    ender = next((look.ender for look in told.looks if look.found is not None and look.good is None), None)
    if ender is not None and ender.kind is not None and told.ruling.found is None:
        yield f"a purge by {f'{ender.kind.value} {ender.name}'.strip()} ended it: the next answer is stored anew"
    if told.search is not None:
        where = "in a rule for it, " if told.rule.mode is Mode.ORIGIN else ""
        yield from _of_the_nearest(told.search, told.rule, where)


def _mended(why: Why | None) -> str:
    return (why.advice if why is not None else "") or "nothing in the settings changes that"


def _of_the_nearest(search: Search, rule: Rule, where: str) -> Iterator[str]:
    """How the key could do without what tells the request from what is stored, if that does not matter."""
    if search.nearest is None:
        return
    query, key = search.nearest.entry.parts.query, rule.key
    outdated = bool(query) and normal_query(query or "", key.query_sort, key.query_ignore, key.query_only) != query
    if outdated:
        yield "the nearest was stored when other rules held, with a query that this rule leaves out of keys"
    for name in search.nearest.differs:
        if outdated and name.startswith("query"):
            continue
        if (change := _change(name)) is not None:
            yield f"if {name} does not change the answer: {where}{change}"


def _change(name: str) -> str | None:
    kind, _, rest = name.partition(".")
    match kind:
        case "query":
            return f'key.query.ignore: ["{rest}"]' if rest else "key.query.sort: true"
        case "header":
            return f"leave {rest} out of key.headers and conditions.headers"
        case "cookie":
            return f"leave {rest} out of key.cookies"
        case "vary":
            return f"an origin that does not name {rest} in Vary"
        case "host":
            return "key.host: false"
        case "body":
            return "key.body: json, with what does not matter under ignore"
        case _:
            return None
