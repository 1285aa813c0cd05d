"""One rule as the YAML gives it. `settings.compile` turns it into what the judgement reads."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag

from proxy.settings.addresses import (
    FieldName,
    FieldNames,
    RuleMethods,
)
from proxy.settings.problems import did_you_mean, found
from proxy.settings.sections import Section
from proxy.settings.values import (
    Amount,
    Flag,
    Name,
    Positive,
    Seconds,
    Share,
    Size,
    Ttl,
    Visible,
    Word,
    WordList,
    listed,
    not_empty,
    one_or_more,
    seconds,
    text,
    whole,
)

RATE_PRESETS = {"chat": (20, 60), "auth": (5, 900), "upload": (5, 60), "search": (30, 60)}  # limit, window in seconds

_PLACEHOLDER = re.compile(r"host|path\[\d{1,3}\]|(?:query|header|body)\.[^{}]+")


def path_glob(value: object) -> str:
    """A glob on the path, which always begins with a slash."""
    pattern = text(value)
    if pattern[0] not in "/*?":
        raise ValueError(f"can match no path, which begins with '/'; did you mean '/{pattern}' or '*/{pattern}'?")
    return pattern


def host_glob(value: object) -> str:
    glob = text(value).lower()
    if re.search(r"[/@\s]", glob):
        raise ValueError(f"wants a host such as api.example.com or *.example.com; found {found(value)}")
    return glob


def template(value: object) -> str:
    """Text with {path[2]} {query.x} {header.x} {body.x} {host} in it."""
    given = text(value)
    for inside in re.findall(r"\{([^{}]*)\}", given):
        if not _PLACEHOLDER.fullmatch(inside):
            known = ("{path[2]}", "{query.x}", "{header.x}", "{body.x}", "{host}")
            raise ValueError(f"knows no {{{inside}}}; it may name {', '.join(known)}")
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", given)):
        raise ValueError(f"wants every brace to be closed; found {found(value)}")
    return given


def invalidation(value: object) -> str:
    """A glob on the path, or `tag:<name>`."""
    given = text(value)
    if given.startswith("tag:"):
        return f"tag:{template(given.removeprefix('tag:'))}"
    return path_glob(given)


def cookie_names(value: object) -> object:
    """The names of cookies, or `ignore`."""
    if value is None or value == "ignore":
        return value if value is None else "ignore"
    names = listed(value)
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"wants the names of cookies, or ignore; found {found(value)}")
    return tuple(text(name) for name in names)


def switched(value: object) -> object:
    """YAML's booleans stand for on and off."""
    return {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(str(value).lower(), value)


def rate_preset(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in RATE_PRESETS:
        presets = ", ".join(RATE_PRESETS)
        hint = did_you_mean(value, RATE_PRESETS)
        raise ValueError(f"wants {{limit, window}} or a preset ({presets}); found {found(value)}{hint}")
    limit, window = RATE_PRESETS[value]
    return {"limit": limit, "window": window}


def rate_window(value: object) -> float:
    if not 1 <= (window := seconds(value)) <= 86_400:
        raise ValueError(f"wants a window from 1 second to 1 day; found {found(value)}")
    return window


def price(value: object) -> object:
    return value if value is None or isinstance(value, dict | BaseModel) else {"each": value}


def request_target(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(?:https?://[^/?#\s]+)?/[!-~]*", value):
        raise ValueError(f"wants a path such as /api/users/7, or a whole URL; found {found(value)}")
    return str(value)


def _form(value: object) -> str:
    return "<mapping>" if isinstance(value, dict | BaseModel) else "<word>"


PathGlobs = Annotated[
    tuple[Annotated[str, BeforeValidator(path_glob)], ...], BeforeValidator(not_empty), BeforeValidator(one_or_more)
]
Tags = Annotated[tuple[Annotated[str, BeforeValidator(template)], ...], BeforeValidator(one_or_more)]
Invalidations = Annotated[tuple[Annotated[str, BeforeValidator(invalidation)], ...], BeforeValidator(one_or_more)]
Status = Annotated[int, whole(200, 599)]
ErrorStatus = Annotated[int, whole(400, 599)]


class Conditions(Section):
    """What must hold for the rule to apply, and for an answer to be covered by its ttl."""

    headers: dict[FieldName, Word] = Field(
        default={}, description="the request must carry them; values are globs, names are in the key", repr=False
    )
    status_codes: Annotated[tuple[Status, ...], BeforeValidator(not_empty), BeforeValidator(listed)] | None = Field(
        default=None, description="answers that ttl covers; none: 200 203 204 300 301 308"
    )
    min_size: Size = Field(default=0, description="smallest body that is stored")
    max_size: Size | None = Field(default=None, description="largest body that is stored")


class QueryKey(Section):
    """Which part of the query tells entries apart."""

    sort: Flag = Field(default=True, description="the order of parameters does not matter")
    ignore: WordList = Field(default=(), description="globs of parameters that do not matter")
    only: WordList = Field(default=(), description="globs of the only parameters that matter")


class JsonKey(Section):
    """What of a JSON body does not matter."""

    ignore: WordList = Field(default=(), description="dotted paths that do not matter: user, metadata.*")


class JsonBody(Section):
    """A JSON body with parts that do not matter."""

    json_: JsonKey = Field(default=JsonKey(), alias="json", description="the canonical body, less what is ignored")


BodyForm = Annotated[
    Annotated[Literal["none", "raw", "json", "graphql"], Tag("<word>")] | Annotated[JsonBody, Tag("<mapping>")],
    Discriminator(_form),
]


class KeySettings(Section):
    """What tells one stored answer from another, beside upstream, method, host and path."""

    query: QueryKey = Field(default=QueryKey(), description="the query's part")
    headers: FieldNames = Field(default=(), description="request headers whose values are in the key")
    cookies: Annotated[tuple[str, ...] | Literal["ignore"] | None, BeforeValidator(cookie_names)] = Field(
        default=None, description="cookies whose values are in the key, or ignore: cookies do not matter"
    )
    credentials: Literal["refuse", "key", "ignore"] = Field(
        default="refuse", description="requests with credentials: not stored, own entries, or one entry for all"
    )
    body: BodyForm | None = Field(default=None, description="none, raw, json, graphql; default: raw on POST")
    host: Flag = Field(default=True, description="the client's Host is in the key; false: and is not sent upstream")


class RateLimitSettings(Section):
    """How many requests of one client are let through."""

    limit: Positive = Field(description="requests in a window")
    window: Annotated[float, BeforeValidator(rate_window)] = Field(description="seconds, 1 to 86400")
    by: FieldName = Field(default="client_ip", description="client_ip, or the header that tells clients apart")
    hits: Literal["count", "exempt"] = Field(default="count", description="whether answers from store count")
    on_redis_loss: Literal["local", "open", "closed"] = Field(
        default="local", description="while Redis is away: count in this instance, let all through, or none"
    )


class Cost(Section):
    """The money that one upstream call costs."""

    each: Amount = Field(description="money per call, or per unit that `json` names")
    json_: Word | None = Field(default=None, alias="json", description="dotted path of the units in the answer")


class ExampleRequest(Section):
    """A request that a rule is tried on."""

    method: RuleMethods = Field(default=("GET",), description="its method", max_length=1)
    url: Annotated[str, BeforeValidator(request_target)] = Field(description="path and query, or a whole URL")
    headers: dict[FieldName, Word] = Field(default={}, description="its headers", repr=False)
    body: Any = Field(default=None, description="its body; what is no text is sent as JSON", repr=False)


class ExampleAnswer(Section):
    """The answer that the try is given instead of a plain 200."""

    status: Status = Field(default=200, description="its status")
    headers: dict[FieldName, Word] = Field(default={}, description="its headers", repr=False)
    body: Any = Field(default=None, description="its body; what is no text is JSON", repr=False)


class Expectation(Section):
    """What the try must come to, on a cold cache."""

    verdict: Literal["MISS", "BYPASS"] | None = Field(
        default=None, description="MISS: would be stored; BYPASS: would not"
    )
    rule: Word | None = Field(default=None, description="the rule that takes it")
    ttl: Ttl | None = Field(default=None, description="the lifetime it gets")
    same_key_as: Annotated[str, BeforeValidator(request_target)] | None = Field(
        default=None, description="a request that shares its entry"
    )


class Example(Section):
    """One test of a rule, run by `cachegate check`."""

    request: ExampleRequest = Field(description="what is asked")
    answer: ExampleAnswer = Field(default=ExampleAnswer(), description="what the origin says; default: a plain 200")
    expect: Expectation = Field(description="what must come of it")


class RuleSettings(Section):
    """What is done with the requests that a pattern matches; the first rule that fits a request has it."""

    name: Word | None = Field(
        default=None, description="its name in logs and metrics; default: rule-<n>", max_length=100
    )
    pattern: PathGlobs = Field(default=(), description="glob on the path, or several: * crosses /, ? is one character")
    methods: RuleMethods | None = Field(default=None, description="methods it takes; default: cache.methods")
    host: Annotated[str, BeforeValidator(host_glob)] | None = Field(
        default=None, description="glob on the host; none: any"
    )
    upstream: Name | None = Field(default=None, description="one of `upstreams`; none: the main one")
    namespace: Visible | None = Field(default=None, description="a part of the key that can be purged by itself")
    ttl: Ttl | None = Field(default=None, description="seconds, a time or a preset; 0: revalidate every time")
    override: Flag = Field(default=False, description="ttl beats the origin's freshness (never private or no-store)")
    conditions: Conditions = Field(default=Conditions(), description="what must hold besides")
    key: KeySettings = Field(default=KeySettings(), description="what tells entries apart")
    tags: Tags = Field(default=(), description="names to purge by, with {path[2]} {query.x} {header.x} {body.x} {host}")
    stale_while_revalidate: Seconds | None = Field(
        default=None, description="seconds served stale while refreshed behind"
    )
    stale_if_error: Seconds | None = Field(default=None, description="seconds that it may stand in for an error")
    refresh_ahead: Share = Field(
        default=0.0, description="share of the lifetime at whose end a hit refetches it behind"
    )
    negative_ttl: dict[ErrorStatus, Ttl] = Field(default={}, description="seconds that an error status is stored")
    invalidates: Invalidations = Field(default=(), description="patterns or tag:<name> that a successful change ends")
    rate_limit: Annotated[RateLimitSettings | None, BeforeValidator(rate_preset)] = Field(
        default=None, description="{limit, window, by, hits, on_redis_loss}, or chat, auth, upload, search"
    )
    concurrency: Positive | None = Field(default=None, description="upstream calls of this rule at the same time")
    client_cache_control: Word | None = Field(default=None, description="Cache-Control that clients are told instead")
    store_private: Flag = Field(default=False, description="store private answers; wants an identity in the key")
    cost: Annotated[Cost | None, BeforeValidator(price)] = Field(default=None, description="money that one call costs")
    mode: Annotated[Literal["on", "off", "shadow"], BeforeValidator(switched)] = Field(
        default="on", description="off: never cached; shadow: measured, never served"
    )
    tests: tuple[Example, ...] = Field(default=(), description="tried by `cachegate check`")
