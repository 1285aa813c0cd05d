"""Samples from a log: of requests whose answers came from the origin, and whose digests the log knows."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from proxy.insight.recalled import TARGETS, Recollection
from proxy.insight.samples import Sample, json_parts, parts_of, place_of
from proxy.insight.seen import NO_FIELDS, Seen, Unreadable
from proxy.policy.keys import Keyed, derive, needs_body
from proxy.policy.memo import Memo
from proxy.policy.vary import vary_names
from proxy.rules import BodyKey, KeySpec, Rule, RuleTable

MOST = 50_000  # samples; past it places are left out by their hash, so that one is there with all its requests or none
NAMED = 20  # unreadable lines that are told one by one
_HASHES = 1 << 32

# Where no rules are given: all that may tell answers apart is told apart.
ANYTHING = RuleTable(
    (),
    Rule(
        methods=frozenset({"GET", "POST"}),
        key=KeySpec(body=BodyKey("json"), cookies=(), credentials="ignore"),
    ),
)


@dataclass(slots=True)
class Gathered:
    """`without` counts those of which the log does not tell whether answers differ."""

    samples: list[Sample] = field(default_factory=list)
    requests: int = 0
    without: int = 0
    unreadable: int = 0
    named: list[Unreadable] = field(default_factory=list)


def gathered(log: Iterable[Seen | Unreadable], table: RuleTable = ANYTHING, most: int = MOST) -> Gathered:
    """At most `most` samples of the log. `table`: the rules that say what is in the keys."""
    out, said, tagged, below = Gathered(), Recollection(), _Tagged(), _HASHES
    for seen in log:
        if isinstance(seen, Unreadable):
            out.unreadable += 1
            if len(out.named) < NAMED:
                out.named.append(seen)
            continue
        out.requests += 1
        seen = tagged.told(seen)
        sample = None if seen.ours is not None and not seen.ours.from_origin else _sample(seen, table, said)
        if sample is None or _hash(sample.place) >= below:
            continue
        out.without += not sample.digest
        out.samples.append(sample)
        if len(out.samples) > most:
            below = below * 3 // 4
            out.samples = [each for each in out.samples if _hash(each.place) < below] or out.samples[-most // 2 :]
    return out


class _Tagged:
    """Digests of answers by their entity tags: a 304 proves that the one which the client named is the answer still
    (RFC 9110 15.4.5)."""

    def __init__(self) -> None:
        self._digests: Memo[tuple[str, str], str] = Memo(TARGETS)

    def told(self, seen: Seen) -> Seen:
        """With the digest of what a 304 has confirmed, where it was seen before."""
        answered = seen.answer.get("etag") if seen.answer is not None else None
        if seen.status == 304 and seen.asked is not None:
            named = seen.asked.get("if-none-match") or ""
            return replace(seen, digest=self._digests.get((seen.url, named)) or "")
        if seen.status == 200 and answered and seen.digest:
            self._digests.put((seen.url, answered), seen.digest)
        return seen


def _hash(place: str) -> int:
    return int.from_bytes(blake2b(place.encode("utf-8", "replace"), digest_size=4).digest())


def _sample(seen: Seen, table: RuleTable, said: Recollection) -> Sample | None:
    """None for a request that is no matter for the cache."""
    confirmed = seen.status == 304 and seen.digest
    if seen.method == "HEAD" or seen.status >= 400 or (seen.status in (206, 304) and not confirmed):
        return None
    request, body = said.request(seen, table, Counter())
    rule = table.match(request)
    keyed = derive(request, rule, body if needs_body(request, rule) else None)
    if not isinstance(keyed, Keyed):
        return None
    vary = tuple((name, request.fields.get(name) or "") for name in vary_names(seen.answer or NO_FIELDS) or ())
    members = tuple(json_parts(body, rule.key.body.ignore)) if body and keyed.parts.body else ()
    parts = tuple(sorted(parts_of(keyed.parts, vary, members)))
    name = rule.name or (seen.ours.rule if seen.ours is not None else "")
    return Sample(seen.time, name, place_of(keyed.parts), parts, seen.digest)
