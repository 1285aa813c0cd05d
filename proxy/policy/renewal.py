"""What did the revalidation mean? (RFC 9111 4.3.3, 4.3.4, RFC 5861 4) And the answer to a HEAD? (4.3.5)"""

from dataclasses import dataclass, field, replace

from proxy.entry import Entry
from proxy.message import Fields, Head, Pair, Request
from proxy.names import lower_name
from proxy.policy.cache_control import for_shared_cache
from proxy.policy.conditional import validators
from proxy.policy.fields import etag, http_date, same_strongly, same_weakly
from proxy.policy.forwarding import response_fields
from proxy.policy.freshness import initial_age, keep_until, lifetime
from proxy.policy.identity import SET_COOKIES, uncovered
from proxy.policy.vary import vary_names
from proxy.reasons import Why
from proxy.rules import Rule


@dataclass(frozen=True, slots=True)
class Renewed:
    """The 304 confirms the stored answer: `entry` carries the merged fields and the new times. `personal` is what
    the 304 says to this client alone (Set-Cookie, and what a qualified private or no-cache names): sent, never
    stored."""

    entry: Entry
    personal: Fields = field(default_factory=Fields)


@dataclass(frozen=True, slots=True)
class Replaced:
    """The answer is a new one, to be judged for storing on its own."""


@dataclass(frozen=True, slots=True)
class FallBack:
    """The upstream failed and the stale answer stands in."""

    why: Why = Why.STALE_IF_ERROR


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The 304 confirms something that we do not have: ask again, without conditions."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """The answer to a HEAD describes another representation than the stored one: it is stale from now on."""


Renewal = Renewed | Replaced | FallBack | Mismatch


def judge_renewal(entry: Entry, head: Head | None, rule: Rule, now: float, *, fallback: bool) -> Renewal:
    """What an answer means for the stored one that it was asked about. `head` is None when there was no answer;
    `fallback`: the stored one may stand in (`Fetch.fallback`); `now` is wall-clock seconds."""
    if head is None or head.status >= 500:
        return FallBack() if fallback else Replaced()
    if head.status != 304:
        return Replaced()
    if not _confirms(head.fields, entry) or not _same_variant(head.fields, entry):
        return Mismatch()
    return _renewed(entry, head, rule, now)


def judge_head(request: Request, entry: Entry, head: Head, rule: Rule, now: float) -> Renewed | Outdated | None:
    """What the answer to a HEAD means for the stored answer that a GET would have chosen (RFC 9111 4.3.5); None when it
    means nothing. What it renews is judged by `judge_renewed` before it is stored, as after a 304."""
    if head.status != 200 or entry.parts.method != "GET" or uncovered(request, rule) is not None:
        return None  # an answer to somebody in particular tells nothing of what everybody gets
    if head.fields.get("content-encoding") != entry.fields.get("content-encoding"):
        return None  # a HEAD goes with the client's own Accept-Encoding, and we may have asked for another coding
    agrees = entry.status == 200 and _describes(head.fields, entry) and _same_variant(head.fields, entry)
    return _renewed(entry, head, rule, now) if agrees else Outdated()


def _describes(told: Fields, entry: Entry) -> bool:
    """Whether every validator and the length that were told are those of the entry."""
    if any(name in told and told.get(name) != entry.fields.get(name) for name in ("etag", "last-modified")):
        return False
    return "content-length" not in told or told.get("content-length") == str(entry.body.size)


def _confirms(told: Fields, entry: Entry) -> bool:
    """Whether the 304's validators are those of the entry (RFC 9111 4.3.4).

    A 304 without any can only mean ours: we sent no others, and the client's were taken off.
    """
    tag, own = etag(told), etag(entry.fields)
    if tag is not None and own is not None:
        return same_weakly(tag, own) if tag.weak else same_strongly(tag, own)
    if tag is not None and not tag.weak:
        return False  # a strong validator that we do not have
    modified = told.get("last-modified")
    return bool(validators(entry)) and (modified is None or modified == entry.fields.get("last-modified"))


def _same_variant(told: Fields, entry: Entry) -> bool:
    """A 304 that nominates other request fields cannot be filed: the request values of the entry are not known."""
    return "vary" not in told or vary_names(told) == tuple(name for name, _ in entry.vary)


# What a 304 does not change: it describes the stored bytes (RFC 9111 3.2), or concerns one client.
_BYTES = frozenset(
    {"content-length", "content-encoding", "content-range", "content-md5", "content-digest", "digest", "repr-digest"}
)


def _renewed(entry: Entry, head: Head, rule: Rule, now: float) -> Renewed:
    told = response_fields(head.fields)
    fields = _merged(entry.fields, told.without(_BYTES | SET_COOKIES), head.received_at)
    withheld = for_shared_cache(fields).withheld  # by what holds from now on, whoever said it (5.2.2.4, 5.2.2.7)
    personal = Fields(pair for pair in told.pairs if lower_name(pair[0]) in SET_COOKIES | withheld)
    fields = fields.without(withheld) if withheld else fields
    life = lifetime(fields, entry.status, rule, head.received_at)
    age = initial_age(fields, head.requested_at, head.received_at) + max(0.0, now - head.received_at)
    renewed = replace(
        entry,
        fields=fields,
        requested_at=head.requested_at,
        received_at=head.received_at,
        keep_until=keep_until(life, rule, age, now, renewable=True),
    )
    return Renewed(renewed, personal)


def _merged(stored: Fields, told: Fields, received_at: float) -> Fields:
    """The stored fields in their order, those that the new message tells replaced where they stood (RFC 9111 3.2). Age
    and Date are of one message: the old ones go even when the new one has none."""
    if "date" not in told:
        told = told.plus(("Date", http_date(received_at)))
    fresh: dict[str, list[Pair]] = {}
    for pair in told.pairs:
        fresh.setdefault(lower_name(pair[0]), []).append(pair)
    names = frozenset(fresh)
    merged: list[Pair] = []
    for pair in stored.pairs:
        name = lower_name(pair[0])
        if name not in names:
            merged += [pair] if name != "age" else []
        else:
            merged += fresh.pop(name, [])
    return Fields([*merged, *(pair for pairs in fresh.values() for pair in pairs)])
