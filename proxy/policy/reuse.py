"""May a stored answer be reused? (RFC 9111 4)"""

from dataclasses import dataclass

from proxy.reasons import Why


@dataclass(frozen=True, slots=True)
class Serve:
    """Answer from store as fresh. Seconds; `ttl` is what is left of the lifetime (negative under max-stale)."""

    age: float
    ttl: float
    why: Why = Why.FRESH


@dataclass(frozen=True, slots=True)
class ServeStale:
    """Answer from store in its stale-while-revalidate window and refresh once behind (RFC 5861 3)."""

    age: float
    ttl: float
    why: Why = Why.STALE_WHILE_REVALIDATE


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask upstream. `conditional`: with the stored validators; `fallback`: the stored answer may stand in when the
    upstream fails (RFC 5861 4)."""

    why: Why
    conditional: bool = False
    fallback: bool = False
    age: float = 0.0
    ttl: float = 0.0


Reuse = Serve | ServeStale | Fetch
