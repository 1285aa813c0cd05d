"""Over the wire: what is stored and for how long (http-caching: explicit freshness, field parsing, age, credentials,
cookies, must-understand). Defaults only, unless a test is of a setting."""

from typing import Any

import pytest

from proxy.policy.fields import http_date
from tests.support.gateway import Clock, running
from tests.support.judged import Told, cc
from tests.support.origin import Origin

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
DATE = ("Date", http_date(NOW))
AGO = ("Last-Modified", "Mon, 01 Jan 2001 00:00:00 GMT")
MINUTE = cc("max-age=60")


def expires(value: str) -> Told:
    return "Expires", value


async def lives(fields: list[Told], seconds: float, **settings: Any) -> tuple[str | None, str | None]:
    """What a second and a third request get: just before so many seconds are over, and just after."""
    clock = Clock(NOW)
    async with Origin() as origin, running(origin, settings, clock=clock) as gateway:
        origin.answer("/a", headers=fields, body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(seconds - 0.5)
        before = (await gateway.get("/a")).verdict
        clock.advance(1)
        return before, (await gateway.get("/a")).verdict


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        pytest.param([cc("MAX-AGE=60")], 60, id="names in any case"),
        pytest.param([cc('Max-Age="60"')], 60, id="names in any case, the argument quoted"),
        pytest.param([cc('a="x, max-age=1", max-age=60')], 60, id="a comma in a quoted string parts nothing"),
        pytest.param([cc(r'a="\", max-age=1, ", max-age=60')], 60, id="nor one behind an escaped quote"),
        pytest.param([cc(r'max-age="6\0"')], 60, id="escapes in a quoted argument"),
        pytest.param([cc("max-age=060")], 60, id="leading zeros"),
        pytest.param([cc("max-age = 60"), expires(http_date(NOW + 9))], 0, id="no whitespace around the equals sign"),
        pytest.param([cc("max-age=-1")], 0, id="no negative number"),
        pytest.param([cc("max-age=6.0")], 0, id="no fraction"),
        pytest.param([cc("max-age=6e1")], 0, id="nothing looser"),
        pytest.param([cc("max-age='60'")], 0, id="no other quotes"),
        pytest.param([cc("max-age")], 0, id="no number at all"),
        pytest.param([cc("max-age=4294967296")], 2**31, id="a huge one saturates"),
        pytest.param([cc("max-age=" + "9" * 5000)], 2**31, id="however huge"),
        pytest.param([cc("max-age=60"), cc("max-age=60")], 60, id="the same twice"),
        pytest.param([cc("s-maxage=x, max-age=60")], 0, id="an invalid one means stale, whatever the next says"),
        pytest.param([MINUTE, ("Age", "9")], 51, id="Age"),
        pytest.param([MINUTE, ("Age", "9"), ("Age", "30")], 51, id="the first of several"),
        pytest.param([MINUTE, ("Age", "9.5")], 60, id="digits only"),
        pytest.param([MINUTE, ("Age", "-9")], 60, id="no sign"),
        pytest.param([MINUTE, ("Age", "99999999999999999999")], 0, id="a huge Age saturates"),
        pytest.param([MINUTE, ("Age", "4294967296")], 0, id="and does not wrap around"),
        pytest.param([MINUTE, ("Date", http_date(NOW - 9))], 51, id="apparent age"),
        pytest.param([MINUTE, ("Date", http_date(NOW - 9)), ("Age", "4")], 51, id="of both ages the greater"),
        pytest.param([MINUTE, ("Date", http_date(NOW - 4)), ("Age", "9")], 51, id="whichever it is"),
        pytest.param([MINUTE, ("Date", http_date(NOW + 9))], 60, id="no age below nothing"),
        pytest.param([MINUTE, ("Date", http_date(NOW - 1))], 60, id="less than two seconds are none"),
        pytest.param([DATE, expires("Tue, 14 Nov 2023 22:14:20 GMT")], 60, id="IMF-fixdate"),
        pytest.param([DATE, expires("Tuesday, 14-Nov-23 22:14:20 GMT")], 60, id="the RFC 850 form"),
        pytest.param([DATE, expires("Tue Nov 14 22:14:20 2023")], 60, id="the asctime form"),
        pytest.param([DATE, expires("Wed Dec  6 22:13:20 2023")], 22 * 86_400, id="one digit for the day in it"),
        pytest.param([DATE, expires("tue, 14 nov 2023 22:14:20 gmt")], 60, id="in any case"),
        pytest.param([DATE, expires("Monday, 14-Nov-74 22:14:20 GMT")], 0, id="two digits: more than 50 years on"),
        pytest.param([DATE, expires("14 Nov 2023 22:14:20 GMT")], 0, id="nothing looser: no day"),
        pytest.param([DATE, expires("Tue, 14 Nov 2023 22:14:20 +0000")], 0, id="nothing looser: another zone"),
        pytest.param([DATE, expires("Tue, 14 Nov 2023 22:14:20 UTC")], 0, id="nothing looser: another name of it"),
        pytest.param([DATE, expires("Tue, 14 Nov 2023 22:14 GMT")], 0, id="nothing looser: no seconds"),
        pytest.param([DATE, expires("Tue,  14 Nov 2023 22:14:20 GMT")], 0, id="nothing looser: two spaces"),
        pytest.param([DATE, expires("2023-11-14T22:14:20Z")], 0, id="nothing looser: ISO 8601"),
        pytest.param([DATE, expires("Fri, 1 Dec 2023 22:13:20 GMT")], 0, id="nothing looser: one digit for the day"),
        pytest.param([DATE, expires("Tue, 14-Nov-2023 22:14:20 GMT")], 0, id="nothing looser: as in old cookies"),
        pytest.param([DATE, expires("Tuesday, 14-Nov-2023 22:14:20 GMT")], 0, id="nothing looser: four for two digits"),
        pytest.param([DATE, expires("Tue, 14 Nov 23 22:14:20 GMT")], 0, id="nothing looser: two for four"),
        pytest.param([DATE, expires("Fri, 31 Nov 2023 22:14:20 GMT")], 0, id="nothing looser: no such day"),
        pytest.param([DATE, expires("Tue, 14 Nov 2023 24:14:20 GMT")], 0, id="nothing looser: no such hour"),
        pytest.param([DATE, AGO, expires("0")], 0, id="an invalid one is past: nothing is guessed in its place"),
        pytest.param([DATE, *[expires(http_date(NOW + 60))] * 2], 60, id="the same twice"),
        pytest.param([DATE, expires(http_date(NOW + 60)), expires(http_date(NOW + 9))], 0, id="differing values"),
        pytest.param([("Date", http_date(NOW + 30)), expires(http_date(NOW + 60))], 30, id="from Date, not from now"),
        pytest.param([("Date", "now"), expires(http_date(NOW + 60))], 60, id="an invalid Date is none"),
        pytest.param([*[("Date", http_date(NOW + 9))] * 2, expires(http_date(NOW + 60))], 51, id="the same Date twice"),
        pytest.param([DATE, ("Last-Modified", http_date(NOW - 600))], 60, id="a tenth since Last-Modified"),
        pytest.param([("Last-Modified", http_date(NOW - 600))], 60, id="without Date: since it came"),
        pytest.param([("Date", http_date(NOW - 10)), ("Last-Modified", http_date(NOW - 610))], 50, id="from Date too"),
        pytest.param([DATE, ("Last-Modified", http_date(NOW + 600))], 0, id="modified later than sent: nothing"),
        pytest.param([("ETag", '"1"')], 0, id="a validator is no lifetime"),
    ],
)
async def test_how_long_it_lives(fields: list[Told], seconds: float) -> None:
    """Strict and typed: what is not of the grammar means stale."""
    if seconds:
        assert await lives(fields, seconds) == ("HIT", "EXPIRED")
    else:
        assert "HIT" not in await lives(fields, 0.5)


async def test_a_two_digit_year_is_of_the_century_that_is_near() -> None:
    """RFC 9110 5.6.7: 72 is 2072 in 2023, 74 is 1974; long ago is as fresh as any other past."""
    fields = [DATE, expires("Monday, 14-Nov-72 22:14:20 GMT")]
    assert await lives(fields, 86_400.0) == ("HIT", "HIT")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        pytest.param([("Cachegate-Cache-Control", "max-age=9"), ("CDN-Cache-Control", "max-age=99"), MINUTE], 9),
        pytest.param([("CDN-Cache-Control", "max-age=9"), expires(http_date(NOW + 99)), MINUTE], 9),
        pytest.param([("CDN-Cache-Control", 'max-age="9"'), MINUTE], 60, id="wrongly typed, it is ignored whole"),
        pytest.param([("CDN-Cache-Control", "max-age=9, no-store=1"), MINUTE], 60, id="and so by any of its members"),
        pytest.param([("CDN-Cache-Control", "Max-Age=9"), MINUTE], 60, id="a key in capitals is none: invalid"),
    ],
)
async def test_which_field_governs(said: list[Told], seconds: float) -> None:
    assert await lives([DATE, *said], seconds) == ("HIT", "EXPIRED")


@pytest.mark.parametrize(("heuristic", "verdict"), [(True, "HIT"), (False, "EXPIRED")])
async def test_heuristics_can_be_switched_off(heuristic: bool, verdict: str) -> None:
    """Of what has a validator beside Last-Modified, so that it is kept either way."""
    got, _ = await lives([DATE, AGO, ("ETag", '"1"')], 60, cache={"heuristic": heuristic})
    assert got == verdict


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 201, 302, 404, 410, 500, 501])
@pytest.mark.parametrize("named", [False, True])
async def test_which_answers_a_rules_ttl_covers(status: int, named: bool) -> None:
    """The contract's list, never an error unless it is named. And without a rule nobody gives a ttl."""
    rule: dict[str, Any] = {"pattern": "*", "ttl": 60}
    if named:
        rule |= {"negative_ttl": {status: 60}} if status >= 400 else {"conditions": {"statusCodes": [status]}}
    covered = named or status in (200, 203, 204, 300, 301, 308)
    async with Origin() as origin:
        origin.answer("/a", status, body=b"" if status == 204 else b"x")
        for settings, verdict in (({"rules": [rule]}, "HIT" if covered else "MISS"), ({}, "MISS")):
            async with running(origin, settings) as gateway:
                await gateway.get("/a")
                await gateway.settled()
                assert (await gateway.get("/a")).verdict == verdict


async def test_cache_ttl_is_a_rule_for_all_that_none_is_for() -> None:
    async with Origin() as origin, running(origin, {"cache": {"default_ttl": 60}}) as gateway:
        origin.answer("/a", body=b"x")
        assert [(await gateway.get("/a")).verdict for _ in range(2)] == ["MISS", "HIT"]


@pytest.mark.parametrize(
    ("fields", "allowed", "kept"),
    [
        pytest.param([MINUTE], False, False, id="it forbids"),
        pytest.param([cc("public, max-age=60")], False, False, id="public too, by default"),
        pytest.param([cc("public, max-age=60")], True, True, id="public, and the setting allows it"),
        pytest.param([MINUTE], True, False, id="the setting alone does not"),
        pytest.param([cc('public, max-age=60, private="set-cookie"')], False, False, id="withheld it forbids too"),
    ],
)
async def test_set_cookie(fields: list[Told], allowed: bool, kept: bool) -> None:
    settings = {"cache": {"store_set_cookie": True}} if allowed else {}
    async with Origin() as origin, running(origin, settings) as gateway:
        origin.answer("/a", headers=[*fields, ("Set-Cookie", "a=b")], body=b"x")
        got = [await gateway.get("/a") for _ in range(2)]
        assert [each.header("set-cookie") for each in got] == ["a=b", "a=b"]
        assert ("; stored;" in (got[0].header("cache-status") or "")) is kept
        assert (got[1].verdict == "HIT") is kept


CREDENTIALS = ["Authorization", "Proxy-Authorization", "X-Api-Key", "Api-Key", "apikey", "X-Auth-Token"]
CREDENTIALS += ["X-Amz-Security-Token", "X-Goog-Api-Key"]


@pytest.mark.parametrize("name", [*CREDENTIALS, "Cookie"])
@pytest.mark.parametrize(
    ("said", "credentials", "cookie"),
    [
        pytest.param([MINUTE], False, True, id="explicit freshness"),
        pytest.param([cc("public, max-age=60")], True, True, id="public"),
        pytest.param([cc("s-maxage=60")], True, True, id="s-maxage"),
        pytest.param([cc("max-age=60, must-revalidate")], True, True, id="must-revalidate"),
        pytest.param([AGO], False, False, id="heuristics"),
        pytest.param([cc("must-revalidate"), AGO], False, False, id="must-revalidate, but no lifetime beside it"),
        pytest.param([cc("max-age=0, must-revalidate"), ("ETag", '"1"')], False, False, id="nothing that is shared"),
    ],
)
async def test_what_is_bound_to_a_person(name: str, said: list[Told], credentials: bool, cookie: bool) -> None:
    """Nothing is stored of it, and nothing that is stored answers it, without the origin's own word."""
    allowed = cookie if name == "Cookie" else credentials
    async with Origin() as origin, running(origin) as gateway:
        for path in ("/mine", "/all"):
            origin.answer(path, headers=said, body=b"x")
        person = {name: "a=b"}
        await gateway.get("/mine", person)
        await gateway.get("/all")
        await gateway.settled()
        fresh = said[0] != cc("max-age=0, must-revalidate")
        assert ((await gateway.get("/mine")).verdict == "HIT") is (allowed and fresh)
        assert ((await gateway.get("/all", person)).verdict == "HIT") is ((allowed or said == [MINUTE]) and fresh)


@pytest.mark.parametrize(("status", "kept"), [(200, True), (404, True), (299, False), (599, False), (206, False)])
async def test_must_understand(status: int, kept: bool) -> None:
    """With a status that we know it lifts no-store; with one that we do not, it does not store."""
    async with Origin() as origin, running(origin) as gateway:
        for path, said in (
            ("/lifts", "no-store, must-understand, max-age=60"),
            ("/alone", "must-understand, max-age=60"),
        ):
            origin.answer(path, status, [cc(said)], b"x")
            await gateway.get(path)
            await gateway.settled()
            assert ((await gateway.get(path)).verdict == "HIT") is kept
