"""Cache-Control and its targeted kin: RFC 9111 4.2.1, 5.2, 5.4; RFC 9213 2.1, 2.2; RFC 8246 2; RFC 5861."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.message import Fields
from proxy.policy.cache_control import SILENT, Directives, asked, for_shared_cache, parse
from proxy.policy.fields import INFINITE
from tests.support.judged import cc, get, ruled


def withholds(*names: str, **said: object) -> Directives:
    return Directives(withheld=frozenset(names), **said)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("max-age=60", Directives(max_age=60), id="5.2.2.1 max-age"),
        pytest.param('max-age="60"', Directives(max_age=60), id="5.2 the quoted form is read too"),
        pytest.param('max-age="6\\0"', Directives(max_age=60), id="9110 5.6.4 a quoted pair is the octet behind"),
        pytest.param("MAX-AGE=60, No-Store", Directives(max_age=60, no_store=True), id="5.2 names in any case"),
        pytest.param("s-maxage=1,max-age=2", Directives(s_maxage=1, max_age=2), id="5.2.2.10 s-maxage"),
        pytest.param("max-age=0060", Directives(max_age=60), id="1.2.2 leading zeros"),
        pytest.param("max-age=99999999999", Directives(max_age=INFINITE), id="1.2.2 saturates"),
        pytest.param("max-age=a60", Directives(max_age=0), id="4.2.1 no number is stale"),
        pytest.param("max-age=60a", Directives(max_age=0), id="4.2.1 junk behind is stale"),
        pytest.param("max-age=-60", Directives(max_age=0), id="4.2.1 negative is stale"),
        pytest.param("max-age=60.5", Directives(max_age=0), id="4.2.1 decimal is stale"),
        pytest.param("max-age", Directives(max_age=0), id="4.2.1 no argument is stale"),
        pytest.param("max-age=", Directives(max_age=0), id="4.2.1 an empty one is stale"),
        pytest.param("max-age = 60", Directives(max_age=0), id="5.2 space around = is stale"),
        pytest.param("max-age=60 x", Directives(max_age=0), id="5.2 two words are stale"),
        pytest.param("max-age=60, max-age=60", Directives(max_age=60), id="4.2.1 the same twice"),
        pytest.param("max-age=60, max-age=90", Directives(max_age=0), id="4.2.1 two that differ are stale"),
        pytest.param("no-cache", Directives(no_cache=True), id="5.2.2.4 no-cache"),
        pytest.param('no-cache="X-A"', withholds("x-a"), id="5.2.2.4 qualified"),
        pytest.param('private="X-A, x-b", no-cache="x-c"', withholds("x-a", "x-b", "x-c"), id="5.2.2.7 qualified"),
        pytest.param('no-cache="x-a", no-cache', withholds("x-a", no_cache=True), id="4.2.1 the most restrictive"),
        *(
            pytest.param(f"no-cache{argument}", Directives(no_cache=True), id=f"5.2.2.4 {why} counts as unqualified")
            for argument, why in (
                ("=x-a", "the token form"),
                ('=""', "an empty list"),
                ('=" , "', "a list of nothing"),
                ('="x a"', "what is no field name"),
                ('="x-a, vary"', "a field that we cannot do without"),
                ('="x-a', "a quote that never ends"),
            )
        ),
        pytest.param("private", Directives(private=True), id="5.2.2.7 private"),
        pytest.param('private="a, b", public', withholds("a", "b", public=True), id="5.2.2.7 a comma inside quotes"),
        pytest.param("no-store=1", Directives(no_store=True), id="5.2 a restriction with an argument holds"),
        pytest.param("no-store = x", Directives(no_store=True), id="5.2 a broken restriction holds"),
        pytest.param("public=1", SILENT, id="5.2 a permission with an argument does not"),
        pytest.param("must-understand, no-store", Directives(must_understand=True, no_store=True), id="5.2.2.3"),
        pytest.param("must-revalidate", Directives(must_revalidate=True), id="5.2.2.2"),
        pytest.param("proxy-revalidate", Directives(proxy_revalidate=True), id="5.2.2.8"),
        pytest.param("public", Directives(public=True), id="5.2.2.9"),
        pytest.param("immutable=x", Directives(immutable=True), id="8246-2 arguments have no meaning"),
        pytest.param("stale-while-revalidate=5", Directives(stale_while_revalidate=5), id="5861-3"),
        pytest.param("stale-if-error=5", Directives(stale_if_error=5), id="5861-4"),
        pytest.param("stale-if-error=x", Directives(stale_if_error=0), id="5861-4 no number is no window"),
        pytest.param("only-if-cached", Directives(only_if_cached=True), id="5.2.1.7"),
        pytest.param("max-stale", Directives(max_stale=INFINITE), id="5.2.1.2 any staleness"),
        pytest.param("max-stale=5, min-fresh=6", Directives(max_stale=5, min_fresh=6), id="5.2.1.2 5.2.1.3"),
        pytest.param('community="UCI", max-age=1', Directives(max_age=1), id="5.2.3 unknown is ignored"),
        pytest.param('x="no-store", max-age=1', Directives(max_age=1), id="5.2.3 inside a quoted string is nothing"),
        pytest.param("=5, ,;, max-age=1", Directives(max_age=1), id="junk between is skipped"),
        pytest.param('max-age=1, x="no end, no-store', Directives(max_age=1, no_store=True), id="a quote without end"),
        pytest.param('a="b, c", x="no end, private', Directives(private=True), id="a quote without end behind others"),
        pytest.param("", SILENT, id="empty"),
    ],
)
def test_parse(value: str, expected: Directives) -> None:
    assert parse(Fields.of(cc(value))) == expected


def test_lines_are_combined() -> None:
    """RFC 9110 5.3."""
    told = Fields.of(cc("max-age=60"), ("X", "y"), cc("no-store"))
    assert parse(told) == Directives(max_age=60, no_store=True)


def test_silence() -> None:
    assert not any(getattr(SILENT, name) for name in SILENT.__slots__)
    assert parse(Fields()) == for_shared_cache(Fields()) == SILENT


def targeted(**said: object) -> Directives:
    return Directives(targeted=True, **said)  # type: ignore[arg-type]


FALLEN_BACK = Directives(max_age=1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("max-age=60", targeted(max_age=60), id="2.2 governs alone"),
        pytest.param("no-store", targeted(no_store=True), id="2.2 no-store"),
        pytest.param('no-cache="a, B"', targeted(withheld=frozenset("ab")), id="2.1 a String for field names"),
        pytest.param('private="a"', targeted(withheld=frozenset("a")), id="2.1 private with names"),
        pytest.param('private="Date"', targeted(private=True), id="2.2 private with a name that we need"),
        pytest.param("immutable=1, max-age=9", targeted(immutable=True, max_age=9), id="8246-2 arguments are ignored"),
        pytest.param("min-fresh=x, only-if-cached=1", targeted(), id="2.1 what only a request says is unknown here"),
        pytest.param("max-age=60;x=1", targeted(max_age=60), id="2.1 parameters are ignored"),
        pytest.param("max-age=60, foo=(1 2)", targeted(max_age=60), id="2.2 unknown directives of any type"),
        pytest.param("max-age=1, max-age=60", targeted(max_age=60), id="9651-4.2.2 the last of equals"),
        pytest.param("public, must-revalidate", targeted(public=True, must_revalidate=True), id="2.2 all directives"),
        pytest.param("none", targeted(), id="3.1 an unknown one alone still governs"),
        pytest.param("max-age=-5", targeted(max_age=0), id="negative is stale"),
        pytest.param("max-age=999999999999", targeted(max_age=INFINITE), id="saturates"),
        pytest.param("", FALLEN_BACK, id="2.1 empty is ignored"),
        pytest.param("max-age=60,", FALLEN_BACK, id="2.1 a parse error is ignored"),
        pytest.param("Max-Age=60", FALLEN_BACK, id="2.1 keys are lower case"),
        pytest.param("max-age=60 no-store", FALLEN_BACK, id="2.1 no comma"),
        pytest.param('max-age="60"', FALLEN_BACK, id="2.1 a String for a number"),
        pytest.param("max-age=60.0", FALLEN_BACK, id="2.1 a Decimal for a number"),
        pytest.param("max-age", FALLEN_BACK, id="2.1 a Boolean for a number"),
        pytest.param("no-store=1", FALLEN_BACK, id="2.1 a number for a Boolean"),
        pytest.param("no-store=?0", FALLEN_BACK, id="2.1 no-store is always true"),
        pytest.param('must-revalidate="a"', FALLEN_BACK, id="2.1 a String for a Boolean"),
        pytest.param("public=1", FALLEN_BACK, id="2.1 a permission of a wrong type"),
        pytest.param("no-cache=(a)", FALLEN_BACK, id="2.1 an inner list for field names"),
        pytest.param("max-age=60, no-store=x", FALLEN_BACK, id="2.1 one wrong type and the whole is ignored"),
        pytest.param("max-age=60, a=\x7f", FALLEN_BACK, id="2.1 bytes that no structured field has"),
        pytest.param("max-age=60, é", FALLEN_BACK, id="2.1 beyond ASCII"),
    ],
)
@pytest.mark.parametrize("name", ["CDN-Cache-Control", "Cachegate-Cache-Control"])
def test_targeted_fields(name: str, value: str, expected: Directives) -> None:
    assert for_shared_cache(Fields.of(cc("max-age=1"), (name, value))) == expected


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param("max-age=7", targeted(max_age=7), id="2.2 the more specific target comes first"),
        pytest.param("max-age", targeted(max_age=9), id="2.2 an invalid one gives way to the next"),
    ],
)
def test_target_list_in_order(own: str, expected: Directives) -> None:
    told = Fields.of(cc("no-store"), ("CDN-Cache-Control", "max-age=9"), ("Cachegate-Cache-Control", own))
    assert for_shared_cache(told) == expected


@given(st.text(st.characters(max_codepoint=255)))
def test_no_field_value_raises(text: str) -> None:
    parse(Fields.of(cc(text)))
    for_shared_cache(Fields.of(("CDN-Cache-Control", text)))


NO_CACHE = Directives(no_cache=True)
HEARD = Directives(max_stale=5)


@pytest.mark.parametrize(
    ("mode", "trusted", "fields", "expected"),
    [
        pytest.param("honour", False, [cc("no-cache, max-stale=5")], HEARD, id="5.2.1.4 a stranger's reload"),
        pytest.param("honour", False, [cc("max-age=0, max-stale=5")], HEARD, id="5.2.1.1 a stranger's max-age"),
        pytest.param("honour", True, [cc("no-cache")], NO_CACHE, id="5.2.1.4 a trusted reload"),
        pytest.param("honour", True, [cc("max-age=0")], Directives(max_age=0), id="5.2.1.1 a trusted max-age"),
        pytest.param("all", False, [cc("no-cache")], NO_CACHE, id="5.2.1.4 from anybody"),
        pytest.param("ignore", True, [cc("no-cache, only-if-cached")], SILENT, id="5.2.1 advisory all of them"),
        pytest.param("honour", True, [("Pragma", "x, No-Cache")], NO_CACHE, id="5.4 Pragma"),
        pytest.param("honour", False, [("Pragma", "no-cache")], SILENT, id="5.4 a stranger's Pragma"),
        pytest.param("ignore", True, [("Pragma", "no-cache")], SILENT, id="5.4 Pragma, nothing is heard"),
        pytest.param("honour", True, [("Pragma", "no-cache"), cc("x")], SILENT, id="5.4 not beside Cache-Control"),
        pytest.param("honour", False, [cc("only-if-cached")], Directives(only_if_cached=True), id="5.2.1.7"),
        pytest.param("honour", False, [cc("no-store")], Directives(no_store=True), id="5.2.1.5"),
        pytest.param("honour", True, [], SILENT, id="nothing asked"),
    ],
)
def test_what_the_client_asks(mode: str, trusted: bool, fields: list[tuple[str, str]], expected: Directives) -> None:
    assert asked(get(*fields, trusted=trusted), ruled(client_directives=mode)) == expected
