"""The rules' own `tests:` (contract "Rules", features row 205): what is told of each expectation that is not met."""

from typing import Any

import pytest

from proxy.insight.rule_tests import run_rule_tests
from proxy.settings.load import load

NOW = 1_800_000_000.0
RULE: dict[str, Any] = {
    "name": "users",
    "pattern": "*/users/*",
    "host": "*.example.com",
    "ttl": 600,
    "conditions": {"headers": {"x-user-id": "*"}, "statusCodes": [200, 304], "minSize": 1024},
    "key": {"query": {"ignore": ["utm_*"]}},
}
MINE = {"x-user-id": "1"}


def differences(
    request: dict[str, Any], expect: dict[str, Any], *, answer: dict[str, Any] | None = None, **rule: Any
) -> list[str]:
    example = {"request": request, "expect": expect} | ({} if answer is None else {"answer": answer})
    data = {"rules": [RULE | rule | {"tests": [example]}]}
    loaded = load(config=None, flags={}, sets=(), environ={}, cwd=None, data=data, require_upstream=False)
    (trial,) = run_rule_tests(loaded.settings, NOW)
    assert (trial.place, trial.rule) == ("rules[0].tests[0]", "users")
    return list(trial.wrong)


def test_the_example_of_the_documents_holds() -> None:
    request = {"method": "GET", "url": "/api/users/7?utm_source=x", "headers": MINE}
    expect = {"verdict": "MISS", "rule": "users", "ttl": 600, "same_key_as": "/api/users/7"}
    assert differences(request, expect) == []


@pytest.mark.parametrize(
    ("request_", "expect", "answer", "told"),
    [
        pytest.param(
            {"url": "/api/users/7"},
            {"rule": "users"},
            None,
            "rule: wanted users, found none (the request has no header x-user-id)",
            id="another rule",
        ),
        pytest.param(
            {"url": "/api/users/7", "headers": MINE},
            {"verdict": "MISS"},
            {"headers": {"cache-control": "no-store"}},
            "verdict: wanted MISS, found BYPASS (no-store)",
            id="not storable",
        ),
        pytest.param(
            {"url": "/api/users/7", "headers": MINE},
            {"verdict": "MISS"},
            {"body": "small"},
            "verdict: wanted MISS, found BYPASS (min-size: conditions.minSize)",
            id="too small",
        ),
        pytest.param(
            {"url": "/api/users/7", "headers": MINE},
            {"ttl": 600},
            {"headers": {"cache-control": "max-age=5"}},
            "ttl: wanted 600, found 5",
            id="the origin's own lifetime",
        ),
        pytest.param(
            {"url": "/api/users/7", "headers": MINE},
            {"same_key_as": "/api/users/7?page=2"},
            None,
            "same_key_as: the keys differ in query: None here, 'page=2' there",
            id="another key",
        ),
        pytest.param(
            {"url": "https://a.example.com/users/7", "headers": MINE},
            {"same_key_as": "http://a.example.com/users/7"},
            None,
            "same_key_as: the keys differ in scheme: 'https' here, 'http' there",
            id="whole URLs",
        ),
        pytest.param(
            {"url": "/users/7", "headers": {**MINE, "host": "elsewhere.org"}},
            {"rule": "users"},
            None,
            "rule: wanted users, found none (host elsewhere.org does not fit *.example.com)",
            id="a Host of its own",
        ),
    ],
)
def test_what_is_not_met_is_told_with_its_reason(
    request_: dict[str, Any], expect: dict[str, Any], answer: dict[str, Any] | None, told: str
) -> None:
    assert differences(request_, expect, answer=answer) == [told]


@pytest.mark.parametrize(("mode", "reason"), [("off", "rule-off"), ("shadow", "shadow")])
def test_a_rule_that_does_not_cache_is_a_bypass(mode: str, reason: str) -> None:
    request = {"url": "/users/7", "headers": MINE}
    assert differences(request, {"verdict": "BYPASS", "rule": "users"}, mode=mode) == []
    (told,) = differences(request, {"verdict": "MISS"}, mode=mode)
    assert told.startswith(f"verdict: wanted MISS, found BYPASS ({reason}")


def test_a_body_is_part_of_the_key_of_a_post() -> None:
    request = {"method": "POST", "url": "/users/7", "headers": MINE, "body": {"b": 1, "a": [True]}}
    rule: dict[str, Any] = {"methods": ["POST"], "key": {"body": "json"}}
    assert differences(request, {"verdict": "MISS", "same_key_as": "/users/7"}, **rule) == []


def test_a_credential_keeps_the_answer_out() -> None:
    request = {"url": "/users/7", "headers": {**MINE, "authorization": "Bearer x"}}
    assert differences(request, {"verdict": "BYPASS"}) == []
