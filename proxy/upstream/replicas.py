"""Which replica takes a call: the least busy of those that can be reached."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from proxy.upstream.client import OriginClient

FIRST_BREAK = 1.0  # seconds that a replica is left out after it could not be reached, doubling
LONGEST_BREAK = 30.0


@dataclass(slots=True, eq=False)
class Replica:
    """One of the origins behind a service, and what is known of it."""

    client: OriginClient
    in_flight: int = 0
    requests: int = 0
    errors: int = 0
    checks: int = 0  # how often it was asked how it is; these are no requests
    breaks: int = 0  # in a row
    out_until: float = 0.0  # monotonic
    failed_at: float = 0.0
    healthy: bool = True  # what the active check says; True without one

    @property
    def name(self) -> str:
        return self.client.authority.text

    def can_take(self, now: float) -> bool:
        return self.healthy and now >= self.out_until

    def unreachable(self, now: float) -> None:
        """Leave it out for a while; calls that fail within the same break count as one failure."""
        self.failed_at = now
        if now >= self.out_until:
            self.out_until = now + min(LONGEST_BREAK, FIRST_BREAK * 2.0 ** min(self.breaks, 16))
            self.breaks += 1

    def reached(self) -> None:
        self.breaks, self.out_until = 0, 0.0


class Balance:
    """Least in flight, ties in turn; when none can take calls, the one whose failure is the longest ago."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas
        self._turn = 0

    def choose(self, now: float, tried: Collection[Replica] = ()) -> Replica:
        """One that was not tried yet, where there is such."""
        if len(self._replicas) == 1:
            return self._replicas[0]
        untried = [replica for replica in self._replicas if replica not in tried] or self._replicas
        able = [replica for replica in untried if replica.can_take(now)]
        if not able:
            return min(untried, key=lambda replica: (not replica.healthy, replica.failed_at))
        least = min(replica.in_flight for replica in able)
        free = [replica for replica in able if replica.in_flight == least]
        self._turn += 1
        return free[self._turn % len(free)]
