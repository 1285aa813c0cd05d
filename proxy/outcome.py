"""What became of a request, told in the same words to headers, log, metrics and explain."""

from dataclasses import dataclass
from enum import StrEnum

from proxy.reasons import Why


class Verdict(StrEnum):
    """The value of X-Cache; every proxied request has exactly one."""

    HIT = "HIT"
    MISS = "MISS"
    EXPIRED = "EXPIRED"
    REVALIDATED = "REVALIDATED"
    UPDATING = "UPDATING"
    STALE = "STALE"
    BYPASS = "BYPASS"

    __hash__ = str.__hash__  # Enum's is Python


class Tier(StrEnum):
    """Where a stored answer lay, nearest first."""

    MEMORY = "memory"
    REDIS = "redis"
    FILE = "file"

    __hash__ = str.__hash__


@dataclass(slots=True)
class Outcome:
    """Filled in as the request goes its way; frozen in practice once the head is sent.

    `fwd` is the RFC 9211 2.2 word when the request went forward, None for a hit. `ttl` is the remaining
    freshness in seconds (negative when stale), None where it has no meaning.
    """

    verdict: Verdict
    reason: Why
    rule: str = ""
    key: str = ""
    tier: Tier | None = None
    fwd: str | None = None
    ttl: float | None = None
    origin_ttl: float | None = None  # what the origin's own freshness said, None when it said nothing
    stored: bool = False
    stored_why: Why | None = None  # why not, when the answer was not stored
    collapsed: bool = False
    upstream_status: int | None = None
    upstream_seconds: float | None = None
    tier_seconds: dict[Tier, float] | None = None  # what each tier took to say what it has, where it was asked

    def cut(self) -> None:
        """Its body broke off under way, and is stored nowhere, whatever the head has said."""
        self.stored, self.stored_why = False, Why.TRUNCATED
