"""Which faults there are now, what they excuse, and what was found that nothing excuses."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from time import monotonic

LISTED = 8  # findings of a kind that are told in full; the others are counted


@dataclass(slots=True)
class Trouble:
    """One fault, from `began` to `ended` (monotonic). What it excuses goes on for `grace` seconds after it."""

    name: str
    began: float
    upstream: bool  # it is the upstream's: an answer may be missing or a 5xx, at every instance
    port: int | None  # of the instance that is away
    grace: float
    ended: float = inf

    def during(self, began: float, now: float) -> bool:
        return self.began <= now and began <= self.ended + self.grace


class Weather:
    """The faults so far, and the findings with the second of the run and the faults of that moment."""

    def __init__(self, say: Callable[[str], None] = print) -> None:
        self.begun = monotonic()
        self.findings: list[str] = []
        self.counts: Counter[str] = Counter()
        self.excused: Counter[str] = Counter()
        self._troubles: list[Trouble] = []
        self._say = say

    @property
    def elapsed(self) -> float:
        """Seconds since the begin of the run."""
        return monotonic() - self.begun

    @property
    def now(self) -> str:
        return " + ".join(each.name for each in self._troubles if each.ended == inf) or "fair"

    @contextmanager
    def trouble(self, name: str, *, upstream: bool = False, port: int | None = None, grace: float) -> Iterator[None]:
        """While this lasts, and for the grace after it, what it excuses is excused."""
        trouble = Trouble(name, monotonic(), upstream, port, grace)
        self._troubles = [each for each in self._troubles if each.ended + 120 > trouble.began] + [trouble]
        self.tell(f"{name} begins")
        try:
            yield
        finally:
            trouble.ended = monotonic()
            self.tell(f"{name} is over")

    def failed(self, what: str, port: int, began: float) -> None:
        """A request to this port that was sent at `began` had no good answer: excused, or a finding."""
        now = monotonic()
        for trouble in self._troubles:
            if trouble.during(began, now) and (trouble.upstream or trouble.port == port):
                self.excused[f"{what} while {trouble.name}"] += 1
                return
        self.found("no good answer", f"{what} from port {port}, asked {now - began:.2f} s before")

    def away(self, port: int, began: float) -> bool:
        """Whether the instance of this port was away at some time since `began`."""
        now = monotonic()
        return any(each.port == port and each.during(began, now) for each in self._troubles)

    def found(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= LISTED:
            self.findings.append(f"{self.elapsed:7.1f} s  {kind}: {text}  [{self.now}]")
            self._say(f"FOUND {self.findings[-1]}")

    def tell(self, text: str) -> None:
        self._say(f"{self.elapsed:7.1f} s  {text}")
