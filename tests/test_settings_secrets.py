"""A secret planted everywhere appears in no error, warning, page, repr or log of the settings. Rows 72 and 107."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.errors import ConfigError
from proxy.settings import Settings
from proxy.settings.load import Loaded
from proxy.settings.show import show
from tests.support.settings_loading import FILE, read

SECRET = "hunter22"

VALID: list[dict[str, Any]] = [
    {"yaml": f"redis: {{password: {SECRET}}}"},
    {"yaml": "redis: {password: '${P}'}", "environ": {"P": SECRET}},
    {"yaml": "redis: {password: '${P:-hunter22}'}"},
    {"dotenv": f"REDIS_PASSWORD={SECRET}"},
    {"environ": {"REDIS_PASSWORD": SECRET}},
    {"environ": {"CACHEGATE__REDIS__PASSWORD": SECRET}},
    {"flags": {"redis.password": SECRET}},
    {"sets": [f"redis.password={SECRET}"]},
    {"environ": {"REDIS_URL": f"rediss://user:{SECRET}@h:6379/0"}},
    {"environ": {"REDIS_URL": f"redis://:pa%3F{SECRET}@h"}},
    {"environ": {"REDIS_URL": f"redis+sentinel://h/s?sentinel_password=a@{SECRET}"}},
    {"environ": {"ADMIN_TOKEN": SECRET}},
    {"yaml": f"upstream: {{headers: {{authorization: 'Bearer {SECRET}', x-any: {SECRET}}}}}"},
    {"yaml": f"upstreams: {{a: {{url: 'http://h', headers: {{x-api-key: {SECRET}}}}}}}"},
    {"environ": {"CACHEGATE__UPSTREAM__HEADERS": f'{{"x-api-key": "{SECRET}"}}'}},
    {"yaml": f"rules: [{{pattern: /a, conditions: {{headers: {{X-Api-Key: {SECRET}}}}}}}]"},
    {"yaml": "rules: [{pattern: /a, tests: [{request: {url: /a, headers: {cookie: hunter22}}, expect: {}}]}]"},
    {"yaml": f"file: {{store: 'a:B', options: {{dsn: 'db://u:{SECRET}@h', deep: [{{any: {SECRET}}}]}}}}"},
    *(
        {"yaml": f"rules: [{{pattern: /a, conditions: {{headers: {{{name}: {SECRET}}}}}}}]"}
        for name in ("x-internal-token", "X-Secret", "x-access-key", "x-auth", "x-user-password")
    ),
    {
        "yaml": f"rules: [{{tests: [{{request: {{url: /, body: {{a: [{{apiKey: {SECRET}}}]}}}}, expect: {{}}}}],"
        " pattern: /}]"
    },
    {
        "yaml": f"rules: [{{tests: [{{answer: {{headers: {{set-cookie: {SECRET}}}}}, request: {{url: /}},"
        " expect: {}}], pattern: /}]"
    },
]

WRONG: list[dict[str, Any]] = [
    # next to other mistakes
    {"yaml": f"redis: {{password: {SECRET}, prot: 1}}"},
    {"yaml": f"redis: {{pasword: {SECRET}}}"},
    {"sets": [f"redis.pasword={SECRET}"]},
    {"environ": {"CACHEGATE__REDIS__PASWORD": SECRET}},
    {"environ": {"REDIS_PASSWORD": SECRET, "CACHEGATE__REDIS__PASSWORD": "another"}},
    # of the wrong form
    {"yaml": f"redis: {{password: [{SECRET}]}}"},
    {"yaml": f"redis: {{password: {{a: {SECRET}}}}}"},
    {"yaml": f'redis: {{password: "{SECRET}\\n"}}'},
    {"yaml": f'admin: {{token: "{SECRET} {SECRET}"}}'},
    {"environ": {"REDIS_URL": f"redis://:pa?{SECRET}@h"}},
    {"environ": {"REDIS_URL": f"redis://h?password={SECRET}"}},
    {"environ": {"REDIS_URL": f"redis://h?password=a@{SECRET}"}},
    {"environ": {"REDIS_URL": f"http://:{SECRET}@h"}},
    {"environ": {"REDIS_URL": SECRET}},
    {"yaml": f"upstream: {{headers: {SECRET}}}"},
    {"yaml": f"upstream: {{headers: [{SECRET}]}}"},
    {"yaml": f'upstream: {{headers: {{a: "{SECRET}\\r\\nb: c"}}}}'},
    {"yaml": f"upstream: {{headers: {{host: {SECRET}}}}}"},
    {"yaml": f"upstream: {{url: 'http://user:{SECRET}@h'}}"},
    {"yaml": f"upstream: {{url: 'htp://user:{SECRET}@h'}}"},
    {"yaml": f"upstream: {{url: 'http://user:a/{SECRET}@h'}}"},
    {"environ": {"UPSTREAM_URL": f"user:{SECRET}@h"}},
    {"environ": {"UPSTREAM_URL": f"http://host/?api_key={SECRET}"}},
    {"environ": {"UPSTREAM_URL": f"host/?api_key={SECRET}"}},
    {"yaml": f"listen: {{host: 'http://h/a?key={SECRET}'}}"},
    # a variable that holds one, put where it does not belong
    {"yaml": "listen: {port: '${P}'}", "environ": {"P": SECRET}},
    {"yaml": "cache: {unmatched: '${P}'}", "environ": {"P": SECRET}},
    {"yaml": "cache: {methods: '${P}'}", "environ": {"P": f"GET,{SECRET} {SECRET}"}},
    {"yaml": "rules: [{pattern: '${P}'}]", "environ": {"P": f"/{SECRET}\n"}},
    {"yaml": "rules: '${P}'", "environ": {"P": f"[{SECRET}"}},
    {"yaml": "memory: '${P}'", "environ": {"P": SECRET}},
    {"dotenv": f"P={SECRET}\nCACHE_TTL=${{P}}"},
    # YAML, JSON and .env that cannot be read
    {"yaml": f"redis: {{password: {SECRET}"},
    {"yaml": f"redis: {{password: *{SECRET}}}"},
    {"yaml": f"redis:\n  password: &{SECRET} a\n  host: &{SECRET} b\n  x: 1"},
    {"yaml": f"redis: {{password: !{SECRET} a}}"},
    {"yaml": f"redis: {{password: %{SECRET}}}"},
    {"yaml": f"redis: {{password: @{SECRET}}}"},
    {"yaml": f'redis: {{password: "\\{SECRET}"}}'},
    {"yaml": f"redis: {{password: 'a${{{SECRET} b}}'}}"},
    {"environ": {"CACHE_RULES": f'[{{"pattern": {SECRET}}}]'}},
    {"dotenv": f"REDIS_PASSWORD='{SECRET}"},
    {"dotenv": f"REDIS_PASSWORD {SECRET}"},
]


def everything(loaded: Loaded) -> str:
    dumped = loaded.settings.model_dump_json(exclude={"rules": True, "file": {"options"}})
    return "\n".join([json.dumps(show(loaded)), repr(loaded), str(loaded.settings), dumped])


@pytest.mark.parametrize("sources", VALID, ids=str)
def test_no_page_and_no_repr_shows_it(sources: dict[str, Any], tmp_path: Path) -> None:
    loaded = read(tmp_path, **sources)
    held = [secret.get_secret_value() for secret in secrets(loaded.settings)]
    assert SECRET in str([held, loaded.settings.file.options]) or "rules" in str(sources)
    assert SECRET not in everything(loaded)
    assert SECRET not in "".join(map(str, loaded.warnings))


def secrets(settings: Settings) -> list[Any]:
    upstreams = (settings.upstream, *settings.upstreams.values())
    found = [settings.redis.password, settings.redis.url, settings.admin.token]
    return [secret for secret in found if secret] + [v for upstream in upstreams for v in upstream.headers.values()]


@pytest.mark.parametrize("sources", WRONG, ids=str)
def test_no_error_shows_it(sources: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, **sources)
    said = f"{caught.value}\n{caught.value!r}\n{caught.value.problems!r}\n{caplog.text}"
    assert SECRET not in said
    cause: BaseException | None = caught.value
    while (cause := cause.__cause__ or cause.__context__) is not None:  # what a traceback would print too
        assert SECRET not in str(cause)


def test_pydantic_itself_is_silent() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(
            {"redis": {"password": [SECRET], SECRET[:0] + "x": SECRET}, "admin": {"token": SECRET + " "}}
        )
    assert SECRET not in str(caught.value)


def test_what_is_no_secret_stays_readable(tmp_path: Path) -> None:
    loaded = read(
        tmp_path,
        f"""
        redis: {{url: "rediss://me:{SECRET}@redis.example:6379/1"}}
        admin: {{token: none}}
        rules:
        - {{pattern: /a, conditions: {{headers: {{x-api-key: "*", x-user: "7"}}}}}}
        - pattern: /b
          tests:
          - request: {{url: /b, body: {{author: me, max_tokens: 100, token: "*"}}}}
            answer: {{headers: {{surrogate-key: users}}}}
            expect: {{}}
        file: {{store: "a:B", options: {{size: 5, on: true}}}}
        """,
    )
    shown = show(loaded)
    assert shown["settings"]["redis"]["url"] == "rediss://***@redis.example:6379/1"
    assert shown["settings"]["admin"]["token"] == "none"
    assert shown["settings"]["rules"][0]["conditions"] == {"headers": {"x-api-key": "*", "x-user": "7"}}
    (test,) = shown["settings"]["rules"][1]["tests"]
    assert test["request"]["body"] == {"author": "me", "max_tokens": 100, "token": "*"}
    assert test["answer"]["headers"] == {"surrogate-key": "users"}
    assert shown["settings"]["file"]["options"] == {"size": 5, "on": True}
    assert shown["sources"]["redis.url"] == f"{FILE}:1:14"
    assert loaded.settings.admin.trusts_loopback
