"""Vary and what it nominates (RFC 9110 12.5, RFC 9111 4.1). Lines: Vary, Accept, Accept-Language, Accept-Encoding,
Content-Type, Content-Language, Content-Encoding, another field."""

from proxy.entry import Variant
from proxy.message import Fields
from proxy.policy.fields import members, weighted
from proxy.policy.variants import rank
from proxy.policy.vary import CODINGS, accepts_coding, preferred_coding, vary_names, vary_value, vary_values
from proxy.rules import Rule
from tests.fuzz.target import Feed, Target

SEEDS = (
    b"\nText/Html, audio/*\nen, DE\ngzip, br",
    (
        b"Accept-Encoding, accept-language\naudio/*; q=0.2, audio/basic\nda, en-gb;q=0.8, en;q=0.7\ncompress;q=0.5"
        b", gzip;q=1.0\naudio/basic\nda, en\ngzip"
    ),
    (
        b"*\ntext/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5\n*\n*"
        b"\ntext/html;level=3\nmi, en\nbr, x-gzip"
    ),  # 12.5.1
    b'cookie\ntext/html;a="b, c" ; q=0\nzh-Hant-CN-x, zh;q=0.1\ngzip;q=1.0, identity; q=0.5, *;q=0\n\n\n\nx',
)
TOKENS = (
    b";q=",
    b"0.001",
    b"1.000",
    b"*/*",
    b"text/",
    b"*",
    b"en-",
    b"gzip",
    b"x-gzip",
    b"identity",
    b"Accept",
    b'"',
    b"; ",
)
_RULES = (Rule(), Rule(normalise_encoding=False))
_NAMES = ("accept", "accept-language", "accept-encoding", "content-type", "content-language", "content-encoding", "x-y")


def check(data: bytes) -> None:
    feed = Feed(data)
    _names(feed.text())
    values = {name: feed.text() for name in _NAMES}
    for name, value in values.items():
        _form(name, value)
    _codings(values["accept-encoding"], values["content-encoding"])
    _likes(values)


def _names(value: str) -> None:
    names = vary_names(Fields.of(("Vary", value)))
    if names is not None:
        assert list(names) == sorted({name.lower() for name in names})
        assert vary_names(Fields.of(("Vary", ", ".join(names)))) == names
        assert vary_names(Fields.of(("Vary", value), ("Vary", "*"))) is None
        asked = Fields.of(*((name, "x") for name in names))
        assert vary_values(names, asked, Rule()) == vary_values(names, asked, Rule())


def _form(name: str, value: str) -> None:
    for rule in _RULES:
        form = vary_value(name, Fields.of((name, value)), rule)
        assert vary_value(name, Fields.of((name, form)), rule) == form
    if name in ("accept-language", "accept-encoding") and weighted(value) is not None:
        assert weighted(form) == weighted(value)
        turned = ", ".join(reversed(members(value.swapcase())))
        assert vary_value(name, Fields.of((name, turned)), _RULES[1]) == form
    if name == "accept" and not set(value) & {'"', ";"}:
        assert vary_value(name, Fields.of((name, value.encode().upper().decode())), _RULES[1]) == form


def _codings(asked: str, coded: str) -> None:
    coding = preferred_coding(asked)
    assert coding in (*CODINGS, "identity")
    assert coding == "identity" or accepts_coding(asked, coding)
    accepts_coding(asked, coded)


def _likes(values: dict[str, str]) -> None:
    """How much an answer is liked is between 0 and 1, and nothing but the normal form of what was asked matters."""
    told = (
        ("accept", values["content-type"]),
        ("accept-language", values["content-language"]),
        ("accept-encoding", values["content-encoding"]),
    )
    variant = Variant("id", (("a", "b"),), 0.0, 0.0, told)
    names = [name for name, _ in told]
    liking = rank(variant, Fields.of(*((name, values[name]) for name in names)))[1]
    assert 0 <= liking <= 1
    for name, answer in told:
        one = Variant("id", (("a", "b"),), 0.0, 0.0, ((name, answer),))
        form = vary_value(name, Fields.of((name, values[name])), _RULES[1])
        assert rank(one, Fields.of((name, form)))[1] == rank(one, Fields.of((name, values[name])))[1]


TARGET = Target(check, SEEDS, TOKENS)
