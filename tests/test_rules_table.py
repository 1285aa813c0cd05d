"""Which rule a request gets: rows 1, 3, 4, 19 and "First match wins" of the contract; fault class "key confusion"."""

import pytest

from proxy.rules import KeySpec, Mode, Rule, RuleTable, Tried
from tests.support.asking import ask

UNMATCHED = Rule(mode=Mode.ORIGIN, key=KeySpec(normal=False))


def table(*rules: Rule) -> RuleTable:
    return RuleTable(rules, UNMATCHED)


def test_first_match_wins_and_nothing_fits_means_unmatched() -> None:
    rules = table(
        Rule(name="users", patterns=("*/users/*",)),
        Rule(name="api", patterns=("/api/*", "/v2/*")),
    )
    assert rules.match(ask("/api/users/7")).name == "users"
    assert rules.match(ask("/api/users")).name == "api"
    assert rules.match(ask("/v2/x?y=1")).name == "api"
    assert rules.match(ask("/users")) is UNMATCHED


def test_a_rule_whose_methods_do_not_fit_is_passed_over() -> None:
    rules = table(
        Rule(name="search", methods=frozenset({"POST"})),
        Rule(name="read", methods=frozenset({"GET"})),
    )
    names = {method: rules.match(ask("/a", method=method)).name for method in ("POST", "GET", "HEAD", "PUT", "get")}
    assert names == {"POST": "search", "GET": "read", "HEAD": "read", "PUT": "", "get": ""}


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("api.example.com", "api.example.com", True),
        ("API.Example.com", "api.example.com", True),
        ("api.example.com", "api.example.com:8080", True),
        ("api.example.com:8080", "api.example.com:8080", True),
        ("api.example.com:8080", "api.example.com", False),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "example.com.evil.net", False),
        ("[::1]", "[::1]:4000", True),
        ("*", "", True),
        ("a", "", False),
    ],
)
def test_host_globs(pattern: str, host: str, fits: bool) -> None:
    assert (table(Rule(name="r", host=pattern)).match(ask(host=host)).name == "r") is fits


def test_header_conditions_want_presence_or_a_value() -> None:
    rules = table(
        Rule(name="beta", request_headers=(("x-user-id", "*"), ("x-ring", "beta-?"))),
        Rule(name="user", request_headers=(("x-user-id", "*"),)),
    )
    assert rules.match(ask("/", ("X-User-Id", "1"), ("X-Ring", "beta-2"))).name == "beta"
    assert rules.match(ask("/", ("X-User-Id", "1"), ("X-Ring", "Beta-2"))).name == "user"
    assert rules.match(ask("/", ("X-USER-ID", ""))).name == "user"
    assert rules.match(ask("/", ("X-Ring", "beta-2"))) is UNMATCHED


def test_methods_and_headers_are_read_in_every_request_of_a_remembered_path() -> None:
    rules = table(Rule(name="user", request_headers=(("x-user-id", "*"),)), Rule(name="all"))
    seen = [rules.match(ask("/same", *fields)).name for fields in ((), (("x-user-id", "1"),), ())]
    assert seen == ["all", "user", "all"]


@pytest.mark.parametrize("target", ["/%75sers/7", "/users%2D7/../users/7", "/caf%c3%a9/users/7"])
def test_patterns_see_the_normal_path(target: str) -> None:
    assert table(Rule(name="u", patterns=("*/users/*",))).match(ask(target)).name == "u"


@pytest.mark.parametrize("path", ["/café/1", "/caf\xc3\xa9/1", "/caf%c3%A9/1"])
def test_patterns_may_be_written_in_plain_letters(path: str) -> None:
    target = path.encode("utf-8").decode("latin-1") if "\xe9" in path else path
    assert table(Rule(name="c", patterns=("/café/*",))).match(ask(target)).name == "c"


@pytest.mark.parametrize(
    "target",
    [
        "/private/x",
        "//private/x",
        "/./private/x",
        "/public/../private/x",
        "/public/..%2fprivate/x",
        "/public/%2e%2E/private/x",
        "/public/%252e%252e/private/x",
        "/public\\..\\private/x",
        "/public/..;v=1/private/x",
        "/private;v=1/x",
        "/%2e/private//x",
        "/private/../public",  # as it came it is private
    ],
)
def test_no_spelling_slips_past_a_rule(target: str) -> None:
    rules = table(Rule(name="never", patterns=("/private/*",), mode=Mode.OFF), Rule(name="all"))
    assert rules.match(ask(target)).name == "never"


def test_every_rule_on_a_path_whatever_its_methods() -> None:
    rules = table(
        Rule(name="write", patterns=("/a/*",), methods=frozenset({"POST"})),
        Rule(name="other", patterns=("/a/*",), host="other"),
        Rule(name="read", patterns=("/a/*",), request_headers=(("x", "*"),)),
    )
    assert [rule.name for rule in rules.on_path(ask("/a/1?q"))] == ["write", "read"]
    assert [rule.name for rule in rules.at("/a/1")] == ["write", "other", "read"]
    assert [rule.name for rule in rules.at("/a/1", "other")] == ["write", "other", "read"]
    assert rules.at("/b") == ()


def test_explain_says_of_each_rule_why_it_was_passed_over() -> None:
    rules = table(
        Rule(name="path", patterns=("/b", "/c/*")),
        Rule(name="host", host="other.example.com"),
        Rule(name="method", methods=frozenset({"GET", "POST"})),
        Rule(name="absent", methods=frozenset({"PUT"}), request_headers=(("x-user-id", "*"),)),
        Rule(name="value", methods=frozenset({"PUT"}), request_headers=(("x-ring", "beta"),)),
        Rule(name="fits", methods=frozenset({"PUT"})),
        Rule(name="later", methods=frozenset({"PUT"})),
    )
    assert rules.tried(ask("/a", ("X-Ring", "stable"), method="PUT")) == (
        Tried("path", False, "path /a does not fit /b or /c/*"),
        Tried("host", False, "host api.example.com does not fit other.example.com"),
        Tried("method", False, "method PUT is not among GET, HEAD, POST"),
        Tried("absent", False, "the request has no header x-user-id"),
        Tried("value", False, "header x-ring does not fit beta"),
        Tried("fits", True, "host, path, method and headers fit"),
    )


def test_a_flood_of_paths_is_forgotten_again() -> None:
    rules = table(Rule(name="all"))
    for number in range(3 * RuleTable._BOUND):
        assert rules.match(ask(f"/{number}")).name == "all"
    rules.match(ask("/" + "a" * 5000))
    assert len(rules._known) <= 2 * RuleTable._BOUND
    assert all(len(path) <= RuleTable._LONG for _, path in rules._known._new)
