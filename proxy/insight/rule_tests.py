"""The rules' own tests: each request is held against the judgement that the gateway uses, on a cold cache."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, assert_never
from urllib.parse import urlsplit

from proxy.entry import KeyParts
from proxy.message import Fields, Head, Request, Upload
from proxy.policy.keys import Keyed, Refused, derive, needs_body
from proxy.policy.storing import Keep, Skip, judge_size, judge_storing
from proxy.reasons import Why
from proxy.rules import Rule, RuleTable
from proxy.settings.compile import compile_rules, rule_names
from proxy.settings.model import Settings
from proxy.settings.rule_model import Example, ExampleAnswer

HOST = "localhost"  # of a bare path, where the rule that is tested names no host


@dataclass(frozen=True, slots=True)
class Trial:
    """One test that was run. `place` as in the settings: "rules[0].tests[1]"; `wrong` says each expectation that was
    not met."""

    place: str
    rule: str
    request: str
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answered:
    """What the gateway would do with the request; `ttl` in seconds when it would store."""

    rule: Rule
    why: Why
    ttl: float | None = None

    @property
    def verdict(self) -> str:
        return "BYPASS" if self.ttl is None else "MISS"


def run_rule_tests(settings: Settings, now: float) -> Iterator[Trial]:
    """Every test of every rule, in order; `now` is wall-clock seconds."""
    table = RuleTable(*compile_rules(settings))
    for n, (name, rule) in enumerate(zip(rule_names(settings), settings.rules, strict=True)):
        for m, example in enumerate(rule.tests):
            asked = _Asked.of(example, rule.host, settings.limits.key_body)
            wrong = tuple(_differences(asked, example, table, now))
            yield Trial(f"rules[{n}].tests[{m}]", name, f"{asked.method} {example.request.url}", wrong)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A test's request, from which one for another URL can be made: a bare path has its scheme and host."""

    method: str
    scheme: str
    host: str
    fields: Fields
    body: bytes | None
    key_body: int

    @classmethod
    def of(cls, example: Example, host_glob: str | None, key_body: int) -> "_Asked":
        request = example.request
        headers = dict(request.headers)
        host = headers.pop("host", None) or _fitting_host(host_glob)
        scheme, host, _ = _split(request.url, "http", host.lower())
        body = None if request.body is None else _bytes(request.body)
        if body is not None and not isinstance(request.body, str):
            headers.setdefault("content-type", "application/json")
        return cls(request.method[0], scheme, host, _fields(headers), body, key_body)

    def at(self, url: str) -> Request:
        scheme, host, target = _split(url, self.scheme, self.host)
        body = None if self.body is None else Upload(_nothing(), len(self.body))
        return Request(self.method, scheme, host, target, self.fields, body=body)


def _split(url: str, scheme: str, host: str) -> tuple[str, str, str]:
    """Scheme, host and target of a whole URL; a bare path has those that are given."""
    if url.startswith("/"):
        return scheme, host, url
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower(), url.partition(parts.netloc)[2]


async def _nothing() -> AsyncIterator[bytes]:
    """An upload that nobody reads: its length is all that is asked for."""
    return
    yield b""


def _fitting_host(glob: str | None) -> str:
    """A host for bare paths that the rule under test takes."""
    return HOST if glob is None else glob.replace("*", "any").replace("?", "x")


def _fields(headers: Mapping[str, str]) -> Fields:
    return Fields((name.encode("latin-1"), value.encode("utf-8")) for name, value in headers.items())


def _bytes(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def _differences(asked: _Asked, example: Example, table: RuleTable, now: float) -> Iterator[str]:
    expect = example.expect
    request = asked.at(example.request.url)
    answered = _answer(asked, request, example.answer, table, now)
    if expect.rule is not None and expect.rule != answered.rule.name:
        yield f"rule: wanted {expect.rule}, found {answered.rule.name or 'none'}{_why_not(table, request, expect.rule)}"
    if expect.verdict is not None and expect.verdict != answered.verdict:
        yield f"verdict: wanted {expect.verdict}, found {answered.verdict} ({_reason(answered.why)})"
    if expect.ttl is not None and expect.ttl != answered.ttl:
        found = f"nothing stored ({_reason(answered.why)})" if answered.ttl is None else f"{answered.ttl:g}"
        yield f"ttl: wanted {expect.ttl:g}, found {found}"
    if expect.same_key_as is not None:
        yield from _key_differences(asked, request, asked.at(expect.same_key_as), table)


def _answer(asked: _Asked, request: Request, answer: ExampleAnswer, table: RuleTable, now: float) -> _Answered:
    rule = table.match(request)
    key = _key(asked, request, rule)
    if not isinstance(key, Keyed):
        return _Answered(rule, key.why)
    head, size = _head(answer, rule, now)
    storing = judge_storing(request, head, rule, now)
    if isinstance(storing, Keep) and (too := judge_size(rule, size)) is not None:
        storing = too
    match storing:
        case Keep():
            return _Answered(rule, storing.why, storing.lifetime)
        case Skip():
            return _Answered(rule, storing.why)
        case _:
            assert_never(storing)


def _key(asked: _Asked, request: Request, rule: Rule) -> Keyed | Refused:
    body = asked.body or b""
    if len(body) > asked.key_body and needs_body(request, rule):
        return Refused(Why.BODY_TOO_LARGE)
    return derive(request, rule, body)


def _head(answer: ExampleAnswer, rule: Rule, now: float) -> tuple[Head, int]:
    """The origin's answer and its size; one whose body is not given is as large as the rule wants it."""
    size = rule.min_size if answer.body is None else len(_bytes(answer.body))
    headers = {"content-length": str(size), **answer.headers}
    return Head(answer.status, "", _fields(headers), requested_at=now, received_at=now), size


def _key_differences(asked: _Asked, request: Request, other: Request, table: RuleTable) -> Iterator[str]:
    one, two = (_key(asked, each, table.match(each)) for each in (request, other))
    for each, key in ((request, one), (other, two)):
        if isinstance(key, Refused):
            yield f"same_key_as: {each.target} has no key ({_reason(key.why)})"
    if isinstance(one, Keyed) and isinstance(two, Keyed) and one.hash != two.hash:
        this_key, that_key = _named(one.parts), _named(two.parts)
        for name, this in this_key.items():
            if this != (that := that_key[name]):
                yield f"same_key_as: the keys differ in {name}: {this!r} here, {that!r} there"


def _named(parts: KeyParts) -> dict[str, object]:
    """What a key is made of, by its names in the order of the key."""
    others = {each.name: getattr(parts, each.name) for each in fields(parts) if each.name != "scope"}
    return {**parts.scope._asdict(), **others}


def _why_not(table: RuleTable, request: Request, name: str) -> str:
    return next((f" ({tried.why})" for tried in table.tried(request) if tried.name == name), "")


def _reason(why: Why) -> str:
    return f"{why.word}: {why.advice}" if why.advice else why.word
