"""Variants: RFC 9111 4.1; RFC 9110 12.4.2, 12.5.1-12.5.5. One client's variant is never another's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.entry import Variant, variant_id
from proxy.message import Fields
from proxy.policy.reuse import Choice
from proxy.policy.variants import as_variant
from proxy.policy.vary import (
    ABSENT,
    accepts_coding,
    preferred_coding,
    vary_names,
    vary_value,
    vary_values,
)
from proxy.rules import Rule
from tests.support.judged import ORIGIN, T, Told, date, get, ruled, stored

AS_SENT = ruled(normalise_encoding=False)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([], (), id="no Vary"),
        pytest.param([""], (), id="an empty one"),
        pytest.param(["Accept, ACCEPT-language"], ("accept", "accept-language"), id="12.5.5 names in any case"),
        pytest.param(["b, a", "a"], ("a", "b"), id="lines combined, each once"),
        pytest.param(["*"], None, id="4.1 star never matches"),
        pytest.param(["accept, *"], None, id="4.1 star anywhere"),
        pytest.param(["accept", "*"], None, id="4.1 star in another line"),
        pytest.param(["accept language"], None, id="no field name"),
        pytest.param(["accept, X-Forwarded-For"], None, id="what we tell of each client"),
        pytest.param(["Forwarded"], None, id="and in its new form"),
    ],
)
def test_vary_names(lines: list[str], expected: tuple[str, ...] | None) -> None:
    assert vary_names(Fields.of(*(("Vary", line) for line in lines))) == expected


@pytest.mark.parametrize(
    ("name", "a", "b", "same"),
    [
        pytest.param("Accept-Language", "en, de", "de,EN", True, id="12.5.4 order, case, whitespace"),
        pytest.param("Accept-Language", "en;q=1, de;q=0.50", "en,de; q=0.5", True, id="12.4.2 one weight, many forms"),
        pytest.param("Accept-Language", "en;q=0.5, de", "en, de;q=0.5", False, id="12.5.4 weights count"),
        pytest.param("Accept-Language", "en", "en, de", False, id="12.5.4 one more"),
        pytest.param("Accept-Language", "en x", "EN x", False, id="what is no list is compared as it is"),
        pytest.param("Accept-Charset", "utf-8, a;q=0.1", "a;q=0.1,UTF-8", True, id="12.5.2"),
        pytest.param("Accept", "text/html;q=0.5 , a/b", "TEXT/html ;q=0.5,a/b", True, id="12.5.1 case, whitespace"),
        pytest.param("Accept", "a/b, c/d", "c/d, a/b", False, id="12.5.1 order is left"),
        pytest.param("Accept", 'a/b;x="1 ;2"', 'a/b;x="1;2"', False, id="5.6.4 not inside quotes"),
        pytest.param("Foo", "1, 2", "1,2", False, id="4.1 an unknown field, byte for byte"),
        pytest.param("Foo", "A", "a", False, id="4.1 an unknown field's case"),
        pytest.param("Foo", "", None, False, id="4.1 empty is not absent"),
        pytest.param("Accept-Language", "", None, False, id="4.1 empty is not absent, lists too"),
        pytest.param("Foo", None, None, True, id="4.1 absent matches absent"),
        pytest.param("Authorization", "Basic a", "Basic b", False, id="credentials"),
        pytest.param("Cookie", "a=1", "a=2", False, id="cookies"),
        pytest.param("Accept-Encoding", "gzip, br", "br;q=1.0, GZIP", True, id="12.5.3 the same coding is asked for"),
        pytest.param("Accept-Encoding", "gzip, deflate", "gzip", True, id="12.5.3 the same coding, another list"),
        pytest.param("Accept-Encoding", "gzip", "br", False, id="12.5.3 another coding"),
        pytest.param("Accept-Encoding", None, "identity", True, id="12.5.3 nothing said is asked for identity"),
    ],
)
def test_values_that_match(name: str, a: str | None, b: str | None, same: bool) -> None:
    left, right = (Fields.of(*([(name, value)] if value is not None else [])) for value in (a, b))
    forms = {vary_value(name.lower(), told, ORIGIN) for told in (left, right)}
    assert (len(forms) == 1) is same


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        pytest.param("gzip, br", "BR,gzip", True, id="order and case"),
        pytest.param("gzip, br", "gzip", False, id="another set"),
        pytest.param("", "identity", False, id="another list"),
    ],
)
@pytest.mark.parametrize("rule", [AS_SENT, ruled(headers=("accept-encoding",))])
def test_accept_encoding_as_it_was_sent(a: str, b: str, same: bool, rule: Rule) -> None:
    """With the setting off, or the field in the key, upstream gets the client's own list: it is all compared."""
    values = {vary_value("accept-encoding", Fields.of(("Accept-Encoding", v)), rule) for v in (a, b)}
    assert (len(values) == 1) is same


def test_lines_of_one_field_are_combined() -> None:
    two = Fields.of(("Foo", "1"), ("Foo", "2"))
    assert vary_values(("foo", "bar"), two, ORIGIN) == (("foo", "1, 2"), ("bar", ABSENT))


def test_what_is_bound_to_a_person_is_kept_as_a_digest() -> None:
    told = Fields.of(("Authorization", "Basic c2VjcmV0"), ("Cookie", "sid=secret"), ("X-Api-Key", "secret"))
    for name, value in vary_values(("authorization", "cookie", "x-api-key"), told, ORIGIN):
        assert "ecret" not in value, name
        assert "c2Vj" not in value, name


def test_absent_is_a_variant_of_its_own() -> None:
    """Otherwise an answer to a request without the field would be filed as one that does not vary, or as one to a
    request with an empty field."""
    absent = variant_id(vary_values(("foo",), Fields(), ORIGIN))
    assert absent not in ("", variant_id(vary_values(("foo",), Fields.of(("Foo", "")), ORIGIN)))


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        pytest.param(None, "identity", id="nothing said"),
        pytest.param("", "identity", id="12.5.3 empty: none wanted"),
        pytest.param("gzip", "gzip", id="one"),
        pytest.param("x-gzip", "gzip", id="8.4.1.3 the old name"),
        pytest.param("gzip, deflate, br, zstd", "zstd", id="ours to choose among equals"),
        pytest.param("gzip, br", "br", id="ours to choose among equals, two"),
        pytest.param("gzip, br;q=0.9", "gzip", id="12.5.3 the client's weights first"),
        pytest.param("deflate", "identity", id="none that we know"),
        pytest.param("gzip;q=0", "identity", id="12.4.2 not acceptable"),
        pytest.param("gzip;q=0.5, identity", "identity", id="12.5.3 identity is liked better"),
        pytest.param("gzip;q=0.5", "gzip", id="12.5.3 identity not named"),
        pytest.param("gzip;q=0.1, *;q=0", "gzip", id="12.5.3 nothing else"),
        pytest.param("*;q=0", "identity", id="12.5.3 nothing at all"),
        pytest.param("gzip;q=x", "identity", id="junk"),
    ],
)
def test_preferred_coding(accept: str | None, coding: str) -> None:
    assert preferred_coding(accept) == coding


CODING = st.sampled_from(["gzip", "x-gzip", "br", "zstd", "deflate", "identity", "*", "GZIP"])
WEIGHT = st.sampled_from(["", ";q=0", ";q=0.5", "; q=0.9", ";q=1"])


@given(st.lists(st.tuples(CODING, WEIGHT)).map(lambda items: ", ".join(map("".join, items))))
def test_the_preferred_coding_can_be_read(accept: str) -> None:
    coding = preferred_coding(accept)
    assert coding == "identity" or accepts_coding(accept, coding)


@pytest.mark.parametrize(
    ("accept", "content", "readable"),
    [
        (None, "br", True),
        ("gzip", "br", False),
        ("gzip", "x-gzip", True),
        ("gzip, *", "br", True),
        ("gzip, br;q=0", "br", False),
        ("gzip", "gzip, br", False),
        ("gzip", "identity", True),
        ("gzip;q=0", "identity", True),
        ("", "gzip", False),
    ],
)
def test_accepts_coding(accept: str | None, content: str, readable: bool) -> None:
    """RFC 9110 12.5.3."""
    assert accepts_coding(accept, content) is readable


def variant(id: str, at: float, *vary: Told, dated: float = 0) -> Variant:
    return Variant(id, vary, at, dated)


@pytest.mark.parametrize(
    ("variants", "chosen", "others"),
    [
        pytest.param([], None, False, id="nothing stored"),
        pytest.param([variant("", 1)], "", False, id="no Vary fits everything"),
        pytest.param([variant("a", 1, ("foo", "x"))], "a", False, id="4.1 it fits"),
        pytest.param([variant("a", 1, ("foo", "y"))], None, True, id="4.1 it does not"),
        pytest.param([variant("a", 1, ("foo", "x"), ("bar", "x"))], None, True, id="4.1 all must fit"),
        pytest.param([variant("a", 1, ("foo", "x"), ("bar", ABSENT))], "a", False, id="4.1 absent fits absent"),
        pytest.param([variant("a", 1, ("foo", "y")), variant("b", 1, ("foo", "x"))], "b", False, id="side by side"),
        pytest.param([variant("a", 1, ("foo", "x")), variant("b", 2, ("bar", ABSENT))], "b", False, id="4 the newest"),
        pytest.param(
            [variant("a", 2, ("foo", "x")), variant("b", 1, ("bar", ABSENT))], "a", False, id="4 newest first"
        ),
        pytest.param(
            [variant("a", 2, ("foo", "x"), dated=1), variant("b", 1, ("bar", ABSENT), dated=2)],
            "b",
            False,
            id="4 the newest by Date, not by arrival",
        ),
        pytest.param(
            [variant("a", 2, ("foo", "x"), dated=3), variant("b", 1, ("bar", ABSENT), dated=3)],
            "a",
            False,
            id="4 of one second the one that came last",
        ),
        pytest.param(
            [variant("", 9, dated=9), variant("a", 1, ("foo", "x"))], "a", False, id="4.1 one that forgot its Vary"
        ),
    ],
)
def test_choice(variants: list[Variant], chosen: str | None, others: bool) -> None:
    choice = Choice(get(("Foo", "x")), ORIGIN)
    assert choice(variants) == chosen
    assert choice.others is others


@pytest.mark.parametrize(
    ("told", "dated_at"),
    [([("Date", date(-9))], T - 9), ([("Date", date(9))], T + 9), ([("Date", "soon")], T), ([], T)],
)
def test_the_date_by_which_variants_are_chosen(told: list[Told], dated_at: float) -> None:
    assert as_variant(stored(*told, vary=(("foo", "x"),))).dated_at == dated_at


VARIED = (("foo", "x"),)


@pytest.mark.parametrize(
    ("asked", "liked", "other"),
    [
        pytest.param(("Accept-Language", "de, en;q=0.5"), ("Content-Language", "de"), ("Content-Language", "en")),
        pytest.param(("Accept-Language", "en;q=0.5, de"), ("Content-Language", "de-CH"), ("Content-Language", "en")),
        pytest.param(
            ("Accept-Language", "en, de-ch;q=0.1"), ("Content-Language", "en, fr"), ("Content-Language", "de")
        ),
        pytest.param(("Accept-Language", "*;q=0.2, fr;q=0"), ("Content-Language", "de"), ("Content-Language", "fr")),
        pytest.param(("Accept", "a/b;q=0.5, a/c"), ("Content-Type", "a/c; x=y"), ("Content-Type", "a/b")),
        pytest.param(("Accept", "a/*, a/b;q=0.1, */*;q=0.5"), ("Content-Type", "A/C"), ("Content-Type", "a/b")),
        pytest.param(("Accept", "a/b;x=y; q=0.1 ;z, */*;q=0.2"), ("Content-Type", "c/d"), ("Content-Type", "a/b")),
        pytest.param(("Accept-Encoding", "gzip, br;q=0.5"), ("Content-Encoding", "x-gzip"), ("Content-Encoding", "br")),
        pytest.param(("Accept-Encoding", "gzip;q=0.1"), ("Content-Encoding", "gzip"), ("X", "identity")),
        pytest.param(("Accept-Encoding", "identity, gzip;q=0.9"), ("X", "identity"), ("Content-Encoding", "gzip")),
    ],
)
@pytest.mark.parametrize("later", [-1, 1])
def test_the_preferred_of_those_that_fit(asked: Told, liked: Told, other: Told, later: int) -> None:
    """RFC 9111 4.1; RFC 9110 12.5.1, 12.5.3, 12.5.4; RFC 4647 3.4."""
    one, two = stored(liked, vary=VARIED), stored(other, vary=(*VARIED, ("bar", ABSENT)), at=T + later)
    assert Choice(get(("Foo", "x"), asked), ORIGIN)([as_variant(one), as_variant(two)]) == one.variant
    plain = as_variant(stored(liked))
    assert Choice(get(("Foo", "x"), asked), ORIGIN)([as_variant(two), plain]) == two.variant


@pytest.mark.parametrize(
    "asked",
    [(), (("Accept-Language", "de;x"),), (("Accept-Language", "de, fr"),), (("Accept", ""),), (("Accept", "a/*"),)],
)
def test_without_a_preference_the_newest(asked: tuple[Told, ...]) -> None:
    one = stored(("Content-Language", "de"), ("Content-Type", "a/b"), vary=VARIED)
    two = stored(("Content-Language", "fr"), ("Content-Type", "a/c"), vary=(*VARIED, ("bar", ABSENT)), at=T + 1)
    assert Choice(get(("Foo", "x"), *asked), ORIGIN)([as_variant(one), as_variant(two)]) == two.variant


def test_choice_remembers_what_the_near_tier_said() -> None:
    choice = Choice(get(), ORIGIN)
    choice([variant("a", 1, ("foo", "x"))])
    choice([])
    assert choice.others
