"""Canonical JSON for keys: row 210, RFC 8785, but numbers stay exact (contract, Rules)."""

import json
from decimal import Decimal
from typing import Any

import pytest
import rfc8785
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.policy.json_form import MAX_DEPTH, canonical_json


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        (' { "b" : 1 , "a" : [ ] } ', '{"a":[],"b":1}'),
        ("{}", "{}"),
        ("[[],{}]", "[[],{}]"),
        ("[true,false,null]", "[true,false,null]"),
        (r'"\u0041\/\u00e9\ud83d\ude00\n\u001F\u007f"', '"A/é😀\\n\\u001f\x7f"'),
        ('"\\""', '"\\""'),
        ("1e2", "100"),
        ("100.0", "100"),
        ("1E+2", "100"),
        ("-0", "0"),
        ("-0.0e5", "0"),
        ("0.10", "0.1"),
        ("-1.50e-1", "-0.15"),
        ("1e-6", "0.000001"),
        ("1e-7", "1e-7"),
        ("12e20", "1.2e+21"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("123.456e1", "1234.56"),
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551617", "18446744073709551617"),
        ("123456789012345678901234567890", "1.2345678901234567890123456789e+29"),
        ("123456789012345678901234567891", "123456789012345678901234567891"),
        ("0.1000000000000000000001", "0.1000000000000000000001"),
        ("1e999999999999", "1e+999999999999"),
        ("1e-999999999999", "1e-999999999999"),
    ],
)
def test_forms(raw: str, form: str) -> None:
    assert canonical_json(raw.encode()) == form.encode()
    assert canonical_json(form.encode()) == form.encode()


def test_names_are_sorted_by_utf16_units() -> None:
    """The example of RFC 8785 3.2.3."""
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    form = canonical_json(json.dumps(dict.fromkeys(names, 1)).encode())
    assert form is not None
    assert list(json.loads(form)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"{a:1}",
        b"[1,]",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"'a'",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b'"\x01"',
        b'"\\x41"',
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"x":{"a":1,"b":2,"a":3}}]',
        b'"\\ud800"',
        b'{"\\udc00":1}',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"1\x00",
        b"1 2",
        b"\xff\xfe1\x00",
        b"1e" + b"9" * 5000,
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_cannot_be_exact_has_no_form(raw: bytes) -> None:
    assert canonical_json(raw) is None


def test_depth_and_length_that_are_fine() -> None:
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert canonical_json(deep) == deep
    digits = b"7" * 100_000
    assert canonical_json(digits) == digits


@pytest.mark.parametrize(
    ("ignore", "left"),
    [
        (("user",), '{"items":[{"id":1,"t":2},{"id":3}],"metadata":{"a":1,"b":{"a":2}}}'),
        (("metadata.*",), '{"items":[{"id":1,"t":2},{"id":3}],"metadata":{},"user":"u"}'),
        (("metadata.b.a", "user"), '{"items":[{"id":1,"t":2},{"id":3}],"metadata":{"a":1,"b":{}}}'),
        (("items.*.t", "user", "metadata"), '{"items":[{"id":1},{"id":3}]}'),
        (("items.0", "user", "metadata"), '{"items":[{"id":3}]}'),
        (("*",), "{}"),
        (("*.a",), '{"items":[{"id":1,"t":2},{"id":3}],"metadata":{"b":{"a":2}},"user":"u"}'),
        (("absent", "user.x", "metadata.b.a.z"), None),
    ],
)
def test_ignored_members(ignore: tuple[str, ...], left: str | None) -> None:
    whole = b'{"items":[{"id":1,"t":2},{"id":3}],"metadata":{"a":1,"b":{"a":2}},"user":"u"}'
    assert canonical_json(whole, ignore) == (whole if left is None else left.encode())


# -- properties --------------------------------------------------------------------------------------------------------

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=None).filter(lambda d: abs(d.adjusted()) < 60)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def spell_number(value: Decimal, random: Any) -> str:
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)) + "0" * (extra := random.randrange(3))
    exponent -= extra
    if len(text) > 1 and random.random() < 0.5:
        at = random.randrange(1, len(text))
        exponent += len(text) - at
        text = f"{text[:at]}.{text[at:]}"
    whole, dot, fraction = text.partition(".")
    text = (whole.lstrip("0") or "0") + dot + fraction
    if exponent or random.random() < 0.3:
        text += random.choice(["e", "E"]) + (random.choice(["", "+"]) if exponent >= 0 else "") + str(exponent)
    return ("-" if sign else "") + text


def spell(value: Any, random: Any) -> str:
    """One of the many texts of a document."""
    space = random.choice(["", " ", "\n\t"])
    if isinstance(value, dict):
        members = [f"{spell(name, random)}{space}:{spell(member, random)}" for name, member in value.items()]
        random.shuffle(members)
        return "{" + space + ",".join(members) + "}" + space
    if isinstance(value, list):
        return "[" + f"{space},".join(spell(element, random) for element in value) + space + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=random.random() < 0.5).replace("/", random.choice(["/", "\\/"]))
    if isinstance(value, Decimal):
        return spell_number(value, random)
    return json.dumps(value)


def exact(value: Any) -> Any:
    """What tells documents apart: types, exact numbers."""
    if isinstance(value, dict):
        return {"members": {name: exact(member) for name, member in value.items()}}
    if isinstance(value, list):
        return [exact(element) for element in value]
    return (type(value).__name__, value)


@given(DOCUMENTS, st.randoms(), st.randoms())
def test_equivalent_documents_meet(value: Any, one: Any, other: Any) -> None:
    form = canonical_json(spell(value, one).encode())
    assert form is not None
    assert form == canonical_json(spell(value, other).encode())
    assert exact(json.loads(form, parse_int=Decimal, parse_float=Decimal)) == exact(value)


@given(DOCUMENTS, DOCUMENTS, st.randoms())
def test_different_documents_never_collide(one: Any, other: Any, random: Any) -> None:
    assume(exact(one) != exact(other))
    assert canonical_json(spell(one, random).encode()) != canonical_json(spell(other, random).encode())


FLOATS = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(1 - 2**53, 2**53 - 1)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(FLOATS)
def test_agrees_with_rfc8785_on_what_doubles_can_hold(value: Any) -> None:
    assert canonical_json(json.dumps(value).encode()) == rfc8785.dumps(value)


@given(st.binary(max_size=30))
def test_takes_any_bytes(raw: bytes) -> None:
    form = canonical_json(raw)
    assert form is None or canonical_json(form) == form
