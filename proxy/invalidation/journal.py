"""Which purges came after an answer was fetched? Pure: no clock, no file, no socket.

Every entry carries the position that its instance had reached when its *fetch began*. A purge appends one record, and
an entry is good when no later record matches it. So no fill in flight, promotion, resync or restart undoes a purge.

What grows, and its bound. The journal keeps the last positions per *name*, never the records, so few names purged
endlessly cost nothing. Of tags, rules, namespaces and patterns it keeps `records` (a sixteenth more for a while); the
oldest then fall off and the floor rises to them: what was fetched below the floor is dead. As many exact names (url,
key) are kept beside them; those that fall off raise the floor of their bucket alone (one of BUCKETS), so that a storm
of exact purges empties no cache. Of one name SOFTS soft purges are told apart. What is forgotten can only cost misses.

Numbers are local: the sequence in which *this instance* applied records, whoever made them. How the Redis stream joins:
a record read from it is applied under the next local number and keeps its id in `Purge.stream`; own records are applied
first and sent after. `position()` then names the last id applied in its middle field. When the Redis tier reads an
entry, it turns that id into the largest local number up to which every record had an id not above it (a bisection
over the (local, stream) pairs that the transport keeps), or into -1, below every floor, when the stream is another one.
All that stands here goes on comparing local numbers.
"""

import math
from array import array
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from proxy.entry import Entry, Position
from proxy.invalidation.records import SOME_HOST, Kind, PathPattern, Purge, anywhere, url_names

DEAD = -math.inf
SOFTS = 16
IDS = 2000  # purges whose ids are told, twice as many as receipts are kept
BUCKETS = 1 << 20  # 8 MiB, taken only once an exact name falls off
_KINDS = {kind[0]: kind for kind in Kind}


class Marks(NamedTuple):
    """When one name was purged: the last hard purge, the hard one before it, and the soft ones since, of which the
    ends only rise (a later one with an earlier clock binds all before it)."""

    hard: int = 0
    prior: int = 0
    softs: tuple[tuple[int, float], ...] = ()

    @property
    def last(self) -> int:
        return self.softs[-1][0] if self.softs else self.hard

    def plus(self, seq: int, purge: Purge) -> "Marks":
        if not purge.soft:
            return Marks(seq, self.hard if self.hard < seq else self.prior)
        softs = [(number, at) for number, at in self.softs if at < purge.at]
        softs.append((seq, purge.at))
        if len(softs) > SOFTS:  # join the two that are closest in time; the earlier end holds for both
            i = min(range(len(softs) - 1), key=lambda i: softs[i + 1][1] - softs[i][1])
            softs[i : i + 2] = [(softs[i + 1][0], softs[i][1])]
        return Marks(self.hard, self.prior, tuple(softs))

    def ended(self, seen: int, until: int) -> float | None:
        """What the purges after `seen` and before `until` make of an entry."""
        if seen < self.hard < until or seen < self.prior < until:
            return DEAD
        return next((at for seq, at in self.softs if seen < seq < until), None)


class Ender(NamedTuple):
    """The purge that ended an entry: what it named, and the number of its record. `at`: the wall time at which a soft
    one ended its lifetime, DEAD of a hard one. `kind` is None where what is needed to know is forgotten; `id` is the
    purge's own, as in its receipt, "" where it is not among the last IDS any more."""

    kind: Kind | None
    name: str
    number: int
    at: float
    id: str = ""


class Journal:
    """What was purged when. `ended` is the one question; everything else feeds it."""

    def __init__(self, epoch: int, records: int = 100_000, *, head: int = 0, floor: int = 0) -> None:
        self.epoch = epoch
        self.records = records
        self.head = head  # the number of the last record; compared on every hit, changed here alone
        self._floor = floor
        self._all = Marks()
        self._names: dict[str, Marks] = {}  # each table: the last purged at the end
        self._patterns: dict[str, tuple[Marks, PathPattern]] = {}
        self._exact: dict[str, Marks] = {}
        self._forgotten = 0  # the last exact name that fell off
        self._buckets: array[int] | None = None
        self._ids: dict[int, str] = {}  # of the last records, for those who want to know

    @property
    def floor(self) -> int:
        """What was fetched before this number is dead."""
        return max(self._floor, self._all.hard)

    def position(self) -> Position:
        """What an entry whose fetch begins now has to carry."""
        return Position(self.epoch, 0, self.head)

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        """None: no later purge matches. DEAD: a hard one does, or what is needed to know is forgotten. Else the wall
        time at which the first soft one ended its lifetime.

        `checked`: a head at which this answered None for the same entry; only what came since is looked at.
        """
        position = entry.position
        if position.epoch != self.epoch:
            return DEAD
        seen = max(position.local, checked)
        return None if seen == self.head else self._first(entry, seen, self.head + 1)

    def ender(self, entry: Entry) -> Ender | None:
        """Which purge made `ended` say what it says, for those who want to know; None when none did."""
        end = self.ended(entry)
        if end is None:
            return None
        seen = entry.position.local
        if entry.position.epoch == self.epoch:
            for place, marks in self._marks(entry, seen):
                if marks.ended(seen, self.head + 1) == end:
                    softs = (seq for seq, at in marks.softs if seq > seen)
                    number = (marks.prior if marks.prior > seen else marks.hard) if end == DEAD else next(softs)
                    return Ender(_KINDS[place[0]], place[1:], number, end, self._ids.get(number, ""))
        return Ender(None, "", 0, end)

    def alive_before(self, entry: Entry, seq: int) -> bool:
        """Whether record `seq`, one of the latest, came after the entry's fetch, with no hard one between."""
        position = entry.position
        return position.epoch == self.epoch and position.local < seq and self._first(entry, position.local, seq) != DEAD

    def _first(self, entry: Entry, seen: int, until: int) -> float | None:
        if not self._floor <= seen <= self.head or self._fell_off(entry, seen):
            return DEAD
        first = math.inf
        for _, marks in self._marks(entry, seen):
            end = marks.ended(seen, until)
            if end == DEAD:
                return DEAD
            if end is not None:
                first = min(first, end)
        return None if first == math.inf else first

    def _marks(self, entry: Entry, seen: int) -> Iterator[tuple[str, Marks]]:
        """Of all that may name the entry; each name behind the first letter of its kind."""
        yield "a", self._all
        for table, names in ((self._exact, _exact_names(entry)), (self._names, _other_names(entry))):
            if table:
                for name in names:
                    if (marks := table.get(name)) is not None:
                        yield name, marks
        parts = entry.parts
        for name, (marks, pattern) in reversed(self._patterns.items()):
            if marks.last <= seen:
                break
            if pattern.match(parts.host, parts.path):
                yield f"p{name}", marks

    def _fell_off(self, entry: Entry, seen: int) -> bool:
        buckets = self._buckets
        if buckets is None or seen >= self._forgotten:
            return False
        return buckets[_bucket("u" + entry.parts.target)] > seen or buckets[_bucket("k" + entry.hash)] > seen

    def append(self, purge: Purge) -> int:
        """Apply the next record; its number is the new head."""
        self.apply(self.head + 1, purge)
        return self.head

    def apply(self, seq: int, purge: Purge) -> None:
        """Apply a record under a number that was given elsewhere; never below that of the one before."""
        self.head = max(self.head, seq)
        if purge.id:
            self._ids[seq] = purge.id
        match purge.kind:
            case Kind.ALL:
                self._all = self._all.plus(seq, purge)
            case Kind.PATTERN:
                for name in purge.names:
                    known = self._patterns.pop(name, None)
                    marks, pattern = known or (Marks(), PathPattern.parse(name))
                    self._patterns[name] = marks.plus(seq, purge), pattern
            case Kind.URL | Kind.KEY:
                for name in _places(purge):
                    self._exact[name] = self._exact.pop(name, Marks()).plus(seq, purge)
            case Kind.TAG | Kind.RULE | Kind.NAMESPACE:
                for name in purge.names:
                    place = f"{purge.kind[0]}{name}"
                    self._names[place] = self._names.pop(place, Marks()).plus(seq, purge)
        self._shed()

    def advance(self, head: int) -> None:
        """Leave out the numbers up to `head`."""
        self.head = max(self.head, head)

    def _shed(self) -> None:
        """Let the oldest fall off, a sixteenth at a time where there are many: finding the oldest is a walk."""
        if len(self._ids) > IDS:
            del self._ids[next(iter(self._ids))]
        spare = self.records // 16
        excess = len(self._exact) - 2 * self.records  # a url of one host takes two places
        if excess > spare:
            for name in list(islice(self._exact, excess)):
                self._forget_exact(name, self._exact.pop(name).last)
        excess = len(self._names) + len(self._patterns) - self.records
        if excess > spare:
            oldest = [(marks.last, name, Kind.TAG) for name, marks in islice(self._names.items(), excess)]
            oldest += [(marks.last, name, Kind.PATTERN) for name, (marks, _) in islice(self._patterns.items(), excess)]
            for last, name, kind in sorted(oldest)[:excess]:
                del (self._patterns if kind is Kind.PATTERN else self._names)[name]
                self._floor = max(self._floor, last)

    def _forget_exact(self, name: str, last: int) -> None:
        if self._buckets is None:
            self._buckets = array("q", bytes(8 * BUCKETS))
        place = _bucket("u" + name.partition("|")[2] if name[0] == "u" else name.partition(".")[0])
        self._buckets[place] = max(self._buckets[place], last)
        self._forgotten = max(self._forgotten, last)

    def copy(self) -> "Journal":
        """The same tables at this moment (some milliseconds when they are full), to be written down elsewhere."""
        other = Journal(self.epoch, self.records, head=self.head, floor=max(self._floor, self._forgotten))
        other._all = self._all
        other._names, other._patterns, other._exact = self._names.copy(), self._patterns.copy(), self._exact.copy()
        return other

    def compacted(self) -> list[tuple[int, Purge]]:
        """The fewest records, by number, that give a journal with this `floor` the same answers."""
        tables: list[tuple[Kind, str, Marks]] = [(Kind.ALL, "", self._all)]
        tables += [(_KINDS[name[0]], name[1:], marks) for name, marks in self._names.items()]
        tables += [(Kind.PATTERN, name, marks) for name, (marks, _) in self._patterns.items()]
        tables += [(_KINDS[name[0]], name[1:], marks) for name, marks in self._exact.items() if name[1] != SOME_HOST]
        floor = self.floor
        found = []
        for kind, name, marks in tables:
            names = () if kind is Kind.ALL else (name,)
            if marks.hard > floor:
                found.append((marks.hard, Purge("", kind, names, False, 0.0, "")))
            found += [(seq, Purge("", kind, names, True, at, "")) for seq, at in marks.softs if seq > floor]
        return sorted(found, key=lambda record: record[0])


def _exact_names(entry: Entry) -> Iterator[str]:
    for name in url_names(entry):
        yield f"u{name}"
    yield f"k{entry.hash}"
    if entry.variant:
        yield f"k{entry.key}"


def _other_names(entry: Entry) -> Iterator[str]:
    yield f"r{entry.rule}"
    yield f"n{entry.parts.namespace}"
    for tag in entry.tags:
        yield f"t{tag}"


def _places(purge: Purge) -> Iterator[str]:
    for name in purge.names:
        yield f"{purge.kind[0]}{name}"
        if purge.kind is Kind.URL and name[0] != "|":
            yield f"u{anywhere(name)}"


def _bucket(stem: str) -> int:
    return hash(stem) & (BUCKETS - 1)
