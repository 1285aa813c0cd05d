"""How many calls may be sent a second time, so that retries never become the load that an origin fails under
(Beyer et al., "Site Reliability Engineering", 2016, chapter 21)."""

from proxy.upstream.window import Window

FREE = 3  # retries that a quiet service may make in a window


class RetryBudget:
    """At most `share` of the calls in the last `seconds`, or `free` retries where that is less. `now` is monotonic."""

    def __init__(self, share: float, seconds: float, free: int = FREE) -> None:
        self._share = share
        self._free = free
        self._calls = Window(seconds)
        self._retries = Window(seconds)

    def call(self, now: float) -> None:
        """A call is made, for the first time."""
        self._calls.add(now)

    def take(self, now: float) -> bool:
        """Whether one more retry may be made now; it is counted then."""
        if self._retries.count(now) >= max(self._free, int(self._share * self._calls.count(now))):
            return False
        self._retries.add(now)
        return True
