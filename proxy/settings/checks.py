"""What no single setting can be blamed for: settings that contradict each other, or that name what is not there.

Each check yields (path, text): the path tells where the problem stands.
"""

from collections.abc import Iterator
from itertools import combinations
from urllib.parse import urlsplit

from proxy.policy.tags import validate_template
from proxy.policy.vary import TOLD_BY_US
from proxy.rules import MAIN
from proxy.settings.acting import without_effect, writes_elsewhere
from proxy.settings.addresses import CACHED_METHODS
from proxy.settings.compile import DEFAULT_RULE, identities, rule_names, upstream_id
from proxy.settings.model import Settings
from proxy.settings.problems import Steps, did_you_mean
from proxy.settings.rule_model import RateLimitSettings, RuleSettings
from proxy.settings.sections import UpstreamSettings

_SAID_BY_CLIENTS = ("x-forwarded-for", "forwarded", "x-real-ip")

Finding = tuple[Steps, str]


def contradictions(settings: Settings, *, require_upstream: bool) -> Iterator[Finding]:
    """What must be mended before the gateway can start."""
    if require_upstream and not settings.upstream.url:
        yield ("upstream", "url"), "required: the address of the API, by --upstream, UPSTREAM_URL or in the YAML"
    yield from _upstreams(settings)
    yield from _doors(settings)
    yield from _redis(settings)
    yield from _names(settings)
    for n, rule in enumerate(settings.rules):
        for steps, text in _rule(settings, rule):
            yield ("rules", n, *steps), text


def cautions(settings: Settings) -> Iterator[Finding]:
    """What is allowed and may not be meant."""
    if settings.admin.trusts_loopback:
        yield ("admin", "token"), "whoever reaches the gateway from this machine may do everything (development only)"
    if settings.admin.metrics == "open" and settings.admin.port is None:
        yield ("admin", "metrics"), "has no effect without admin.port"
    if 0 < settings.memory.limit <= settings.memory.max_bytes:
        yield ("memory", "limit"), "memory.max_bytes alone may take all of it: the tier will shrink before it is full"
    for steps, upstream in _all_upstreams(settings):
        if not upstream.verify_tls:
            yield (*steps, "verify_tls"), "the upstream's certificate is not verified"
    for n, rule in enumerate(settings.rules):
        if rule.key.credentials == "ignore":
            text = "all users share one entry whatever credentials they send; right only for answers that are the same"
            yield ("rules", n, "key", "credentials"), text
        if rule.key.body == "none" and rule.mode != "off" and "POST" in (rule.methods or settings.cache.methods):
            text = (
                "every POST to a URL gets the same answer, whatever its body asks; right only where bodies say nothing"
            )
            yield ("rules", n, "key", "body"), text
        if rule.rate_limit is not None:
            for name, text in _limit_cautions(rule.rate_limit, redis=settings.redis.enabled):
                yield ("rules", n, "rate_limit", name), text
    yield from writes_elsewhere(settings)
    yield from without_effect(settings)


def _limit_cautions(rate: RateLimitSettings, *, redis: bool) -> Iterator[tuple[str, str]]:
    """(name of the setting, text)."""
    if rate.by in _SAID_BY_CLIENTS:
        yield (
            "by",
            "any client can say another address each time; client_ip is the one that listen.trusted_proxies give",
        )
    if rate.on_redis_loss != "local" and not redis:
        yield "on_redis_loss", "has no effect without Redis"


def milliseconds(number: float) -> float | None:
    """The seconds that were likely meant, when a bare ttl looks like milliseconds: 3600000 for an hour.

    Whole thousands past a million; of whole days only those that are whole minutes as milliseconds, so that
    31536000, a year, is left in peace.
    """
    if number < 1_000_000 or number % 1000 or (number % 86_400 == 0 and number % 60_000):
        return None
    return number / 1000


def _all_upstreams(settings: Settings) -> Iterator[tuple[Steps, UpstreamSettings]]:
    yield ("upstream",), settings.upstream
    for name, upstream in settings.upstreams.items():
        yield ("upstreams", name), upstream


def _upstreams(settings: Settings) -> Iterator[Finding]:
    everyone = [(steps, upstream) for steps, upstream in _all_upstreams(settings)]
    for steps, upstream in everyone:
        if steps[0] == "upstreams" and not upstream.url:
            yield (*steps, "url"), "required: the address of the service"
        if upstream.client_key is not None and upstream.client_cert is None:
            yield (*steps, "client_key"), "wants upstream.client_cert beside it"
        if upstream.breaker.max_open < upstream.breaker.open_for:
            yield (*steps, "breaker", "max_open"), f"wants at least open_for, {upstream.breaker.open_for:g} seconds"
        slow = upstream.breaker.slow_call_duration
        if slow is not None and slow >= upstream.first_byte_timeout:
            text = (
                f"wants less than first_byte_timeout, {upstream.first_byte_timeout:g} seconds: those calls have failed"
            )
            yield (*steps, "breaker", "slow_call_duration"), text
        if len({urlsplit(url).path for url in upstream.url}) > 1:
            yield (*steps, "url"), "replicas of one service want the same base path"
    if MAIN in settings.upstreams:
        text = f"'{MAIN}' is what `upstream` is called in figures and log: give the service another name"
        yield ("upstreams", MAIN, "url"), text
    for (_, one), (steps, other) in combinations(everyone, 2):
        if one.url and other.url and upstream_id(one) == upstream_id(other) and not (one.id and other.id):
            text = f"'{upstream_id(other)}' is another service's id too, so they would share entries: give it an `id`"
            yield (*steps, "id"), text


def _doors(settings: Settings) -> Iterator[Finding]:
    listen, admin = settings.listen, settings.admin
    if (listen.tls_cert is None) != (listen.tls_key is None):
        given, missing = ("tls_cert", "tls_key") if listen.tls_key is None else ("tls_key", "tls_cert")
        yield ("listen", given), f"wants listen.{missing} beside it"
    if admin.port is not None and admin.port == listen.port != 0 and admin.host == listen.host:
        yield ("admin", "port"), f"{admin.port} is listen.port already: choose another, or leave it out to share"


def _redis(settings: Settings) -> Iterator[Finding]:
    redis = settings.redis
    url = redis.url.get_secret_value() if redis.url is not None else ""
    if redis.db and (url.startswith("redis+cluster://") if url else redis.mode == "cluster"):
        yield ("redis", "db"), f"a Redis cluster has only db 0; found {redis.db}"


def _names(settings: Settings) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    if settings.cache.default_ttl is not None:
        seen[DEFAULT_RULE] = "the rule that cache.default_ttl makes"
    for n, name in enumerate(rule_names(settings)):
        if name in seen:
            yield ("rules", n, "name"), f"'{name}' is the name of {seen[name]} already"
        seen.setdefault(name, f"rules[{n}]")


def _rule(settings: Settings, rule: RuleSettings) -> Iterator[Finding]:
    if not rule.pattern:
        yield ("pattern",), "required: a glob on the path, such as /api/* or */users/*"
    if rule.upstream is not None and rule.upstream not in settings.upstreams:
        known = ", ".join(settings.upstreams) or "none"
        hint = did_you_mean(rule.upstream, settings.upstreams)
        yield ("upstream",), f"wants one of upstreams ({known}); found '{rule.upstream}'{hint}"
    uncached = [method for method in rule.methods or () if method not in CACHED_METHODS]
    if uncached and rule.mode != "off":
        yield ("methods",), f"{uncached[0]} is never cached: take GET, HEAD, POST, or set `mode: off`"
    conditions = rule.conditions
    if conditions.max_size is not None and conditions.max_size < conditions.min_size:
        yield ("conditions", "max_size"), f"wants at least min_size, {conditions.min_size}"
    if conditions.status_codes is not None and set(conditions.status_codes) <= {304}:
        yield ("conditions", "status_codes"), "304 confirms an answer and is none: name one that can be stored, as 200"
    for n, template in enumerate(rule.tags):
        if wrong := validate_template(template):
            yield ("tags", n), wrong
    for n, target in enumerate(rule.invalidates):
        if target.startswith("tag:") and (wrong := validate_template(target.removeprefix("tag:"))):
            yield ("invalidates", n), wrong
    yield from _persons(rule)


def _persons(rule: RuleSettings) -> Iterator[Finding]:
    for steps, names in ((("key", "headers"), rule.key.headers), (("conditions", "headers"), rule.conditions.headers)):
        for name in TOLD_BY_US & {name.lower() for name in names}:
            yield steps, f"{name} is what we tell the origin of the client, whatever it says: it tells no answers apart"
    if rule.store_private and not identities(rule):
        text = "would share private answers: name who asks in key.headers or key.cookies, or set key.credentials: key"
        yield ("store_private",), text
