"""Over the wire: targeted cache control (RFC 9213 2, 3). How the fields are read is shown in
test_policy_cache_control and test_differential_http_sf."""

import pytest

from tests.support.gateway import Clock, running
from tests.support.judged import Told, cc
from tests.support.origin import Origin

NO_STORE = cc("no-store")
MINUTE = cc("max-age=60")


def cdn(value: str) -> Told:
    return "CDN-Cache-Control", value


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        pytest.param([cdn("max-age=600"), NO_STORE], True, id="3.1 for us alone"),
        pytest.param([NO_STORE], False, id="3.1 for all, since it is not there"),
        pytest.param([NO_STORE, cdn("none"), ("Last-Modified", "Mon, 01 Jan 2001 00:00:00 GMT")], True, id="3.1 none"),
        pytest.param([cdn("no-store"), MINUTE], False, id="2.2 no-store"),
        pytest.param([cdn("private"), MINUTE], False, id="2.2 private"),
        pytest.param([cdn("no-cache, max-age=60"), MINUTE], False, id="2.2 no-cache makes max-age inoperative"),
        pytest.param([cdn("s-maxage=60"), NO_STORE], True, id="2.2 what we support in Cache-Control"),
        pytest.param([cdn("max-age=60, foo=bar"), NO_STORE], True, id="2.2 unknown directives are ignored"),
        pytest.param([cdn("max-age=60;x=y"), NO_STORE], True, id="2.1 parameters are ignored"),
        pytest.param([cdn(""), MINUTE], True, id="2.1 an empty one is ignored"),
        pytest.param([cdn(""), NO_STORE], False, id="2.1 an empty one is ignored, so that the other counts"),
        pytest.param([cdn("max-age=60,"), NO_STORE], False, id="2.1 a parse error"),
        pytest.param([cdn('max-age="60"'), NO_STORE], False, id="2.1 a wrong type"),
        pytest.param([cdn("max-age=60"), cdn("no-store")], False, id="9651-4.2 two lines are one dictionary"),
        pytest.param([cdn("max-age=60.5"), cc("max-age=9")], True, id="2.1 a Decimal is not made an Integer"),
        pytest.param([cdn("max-age"), NO_STORE], False, id="2.1 a Boolean is not made an Integer"),
        pytest.param([cdn("max-age=60"), cc("private, no-cache, s-maxage=0")], True, id="2.2 over Cache-Control"),
        pytest.param([cdn("public"), cc("max-age=60, s-maxage=60")], False, id="2.2 which adds nothing"),
        pytest.param([cdn("max-age=0"), ("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")], False, id="2.2 over Expires"),
        pytest.param([cdn("public"), ("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")], False, id="2.2 Expires is ignored"),
        pytest.param(
            [("Cachegate-Cache-Control", "max-age=60"), cdn("no-store"), NO_STORE], True, id="2.2 most specific first"
        ),
        pytest.param([("Cachegate-Cache-Control", "max-age=x"), cdn("max-age=60")], True, id="2.2 the first valid one"),
        pytest.param([("Other-CDN-Cache-Control", "no-store"), MINUTE], True, id="2.2 another's changes nothing"),
        pytest.param([("Surrogate-Control", "no-store"), MINUTE], True, id="2.4 nor does what is not on the list"),
    ],
)
async def test_who_governs(fields: list[Told], kept: bool) -> None:
    """And each of these fields is passed through (2.2 MUST for those of others, 3 for ours)."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=fields, body=b"x")
        for verdict in ("MISS", "HIT" if kept else "MISS"):
            got = await gateway.get("/a")
            await gateway.settled()
            assert got.verdict == verdict
            names = {name.lower() for name, _ in fields}
            assert [pair for pair in got.pairs if pair[0].lower() in names] == fields


async def test_its_lifetime_is_ours_and_the_other_is_told_to_the_rest() -> None:
    """RFC 9213 2.3."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[cdn("max-age=3600"), cc("max-age=600")], body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(1800)
        got = await gateway.get("/a")
        assert (got.verdict, got.header("age"), got.header("cache-control")) == ("HIT", "1800", "max-age=600")


@pytest.mark.parametrize(("said", "allowed"), [("max-age=10", True), ("max-age=10, must-revalidate", False)])
async def test_must_revalidate(said: str, allowed: bool) -> None:
    """RFC 9213 2.2 MUST: its semantics, whatever Cache-Control says."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        told = [cdn(said), cc("max-age=10" if not allowed else "must-revalidate"), ("ETag", '"a"')]
        origin.answer("/a", headers=told, body=b"good", times=1)
        origin.answer("/a", 503)
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(11)
        assert (await gateway.get("/a")).status == (200 if allowed else 503)
