"""The everyday names of settings: flags and short environment variables. One table for CLI, loader and `.env.example`.

A setting that is not here has its YAML path, `--set path=value` and `CACHEGATE__PATH__NAME` all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.settings.shape import describe


@dataclass(frozen=True, slots=True)
class Spelling:
    """Names of one setting, or of several that are always set alike. `sets` is what a bare flag (one without a
    value) means; None: the flag takes a value."""

    paths: tuple[str, ...]
    flag: str | None = None
    env: tuple[str, ...] = ()
    metavar: str = "TEXT"
    sets: bool | None = None
    about: str = ""

    @property
    def is_bool(self) -> bool:
        return self.sets is not None

    @property
    def option(self) -> str:
        """The flag as a Python name: `cache_ttl`."""
        return (self.flag or "").lstrip("-").replace("-", "_")

    @property
    def help(self) -> str:
        """One line, the setting's own description where nothing better is said."""
        return self.about or describe(self.paths[0])


def _at(path: str, flag: str | None, *env: str, metavar: str = "TEXT", sets: bool | None = None) -> Spelling:
    return Spelling((path,), flag, env, metavar, sets)


CONFIG = Spelling((), "--config", ("CONFIG_FILE",), "FILE", None, "the YAML file; default: config/cachegate.yaml")

SPELLINGS: tuple[Spelling, ...] = (
    _at("upstream.url", "--upstream", "UPSTREAM_URL", metavar="URL"),
    _at("upstream.ca_file", "--upstream-ca", "UPSTREAM_CA", metavar="FILE"),
    _at("listen.host", "--host", "LISTEN_HOST", metavar="ADDRESS"),
    _at("listen.port", "--port", "PORT", metavar="PORT"),
    _at("listen.workers", "--workers", "WORKERS", metavar="N"),
    _at("listen.tls_cert", "--tls-cert", "TLS_CERT", metavar="FILE"),
    _at("listen.tls_key", "--tls-key", "TLS_KEY", metavar="FILE"),
    _at("listen.trusted_proxies", "--trusted-proxies", "TRUSTED_PROXIES", metavar="CIDR,..."),
    _at("admin.prefix", "--admin-prefix", "ADMIN_PREFIX", metavar="PATH"),
    _at("admin.token", "--admin-token", "ADMIN_TOKEN", metavar="TOKEN"),
    _at("admin.port", "--admin-port", "ADMIN_PORT", metavar="PORT"),
    _at("admin.host", None, "ADMIN_HOST", metavar="ADDRESS"),
    _at("cache.default_ttl", "--cache-ttl", "CACHE_TTL", metavar="SECONDS"),
    _at("cache.methods", "--cacheable-methods", "CACHEABLE_METHODS", metavar="GET,..."),
    Spelling(("rules",), "--cache-rules", ("CACHE_RULES",), "JSON|FILE", None, "the rules as JSON (a flag: or a file)"),
    _at("cache.unmatched", "--unmatched", "CACHE_UNMATCHED", metavar="origin|bypass"),
    _at("cache.cleanup_interval", "--cache-cleanup-interval", "CACHE_CLEANUP_INTERVAL", metavar="SECONDS"),
    _at("cache.warmup", "--enable-cache-warmup", "ENABLE_CACHE_WARMUP", sets=True),
    _at("memory.max_entries", "--cache-max-size", "CACHE_MAX_SIZE", metavar="N"),
    _at("memory.max_bytes", "--cache-max-bytes", "CACHE_MAX_BYTES", metavar="SIZE"),
    Spelling(("memory.eviction", "file.eviction"), "--cache-eviction", ("CACHE_EVICTION",), "s3fifo|lru|fifo"),
    _at("file.dir", "--cache-dir", "CACHE_DIR", metavar="DIR"),
    _at("file.max_bytes", "--cache-dir-max-bytes", "CACHE_DIR_MAX_BYTES", metavar="SIZE"),
    Spelling(("file.enabled",), "--no-file-cache", ("FILE_CACHE",), "", False, "keep no answers on disk"),
    Spelling(("redis.enabled",), "--enable-redis", ("ENABLE_REDIS", "REDIS_ENABLED"), "", True, "share a Redis"),
    _at("redis.url", "--redis-url", "REDIS_URL", metavar="URL"),
    _at("redis.mode", "--redis-mode", "REDIS_MODE", metavar="auto|single|sentinel|cluster"),
    _at("redis.host", "--redis-host", "REDIS_HOST", metavar="ADDRESS"),
    _at("redis.port", "--redis-port", "REDIS_PORT", metavar="PORT"),
    _at("redis.db", "--redis-db", "REDIS_DB", metavar="N"),
    _at("redis.username", "--redis-username", "REDIS_USERNAME", metavar="NAME"),
    _at("redis.password", "--redis-password", "REDIS_PASSWORD", metavar="SECRET"),
    _at("redis.key_prefix", "--redis-key-prefix", "REDIS_KEY_PREFIX", metavar="PREFIX"),
    _at("log.level", "--log-level", "LOG_LEVEL", metavar="LEVEL"),
    _at("log.format", "--log-format", "LOG_FORMAT", metavar="text|json"),
    _at("observe.tracing.endpoint", None, "OTEL_EXPORTER_OTLP_ENDPOINT", metavar="URL"),
    _at("observe.tracing.headers", None, "OTEL_EXPORTER_OTLP_HEADERS", metavar="NAME=VALUE,..."),
    _at("observe.tracing.ratio", None, "OTEL_TRACES_SAMPLER_ARG", metavar="SHARE"),
    _at("observe.tracing.service_name", None, "OTEL_SERVICE_NAME", metavar="NAME"),
    Spelling(("log.access",), "--no-access-log", ("ACCESS_LOG",), "", False, "write no line for each request"),
)

ENVIRONMENT: Mapping[str, Spelling] = {name: spelling for spelling in SPELLINGS for name in spelling.env}
FLAGS: Mapping[str, Spelling] = {path: spelling for spelling in SPELLINGS for path in spelling.paths if spelling.flag}


def flag_values(options: Mapping[str, object]) -> dict[str, object]:
    """What the command line chose, by YAML path, from click's parameters by `Spelling.option`. An option that was
    not given is None, False (a bare flag) or empty."""
    chosen: dict[str, object] = {}
    for spelling in SPELLINGS:
        value = options.get(spelling.option) if spelling.flag else None
        if value is None or value is False or value == ():
            continue
        for path in spelling.paths:
            chosen[path] = value if spelling.sets is None else spelling.sets
    return chosen
