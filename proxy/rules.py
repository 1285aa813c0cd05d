"""Rules as the judgement sees them: compiled, every default filled in. `settings.compile` makes them from YAML.

`Rules.match` picks the first that fits. The text of the YAML options is in the contract and docs/configuration.md.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

DEFAULT_STATUSES = frozenset({200, 203, 204, 300, 301, 308})
CREDENTIAL_HEADERS = (
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "apikey",
    "x-auth-token",
    "x-amz-security-token",
    "x-goog-api-key",
)


class Mode(Enum):
    """What a rule does with what it matches."""

    ON = "on"
    OFF = "off"
    SHADOW = "shadow"
    ORIGIN = "origin"  # unmatched traffic: a plain RFC 9111 shared cache
    BYPASS = "bypass"  # unmatched traffic: never cached


@dataclass(frozen=True, slots=True)
class BodyKey:
    """How a request body enters the key; `ignore` are dotted paths into JSON ("user", "metadata.*")."""

    kind: Literal["none", "raw", "json", "graphql"] = "none"
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeySpec:
    """Which parts of a request tell entries apart. Header and cookie names are lower case / as written."""

    query_sort: bool = True
    query_ignore: tuple[str, ...] = ()  # globs on parameter names
    query_only: tuple[str, ...] = ()  # globs; empty = all
    headers: tuple[str, ...] = ()
    cookies: tuple[str, ...] | None = None  # None: not said; () : `ignore`
    credentials: Literal["refuse", "key", "ignore"] = "refuse"
    body: BodyKey = BodyKey()
    host: bool = True
    normal: bool = True  # False on unmatched traffic: the target is keyed and sent as it came


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, or the pseudo-rule of unmatched traffic (name "", mode ORIGIN or BYPASS). Seconds everywhere."""

    name: str = ""
    patterns: tuple[str, ...] = ("*",)
    methods: frozenset[str] = frozenset({"GET", "HEAD"})
    host: str | None = None  # glob
    upstream: str = ""  # name of one of `upstreams`; "" is the main one
    upstream_id: str = ""
    namespace: str = ""
    ttl: float | None = None
    override: bool = False
    request_headers: tuple[tuple[str, str], ...] = ()  # conditions.headers: (lower-case name, glob on the value)
    statuses: frozenset[int] = DEFAULT_STATUSES
    min_size: int = 0
    max_size: int | None = None
    key: KeySpec = KeySpec()
    tags: tuple[str, ...] = ()  # templates
    stale_while_revalidate: float | None = None  # None: only what the origin says
    stale_if_error: float | None = None  # None: the origin's, else cache.stale_if_error
    refresh_ahead: float = 0.0
    negative_ttl: tuple[tuple[int, float], ...] = ()
    invalidates: tuple[str, ...] = ()
    client_cache_control: str | None = None
    store_private: bool = False
    mode: Mode = Mode.ON
    # the same for every rule, from `cache.*`
    heuristic: bool = True
    keep: float = 3600.0
    default_stale_if_error: float = 300.0
    client_directives: Literal["honour", "ignore", "all"] = "honour"  # all: reload directives from anyone
    store_set_cookie: bool = False
    credential_headers: frozenset[str] = frozenset(CREDENTIAL_HEADERS)
    normalise_encoding: bool = True
    max_tags: int = 128

    @property
    def caches(self) -> bool:
        """Whether matching requests may touch the cache at all."""
        return self.mode in (Mode.ON, Mode.ORIGIN)
