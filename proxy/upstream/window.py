"""Counting over the last seconds, in constant memory."""

BUCKETS = 10


class Window:
    """How often something happened in the last `seconds`, to a tenth of them: the oldest tenth leaves as a whole.

    `now` is monotonic, in seconds; a moment before the last one counts as the last one."""

    __slots__ = ("_buckets", "_newest", "_total", "_width")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / BUCKETS
        self._buckets = [0] * BUCKETS
        self._newest = 0  # number of the bucket that the last moment fell in
        self._total = 0

    def add(self, now: float) -> None:
        newest = int(now // self._width)
        if newest > self._newest:
            self._move(newest)
        self._buckets[self._newest % BUCKETS] += 1
        self._total += 1

    def count(self, now: float) -> int:
        self._move(int(now // self._width))
        return self._total

    def clear(self) -> None:
        self._buckets = [0] * BUCKETS
        self._total = 0

    def _move(self, newest: int) -> None:
        for number in range(max(self._newest, newest - BUCKETS) + 1, newest + 1):
            self._total -= self._buckets[number % BUCKETS]
            self._buckets[number % BUCKETS] = 0
        self._newest = max(self._newest, newest)
