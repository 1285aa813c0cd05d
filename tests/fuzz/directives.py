"""Cache-Control and the targeted fields (RFC 9111 5.2, 9213), Cache-Status (RFC 9211). A line is a field line."""

from dataclasses import replace

from proxy.message import Fields
from proxy.outcome import Outcome, Verdict
from proxy.policy.cache_control import Directives, for_shared_cache, parse
from proxy.policy.cache_status import readable, render
from proxy.policy.fields import INFINITE
from proxy.policy.forwarding import has_loop
from proxy.reasons import Why
from tests.fuzz.target import Target

SEEDS = (
    b"max-age=600, stale-while-revalidate=30, stale-if-error=1200",  # RFC 5861 3.1
    b'private="x-a, x-b", no-cache="set-cookie"\nmax-age="5", s-maxage=1',
    b'public, max-age=5, max-age=6, community="UCI"',  # RFC 9111 5.2.3
    b"no-store, no-cache, must-revalidate, proxy-revalidate, must-understand, immutable",
    b"max-stale, min-fresh=5, only-if-cached",
    b"max-age=60;x=1, no-cache=?0",  # RFC 9213
    b'a=(b c);d, e=:aGk=:, f=1.5, g=@1659578233, h=%"f%c3%bc"',  # RFC 9651
    b'ExampleCache; hit; ttl=30, OriginCache; fwd=uri-miss; stored; key="a"',  # RFC 9211
    b"1.1 cachegate-1a2b, 1.0 fred (a comment)",
)
TOKENS = (
    b"max-age=",
    b"s-maxage=",
    b'private="',
    b"no-cache",
    b"public",
    b'"',
    b"=?1",
    b"=:",
    b"=@",
    b'=%"',
    b"(",
    b")",
    b"-",
)
_NUMBERS = ("max_age", "s_maxage", "stale_while_revalidate", "stale_if_error", "max_stale", "min_fresh")


def check(data: bytes) -> None:
    lines = data.split(b"\n")
    _cache_control(lines)
    _targeted(lines)
    _cache_status(data.decode("latin-1").replace("\n", " "))


def _cache_control(lines: list[bytes]) -> None:
    said = _read(lines)
    assert said == _read(lines[::-1]) == _read([line.upper() for line in lines])
    assert _read([*lines, b"no-store, private"]) == replace(said, no_store=True, private=True)
    _bounded(said)
    assert _read([_written(said)]) == said
    if said.max_age:
        contradicted = _read([*lines, b"max-age=%d" % (said.max_age - 1)])
        assert contradicted == replace(said, max_age=0)


def _read(lines: list[bytes]) -> Directives:
    return parse(Fields((b"Cache-Control", line) for line in lines))


def _bounded(said: Directives) -> None:
    numbers = [getattr(said, name) for name in _NUMBERS]
    assert all(number is None or 0 <= number <= INFINITE for number in numbers)


def _written(said: Directives) -> bytes:
    parts = []
    for name in Directives.__slots__:
        value = getattr(said, name)
        word = name.replace("_", "-")
        if name == "withheld":
            parts += [f'private="{", ".join(value)}"'] if value else []
        elif name in _NUMBERS and value is not None:
            parts.append(f"{word}={value}")
        elif value is True and name != "targeted":
            parts.append(word)
    return ", ".join(parts).encode("latin-1")


def _targeted(lines: list[bytes]) -> None:
    fields = Fields((b"CDN-Cache-Control", line) for line in lines)
    said = for_shared_cache(fields)
    _bounded(said)
    assert said.targeted or said == Directives()
    if said.targeted and not said.withheld:
        again = for_shared_cache(Fields(((b"CDN-Cache-Control", _written(said)),)))
        assert again == said or not _written(said)
    ours = Fields(((b"Cachegate-Cache-Control", b"max-age=7"), *fields.pairs))
    assert for_shared_cache(ours) == Directives(max_age=7, targeted=True)


def _cache_status(text: str) -> None:
    own = render(text, Outcome(Verdict.MISS, Why.URI_MISS, key=text, fwd="uri-miss"), 200, debug=True)
    assert readable(own)
    assert own.isascii()
    if readable(text):
        assert readable(f"{text}, {own}")
    assert has_loop(Fields.of(("Via", f"{text}, 1.1 us")), "us")
    has_loop(Fields.of(("Via", text)), "us")


TARGET = Target(check, SEEDS, TOKENS)
