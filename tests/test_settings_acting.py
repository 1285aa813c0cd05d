"""Rules, and settings of rules, that can never act are told, and no others (contract "Rules": explain and check say
loudly when a rule's ttl can never act)."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.message import Fields, Request
from proxy.rules import RuleTable
from proxy.settings import settings_from
from proxy.settings.acting import without_effect, writes_elsewhere
from proxy.settings.compile import compile_rules
from tests.support.settings_loading import FILE, read

FIRST = "can never match: rules[0] takes every such request first"


def rule(pattern: Any, **more: Any) -> dict[str, Any]:
    return {"pattern": pattern, **more}


HIDDEN = [
    ([rule("/a"), rule("/a")], True),
    ([rule("*"), rule("/a")], True),
    ([rule("**"), rule(["/a", "*/b"])], True),
    ([rule("/api/*"), rule("/api/users/*")], True),
    ([rule("*/users/*"), rule("/api/users/?")], True),
    ([rule("/a/?"), rule("/a/?")], True),
    ([rule(["/b", "/a"]), rule("/a")], True),
    ([rule("/a", mode="off"), rule("/a")], True),
    ([rule("/é"), rule("/%C3%A9")], True),
    ([rule("*"), rule("/a", host="a.example")], True),
    ([rule("*", host="*.example"), rule("/a", host="a.example")], True),
    ([rule("*"), rule("/a", conditions={"headers": {"x": "1"}})], True),
    ([rule("*", conditions={"headers": {"x": "*"}}), rule("/a", conditions={"headers": {"x": "1", "y": "2"}})], True),
    ([rule("*", methods=["GET", "POST"]), rule("/a", methods="POST")], True),
    ([rule("/a"), rule("*")], False),
    ([rule("/a"), rule("/b")], False),
    ([rule("/a"), rule(["/a", "/b"])], False),
    ([rule("/a/?"), rule("/a/*")], False),
    ([rule("/a/??"), rule("/a/*")], False),
    ([rule("/a*"), rule("/?b")], False),
    ([rule("/*"), rule("*")], False),
    ([rule("*", host="a.example"), rule("/a")], False),
    ([rule("*", host="a.example"), rule("/a", host="*.example")], False),
    ([rule("*", conditions={"headers": {"x": "*"}}), rule("/a")], False),
    ([rule("*", conditions={"headers": {"x": "1"}}), rule("/a", conditions={"headers": {"x": "*"}})], False),
    ([rule("*"), rule("/a", methods="POST")], False),
]


def to_x(pattern: Any, **more: Any) -> dict[str, Any]:
    return rule(pattern, upstream="x", **more)


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([to_x("/a/*")], [0]),
        ([to_x("/a/*", mode="off")], [0]),  # its methods are those of `cache.methods`
        ([to_x("/a/*", methods="GET")], [0]),
        ([to_x("/a/*"), rule("/a/*", mode="off", methods="PUT")], [0]),
        ([to_x("/a/*"), to_x("/b/*", mode="off", methods="PUT")], [0]),
        ([to_x("/a/*", host="a.example"), to_x("/a/*", host="b.example", mode="off", methods="PUT")], [0]),
        ([rule("/a/*")], []),
        ([to_x("/a/*", methods=["GET", "POST"])], []),
        ([to_x("/a/*"), to_x("/a/*", mode="off", methods="PUT")], []),
        ([to_x("/a/*"), to_x("*", mode="off", methods=["POST", "PUT"])], []),
        ([to_x("/a/*"), to_x("/a/b/*", mode="off", methods="PUT")], []),  # these alone may be written
    ],
    ids=str,
)
def test_reads_and_writes_that_go_to_two_services(rules: list[dict[str, Any]], told: list[int]) -> None:
    values = {"rules": rules, "upstreams": {"x": {"url": "http://127.0.0.1:1"}}}
    found = [steps for steps, _ in writes_elsewhere(settings_from(values, require_upstream=False))]
    assert found == [("rules", n, "upstream") for n in told]


def test_who_reads_the_settings_is_warned_of_writes_that_go_elsewhere(tmp_path: Path) -> None:
    yaml = """
upstream: {url: "http://127.0.0.1:1"}
upstreams: {x: {url: "http://127.0.0.1:2"}}
rules:
  - pattern: /a/*
    ttl: 9
    upstream: x
"""
    (said,) = map(str, read(tmp_path, yaml).warnings)
    assert (
        f"{FILE}:6:15: rules[0].upstream: GET, HEAD alone go to 'x', all else of the pattern to the main upstream"
        in said
    )


@pytest.mark.parametrize(("rules", "hidden"), HIDDEN, ids=str)
def test_a_rule_behind_another(rules: list[dict[str, Any]], hidden: bool) -> None:
    found = list(without_effect(settings_from({"rules": rules}, require_upstream=False)))
    assert found == ([(("rules", 1), FIRST)] if hidden else [])


def test_what_asks_for_no_match_still_acts() -> None:
    rules = [rule("*"), rule("/a", invalidates="/b")]
    assert list(without_effect(settings_from({"rules": rules}, require_upstream=False))) == [
        (("rules", 1), f"{FIRST}; only its `invalidates` act")
    ]


def test_what_is_switched_off_with_its_rule() -> None:
    of_answers = {"ttl": 60, "override": True, "stale_while_revalidate": 0, "stale_if_error": 5, "refresh_ahead": 0.1}
    of_requests = {"rate_limit": "chat", "concurrency": 4, "invalidates": "/b"}
    rules = [rule("/a", mode="off", negative_ttl={404: 1}, **of_answers, **of_requests), rule("/b", mode="off")]
    found = dict(without_effect(settings_from({"rules": rules}, require_upstream=False)))
    assert list(found) == [("rules", 0, name) for name in (*of_answers, "negative_ttl")]
    assert all("mode: off" in text for text in found.values())


def test_they_are_told_with_their_places(tmp_path: Path) -> None:
    yaml = "rules:\n- {pattern: '*', mode: off, ttl: 5}\n- pattern: /a\n- {pattern: /b, ttl: 7}\n"
    assert [str(warning) for warning in read(tmp_path, yaml).warnings] == [
        f"{FILE}:2:34: rules[0].ttl: can never act: the rule's `mode: off` keeps every answer out of the cache",
        f"{FILE}:3:3: rules[1]: {FIRST}",
        f"{FILE}:4:3: rules[2]: {FIRST}",
    ]


GLOB = st.tuples(st.sampled_from("/*"), st.text("ab/*?", max_size=4)).map("".join)
RULE = st.fixed_dictionaries(
    {"pattern": st.lists(GLOB, min_size=1, max_size=2)},
    optional={
        "methods": st.sampled_from(["GET", "POST", ["GET", "POST"], "HEAD"]),
        "host": st.sampled_from(["*", "a", "?", "a*", "*:8"]),
        "conditions": st.fixed_dictionaries(
            {"headers": st.dictionaries(st.sampled_from("xy"), st.sampled_from(["*", "1", "?", "1*"]), max_size=2)}
        ),
    },
)


@given(st.lists(RULE, min_size=2, max_size=4))
@settings(max_examples=300, deadline=None)
def test_no_request_ever_finds_a_rule_that_is_told_to_be_hidden(rules: list[dict[str, Any]]) -> None:
    made = settings_from({"rules": rules}, require_upstream=False)
    table = RuleTable(*compile_rules(made))
    for steps, text in without_effect(made):
        number = steps[1]
        assert isinstance(number, int)
        found = [table.match(request).name for request in requests(rules[number]["pattern"])]
        assert f"rule-{number + 1}" not in found, text


def requests(patterns: list[str]) -> list[Request]:
    """Requests whose paths fit the patterns, whatever stands for their wildcards."""
    paths = {path for pattern in patterns for path in filled(pattern) if path.startswith("/")}
    heads = [Fields(), *(Fields.of(("x", x), ("y", y)) for x, y in product(("1", "12", ""), ("1", "2")))]
    return [
        Request(method, "http", host, path, fields)
        for method, host, path, fields in product(("GET", "HEAD", "POST"), ("", "a", "b", "ab:8"), paths, heads)
    ]


def filled(pattern: str) -> list[str]:
    stars = ("", "/", "b", "a/b")
    return [
        re.sub(r"[*?]", lambda wild, star=star, one=one: star if wild[0] == "*" else one, pattern)  # type: ignore[misc]
        for star, one in product(stars, "a/")
    ]
