"""May it be reused? RFC 9111 3.5, 4, 4.2.4, 5.2.1, 5.2.2, 4.3.2; RFC 5861 3, 4; RFC 8246 2.1; the contract's rules
on credentials and cookies, soft purges; rows 2, 4, 12."""

from dataclasses import replace
from hashlib import sha256

import pytest

from proxy.entry import Found
from proxy.outcome import Tier
from proxy.policy.reuse import Fetch, Reuse, Serve, ServeStale, judge_reuse, only_if_cached
from proxy.reasons import Why
from proxy.rules import Rule
from tests.support.judged import ORIGIN, TTL60, T, Told, cc, date, found, get, ruled, stored

TAG = ("ETag", '"a"')
FRESH60 = cc("max-age=60")
SWR = cc("max-age=60, stale-while-revalidate=30, stale-if-error=90")
AUTH = ("Authorization", "Basic YQ==")
KEY = ("X-Api-Key", "k")
COOKIE = ("Cookie", "sid=1")


def brief(reuse: Reuse) -> tuple[str, str]:
    return type(reuse).__name__, reuse.why.word


def test_nothing_stored() -> None:
    assert judge_reuse(get(), None, ORIGIN, T) == Fetch(Why.URI_MISS)
    assert judge_reuse(get(), None, ORIGIN, T, others=True) == Fetch(Why.VARY_MISS)


@pytest.mark.parametrize(
    ("later", "rule", "expected"),
    [
        pytest.param(0, ORIGIN, Serve(0, 60), id="4.2 as it came"),
        pytest.param(59.875, ORIGIN, Serve(59.875, 60 - 59.875), id="4.2 just fresh"),
        pytest.param(60, ORIGIN, Fetch(Why.STALE, True, True, 60, 0), id="4.2 lifetime must exceed age"),
        pytest.param(60.125, TTL60, Fetch(Why.STALE, True, True, 60.125, 60 - 60.125), id="4.2 just stale"),
        pytest.param(-9, ORIGIN, Serve(0, 60), id="4.2.3 the clock was set back"),
    ],
)
def test_fresh_and_stale(later: float, rule: Rule, expected: Reuse) -> None:
    assert judge_reuse(get(), found(FRESH60, TAG), rule, T + later) == expected


def test_two_rules_ttl_is_the_current_rules() -> None:
    """Row 2: the same stored facts, whatever the rule says now."""
    kept = found()
    assert judge_reuse(get(), kept, ruled(ttl=1), T + 0.875) == Serve(0.875, 1 - 0.875)
    assert isinstance(judge_reuse(get(), kept, ruled(ttl=1), T + 1.125), Fetch)
    assert isinstance(judge_reuse(get(), kept, ruled(ttl=60), T + 1.125), Serve)


def test_age_counts_what_it_came_with() -> None:
    """RFC 9111 4.2.3: 50 s in other caches and 5 s under way leave 5 of 60."""
    kept = found(FRESH60, ("Age", "50"), took=5)
    assert judge_reuse(get(), kept, ORIGIN, T) == Serve(55, 5)
    assert brief(judge_reuse(get(), kept, ORIGIN, T + 5)) == ("Fetch", "stale")


NO_TAG = Fetch(Why.STALE, False, True, 61, -1)


@pytest.mark.parametrize(
    ("fields", "status", "conditional"),
    [
        pytest.param([TAG], 200, True, id="4.3.1 an entity tag"),
        pytest.param([("Last-Modified", date(-9))], 200, True, id="4.3.1 a date"),
        pytest.param([], 200, False, id="no validator"),
        pytest.param([TAG], 404, False, id="9110-13.2.1 only a success is confirmed"),
    ],
)
def test_conditional(fields: list[Told], status: int, conditional: bool) -> None:
    kept = found(FRESH60, *fields, status=status)
    assert judge_reuse(get(), kept, ORIGIN, T + 61) == replace(NO_TAG, conditional=conditional)


@pytest.mark.parametrize(
    ("value", "late", "rule", "expected"),
    [
        pytest.param("stale-while-revalidate=30", 0, ORIGIN, "stale-while-revalidate", id="5861-3 at its beginning"),
        pytest.param("stale-while-revalidate=30", 29, ORIGIN, "stale-while-revalidate", id="5861-3 in the window"),
        pytest.param("stale-while-revalidate=30", 30, ORIGIN, "stale", id="5861-3 after it"),
        pytest.param("", 29, ruled(stale_while_revalidate=30), "stale-while-revalidate", id="the rule's window"),
        pytest.param("", 30, ruled(stale_while_revalidate=30), "stale", id="after the rule's window"),
        pytest.param("", 1, ORIGIN, "stale", id="4.2.4 no window, no permission"),
        pytest.param("stale-while-revalidate=30, must-revalidate", 1, ORIGIN, "must-revalidate", id="5.2.2.2"),
        pytest.param("stale-while-revalidate=30, proxy-revalidate", 1, ORIGIN, "must-revalidate", id="5.2.2.8"),
        pytest.param("stale-while-revalidate=30, s-maxage=60", 1, ORIGIN, "stale", id="5.2.2.10"),
        pytest.param("must-revalidate", 1, ruled(stale_while_revalidate=30), "must-revalidate", id="5.2.2.2 rules too"),
    ],
)
def test_stale_while_revalidate(value: str, late: float, rule: Rule, expected: str) -> None:
    kept = found(cc(f"max-age=60, {value}"))
    judged = judge_reuse(get(), kept, rule, T + 60 + late)
    assert judged.why.word == expected
    assert isinstance(judged, ServeStale) == (expected == "stale-while-revalidate")
    assert judged.ttl == -late


@pytest.mark.parametrize(
    ("value", "late", "rule", "fallback"),
    [
        pytest.param("", 299, ORIGIN, True, id="4.2.4 the configured default"),
        pytest.param("", 300, ORIGIN, False, id="4.2.4 after it"),
        pytest.param("stale-if-error=90", 89, ORIGIN, True, id="5861-4 the origin's window"),
        pytest.param("stale-if-error=90", 90, ORIGIN, False, id="5861-4 after it"),
        pytest.param("", 500, ruled(stale_if_error=600), True, id="the rule's window"),
        pytest.param("stale-if-error=90", 1, ruled(stale_if_error=0), False, id="the rule shuts it"),
        pytest.param("must-revalidate", 0, ruled(stale_if_error=90), False, id="5.2.2.2 an error rather than stale"),
        pytest.param("stale-if-error=0", 0, ORIGIN, False, id="5861-4 no window"),
        pytest.param("proxy-revalidate", 1, ORIGIN, False, id="5.2.2.8"),
        pytest.param("s-maxage=60", 1, ORIGIN, False, id="5.2.2.10"),
    ],
)
def test_stale_if_error(value: str, late: float, rule: Rule, fallback: bool) -> None:
    judged = judge_reuse(get(), found(cc(f"max-age=60, {value}")), rule, T + 60 + late)
    assert isinstance(judged, Fetch)
    assert judged.fallback is fallback


@pytest.mark.parametrize(
    ("told", "asked", "fallback"),
    [
        pytest.param("stale-if-error=0", "stale-if-error=9", True, id="wider"),
        pytest.param("stale-if-error=0", "stale-if-error=5", False, id="wider, and over"),
        pytest.param("stale-if-error=90", "stale-if-error=5", False, id="narrower"),
        pytest.param("stale-if-error=90", "stale-if-error=x", False, id="no number is no window"),
        pytest.param("", "stale-if-error=0", False, id="narrower than the configured default"),
    ],
)
def test_a_clients_stale_if_error_is_its_own_window(told: str, asked: str, fallback: bool) -> None:
    """RFC 5861 4: in a request its scope is the request."""
    kept = found(cc(f"max-age=60, {told}"))
    assert judge_reuse(get(cc(asked)), kept, ORIGIN, T + 65) == Fetch(Why.STALE, False, fallback, 65, -5)


def test_a_clients_stale_if_error_lifts_no_prohibition() -> None:
    """RFC 9111 4.2.4, 5.2.2.2."""
    strict = found(cc("max-age=60, must-revalidate"))
    judged = judge_reuse(get(cc("stale-if-error=9")), strict, ORIGIN, T + 65)
    assert judged == Fetch(Why.MUST_REVALIDATE, False, False, 65, -5)


@pytest.mark.parametrize(
    ("value", "rule", "expected"),
    [
        pytest.param("no-cache", ORIGIN, Fetch(Why.ORIGIN_NO_CACHE, True, False, 1, -1), id="5.2.2.4"),
        pytest.param("no-cache, max-age=60", ORIGIN, Fetch(Why.ORIGIN_NO_CACHE, True, False, 1, -1), id="4.2.1"),
        pytest.param('no-cache="etag"', ORIGIN, Fetch(Why.ORIGIN_NO_CACHE, True, False, 1, -1), id="5.2.2.4 needed"),
        pytest.param('no-cache="x", max-age=9', ORIGIN, Serve(1, 8), id="5.2.2.4 qualified, kept without it"),
        pytest.param("no-cache", TTL60, Fetch(Why.ORIGIN_NO_CACHE, True, False, 1, -1), id="wins over a ttl"),
        pytest.param("no-cache", ruled(ttl=60, override=True), Serve(1, 59), id="gives way to override"),
        pytest.param(
            "no-cache, stale-while-revalidate=9, stale-if-error=9",
            ruled(stale_if_error=9),
            Fetch(Why.ORIGIN_NO_CACHE, True, False, 1, -1),
            id="4.2.4 never stale",
        ),
    ],
)
def test_no_cache(value: str, rule: Rule, expected: Reuse) -> None:
    assert judge_reuse(get(), found(cc(value), TAG), rule, T + 1) == expected


@pytest.mark.parametrize(
    ("fields", "rule", "why"),
    [
        pytest.param([cc("no-store, max-age=60")], TTL60, "no-store", id="5.2.2.5"),
        pytest.param([cc("private, max-age=60")], TTL60, "private", id="5.2.2.7"),
        pytest.param([cc('private="x", max-age=60'), ("X", "1")], TTL60, "private", id="5.2.2.7 a field of it"),
        pytest.param([cc('no-cache="x", max-age=60'), ("X", "1")], TTL60, "private", id="5.2.2.4 a field of it"),
        pytest.param([cc("no-store")], ruled(ttl=60, override=True), "no-store", id="override never lifts it"),
        pytest.param([("Set-Cookie", "a=b"), FRESH60], ORIGIN, "set-cookie", id="7.3"),
        pytest.param([("Set-Cookie", "a=b"), cc("public, max-age=60")], ORIGIN, "set-cookie", id="7.3 public alone"),
        pytest.param([("Set-Cookie", "a=b"), FRESH60], ruled(store_set_cookie=True), "set-cookie", id="7.3 not public"),
    ],
)
def test_what_may_not_be_stored_may_not_be_reused(fields: list[Told], rule: Rule, why: str) -> None:
    """A 304 or a reload of the settings can have changed that since it was stored."""
    judged = judge_reuse(get(), found(*fields, TAG), rule, T + 1)
    assert brief(judged) == ("Fetch", why)
    assert judged == replace(judged, conditional=False, fallback=False)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        pytest.param([cc("no-store, must-understand, max-age=60")], ORIGIN, id="5.2.2.3 must-understand lifts it"),
        pytest.param([cc("private, max-age=60")], ruled(store_private=True), id="store_private"),
        pytest.param(
            [("Set-Cookie", "a=b"), cc("public, max-age=60")], ruled(store_set_cookie=True), id="store_set_cookie"
        ),
    ],
)
def test_what_may_be_stored_may_be_reused(fields: list[Told], rule: Rule) -> None:
    assert judge_reuse(get(), found(*fields), rule, T + 1) == Serve(1, 59)


@pytest.mark.parametrize(
    ("ended", "later", "expected"),
    [
        pytest.param(10, 9, ("Serve", "fresh"), id="not yet"),
        pytest.param(10, 10, ("ServeStale", "stale-while-revalidate"), id="its lifetime ends then"),
        pytest.param(10, 39, ("ServeStale", "stale-while-revalidate"), id="windows count from there"),
        pytest.param(10, 41, ("Fetch", "purged"), id="after them"),
        pytest.param(100, 61, ("ServeStale", "stale-while-revalidate"), id="never later than before"),
        pytest.param(100, 95, ("Fetch", "stale"), id="it was stale anyway"),
        pytest.param(0, 60, ("Fetch", "stale"), id="it would be stale by now"),
    ],
)
def test_soft_purge(ended: float, later: float, expected: tuple[str, str]) -> None:
    kept = found(SWR, TAG, ended_at=T + ended)
    assert brief(judge_reuse(get(), kept, ORIGIN, T + later)) == expected


def test_a_soft_purge_is_the_reason_whatever_the_client_asks() -> None:
    kept = found(SWR, TAG, ended_at=T + 10)
    assert brief(judge_reuse(get(cc("no-cache"), trusted=True), kept, ORIGIN, T + 11)) == ("Fetch", "purged")


def test_soft_purge_and_must_revalidate() -> None:
    kept = found(cc("max-age=60, must-revalidate, stale-while-revalidate=30"), TAG, ended_at=T + 10)
    assert judge_reuse(get(), kept, ORIGIN, T + 11) == Fetch(Why.PURGED, True, False, 11, -1)


HONOURED = [
    pytest.param([cc("min-fresh=60")], 1, ("Fetch", "request-min-fresh"), id="5.2.1.3 not fresh long enough"),
    pytest.param([cc("min-fresh=59")], 1, ("Serve", "fresh"), id="5.2.1.3 long enough"),
    pytest.param([cc("min-fresh=1")], 61, ("Fetch", "request-min-fresh"), id="5.2.1.3 nothing stale"),
    pytest.param([cc("max-stale=100")], 80, ("ServeStale", "stale-while-revalidate"), id="5.2.1.2 refreshed if it can"),
    pytest.param([cc("max-stale=100")], 95, ("Serve", "max-stale"), id="5.2.1.2 within"),
    pytest.param([cc("max-stale=35")], 95, ("Serve", "max-stale"), id="5.2.1.2 no more than"),
    pytest.param([cc("max-stale=30")], 95, ("Fetch", "stale"), id="5.2.1.2 beyond"),
    pytest.param([cc("max-stale=5")], 70, ("Fetch", "stale"), id="5.2.1.2 a limit below the window's"),
    pytest.param([cc("max-stale")], 10**6, ("Serve", "max-stale"), id="5.2.1.2 any"),
    pytest.param([cc("no-store")], 1, ("Serve", "fresh"), id="5.2.1.5 says nothing of what is stored already"),
    pytest.param([cc("only-if-cached")], 1, ("Serve", "fresh"), id="5.2.1.7"),
]
RELOADS = [
    pytest.param([cc("no-cache")], 1, ("Fetch", "request-no-cache"), id="5.2.1.4"),
    pytest.param([cc("no-cache")], 61, ("Fetch", "request-no-cache"), id="5.2.1.4 nothing stale"),
    pytest.param([cc("no-cache")], 90, ("Fetch", "stale"), id="5.2.1.4 the window has just shut"),
    pytest.param([cc("no-cache")], 95, ("Fetch", "stale"), id="5.2.1.4 it was of no use anyway"),
    pytest.param([("Pragma", "no-cache")], 1, ("Fetch", "request-no-cache"), id="5.4"),
    pytest.param([cc("max-age=0")], 0, ("Fetch", "request-max-age"), id="5.2.1.1 zero"),
    pytest.param([cc("max-age=5")], 5, ("Serve", "fresh"), id="5.2.1.1 not older"),
    pytest.param([cc("max-age=5")], 5.1, ("Fetch", "request-max-age"), id="5.2.1.1 older"),
    pytest.param([cc("max-age=99")], 61, ("Fetch", "stale"), id="5.2.1.1 nothing stale"),
    pytest.param([cc("max-age=99, max-stale=9")], 61, ("ServeStale", "stale-while-revalidate"), id="5.2.1.1 but"),
    pytest.param([cc("max-age=61, max-stale=9")], 61, ("ServeStale", "stale-while-revalidate"), id="5.2.1.1 as old"),
    pytest.param([cc("max-age=50, max-stale=9")], 61, ("Fetch", "request-max-age"), id="5.2.1.1 older, and stale"),
]


@pytest.mark.parametrize(("fields", "later", "expected"), HONOURED)
def test_request_directives(fields: list[Told], later: float, expected: tuple[str, str]) -> None:
    assert brief(judge_reuse(get(*fields), found(SWR, TAG), ORIGIN, T + later)) == expected


@pytest.mark.parametrize(("fields", "later", "expected"), HONOURED + RELOADS)
def test_request_directives_from_the_trusted(fields: list[Told], later: float, expected: tuple[str, str]) -> None:
    judged = judge_reuse(get(*fields, trusted=True), found(SWR, TAG), ORIGIN, T + later)
    assert brief(judged) == expected
    assert not isinstance(judged, Fetch) or judged.conditional


@pytest.mark.parametrize(("fields", "later", "expected"), RELOADS)
def test_reloads_of_strangers_change_nothing(fields: list[Told], later: float, expected: tuple[str, str]) -> None:
    kept = found(cc("max-age=60"), TAG)
    plain = [field for field in fields if "max-stale" not in field[1]]
    assert judge_reuse(get(*plain), kept, ORIGIN, T + later) == judge_reuse(get(), kept, ORIGIN, T + later)


@pytest.mark.parametrize(("fields", "later", "expected"), HONOURED + RELOADS)
def test_request_directives_ignored(fields: list[Told], later: float, expected: tuple[str, str]) -> None:
    rule = ruled(client_directives="ignore")
    kept = found(SWR, TAG)
    asked = judge_reuse(get(*fields, trusted=True), kept, rule, T + later)
    assert asked == judge_reuse(get(), kept, rule, T + later)


@pytest.mark.parametrize("value", ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"])
def test_max_stale_lifts_no_prohibition(value: str) -> None:
    """RFC 9111 4.2.4."""
    judged = judge_reuse(get(cc("max-stale")), found(cc(f"max-age=60, {value}")), ORIGIN, T + 61)
    assert isinstance(judged, Fetch)


def test_a_reload_may_fall_back_on_what_is_fresh() -> None:
    judged = judge_reuse(get(cc("no-cache"), trusted=True), found(FRESH60, TAG), ORIGIN, T + 1)
    assert judged == Fetch(Why.REQUEST_NO_CACHE, True, True, 1, 59)


@pytest.mark.parametrize(
    ("value", "later", "served"),
    [
        pytest.param("max-age=0", 1, True, id="8246-2.1 a reload is answered"),
        pytest.param("no-cache", 1, False, id="8246-2.1 no-cache is a signal"),
        pytest.param("max-age=0", 61, False, id="8246-2 only during its lifetime"),
    ],
)
def test_immutable(value: str, later: float, served: bool) -> None:
    kept = found(cc("max-age=60, immutable"), TAG)
    judged = judge_reuse(get(cc(value), trusted=True), kept, ORIGIN, T + later)
    assert isinstance(judged, Serve) is served


@pytest.mark.parametrize(
    ("value", "share", "later", "refresh"),
    [
        pytest.param("max-age=60", 0.1, 54, False, id="not yet"),
        pytest.param("max-age=60", 0.1, 56, True, id="in the last tenth"),
        pytest.param("max-age=60", 0.0, 59, False, id="not asked for"),
        pytest.param("max-age=60, immutable", 0.1, 55, False, id="8246-2.1 what cannot change is left alone"),
    ],
)
def test_refresh_ahead(value: str, share: float, later: float, refresh: bool) -> None:
    judged = judge_reuse(get(), found(cc(value)), ruled(refresh_ahead=share), T + later)
    assert judged == Serve(later, 60 - later, refresh=refresh)


@pytest.mark.parametrize(
    ("value", "share", "asked", "lasting"),
    [
        pytest.param("max-age=60", 0.0, [], 50, id="as long as it is fresh"),
        pytest.param("max-age=60", 0.25, [], 35.77, id="until it is refreshed"),
        pytest.param("max-age=60, immutable", 0.25, [], 50, id="which what cannot change is not"),
        pytest.param("max-age=60", 0.9, [], 0, id="refreshed already"),
        pytest.param("max-age=60", 0.0, [cc("min-fresh=5")], 0, id="the client's wish ends at a time of its own"),
    ],
)
def test_how_long_the_same_request_is_answered_so(value: str, share: float, asked: list[Told], lasting: float) -> None:
    judged = judge_reuse(get(*asked), found(cc(value)), ruled(refresh_ahead=share), T + 10)
    assert isinstance(judged, Serve)
    assert judged.lasting == pytest.approx(lasting, abs=0.01)


def test_what_was_stored_together_is_not_refreshed_together() -> None:
    """Each key has a moment of its own, the same for all who ask: all of them in the first quarter of the last 40 s."""
    begins = set()
    for number in range(200):
        entry = replace(found(cc("max-age=100")).entry, hash=sha256(b"%d" % number).hexdigest())
        judged = [judge_reuse(get(), Found(entry, Tier.MEMORY), ruled(refresh_ahead=0.4), T) for _ in range(2)]
        assert isinstance(judged[0], Serve)
        assert judged[0] == judged[1]
        begins.add(judged[0].lasting)
    assert len(begins) == 200
    assert 60 <= min(begins) < 61
    assert 69 < max(begins) <= 70


@pytest.mark.parametrize(
    ("value", "mode", "expected"),
    [("only-if-cached", "honour", True), ("only-if-cached", "ignore", False), ("max-age=1", "all", False)],
)
def test_only_if_cached(value: str, mode: str, expected: bool) -> None:
    assert only_if_cached(get(cc(value)), ruled(client_directives=mode)) is expected


@pytest.mark.parametrize("name", ["If-Match", "If-Unmodified-Since"])
def test_conditions_for_the_origin_alone(name: str) -> None:
    """RFC 9111 4.3.2: a cache must not evaluate them; they go where they belong."""
    assert brief(judge_reuse(get((name, '"a"')), found(FRESH60, TAG), ORIGIN, T)) == ("Fetch", "precondition")


BARE: list[Told] = []
IGNORE = ruled(ttl=60, credentials="ignore")
IN_KEY = ruled(ttl=60, credentials="key")


@pytest.mark.parametrize(
    ("asked", "fields", "rule", "expected"),
    [
        pytest.param([AUTH], BARE, TTL60, "credentials", id="kept by a ttl"),
        pytest.param([KEY], BARE, TTL60, "credentials", id="an API key is a credential"),
        pytest.param([AUTH], [("Last-Modified", date(-9999))], ORIGIN, "credentials", id="kept by heuristics"),
        pytest.param([AUTH], BARE, IGNORE, "fresh", id="credentials: ignore"),
        pytest.param([AUTH], BARE, IN_KEY, "fresh", id="credentials: key"),
        pytest.param([AUTH], [FRESH60], TTL60, "fresh", id="the origin's explicit lifetime"),
        pytest.param([AUTH], [cc("public")], TTL60, "credentials", id="public without a lifetime"),
        pytest.param([AUTH], [cc("max-age=0")], ORIGIN, "credentials", id="a lifetime of nothing says nothing"),
        pytest.param([COOKIE], BARE, TTL60, "cookie", id="a cookie, kept by a ttl"),
        pytest.param([COOKIE], BARE, ruled(ttl=60, cookies=()), "fresh", id="cookies: ignore"),
        pytest.param([COOKIE], BARE, ruled(ttl=60, cookies=("sid",)), "fresh", id="cookies in the key"),
        pytest.param([COOKIE], [FRESH60], TTL60, "fresh", id="a cookie, the origin's explicit lifetime"),
        pytest.param([COOKIE], [cc("max-age=0")], ORIGIN, "cookie", id="a cookie, a lifetime of nothing"),
        pytest.param([COOKIE], [cc("no-cache")], ORIGIN, "cookie", id="a cookie, no lifetime"),
        pytest.param([COOKIE], [cc("public, max-age=0")], ORIGIN, "stale", id="a cookie, public says it is for all"),
        pytest.param([AUTH, COOKIE], BARE, IGNORE, "cookie", id="both, one covered"),
        pytest.param([AUTH, COOKIE], BARE, ruled(ttl=60, cookies=()), "credentials", id="both, the other covered"),
    ],
)
def test_what_is_bound_to_a_person(asked: list[Told], fields: list[Told], rule: Rule, expected: str) -> None:
    """RFC 9111 3.5 and the contract: only the origin's own word, or the rule's key, covers credentials and cookies."""
    judged = judge_reuse(get(*asked), found(*fields, TAG), rule, T + 1)
    assert judged.why.word == expected
    if expected in ("credentials", "cookie"):
        assert judged == Fetch(judged.why, False, False, 1, judged.ttl)


def test_an_override_stretches_no_permission() -> None:
    """The origin said ten seconds to everybody; the rule's 600 are for those without cookies."""
    rule, kept = ruled(ttl=600, override=True), found(cc("max-age=10"), TAG)
    assert judge_reuse(get(), kept, rule, T + 11) == Serve(11, 589)
    assert judge_reuse(get(COOKIE), kept, rule, T + 9) == Serve(9, 1)
    assert brief(judge_reuse(get(COOKIE), kept, rule, T + 11)) == ("Fetch", "stale")


@pytest.mark.parametrize(
    ("ttl", "later", "expected"),
    [(10, 9, Serve(9, 1)), (10, 11, ("Fetch", "stale")), (0, 0, ("Fetch", "stale"))],
)
def test_a_shorter_override_holds_for_everybody(ttl: int, later: int, expected: object) -> None:
    """The origin's word covers cookies, and the rule still ends what it said."""
    judged = judge_reuse(get(COOKIE), found(cc("max-age=600"), TAG), ruled(ttl=ttl, override=True), T + later)
    assert expected in (judged, brief(judged))


ENCODED = ("accept-encoding", "br")
AS_SENT = ruled(ttl=60, normalise_encoding=False)


@pytest.mark.parametrize(
    ("accept", "vary", "rule", "served"),
    [
        pytest.param("br, gzip", ENCODED, ORIGIN, True, id="reads it"),
        pytest.param("br", ENCODED, ORIGIN, False, id="does not"),
        pytest.param("br", ("foo", "x"), ORIGIN, True, id="the origin says that it is for all"),
        pytest.param("br", ENCODED, AS_SENT, True, id="the origin was sent this very list"),
    ],
)
def test_a_coding_that_was_not_asked_for(accept: str, vary: Told, rule: Rule, served: bool) -> None:
    """Both ask the origin for br; it sent gzip all the same."""
    entry = stored(FRESH60, ("Content-Encoding", "gzip"), vary=(vary,))
    judged = judge_reuse(get(("Accept-Encoding", accept)), Found(entry, Tier.MEMORY), rule, T)
    assert brief(judged) == (("Serve", "fresh") if served else ("Fetch", "vary-miss"))
