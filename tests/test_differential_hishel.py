"""The same messages judged by hishel, another shared cache by the same documents: the two agree but for what is listed.

Each list tells every difference that is meant, why it is, and an example of it. A generated message on which the two
disagree has to be explained by one of them; an example on which they agree is a difference that is no more.
"""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import hishel
import pytest
from hishel._core._headers import parse_cache_control
from hishel._core._spec import get_freshness_lifetime, refresh_response_headers, vary_headers_match
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.entry import BytesBody, Entry, Found, KeyParts, Scope, Variant
from proxy.message import Fields, Framing, Head
from proxy.outcome import Tier
from proxy.policy.cache_control import parse
from proxy.policy.fields import date_field, delta_seconds, http_date
from proxy.policy.freshness import initial_age, lifetime
from proxy.policy.renewal import Renewed, judge_renewal
from proxy.policy.reuse import Choice, Serve, judge_reuse
from proxy.policy.storing import Keep, judge_storing
from proxy.policy.vary import vary_names, vary_values
from tests.support.judged import ORIGIN, T, Told, answer, cc, date, get, stored

SHARED = hishel.CacheOptions(shared=True, supported_methods=["GET", "HEAD"], allow_stale=False)


@dataclass(frozen=True)
class Difference:
    """`explains` tells whether a case is of this kind; where several things are compared, the first is what differs."""

    why: str
    explains: Callable[..., bool]
    example: tuple[Any, ...]


def explained(differences: Iterable[Difference], *case: Any) -> bool:
    return any(difference.explains(*case) for difference in differences)


def listed(differences: Iterable[Difference]) -> list[Any]:
    return [pytest.param(difference, id=difference.why) for difference in differences]


def headers(fields: Iterable[Told]) -> hishel.Headers:
    lines: dict[str, list[str]] = {}
    for name, value in fields:
        lines.setdefault(name.lower(), []).append(value)
    return hishel.Headers(lines)


def response(fields: Iterable[Told], status: int = 200) -> hishel.Response:
    return hishel.Response(status, headers(fields))


def request(fields: Iterable[Told] = ()) -> hishel.Request:
    return hishel.Request("GET", "http://api.example.com/", headers(fields))


# -- Cache-Control (RFC 9111 5.2) --------------------------------------------------------------------------------------

NUMBERS = ("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error", "max-stale", "min-fresh")
FLAGS = ("no-store", "public", "must-revalidate", "proxy-revalidate", "must-understand", "immutable", "only-if-cached")
QUALIFIED = ("no-cache", "private")


def arguments(name: str, members: Iterable[str]) -> list[str | None]:
    """What stands behind each "=" of a directive, None where there is none."""
    found = (re.fullmatch(rf"{name}(?:=(.*))?", member, re.IGNORECASE | re.DOTALL) for member in members)
    return [match[1] for match in found if match]


def _number(argument: str | None) -> int | None:
    return None if argument is None else delta_seconds(argument.strip('"'))


PARSING = (
    Difference(
        "what is no number means stale (4.2.1: caches are encouraged to), and is no directive to them",
        lambda name, members: name in NUMBERS and any(_number(each) is None for each in arguments(name, members)),
        ("max-age", ("max-age=x",)),
    ),
    Difference(
        "two values that differ mean stale (4.2.1), and to them the last",
        lambda name, members: name in NUMBERS and len(set(arguments(name, members))) > 1,
        ("max-age", ("max-age=5", "max-age=60")),
    ),
    Difference(
        "what is too large is 2^31 (1.2.2), and to them one less",
        lambda name, members: any((_number(each) or 0) >= 2**31 for each in arguments(name, members)),
        ("max-age", ("max-age=99999999999",)),
    ),
    Difference(
        "a restriction with an argument holds (http-caching: parsing only errs to the safe side; RFC 8246 2)",
        lambda name, members: name in FLAGS and any(each is not None for each in arguments(name, members)),
        ("no-store", ("no-store=1",)),
    ),
    Difference(
        "a list that is empty or has to hold for all holds for all (5.2.2.4: always safe)",
        lambda name, members: name in (*QUALIFIED, "withheld") and any(map(_for_all, _qualifications(members))),
        ("no-cache", ('no-cache="vary"',)),
    ),
    Difference(
        "with field names and without: the most restrictive counts (4.2.1), and to them the last",
        lambda name, members: name in (*QUALIFIED, "withheld") and len(_qualifications(members)) > 1,
        ("no-cache", ("no-cache", 'no-cache="x-a"')),
    ),
    Difference(
        "a quote that another member closes is closed, and to them it never ends",
        lambda name, members: any(each.count('"') % 2 for each in members) and sum('"' in each for each in members) > 1,
        ("no-store", ('x="', 'x="no-store, max-age=9"')),
    ),
    Difference(
        "there is no space around = (5.2)",
        lambda name, members: any(" =" in member or "= " in member for member in members),
        ("max-age", ("max-age = 5",)),
    ),
)


def _qualifications(members: Iterable[str]) -> list[str | None]:
    return [argument for name in QUALIFIED for argument in arguments(name, members)]


def _for_all(argument: str | None) -> bool:
    return argument is not None and (argument[:1] != '"' or argument.lower() in ('""', '"vary"', '"a b"'))


def parsed(members: tuple[str, ...]) -> dict[str, Any]:
    said = parse(Fields.of(cc(", ".join(members))))
    ours = {name: getattr(said, name.replace("-", "_")) for name in (*NUMBERS, *FLAGS, *QUALIFIED)}
    return ours | {"withheld": said.withheld}


def parsed_by_them(members: tuple[str, ...]) -> dict[str, Any]:
    said = parse_cache_control(", ".join(members))
    theirs = {name: getattr(said, name.replace("-", "_")) for name in (*NUMBERS, *FLAGS)}
    theirs |= {name: getattr(said, name.replace("-", "_")) is True for name in QUALIFIED}
    named = [names for names in (said.no_cache, said.private) if isinstance(names, list)]
    return theirs | {"withheld": frozenset(name.lower() for names in named for name in names)}


ARGUMENTS = st.sampled_from(
    ["", "=0", "=60", '="60"', "=0060", "=99999999999", "=x", "=-1", "=1_0", "=", '=""', " = 5"]
)
FIELD_NAMES = st.sampled_from(["", '="x-a"', '="X-A, x-b"', '=""', '="vary"', '="a b"', "=x-a"])
MEMBER = (
    st.tuples(st.sampled_from(NUMBERS), ARGUMENTS)
    | st.tuples(st.sampled_from(FLAGS), st.sampled_from(["", "", "", "=1", '="a"']))
    | st.tuples(st.sampled_from(QUALIFIED), FIELD_NAMES)
    | st.tuples(st.sampled_from(["foo", "no-transform"]), st.sampled_from(["", "=1", '="no-store, max-age=9"', '="']))
).map("".join) | st.just("")
MEMBERS = st.lists(MEMBER | MEMBER.map(str.upper), max_size=4).map(tuple)


@given(MEMBERS)
def test_parsing(members: tuple[str, ...]) -> None:
    ours, theirs = parsed(members), parsed_by_them(members)
    unexplained = [name for name in ours if ours[name] != theirs[name] and not explained(PARSING, name, members)]
    assert unexplained == []


@pytest.mark.parametrize("difference", listed(PARSING))
def test_parsing_differs(difference: Difference) -> None:
    name, members = difference.example
    assert parsed(members)[name] != parsed_by_them(members)[name]
    assert difference.explains(name, members)


# -- freshness lifetime (RFC 9111 4.2.1) -------------------------------------------------------------------------------

Fieldset = tuple[Told, ...]


def lasts(fields: Fieldset, status: int) -> float:
    """What had ended before it came has a negative one with us, as stale windows begin at its end; to them none."""
    return max(0.0, lifetime(Fields.of(*fields), status, ORIGIN, T).seconds)


def lasts_for_them(fields: Fieldset, status: int) -> float:
    return max(0, get_freshness_lifetime(response(fields, status), True) or 0)


def _said(fields: Fieldset, *names: str) -> list[str]:
    return [value for name, value in fields if name.lower() in names]


def _explicit(fields: Fieldset) -> bool:
    said = parse(Fields.of(*fields))
    return said.max_age is not None or said.s_maxage is not None or bool(_said(fields, "expires"))


LASTING = (
    Difference(
        "conflicting directives: no-cache makes the lifetime nothing (4.2.1); they look at it elsewhere",
        lambda fields, status: parse(Fields.of(*fields)).no_cache,
        ((cc("max-age=60, no-cache"),), 200),
    ),
    Difference(
        "heuristics count by Date, end at a day (http-caching) and are for some statuses (4.2.2); theirs by their"
        " clock, at a week, for all",
        lambda fields, status: not _explicit(fields) and bool(_said(fields, "last-modified")),
        ((("Date", date()), ("Last-Modified", date(-1000))), 200),
    ),
    Difference(
        "Expires has one of the three forms (http-caching: nothing looser), and one value",
        lambda fields, status: bool(_said(fields, "expires")) and date_field(Fields.of(*fields), "expires", T) is None,
        ((("Date", date()), ("Expires", date(60)[:-3] + "UTC")), 200),
    ),
    Difference(
        "Date has too, and without one counts when the answer came (4.2.1); to them the moment at which they look",
        lambda fields, status: bool(_said(fields, "expires")) and date_field(Fields.of(*fields), "date", T) is None,
        ((("Expires", date(60)),), 200),
    ),
    Difference(
        "a targeted field governs alone (RFC 9213), which they do not know",
        lambda fields, status: bool(_said(fields, "cdn-cache-control")),
        ((("CDN-Cache-Control", "max-age=9"), cc("max-age=60")), 200),
    ),
)

CONTROL = st.lists(
    st.sampled_from(
        ["max-age=0", "max-age=60", "s-maxage=30", "no-cache", "public", "must-revalidate", "foo", "no-store"]
    )
    | st.sampled_from(["private", "must-understand", "stale-while-revalidate=9", 'private="x-a"', "proxy-revalidate"]),
    min_size=1,
    max_size=3,
    unique_by=lambda member: re.split("[=]", member)[0],  # what is said twice is compared above
).map(", ".join)
DATES = st.sampled_from([date(), date(-60), date(60), date(3600), "0", "soon", date(60)[:-3] + "UTC", date(60).upper()])
ANSWER: st.SearchStrategy[Fieldset] = st.lists(
    st.tuples(st.just("Cache-Control"), CONTROL)
    | st.tuples(st.sampled_from(["Date", "Expires", "Last-Modified"]), DATES)
    | st.tuples(st.just("ETag"), st.sampled_from(['"a"', 'W/"a"', "a"]))
    | st.tuples(st.just("CDN-Cache-Control"), st.sampled_from(["max-age=9", "no-store", "bad,", "public"]))
    | st.tuples(st.just("Vary"), st.sampled_from(["*", "Foo", "Foo, *"]))
    | st.tuples(st.just("Set-Cookie"), st.just("sid=1")),
    max_size=5,
    unique_by=lambda told: told[0],
).map(tuple)
STATUSES = st.sampled_from([103, 200, 203, 204, 206, 301, 302, 304, 404, 410, 418, 451, 500, 503, 599])


@example((("Date", date()), ("Expires", date(-60))), 200)
@given(ANSWER, STATUSES)
def test_lifetime(fields: Fieldset, status: int) -> None:
    ours, theirs = lasts(fields, status), lasts_for_them(fields, status)
    assert ours == theirs or explained(LASTING, fields, status)


@pytest.mark.parametrize("difference", listed(LASTING))
def test_lifetime_differs(difference: Difference) -> None:
    assert lasts(*difference.example) != lasts_for_them(*difference.example)
    assert difference.explains(*difference.example)


# -- storing (RFC 9111 3) ----------------------------------------------------------------------------------------------


def keeps(fields: Fieldset, status: int, asked: Fieldset) -> bool:
    head = Head(status, "", Fields.of(*fields), Framing.CHUNKED, T, T)
    return isinstance(judge_storing(get(*asked), head, ORIGIN, T), Keep)


def they_keep(fields: Fieldset, status: int, asked: Fieldset) -> bool:
    miss = hishel.CacheMiss(options=SHARED, request=request(asked))
    return isinstance(miss.next(response(fields, status)), hishel.StoreAndUse)


def _worthless(fields: Fieldset, status: int, asked: Fieldset) -> bool:
    told = Fields.of(*fields)
    confirmed = 200 <= status < 300 and bool(_said(fields, "etag", "last-modified"))
    return not confirmed and lifetime(told, status, ORIGIN, T).seconds <= initial_age(told, T, T)


def _unknown(fields: Fieldset, status: int, asked: Fieldset) -> bool:
    """No lifetime of its own, on a status whose lifetime nobody may guess."""
    return not _explicit(fields) or parse(Fields.of(*fields)).no_cache


KEEPING = (
    Difference(
        "what has neither a lifetime nor a usable validator is not kept (http-caching: before all)",
        _worthless,
        ((), 200, ()),
    ),
    Difference(
        "an unquoted entity tag is none (9110 8.8.3), so that nothing is left to validate with",
        lambda fields, status, asked: "a" in _said(fields, "etag"),
        ((("ETag", "a"),), 200, ()),
    ),
    Difference(
        "Set-Cookie forbids storing (http-caching)",
        lambda fields, status, asked: bool(_said(fields, "set-cookie")),
        ((cc("max-age=60"), ("Set-Cookie", "sid=1")), 200, ()),
    ),
    Difference(
        "must-understand lifts no-store on a status that we know (5.2.2.3); to them no-store always holds",
        lambda fields, status, asked: parse(Fields.of(*fields)).must_understand and status < 599,
        ((cc("max-age=60, must-understand, no-store"),), 200, ()),
    ),
    Difference(
        "must-understand on a status that we do not know forbids storing (5.2.2.3), which they do not know",
        lambda fields, status, asked: parse(Fields.of(*fields)).must_understand,
        ((cc("max-age=60, must-understand"),), 599, ()),
    ),
    Difference(
        "a Vary of * never matches (4.1), so that it is not even stored",
        lambda fields, status, asked: "*" in ", ".join(_said(fields, "vary")),
        ((cc("max-age=60"), ("Vary", "*")), 200, ()),
    ),
    Difference(
        "a targeted field governs alone (RFC 9213), which they do not know",
        lambda fields, status, asked: bool(_said(fields, "cdn-cache-control")),
        ((cc("no-store"), ("CDN-Cache-Control", "max-age=60")), 200, ()),
    ),
    Difference(
        "the client may forbid it (5.2.1.5), which they leave to the client",
        lambda fields, status, asked: "no-store" in _said(asked, "cache-control"),
        ((cc("max-age=60"),), 200, (cc("no-store"),)),
    ),
    Difference(
        "every header of cache.credential_headers counts as Authorization (contract)",
        lambda fields, status, asked: bool(_said(asked, "x-api-key")),
        ((cc("max-age=60"),), 200, (("X-Api-Key", "1"),)),
    ),
    Difference(
        "must-revalidate permits what it gives a lifetime (contract: an entry kept otherwise answers no credentials)",
        lambda fields, status, asked: bool(_said(asked, "authorization")) and parse(Fields.of(*fields)).must_revalidate,
        ((cc("must-revalidate"), ("ETag", '"a"')), 200, (("Authorization", "1"),)),
    ),
    Difference(
        "an answer to a cookie wants the origin's own explicit freshness (contract)",
        lambda fields, status, asked: bool(_said(asked, "cookie")),
        ((("ETag", '"a"'),), 200, (("Cookie", "sid=1"),)),
    ),
    Difference(
        "no-cache makes a lifetime nothing, so that a status needs to be known (3); to them max-age is enough",
        _unknown,
        ((cc("max-age=60, no-cache"), ("ETag", '"a"')), 226, ()),
    ),
)

ASKED: st.SearchStrategy[Fieldset] = st.lists(
    st.sampled_from([("Authorization", "1"), ("X-Api-Key", "1"), ("Cookie", "sid=1"), cc("no-store"), cc("no-cache")]),
    max_size=1,
).map(tuple)


@given(ANSWER, STATUSES, ASKED)
def test_storing(fields: Fieldset, status: int, asked: Fieldset) -> None:
    case = fields, status, asked
    assert keeps(*case) == they_keep(*case) or explained(KEEPING, *case)


@pytest.mark.parametrize("difference", listed(KEEPING))
def test_storing_differs(difference: Difference) -> None:
    assert keeps(*difference.example) != they_keep(*difference.example)
    assert difference.explains(*difference.example)


# -- answering from store (RFC 9111 4) ---------------------------------------------------------------------------------

PARTS = KeyParts(Scope("u", "", "http", "GET", "api.example.com"), "/")


def serves(age: int, fields: Fieldset, asked: Fieldset) -> bool:
    """`age` seconds after the origin made it, by the wall clock, which is theirs."""
    now = time.time()
    told = Fields.of(("Date", http_date(now - age)), *fields)
    entry = Entry("0" * 64, PARTS, 200, "", told, now - age, now - age, now + 1e6, BytesBody(b""))
    return isinstance(judge_reuse(get(*asked), Found(entry, Tier.MEMORY), ORIGIN, now), Serve)


def they_serve(age: int, fields: Fieldset, asked: Fieldset) -> bool:
    told = (("Date", http_date(time.time() - age)), *fields)
    entry = hishel.Entry(UUID(int=0), request(), response(told))
    return isinstance(hishel.IdleClient(options=SHARED).next(request(asked), [entry]), hishel.FromCache)


SERVING = (
    Difference(
        "the Age that it came with counts (4.2.3)",
        lambda age, fields, asked: bool(_said(fields, "age")),
        (0, (cc("max-age=600"), ("Age", "600")), ()),
    ),
    Difference(
        "max-stale and min-fresh are honoured (http-caching)",
        lambda age, fields, asked: any("stale" in value or "fresh" in value for value in _said(asked, "cache-control")),
        (300, (cc("max-age=60"),), (cc("max-stale"),)),
    ),
    Difference(
        "a stranger's reload is answered from store (http-caching: so that it cannot hammer the origin)",
        lambda age, fields, asked: "no-cache" in _said(asked, "cache-control"),
        (0, (cc("max-age=600"),), (cc("no-cache"),)),
    ),
    Difference(
        "a condition for the origin alone is sent on (4.3.2)",
        lambda age, fields, asked: bool(_said(asked, "if-match")),
        (0, (cc("max-age=600"),), (("If-Match", '"a"'),)),
    ),
    Difference(
        "a range is cut from the whole (http-caching), which they leave to the origin",
        lambda age, fields, asked: bool(_said(asked, "range")),
        (0, (cc("max-age=600"),), (("Range", "bytes=0-1"),)),
    ),
    Difference(
        "what may not be stored may not be reused either; they look at that once",
        lambda age, fields, asked: (
            bool(_said(fields, "set-cookie")) or "no-store" in str(_said(fields, "cache-control"))
        ),
        (0, (cc("max-age=600, no-store"),), ()),
    ),
)

# Minutes lie between all these, so that it does not matter how long the test takes.
AGES = st.sampled_from([0, 300, 1200])
KEPT: st.SearchStrategy[Fieldset] = st.lists(
    st.tuples(st.just("Cache-Control"), st.sampled_from(["max-age=60", "max-age=600", "s-maxage=600, max-age=0"]))
    | st.tuples(st.just("Cache-Control"), st.sampled_from(["max-age=600, no-cache", "max-age=600, no-store", "public"]))
    | st.tuples(st.just("Age"), st.sampled_from(["0", "600"]))
    | st.tuples(st.just("Set-Cookie"), st.just("sid=1"))
    | st.tuples(st.just("ETag"), st.just('"a"')),
    max_size=3,
    unique_by=lambda told: told[0],
).map(tuple)
WISHES: st.SearchStrategy[Fieldset] = st.lists(
    st.sampled_from(
        [cc("max-stale"), cc("min-fresh=1000"), cc("no-cache"), cc("no-store"), cc("foo"), cc("no-transform")]
    )
    | st.sampled_from([("If-Match", '"a"'), ("If-None-Match", '"a"'), ("Range", "bytes=0-1"), ("Pragma", "no-cache")]),
    max_size=1,
).map(tuple)


@given(AGES, KEPT, WISHES)
def test_serving(age: int, fields: Fieldset, asked: Fieldset) -> None:
    case = age, fields, asked
    assert serves(*case) == they_serve(*case) or explained(SERVING, *case)


@pytest.mark.parametrize("difference", listed(SERVING))
def test_serving_differs(difference: Difference) -> None:
    assert serves(*difference.example) != they_serve(*difference.example)
    assert difference.explains(*difference.example)


# -- variants (RFC 9111 4.1) -------------------------------------------------------------------------------------------


def fits(vary: str, then: Fieldset, now: Fieldset) -> bool:
    names = vary_names(Fields.of(("Vary", vary)))
    if names is None:
        return False
    variant = Variant("v", vary_values(names, Fields.of(*then), ORIGIN), T)
    return Choice(get(*now), ORIGIN)([variant]) is not None


def fits_for_them(vary: str, then: Fieldset, now: Fieldset) -> bool:
    entry = hishel.Entry(UUID(int=0), request(then), response([("Vary", vary)]))
    return vary_headers_match(request(now), entry)


FITTING = (
    Difference(
        "a list of languages means the same in any order and case (4.1, http-caching)",
        lambda vary, then, now: "accept-language" in vary.lower(),
        ("Accept-Language", (("Accept-Language", "de, en"),), (("Accept-Language", "EN,de"),)),
    ),
    Difference(
        "Accept-Encoding is compared by the coding that is asked for (contract: cache.accept_encoding)",
        lambda vary, then, now: "accept-encoding" in vary.lower(),
        ("Accept-Encoding", (("Accept-Encoding", "gzip"),), (("Accept-Encoding", "gzip, deflate"),)),
    ),
)

VALUES = st.sampled_from(["de, en", "en,de", "EN, DE", "de", "", "gzip", "gzip, deflate", "br;q=0.5, gzip"])
CHOOSING: st.SearchStrategy[Fieldset] = st.lists(
    st.tuples(st.sampled_from(["Foo", "Accept-Language", "Accept-Encoding"]), VALUES),
    max_size=3,
    unique_by=lambda told: told[0],
).map(tuple)
VARY = st.sampled_from(["Foo", "foo, Accept-Language", "Accept-Encoding", "*", "Foo, *", "ACCEPT-LANGUAGE"])


@given(VARY, CHOOSING, CHOOSING)
def test_fitting(vary: str, then: Fieldset, now: Fieldset) -> None:
    case = vary, then, now
    assert fits(*case) == fits_for_them(*case) or explained(FITTING, *case)


@pytest.mark.parametrize("difference", listed(FITTING))
def test_fitting_differs(difference: Difference) -> None:
    assert fits(*difference.example) != fits_for_them(*difference.example)
    assert difference.explains(*difference.example)


# -- what a 304 changes (RFC 9111 3.2) ---------------------------------------------------------------------------------

TAG = ("ETag", '"a"')


def merged(old: Fieldset, new: Fieldset) -> dict[str, str | None]:
    renewal = judge_renewal(stored(TAG, *old), answer(TAG, *new, status=304), ORIGIN, T, fallback=False)
    assert isinstance(renewal, Renewed)
    return {name: renewal.entry.fields.get(name) for name in _names(old, new)}


def merged_by_them(old: Fieldset, new: Fieldset) -> dict[str, str | None]:
    fields = refresh_response_headers(response([TAG, *old]), response([TAG, *new], 304), True).headers
    return {name: fields.get(name) for name in _names(old, new)}


def _names(old: Fieldset, new: Fieldset) -> set[str]:
    return {name.lower() for name, _ in (TAG, ("Date", ""), *old, *new)}


MERGING = (
    Difference(
        "Content-Type is replaced: Content-* is no mark (3.2)",
        lambda name, old, new: name == "content-type",
        ("content-type", (("Content-Type", "a/b"),), (("Content-Type", "c/d"),)),
    ),
    Difference(
        "a digest of the content describes the stored bytes (http-caching)",
        lambda name, old, new: name in ("content-digest", "repr-digest"),
        ("content-digest", (), (("Content-Digest", "sha-256=:YQ==:"),)),
    ),
    Difference(
        "Set-Cookie is for who asked, and never stored (http-caching)",
        lambda name, old, new: name == "set-cookie",
        ("set-cookie", (), (("Set-Cookie", "a=b"),)),
    ),
    Difference(
        "an old Age says nothing of the new message (4.2.3)",
        lambda name, old, new: name == "age" and not _said(new, "age"),
        ("age", (("Age", "9"),), ()),
    ),
    Difference(
        "who has a clock adds the Date that is lacking (9110 6.6.1)",
        lambda name, old, new: name == "date" and not _said(new, "date"),
        ("date", (), ()),
    ),
    Difference(
        "what Connection names is for one connection only (3.1, 9110 7.6.1)",
        lambda name, old, new: name in [value.lower() for value in _said(new, "connection")],
        ("x", (), (("Connection", "X"), ("X", "1"))),
    ),
)

MERGED: st.SearchStrategy[Fieldset] = st.lists(
    st.tuples(st.sampled_from(["X", "Y", "Content-Type", "Content-Digest", "Link"]), st.sampled_from(["1", "2"]))
    | st.tuples(st.sampled_from(["Age", "Content-Length", "Content-Encoding"]), st.sampled_from(["1", "2"]))
    | st.tuples(st.just("Date"), st.sampled_from([date(), date(-60)]))
    | st.tuples(st.just("Cache-Control"), st.sampled_from(["max-age=9", 'private="x"', 'no-cache="Y, link"'])),
    max_size=5,
).map(tuple)
OF_ITS_OWN: list[Fieldset] = [(), (("Set-Cookie", "a=b"),), (("Connection", "Y"),), (("Keep-Alive", "1"),)]
NEW = st.tuples(MERGED, st.sampled_from(OF_ITS_OWN)).map(lambda parts: parts[0] + parts[1])


@given(MERGED, NEW)
@example((("Cache-Control", "max-age=9"), ("X", "1")), (("Cache-Control", 'private="x"'), ("X", "2")))
def test_merging(old: Fieldset, new: Fieldset) -> None:
    ours, theirs = merged(old, new), merged_by_them(old, new)
    assert [n for n in ours if ours[n] != theirs[n] and not explained(MERGING, n, old, new)] == []


@pytest.mark.parametrize("difference", listed(MERGING))
def test_merging_differs(difference: Difference) -> None:
    name, old, new = difference.example
    assert merged(old, new)[name] != merged_by_them(old, new)[name]
    assert difference.explains(name, old, new)
