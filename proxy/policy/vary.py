"""Which stored variant fits a request (RFC 9111 4.1, RFC 9110 12.5): nominated request fields, compared by meaning.

Values are compared in a normal form: by the field's own grammar where we know it, byte for byte otherwise.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

from proxy.entry import Pairs
from proxy.message import Fields
from proxy.policy.fields import IS_TOKEN, OWS, members, weighted
from proxy.rules import Rule

ABSENT = "\0"  # no field value can hold it, so that absent matches absent alone
CODINGS = ("zstd", "br", "gzip")  # of equally welcome ones the first is taken


def vary_names(fields: Fields) -> tuple[str, ...] | None:
    """The request fields that an answer nominates: lower case, sorted, once each. None when no request can match: for
    "*" anywhere, for what is not a field name, and for what we tell the origin of the client in its place."""
    value = fields.get("vary")
    if value is None:
        return ()
    names = {name.lower() for name in members(value)}
    return tuple(sorted(names)) if all(map(_nameable, names)) else None


# Sent with the client's address whatever the client says there (`forwarding`): the same value is not the same request.
TOLD_BY_US = frozenset({"forwarded", "x-forwarded-for"})


def _nameable(name: str) -> bool:
    return name != "*" and name not in TOLD_BY_US and IS_TOKEN(name) is not None


def vary_values(names: Iterable[str], request_fields: Fields, rule: Rule) -> Pairs:
    """What tells this request's variant from others: each nominated name with the normal form of its value."""
    return tuple([(name, vary_value(name, request_fields, rule)) for name in names])


def vary_value(name: str, request_fields: Fields, rule: Rule) -> str:
    """The normal form of one request field; `ABSENT` when there is none. What is bound to a person is kept as a
    digest."""
    value = request_fields.get(name)
    if name == "accept-encoding" and negotiates(rule):
        return preferred_coding(value)
    if value is None:
        return ABSENT
    if name == "cookie" or name in rule.credential_headers:
        return sha256(value.encode("latin-1")).hexdigest()
    if name in _WEIGHTED_LISTS:
        return _weighted_form(value)
    return _media_form(value) if name == "accept" else value


# -- grammars ----------------------------------------------------------------------------------------------------------

_WEIGHTED_LISTS = frozenset({"accept-encoding", "accept-language", "accept-charset"})


def _weighted_form(value: str) -> str:
    """Order and case mean nothing, and a weight of 1 need not be said."""
    weights = weighted(value)
    if weights is None:
        return value
    ranked = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(name if weight == 1 else f"{name};q={weight:g}" for name, weight in ranked)


def _media_form(value: str) -> str:
    """Whitespace and the case of types mean nothing; the order is left, since many origins take the first."""
    if '"' in value:
        return value
    ranges = ([part.strip(OWS) for part in member.split(";")] for member in members(value))
    return ", ".join(";".join([media.lower(), *parameters]) for media, *parameters in ranges)


# -- content codings ---------------------------------------------------------------------------------------------------


def negotiates(rule: Rule) -> bool:
    """Whether the origin is asked for one coding of our choice, not for what the client sent."""
    return rule.normalise_encoding and "accept-encoding" not in rule.key.headers


@lru_cache(maxsize=512)
def preferred_coding(accept_encoding: str | None) -> str:
    """The one coding of `CODINGS`, or identity, that a client likes best (RFC 9110 12.5.3). It is what variants are
    told apart by and what the origin is asked for: one without the other would give a client what it cannot read."""
    weights = coding_weights(accept_encoding or "")
    rest = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, rest))  # the first of equals
    weight = weights.get(best, rest)
    return best if weight > 0 and weight >= weights.get("identity", rest) else "identity"


def accepts_coding(accept_encoding: str | None, content_encoding: str) -> bool:
    """Whether a client that sent this Accept-Encoding can read content of these codings (RFC 9110 12.5.3)."""
    if accept_encoding is None:
        return True
    weights = coding_weights(accept_encoding)
    codings = members(modern(content_encoding))
    return all(weights.get(coding, weights.get("*", float(coding == "identity"))) > 0 for coding in codings)


def coding_weights(accept_encoding: str) -> dict[str, float]:
    """What an Accept-Encoding names, with weights; nothing when it is junk."""
    return weighted(modern(accept_encoding)) or {}


def modern(codings: str) -> str:
    """RFC 9110 8.4.1: in any case, and two of them under their old names too."""
    return codings.lower().replace("x-gzip", "gzip").replace("x-compress", "compress")
