"""May it be stored? RFC 9111 3, 3.5, 4.1, 4.2.1, 4.2.2, 5.2.1.5, 5.2.2; the contract's rules; rows 3, 5, 6, 110.

A response is shared with another client only if `judge_storing` said `Keep`: these tables come before all others."""

import ast

import pytest

from proxy.entry import BytesBody, Position
from proxy.message import Framing, Head
from proxy.policy.keys import Keyed, derive
from proxy.policy.storing import Keep, Skip, entry_of, judge_posted, judge_size, judge_storing, may_replace, outdates
from proxy.policy.vary import ABSENT
from proxy.reasons import Why
from proxy.rules import Mode, Rule
from tests.support.judged import ORIGIN, TTL60, T, Told, answer, cc, date, get, ruled, stored
from tests.support.parsed import parsed
from tests.support.process import REPOSITORY

TAG = ("ETag", '"a"')
MODIFIED = ("Last-Modified", date(-1000))
FRESH60 = cc("max-age=60")
AUTH = ("Authorization", "Basic YQ==")
KEY = ("X-Api-Key", "k")
COOKIE = ("Cookie", "sid=1")
POSTS = ruled(ttl=60, methods=frozenset({"GET", "HEAD", "POST"}))


def why(head: Head, *asked: Told, rule: Rule = ORIGIN, method: str = "GET") -> str:
    return judge_storing(get(*asked, method=method), head, rule, T).why.word


@pytest.mark.parametrize(
    ("method", "rule", "expected"),
    [
        pytest.param("GET", ORIGIN, "stored", id="3 GET"),
        pytest.param("HEAD", ORIGIN, "head", id="4.3.5 HEAD stores nothing of its own"),
        pytest.param("POST", ORIGIN, "method", id="3 POST without a rule"),
        pytest.param("POST", POSTS, "stored", id="row 3: POST by a rule"),
        pytest.param("GET", ruled(methods=frozenset({"POST"})), "method", id="row 3: not the rule's method"),
        pytest.param("PUT", ruled(methods=frozenset({"PUT"})), "method", id="row 3: PUT is never stored"),
        pytest.param("OPTIONS", ruled(methods=frozenset({"OPTIONS"})), "method", id="3 a method not understood"),
        pytest.param("get", ORIGIN, "method", id="9110-9.1 methods have their case"),
    ],
)
def test_methods(method: str, rule: Rule, expected: str) -> None:
    assert why(answer(FRESH60), rule=rule, method=method) == expected


@pytest.mark.parametrize(
    ("fields", "rule", "expected"),
    [
        pytest.param([cc("max-age=9")], ORIGIN, "stored", id="9110 9.3.3 explicit"),
        pytest.param([cc("max-age=0"), ("ETag", '"1"')], ORIGIN, "stored", id="9110 9.3.3 explicit, to be validated"),
        pytest.param([("Last-Modified", date(-1000))], ORIGIN, "no-freshness", id="9110 9.3.3 no heuristics"),
        pytest.param([("ETag", '"1"')], TTL60, "no-freshness", id="9110 9.3.3 a rule's ttl is not the origin's word"),
        pytest.param([cc("max-age=9")], ruled(ttl=60, override=True), "stored", id="nor does an override hide it"),
        pytest.param([cc("max-age=9, private")], ORIGIN, "private", id="what may not be stored"),
    ],
)
def test_an_answer_to_post_for_a_get(fields: list[Told], rule: Rule, expected: str) -> None:
    assert judge_posted(get(), answer(*fields), rule, T).why.word == expected


@pytest.mark.parametrize(
    "reason", ["head", "request-no-store", "status", "no-store", "set-cookie", "credentials", "vary-star", "min-size"]
)
def test_the_first_reason_counts(reason: str) -> None:
    """What was asked, what came, whose it is, what it is worth; each one taken away shows the next."""
    reasons = ["head", "request-no-store", "status", "no-store", "set-cookie", "credentials", "vary-star", "min-size"]
    left = reasons[reasons.index(reason) :]
    asked = [*([cc("no-store")] if "request-no-store" in left else []), *([AUTH] if "credentials" in left else [])]
    told = [("Content-Length", "1"), *([("Vary", "*")] if "vary-star" in left else [])]
    told += [cc("no-store")] if "no-store" in left else []
    told += [("Set-Cookie", "a=b")] if "set-cookie" in left else []
    head = answer(*told, status=304 if "status" in left else 200, framing=Framing.LENGTH)
    rule, method = ruled(ttl=60, min_size=2), "HEAD" if "head" in left else "GET"
    assert why(head, *asked, rule=rule, method=method) == reason


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.ON, "stored"),
        (Mode.ORIGIN, "stored"),
        (Mode.OFF, "rule-off"),
        (Mode.SHADOW, "shadow"),
        (Mode.BYPASS, "no-rule"),
    ],
)
def test_modes(mode: Mode, expected: str) -> None:
    assert why(answer(FRESH60), rule=ruled(mode=mode)) == expected


@pytest.mark.parametrize(("mode", "expected"), [("honour", "request-no-store"), ("ignore", "stored")])
def test_request_no_store(mode: str, expected: str) -> None:
    """RFC 9111 5.2.1.5."""
    assert why(answer(FRESH60), cc("no-store"), rule=ruled(client_directives=mode)) == expected


@pytest.mark.parametrize(
    ("status", "fields", "rule", "expected"),
    [
        pytest.param(103, [FRESH60], ORIGIN, "status", id="3 not final"),
        pytest.param(304, [FRESH60], ORIGIN, "status", id="row 5: a 304 is no answer"),
        pytest.param(304, [FRESH60], ruled(ttl=60, statuses=frozenset({200, 304})), "status", id="row 5: named or not"),
        pytest.param(206, [FRESH60], ORIGIN, "partial", id="3.3 parts are not kept"),
        *(
            pytest.param(status, [FRESH60], ORIGIN, "stored", id=f"explicit freshness makes {status} storable")
            for status in (200, 201, 204, 226, 299, 302, 307, 400, 404, 410, 418, 451, 500, 503, 599, 799)
        ),
        pytest.param(302, [("Expires", date(60))], ORIGIN, "stored", id="3 Expires is explicit"),
        pytest.param(500, [cc("s-maxage=1")], ORIGIN, "stored", id="3 s-maxage is explicit"),
        pytest.param(302, [MODIFIED], ORIGIN, "status", id="9110-15.1 no heuristics for 302"),
        pytest.param(302, [TAG], ORIGIN, "status", id="3 nor a validator alone"),
        pytest.param(500, [TAG], ORIGIN, "status", id="3 an error with a validator"),
        pytest.param(301, [MODIFIED], ORIGIN, "stored", id="9110-15.1 heuristics for 301"),
        pytest.param(404, [MODIFIED], ORIGIN, "status", id="no error by heuristics"),
        pytest.param(302, [MODIFIED, cc("public")], ORIGIN, "stored", id="5.2.2.9 public makes any storable"),
        pytest.param(200, [], TTL60, "stored", id="row 5: ttl covers 200"),
        pytest.param(500, [], TTL60, "status", id="row 5: not 500"),
        pytest.param(404, [], TTL60, "status", id="row 5: not 404"),
        pytest.param(404, [MODIFIED], TTL60, "status", id="row 5: not by heuristics either"),
        pytest.param(302, [], TTL60, "status", id="ttl: not 302"),
        pytest.param(404, [FRESH60], TTL60, "stored", id="row 5: but by the origin's word"),
        pytest.param(404, [], ruled(negative_ttl=((404, 9.0),)), "stored", id="negative_ttl"),
        pytest.param(500, [], ruled(ttl=60, statuses=frozenset({200, 500})), "stored", id="statusCodes names it"),
        pytest.param(203, [], ruled(ttl=60, statuses=frozenset({200})), "status", id="statusCodes leaves it out"),
    ],
)
def test_statuses(status: int, fields: list[Told], rule: Rule, expected: str) -> None:
    assert why(answer(*fields, status=status), rule=rule) == expected


def test_a_whole_answer_to_a_condition_is_for_all() -> None:
    assert why(answer(FRESH60), ("If-Match", '"a"'), ("Range", "bytes=0-")) == "stored"


@pytest.mark.parametrize("status", [412, 416])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((), "stored"),
        ((("If-Match", '"a"'),), "status"),
        ((("If-Unmodified-Since", date()),), "status"),
        ((("Range", "bytes=9-"),), "status"),
    ],
)
def test_an_answer_to_a_condition_is_for_who_set_it(status: int, asked: tuple[Told, ...], expected: str) -> None:
    """The condition is not in the key: stored, one client's 412 would be everybody's."""
    assert why(answer(FRESH60, status=status), *asked) == expected


@pytest.mark.parametrize(
    ("value", "status", "expected"),
    [
        pytest.param("no-store", 200, "no-store", id="5.2.2.5"),
        pytest.param("no-store, max-age=60, public", 200, "no-store", id="5.2.2.5 the most restrictive"),
        pytest.param("must-understand, no-store, max-age=60", 200, "stored", id="5.2.2.3 lifts no-store"),
        pytest.param("must-understand, no-store, max-age=60", 599, "must-understand", id="5.2.2.3 not understood"),
        pytest.param("must-understand, max-age=60", 599, "must-understand", id="5.2.2.3 without no-store too"),
        pytest.param("must-understand, max-age=60", 404, "stored", id="5.2.2.3 understood"),
        pytest.param("private, max-age=60", 200, "private", id="5.2.2.7"),
        pytest.param('private="date", max-age=60', 200, "private", id="5.2.2.7 qualified by what we need"),
        pytest.param("private, public, max-age=60", 200, "private", id="4.2.1 the most restrictive"),
    ],
)
@pytest.mark.parametrize("rule", [ORIGIN, ruled(ttl=60, override=True, statuses=frozenset({200, 404, 599}))])
def test_prohibitions(value: str, status: int, expected: str, rule: Rule) -> None:
    """Override never lifts them."""
    assert why(answer(cc(value), TAG, status=status), rule=rule) == expected


def test_the_statuses_that_are_understood() -> None:
    """RFC 9111 5.2.2.3: those of RFC 9110 15, but for the parts that are not kept."""
    registered = {200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 305, 307, 308, 421, 422, 426}
    registered |= {*range(400, 418), *range(500, 506)}
    understood = {
        code for code in range(200, 600) if why(answer(cc("must-understand, max-age=9"), status=code)) == "stored"
    }
    assert understood == registered


def test_targeted_prohibition() -> None:
    """RFC 9213 3.1: only CDNs store the one, all but CDNs the other."""
    assert why(answer(("CDN-Cache-Control", "max-age=60"), cc("no-store"))) == "stored"
    assert why(answer(("CDN-Cache-Control", "no-store"), cc("max-age=60"))) == "no-store"


@pytest.mark.parametrize("value", ['private="X-A, x-b"', 'no-cache="X-A, x-b"', 'private="x-a", no-cache="x-b"'])
def test_withheld_fields(value: str) -> None:
    """RFC 9111 5.2.2.4, 5.2.2.7: the rest may be stored."""
    judged = judge_storing(get(), answer(cc(f"max-age=60, {value}"), ("X-A", "1")), ORIGIN, T)
    assert judged == Keep(60, T + 360, (), 60, frozenset({"x-a", "x-b"}))


def test_a_cookie_that_is_withheld_forbids_all_the_same() -> None:
    judged = judge_storing(get(), answer(cc('max-age=60, private="set-cookie"'), ("Set-Cookie", "a=b")), ORIGIN, T)
    assert judged == Skip(Why.SET_COOKIE, 60)


def test_store_private() -> None:
    assert why(answer(cc("private, max-age=60")), rule=ruled(store_private=True)) == "stored"


@pytest.mark.parametrize(
    ("value", "rule", "expected"),
    [
        pytest.param("max-age=60", ORIGIN, "set-cookie", id="never by itself"),
        pytest.param("public, max-age=60", ORIGIN, "set-cookie", id="not by public alone"),
        pytest.param("max-age=60", ruled(store_set_cookie=True), "set-cookie", id="not by the setting alone"),
        pytest.param("public, max-age=60", ruled(store_set_cookie=True), "stored", id="by both"),
        pytest.param("max-age=60", ruled(ttl=60, override=True), "set-cookie", id="not by override"),
    ],
)
def test_set_cookie(value: str, rule: Rule, expected: str) -> None:
    for name in ("Set-Cookie", "Set-Cookie2"):
        assert why(answer((name, "a=b"), cc(value)), rule=rule) == expected


IGNORE = ruled(ttl=60, credentials="ignore")


@pytest.mark.parametrize("asked", [AUTH, KEY])
@pytest.mark.parametrize(
    ("fields", "rule", "expected"),
    [
        pytest.param([FRESH60], ORIGIN, "credentials", id="3.5 max-age is no permission"),
        pytest.param([cc("public, max-age=60")], ORIGIN, "stored", id="3.5 public"),
        pytest.param([cc("s-maxage=60")], ORIGIN, "stored", id="3.5 s-maxage"),
        pytest.param([cc("must-revalidate, max-age=60")], ORIGIN, "stored", id="3.5 must-revalidate"),
        pytest.param([cc("proxy-revalidate, max-age=60")], ORIGIN, "credentials", id="3.5 proxy-revalidate is none"),
        pytest.param([], TTL60, "credentials", id="a ttl is no permission"),
        pytest.param([FRESH60], ruled(ttl=60, override=True), "credentials", id="nor an override"),
        pytest.param([cc("must-revalidate")], TTL60, "credentials", id="must-revalidate permits no ttl"),
        pytest.param([cc("must-revalidate, max-age=0"), TAG], ORIGIN, "credentials", id="nor what is stale at once"),
        pytest.param([cc("public")], TTL60, "stored", id="3.5 public permits a ttl"),
        pytest.param([], IGNORE, "stored", id="credentials: ignore"),
        pytest.param([], ruled(ttl=60, credentials="key"), "stored", id="credentials: key"),
        pytest.param([cc("private")], IGNORE, "private", id="private all the same"),
    ],
)
def test_credentials(asked: Told, fields: list[Told], rule: Rule, expected: str) -> None:
    """RFC 9111 3.5, for every header of cache.credential_headers."""
    assert why(answer(*fields), asked, rule=rule) == expected


@pytest.mark.parametrize(
    ("asked", "fields", "rule", "expected"),
    [
        pytest.param([COOKIE], [FRESH60], ORIGIN, "stored", id="the origin's explicit lifetime"),
        pytest.param([COOKIE], [], TTL60, "cookie", id="a ttl is none"),
        pytest.param([COOKIE], [MODIFIED], ORIGIN, "cookie", id="heuristics are none"),
        pytest.param([COOKIE], [TAG], ORIGIN, "cookie", id="a validator is none"),
        pytest.param([COOKIE], [TAG, cc("max-age=0")], ORIGIN, "cookie", id="a lifetime of nothing is none"),
        pytest.param([COOKIE], [TAG, cc("no-cache")], ORIGIN, "cookie", id="no-cache is none"),
        pytest.param([COOKIE], [TAG, cc("public, max-age=0")], ORIGIN, "stored", id="public says it is for all"),
        pytest.param([COOKIE], [FRESH60], ruled(ttl=9, override=True), "stored", id="explicit under an override"),
        pytest.param([COOKIE], [], ruled(ttl=9, override=True), "cookie", id="an override alone is none"),
        pytest.param([COOKIE], [], ruled(ttl=60, cookies=()), "stored", id="cookies: ignore"),
        pytest.param([COOKIE], [], ruled(ttl=60, cookies=("sid",)), "stored", id="cookies in the key"),
        pytest.param([AUTH, COOKIE], [], IGNORE, "cookie", id="both, one covered"),
        pytest.param([AUTH, COOKIE], [cc("public")], TTL60, "cookie", id="both, public without a lifetime"),
        pytest.param([AUTH, COOKIE], [FRESH60], TTL60, "credentials", id="both, a lifetime without permission"),
        pytest.param([AUTH, COOKIE], [cc("public")], ruled(ttl=60, cookies=()), "stored", id="both, the other covered"),
        pytest.param([AUTH, COOKIE], [cc("public, max-age=1")], TTL60, "stored", id="both, permission and lifetime"),
    ],
)
def test_cookies(asked: list[Told], fields: list[Told], rule: Rule, expected: str) -> None:
    assert why(answer(*fields), *asked, rule=rule) == expected


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        pytest.param(None, (), id="no Vary"),
        pytest.param("Foo", (("foo", "x"),), id="4.1 one field"),
        pytest.param("Foo, Bar", (("bar", ABSENT), ("foo", "x")), id="4.1 in one order, absent ones too"),
        pytest.param("*", None, id="4.1 star"),
        pytest.param("Foo, *", None, id="4.1 star anywhere"),
    ],
)
def test_vary(vary: str | None, expected: tuple[Told, ...] | None) -> None:
    head = answer(FRESH60, *([("Vary", vary)] if vary is not None else []))
    judged = judge_storing(get(("Foo", "x")), head, ORIGIN, T)
    if expected is None:
        assert judged == Skip(Why.VARY_STAR, 60)
    else:
        assert isinstance(judged, Keep)
        assert judged.vary == expected


@pytest.mark.parametrize(
    ("framing", "length", "rule", "expected"),
    [
        pytest.param(Framing.CLOSE, None, ORIGIN, "unproven-end", id="3.3 no proof of its end"),
        pytest.param(Framing.CHUNKED, None, ruled(ttl=60, min_size=1024), "stored", id="row 6: judged at its end"),
        pytest.param(Framing.LENGTH, "1023", ruled(ttl=60, min_size=1024), "min-size", id="row 6: 1023"),
        pytest.param(Framing.LENGTH, "1024", ruled(ttl=60, min_size=1024), "stored", id="row 6: 1024"),
        pytest.param(Framing.LENGTH, "11", ruled(ttl=60, max_size=10), "max-size", id="row 6: above max_size"),
        pytest.param(Framing.LENGTH, "10", ruled(ttl=60, max_size=10), "stored", id="row 6: at max_size"),
        pytest.param(Framing.NONE, None, ruled(ttl=60, min_size=1), "min-size", id="row 6: no content at all"),
        pytest.param(Framing.NONE, None, ORIGIN, "stored", id="no content is an end"),
    ],
)
def test_bodies(framing: Framing, length: str | None, rule: Rule, expected: str) -> None:
    fields = [FRESH60] + ([("Content-Length", length)] if length is not None else [])
    assert why(answer(*fields, framing=framing), rule=rule) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(9, Skip(Why.MIN_SIZE)), (10, None), (20, None), (21, Skip(Why.MAX_SIZE))],
)
def test_judge_size(size: int, expected: Skip | None) -> None:
    assert judge_size(ruled(min_size=10, max_size=20), size) == expected


@pytest.mark.parametrize(
    ("fields", "rule", "expected"),
    [
        pytest.param([], ORIGIN, "no-freshness", id="neither lifetime nor validator"),
        pytest.param([TAG], ORIGIN, "stored", id="a validator alone"),
        pytest.param([("ETag", "a")], ORIGIN, "no-freshness", id="8.8.3 an unquoted tag is none"),
        pytest.param([cc("public")], ORIGIN, "no-freshness", id="public alone"),
        pytest.param([cc("stale-while-revalidate=9")], ORIGIN, "no-freshness", id="a window alone"),
        pytest.param([], ruled(ttl=0), "zero-ttl", id="ttl 0 without a validator"),
        pytest.param([TAG], ruled(ttl=0), "stored", id="ttl 0 with one"),
        pytest.param([], ruled(ttl=0, stale_if_error=9), "stored", id="ttl 0 with a window that a rule names"),
        pytest.param([cc("max-age=0")], ORIGIN, "zero-ttl", id="stale at once"),
        pytest.param([("Expires", "0")], ORIGIN, "zero-ttl", id="5.3 stale at once"),
        pytest.param([cc("max-age=0, stale-while-revalidate=9")], ORIGIN, "stored", id="5861-3 with a window"),
        pytest.param([cc("max-age=0, stale-if-error=9")], ORIGIN, "stored", id="5861-4 with a window"),
        pytest.param([cc("max-age=9"), ("Age", "9")], ORIGIN, "zero-ttl", id="4.2.3 stale when it came"),
        pytest.param([cc("max-age=9"), ("Age", "9"), TAG], ORIGIN, "stored", id="4.2.3 with a validator"),
        pytest.param([cc("no-cache")], ORIGIN, "origin-no-cache", id="5.2.2.4 nothing to validate with"),
        pytest.param([cc("no-cache"), TAG], ORIGIN, "stored", id="5.2.2.4 validated every time"),
        pytest.param([cc("no-cache")], ruled(ttl=60, override=True), "stored", id="override"),
    ],
)
def test_worth(fields: list[Told], rule: Rule, expected: str) -> None:
    assert why(answer(*fields), rule=rule) == expected


def test_a_post_has_nothing_to_be_renewed_with() -> None:
    rule = ruled(ttl=0, methods=frozenset({"POST"}))
    assert why(answer(TAG), rule=rule, method="POST") == "zero-ttl"


@pytest.mark.parametrize(
    ("fields", "took", "rule", "lifetime", "kept", "origin"),
    [
        pytest.param([FRESH60], 0, ORIGIN, 60, 360, 60, id="the default window behind"),
        pytest.param([FRESH60, ("Age", "9")], 1, ORIGIN, 50, 350, 60, id="less the age it came with"),
        pytest.param([], 0, TTL60, 60, 360, None, id="a rule's ttl"),
        pytest.param(
            [FRESH60], 0, ruled(ttl=600, override=True), 600, 900, 60, id="override, and what the origin said"
        ),
        pytest.param([cc("max-age=60, must-revalidate"), TAG], 0, ORIGIN, 60, 3660, 60, id="cache.keep for renewal"),
        pytest.param([TAG], 0, ORIGIN, 0, 3900, None, id="renewal and errors alone"),
        pytest.param([cc("no-cache"), TAG], 0, ORIGIN, 0, 3600, 0, id="renewal alone"),
    ],
)
def test_keep(fields: list[Told], took: float, rule: Rule, lifetime: float, kept: float, origin: float | None) -> None:
    judged = judge_storing(get(), answer(*fields, took=took), rule, T)
    assert judged == Keep(lifetime, T + kept, (), origin)


def test_what_is_kept_is_counted_from_now() -> None:
    """The head took a while to be judged: `keep_until` is what it was, a lifetime that is over is worth nothing."""
    head = answer(FRESH60)
    assert judge_storing(get(), head, ORIGIN, T + 20) == Keep(60, T + 360, (), 60)
    assert judge_storing(get(), head, ORIGIN, T + 60) == Skip(Why.ZERO_TTL, 60)


def test_skip_tells_what_the_origin_said() -> None:
    assert judge_storing(get(), answer(cc("no-store, max-age=60")), ORIGIN, T) == Skip(Why.NO_STORE, 60)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [(200, 200, True), (200, 404, True), (200, 503, False), (404, 500, False), (500, 503, True), (503, 200, True)],
)
def test_an_error_never_puts_out_a_good_answer(old: int, new: int, expected: bool) -> None:
    assert may_replace(stored(status=old), answer(status=new)) is expected


@pytest.mark.parametrize(
    ("status", "conditional", "asked", "skip", "expected"),
    [
        pytest.param(200, True, [], Why.NO_STORE, True, id="4.3.3 another representation"),
        pytest.param(301, True, [], Why.STATUS, True, id="4.3.3 it has moved"),
        pytest.param(200, False, [], Why.NO_STORE, False, id="4.3.3 we did not say what we have"),
        pytest.param(404, False, [], Why.STATUS, True, id="there is none any more"),
        pytest.param(410, False, [], Why.STATUS, True, id="nor will there be"),
        *(
            pytest.param(status, True, [], Why.STATUS, False, id=f"{status} is no word on it")
            for status in (403, 429, 503)
        ),
        pytest.param(200, True, [cc("no-store")], Why.REQUEST_NO_STORE, False, id="5.2.1.5 one client's wish"),
        pytest.param(404, True, [AUTH], Why.CREDENTIALS, False, id="3.5 one person's answer"),
        pytest.param(404, True, [COOKIE], Why.STATUS, False, id="one visitor's answer"),
    ],
)
def test_what_is_not_kept_may_outdate_what_is(
    status: int, conditional: bool, asked: list[Told], skip: Why, expected: bool
) -> None:
    told = outdates(get(*asked), answer(status=status), ORIGIN, Skip(skip), conditional=conditional)
    assert told is expected


def test_what_is_stored_holds_what_was_judged() -> None:
    told = cc('max-age=60, private="x-own"'), ("Surrogate-Key", "a " + "b" * 9000), ("X-Own", "1"), ("Vary", "Accept")
    request, head = get(("Accept", "text/html")), answer(*told)
    keep = judge_storing(request, head, ORIGIN, T)
    assert isinstance(keep, Keep)
    keyed = derive(request, ORIGIN)
    assert isinstance(keyed, Keyed)
    position, body = Position(3, 2, 1), BytesBody(b"x")
    entry, dropped = entry_of(request, ORIGIN, keyed, head, keep, position, content=None, body=body, fence=7)
    assert (entry.hash, entry.parts, entry.body, entry.position, entry.fence) == (
        keyed.hash,
        keyed.parts,
        body,
        position,
        7,
    )
    assert (entry.status, entry.phrase, entry.requested_at, entry.received_at) == (
        head.status,
        head.phrase,
        head.requested_at,
        head.received_at,
    )
    assert (entry.keep_until, entry.vary, entry.rule) == (keep.keep_until, keep.vary, ORIGIN.name)
    assert (entry.tags, dropped) == (("a",), 1)
    assert entry.fields == head.fields.without({"x-own"})


def test_entries_are_made_in_one_place() -> None:
    """But for records that are read again."""
    makers = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "proxy").rglob("*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Entry"
    }
    assert makers == {"proxy/policy/storing.py", "proxy/store/codec.py"}
