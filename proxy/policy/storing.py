"""May this answer be stored? (RFC 9111 3)"""

from dataclasses import dataclass

from proxy.entry import Pairs
from proxy.reasons import Why


@dataclass(frozen=True, slots=True)
class Keep:
    """Store it. `lifetime` seconds from `received_at` less the age it came with; `keep_until` wall clock."""

    lifetime: float
    keep_until: float
    vary: Pairs
    origin_ttl: float | None = None
    why: Why = Why.STORED


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not store it, and why."""

    why: Why
    origin_ttl: float | None = None


Storing = Keep | Skip
