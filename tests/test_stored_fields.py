"""The fields of stored answers: they say what came, and what they have alike is there once."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.message import Fields, Pair
from proxy.stored_fields import Alike

NAMES = (b"Server", b"ETag", b"etag", b"Set-Cookie", b"X-\xff", b"")
lines = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=5)), max_size=8)
ASKED = ("server", "etag", "set-cookie", "x-\xff", "", "ETag", "age")

QUESTIONS: tuple[Callable[[Fields], object], ...] = (
    lambda fields: fields.pairs,
    lambda fields: [fields.get(name) for name in ASKED],
    lambda fields: [fields.lines(name) for name in ASKED],
    lambda fields: [name in fields for name in ASKED],
    lambda fields: list(fields),
    lambda fields: (len(fields), fields.size, bool(fields), hash(fields), repr(fields)),
    lambda fields: fields.without({"etag", "age"}),
    lambda fields: fields.plus(("Age", "1")),
    lambda fields: fields.replacing(("ETag", '"2"')),
)


@given(lines)
@example([(b"ETag", b"1"), (b"Server", b""), (b"etag", b"2")])
def test_they_answer_every_question_as_those_that_came(pairs: list[Pair]) -> None:
    came = Fields(pairs)
    stored = Alike()(came)
    assert stored == came
    assert came == stored
    for ask in QUESTIONS:
        assert ask(stored) == ask(came)


def test_no_question_leaves_anything_behind() -> None:
    """An index in each of a million entries that were asked for once is what they must not have."""
    stored = Alike()(head())
    before = list(map(type, gc.get_referents(stored)))
    for ask in QUESTIONS:
        ask(stored)
    assert list(map(type, gc.get_referents(stored))) == before


@given(st.lists(lines, max_size=5))
def test_nobody_gets_the_fields_of_another(heads: list[list[Pair]]) -> None:
    alike = Alike()
    for pairs in (*heads, *heads):
        assert alike(Fields(pairs)).pairs == tuple(pairs)


def head(etag: str = '"1"') -> Fields:
    """As a parser makes it: every name and value is an object of its own."""
    return Fields.of(("Server", "nginx"), ("Content-Type", "application/json"), ("ETag", etag))


def test_what_is_alike_is_there_once() -> None:
    alike = Alike()
    one, same, other = alike(head()), alike(head()), alike(head('"2"'))
    assert one is same
    assert one is not other
    for (name, value), (its_name, its_value) in zip(one.pairs[:2], other.pairs[:2], strict=True):
        assert name is its_name
        assert value is its_value
    assert one.pairs[2] != other.pairs[2]
    assert alike(one) is one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("many", "odd"),
    [
        (4000, lambda n: [(b"X-%d" % n, b"1")]),
        (400, lambda n: [(b"X-%d-%0500d" % (n, line), b"") for line in range(50)]),
        (4000, lambda n: [(b"ETag", b"%d" % n)]),
        (4000, lambda n: [(b"ETag", b"%d" % n * 1000)]),
        (400, lambda n: [(b"X", b"%d-%0100d" % (n, line)) for line in range(50)]),
        (200, lambda n: [(b"X", b"%d-%d" % (n, line)) for line in range(200)]),
        (200, lambda n: [(b"X-%d-%d" % (n, line), b"") for line in range(200)]),
    ],
    ids=["names", "long names", "values", "long values", "large heads", "many values", "many names"],
)
def test_a_flood_of_odd_ones_does_not_grow_the_process(many: int, odd: Callable[[int], list[Pair]]) -> None:
    alike = Alike()
    common = alike(head())
    tracemalloc.start()
    try:
        sizes = []  # the most in each lap: generations come and go
        for lap in range(3):
            tracemalloc.reset_peak()
            for number in range(lap * many, (lap + 1) * many):
                alike(Fields(odd(number)))
                if number % 100 == 0:
                    assert alike(head()) is common  # what is asked for again stays
            sizes.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert sizes[2] < sizes[0] * 1.2 + 100_000
    assert sizes[2] < 2_000_000
