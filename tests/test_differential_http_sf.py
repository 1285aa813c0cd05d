"""Targeted cache control against http-sf, which reads and writes structured fields (RFC 9651): what it writes is read
as it was meant, what it refuses is ignored, and Cache-Control itself is read the same but for what is listed."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

import http_sf
import pytest
from http_sf import DisplayString, Token
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.message import Fields
from proxy.policy.cache_control import Directives, for_shared_cache, parse
from proxy.policy.fields import INFINITE
from tests.support.judged import cc

NUMBERS = ("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error")
FLAGS = ("no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate", "must-understand")
FALLEN_BACK = Directives(max_age=1)


def targeted(value: str) -> Directives:
    """By the targeted field alone; `FALLEN_BACK` when it is ignored."""
    return for_shared_cache(Fields.of(("CDN-Cache-Control", value), cc("max-age=1")))


def written(dictionary: dict[str, Any]) -> str:
    """Lines of one dictionary, as http-sf writes them."""
    return http_sf.ser(dictionary)


def expected(dictionary: dict[str, Any]) -> Directives:
    """The same by the types of the values alone (RFC 9213 2.1)."""
    said: dict[str, Any] = {}
    for name, member in dictionary.items():
        item = member[0] if isinstance(member, tuple) else member
        attribute = name.replace("-", "_")
        if name in NUMBERS:
            if type(item) is not int:
                return FALLEN_BACK
            said[attribute] = min(max(0, item), INFINITE)
        elif name in ("no-cache", "private") and type(item) is str:
            said["withheld"] = said.get("withheld", frozenset()) | {item.lower()}
        elif name in FLAGS:
            if item is not True:
                return FALLEN_BACK
            said[attribute] = True
        elif name == "immutable":
            said[attribute] = True
    return Directives(targeted=True, **said) if dictionary else FALLEN_BACK


BARE = st.sampled_from(
    [True, True, True, False, 0, 60, -5, 10**14, Decimal("1.5"), Token("a"), b"a", DisplayString("ü")]
)
ITEM = BARE | st.tuples(BARE, st.dictionaries(st.sampled_from(["x", "max-age"]), BARE, max_size=1))
NAMED_FIELDS = st.sampled_from(["x-a", "X-B"])
INNER = st.tuples(st.lists(st.tuples(BARE, st.just({})), max_size=2), st.just({}))
DICTIONARIES = (
    st.dictionaries(st.sampled_from(NUMBERS), st.integers(-9, 10**12) | st.integers(0, 90) | ITEM, max_size=2)
    | st.dictionaries(st.sampled_from(FLAGS), st.just(True), max_size=3)
    | st.dictionaries(st.sampled_from((*FLAGS, "immutable")), ITEM | INNER, max_size=2)
    | st.dictionaries(st.sampled_from(["no-cache", "private"]), NAMED_FIELDS, max_size=2)
    | st.dictionaries(st.sampled_from(["foo", "*bar", "none", "min-fresh", "only-if-cached"]), ITEM | INNER, max_size=2)
)


@given(st.lists(DICTIONARIES, min_size=1, max_size=3))
def test_what_is_written_is_read_as_it_was_meant(parts: list[dict[str, Any]]) -> None:
    dictionary: dict[str, Any] = {}
    for part in parts:
        dictionary |= part
    assert targeted(written(dictionary) if dictionary else "") == expected(dictionary)


JUNK = st.sampled_from(
    [
        "max-age=60",
        "no-store",
        "a",
        ",",
        ", ",
        "=",
        ";x",
        '"',
        "(",
        ")",
        "Max-Age=1",
        "é",
        "\t",
        " ",
        "?1",
        ":YQ==:",
        "@1",
    ]
)


@given(st.lists(JUNK, max_size=5).map("".join))
def test_what_is_refused_is_ignored_whole(value: str) -> None:
    """RFC 9213 2.1, RFC 9651 4.2: one error, or no member at all, and the field is as if it were absent."""
    try:
        read = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
    except (http_sf.StructuredFieldError, ValueError):
        read = {}
    if not read:
        assert targeted(value) == FALLEN_BACK
    else:
        assert targeted(value) == expected({name: _bare(member) for name, member in read.items()})


def _bare(member: Any) -> Any:
    return member[0] if isinstance(member, tuple) else member


# -- Cache-Control is not a structured field ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Where the same text means another thing in Cache-Control. `explains` looks at the members."""

    why: str
    explains: Callable[[tuple[str, ...]], bool]
    example: tuple[str, ...]


def _any(members: tuple[str, ...], *parts: str) -> bool:
    return any(part in member for member in members for part in parts)


def _names(members: tuple[str, ...]) -> list[str]:
    return [member.partition("=")[0].partition(";")[0].strip().lower() for member in members]


DIFFERENCES = (
    Difference(
        "of two that differ the last counts there (9651 4.2.2), and here the answer is stale (9111 4.2.1)",
        lambda members: len(set(_names(members))) < len(members),
        ("max-age=5", "max-age=60"),
    ),
    Difference(
        "there one error voids the field (9213 2.1), here it is skipped or restricts (http-caching)",
        lambda members: _any(members, "=x y", "=, ", "?0", "é") or "" in members,
        ("max-age=60", ""),
    ),
    Difference(
        "there names are lower case (9651 4.2.3.3), here they are of any (9111 5.2)",
        lambda members: any(name != name.lower() for name in members),
        ("Max-Age=60",),
    ),
    Difference(
        "there parameters are ignored (9213 2.1), here there are none",
        lambda members: _any(members, ";"),
        ("max-age=60;a=1",),
    ),
    Difference(
        "there a wrong type voids the field (9213 2.1), here a number may be quoted (9111 5.2) and no number is stale",
        lambda members: _any(members, '="60"', "=1.5", "=a", "=-5", "=(") or {*members} & {*NUMBERS},
        ('max-age="60"',),
    ),
    Difference(
        "there a Boolean says that it is true (9651 3.3.6), and a directive with an argument is another; here a"
        " restriction holds with whatever argument",
        lambda members: _any(members, "=1", "=?1"),
        ("public=?1",),
    ),
)

MEMBERS = st.lists(
    st.tuples(
        st.sampled_from(NUMBERS), st.sampled_from(["=0", "=60", "=060", '="60"', "=1.5", "=a", "=-5", "", ";a=1"])
    ).map("".join)
    | st.sampled_from(FLAGS)
    | st.tuples(st.sampled_from(FLAGS), st.sampled_from(["=1", "=?1", "=?0", "=a", ";a", "=x y"])).map("".join)
    | st.sampled_from(["Max-Age=60", "NO-STORE", "foo", 'foo="no-store, max-age=9"', "foo=(a b)", "é", ""])
    | st.sampled_from(['private="x-a"', 'no-cache="x-a, X-B"', 'private="Vary"', "immutable"]),
    min_size=1,
    max_size=3,
).map(tuple)


def said(members: tuple[str, ...]) -> tuple[Directives, Directives]:
    value = ", ".join(members)
    there, here = targeted(value), parse(Fields.of(cc(value)))
    untargeted = {f.name: getattr(there, f.name) for f in fields(Directives) if f.name != "targeted"}
    return Directives(**untargeted), here


@given(MEMBERS)
@example(("max-age=60", 'private="x-a, x-b"', "must-revalidate"))
def test_cache_control_says_the_same(members: tuple[str, ...]) -> None:
    there, here = said(members)
    assert there == here or any(difference.explains(members) for difference in DIFFERENCES)


@pytest.mark.parametrize("difference", [pytest.param(each, id=each.why) for each in DIFFERENCES])
def test_cache_control_differs(difference: Difference) -> None:
    there, here = said(difference.example)
    assert there != here
    assert difference.explains(difference.example)
