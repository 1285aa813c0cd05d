"""What one process counts: a window for each client of each limited rule, in memory."""

from collections import OrderedDict
from collections.abc import Callable

from proxy.limits.window import Quota, Standing, Window, window_of

SLICE = 2000  # windows that one sweep drops at most, so that nobody waits for it


class Table:
    """Exact for whom it knows. `clock` is monotonic, in seconds. `clients` bounds the windows that are kept, some 400
    bytes each, `times` what all exact ones keep together, 8 bytes each: who asked longest ago leaves, and begins anew.

    Windows of one quota stand in the order of their last use, which is the order in which they end.
    """

    def __init__(self, clock: Callable[[], float], *, clients: int = 100_000, times: int = 2_000_000) -> None:
        self._clock = clock
        self._max_clients = clients
        self._max_times = times
        self._clients = 0
        self._times = 0
        self._windows: dict[Quota, OrderedDict[str, Window]] = {}

    def __len__(self) -> int:
        """How many windows are kept."""
        return self._clients

    @property
    def times(self) -> int:
        """How many times they keep together."""
        return self._times

    def take(self, key: str, quota: Quota) -> Standing:
        """Use one of what `key` has left, if there is one."""
        now = self._now()
        window = self._window(key, quota, now)
        kept = len(window)
        standing = window.take(quota, now)
        self._times += len(window) - kept
        self._make_room()
        return standing

    def note(self, key: str, quota: Quota) -> None:
        """One was let through elsewhere, whatever is left here."""
        now = self._now()
        window = self._window(key, quota, now)
        kept = len(window)
        window.note(quota, now)
        self._times += len(window) - kept
        self._make_room()

    def peek(self, key: str, quota: Quota) -> Standing:
        """What `key` has left; nothing changes."""
        windows = self._windows.get(quota)
        window = windows.get(key) if windows is not None else None
        return Standing(True, quota.limit, 0) if window is None else window.peek(quota, self._now())

    def sweep(self) -> int:
        """Drop windows in which nothing counts any more, SLICE at most; how many went."""
        now, went = self._now(), 0
        for quota, windows in list(self._windows.items()):
            while went < SLICE and windows and next(iter(windows.values())).over(quota, now):
                self._drop_oldest(quota)
                went += 1
        return went

    def _now(self) -> int:
        return int(self._clock() * 1e6)

    def _window(self, key: str, quota: Quota, now: int) -> Window:
        windows = self._windows.get(quota)
        if windows is None:
            windows = self._windows[quota] = OrderedDict()
        window = windows.get(key)
        if window is None:
            window = windows[key] = window_of(quota, now)
            self._clients += 1
        else:
            windows.move_to_end(key)
            window.used = now
        return window

    def _make_room(self) -> None:
        while self._clients > self._max_clients or self._times > self._max_times:
            self._drop_oldest(min(self._windows, key=self._used))

    def _used(self, quota: Quota) -> int:
        return next(iter(self._windows[quota].values())).used

    def _drop_oldest(self, quota: Quota) -> None:
        windows = self._windows[quota]
        _, window = windows.popitem(last=False)
        self._clients -= 1
        self._times -= len(window)
        if not windows:
            del self._windows[quota]
