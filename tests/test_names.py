"""Names as they follow each other: what is remembered of them says what the lines themselves say."""

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.message import Fields, Pair
from proxy.names import Order, lower_name, order_of

NAMES = (b"Server", b"ETag", b"etag", b"Set-Cookie", b"X-\xff", b"100%", b"%d", b"")
lines = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=5)), max_size=8)
asked = st.frozensets(st.sampled_from([lower_name(name) for name in NAMES]))


@given(lines, asked)
@example([(b"ETag", b"1"), (b"100%", b"%d"), (b"etag", b"2")], frozenset({"etag"}))
def test_what_is_left_without_some_stands_as_it_came(pairs: list[Pair], names: frozenset[str]) -> None:
    left = tuple(pair for pair in pairs if lower_name(pair[0]) not in names)
    for _ in range(2):  # made, and remembered
        assert Fields(pairs).without(names).pairs == left
        assert Fields(pairs).without(set(names)) == Fields(left)


@given(lines, lines)
def test_others_stand_behind_them(pairs: list[Pair], others: list[Pair]) -> None:
    for _ in range(2):
        both = Fields(pairs).followed_by(Fields(others))
        assert both.pairs == (*pairs, *others)
        assert [both.lines(lower_name(name)) for name in NAMES] == [
            Fields((*pairs, *others)).lines(lower_name(name)) for name in NAMES
        ]


@given(lines)
def test_they_are_written_byte_for_byte(pairs: list[Pair]) -> None:
    fields = Fields(pairs)
    assert fields.written == b"".join(name + b": " + value + b"\r\n" for name, value in pairs)
    assert fields.size == len(fields.written)


def test_who_has_the_same_names_has_the_same_order() -> None:
    one, same = Fields([(b"ETag", b"1"), (b"Age", b"2")]), Fields([(b"ETag", b"3"), (b"Age", b"4")])
    assert one.order is same.order
    assert one.without({"age"}).order is same.without({"age"}).order is Fields([(b"ETag", b"")]).order
    assert one.order is not Fields([(b"Age", b"2"), (b"ETag", b"1")]).order


@pytest.mark.parametrize(
    "make",
    [
        lambda order, n: order.without[frozenset({"etag", f"x-{n}"})],
        lambda order, n: order.followed_by[Order((b"X-%d" % n,))],
        lambda order, n: order.any_of[frozenset({"etag", f"x-{n}"})],
    ],
    ids=["without", "followed by", "any of"],
)
def test_what_is_made_of_one_is_bounded(make: Callable[[Order, int], object]) -> None:
    order = order_of((b"ETag", b"Age"))
    tracemalloc.start()
    try:
        for number in range(12_000):
            make(order, number)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 2_500_000  # most of it orders, of which the last 512 to 1,024 are remembered
