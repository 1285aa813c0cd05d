"""What a record that was read from the stream means, and what is missing. Pure: it decides, and the log keeps.

Each record names the number of the one before it, so that nothing can be missing unnoticed, whatever happened to the
server. Where the chain breaks, one of three things is so:

- *A hole*: the stream was trimmed past us. What we missed cannot be known: everything fetched before is dead here.
- *The server went back*: it lost records that we have read, and may have taken others since. Whoever notices begins a
  new epoch.
- *A new epoch*: the stream was lost or began anew. Those who come from the epoch before it tell each other what they
  read there lately (a seed). Whoever finds in it a record that he knows, knows all up to it; he applies what came
  after, and tells in turn what only he has. So when all had read the same, nothing is dropped. Who finds none has
  missed something: everything fetched before is dead here.

Epochs are named by the number of their first record, so a later one has a larger name. What a hole may have hidden is
lost for others only if the server lost it, too, and all who had read it; own purges are told again after one.
"""

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import NamedTuple, Protocol

from proxy.invalidation.journal import Journal
from proxy.invalidation.records import Purge, Seed, Told
from proxy.invalidation.tie import Tie

RECORDS = 1000  # of one epoch that are remembered whole
RECORD_BYTES = 1 << 20
KNOWN = 10_000  # numbers of an epoch that is over


class Record(NamedTuple):
    """One record of the stream. `told` is None when we cannot read it; `size` is in bytes."""

    number: int
    epoch: int
    prior: int
    told: Told | None
    size: int


class Fit(Enum):
    """How a record follows on what was read."""

    NEXT = auto()
    HOLE = auto()  # or the server went back: the number of the stream's first record tells
    BACK = auto()
    OTHER = auto()  # epoch


class Item(NamedTuple):
    """A record that was read: the local number from which on its purges hold, and those."""

    number: int
    local: int
    purges: tuple[Purge, ...]
    size: int


class Ledger(Protocol):
    """Where what was read is applied and kept."""

    journal: Journal
    instance: str
    tie: Tie

    def read(self, number: int, purges: Iterable[Purge], sent: str = "") -> int:
        """Apply what record `number` brought and note that it was read; the first local number it holds from."""
        ...

    def distrust(self) -> None:
        """What was fetched before is dead."""
        ...

    def keep_tie(self) -> None:
        """Note the tie as it is now."""
        ...


class History:
    """The latest records of one epoch, all that came after `base`."""

    def __init__(self, epoch: int, base: int, records: int) -> None:
        self.epoch = epoch
        self.base = base
        self.items: deque[Item] = deque()
        self.ids: set[str] = set()
        self._records = records
        self._bytes = 0

    @property
    def last(self) -> int:
        return self.items[-1].number if self.items else self.base

    @property
    def numbers(self) -> set[int]:
        """Of each of these all records up to it are known, as of the epoch's begin."""
        return {0, self.base, *(item.number for item in self.items)}

    def add(self, item: Item) -> None:
        self.items.append(item)
        self.ids.update(purge.id for purge in item.purges)
        self._bytes += item.size
        while len(self.items) > self._records or self._bytes > RECORD_BYTES:
            oldest = self.items.popleft()
            self.base = oldest.number
            self.ids.difference_update(purge.id for purge in oldest.purges)
            self._bytes -= oldest.size

    def own(self, instance: str) -> list[tuple[int, Told]]:
        """What this instance had told in it."""
        return [(item.local, purge) for item in self.items for purge in item.purges if purge.origin == instance]


class Chain:
    """Where we stand in the stream. `wall` is the wall clock: a soft purge ends lifetimes when it is applied here."""

    def __init__(
        self, log: Ledger, wall: Callable[[], float], new_id: Callable[[], str], *, records: int = RECORDS
    ) -> None:
        self._log = log
        self._wall = wall
        self._new_id = new_id
        self._records = records
        self._history = History(log.tie.epoch, log.tie.last, records)
        self._past: History | None = None  # of the epoch that we come from
        self._unsettled = False  # we have not said yet what only we know of it
        self._known: dict[int, set[int]] = {}  # by epoch that is over: all up to each of these is known
        self._bases: dict[int, int] = {}  # by epoch that is over: from where on seeds tell all

    @property
    def epoch(self) -> int:
        return self._log.tie.epoch

    @property
    def last(self) -> int:
        return self._log.tie.last

    def fit(self, record: Record) -> Fit:
        """How the next record follows; nothing is changed."""
        if record.epoch != self.epoch:
            return Fit.OTHER
        if record.prior == self.last:
            return Fit.NEXT
        return Fit.HOLE if record.prior > self.last else Fit.BACK

    def seed(self) -> Seed:
        """What the first record of a new epoch tells of the present one."""
        if not self.epoch:
            return Seed(self._new_id(), 0)
        return self._seed_of(self._history)

    # -- changes ---------------------------------------------------------------------------------------------------

    def enter(self, epoch: int) -> None:
        """Read another epoch from its first record on."""
        if self.epoch:
            self._past, self._unsettled = self._history, True
            self._known = {**self._known, self.epoch: self._history.numbers}
            self._known = {epoch: self._known[epoch] for epoch in sorted(self._known)[-3:]}
        self._bases = {}
        self._history = History(epoch, 0, self._records)
        self._log.tie.enter(epoch, 0, self._log.journal.head)

    def skip(self, prior: int) -> None:
        """There is a hole, up to record `prior`."""
        log = self._log
        log.distrust()
        if self._past is not None and self._unsettled:  # what was said of it may lie in the hole
            log.tie.owe_again(self._past.own(log.instance))
            self._unsettled = False
        log.tie.owe_again(self._history.own(log.instance))
        log.tie.enter(self.epoch, prior, log.journal.head)
        self._history = History(self.epoch, prior, self._records)
        if not self._unsettled:
            log.keep_tie()

    def take(self, record: Record) -> bool:
        """Apply the next record; whether it brought anything that is new here."""
        told, log = record.told, self._log
        if told is None:
            log.distrust()
            log.read(record.number, ())
            self._history.add(Item(record.number, log.journal.head, (), record.size))
            return True
        news = self._news(told) if told.id not in log.tie.unsent else []
        if isinstance(told, Seed):
            self._learn(told)
        local = log.read(record.number, news, told.id)
        purges = (told,) if isinstance(told, Purge) else tuple(purge for _, each in told.items for purge in each)
        self._history.add(Item(record.number, local, purges, record.size))
        return bool(news)
