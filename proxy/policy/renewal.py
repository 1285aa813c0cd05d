"""What did the revalidation mean? (RFC 9111 4.3.3, 4.3.4, RFC 5861 4)"""

from dataclasses import dataclass

from proxy.entry import Entry
from proxy.reasons import Why


@dataclass(frozen=True, slots=True)
class Renewed:
    """The 304 confirms the stored answer: `entry` carries the merged fields and the new times."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Replaced:
    """The answer is a new one, to be judged for storing on its own."""


@dataclass(frozen=True, slots=True)
class FallBack:
    """The upstream failed and the stale answer stands in."""

    why: Why = Why.STALE_IF_ERROR


Renewal = Renewed | Replaced | FallBack
