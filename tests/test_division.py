"""What the settings allow the instance, divided among its workers (contract, listen.workers)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.division import divided, part
from proxy.settings import settings_from

SECTIONS: list[tuple[str, str, int]] = [
    ("memory", "max_entries", 10),
    ("memory", "max_bytes", 1001),
    ("memory", "limit", 1003),
    ("limits", "connections", 7),
    ("observe", "samples", 100),
    ("redis", "pool", 5),
    ("upstream", "max_connections", 9),
    ("upstream", "max_in_flight", 8),
    ("upstream", "max_queue", 4),
]


@pytest.mark.parametrize(("section", "name", "value"), SECTIONS)
def test_parts_add_up_to_the_whole(section: str, name: str, value: int) -> None:
    given: dict[str, Any] = {"upstream": {"url": "http://a"}}
    given[section] = {**given.get(section, {}), name: value}
    whole = settings_from(given)
    parts = [getattr(getattr(divided(whole, number, 3), section), name) for number in range(3)]
    assert sum(parts) == value
    assert max(parts) - min(parts) <= 1


def test_services_and_rules_are_divided_too() -> None:
    whole = settings_from(
        {
            "upstream": {"url": "http://a"},
            "upstreams": {"b": {"url": "http://b", "max_in_flight": 5}},
            "rules": [{"pattern": "*", "concurrency": 3}, {"pattern": "*"}],
        }
    )
    parts = [divided(whole, number, 2) for number in range(2)]
    assert [each.upstreams["b"].max_in_flight for each in parts] == [3, 2]
    assert [each.rules[0].concurrency for each in parts] == [2, 1]
    assert [each.rules[1].concurrency for each in parts] == [None, None]


def test_what_is_off_stays_off_and_nothing_else_changes() -> None:
    whole = settings_from({"upstream": {"url": "http://a", "max_queue": 0}, "memory": {"max_entries": 0}})
    some = divided(whole, 1, 4)
    assert (some.memory.max_entries, some.memory.on, some.upstream.max_queue) == (0, False, 0)
    same = ("file", "journal", "timeouts", "flight", "admin", "listen", "log", "cache", "warm")
    assert [getattr(some, name) for name in same] == [getattr(whole, name) for name in same]
    assert some.memory.max_object == whole.memory.max_object
    assert divided(whole, 0, 1) is whole


@given(st.integers(1, 10**9), st.integers(1, 200))
def test_nobody_is_left_with_nothing(whole: int, of: int) -> None:
    parts = [part(whole, number, of) for number in range(of)]
    assert min(parts) >= 1
    assert sum(parts) == max(whole, of)
