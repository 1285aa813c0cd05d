"""What a record that was read from the stream means, and what is missing. Pure: it decides, and the log keeps.

Each record names the number of the one before it, so that nothing can be missing unnoticed, whatever happened to the
server. Where the chain breaks, one of three things is so:

- *A hole*: the stream was trimmed past us. What we missed cannot be known: everything fetched before is dead here.
- *The server went back*: it lost records that we have read, and may have taken others since; or it has an epoch again
  that was over. Whoever notices begins a new epoch.
- *A new epoch*: the stream was lost or began anew. Those who come from the epoch before it tell each other what they
  read there lately (a seed). Whoever finds in it a record that he knows, knows all up to it; he applies what came
  after, and tells in turn what only he has. So when all had read the same, nothing is dropped. Who finds none has
  missed something: everything fetched before is dead here.

An epoch is named by the number of its first record, so a later one has a larger name. What lies in a hole is lost for
others only if the server lost it as well, and all who had read it were cut off; own purges are told again after one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import NamedTuple, Protocol

from proxy.invalidation.course import NEVER
from proxy.invalidation.journal import Journal
from proxy.invalidation.records import Kind, Purge, Seed, Told
from proxy.invalidation.tie import Tie

RECORDS = 1000  # of one epoch that are remembered whole
RECORD_BYTES = 1 << 20
EPOCHS = 3  # that are over, of which numbers are known
NUMBERS = 10_000  # of each
EVERYTHING = Purge("", Kind.ALL, (), False, 0.0, "")  # stands for what cannot be known


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


class Ledger(Protocol):
    """Where what was read is applied and kept."""

    journal: Journal
    instance: str
    tie: Tie

    def read(self, number: int, purges: Sequence[Purge], sent: Iterable[str], since: int) -> int:
        """Record `number` was read: it brought these purges, what we had sent by these ids, and what holds here since
        the local number `since`. The first of the local numbers that the purges have got, one after the other."""
        ...

    def distrust(self, purge: Purge) -> None:
        """Apply what stands in no record and is of no concern to others, in one step with the tie as it is now."""
        ...

    def keep_tie(self) -> None:
        """The tie was changed by more than a record."""
        ...


class Item(NamedTuple):
    """A record that was read, and its purges with the local numbers from which on they hold."""

    number: int
    purges: tuple[tuple[int, Purge], ...]
    size: int


class History:
    """The latest records of one epoch: all that came after `base`."""

    def __init__(self, epoch: int, base: int, records: int) -> None:
        self.epoch = epoch
        self.base = base
        self.items: deque[Item] = deque()
        self.places: dict[str, int] = {}  # purge id -> local number
        self._records = records
        self._bytes = 0

    @property
    def last(self) -> int:
        return self.items[-1].number if self.items else self.base

    @property
    def numbers(self) -> set[int]:
        return {self.base, *(item.number for item in self.items)}

    def add(self, item: Item) -> None:
        self.items.append(item)
        self.places.update((purge.id, local) for local, purge in item.purges)
        self._bytes += item.size
        while len(self.items) > self._records or self._bytes > RECORD_BYTES:
            oldest = self.items.popleft()
            self.base = oldest.number
            self._bytes -= oldest.size
            for _, purge in oldest.purges:
                self.places.pop(purge.id, None)

    def after(self, number: int) -> Iterator[tuple[int, Purge]]:
        """The purges of later records, each with its local number."""
        return (place for item in self.items if item.number > number for place in item.purges)

    def told(self, id: str) -> Seed:
        """All of it, for others."""
        items = ((item.number, tuple(purge for _, purge in item.purges)) for item in self.items)
        return Seed(id, self.epoch, self.base, tuple(items))


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
        self._owed = ""  # id of the seed of it, until we know who needs what
        self._seeded: set[int] = set()  # the records of it that seeds told of
        self._seeded_from = 0  # the first of them
        self._newer = False  # whether one told of a later epoch, which we missed
        self._known: dict[int, set[int]] = {}  # by epoch that is over: of each of these all up to it is known

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
        return self._history.told(self._new_id())

    # -- changes ---------------------------------------------------------------------------------------------------

    def enter(self, epoch: int) -> None:
        """Read another epoch from its first record on. Until it is `settled` we owe others all that we know."""
        log = self._log
        if self.epoch:
            seed = self.seed()
            self._owed, self._past = seed.id, self._history
            self._seeded, self._newer = set(), False
            self._known[self.epoch] = self._history.numbers | {0}
            self._known = {known: self._known[known] for known in sorted(self._known)[-EPOCHS:]}
            log.tie.enter(epoch, 0, log.journal.head)
            log.tie.owe_again([(1, seed)])
        else:
            log.tie.enter(epoch, 0, log.journal.head)
        self._history = History(epoch, 0, self._records)
        log.keep_tie()

    def skip(self, prior: int) -> None:
        """There is a hole, up to record `prior`."""
        log = self._log
        self.settled(hole=True)
        log.tie.owe_again(self._own(self._history))
        log.tie.enter(self.epoch, prior, log.journal.head)
        self._history = History(self.epoch, prior, self._records)
        log.distrust(EVERYTHING)

    def take(self, record: Record) -> bool:
        """Apply the next record; whether it brought anything new."""
        told, log = record.told, self._log
        match told:
            case None:
                every: tuple[Purge, ...] = ()
                news = [EVERYTHING]
            case Seed():
                every = tuple(purge for _, purges in told.items for purge in purges)
                news = [] if told.id in log.tie.unsent else self._learn(told)
            case Purge():
                every = () if told.id in self._history.places else (told,)
                news = list(every)
        places = {purge.id: place for purge in every if (place := self._place(purge.id))}
        news = [purge for purge in news if purge.id not in places]
        ids = [purge.id for purge in every] + ([told.id] if told is not None else [])
        # Whoever stamps an answer with an earlier number need not have known what holds here already.
        since = 1 if isinstance(told, Seed) and told.of else min(places.values(), default=NEVER)
        first = log.read(record.number, [self._here(record.number, purge) for purge in news], ids, since)
        places |= {purge.id: first + i for i, purge in enumerate(news)}
        placed = tuple((places.get(purge.id, 1), purge) for purge in every)
        self._history.add(Item(record.number, placed, record.size))
        return bool(news)

    def settled(self, *, hole: bool = False) -> None:
        """All there is was read, or lies in a hole: what others have to be told of the epoch that we come from."""
        past, tie = self._past, self._log.tie
        if not self._owed or past is None:
            return
        common = max(past.numbers & self._seeded, default=None)
        behind = past.last < self._seeded_from if self._seeded else self._newer or hole
        if common is not None or behind:
            tie.drop(self._owed)
            tie.owe_again(self._own(past) if common is None else past.after(common))
        self._owed = ""  # else we know what they do not, and they get all of it
        self._log.keep_tie()

    # -- seeds -----------------------------------------------------------------------------------------------------

    def _learn(self, seed: Seed) -> list[Purge]:
        """What we have to apply of it."""
        known = self._known.get(seed.of)
        if seed.of == 0:
            return []
        past = self._past.epoch if self._past else 0
        if seed.of == past:
            self._seeded_from = min(self._seeded_from, seed.base) if self._seeded else seed.base
            self._seeded |= seed.numbers
        self._newer |= seed.of > past
        self._known[seed.of] = set(sorted((known or {0}) | seed.numbers)[-NUMBERS:])
        if known is None:
            return [EVERYTHING] if seed.of > past else [purge for _, purges in seed.items for purge in purges]
        common = max(known & seed.numbers, default=None)
        if common is None:
            return [EVERYTHING]
        return [purge for number, purges in seed.items if number > common for purge in purges]

    def _own(self, history: History) -> list[tuple[int, Told]]:
        return [(local, purge) for local, purge in history.after(-1) if purge.origin == self._log.instance]

    def _place(self, id: str) -> int | None:
        """The local number of a purge that holds here already, as far as we remember."""
        if (owed := self._log.tie.unsent.get(id)) is not None:
            return owed.local
        return self._history.places.get(id) or (self._past.places.get(id) if self._past else None)

    def _here(self, number: int, purge: Purge) -> Purge:
        return replace(purge, stream=number, at=self._wall() if purge.soft else purge.at)
