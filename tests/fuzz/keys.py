"""Keys: equal ones mean equal requests. Lines: host, a header, Cookie, Content-Type, Content-Encoding, target; another
Cookie, another Content-Type, another target; then the body."""

import re
from dataclasses import replace
from itertools import product
from typing import Literal

from proxy.message import Fields, Request
from proxy.policy.keys import KeyDeriver, Keyed, needs_body, url_forms
from proxy.rules import BodyKey, KeySpec, Rule, RuleTable
from tests.fuzz.target import Feed, Target

SEEDS = (
    b"a\n\nlang=x,SID=1\n\n\n/\nlang=x",
    (
        b"site.example\nen\nSID=31d4d96e407aad42; lang=en-US\napplication/json\n\n/a?b=1&a=2\nlang=en-US"
        b'\ntext/plain\n/a?a=2&b=1\n{"a": 1}'
    ),  # RFC 6265 3.1
    (
        b'a:81\n\nSID="a b"; SID=2;lang=\napplication/json; charset=utf-8\ngzip\n/%61\n$Version=1; SID=a'
        b"\nAPPLICATION/JSON\n/a\n{}"
    ),
    b'a\n\nSID=a, lang=b\ntext/html; charset="utf-16"\n\n*\nSID=a; lang=b\napplication/graphql\n/\n{a}',
)
TOKENS = (
    b"SID=",
    b"lang=",
    b"; ",
    b'"',
    b",",
    b"$",
    b"charset=",
    b"application/json",
    b"\n",
    b"/a?",
    b"&",
    b"%",
    b"\\",
)
_WANTED = ("SID",)
_KINDS: tuple[Literal["none", "raw", "json", "graphql"], ...] = ("none", "raw", "json", "graphql")
_RULES = tuple(
    Rule(
        methods=frozenset({"GET", "POST"}),
        key=KeySpec(
            headers=("accept-language",), cookies=_WANTED, credentials="key", body=BodyKey(kind), normal=normal
        ),
    )
    for kind, normal in product(_KINDS, (True, False))
)
_TABLE = RuleTable(_RULES, Rule())


def check(data: bytes) -> None:
    feed = Feed(data)
    host, language, cookie, media, coding, target = (feed.text() for _ in range(6))
    other_cookie, other_media, other_target = feed.text(), feed.text(), feed.text()
    body = feed.rest()
    plain = {"accept-language": language, "cookie": cookie, "content-type": media, "x-api-key": coding}
    one = _request(host, target, plain)
    for rule in _RULES:
        key = KeyDeriver().derive(one, rule, body)
        assert key == KeyDeriver().derive(one, rule, body)
        if not isinstance(key, Keyed):
            continue
        if key.parts.method == "GET" and rule.key.normal:
            assert key.target in url_forms(_TABLE, host, target)
            assert KeyDeriver().derive(replace(one, target=key.target), rule, body) == key
        _same(key, one, _request(host, target, plain | {"cookie": other_cookie}), rule, body)
        _same(key, one, _request(host, target, plain | {"content-type": other_media}), rule, body)
        _same(key, one, _request(host, other_target, plain), rule, body)
        _same(key, one, _request(host + "x", target, plain), rule, body)


def _request(host: str, target: str, fields: dict[str, str]) -> Request:
    return Request("POST", "http", host, target, Fields.of(*fields.items()))


def _same(key: Keyed, one: Request, other: Request, rule: Rule, body: bytes) -> None:
    """Where the keys are equal, so is all that they were to tell apart."""
    found = KeyDeriver().derive(other, rule, body)
    if not isinstance(found, Keyed):
        return
    assert (found.hash == key.hash) == (found.parts == key.parts)
    if found.hash != key.hash:
        return
    assert (one.host, found.target) == (other.host, key.target)
    for read in _READINGS:
        assert read(one.fields.get("cookie") or "") == read(other.fields.get("cookie") or "")
    if needs_body(one, rule):
        said, also = one.fields.get("content-type") or "", other.fields.get("content-type") or ""
        assert _essence(said) == _essence(also)


def _essence(media: str) -> str:
    return media.partition(";")[0].strip().lower()


def _first(cookie: str) -> list[str]:
    return [value for name, value in _crumbs(cookie.split(";")) if name in _WANTED][:1]


def _last(cookie: str) -> list[str]:
    return [value for name, value in _crumbs(cookie.split(";")) if name in _WANTED][-1:]


def _by_commas(cookie: str) -> list[str]:
    return [value for name, value in _crumbs(re.split("[;,]", cookie)) if name in _WANTED]


def _crumbs(pieces: list[str]) -> list[tuple[str, str]]:
    return [(name.strip(), value.strip()) for name, _, value in (piece.partition("=") for piece in pieces)]


_READINGS = (_first, _last, _by_commas)

TARGET = Target(check, SEEDS, TOKENS, most=16 * 1024)
