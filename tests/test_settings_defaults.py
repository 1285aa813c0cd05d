"""The contract's table of settings and the table of limits, typed by hand: names, spellings and defaults.

Rows 72, 73, 76 and 136: every flag and variable is effective, every one is in `.env.example`.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from proxy.settings import Settings
from proxy.settings.dotenv import parse_dotenv
from proxy.settings.rule_model import RuleSettings
from proxy.settings.shape import effective, setting_paths
from proxy.settings.show import as_data
from proxy.settings.spellings import CONFIG, SPELLINGS, Spelling, flag_values
from tests.support.settings_loading import read

ROOT = Path(__file__).parent.parent
KIB, MIB, GIB = 1024, 1024**2, 1024**3

DEFAULTS: dict[str, object] = {
    "upstream.url": [],
    "upstream.id": None,
    "upstream.headers": {},
    "upstream.strip_prefix": None,
    "upstream.preserve_host": False,
    "upstream.forward_client_ip": True,
    "upstream.health_check": None,
    "upstream.ca_file": None,
    "upstream.verify_tls": True,
    "upstream.client_cert": None,
    "upstream.client_key": None,
    "upstream.connect_timeout": 3,
    "upstream.first_byte_timeout": 30,
    "upstream.read_timeout": 30,
    "upstream.total_timeout": 300,
    "upstream.max_connections": 100,
    "upstream.max_in_flight": 64,
    "upstream.max_queue": 128,
    "upstream.retries": 1,
    "upstream.retry_budget": 0.2,
    "upstream.breaker.error_rate": 0.5,
    "upstream.breaker.min_requests": 20,
    "upstream.breaker.window": 10,
    "upstream.breaker.consecutive": 5,
    "upstream.breaker.open_for": 5,
    "upstream.breaker.max_open": 60,
    "upstream.breaker.slow_call_duration": None,
    "upstream.breaker.slow_call_rate": 0.5,
    "upstreams": {},
    "listen.host": "127.0.0.1",
    "listen.port": 4000,
    "listen.workers": 1,
    "listen.tls_cert": None,
    "listen.tls_key": None,
    "listen.trusted_proxies": [],
    "listen.name": None,
    "listen.drain": 30,
    "listen.drain_delay": 1,
    "listen.fast_lane": True,
    "listen.loop": "uvloop",
    "admin.prefix": "/cache",
    "admin.token": None,
    "admin.token_file": ".cachegate/admin.token",
    "admin.port": None,
    "admin.host": "127.0.0.1",
    "admin.metrics": "token",
    "admin.receipts": 3600,
    "cache.default_ttl": None,
    "cache.methods": ["GET", "HEAD"],
    "cache.unmatched": "origin",
    "cache.keep": 3600,
    "cache.stale_if_error": 300,
    "cache.heuristic": True,
    "cache.client_directives": "honour",
    "cache.store_set_cookie": False,
    "cache.accept_encoding": "normalise",
    "cache.credential_headers": [
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "apikey",
        "x-auth-token",
        "x-amz-security-token",
        "x-goog-api-key",
    ],
    "cache.cleanup_interval": 60,
    "cache.warmup": False,
    "rules": [],
    "memory.max_entries": 20000,
    "memory.max_bytes": 256 * MIB,
    "memory.max_object": 1 * MIB,
    "memory.ttl": None,
    "memory.eviction": "s3fifo",
    "memory.limit": 0,
    "file.enabled": True,
    "file.dir": ".cachegate",
    "file.max_bytes": 1 * GIB,
    "file.max_object": 64 * MIB,
    "file.eviction": "lru",
    "file.store": None,
    "file.options": {},
    "redis.enabled": False,  # auto, and nothing of Redis is given
    "redis.url": None,
    "redis.mode": "auto",
    "redis.host": "localhost",
    "redis.port": 6379,
    "redis.db": 0,
    "redis.username": None,
    "redis.password": None,
    "redis.key_prefix": "proxy:cache:",
    "redis.compression": True,
    "redis.on_loss": "serve",
    "redis.lazy_connect": True,
    "redis.connect_timeout": 0.25,
    "redis.read_timeout": 0.25,
    "redis.pool": 50,
    "redis.scan_count": 500,
    "redis.max_object": 1 * MIB,
    "limits.request_line": 8190,
    "limits.header": 8190,
    "limits.header_count": 100,
    "limits.headers": 32 * KIB,
    "limits.body": 100 * MIB,
    "limits.key_body": 1 * MIB,
    "limits.connections": 10000,
    "limits.pipelined": 32,
    "limits.open_files": 1000,
    "limits.variants": 32,
    "limits.tags": 128,
    "limits.rate_clients": 100_000,
    "limits.rate_times": 2_000_000,
    "timeouts.head": 10,
    "timeouts.body_idle": 30,
    "timeouts.keep_alive": 30,
    "timeouts.send_idle": 60,
    "flight.wait": 30,
    "flight.lease": 10,
    "flight.uncacheable": 10,
    "warm.max_urls": 10_000,
    "warm.concurrency": 8,
    "warm.rate": 50,
    "journal.records": 100_000,
    "log.level": "info",
    "log.format": None,
    "log.access": True,
    "log.redact_query": [],
    "observe.server_timing": False,
    "observe.samples": 4096,
    "observe.tracing.endpoint": None,
    "observe.tracing.headers": {},
    "observe.tracing.ratio": 1,
    "observe.tracing.service_name": "cachegate",
    "observe.tracing.metrics": True,
}

# path(s), flag, variables, a value as text, what it becomes
NAMES: list[tuple[str, str | None, str, str, object]] = [
    ("upstream.url", "--upstream", "UPSTREAM_URL", "http://a,http://b", ["http://a", "http://b"]),
    ("upstream.ca_file", "--upstream-ca", "UPSTREAM_CA", "ca.pem", "ca.pem"),
    ("listen.host", "--host", "LISTEN_HOST", "0.0.0.0", "0.0.0.0"),
    ("listen.port", "--port", "PORT", "8080", 8080),
    ("listen.workers", "--workers", "WORKERS", "4", 4),
    ("listen.tls_cert", "--tls-cert", "TLS_CERT", "c.pem", "c.pem"),
    ("listen.tls_key", "--tls-key", "TLS_KEY", "k.pem", "k.pem"),
    ("listen.trusted_proxies", "--trusted-proxies", "TRUSTED_PROXIES", "10.0.0.0/8", ["10.0.0.0/8"]),
    ("admin.prefix", "--admin-prefix", "ADMIN_PREFIX", "/gate", "/gate"),
    ("admin.token", "--admin-token", "ADMIN_TOKEN", "t0ken-t0ken", "t0ken-t0ken"),
    ("admin.port", "--admin-port", "ADMIN_PORT", "4001", 4001),
    ("admin.host", None, "ADMIN_HOST", "::1", "::1"),
    ("cache.default_ttl", "--cache-ttl", "CACHE_TTL", "10m", 600),
    ("cache.methods", "--cacheable-methods", "CACHEABLE_METHODS", "GET,POST", ["GET", "POST"]),
    ("cache.unmatched", "--unmatched", "CACHE_UNMATCHED", "bypass", "bypass"),
    ("cache.cleanup_interval", "--cache-cleanup-interval", "CACHE_CLEANUP_INTERVAL", "5", 5),
    ("cache.warmup", "--enable-cache-warmup", "ENABLE_CACHE_WARMUP", "true", True),
    ("memory.max_entries", "--cache-max-size", "CACHE_MAX_SIZE", "50000", 50000),
    ("memory.max_bytes", "--cache-max-bytes", "CACHE_MAX_BYTES", "1GiB", GIB),
    ("memory.eviction", "--cache-eviction", "CACHE_EVICTION", "fifo", "fifo"),
    ("file.eviction", "--cache-eviction", "CACHE_EVICTION", "fifo", "fifo"),
    ("file.dir", "--cache-dir", "CACHE_DIR", "/var/cache", "/var/cache"),
    ("file.max_bytes", "--cache-dir-max-bytes", "CACHE_DIR_MAX_BYTES", "2GiB", 2 * GIB),
    ("file.enabled", "--no-file-cache", "FILE_CACHE", "false", False),
    ("redis.enabled", "--enable-redis", "ENABLE_REDIS", "true", True),
    ("redis.enabled", "--enable-redis", "REDIS_ENABLED", "true", True),
    ("redis.url", "--redis-url", "REDIS_URL", "rediss://r:1/0", "rediss://r:1/0"),
    ("redis.mode", "--redis-mode", "REDIS_MODE", "cluster", "cluster"),
    ("redis.host", "--redis-host", "REDIS_HOST", "r", "r"),
    ("redis.port", "--redis-port", "REDIS_PORT", "6380", 6380),
    ("redis.db", "--redis-db", "REDIS_DB", "1", 1),
    ("redis.username", "--redis-username", "REDIS_USERNAME", "u", "u"),
    ("redis.password", "--redis-password", "REDIS_PASSWORD", "0123", "0123"),
    ("redis.key_prefix", "--redis-key-prefix", "REDIS_KEY_PREFIX", "athena:", "athena:"),
    ("log.level", "--log-level", "LOG_LEVEL", "DEBUG", "debug"),
    ("log.format", "--log-format", "LOG_FORMAT", "json", "json"),
    ("log.access", "--no-access-log", "ACCESS_LOG", "off", False),
    ("observe.tracing.endpoint", None, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318/", "http://otel:4318"),
    ("observe.tracing.headers", None, "OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%3Db,x=1", {"api-key": "a=b", "x": "1"}),
    ("observe.tracing.ratio", None, "OTEL_TRACES_SAMPLER_ARG", "5%", 0.05),
    ("observe.tracing.service_name", None, "OTEL_SERVICE_NAME", "edge", "edge"),
]

TLS_PAIR = {"listen.tls_cert": "c.pem", "listen.tls_key": "k.pem"}


def at(settings: Settings, path: str) -> object:
    value: Any = as_data(settings, reveal=True)
    for name in path.split("."):
        value = value[name]
    return value


def test_every_default() -> None:
    settings = Settings()
    assert {path: at(settings, path) for path in DEFAULTS} == DEFAULTS
    assert {".".join(map(str, steps)) for steps, _ in effective(settings)} == {*DEFAULTS} - {"upstreams"}


@pytest.mark.parametrize(("path", "flag", "variable", "text", "wanted"), NAMES)
def test_every_name(path: str, flag: str | None, variable: str, text: str, wanted: object, tmp_path: Path) -> None:
    beside = {name: value for name, value in TLS_PAIR.items() if path in TLS_PAIR and name != path}
    from_environment = read(tmp_path, environ={variable: text}, flags=beside)
    assert at(from_environment.settings, path) == wanted
    assert from_environment.sources[path] == f"environment {variable}"
    long = "CACHEGATE__" + path.upper().replace(".", "__")
    assert at(read(tmp_path, environ={long: text}, flags=beside).settings, path) == wanted
    quoted = f'"{text}"' if text.endswith(":") else text  # the value is YAML, where `athena:` is a mapping
    assert at(read(tmp_path, sets=[f"{path}={quoted}"], flags=beside).settings, path) == wanted
    if flag is not None:
        spelling = next(spelling for spelling in SPELLINGS if spelling.flag == flag)
        chosen = flag_values({spelling.option: True if spelling.is_bool else text})
        from_flag = read(tmp_path, flags={**chosen, **beside})
        assert at(from_flag.settings, path) == wanted
        assert from_flag.sources[path] == f"flag {flag}"


def test_no_name_is_missing_here() -> None:
    ours = {(path, spelling.flag, name) for spelling in SPELLINGS for path in spelling.paths for name in spelling.env}
    assert ours == {(path, flag, name) for path, flag, name, _, _ in NAMES} | {
        ("rules", "--cache-rules", "CACHE_RULES")
    }
    assert (CONFIG.flag, CONFIG.env) == ("--config", ("CONFIG_FILE",))
    assert {path for spelling in SPELLINGS for path in spelling.paths} <= {*DEFAULTS}


def test_options_that_were_not_given_say_nothing() -> None:
    assert flag_values({spelling.option: False if spelling.is_bool else None for spelling in SPELLINGS}) == {}


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.paths[0])
def test_every_flag_has_its_help(spelling: Spelling) -> None:
    assert 10 < len(spelling.help) < 120


def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    nested = [model]
    for one in nested:
        for field in one.model_fields.values():
            for name in re.findall(r"proxy\.settings\.\w+\.(\w+)", str(field.annotation)):
                found = next(kind for kind in every_section() if kind.__name__ == name)
                nested += [found] if found not in nested else []
    return nested


def every_section(root: type[BaseModel] | None = None) -> list[type[BaseModel]]:
    kinds = (root or Settings.__mro__[1]).__subclasses__()
    return kinds + [below for kind in kinds for below in every_section(kind)]


@pytest.mark.parametrize("section", sections(Settings), ids=lambda section: section.__name__)
def test_every_setting_is_described(section: type[BaseModel]) -> None:
    assert section.__doc__
    for name, field in section.model_fields.items():
        assert field.description, name
        assert len(field.description) < 110, name
        assert "\n" not in field.description, name


def test_rules_are_among_the_described() -> None:
    assert RuleSettings in sections(Settings)


def test_env_example_has_every_variable() -> None:
    text = (ROOT / ".env.example").read_text()
    assert parse_dotenv(text, {}) == ({}, ())  # as it stands it says nothing
    variables, wrong = parse_dotenv(re.sub(r"(?m)^#(?=[A-Z_]+=)", "", text), {})
    assert not wrong
    assert [*variables] == [*dict.fromkeys(variables)]
    assert {*variables} == {name for spelling in (CONFIG, *SPELLINGS) for name in spelling.env}


def test_env_example_gives_the_defaults(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^#(?=[A-Z_]+=)", "", (ROOT / ".env.example").read_text())
    text = re.sub(r"(?m)^(CONFIG_FILE|CACHE_RULES|UPSTREAM_URL)=.*\n", "", text)
    loaded = read(tmp_path, dotenv=text)
    assert loaded.settings.redis.enabled  # by REDIS_HOST and its kin, which this file spells out
    without_redis = {path: value for path, value in DEFAULTS.items() if path != "redis.enabled"}
    assert {path: at(loaded.settings, path) for path in without_redis} == without_redis


def test_yaml_example_says_nothing_as_it_stands(tmp_path: Path) -> None:
    assert read(tmp_path, config=str(ROOT / "config/cachegate.example.yaml")).settings == Settings()


def test_yaml_example_has_every_setting_with_its_default(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^#(?!#)", "", (ROOT / "config/cachegate.example.yaml").read_text())
    loaded = read(tmp_path, text)
    silent = {path for path, source in loaded.sources.items() if source == "default"}
    assert not silent - {path for path, value in DEFAULTS.items() if value is None}
    assert {*DEFAULTS} >= {".".join(map(str, steps)) for steps in setting_paths() if "health_check" not in steps}
    for path in DEFAULTS:
        assert path in (".".join(map(str, s)) for s in written(text)), path
    without_redis = {path: value for path, value in DEFAULTS.items() if path != "redis.enabled"}
    assert {path: at(loaded.settings, path) for path in without_redis} == without_redis


def written(text: str) -> list[tuple[str, ...]]:
    """The path of each line."""
    paths: list[tuple[str, ...]] = []
    for indent, name in re.findall(r"(?m)^( *)([a-z_]+):", text):
        above = next((path for path in reversed(paths) if len(path) == len(indent) // 2), ())
        paths.append((*above[: len(indent) // 2], name))
    return paths


def test_yaml_example_rule_loads(tmp_path: Path) -> None:
    text = (ROOT / "config/cachegate.example.yaml").read_text()
    rule = "\n".join(line.removeprefix("##") for line in text.splitlines() if line.startswith("##  "))
    loaded = read(tmp_path, f"upstreams: {{accounts: {{url: 'http://a'}}}}\nrules:\n{rule}\n")
    assert loaded.settings.rules[0].name == "users"
    assert loaded.settings.rules[0].ttl == 600
