"""What a stream number means in the own journal, against an oracle that tries every local number (invariant 3)."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.invalidation.course import NEVER, Course

EPOCH = 9


class Read:
    """Every record as it was read: (number, local), and the local numbers that were given."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.records: list[tuple[int, int]] = []

    def local(self, number: int, head: int) -> int | None:
        """The largest L up to which no record stands later in the stream than `number`, tried one by one."""
        if number not in [self.base, *(read for read, _ in self.records)]:
            return None
        later = [local for read, local in self.records if read > number]
        return next(L for L in range(head, -1, -1) if not any(local <= L for local in later))


# Foreign records take the next local number when they are read; own ones took theirs up to some records before.
STEPS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(["foreign", "own", "known"]), st.integers(0, 6)), max_size=60
)


def played(course: Course, steps: list[tuple[int, str, int]], base: int) -> tuple[Read, int]:
    read, number, head = Read(base), base, 10
    for rise, kind, back in steps:
        number += rise
        if kind == "known":
            course.add(number)
            read.records.append((number, NEVER))
            continue
        head += 1
        local = head if kind == "foreign" else max(1, head - back)
        course.add(number, local)
        read.records.append((number, local))
    return read, head


@given(STEPS, st.integers(0, 5))
def test_every_answer_is_that_of_the_oracle(steps: list[tuple[int, str, int]], base: int) -> None:
    course = Course(EPOCH, base)
    read, head = played(course, steps, base)
    assert course.last == (read.records[-1][0] if read.records else base)
    for number in range(course.last + 3):
        assert course.local(number, head) == read.local(number, head)


@given(STEPS, st.integers(8, 16))
def test_thinned_answers_are_never_larger_and_the_latest_are_exact(
    steps: list[tuple[int, str, int]], limit: int
) -> None:
    course = Course(EPOCH, 0, limit=limit)
    read, head = played(course, steps, 0)
    latest = [number for number, _ in read.records][-(limit // 2) :]
    for number, _ in read.records:
        got, wanted = course.local(number, head), read.local(number, head)
        assert got is not None
        assert wanted is not None
        assert got <= wanted
        if number in latest:
            assert got == wanted
    assert len(course.to_json()["numbers"]) <= limit


@given(STEPS, st.integers(8, 16))
def test_it_comes_back_from_a_file(steps: list[tuple[int, str, int]], limit: int) -> None:
    course = Course(EPOCH, 0, limit=limit)
    _, head = played(course, steps, 0)
    course.end(head - 2)
    back = Course.from_json(course.to_json())
    assert back.to_json() == course.to_json()
    assert [back.local(n, head) for n in range(course.last + 2)] == [
        course.local(n, head) for n in range(course.last + 2)
    ]


def test_an_epoch_that_is_over_says_nothing_above_its_end() -> None:
    course = Course(EPOCH, 0)
    course.add(5, 1)
    course.add(7, 2)
    course.end(2)
    assert [course.local(number, 50) for number in (0, 5, 6, 7, 8)] == [0, 1, None, 2, None]


def test_what_is_not_told_yet_counts_as_later() -> None:
    """The caller gives the last local number before its first unsent record as the head."""
    course = Course(EPOCH, 0)
    course.add(5, 3)
    course.add(8, 4)
    assert course.local(8, 1) == 1
    assert course.local(5, 1) == 1
