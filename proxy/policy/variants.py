"""Which of the stored variants that fit a request suits it best (RFC 9111 4.1).

Preference chooses among those that match, and never makes one match: what was not asked for in these very words is
asked of the origin.
"""

import re

from proxy.entry import Entry, Variant
from proxy.message import Fields
from proxy.policy.fields import OWS, date_field, members, weighted
from proxy.policy.vary import coding_weights, modern

# The fields by which a client says what it likes better, with those that say what an answer is (RFC 9110 12.5).
_ANSWERS = {"accept": "content-type", "accept-encoding": "content-encoding", "accept-language": "content-language"}
_LEAST = 0.001  # what is acceptable without being named, and the smallest weight that can be (12.4.2)
_WEIGHT = re.compile(r";[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*(?:;|\Z)").search


def as_variant(entry: Entry) -> Variant:
    """What a tier keeps at hand of an entry, so that it need not be looked at to be chosen."""
    fields, at = entry.fields, entry.received_at
    if not entry.vary:
        return Variant(entry.variant, (), at, at)
    dated_at = date_field(fields, "date", at)
    told = tuple((name, fields.get(said) or "") for name, said in _ANSWERS.items() if said in fields)
    return Variant(entry.variant, entry.vary, at, at if dated_at is None else dated_at, told)


def rank(variant: Variant, asked: Fields) -> tuple[bool, float, float, float]:
    """The greatest of those that fit is used: an answer that forgot its Vary steps back behind those that have one
    (RFC 9111 4.1); of the others the preferred one, then the newest by its Date (4), and of those of one second the
    one that came last."""
    return bool(variant.vary), _preference(variant, asked), variant.dated_at, variant.received_at


def _preference(variant: Variant, asked: Fields) -> float:
    """How much the client likes it, from 0 to 1, by all that it says of its likes."""
    told, product = dict(variant.told), 1.0
    for name, weigh in _WEIGHERS.items():
        value = asked.get(name)
        if value is not None and (name in told or name == "accept-encoding"):
            product *= weigh(value, told.get(name, "").lower())
    return product


def _media_weight(accept: str, media: str) -> float:
    """By the most specific range that covers it (RFC 9110 12.5.1); other parameters than the weight do not count."""
    ranges = {}
    for member in members(accept.lower()):
        weight = _WEIGHT(member)
        ranges[_essence(member)] = float(weight[1]) if weight else 1.0
    essence = _essence(media)
    covering = (essence, essence.partition("/")[0] + "/*", "*/*")
    return next((ranges[each] for each in covering if each in ranges), 0.0 if ranges else 1.0)


def _essence(media: str) -> str:
    return media.partition(";")[0].strip(OWS)


def _language_weight(accept: str, languages: str) -> float:
    """By the longest range that begins the tag (RFC 4647 3.4); of several languages the best."""
    weights = weighted(accept)
    if weights is None:
        return 1.0
    return max((_of_tag(tag, weights) for tag in members(languages)), default=1.0)


def _of_tag(tag: str, weights: dict[str, float]) -> float:
    while tag:
        if tag in weights:
            return weights[tag]
        tag = tag.rpartition("-")[0]
    return weights.get("*", 0.0)


def _coding_weight(accept: str, codings: str) -> float:
    """By the least liked of its codings (RFC 9110 12.5.3)."""
    weights = coding_weights(accept)
    applied = members(modern(codings)) or ["identity"]
    return min(weights.get(each, weights.get("*", _LEAST if each == "identity" else 0.0)) for each in applied)


_WEIGHERS = {"accept": _media_weight, "accept-encoding": _coding_weight, "accept-language": _language_weight}
