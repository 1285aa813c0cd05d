"""What the revalidation meant: RFC 9111 3.2, 4.3.3, 4.3.4, 4.3.5; RFC 5861 4; invariant 9; row 5."""

import pytest

from proxy.entry import Found
from proxy.message import Fields
from proxy.outcome import Tier
from proxy.policy.freshness import current_age
from proxy.policy.renewal import FallBack, Mismatch, Outdated, Renewal, Renewed, Replaced, judge_head, judge_renewal
from proxy.policy.reuse import Fetch, Serve, judge_reuse
from proxy.rules import Rule
from tests.support.judged import ORIGIN, TTL60, T, Told, answer, cc, date, get, stored

TAG = ("ETag", '"a"')
WEAK = ("ETag", 'W/"a"')
THEN = ("Last-Modified", date(-100))
LATER = T + 100


def renew(old: list[Told], new: list[Told], *, status: int = 304, rule: Rule = ORIGIN, took: float = 0.0) -> Renewal:
    head = answer(*new, status=status, at=LATER, took=took)
    return judge_renewal(stored(*old), head, rule, LATER, fallback=False)


@pytest.mark.parametrize(
    ("status", "fallback", "expected"),
    [
        pytest.param(None, True, FallBack(), id="4.2.4 no answer, and stale is allowed"),
        pytest.param(None, False, Replaced(), id="4.2.4 no answer, and it is not"),
        *(pytest.param(code, True, FallBack(), id=f"5861-4 {code}") for code in (500, 502, 503, 504, 599)),
        pytest.param(503, False, Replaced(), id="4.3.3 forwarded"),
        *(pytest.param(code, True, Replaced(), id=f"4.3.3 {code} is an answer") for code in (200, 301, 404, 429)),
    ],
)
def test_what_came(status: int | None, fallback: bool, expected: Renewal) -> None:
    head = None if status is None else answer(status=status)
    assert judge_renewal(stored(TAG), head, ORIGIN, T, fallback=fallback) == expected


@pytest.mark.parametrize(
    ("old", "new", "confirmed"),
    [
        pytest.param([TAG], [TAG], True, id="4.3.4 the same strong tag"),
        pytest.param([TAG], [("ETag", '"b"')], False, id="4.3.4 another strong tag"),
        pytest.param([WEAK], [TAG], False, id="4.3.4 strong against weak"),
        pytest.param([WEAK], [WEAK], True, id="4.3.4 the same weak tag"),
        pytest.param([TAG], [WEAK], True, id="4.3.4 weak against strong corresponds"),
        pytest.param([WEAK], [("ETag", 'W/"b"')], False, id="4.3.4 another weak tag"),
        pytest.param([TAG, THEN], [TAG, ("Last-Modified", date(-1))], True, id="4.3.4 the strong one decides"),
        pytest.param([THEN], [THEN], True, id="4.3.4 the same date"),
        pytest.param([THEN], [("Last-Modified", date(-1))], False, id="4.3.4 another date"),
        pytest.param([THEN], [TAG, THEN], False, id="4.3.4 a strong tag that is not stored"),
        pytest.param([THEN], [WEAK, THEN], True, id="4.3.4 a weak tag that is not stored, the same date"),
        pytest.param([TAG, THEN], [THEN], True, id="4.3.4 no tag, the same date"),
        pytest.param([TAG, THEN], [("Last-Modified", date(-1))], False, id="4.3.4 no tag, another date"),
        pytest.param([TAG], [], True, id="no validator: we sent no other than ours"),
        pytest.param([TAG, THEN], [], True, id="no validator: we sent no others than ours"),
        pytest.param([], [], False, id="we sent none at all"),
        pytest.param([], [TAG], False, id="a tag for something that has none"),
        pytest.param([], [WEAK], False, id="a weak tag for something that has none"),
    ],
)
def test_validators(old: list[Told], new: list[Told], confirmed: bool) -> None:
    renewal = renew(old, new)
    assert isinstance(renewal, Renewed if confirmed else Mismatch)


@pytest.mark.parametrize(
    ("vary", "confirmed"),
    [
        pytest.param(None, True, id="not said again"),
        pytest.param("FOO", True, id="the same"),
        pytest.param("Foo, Bar", False, id="another field"),
        pytest.param("", False, id="none any more"),
        pytest.param("*", False, id="star"),
    ],
)
def test_a_304_that_varies_otherwise(vary: str | None, confirmed: bool) -> None:
    """RFC 9111 4.1: the request value of a newly nominated field is not known."""
    entry = stored(TAG, ("Vary", "Foo"), vary=(("foo", "x"),))
    told = [TAG] + ([("Vary", vary)] if vary is not None else [])
    renewal = judge_renewal(entry, answer(*told, status=304), ORIGIN, T, fallback=False)
    assert isinstance(renewal, Renewed if confirmed else Mismatch)
    assert not isinstance(renewal, Renewed) or renewal.entry.key == entry.key


OLD = [("Date", date()), ("Content-Length", "1"), ("Content-Encoding", "gzip"), ("X", "1"), ("Y", "1"), ("Y", "2"), TAG]
DATE = ("Date", date(100))


@pytest.mark.parametrize(
    ("new", "name", "expected"),
    [
        pytest.param([("x", "9")], "x", ("9",), id="3.2 replaced"),
        pytest.param([("Y", "9")], "y", ("9",), id="3.2 all lines of it"),
        pytest.param([("Y", "8"), ("Y", "9")], "y", ("8", "9"), id="3.2 by all lines"),
        pytest.param([("New", "9")], "new", ("9",), id="3.2 added"),
        pytest.param([], "x", ("1",), id="3.2 what is not told stays"),
        pytest.param([("Content-Type", "a/b")], "content-type", ("a/b",), id="3.2 Content-* is no mark"),
        pytest.param([("Content-Length", "9")], "content-length", ("1",), id="3.2 Content-Length stays"),
        pytest.param([("Content-Encoding", "br")], "content-encoding", ("gzip",), id="3.2 it describes the bytes"),
        pytest.param([("Content-Range", "bytes 0-0/1")], "content-range", (), id="3.2 Content-Range"),
        pytest.param([("Repr-Digest", "sha-256=:YQ==:")], "repr-digest", (), id="3.2 a digest of other bytes"),
        pytest.param([("Set-Cookie", "a=b")], "set-cookie", (), id="7.3 never into the store"),
        pytest.param([("Connection", "X"), ("X", "9")], "x", ("1",), id="3.1 named by Connection"),
        pytest.param([("Connection", "X")], "connection", (), id="3.1 Connection itself"),
        pytest.param([("Keep-Alive", "5")], "keep-alive", (), id="3.1 hop by hop"),
        pytest.param([("Transfer-Encoding", "chunked")], "transfer-encoding", (), id="3.1 framing"),
        pytest.param([("Proxy-Authenticate", "Basic")], "proxy-authenticate", (), id="3.1 the proxy's"),
        pytest.param([("Proxy-Authentication-Info", "a")], "proxy-authentication-info", (), id="3.1 the proxy's too"),
        pytest.param([("Proxy-Authorization", "Basic")], "proxy-authorization", (), id="3.1 the proxy's as well"),
        pytest.param([], "date", (date(100),), id="9110-6.6.1 a Date is made"),
        pytest.param([("Date", date(99))], "date", (date(99),), id="3.2 Date is replaced"),
    ],
)
def test_merging(new: list[Told], name: str, expected: tuple[str, ...]) -> None:
    renewal = renew(OLD, [TAG, *new])
    assert isinstance(renewal, Renewed)
    assert renewal.entry.fields.lines(name) == expected


def test_the_body_and_the_place_stay() -> None:
    renewal = renew(OLD, [TAG])
    assert isinstance(renewal, Renewed)
    old = stored(*OLD)
    assert (renewal.entry.body, renewal.entry.key, renewal.entry.status) == (old.body, old.key, 200)


def test_times_begin_anew() -> None:
    """RFC 9111 4.2.3: the old Age and Date do not count any more."""
    old = [cc("max-age=60"), ("Age", "50"), ("Date", date(-50)), TAG]
    renewal = renew(old, [TAG], took=2)
    assert isinstance(renewal, Renewed)
    assert (renewal.entry.requested_at, renewal.entry.received_at) == (LATER - 2, LATER)
    assert current_age(renewal.entry, LATER) == 2
    assert renewal.entry.keep_until == LATER + 58 + 300 + 3600
    assert judge_reuse(get(), Found(renewal.entry, Tier.MEMORY), ORIGIN, LATER) == Serve(2, 58)


def test_what_is_kept_is_counted_from_now() -> None:
    head = answer(TAG, status=304, at=LATER)
    renewal = judge_renewal(stored(TAG, cc("max-age=60")), head, ORIGIN, LATER + 10, fallback=False)
    assert isinstance(renewal, Renewed)
    assert renewal.entry.keep_until == LATER + 60 + 300 + 3600


def test_a_304_with_an_age_of_its_own() -> None:
    renewal = renew([cc("max-age=60"), TAG], [TAG, ("Age", "30")])
    assert isinstance(renewal, Renewed)
    assert current_age(renewal.entry, LATER) == 30


def test_the_304_sets_a_new_lifetime() -> None:
    renewal = renew([cc("max-age=1"), TAG], [TAG, cc("max-age=600, stale-if-error=0")], rule=TTL60)
    assert isinstance(renewal, Renewed)
    assert renewal.entry.keep_until == LATER + 600 + 3600


@pytest.mark.parametrize("value", ["no-store", "private"])
def test_a_304_that_forbids_sharing_ends_it(value: str) -> None:
    """What is merged is judged anew before it is used again."""
    renewal = renew([cc("max-age=60"), TAG], [TAG, cc(f"{value}, max-age=60")])
    assert isinstance(renewal, Renewed)
    judged = judge_reuse(get(), Found(renewal.entry, Tier.MEMORY), ORIGIN, LATER)
    assert isinstance(judged, Fetch)
    assert judged.why.word == value


def test_cookies_of_a_304_are_for_who_asked() -> None:
    renewal = renew([TAG], [TAG, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert isinstance(renewal, Renewed)
    assert renewal.personal == Fields.of(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))


def test_what_a_304_withholds_is_for_who_asked() -> None:
    """RFC 9111 5.2.2.4, 5.2.2.7: by what holds now; and nothing of the connection comes along (9110 7.6.1)."""
    old = [cc("max-age=1"), TAG, ("X-A", "old"), ("X-B", "old")]
    renewal = renew(old, [cc('max-age=9, private="x-a, connection"'), TAG, ("X-A", "new"), ("Connection", "x-a")])
    assert isinstance(renewal, Renewed)
    assert (len(renewal.personal), "x-a" in renewal.entry.fields) == (0, False)
    renewal = renew(old, [cc('max-age=9, no-cache="X-A"'), TAG, ("X-A", "new")])
    assert isinstance(renewal, Renewed)
    assert renewal.personal == Fields.of(("X-A", "new"))
    assert ("x-a" in renewal.entry.fields, renewal.entry.fields.get("x-b")) == (False, "old")


NEWER = ("X", "new")


@pytest.mark.parametrize(
    ("told", "agrees"),
    [
        pytest.param([TAG, THEN, ("Content-Length", "3")], True, id="all the same"),
        pytest.param([], True, id="nothing told"),
        pytest.param([("ETag", '"b"')], False, id="another tag"),
        pytest.param([("ETag", 'W/"a"')], False, id="a weak tag is another"),
        pytest.param([("Last-Modified", date(-1))], False, id="another date"),
        pytest.param([TAG, ("Content-Length", "4")], False, id="another length"),
        pytest.param([TAG, ("Vary", "Foo")], False, id="it varies otherwise"),
    ],
)
def test_head(told: list[Told], agrees: bool) -> None:
    """RFC 9111 4.3.5: it updates what it still describes, and makes stale what it does not."""
    entry = stored(TAG, THEN, cc("max-age=60"), ("X", "old"), body=b"abc")
    judged = judge_head(get(method="HEAD"), entry, answer(*told, NEWER, at=LATER), ORIGIN, LATER)
    if not agrees:
        assert judged == Outdated()
        return
    assert isinstance(judged, Renewed)
    assert (judged.entry.fields.get("x"), judged.entry.body) == ("new", entry.body)
    assert judge_reuse(get(), Found(judged.entry, Tier.MEMORY), ORIGIN, LATER) == Serve(0, 60)


def test_head_of_something_else_than_was_stored() -> None:
    """The stored 404 is no more, and a validator that it never had is none of its own."""
    gone = stored(cc("max-age=60"), status=404)
    assert judge_head(get(method="HEAD"), gone, answer(), ORIGIN, T) == Outdated()
    assert judge_head(get(method="HEAD"), stored(), answer(TAG), ORIGIN, T) == Outdated()


def test_head_in_another_coding_tells_nothing() -> None:
    """Its tag and length are those of other bytes, which a GET for the cache would not have brought."""
    head = answer(("ETag", '"gz"'), ("Content-Encoding", "gzip"))
    assert judge_head(get(method="HEAD"), stored(TAG), head, ORIGIN, T) is None
    assert judge_head(get(method="HEAD"), stored(("Content-Encoding", "br")), head, ORIGIN, T) is None
    assert judge_head(get(method="HEAD"), stored(("Content-Encoding", "gzip")), head, ORIGIN, T) == Outdated()


@pytest.mark.parametrize(
    ("asked", "method", "status"),
    [
        pytest.param([], "GET", 404, id="no 200"),
        pytest.param([], "GET", 503, id="no success"),
        pytest.param([("Authorization", "Basic YQ==")], "GET", 200, id="what one person gets"),
        pytest.param([("Cookie", "a=b")], "GET", 200, id="what one visitor gets"),
        pytest.param([], "POST", 200, id="no answer to a GET"),
    ],
)
def test_head_that_tells_nothing(asked: list[Told], method: str, status: int) -> None:
    entry, head = stored(TAG, method=method), answer(("ETag", '"b"'), status=status)
    assert judge_head(get(*asked, method="HEAD"), entry, head, ORIGIN, T) is None
