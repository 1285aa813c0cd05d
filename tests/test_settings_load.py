"""Precedence, places of problems, and all problems at once. Rows 72 to 75 and 78 (what can be read wrongly)."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import ConfigError
from proxy.settings import Settings, settings_from
from proxy.settings.compile import compile_rules
from proxy.settings.load import load
from proxy.settings.show import show
from tests.support.settings_loading import FILE, problems, read

# Each layer, nearest last, saying the same setting; whatever set of them speaks, the nearest one is heard.
LAYERS: list[tuple[str, dict[str, Any], float, str]] = [
    ("yaml", {"yaml": "cache:\n  default_ttl: 1\n"}, 1, f"{FILE}:2:16"),
    ("dotenv", {"dotenv": "OTHER=x\nCACHE_TTL=2\n"}, 2, ".env:2 CACHE_TTL"),
    ("environment", {"environ": {"CACHE_TTL": "3"}}, 3, "environment CACHE_TTL"),
    ("flag", {"flags": {"cache.default_ttl": "4"}}, 4, "flag --cache-ttl"),
]


@pytest.mark.parametrize("which", range(16))
def test_the_nearest_source_is_heard(which: int, tmp_path: Path) -> None:
    speaking = [layer for n, layer in enumerate(LAYERS) if which & 1 << n]
    loaded = read(tmp_path, **{name: value for _, source, _, _ in speaking for name, value in source.items()})
    _, _, wanted, source = speaking[-1] if speaking else ("", {}, None, "default")
    assert (loaded.settings.cache.default_ttl, loaded.sources["cache.default_ttl"]) == (wanted, source)


def test_sources_do_not_shadow_their_neighbours(tmp_path: Path) -> None:
    loaded = read(
        tmp_path,
        """
        redis: {host: a, port: 1, db: 2}
        upstreams:
          accounts: {url: "http://a", max_queue: 5}
        """,
        environ={"REDIS_PORT": "7", "CACHEGATE__UPSTREAMS__ACCOUNTS__MAX_QUEUE": "6"},
        sets=["redis.db=3", "memory.ttl=5"],
    )
    redis, accounts = loaded.settings.redis, loaded.settings.upstreams["accounts"]
    assert (redis.host, redis.port, redis.db, loaded.settings.memory.ttl) == ("a", 7, 3, 5)
    assert (accounts.url, accounts.max_queue) == (("http://a",), 6)
    assert loaded.sources["upstreams.accounts.url"] == f"{FILE}:3:19"
    assert loaded.sources["redis.db"] == "flag --set redis.db"


def test_a_nearer_source_can_take_a_setting_back(tmp_path: Path) -> None:
    yaml = "memory: {ttl: 5}\nupstream: {health_check: {path: /h}}\n"
    assert read(tmp_path, yaml, sets=["memory.ttl=null"]).settings.memory.ttl is None
    assert read(tmp_path, yaml, sets=["upstream.health_check=~"]).settings.upstream.health_check is None
    check = read(tmp_path, yaml, sets=["upstream.health_check.interval=1m"]).settings.upstream.health_check
    assert check is not None
    assert (check.path, check.interval) == ("/h", 60)


@pytest.mark.parametrize(
    ("sources", "wanted"),
    [
        ({}, None),
        ({"config": "other.yaml"}, 7),
        ({"environ": {"CONFIG_FILE": "other.yaml"}}, 7),
        ({"dotenv": "CONFIG_FILE=other.yaml"}, 7),
        ({"environ": {"CONFIG_FILE": ""}}, None),
    ],
)
def test_the_file_may_be_another(sources: dict[str, Any], wanted: float | None, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("cache: {default_ttl: 7}")
    assert read(tmp_path, **sources).settings.cache.default_ttl == wanted


def test_variables_in_yaml_come_from_both_environments(tmp_path: Path) -> None:
    yaml = "redis: {password: '${REDIS_SECRET}', host: '${HOST_OF_REDIS}', port: '${P:-6380}'}\n"
    loaded = read(tmp_path, yaml, dotenv="REDIS_SECRET=from-file\nHOST_OF_REDIS=h", environ={"REDIS_SECRET": "s:$x"})
    redis = loaded.settings.redis
    assert redis.password is not None
    assert (redis.password.get_secret_value(), redis.host, redis.port) == ("s:$x", "h", 6380)


def test_variables_hold_no_references(tmp_path: Path) -> None:
    loaded = read(tmp_path, environ={"REDIS_PASSWORD": "a${b}"}, sets=["redis.username=${c}"])
    assert loaded.settings.redis.username == "${c}"
    assert loaded.settings.redis.password is not None
    assert loaded.settings.redis.password.get_secret_value() == "a${b}"


def test_other_programs_lines_in_dotenv_matter_only_where_they_are_asked_for(tmp_path: Path) -> None:
    dotenv = "THEIRS=${NOPE}\n"
    assert not problems(tmp_path, dotenv=dotenv)
    assert problems(tmp_path, "listen: {host: '${THEIRS}'}") == [
        f"{FILE}:1:16: listen.host: ${{THEIRS}} is not set: set THEIRS, or write ${{THEIRS:-default}}"
    ]


RULES = [{"pattern": "*/users/*", "ttl": 600, "conditions": {"minSize": 5}}, {"pattern": ["/a", "/b"], "mode": "off"}]


def test_rules_are_the_same_from_every_source(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    (tmp_path / "rules.yaml").write_text("rules:\n- pattern: '*/users/*'\n  ttl: 10m\n  conditions: {min_size: 5}\n"
                                         "- {pattern: [/a, /b], mode: off}\n")  # fmt: skip
    ways: list[dict[str, Any]] = [
        {"config": "rules.yaml"},
        {"environ": {"CACHE_RULES": json.dumps(RULES)}},
        {"environ": {"CACHEGATE__RULES": json.dumps(RULES, indent=1)}},
        {"dotenv": f"CACHE_RULES='{json.dumps(RULES)}'"},
        {"flags": {"rules": json.dumps(RULES)}},
        {"flags": {"rules": "rules.json"}},
        {"flags": {"rules": "rules.yaml"}},
        {"sets": [f"rules={json.dumps(RULES)}"]},
        {"environ": {"R": json.dumps(RULES)}, "yaml": "rules: ${R}\n"},
    ]
    compiled = []
    for way in ways:
        compiled.append(compile_rules(read(tmp_path, **way).settings))
        for left in (".env", FILE):
            (tmp_path / left).unlink(missing_ok=True)
    assert len({repr(rules) for rules in compiled}) == 1
    assert [rule.ttl for rule in compiled[0][0]] == [600, None]


ONE_PROBLEM: list[tuple[dict[str, Any], str]] = [
    # the contract's own two
    (
        {"yaml": "\n\n\nrules:\n  -\n    patern: /a\n"},
        f"{FILE}:5:5: rules[0].patern: unknown key; did you mean 'pattern'?",
    ),
    ({"environ": {"CACHE_TTL": "x"}}, "CACHE_TTL (environment): wants seconds, a time such as 10m or a preset"),
    # each source has its place
    ({"dotenv": "A=1\nPORT=x"}, "PORT (.env:2): wants a whole number from 0 to 65535; found 'x'"),
    ({"flags": {"listen.port": "x"}}, "--port (flag): wants a whole number from 0 to 65535; found 'x'"),
    ({"sets": ["redis.pool=x"]}, "--set redis.pool (flag): wants a whole number, 1 or more; found 'x'"),
    ({"environ": {"CACHEGATE__REDIS__POOL": "x"}}, "CACHEGATE__REDIS__POOL (environment): wants a whole number"),
    ({"flags": {"memory.eviction": "x", "file.eviction": "x"}}, "--cache-eviction (flag): wants one of s3fifo, lru, f"),
    ({"environ": {"CACHE_EVICTION": "x"}}, "CACHE_EVICTION (environment): wants one of s3fifo, lru, fifo; found 'x'"),
    ({"yaml": "memory:\n  max_entries: x\n"}, f"{FILE}:2:16: memory.max_entries: wants a whole number, 0 or more"),
    # unknown names, at every level
    ({"yaml": "memroy: {}\n"}, f"{FILE}:1:1: memroy: unknown key; did you mean 'memory'?"),
    ({"yaml": "x: 1\n"}, f"{FILE}:1:1: x: unknown key"),
    (
        {"yaml": "upstream: {breaker: {window_: 1}}"},
        f"{FILE}:1:22: upstream.breaker.window_: unknown key; did you mean",
    ),
    (
        {"yaml": "cache: {max_entries: 1}"},
        f"{FILE}:1:9: cache.max_entries: unknown key; did you mean 'memory.max_entri",
    ),
    ({"yaml": "cache: {rules: []}"}, f"{FILE}:1:9: cache.rules: rules stand at the top level of the file"),
    ({"yaml": "upstreams: {a: {url: 'http://a', ulr: x}}"}, f"{FILE}:1:34: upstreams.a.ulr: unknown key; did you mean"),
    ({"environ": {"CACHEGATE__CACH__KEEP": "1"}}, "CACHEGATE__CACH__KEEP (environment): cach: unknown key; did you"),
    ({"sets": ["cach.keep=1"]}, "--set cach.keep (flag): cach: unknown key; did you mean 'cache'?"),
    # JSON
    (
        {"environ": {"CACHE_RULES": '[{"pattern": "/a",}]'}},
        "CACHE_RULES (environment): not valid JSON at line 1 column",
    ),
    (
        {"environ": {"CACHE_RULES": '[\n{"pattern" "/a"}]'}},
        "CACHE_RULES (environment): not valid JSON at line 2 column",
    ),
    ({"flags": {"rules": "[1"}}, "--cache-rules (flag): not valid JSON at line 1 column 3: Expecting ',' delimiter"),
    ({"environ": {"CACHE_RULES": '[{"ttl": 1, "ttl": 2}]'}}, "CACHE_RULES (environment): the JSON gives 'ttl' twice"),
    ({"environ": {"CACHE_RULES": '[{"ttl": 1}]'}}, "CACHE_RULES (environment): rules[0].pattern: required"),
    ({"environ": {"CACHE_RULES": "x"}}, "CACHE_RULES (environment): wants a list; found text"),
    ({"environ": {"CACHE_RULES": '{"rules": []}'}}, "CACHE_RULES (environment): wants a list; found a mapping"),
    ({"environ": {"CACHE_RULES": "[" * 100_000}}, "CACHE_RULES (environment): not usable JSON: nested deeper"),
    ({"flags": {"rules": "no.yaml"}}, "--cache-rules (flag): cannot read no.yaml: No such file or directory"),
    # wrong kinds
    ({"yaml": "memory: 5"}, f"{FILE}:1:9: memory: wants a mapping; found text"),
    ({"yaml": "memory: [5]"}, f"{FILE}:1:9: memory: wants a mapping; found a list"),
    ({"yaml": "listen: {host: [a]}"}, f"{FILE}:1:16: listen.host: wants text; found a list"),
    ({"yaml": "rules: {a: 1}"}, f"{FILE}:1:8: rules: wants a list; found a mapping"),
    ({"yaml": "rules: [5]"}, f"{FILE}:1:9: rules[0]: wants a mapping; found text"),
    (
        {"yaml": "cache: {unmatched: orign}"},
        f"{FILE}:1:20: cache.unmatched: wants one of origin, bypass; found 'orign'; d",
    ),
    # values that belong together
    ({"yaml": "listen: {tls_cert: c.pem}"}, f"{FILE}:1:20: listen.tls_cert: wants listen.tls_key beside it"),
    ({"yaml": "redis: {mode: cluster, db: 1}"}, f"{FILE}:1:28: redis.db: a Redis cluster has only db 0; found 1"),
    ({"yaml": "redis: {url: 'redis+cluster://h', db: 1}"}, f"{FILE}:1:39: redis.db: a Redis cluster has only db 0"),
    ({"yaml": "admin: {port: 4000}"}, f"{FILE}:1:15: admin.port: 4000 is listen.port already"),
    ({"yaml": "upstreams: {main: {url: 'http://m'}}"}, f"{FILE}:1:25: upstreams.main.url: 'main' is what"),
    ({"yaml": "upstreams: {a: {}}"}, f"{FILE}:1:16: upstreams.a.url: required: the address of the service"),
    (
        {"yaml": "upstream: {url: 'http://h'}\nupstreams: {a: {url: 'https://h'}}"},
        "upstreams.a.id: 'h' is another servic",
    ),
    (
        {"yaml": "upstream: {first_byte_timeout: 3, breaker: {slow_call_duration: 3}}"},
        f"{FILE}:1:65: upstream.breaker.slow_call_duration: wants less than first_byte_timeout, 3 seconds",
    ),
    ({"yaml": "upstream: {url: ['http://h/a', 'http://h/b']}"}, f"{FILE}:1:17: upstream.url: replicas of one service"),
    ({"yaml": "upstream: {health_check: {interval: 5}}"}, "upstream.health_check.path: required"),
    # two names of one setting
    (
        {"environ": {"ENABLE_REDIS": "true", "REDIS_ENABLED": "false"}},
        "REDIS_ENABLED (environment): disagrees with ENABLE",
    ),
    (
        {"environ": {"CACHE_TTL": "1", "CACHEGATE__CACHE__DEFAULT_TTL": "2"}},
        "CACHEGATE__CACHE__DEFAULT_TTL (environment): ",
    ),
    (
        {"flags": {"cache.default_ttl": "1"}, "sets": ["cache.default_ttl=2"]},
        "--set cache.default_ttl (flag): disagrees ",
    ),
    (
        {"dotenv": "ENABLE_REDIS=1\nREDIS_ENABLED=0"},
        "REDIS_ENABLED (.env:2): disagrees with ENABLE_REDIS, another name of",
    ),
    (
        {"yaml": "memory: {max_entries: 1, maxEntries: 2}"},
        f"{FILE}:1:26: memory.max_entries: given twice, as 'max_entri",
    ),
    # assignments
    ({"sets": ["nothing"]}, "--set (flag): wants path=value, such as memory.max_bytes=1GiB"),
    ({"sets": ["upstream.headers.a=1"]}, "--set upstream.headers.a (flag): upstream.headers is one setting"),
    ({"sets": ["redis.host=[a"]}, "--set redis.host (flag): not valid YAML"),
    ({"dotenv": "what\n"}, ".env:1: wants NAME=value"),
    ({"dotenv": "REDIS_HOST=${NOPE}"}, "REDIS_HOST (.env:1): ${NOPE} is not set: set NOPE, or write ${NOPE:-default}"),
    ({"yaml": "upstream: {url: ['${NOPE}']}"}, f"{FILE}:1:18: upstream.url[0]: ${{NOPE}} is not set"),
]


@pytest.mark.parametrize(("sources", "said"), ONE_PROBLEM, ids=lambda value: value if isinstance(value, str) else "")
def test_one_mistake_is_one_problem_at_its_place(sources: dict[str, Any], said: str, tmp_path: Path) -> None:
    found = problems(tmp_path, **sources)
    assert len(found) == 1, found
    assert found[0].startswith(said), found[0]


def test_all_problems_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        upstream: {url: nowhere}
        redis: {password: '${NOPE}', db: x}
        log:
          levle: info
        rules:
          - {name: a, pattern: /a, ttl: soon}
          - {name: a, pattern: /b, upstream: nobody}
        """,
        dotenv="WORKERS=none",
        environ={"PORT": "http"},
        flags={"cache.default_ttl": "x"},
        sets=["memory.max_bytes=lots"],
        require_upstream=True,
    )
    places = sorted(line.rpartition(": wants")[0] or line.split(": ")[0] for line in found)
    assert places == sorted([
        f"{FILE}:1:17: upstream.url",
        f"{FILE}:2:19",
        f"{FILE}:2:34: redis.db",
        f"{FILE}:4:3",
        f"{FILE}:6:33: rules[0].ttl",
        f"{FILE}:7:12",
        f"{FILE}:7:38: rules[1].upstream",
        "WORKERS (.env:1)",
        "PORT (environment)",
        "--cache-ttl (flag)",
        "--set memory.max_bytes (flag)",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("sources", "missed"),
    [
        ({}, True),
        ({"yaml": "upstream:\n"}, True),
        ({"flags": {"upstream.url": "http://h"}}, False),
        ({"environ": {"UPSTREAM_URL": ""}}, True),
        ({"yaml": "upstream: {ulr: 'http://h'}"}, False),  # said as an unknown key already
        ({"yaml": "upstrem: {url: 'http://h'}"}, False),
        ({"yaml": "upstream: [\n"}, False),
    ],
)
def test_serving_wants_an_upstream(sources: dict[str, Any], missed: bool, tmp_path: Path) -> None:
    found = problems(tmp_path, require_upstream=True, **sources)
    assert any("upstream.url: required" in line for line in found) == missed
    assert len(found) <= 1


@pytest.mark.parametrize(
    ("sources", "wanted", "because"),
    [
        ({}, False, "default"),
        ({"environ": {"REDIS_HOST": "h"}}, True, "auto, by redis.host (environment REDIS_HOST)"),
        (
            {"environ": {"REDIS_HOST": "h", "REDIS_ENABLED": "auto"}},
            True,
            "auto, by redis.host (environment REDIS_HOST)",
        ),
        ({"environ": {"REDIS_HOST": "h", "REDIS_ENABLED": "false"}}, False, "environment REDIS_ENABLED"),
        (
            {"environ": {"REDIS_HOST": "h", "ENABLE_REDIS": "0", "REDIS_ENABLED": "no"}},
            False,
            "environment REDIS_ENABLED",
        ),
        ({"environ": {"REDIS_PASSWORD": "", "REDIS_USERNAME": ""}}, False, "default"),
        ({"environ": {"REDIS_HOST": "", "REDIS_ENABLED": ""}}, False, "default"),
        ({"environ": {"REDIS_PORT": "tcp://10.0.0.9:6379"}}, False, "default"),
        ({"yaml": "redis:\n"}, False, "default"),
        ({"yaml": "redis: {enabled: auto}"}, False, f"{FILE}:1:18"),
        ({"yaml": "redis: {pool: 5}"}, True, f"auto, by redis.pool ({FILE}:1:15)"),
        ({"flags": {"redis.enabled": True}}, True, "flag --enable-redis"),
        ({"flags": {"redis.enabled": True}, "environ": {"REDIS_ENABLED": "false"}}, True, "flag --enable-redis"),
    ],
)
def test_redis_is_on_when_it_is_spoken_of(sources: dict[str, Any], wanted: bool, because: str, tmp_path: Path) -> None:
    loaded = read(tmp_path, **sources)
    assert (loaded.settings.redis.enabled, loaded.sources["redis.enabled"]) == (wanted, because)


def test_an_empty_password_is_none_and_beats_another(tmp_path: Path) -> None:
    yaml = "redis: {password: secret, username: ''}\n"
    assert read(tmp_path, yaml, environ={"REDIS_PASSWORD": ""}).settings.redis.password is None
    assert read(tmp_path, yaml).settings.redis.username is None


def test_a_rule_that_is_none_hides_no_mistake_of_the_others(tmp_path: Path) -> None:
    rules = [
        "{pattern: /a, upstream: nope}",
        "x",
        "{ttl: 5}",
        "{pattern: /a, store_private: true}",
        *(f"{{pattern: /{n}, ttl: 1, store_private: true}}" for n in range(7)),
    ]
    yaml = "rules:\n" + "".join(f"- {rule}\n" for rule in rules)
    said = problems(tmp_path, yaml)
    assert f"{FILE}:3:3: rules[1]: wants a mapping; found text" in said
    others = [line.partition("rules[")[2].partition("]")[0] for line in said]
    assert sorted(others, key=int) == ["0", *map(str, range(1, 11))]


def test_a_number_beyond_64_bits_that_no_setting_bounds_is_shown_as_text(tmp_path: Path) -> None:
    loaded = read(tmp_path, f"file: {{store: 'a:B', options: {{big: {2**70}}}}}")
    assert loaded.settings.file.options == {"big": 2**70}
    assert show(loaded)["settings"]["file"]["options"] == {"big": str(2**70)}


def test_a_problem_is_one_line_whatever_it_quotes(tmp_path: Path) -> None:
    yaml = 'rules:\n- {pattern: /a, client_cache_control: "a\\nb", "x\\e[2Jy": 1}\nupstreams: {"a\\tb": {}}\n'
    said = problems(tmp_path, yaml, config="a\nb.yaml", environ={"CACHE_TTL": "1\r2"})
    said += problems(tmp_path, yaml, environ={"CACHE_TTL": "1\r2"})
    assert len(said) >= 5
    assert [line for line in said if not line.isprintable()] == []
    assert any(line.endswith("found 'a\\nb'") for line in said)


def test_a_directory_that_cannot_be_looked_into_is_a_problem(tmp_path: Path) -> None:
    """Too long a path stands in for one without the right to look, which root always has."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / ("x" * 5000))
    assert str(caught.value).splitlines() == [f"{name}: cannot be read: File name too long" for name in (".env", FILE)]


def test_what_is_found_from_outside_is_told_with_the_rest_at_its_place(tmp_path: Path) -> None:
    def found(settings: Settings) -> list[tuple[tuple[str | int, ...], str]]:
        return [(("listen", "host"), f"no {settings.listen.host}"), (("memory", "max_bytes"), "wrong anyway")]

    (tmp_path / "config").mkdir()
    (tmp_path / FILE).write_text("listen:\n  host: here\nmemory: {max_bytes: much}\n")
    with pytest.raises(ConfigError) as caught:
        load(config=None, flags={}, sets=(), environ={}, cwd=tmp_path, require_upstream=True, also=found)
    said = [str(problem) for problem in caught.value.problems]
    assert [line.partition(": ")[0] for line in said] == [f"{FILE}:3:21", "upstream.url", f"{FILE}:2:9"]
    assert said[-1] == f"{FILE}:2:9: listen.host: no here"


def test_what_kubernetes_injects_is_ignored_with_a_line(tmp_path: Path) -> None:
    loaded = read(tmp_path, environ={"REDIS_PORT": "tcp://10.0.0.9:6379", "ADMIN_PORT": "tcp://10.0.0.9:80"})
    assert (loaded.settings.redis.port, loaded.settings.admin.port) == (6379, None)
    assert [str(warning) for warning in loaded.warnings] == [
        f"{name} (environment): ignored: Kubernetes sets this name to the address of a service"
        for name in ("REDIS_PORT", "ADMIN_PORT")
    ]


@pytest.mark.parametrize(
    ("ttl", "meant"),
    [
        ("3600000", "3600"),
        ("1800000", "1800"),
        ("86400000", "86400"),
        ("5000000", "5000"),
        ("31536000", None),  # a year
        ("2592000", None),  # thirty days
        ("604800", None),
        ("1000000.5", None),
        ("100d", None),
        ("999000", None),
    ],
)
def test_a_ttl_in_milliseconds_is_warned_of(ttl: str, meant: str | None, tmp_path: Path) -> None:
    yaml = f"cache:\n  default_ttl: {ttl}\nrules:\n- pattern: /a\n  ttl: {ttl}\n  negative_ttl:\n    404: {ttl}\n"
    said = [str(warning) for warning in read(tmp_path, yaml).warnings]
    places = ("2:16: cache.default_ttl", "5:8: rules[0].ttl", "7:10: rules[0].negative_ttl.404") if meant else ()
    for line, place in zip(said, places, strict=True):
        assert line.startswith(f"{FILE}:{place}: {ttl} seconds are ")
        assert line.endswith(f"were {meant} seconds meant?")


def test_warnings_have_their_places(tmp_path: Path) -> None:
    yaml = """
    upstream: {verify_tls: off}
    admin: {token: none, metrics: open}
    rules: [{pattern: /a, key: {credentials: ignore}}]
    """
    assert [str(warning).split(": ")[:2] for warning in read(tmp_path, yaml).warnings] == [
        [f"{FILE}:2:16", "admin.token"],
        [f"{FILE}:2:31", "admin.metrics"],
        [f"{FILE}:1:24", "upstream.verify_tls"],
        [f"{FILE}:3:42", "rules[0].key.credentials"],
    ]


@pytest.mark.parametrize(
    ("rule", "cached", "warned"),
    [
        ("methods: [POST], key: {body: none}", "", True),
        ("key: {body: none}", "cache: {methods: [GET, POST]}", True),
        ("methods: [POST], key: {body: json}", "", False),
        ("methods: [POST]", "", False),
        ("key: {body: none}", "", False),
        ("methods: [POST], key: {body: none}, mode: off", "", False),
    ],
)
def test_one_answer_for_every_post_is_warned_of(rule: str, cached: str, *, warned: bool, tmp_path: Path) -> None:
    said = [str(warning) for warning in read(tmp_path, f"rules: [{{pattern: /a, {rule}}}]\n{cached}").warnings]
    told = [line for line in said if "rules[0].key.body: every POST to a URL gets the same answer" in line]
    assert len(told) == warned, said


def test_limits_that_clients_evade_or_that_cannot_act(tmp_path: Path) -> None:
    rate = "{limit: 5, window: 60, by: X-Forwarded-For, on_redis_loss: closed, hits: exempt}"
    yaml = f"rules: [{{pattern: /a, mode: off, rate_limit: {rate}}}]"
    said = [str(warning).split(": ")[1:] for warning in read(tmp_path, yaml).warnings]
    assert [(name.rpartition(".")[2], text.split(" ")[0]) for name, text, *_ in said] == [
        ("by", "any"),
        ("on_redis_loss", "has"),
        ("hits", "can"),
    ]
    assert len(read(tmp_path, f"{yaml}\nredis: {{enabled: true}}").warnings) == 2


def test_the_token_lies_in_the_cache_directory(tmp_path: Path) -> None:
    assert read(tmp_path, environ={"CACHE_DIR": "/var/c"}).settings.admin.token_file == Path("/var/c/admin.token")
    both = read(tmp_path, environ={"CACHE_DIR": "/var/c"}, sets=["admin.token_file=t"])
    assert both.settings.admin.token_file == Path("t")


def test_camel_case_is_taken_and_names_of_others_are_left_alone(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        upstream: {url: "http://h", preserveHost: true, headers: {X-Api-Key: k}}
        upstreams: {myService: {url: "http://m", healthCheck: {path: /h}}}
        rules: [{pattern: /a, upstream: myService, staleWhileRevalidate: 5, conditions: {headers: {X-User-Id: "*"}}}]
        """,
    ).settings
    assert settings.upstream.preserve_host
    assert [*settings.upstream.headers] == ["x-api-key"]
    assert settings.upstreams["myService"].health_check is not None
    assert settings.rules[0].stale_while_revalidate == 5
    assert [*settings.rules[0].conditions.headers] == ["x-user-id"]


def test_settings_from_python(tmp_path: Path) -> None:
    data = {"upstream": {"url": "http://h"}, "cache": {"defaultTtl": 5}, "rules": [{"pattern": "/a", "ttl": "user"}]}
    settings = settings_from(data)
    assert (settings.cache.default_ttl, settings.rules[0].ttl) == (5, 300)
    assert settings_from(settings) is settings
    (tmp_path / "c.yaml").write_text("upstream: {url: 'http://h'}\n")
    assert settings_from(tmp_path / "c.yaml").upstream.url == ("http://h",)
    assert settings_from(str(tmp_path / "c.yaml")).upstream.url == ("http://h",)
    with pytest.raises(ConfigError, match=r"settings: rules\[0\].patern: unknown key; did you mean 'pattern'?"):
        settings_from({"upstream": {"url": "http://h"}, "rules": [{"patern": "/a"}]})
    with pytest.raises(ConfigError, match=r"upstream\.url: required"):
        settings_from(Settings())


def test_python_data_stands_alone() -> None:
    loaded = load(config=None, flags={}, sets=(), environ={}, cwd=None, data={}, require_upstream=False)
    assert loaded.settings == Settings()
    assert {*loaded.sources.values()} == {"default"}
