"""Rules as the judgement sees them: compiled, every default filled in. `settings.compile` makes them from YAML.

`RuleTable.match` picks the first that fits. The text of the YAML options is in the contract and docs/configuration.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from proxy.message import Request
from proxy.policy.globs import Glob, compile_glob
from proxy.policy.memo import Memo
from proxy.policy.paths import path_glob, readings

MAIN = "main"  # what the service that rules call "" is called in figures and log
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
class RateLimit:
    """At most `limit` requests of one client in any `window` seconds."""

    limit: int
    window: float
    by: str = "client_ip"  # or the lower-case name of the header that tells clients apart
    hits: Literal["count", "exempt"] = "count"
    on_redis_loss: Literal["local", "open", "closed"] = "local"  # who counts, or what is done, while Redis is away


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
    rate_limit: RateLimit | None = None
    concurrency: int | None = None  # calls at a time
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


@dataclass(frozen=True, slots=True)
class Tried:
    """One rule that a request was held against, and in plain words why it fits or not."""

    name: str
    matched: bool
    why: str


@dataclass(frozen=True, slots=True)
class _Matcher:
    """A rule with its globs compiled."""

    rule: Rule
    paths: tuple[Glob, ...]
    host: Glob | None
    methods: frozenset[str]
    headers: tuple[tuple[str, Glob], ...]

    @classmethod
    def of(cls, rule: Rule) -> "_Matcher":
        return cls(
            rule,
            tuple(map(path_glob, rule.patterns)),
            compile_glob(rule.host.lower()) if rule.host is not None else None,
            rule.methods | {"HEAD"} if "GET" in rule.methods else rule.methods,
            tuple((name, compile_glob(value)) for name, value in rule.request_headers),
        )

    def fits_path(self, paths: tuple[str, ...]) -> bool:
        for path in paths:
            for glob in self.paths:
                if glob.match(path):
                    return True
        return False

    def fits_host(self, host: str) -> bool:
        """A glob fits the host with its port or without."""
        return self.host is None or self.host.match(host) or self.host.match(_PORT.sub("", host))

    def unfit(self, request: Request) -> str | None:
        """Why the method or a header does not fit; None when all do."""
        if request.method not in self.methods:
            return f"method {request.method} is not among {', '.join(sorted(self.methods))}"
        for name, glob in self.headers:
            value = request.fields.get(name)
            if value is None:
                return f"the request has no header {name}"
            if not glob.match(value):
                return f"header {name} does not fit {glob.pattern}"
        return None


_PORT = re.compile(r":\d*\Z")


class RuleTable:
    """The rules in order; the first whose host, path, methods and header conditions all fit is the one.

    A path without one normal form is held against every reading of it (`paths.readings`), so that a rule gets its
    requests however they are spelled; `keys.derive` then refuses to share their answers.
    """

    _BOUND = 8192  # remembered (host, path) pairs per generation, of paths up to _LONG
    _LONG = 512

    def __init__(self, rules: Sequence[Rule], unmatched: Rule) -> None:
        self.rules = tuple(rules)
        self.unmatched = unmatched
        self._matchers = tuple(map(_Matcher.of, rules))
        self._known: Memo[tuple[str, str], tuple[_Matcher, ...]] = Memo(self._BOUND)

    def match(self, request: Request) -> Rule:
        """The first rule that fits, else the one for unmatched traffic. Methods and headers are read every time."""
        if self.rules:
            for matcher in self._candidates(request.host, request.path):
                if matcher.unfit(request) is None:
                    return matcher.rule
        return self.unmatched

    def on_path(self, request: Request) -> tuple[Rule, ...]:
        """Every rule whose host and path fit, whatever its methods and conditions, in order."""
        return tuple(matcher.rule for matcher in self._candidates(request.host, request.path))

    def at(self, path: str, host: str | None = None) -> tuple[Rule, ...]:
        """Every rule for a path, of one host or (None) of any, in order."""
        if host is not None:
            return tuple(matcher.rule for matcher in self._candidates(host, path))
        paths = readings(path)
        return tuple(matcher.rule for matcher in self._matchers if matcher.fits_path(paths))

    def tried(self, request: Request) -> tuple[Tried, ...]:
        """Each rule up to the first that fits, for explain."""
        out = []
        paths = readings(request.path)
        for matcher in self._matchers:
            why = _why_not(matcher, request, paths)
            out.append(Tried(matcher.rule.name, why is None, why or "host, path, method and headers fit"))
            if why is None:
                break
        return tuple(out)

    def _candidates(self, host: str, path: str) -> tuple[_Matcher, ...]:
        found = self._known.get((host, path))
        if found is None:
            paths = readings(path)
            found = tuple([m for m in self._matchers if m.fits_path(paths) and m.fits_host(host)])
            if len(path) <= self._LONG:
                self._known.put((host, path), found)
        return found


def _why_not(matcher: _Matcher, request: Request, paths: tuple[str, ...]) -> str | None:
    if not matcher.fits_path(paths):
        return f"path {paths[-1]} does not fit {' or '.join(matcher.rule.patterns)}"
    if not matcher.fits_host(request.host):
        return f"host {request.host or '(none)'} does not fit {matcher.rule.host}"
    return matcher.unfit(request)
