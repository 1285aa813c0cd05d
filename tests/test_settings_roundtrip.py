"""Settings that are written out and read again are the same settings, whatever they were."""

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.settings import Settings, settings_from
from proxy.settings.compile import compile_rules
from proxy.settings.show import as_data
from tests.support.settings_loading import read

WORD = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=("C", "Z")), min_size=1, max_size=12
)
ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8).map(lambda name: f"x-{name}")
SECONDS = st.floats(0.001, 1e6) | st.integers(1, 10**6)
SIZE = st.integers(0, 1 << 40)
GLOB = WORD.map(lambda text: f"/{text}")
SWITCH = st.booleans()


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


RULE = st.fixed_dictionaries(
    {"pattern": GLOB | st.lists(GLOB, min_size=1, max_size=3)},
    optional={
        "methods": st.lists(st.sampled_from(["GET", "HEAD", "POST"]), min_size=1),
        "namespace": ASCII,
        "ttl": SECONDS | st.sampled_from(["user", "10m", "1h30m"]),
        "override": SWITCH,
        "conditions": some(
            headers=st.dictionaries(TOKEN, WORD, max_size=2),
            status_codes=st.lists(st.sampled_from([200, 203, 404]), min_size=1),
            min_size=st.integers(0, 10),
            max_size=st.integers(10, 10**9),
        ),
        "key": some(
            query=some(sort=SWITCH, ignore=st.lists(ASCII.filter(lambda text: "," not in text))),
            headers=st.lists(TOKEN, max_size=2),
            cookies=st.just("ignore") | st.lists(TOKEN, min_size=1, max_size=2),
            credentials=st.sampled_from(["refuse", "key", "ignore"]),
            body=st.sampled_from(["none", "raw", "json", "graphql"])
            | st.lists(TOKEN, max_size=2).map(lambda ignore: {"json": {"ignore": ignore}}),
        ),
        "tags": st.lists(st.sampled_from(["a", "user:{path[2]}", "{query.x y}"])),
        "negative_ttl": st.dictionaries(st.integers(400, 599), SECONDS, max_size=2),
        "rate_limit": st.sampled_from(["chat", "auth"])
        | st.fixed_dictionaries({"limit": st.integers(1, 99), "window": st.integers(1, 86400)}),
        "cost": st.floats(0, 9) | st.fixed_dictionaries({"each": st.floats(0, 9), "json": WORD}),
        "mode": st.sampled_from(["on", "off", "shadow", True, False]),
        "tests": st.lists(
            st.fixed_dictionaries(
                {
                    "request": st.fixed_dictionaries(
                        {"url": st.just("/a")},
                        optional={"body": st.recursive(st.integers() | WORD | st.none(), st.lists)},
                    ),
                    "expect": some(verdict=st.sampled_from(["MISS", "BYPASS"]), ttl=SECONDS),
                }
            ),
            max_size=1,
        ),
    },
)

SETTINGS = some(
    upstream=some(
        url=st.just("http://main") | st.just(["https://a:1/b", "https://c/b"]),
        headers=st.dictionaries(TOKEN, WORD.filter(lambda text: max(text) <= "\xff"), max_size=2),
        retry_budget=st.floats(0, 1) | st.just("20%"),
        health_check=st.fixed_dictionaries({"path": GLOB.filter(str.isascii)}, optional={"interval": SECONDS}),
        breaker=some(window=SECONDS, consecutive=st.integers(1, 9)),
    ),
    upstreams=st.dictionaries(
        TOKEN,
        st.fixed_dictionaries({"url": ASCII.filter(str.isalnum).map(lambda host: f"http://{host}.example:99")}),
        max_size=1,
    ),
    listen=some(port=st.integers(0, 3999), trusted_proxies=st.lists(st.ip_addresses().map(str), max_size=3)),
    admin=some(
        token=ASCII.map(lambda text: text.ljust(8, "-")) | st.just("none"), metrics=st.sampled_from(["token", "open"])
    ),
    cache=some(default_ttl=SECONDS, methods=st.just("GET,POST"), heuristic=SWITCH),
    memory=some(max_bytes=SIZE, ttl=SECONDS, eviction=st.sampled_from(["s3fifo", "lru", "fifo"])),
    file=some(enabled=SWITCH, dir=WORD),
    redis=some(password=WORD, username=WORD, url=st.just("redis://u:p@h/0"), enabled=SWITCH | st.just("auto")),
    log=some(redact_query=st.lists(st.sampled_from(["a", "token", "é"]))),
    rules=st.lists(RULE, max_size=3),
)


def yaml_text(data: object) -> str:
    """YAML in which `${` stands for itself."""
    return yaml.safe_dump(data, allow_unicode=True).replace("${", "$${")


@given(SETTINGS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_and_read_again(tmp_path: Path, data: dict[str, Any]) -> None:
    from_python = settings_from(data, require_upstream=False)
    written = as_data(from_python, reveal=True)
    again = read(tmp_path, yaml_text(written)).settings
    assert again == from_python
    assert as_data(again, reveal=True) == written
    assert compile_rules(again) == compile_rules(from_python)
    assert settings_from(written, require_upstream=False) == from_python
    assert read(tmp_path, yaml_text(data)).settings == from_python


def test_the_defaults_too(tmp_path: Path) -> None:
    assert read(tmp_path, yaml_text(as_data(Settings(), reveal=True))).settings == Settings()
