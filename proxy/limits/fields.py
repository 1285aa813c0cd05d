"""What clients of a limited rule are told (draft-ietf-httpapi-ratelimit-headers-10, RFC 9110 10.2.3). Pure."""

from functools import lru_cache
from math import ceil

from proxy.limits.window import Standing
from proxy.message import Fields
from proxy.policy.cache_status import string
from proxy.rules import RateLimit

_OURS = frozenset({"ratelimit", "ratelimit-policy"})
_MAX = 999_999_999_999_999  # the largest Integer of a structured field (RFC 9651 3.3.1)


def seconds(standing: Standing) -> int:
    """How long to wait, rounded up: who then asks, alone, is let through."""
    return -(-standing.wait // 1_000_000)


def with_limit(fields: Fields, name: str, rate: RateLimit, standing: Standing | None) -> Fields:
    """The fields of an answer under the rule's `name`; an origin's own of these names give way. What is left is told
    where it is known: `r` requests, which become more in `t` seconds."""
    quoted, policy = _policy(name, rate.limit, rate.window)
    told = [("RateLimit-Policy", policy)]
    if standing is not None:
        told.append(("RateLimit", f"{quoted};r={min(standing.remaining, _MAX)};t={seconds(standing)}"))
    return fields.without(_OURS).plus(*told)


@lru_cache(1024)
def _policy(name: str, limit: int, window: float) -> tuple[str, str]:
    """A rule's name as a String, and its policy: the same for each of its answers."""
    quoted = string(name)
    return quoted, f"{quoted};q={min(limit, _MAX)};w={ceil(window)}"
