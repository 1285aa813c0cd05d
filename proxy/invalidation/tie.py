"""How the journal of one instance is tied to the stream that instances share: how far it was read, and what others have
not been told yet. Pure; kept in the instance's own file.

What grows: what is unsent, while Redis is away. Beyond UNSENT records or UNSENT_BYTES one record that purges everything
takes its place, which can only cost misses.
"""

import secrets
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import orjson

from proxy.invalidation.course import NEVER, Course
from proxy.invalidation.records import Kind, Purge, Told, decode, encode

EPOCHS = 2  # whose courses are kept: answers in Redis outlive the stream
UNSENT = 10_000
UNSENT_BYTES = 16 << 20


class Unsent(NamedTuple):
    """What has to be told: it holds here since the local number `local`."""

    local: int
    told: Told
    size: int  # bytes


class Tie:
    """`unsent` by id, in the order in which it is to be sent."""

    def __init__(self) -> None:
        self.courses: list[Course] = []  # the present epoch's is the last
        self.unsent: dict[str, Unsent] = {}
        self._bytes = 0

    @property
    def epoch(self) -> int:
        """That of the stream as we last read it; 0: never."""
        return self.courses[-1].epoch if self.courses else 0

    @property
    def last(self) -> int:
        """The number of the last record read."""
        return self.courses[-1].last if self.courses else 0

    def covered(self, head: int) -> int:
        """The last local number up to which nothing waits to be told, `head` when nothing does."""
        first = next(iter(self.unsent.values()), None)
        return head if first is None else min(head, first.local - 1)

    def local(self, epoch: int, number: int, head: int) -> int | None:
        """`Course.local` of that epoch; None when it is not known any more."""
        course = next((course for course in self.courses if course.epoch == epoch), None)
        return None if course is None else course.local(number, self.covered(head))

    # -- what happens ----------------------------------------------------------------------------------------------

    def owe(self, local: int, told: Told) -> bool:
        """Something that others have to be told, the latest of ours; True when it was too much to keep."""
        size = len(encode(told))
        self.unsent[told.id] = Unsent(local, told, size)
        self._bytes += size
        if len(self.unsent) > UNSENT or self._bytes > UNSENT_BYTES:
            first = next(iter(self.unsent.values())).local
            self.unsent.clear()
            self._bytes = 0
            self.owe(first, Purge(secrets.token_hex(8), Kind.ALL, (), False, 0.0, ""))
            return True
        return False

    def owe_again(self, items: Iterable[tuple[int, Told]]) -> None:
        """What may have been lost on its way comes before all else."""
        later = list(self.unsent.values())
        again = [Unsent(local, told, 0) for local, told in items if told.id not in self.unsent]
        self.unsent.clear()
        self._bytes = 0
        for each in sorted([*again, *later], key=lambda each: each.local):
            self.owe(each.local, each.told)

    def drop(self, id: str) -> None:
        """It need not be told."""
        if (owed := self.unsent.pop(id, None)) is not None:
            self._bytes -= owed.size

    def enter(self, epoch: int, base: int, head: int) -> None:
        """Begin to read an epoch after its record `base`, or begin anew there. `head` is that of the journal."""
        if self.courses and self.courses[-1].epoch == epoch:
            self.courses.pop()
        elif self.courses:
            self.courses[-1].end(self.covered(head))
        self.courses = [course for course in self.courses if course.epoch != epoch]
        self.courses = [*self.courses, Course(epoch, base)][-EPOCHS:]

    def read(self, number: int, local: int = NEVER, sent: Iterable[str] = ()) -> None:
        """The next record was read: what it brought is applied from `local` on, and it tells what we owed as `sent`."""
        for name in sent:
            if (owed := self.unsent.get(name)) is not None:
                local = min(local, owed.local)
                self.drop(name)
        self.courses[-1].add(number, local)

    # -- keeping it ------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return {
            "courses": [course.to_json() for course in self.courses],
            "unsent": [[local, orjson.Fragment(encode(told))] for local, told, _ in self.unsent.values()],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Back from `to_json`; KeyError, ValueError or TypeError when it is none."""
        tie = cls()
        tie.courses = [Course.from_json(course) for course in content["courses"]]
        for local, raw in content["unsent"]:
            told = decode(raw)
            if told is None:
                raise ValueError("unsent is what nobody can read")
            tie.owe(local, told)
        return tie
