"""Rules as the judgement gets them, and rules that cannot be.

Rows 2 to 6, 18, 19, 21, 22, 110 and 127, as far as settings go.
"""

from pathlib import Path
from typing import Any

import pytest

from proxy.errors import ConfigError
from proxy.rules import DEFAULT_STATUSES, BodyKey, KeySpec, Mode, RateLimit, Rule
from proxy.settings import settings_from
from proxy.settings.compile import compile_rules, upstream_id
from proxy.settings.load import load
from proxy.settings.sections import UpstreamSettings
from tests.support.settings_loading import FILE, problems, read

EXAMPLES = sorted((Path(__file__).parent.parent / "config" / "examples").glob("*.yaml"))

CONTRACT = """
upstreams:
  accounts: {url: "http://Accounts.example:80/v1/"}
rules:
  - name: users                  # default: rule-<n>
    pattern: "*/users/*"         # glob on the path; * crosses "/"; ? one character; a list means any of them
    methods: [GET]               # POST allowed: the body is then part of the key (default body: raw)
    host: "api.example.com"      # optional glob
    upstream: accounts           # optional: one of `upstreams`
    namespace: mobile            # optional: part of the key, and purgeable
    ttl: 600                     # seconds, or "10m", "1h30m", or a preset; 0 = revalidate every time
    override: false
    conditions:
      headers: {x-user-id: "*"}  # request must carry it; a header named here is always part of the key
      statusCodes: [200, 304]
      minSize: 1024              # min_size; max_size likewise
    key:
      query: {sort: true, ignore: ["utm_*", "fbclid"], only: []}
      headers: [accept-language]
      cookies: [tenant]          # or: ignore
      credentials: refuse
      body: json
      host: true
    tags: ["users", "user:{path[2]}"]
    stale_while_revalidate: 30
    stale_if_error: 300
    refresh_ahead: 0.1
    negative_ttl: {404: 10}
    invalidates: ["*/users/*"]
    rate_limit: {limit: 30, window: 60, by: client_ip, hits: count}
    concurrency: 64
    client_cache_control: null
    store_private: false
    cost: 0.002
    mode: on
    tests:
      - request: {method: GET, url: "/api/users/7?utm_source=x", headers: {x-user-id: "1"}}
        expect: {verdict: MISS, rule: users, ttl: 600, same_key_as: "/api/users/7"}
"""


def compiled(tmp_path: Path, yaml: str, **sources: Any) -> tuple[tuple[Rule, ...], Rule]:
    return compile_rules(read(tmp_path, yaml, **sources).settings)


def one(tmp_path: Path, rule: str) -> Rule:
    return compiled(tmp_path, f"rules: [{{pattern: /a, {rule}}}]")[0][0]


def test_the_contracts_rule(tmp_path: Path) -> None:
    (rule,), _ = compiled(tmp_path, CONTRACT)
    assert rule == Rule(
        name="users",
        patterns=("*/users/*",),
        methods=frozenset({"GET", "HEAD"}),
        host="api.example.com",
        upstream="accounts",
        upstream_id="accounts.example/v1",
        namespace="mobile",
        ttl=600,
        request_headers=(("x-user-id", "*"),),
        statuses=frozenset({200}),
        min_size=1024,
        key=KeySpec(
            query_ignore=("utm_*", "fbclid"),
            headers=("accept-language", "x-user-id"),
            cookies=("tenant",),
            body=BodyKey("json"),
        ),
        tags=("users", "user:{path[2]}"),
        stale_while_revalidate=30,
        stale_if_error=300,
        refresh_ahead=0.1,
        negative_ttl=((404, 10.0),),
        invalidates=("*/users/*",),
        rate_limit=RateLimit(30, 60),
        concurrency=64,
    )


def test_what_later_parts_read_is_kept(tmp_path: Path) -> None:
    rule = read(tmp_path, CONTRACT).settings.rules[0]
    assert rule.rate_limit is not None
    assert (rule.rate_limit.limit, rule.rate_limit.window, rule.rate_limit.by, rule.rate_limit.hits) == (
        *(30, 60),
        *("client_ip", "count"),
    )
    assert rule.concurrency == 64
    assert rule.cost is not None
    assert (rule.cost.each, rule.cost.json_) == (0.002, None)
    assert rule.tests[0].expect.same_key_as == "/api/users/7"


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    (first, second), _ = compiled(tmp_path, "rules: [{pattern: /a}, {pattern: [/b, '*/c']}]")
    assert (first.name, second.name) == ("rule-1", "rule-2")
    assert first == Rule(name="rule-1", patterns=("/a",))
    assert second.patterns == ("/b", "*/c")


def test_cache_settings_reach_every_rule(tmp_path: Path) -> None:
    yaml = """
    upstream: {url: "https://H.example:8443"}
    cache: {heuristic: off, keep: 1m, stale_if_error: 7, client_directives: all, store_set_cookie: true,
            accept_encoding: preserve, credential_headers: [X-Token]}
    limits: {tags: 3}
    rules: [{pattern: /a}]
    """
    (rule,), unmatched = compiled(tmp_path, yaml)
    for each in (rule, unmatched):
        assert (each.heuristic, each.keep, each.default_stale_if_error) == (False, 60, 7)
        assert (each.client_directives, each.store_set_cookie, each.normalise_encoding) == ("all", True, False)
        assert (each.credential_headers, each.max_tags) == (frozenset({"x-token"}), 3)
        assert each.upstream_id == "h.example:8443"


def test_default_ttl_makes_a_last_rule_and_serves_rules_without_one(tmp_path: Path) -> None:
    yaml = "cache: {default_ttl: 60, methods: [GET, POST]}\nrules: [{pattern: /a}, {pattern: /b, ttl: 0, methods: GET}]"
    (first, second, last), unmatched = compiled(tmp_path, yaml)
    assert (first.ttl, second.ttl, unmatched.ttl) == (60, 0, None)
    assert (last.name, last.patterns, last.ttl) == ("default", ("*",), 60)
    assert first.methods == last.methods == {"GET", "HEAD", "POST"}
    assert first.key.body == last.key.body == BodyKey("raw")
    assert second.methods == {"GET", "HEAD"}


@pytest.mark.parametrize(("word", "mode"), [("origin", Mode.ORIGIN), ("bypass", Mode.BYPASS)])
def test_unmatched_traffic_keeps_its_target(word: str, mode: Mode, tmp_path: Path) -> None:
    rules, unmatched = compiled(tmp_path, f"cache: {{unmatched: {word}}}")
    assert rules == ()
    assert (unmatched.name, unmatched.mode, unmatched.key) == ("", mode, KeySpec(query_sort=False, normal=False))


@pytest.mark.parametrize(
    ("given", "methods", "body"),
    [
        ("methods: [GET]", {"GET", "HEAD"}, "none"),
        ("methods: [HEAD]", {"GET", "HEAD"}, "none"),
        ("methods: post", {"POST"}, "raw"),
        ("methods: 'GET, POST'", {"GET", "HEAD", "POST"}, "raw"),
        ("methods: [POST], key: {body: none}", {"POST"}, "none"),
        ("methods: [POST], key: {body: graphql}", {"POST"}, "graphql"),
        ("methods: [DELETE], mode: off", {"DELETE"}, "none"),
    ],
)
def test_methods_and_bodies(given: str, methods: set[str], body: str, tmp_path: Path) -> None:
    rule = one(tmp_path, given)
    assert (rule.methods, rule.key.body.kind) == (methods, body)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("key: {body: {json: {ignore: [user, 'metadata.*']}}}", BodyKey("json", ("user", "metadata.*"))),
        ("key: {body: {json: {}}}", BodyKey("json")),
        ("key: {body: json}", BodyKey("json")),
    ],
)
def test_body_forms(given: str, wanted: BodyKey, tmp_path: Path) -> None:
    assert one(tmp_path, given).key.body == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("{}", None), ("{cookies: ignore}", ()), ("{cookies: a}", ("a",)), ("{cookies: [a, b]}", ("a", "b"))],
)
def test_cookies(given: str, wanted: object, tmp_path: Path) -> None:
    assert one(tmp_path, f"key: {given}").key.cookies == wanted


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ("on", Mode.ON),
        ("true", Mode.ON),
        ("off", Mode.OFF),
        ("false", Mode.OFF),
        ("no", Mode.OFF),
        ("shadow", Mode.SHADOW),
    ],
)
def test_modes(given: str, mode: Mode, tmp_path: Path) -> None:
    assert one(tmp_path, f"mode: {given}").mode is mode
    data = {"rules": [{"pattern": "/a", "mode": {"true": True, "false": False}.get(given, given)}]}
    from_python = load(config=None, flags={}, sets=(), environ={}, cwd=None, data=data, require_upstream=False)
    assert compile_rules(from_python.settings)[0][0].mode is mode


def test_a_header_that_is_a_condition_is_in_the_key(tmp_path: Path) -> None:
    rule = one(tmp_path, "conditions: {headers: {X-User-Id: '*', Accept: 'text/*'}}, key: {headers: [ACCEPT, x-b]}")
    assert rule.key.headers == ("accept", "x-b", "x-user-id")
    assert rule.request_headers == (("accept", "text/*"), ("x-user-id", "*"))


def test_presets(tmp_path: Path) -> None:
    presets = {"user": 300, "chat": 180, "messages": 120, "documents": 60, "document_stats": 30}
    assert {name: one(tmp_path, f"ttl: {name}").ttl for name in presets} == presets
    limits = {"chat": (20, 60), "auth": (5, 900), "upload": (5, 60), "search": (30, 60)}
    for name, (limit, window) in limits.items():
        assert one(tmp_path, f"rate_limit: {name}").rate_limit == RateLimit(limit, window)


@pytest.mark.parametrize(("window", "seconds"), [("1", 1), ("900", 900), ("15m", 900), ("1.5s", 1.5), ("1d", 86_400)])
def test_windows_of_a_limit(tmp_path: Path, window: str, seconds: float) -> None:
    rate = one(tmp_path, f"rate_limit: {{limit: 7, window: {window}, hits: exempt, by: X-User, on_redis_loss: open}}")
    assert rate.rate_limit == RateLimit(7, seconds, "x-user", "exempt", "open")


def test_statuses(tmp_path: Path) -> None:
    assert one(tmp_path, "ttl: 1").statuses == DEFAULT_STATUSES
    assert one(tmp_path, "conditions: {statusCodes: [200, 404, 304]}").statuses == {200, 404}


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://API.example.com", "api.example.com"),
        ("http://api.example.com:80/", "api.example.com"),
        ("https://api.example.com:443/V1", "api.example.com/V1"),
        ("https://api.example.com:80", "api.example.com:80"),
        ("http://[2001:DB8::1]:8080/b", "[2001:db8::1]:8080/b"),
    ],
)
def test_upstream_ids(url: str, wanted: str) -> None:
    assert upstream_id(UpstreamSettings.model_validate({"url": [url, "http://other"]})) == wanted
    assert upstream_id(UpstreamSettings.model_validate({"url": url, "id": "mine"})) == "mine"


@pytest.mark.parametrize("given", ["key: {headers: [x-user]}", "key: {cookies: sid}", "key: {credentials: key}",
                                   "conditions: {headers: {x-user: '*'}}"])  # fmt: skip
def test_private_answers_with_an_identity(given: str, tmp_path: Path) -> None:
    assert one(tmp_path, f"store_private: true, {given}").store_private


REFUSED = [
    ("store_private: true", ":1:38: rules[0].store_private: would share private answers: name who asks in key.headers"),
    ("store_private: true, key: {cookies: ignore}", ":1:38: rules[0].store_private: would share private answers"),
    ("store_private: true, key: {credentials: ignore}", ":1:38: rules[0].store_private: would share private answers"),
    ("key: {headers: [X-Forwarded-For]}", "rules[0].key.headers: x-forwarded-for is what we tell the origin"),
    ("conditions: {headers: {forwarded: '*'}}", "rules[0].conditions.headers: forwarded is what we tell the origin"),
    ("methods: [PUT]", "rules[0].methods: PUT is never cached: take GET, HEAD, POST, or set `mode: off`"),
    ("methods: []", "rules[0].methods: wants at least one"),
    ("upstream: nobody", "rules[0].upstream: wants one of upstreams (none); found 'nobody'"),
    ("name: ''", "rules[0].name: wants text, not empty"),
    ("host: ''", "rules[0].host: wants text, not empty"),
    ("host: 'http://h'", "rules[0].host: wants a host such as"),
    ("ttl: -1", "rules[0].ttl: wants seconds"),
    ("ttl: users", "did you mean 'user'?"),
    ("refresh_ahead: 2", "rules[0].refresh_ahead: wants a share"),
    ("negative_ttl: {200: 5}", "rules[0].negative_ttl.200: wants a whole number from 400 to 599; found '200'"),
    ("negative_ttl: {404: x}", "rules[0].negative_ttl.404: wants seconds"),
    ("conditions: {statusCodes: [99]}", "rules[0].conditions.status_codes[0]: wants a whole number from 200 to 599"),
    ("conditions: {statusCodes: [304]}", "rules[0].conditions.status_codes: 304 confirms an answer and is none"),
    ("conditions: {minSize: 5, maxSize: 4}", "rules[0].conditions.max_size: wants at least min_size, 5"),
    ("conditions: {headers: {x-a: ''}}", "rules[0].conditions.headers.x-a: wants text, not empty"),
    ("conditions: {headers: {'x a': '*'}}", "rules[0].conditions.headers.x a: wants the name of a header"),
    ("key: {body: xml}", "rules[0].key.body: wants one of none, raw, json, graphql; found 'xml'"),
    ("key: {body: {xml: {}}}", "rules[0].key.body.xml: unknown key"),
    ("key: {body: {json: [a]}}", "rules[0].key.body.json: wants a mapping; found a list"),
    ("key: {cookies: []}", "rules[0].key.cookies: wants the names of cookies, or ignore; found a list"),
    ("key: {credentials: share}", "rules[0].key.credentials: wants one of refuse, key, ignore"),
    ("tags: ['{user}']", "rules[0].tags[0]: knows no {user}"),
    ("tags: ['{path[2]']", "rules[0].tags[0]: wants every brace to be closed"),
    ("invalidates: [users]", "rules[0].invalidates[0]: can match no path"),
    ("invalidates: ['tag:']", "rules[0].invalidates[0]: wants text, not empty"),
    ("rate_limit: chats", "rules[0].rate_limit: wants {limit, window} or a preset"),
    ("rate_limit: {limit: 5}", "rules[0].rate_limit.window: required"),
    ("rate_limit: {limit: 5, window: 2d}", "rules[0].rate_limit.window: wants a window from 1 second to 1 day"),
    ("rate_limit: {limit: 0, window: 1}", "rules[0].rate_limit.limit: wants a whole number, 1 or more"),
    ("rate_limit: {limit: 5, window: 1, hits: free}", "rules[0].rate_limit.hits: wants one of count, exempt"),
    ("rate_limit: {limit: 5, window: 1, by: 'a b'}", "rules[0].rate_limit.by: wants the name of a header"),
    (
        "rate_limit: {limit: 5, window: 1, on_redis_loss: shut}",
        "rules[0].rate_limit.on_redis_loss: wants one of local, open, closed",
    ),
    ("cost: dear", "rules[0].cost.each: wants a number, 0 or more; found 'dear'"),
    ("cost: {json: usage}", "rules[0].cost.each: required"),
    ("mode: shade", "rules[0].mode: wants one of on, off, shadow; found 'shade'"),
    ("tests: [{request: {url: a}, expect: {}}]", "rules[0].tests[0].request.url: wants a path such as"),
    ("tests: [{request: {url: /a}, expect: {verdict: HIT}}]", "expect.verdict: wants one of MISS, BYPASS; found 'HIT'"),
    ("tests: [{expect: {}}]", "rules[0].tests[0].request: required"),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_rules_that_cannot_be(given: str, said: str, tmp_path: Path) -> None:
    found = problems(tmp_path, f"rules: [{{pattern: /a, {given}}}]")
    assert len(found) == 1, found
    assert said in found[0]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("[{}]", "rules[0].pattern: required: a glob on the path"),
        ("[{pattern: []}]", "rules[0].pattern: wants at least one"),
        ("[{pattern: ''}]", "rules[0].pattern: wants text, not empty"),
        ("[{pattern: users/*}]", "did you mean '/users/*' or '*/users/*'?"),
        ("[{pattern: /a, name: a}, {pattern: /b, name: a}]", "rules[1].name: 'a' is the name of rules[0] already"),
        ("[{pattern: /a, name: rule-2}, {pattern: /b}]", "rules[1].name: 'rule-2' is the name of rules[0] already"),
    ],
)
def test_patterns_and_names(rules: str, said: str, tmp_path: Path) -> None:
    found = problems(tmp_path, f"rules: {rules}")
    assert len(found) == 1, found
    assert said in found[0]


def test_the_default_rules_name_is_taken(tmp_path: Path) -> None:
    rules = "rules: [{pattern: /a, name: default}]"
    assert not problems(tmp_path, rules)
    found = problems(tmp_path, rules, environ={"CACHE_TTL": "5"})
    assert found == [
        f"{FILE}:1:29: rules[0].name: 'default' is the name of the rule that cache.default_ttl makes already"
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_load(path: Path, tmp_path: Path) -> None:
    """Each before an API of one's own; what they do is shown where they are started (`test_rows_examples`)."""
    loaded = read(tmp_path, config=str(path), environ={"UPSTREAM_URL": "http://api"}, require_upstream=True)
    rules, _ = compile_rules(loaded.settings)
    assert rules
    assert any(rule.tests for rule in loaded.settings.rules)
    assert loaded.settings.upstream.url == ("http://api",)
    assert [line.place for line in loaded.warnings] == ([f"{path}:6:10"] if path.stem == "development" else [])


def test_the_static_example_says_what_it_is_for(tmp_path: Path) -> None:
    static = next(path for path in EXAMPLES if path.stem == "static")
    (files, content), _ = compile_rules(read(tmp_path, config=str(static)).settings)
    assert (files.ttl, content.ttl) == (86_400, 300)
    assert {path.stem for path in EXAMPLES} == {"ai", "bff", "cdn", "development", "gateway", "static"}


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"tags": ["ok", "user:{pth[2]}"]}, "rules[0].tags[1]"),
        ({"invalidates": ["tag:{authorization}"]}, "rules[0].invalidates[0]"),
        ({"tags": ["{header.authorization}"]}, "rules[0].tags[0]"),
    ],
)
def test_a_tag_template_that_can_never_be_filled_is_told(rule: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings_from({"upstream": {"url": "http://127.0.0.1:1"}, "rules": [{"pattern": "*", "ttl": 1, **rule}]})
    assert place in str(error.value)
