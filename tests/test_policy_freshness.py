"""Lifetime, age and windows: RFC 9111 4.2, 4.2.1, 4.2.2, 4.2.3, 4.2.4, 5.1, 5.3; RFC 9213 2.2; RFC 5861; rows 2, 12."""

import pytest

from proxy.message import Fields
from proxy.policy.fields import INFINITE
from proxy.policy.freshness import Windows, current_age, initial_age, keep_until, lifetime, windows
from proxy.rules import Mode, Rule
from tests.support.judged import ORIGIN, TTL60, T, Told, cc, date, ruled, stored

NOW = ("Date", date())


@pytest.mark.parametrize(
    ("fields", "seconds", "source"),
    [
        pytest.param([cc("s-maxage=1, max-age=2"), ("Expires", date(3))], 1, "s-maxage", id="4.2.1 s-maxage first"),
        pytest.param([cc("max-age=2"), ("Expires", date(3))], 2, "max-age", id="5.3 max-age before Expires"),
        pytest.param([NOW, ("Expires", date(3))], 3, "expires", id="4.2.1 Expires less Date"),
        pytest.param([("Expires", date(3))], 3, "expires", id="4.2.1 Expires less the time it came"),
        pytest.param([("Date", date(-60)), ("Expires", date(3))], 63, "expires", id="4.2.1 by the origin's clock"),
        pytest.param([("Date", "soon"), ("Expires", date(3))], 3, "expires", id="4.2.1 an invalid Date is none"),
        pytest.param([NOW, ("Expires", date(-3))], -3, "expires", id="4.2.1 Expires in the past"),
        pytest.param([("Expires", "0")], 0, "expires", id="5.3 0 is in the past"),
        pytest.param([("Expires", "-1")], 0, "expires", id="5.3 -1 is in the past"),
        pytest.param([("Expires", date(3)[:-3] + "UTC")], 0, "expires", id="4.2 another zone is invalid"),
        pytest.param([("Expires", date(3)), ("Expires", date(4))], 0, "expires", id="4.2.1 two that differ"),
        pytest.param([("Expires", date(3)), ("Expires", date(3))], 3, "expires", id="4.2.1 two of the same"),
        pytest.param([cc("max-age=x"), ("Expires", date(3))], 0, "max-age", id="4.2.1 an invalid one is stale"),
        pytest.param([cc("max-age=99999999999")], INFINITE, "max-age", id="1.2.2 saturated"),
        pytest.param([cc("max-age=60, no-cache")], 0, "no-cache", id="4.2.1 the most restrictive counts"),
        pytest.param([("CDN-Cache-Control", "max-age=9"), cc("s-maxage=1")], 9, "max-age", id="9213-2.2 targeted"),
        pytest.param(
            [("CDN-Cache-Control", "public"), ("Expires", date(3))], 0, "none", id="9213-2.2 Expires does not count"
        ),
        pytest.param([NOW], 0, "none", id="4.2.1 nothing said"),
        pytest.param([("Pragma", "no-cache"), cc("max-age=2")], 2, "max-age", id="5.4 Pragma means nothing here"),
    ],
)
def test_the_origins_word(fields: list[Told], seconds: float, source: str) -> None:
    life = lifetime(Fields.of(*fields), 200, ORIGIN, T)
    assert (life.seconds, life.source) == (seconds, source)
    assert life.explicit == (source in ("s-maxage", "max-age", "expires"))
    assert life.origin == (None if source == "none" else seconds)


MODIFIED = ("Last-Modified", date(-1000))


def test_the_statuses_that_may_be_guessed_at() -> None:
    """RFC 9110 15.1, without its errors."""
    listed = {200, 203, 204, 206, 300, 301, 308}
    for status in range(200, 600):
        life = lifetime(Fields.of(NOW, MODIFIED), status, ORIGIN, T)
        assert (life.source == "heuristic") is (status in listed), status


@pytest.mark.parametrize(
    ("fields", "status", "rule", "seconds"),
    [
        pytest.param([NOW, MODIFIED], 200, ORIGIN, 100, id="4.2.2 a tenth of the time since"),
        pytest.param([MODIFIED], 200, ORIGIN, 100, id="4.2.2 without Date since it came"),
        pytest.param([("Date", date(-500)), MODIFIED], 200, ORIGIN, 50, id="4.2.2 by the origin's clock"),
        pytest.param([NOW, ("Last-Modified", date(-(10**8)))], 200, ORIGIN, 86400, id="a day at most"),
        pytest.param([NOW, ("Last-Modified", date(60))], 200, ORIGIN, 0, id="modified in the future"),
        pytest.param([NOW, ("Last-Modified", "long ago")], 200, ORIGIN, 0, id="invalid"),
        pytest.param([NOW], 200, ORIGIN, 0, id="nothing to guess from"),
        pytest.param([NOW, MODIFIED], 404, ORIGIN, 0, id="no error that nobody has a word for"),
        pytest.param([NOW, MODIFIED, cc("public")], 404, ORIGIN, 100, id="an error that is public"),
        pytest.param([NOW, MODIFIED], 302, ORIGIN, 0, id="9110-15.1 not 302"),
        pytest.param([NOW, MODIFIED], 500, ORIGIN, 0, id="9110-15.1 not 500"),
        pytest.param([NOW, MODIFIED], 299, ORIGIN, 0, id="9110-15.1 not an unknown one"),
        pytest.param([NOW, MODIFIED, cc("public")], 302, ORIGIN, 100, id="5.2.2.9 public makes any"),
        pytest.param([NOW, MODIFIED, cc("max-age=0")], 200, ORIGIN, 0, id="4.2.2 not beside explicit"),
        pytest.param([NOW, MODIFIED], 200, Rule(mode=Mode.ORIGIN, heuristic=False), 0, id="switched off"),
        pytest.param([NOW, MODIFIED], 200, Rule(), 100, id="under a rule without ttl"),
        pytest.param([NOW, MODIFIED], 404, Rule(), 0, id="row 5: a rule narrows it to its statuses"),
        pytest.param([NOW, MODIFIED], 404, ruled(statuses=frozenset({404})), 100, id="row 5: named"),
    ],
)
def test_heuristics(fields: list[Told], status: int, rule: Rule, seconds: float) -> None:
    life = lifetime(Fields.of(*fields), status, rule, T)
    assert life.seconds == pytest.approx(seconds)
    assert not life.explicit or seconds == 0


OVER = ruled(ttl=60, override=True)
NEGATIVE = ruled(ttl=60, negative_ttl=((404, 10.0),))


@pytest.mark.parametrize(
    ("fields", "status", "rule", "seconds", "source"),
    [
        pytest.param([], 200, TTL60, 60, "rule", id="the rule's ttl"),
        pytest.param([MODIFIED], 200, TTL60, 60, "rule", id="the rule's ttl before heuristics"),
        pytest.param([cc("max-age=5")], 200, TTL60, 5, "max-age", id="the origin's explicit word wins"),
        pytest.param([("Expires", "0")], 200, TTL60, 0, "expires", id="also when it says stale"),
        pytest.param([cc("no-cache")], 200, TTL60, 0, "no-cache", id="also when it says no-cache"),
        pytest.param([cc("max-age=5")], 200, OVER, 60, "override", id="override beats max-age"),
        pytest.param([cc("no-cache")], 200, OVER, 60, "override", id="override beats no-cache"),
        pytest.param([("Expires", "0")], 200, OVER, 60, "override", id="override beats Expires"),
        pytest.param([cc("max-age=5")], 500, OVER, 5, "max-age", id="override only where ttl covers"),
        pytest.param([], 500, TTL60, 0, "none", id="row 5: an error only where it is named"),
        pytest.param([], 404, TTL60, 0, "none", id="row 5: 404 likewise"),
        pytest.param([], 302, TTL60, 0, "none", id="a temporary redirect likewise"),
        pytest.param([], 301, TTL60, 60, "rule", id="301 is covered"),
        pytest.param([], 500, ruled(ttl=60, statuses=frozenset({500})), 60, "rule", id="statusCodes names it"),
        pytest.param([], 404, NEGATIVE, 10, "rule", id="negative_ttl"),
        pytest.param([cc("max-age=5")], 404, NEGATIVE, 5, "max-age", id="negative_ttl gives way to the origin"),
        pytest.param([], 200, ruled(ttl=0), 0, "rule", id="ttl 0: revalidate every time"),
    ],
)
def test_the_rules_word(fields: list[Told], status: int, rule: Rule, seconds: float, source: str) -> None:
    life = lifetime(Fields.of(*fields), status, rule, T)
    assert (life.seconds, life.source) == (seconds, source)


@pytest.mark.parametrize(
    ("fields", "rule", "seconds", "source"),
    [
        pytest.param([], TTL60, 0, "none", id="no rule's ttl"),
        pytest.param([cc("max-age=5")], OVER, 5, "max-age", id="no override"),
        pytest.param([NOW, MODIFIED], ORIGIN, 0, "none", id="no heuristics"),
    ],
)
def test_the_origins_word_alone(fields: list[Told], rule: Rule, seconds: float, source: str) -> None:
    life = lifetime(Fields.of(*fields), 200, rule, T, own=True)
    assert (life.seconds, life.source) == (seconds, source)


@pytest.mark.parametrize(
    ("value", "shareable"),
    [
        ("max-age=1", True),
        ("s-maxage=0", True),
        ("public, max-age=0", True),
        ("max-age=0", False),
        ("public", False),
        ("no-cache, max-age=1", False),
        ("", False),
    ],
)
def test_shareable(value: str, shareable: bool) -> None:
    """What the origin lets a shared cache give to anybody, whoever asked."""
    assert lifetime(Fields.of(cc(value)), 200, ORIGIN, T).shareable is shareable


@pytest.mark.parametrize(
    ("fields", "took", "age"),
    [
        pytest.param([], 0, 0, id="4.2.3 nothing known"),
        pytest.param([], 3, 3, id="4.2.3 response_delay"),
        pytest.param([("Age", "7")], 3, 10, id="4.2.3 corrected_age_value"),
        pytest.param([("Date", date(-20)), ("Age", "7")], 3, 20, id="4.2.3 apparent_age when it is more"),
        pytest.param([("Date", date(-5)), ("Age", "7")], 3, 10, id="4.2.3 corrected when it is more"),
        pytest.param([("Date", date(60))], 0, 0, id="4.2.3 a Date in the future is 0"),
        pytest.param([("Date", date(-1))], 0, 0, id="Date has whole seconds"),
        pytest.param([("Date", date(-2))], 0, 2, id="two of them say something"),
        pytest.param([("Date", "soon")], 0, 0, id="an invalid Date is none"),
        pytest.param([("Age", "7, 9")], 0, 7, id="5.1 the first member"),
        pytest.param([("Age", "7"), ("Age", "9")], 0, 7, id="5.1 the first line"),
        pytest.param([("Age", "x")], 0, 0, id="5.1 invalid is ignored"),
        pytest.param([("Age", "-7")], 0, 0, id="5.1 negative is ignored"),
        pytest.param([("Age", "7.5")], 0, 0, id="5.1 decimal is ignored"),
        pytest.param([("Age", "x, 7")], 0, 0, id="5.1 the first or none"),
        pytest.param([("Age", "9" * 40)], 0, INFINITE, id="1.2.2 saturates"),
    ],
)
def test_initial_age(fields: list[Told], took: float, age: float) -> None:
    assert initial_age(Fields.of(*fields), T - took, T) == age


def test_a_request_clock_that_was_set_back_makes_nothing_younger() -> None:
    assert initial_age(Fields.of(("Age", "7")), T + 100, T) == 7


@pytest.mark.parametrize(
    ("later", "age"),
    [
        pytest.param(0, 10, id="as it came"),
        pytest.param(5.5, 15.5, id="4.2.3 resident_time"),
        pytest.param(-5, 10, id="a clock that was set back"),
    ],
)
def test_current_age(later: float, age: float) -> None:
    assert current_age(stored(("Age", "7"), took=3), T + later) == age


BOTH = "max-age=1, stale-while-revalidate=5, stale-if-error=6"


@pytest.mark.parametrize(
    ("value", "rule", "expected"),
    [
        pytest.param("max-age=1", ORIGIN, (0, 300), id="the default is for errors alone"),
        pytest.param(BOTH, ORIGIN, (5, 6), id="5861 the origin's"),
        pytest.param(BOTH, ruled(stale_while_revalidate=50, stale_if_error=60), (50, 60), id="the rule's"),
        pytest.param(BOTH, ruled(stale_while_revalidate=0, stale_if_error=0), (0, 0), id="the rule shuts them"),
        pytest.param("max-age=1", ruled(default_stale_if_error=0), (0, 0), id="no default"),
        pytest.param("stale-while-revalidate=5", ORIGIN, (0, 300), id="no lifetime, nothing to prolong"),
        pytest.param(f"{BOTH}, must-revalidate", ORIGIN, (0, 0), id="4.2.4 must-revalidate"),
        pytest.param(f"{BOTH}, proxy-revalidate", ORIGIN, (0, 0), id="4.2.4 proxy-revalidate"),
        pytest.param(f"{BOTH}, s-maxage=1", ORIGIN, (0, 0), id="5.2.2.10 s-maxage"),
        pytest.param(f"{BOTH}, no-cache", ORIGIN, (0, 0), id="4.2.4 no-cache"),
        pytest.param(f"{BOTH}, must-revalidate", ruled(stale_if_error=60), (0, 0), id="4.2.4 holds against a rule"),
        pytest.param(f"{BOTH}, no-cache", OVER, (5, 6), id="override lifts no-cache"),
        pytest.param(f"{BOTH}, must-revalidate", OVER, (0, 0), id="override lifts no must-revalidate"),
    ],
)
def test_windows(value: str, rule: Rule, expected: tuple[float, float]) -> None:
    assert windows(lifetime(Fields.of(cc(value)), 200, rule, T), rule) == Windows(*expected)


@pytest.mark.parametrize(
    ("value", "age", "renewable", "seconds"),
    [
        pytest.param("max-age=100, stale-if-error=0", 10, False, 90, id="what is left of the lifetime"),
        pytest.param("max-age=100, stale-if-error=20, stale-while-revalidate=5", 10, False, 110, id="longest window"),
        pytest.param("max-age=100, stale-if-error=20", 200, False, 20, id="never less than the window"),
        pytest.param("max-age=100, must-revalidate", 10, False, 90, id="no window"),
        pytest.param("max-age=100, must-revalidate", 10, True, 90 + 3600, id="cache.keep with a validator"),
    ],
)
def test_keep_until(value: str, age: float, renewable: bool, seconds: float) -> None:
    life = lifetime(Fields.of(cc(value)), 200, ORIGIN, T)
    assert keep_until(life, ORIGIN, age, T, renewable=renewable) == T + seconds
