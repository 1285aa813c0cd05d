"""Sliding windows, pure: whether one more request of a client fits, and when the next one does.

Times are whole microseconds of one clock that never goes back, so that every sum is exact. A window is half open: what
was let through at t has left it at t + window.
"""

from array import array
from bisect import bisect_right
from typing import NamedTuple

from proxy.rules import RateLimit

EXACT = 1000  # the highest limit whose times are all kept: 8 bytes each


class Quota(NamedTuple):
    """`limit` requests in `window` microseconds."""

    limit: int
    window: int

    @classmethod
    def of(cls, rate: RateLimit) -> "Quota":
        return cls(rate.limit, round(rate.window * 1e6))


class Standing(NamedTuple):
    """How a client stands. `remaining` more would be let through now; `wait`: microseconds until these are more, 0 when
    none is used. `allowed`: whether the request was let through, or would be where none was made."""

    allowed: bool
    remaining: int
    wait: int


class Log:
    """Exact: when each of the requests in the window was let through. Never more than `limit` in any window."""

    __slots__ = ("_times", "used")

    def __init__(self, now: int) -> None:
        self.used = now  # when it was asked last
        self._times = array("q")

    def __len__(self) -> int:
        """How many times it keeps, `limit` at most."""
        return len(self._times)

    def peek(self, quota: Quota, now: int) -> Standing:
        """How the client stands; nothing changes."""
        first = bisect_right(self._times, now - quota.window)
        remaining = quota.limit - len(self._times) + first
        wait = self._times[first] + quota.window - now if remaining < quota.limit else 0
        return Standing(remaining > 0, remaining, wait)

    def take(self, quota: Quota, now: int) -> Standing:
        """Use one, if one is left."""
        times = self._times
        if times and times[0] <= now - quota.window:
            del times[: bisect_right(times, now - quota.window)]
        allowed = len(times) < quota.limit
        if allowed:
            times.append(now)
        return Standing(allowed, quota.limit - len(times), times[0] + quota.window - now)

    def note(self, quota: Quota, now: int) -> None:
        """One was let through elsewhere, whatever is left here."""
        if not self.take(quota, now).allowed:
            self._times.pop(0)
            self._times.append(now)

    def over(self, quota: Quota, now: int) -> bool:
        """Whether nothing of it counts any more."""
        return not self._times or self._times[-1] <= now - quota.window


class Buckets:
    """What two buckets tell, each as long as the window: the current one counts whole, the one before by the share of
    it that the window still covers ("How we built rate limiting capable of scaling to millions of
    domains", Cloudflare 2017).

    It takes the requests of the bucket before for evenly spread. Where they are not, a window may hold more than
    `limit`, but always fewer than twice as many; k windows in a row never hold more than (k + 1) * `limit`.
    """

    __slots__ = ("_before", "_current", "_start", "used")

    def __init__(self, now: int) -> None:
        self.used = now
        self._start, self._before, self._current = now, 0, 0

    def __len__(self) -> int:
        return 0

    def peek(self, quota: Quota, now: int) -> Standing:
        """As of `Log`."""
        return _weighed(quota, now, *self._at(quota.window, now))

    def take(self, quota: Quota, now: int) -> Standing:
        """As of `Log`."""
        self._start, self._before, self._current = self._at(quota.window, now)
        if not _weighed(quota, now, self._start, self._before, self._current).allowed:
            return self.peek(quota, now)
        self._current += 1
        return self.peek(quota, now)._replace(allowed=True)

    def note(self, quota: Quota, now: int) -> None:
        """As of `Log`."""
        if not self.take(quota, now).allowed:
            self._current = min(self._current + 1, quota.limit)

    def over(self, quota: Quota, now: int) -> bool:
        """As of `Log`."""
        return now - self._start >= 2 * quota.window

    def _at(self, window: int, now: int) -> tuple[int, int, int]:
        """When the current bucket began, the count of the one before, and its own. Empty ones begin now."""
        passed = (now - self._start) // window
        if passed == 0 and (self._before or self._current):
            return self._start, self._before, self._current
        return (self._start + window, self._current, 0) if passed == 1 and self._current else (now, 0, 0)


Window = Log | Buckets


def window_of(quota: Quota, now: int) -> Window:
    """An empty one."""
    return Log(now) if quota.limit <= EXACT else Buckets(now)


def _weighed(quota: Quota, now: int, start: int, before: int, current: int) -> Standing:
    """Everything is weighed in requests * microseconds: whole numbers."""
    limit, window = quota
    end = start + window
    used = before * (end - now) + current * window
    if not used:
        return Standing(True, limit, 0)
    remaining = max(0, (limit * window - used) // window)
    wanted = limit - remaining - 1  # what may be used when there is room for one more than that
    if wanted >= current:  # it comes as the bucket before goes
        when = end - (wanted - current) * window // before
    else:  # it comes once the current one is the one before
        when = end + window - wanted * window // current
    return Standing(remaining > 0, remaining, when - now)
