"""Rules as the judgement reads them: every default filled in, from the settings as the operator wrote them."""

from dataclasses import replace
from urllib.parse import urlsplit

from proxy.rules import DEFAULT_STATUSES, BodyKey, KeySpec, Mode, RateLimit, Rule
from proxy.settings.model import Settings
from proxy.settings.rule_model import JsonBody, RateLimitSettings, RuleSettings
from proxy.settings.sections import UpstreamSettings

DEFAULT_RULE = "default"  # the rule that cache.default_ttl makes

_DEFAULT_PORTS = {"http": 80, "https": 443}


def compile_rules(settings: Settings) -> tuple[tuple[Rule, ...], Rule]:
    """The rules in their order, the one of cache.default_ttl last, and the pseudo-rule of unmatched traffic."""
    shared = _shared(settings)
    rules = [
        _rule(settings, rule, name, shared) for name, rule in zip(rule_names(settings), settings.rules, strict=True)
    ]
    if settings.cache.default_ttl is not None:
        rules.append(_default_rule(settings, shared))
    return tuple(rules), _unmatched(settings, shared)


def rule_names(settings: Settings) -> tuple[str, ...]:
    """The name of each rule, `rule-<n>` (from 1) where it has none of its own."""
    return tuple(rule.name or f"rule-{n}" for n, rule in enumerate(settings.rules, 1))


def upstream_id(upstream: UpstreamSettings) -> str:
    """What stands for the service in every key: its own id, or authority and path of the first URL."""
    if upstream.id is not None or not upstream.url:
        return upstream.id or ""
    parts = urlsplit(upstream.url[0])
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{host}{port}{parts.path}"


def with_head(methods: tuple[str, ...]) -> frozenset[str]:
    """HEAD always goes with GET: it is answered from a stored GET (RFC 9110 9.3.2)."""
    named = frozenset(methods)
    return named | {"GET", "HEAD"} if named & {"GET", "HEAD"} else named


def identities(rule: RuleSettings) -> tuple[str, ...]:
    """What of the rule's key tells one person from another."""
    headers = {*rule.key.headers, *rule.conditions.headers}
    cookies = rule.key.cookies if isinstance(rule.key.cookies, tuple) else ()
    return (*sorted(headers), *cookies, *(("credentials",) if rule.key.credentials == "key" else ()))


def _shared(settings: Settings) -> Rule:
    """What `cache.*` and `limits.*` say for every rule."""
    cache = settings.cache
    return Rule(
        methods=with_head(cache.methods),
        upstream_id=upstream_id(settings.upstream),
        key=KeySpec(body=_body(None, cache.methods)),
        heuristic=cache.heuristic,
        keep=cache.keep,
        default_stale_if_error=cache.stale_if_error,
        client_directives=cache.client_directives,
        store_set_cookie=cache.store_set_cookie,
        credential_headers=frozenset(cache.credential_headers),
        normalise_encoding=cache.accept_encoding == "normalise",
        max_tags=settings.limits.tags,
    )


def _rule(settings: Settings, rule: RuleSettings, name: str, shared: Rule) -> Rule:
    methods = rule.methods if rule.methods is not None else settings.cache.methods
    upstream = settings.upstreams[rule.upstream] if rule.upstream else settings.upstream
    conditions = rule.conditions
    return replace(
        shared,
        name=name,
        patterns=rule.pattern,
        methods=with_head(methods),
        host=rule.host,
        upstream=rule.upstream or "",
        upstream_id=upstream_id(upstream),
        namespace=rule.namespace or "",
        ttl=rule.ttl if rule.ttl is not None else settings.cache.default_ttl,
        override=rule.override,
        request_headers=tuple(sorted(conditions.headers.items())),
        statuses=_statuses(conditions.status_codes),
        min_size=conditions.min_size,
        max_size=conditions.max_size,
        key=_key(rule, methods),
        tags=rule.tags,
        stale_while_revalidate=rule.stale_while_revalidate,
        stale_if_error=rule.stale_if_error,
        refresh_ahead=rule.refresh_ahead,
        negative_ttl=tuple(sorted(rule.negative_ttl.items())),
        invalidates=rule.invalidates,
        rate_limit=_rate_limit(rule.rate_limit),
        concurrency=rule.concurrency,
        client_cache_control=rule.client_cache_control,
        store_private=rule.store_private,
        mode=Mode(rule.mode),
    )


def _default_rule(settings: Settings, shared: Rule) -> Rule:
    return replace(shared, name=DEFAULT_RULE, ttl=settings.cache.default_ttl)


def _unmatched(settings: Settings, shared: Rule) -> Rule:
    """A plain RFC 9111 cache, or none: targets are keyed and sent as they came."""
    key = KeySpec(normal=False, query_sort=False)
    return replace(shared, methods=frozenset({"GET", "HEAD"}), key=key, mode=Mode(settings.cache.unmatched))


def _rate_limit(rate: RateLimitSettings | None) -> RateLimit | None:
    return None if rate is None else RateLimit(rate.limit, rate.window, rate.by, rate.hits, rate.on_redis_loss)


def _statuses(codes: tuple[int, ...] | None) -> frozenset[int]:
    """304 may be named, but confirms an answer and is none (RFC 9110 15.4.5)."""
    return DEFAULT_STATUSES if codes is None else frozenset(codes) - {304}


def _key(rule: RuleSettings, methods: tuple[str, ...]) -> KeySpec:
    key = rule.key
    return KeySpec(
        query_sort=key.query.sort,
        query_ignore=key.query.ignore,
        query_only=key.query.only,
        # a header that a rule depends on always tells entries apart; sorted, so that their order in the file does not
        headers=tuple(sorted({*key.headers, *rule.conditions.headers})),
        cookies=() if key.cookies == "ignore" else key.cookies,
        credentials=key.credentials,
        body=_body(key.body, methods),
        host=key.host,
    )


def _body(form: str | JsonBody | None, methods: tuple[str, ...]) -> BodyKey:
    match form:
        case None:
            return BodyKey("raw" if "POST" in methods else "none")
        case JsonBody():
            return BodyKey("json", form.json_.ignore)
        case "none" | "raw" | "json" | "graphql":
            return BodyKey(form)
        case _:
            raise AssertionError(form)
