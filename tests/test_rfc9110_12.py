"""RFC 9110 12 (content negotiation) as far as caches are meant: Vary, and the fields that it names most."""

import pytest

from proxy.message import Fields
from proxy.policy.vary import accepts_coding, preferred_coding, vary_names, vary_value
from tests.support.gateway import running
from tests.support.judged import ORIGIN
from tests.support.origin import Origin

CACHED = [("Cache-Control", "max-age=60")]


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        pytest.param([], (), id="12.5.5 none: everybody"),
        pytest.param(["Accept-Encoding, accept-language"], ("accept-encoding", "accept-language"), id="12.5.5 names"),
        pytest.param(["B", "A,b"], ("a", "b"), id="12.5.5 several lines, names in any case"),
        pytest.param(["*"], None, id="12.5.5 a star matches nobody"),
        pytest.param(["Accept, *"], None, id="12.5.5 in a list neither"),
        pytest.param([" ,Accept,, "], ("accept",), id="5.6.1.2 empty members"),
    ],
)
def test_the_names_in_vary(lines: list[str], names: tuple[str, ...] | None) -> None:
    assert vary_names(Fields.of(*(("Vary", line) for line in lines))) == names


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        pytest.param("accept-language", "da, en-gb;q=0.8", "en-GB; q=0.80 , DA;q=1.000", True, id="12.4.2 weights"),
        pytest.param("accept-language", "da, en;q=0.8", "da, en;q=0.7", False, id="12.4.2 other weights"),
        pytest.param("accept-language", "da;q=0.1234", "da;q=0.123", False, id="12.4.2 no weight: byte for byte"),
        pytest.param("accept-language", "", "*", False, id="12.4.1 nothing wanted, everything wanted"),
        pytest.param("accept-charset", "UTF-8", "utf-8", True, id="12.5.2 names in any case"),
        pytest.param("accept", "Text/HTML , */*;q=0.5", "text/html,*/* ; q=0.5", True, id="12.5.1 case and whitespace"),
        pytest.param("accept", "text/html, a/b", "a/b, text/html", False, id="12.5.1 the order may mean something"),
        pytest.param("accept", 'a/b;x="A,B"', 'a/b;x="a,b"', False, id="12.5.1 quoted parameters byte for byte"),
        pytest.param("accept", "a/b;X=A", "a/b;x=a", False, id="8.3.1 parameters may have a case"),
        pytest.param("user-agent", "a/1", "a/1 ", False, id="12.5.5 unknown grammars byte for byte"),
    ],
)
def test_the_same_value(name: str, one: str, other: str, same: bool) -> None:
    """12.5.5: the same values as the request that brought the answer."""
    values = [vary_value(name, Fields.of((name, value)), ORIGIN) for value in (one, other)]
    assert (values[0] == values[1]) is same
    assert vary_value(name, Fields(), ORIGIN) not in values  # 12.4.1: absent is like no value


@pytest.mark.parametrize(
    ("asked", "coding", "acceptable"),
    [
        pytest.param(None, "zstd", True, id="12.5.3 rule 1: nothing said"),
        pytest.param("gzip", "", True, id="12.5.3 rule 2: no coding"),
        pytest.param("gzip", "gzip", True, id="12.5.3 rule 3: listed"),
        pytest.param("gzip;q=0", "gzip", False, id="12.5.3 rule 3: refused"),
        pytest.param("gzip", "br", False, id="12.5.3 not listed"),
        pytest.param("", "gzip", False, id="12.5.3 an empty field wants no coding"),
        pytest.param("*", "br", True, id="12.4.3 a star takes what is not listed"),
        pytest.param("br;q=0, *", "br", False, id="12.4.3 but not what is"),
        pytest.param("X-GZIP", "gzip", True, id="8.4.1.3 x-gzip is gzip"),
        pytest.param("gzip", "x-gzip", True, id="8.4.1.3 both ways"),
        pytest.param("compress", "X-Compress", True, id="8.4.1.1 x-compress is compress"),
        pytest.param("gzip", "gzip, br", False, id="8.4 all that were applied"),
        pytest.param("gzip, br", "gzip, br", True, id="8.4 all that were applied are listed"),
    ],
)
def test_acceptable_codings(asked: str | None, coding: str, acceptable: bool) -> None:
    assert accepts_coding(asked, coding) is acceptable


@pytest.mark.parametrize(
    ("asked", "coding"),
    [
        pytest.param("compress;q=0.5, gzip;q=1.0", "gzip", id="12.5.3 the greatest weight"),
        pytest.param("gzip;q=1.0, identity; q=0.5, *;q=0", "gzip", id="12.5.3 the example"),
        pytest.param("gzip;q=0.4, identity;q=0.5", "identity", id="12.5.3 identity may weigh more"),
        pytest.param("", "identity", id="12.5.3 empty: no coding"),
        pytest.param(None, "identity", id="http-caching.md: one of four is asked for, nothing said is identity"),
        pytest.param("gzip;q=0.5, zstd;q=0.5", "zstd", id="http-caching.md: of equals the best"),
    ],
)
def test_the_coding_that_is_asked_for(asked: str | None, coding: str) -> None:
    assert preferred_coding(asked) == coding


@pytest.mark.parametrize(
    ("vary", "first", "second", "verdict"),
    [
        pytest.param("Accept-Language", {"Accept-Language": "de"}, {"Accept-Language": "de"}, "HIT", id="12.5.5 same"),
        pytest.param(
            "Accept-Language", {"Accept-Language": "de"}, {"Accept-Language": "fr"}, "MISS", id="12.5.5 other"
        ),
        pytest.param("Accept-Language", {"Accept-Language": "de"}, {}, "MISS", id="12.4.1 absent now"),
        pytest.param("Accept-Language", {}, {"Accept-Language": "de"}, "MISS", id="12.4.1 absent then"),
        pytest.param("Accept-Language", {}, {}, "HIT", id="12.4.1 absent both times"),
        pytest.param("X-A, X-B", {"X-A": "1", "X-B": "2"}, {"X-A": "1", "X-B": "3"}, "MISS", id="12.5.5 all of them"),
        pytest.param("*", {}, {}, "MISS", id="12.5.5 a star is never reused"),
        pytest.param("X-A, *", {"X-A": "1"}, {"X-A": "1"}, "MISS", id="12.5.5 nor in a list"),
    ],
)
async def test_vary_over_the_wire(vary: str, first: dict[str, str], second: dict[str, str], verdict: str) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[*CACHED, ("Vary", vary)], body=b"x")
        assert (await gateway.get("/a", first)).verdict == "MISS"
        got = await gateway.get("/a", second)
        assert (got.verdict, got.header("vary")) == (verdict, vary)


async def test_we_make_no_vary() -> None:
    """12.5.5: a proxy generates no star, and nothing else either, though it asks for codings in its own words."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=b"x")
        for headers in ({"Accept-Encoding": "gzip"}, {"Accept-Encoding": "br"}):
            assert (await gateway.get("/a", headers)).header("vary") is None


async def test_what_a_client_cannot_read_is_not_sent_to_it() -> None:
    """12.5.3: an origin that sent another coding than it was asked for."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[*CACHED, ("Vary", "Accept-Encoding"), ("Content-Encoding", "br")], body=b"x")
        assert (await gateway.get("/a", {"Accept-Encoding": "gzip, br;q=0.5"})).verdict == "MISS"
        assert (await gateway.get("/a", {"Accept-Encoding": "gzip, br;q=0.1"})).verdict == "HIT"
        assert (await gateway.get("/a", {"Accept-Encoding": "gzip"})).verdict != "HIT"
