"""Requests, answers and stored entries in one line, for tables of the judgement. The clock stands at T."""

from dataclasses import replace

from proxy.entry import BytesBody, Entry, Found, KeyParts, Pairs, Scope
from proxy.message import Fields, Framing, Head, Request
from proxy.outcome import Tier
from proxy.policy.fields import http_date
from proxy.rules import KeySpec, Mode, Rule
from tests.support.asking import ask

T = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
ORIGIN = Rule(mode=Mode.ORIGIN)
TTL60 = Rule(name="r", ttl=60)
Told = tuple[str, str]


def get(*fields: Told, method: str = "GET", trusted: bool = False, target: str = "/") -> Request:
    return replace(ask(target, *fields, method=method), trusted=trusted, received_at=T)


def cc(value: str) -> Told:
    return "Cache-Control", value


def date(offset: float = 0) -> str:
    return http_date(T + offset)


def answer(
    *fields: Told, status: int = 200, framing: Framing = Framing.CHUNKED, took: float = 0.0, at: float = T
) -> Head:
    """An answer that came at `at` and took `took` seconds."""
    return Head(status, "", Fields.of(*fields), framing, at - took, at)


def stored(
    *fields: Told,
    status: int = 200,
    vary: Pairs = (),
    took: float = 0.0,
    at: float = T,
    method: str = "GET",
    body: bytes = b"x",
) -> Entry:
    parts = KeyParts(Scope("u", "", "http", method, "api.example.com"), "/")
    return Entry("0" * 64, parts, status, "", Fields.of(*fields), at - took, at, at + 1e9, BytesBody(body), vary)


def found(*fields: Told, ended_at: float | None = None, status: int = 200, took: float = 0.0) -> Found:
    return Found(stored(*fields, status=status, took=took), Tier.MEMORY, ended_at)


def ruled(**changes: object) -> Rule:
    """A rule with key parts given flat: `ruled(ttl=60, credentials="ignore")`."""
    key = {name: changes.pop(name) for name in ("credentials", "cookies", "headers") if name in changes}
    return replace(Rule(name="r"), key=replace(KeySpec(), **key), **changes)  # type: ignore[arg-type]
