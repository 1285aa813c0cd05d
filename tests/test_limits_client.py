"""Who a request of a limited rule is counted as: no other spelling of the same credentials is another client."""

import pytest

from proxy.limits.client import by_header, client_of
from tests.support.judged import get

ONE = by_header("authorization", "Bearer one")


def asked(*pairs: tuple[str, str], by: str = "authorization") -> str:
    return client_of(get(*pairs), by)


@pytest.mark.parametrize(
    "value", ["Bearer one", "bearer one", "BEARER  one", "Bearer   one", "Bearer\tone", "Bearer one "]
)
def test_credentials_are_the_same_in_any_spelling(value: str) -> None:
    assert asked(("Authorization", value)) == ONE


@pytest.mark.parametrize("value", ["Bearer One", "Basic one", "Bearer", "Bearer one two", "Bearer one  two"])
def test_other_credentials_are_others(value: str) -> None:
    assert asked(("Authorization", value)) not in (ONE, asked())


def test_two_lines_are_nobodys_but_the_addresses() -> None:
    one, other = ("Authorization", "Bearer one"), ("authorization", "Bearer two")
    assert asked(one, other) == asked(other, one) == asked() == asked(("Authorization", " "))
    assert asked(("X-User", "a"), ("X-User", "b"), by="x-user") == asked()


def test_any_other_header_counts_as_it_is() -> None:
    assert asked(("X-User", "A b"), by="x-user") != asked(("X-User", "a b"), by="x-user")
