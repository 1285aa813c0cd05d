"""Cache-Status: what became of a request, in one line (RFC 9211)."""

import re
from math import floor

import http_sf

from proxy.outcome import Outcome, Verdict
from proxy.reasons import Why

_STORED_ANSWERS = frozenset({Verdict.HIT, Verdict.UPDATING, Verdict.STALE})
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*").fullmatch

# Why a request went forward, in the words of RFC 9211 2.2. What is not here was no matter for the cache.
_FORWARD = {
    Why.METHOD: "method",
    Why.URI_MISS: "uri-miss",
    Why.VARY_MISS: "vary-miss",
    Why.PARTIAL: "partial",
} | {
    why: word
    for word, reasons in {
        "miss": (Why.CUT_OFF, Why.LATELY_UNCACHEABLE, Why.COLLAPSED, Why.NO_STORE, Why.PRIVATE, Why.SET_COOKIE),
        "stale": (
            Why.STALE,
            Why.PURGED,
            Why.MUST_REVALIDATE,
            Why.ORIGIN_NO_CACHE,
            Why.REVALIDATED,
            Why.STALE_WHILE_REVALIDATE,
            Why.STALE_IF_ERROR,
            Why.REFRESH_AHEAD,
        ),
        "request": (
            Why.REQUEST_NO_CACHE,
            Why.REQUEST_MAX_AGE,
            Why.REQUEST_MIN_FRESH,
            Why.REQUEST_NO_STORE,
            Why.PRECONDITION,
            Why.CREDENTIALS,
            Why.COOKIE,
        ),
    }.items()
    for why in reasons
}


def forward_word(why: Why) -> str:
    """The `fwd` of a request that went upstream for this reason (RFC 9211 2.2)."""
    return _FORWARD.get(why, "bypass")


def readable(value: str | None) -> bool:
    """Whether a member can follow what caches before us have said (RFC 9211 2)."""
    if value is None:
        return True
    try:
        return bool(http_sf.parse(value.encode("latin-1"), tltype="list"))
    except (http_sf.StructuredFieldError, ValueError):
        return False


def render(name: str, outcome: Outcome, status: int | None = None, *, debug: bool = False) -> str:
    """The list member that `name` adds to an answer of this status. The key is shown in debugging only: it helps who
    wants to poison (6)."""
    parts = [name if _TOKEN(name) else string(name)]
    forwarded = _forwarded(outcome)
    if forwarded:
        parts.append(f"fwd={outcome.fwd}")
        if _differs(outcome, status):
            parts.append(f"fwd-status={outcome.upstream_status}")
    elif outcome.verdict in _STORED_ANSWERS:
        parts.append("hit")
    if outcome.ttl is not None:
        parts.append(f"ttl={floor(outcome.ttl)}")
    if forwarded:
        parts += [word for word, holds in (("stored", outcome.stored), ("collapsed", outcome.collapsed)) if holds]
    if debug and outcome.key:
        parts.append(f"key={string(outcome.key)}")
    parts.append(f"detail={_detail(outcome)}")
    return "; ".join(parts)


def told(outcome: Outcome, status: int | None) -> tuple[object, ...]:
    """All that `render` reads but the key: what is the same here is told in the same words."""
    return (
        outcome.verdict,
        outcome.reason,
        outcome.tier,
        outcome.fwd,
        None if outcome.ttl is None else floor(outcome.ttl),
        outcome.stored,
        outcome.stored_why,
        outcome.collapsed,
        outcome.upstream_status,
        status,
    )


def _forwarded(outcome: Outcome) -> bool:
    """What stands in for an answer that never came is a hit (2.1): with `fwd`, the status that the client sees would
    be taken for the next hop's (2.3)."""
    return outcome.fwd is not None and not (outcome.verdict is Verdict.STALE and outcome.upstream_status is None)


def _differs(outcome: Outcome, status: int | None) -> bool:
    """Whether the next hop's status has to be told: left out, it is the one that the client sees (2.3)."""
    told = outcome.upstream_status
    return told is not None and (told != status or outcome.verdict in (Verdict.REVALIDATED, Verdict.STALE))


def _detail(outcome: Outcome) -> str:
    """A plain hit tells its tier, an answer that was not kept why not, everything else its reason."""
    if outcome.verdict is Verdict.HIT and outcome.tier is not None:
        return outcome.tier
    if outcome.stored_why is not None and not outcome.stored:
        return outcome.stored_why.word
    return outcome.reason.word


def string(text: str) -> str:
    """A structured-field String (RFC 9651 4.1.6); what it cannot hold is shown as "?"."""
    shown = "".join(char if " " <= char <= "~" else "?" for char in text)
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
