"""Cache-Status: RFC 9211 2, 2.1-2.8, 6; the contract's table of response headers; row 9."""

from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.message import Fields
from proxy.outcome import Outcome, Tier, Verdict
from proxy.policy.cache_status import forward_word, render
from proxy.policy.presenting import dress
from proxy.reasons import Why
from proxy.rules import Rule
from tests.support.asking import ask

MISS = Outcome(Verdict.MISS, Why.URI_MISS, fwd="uri-miss")


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        pytest.param(
            Outcome(Verdict.HIT, Why.FRESH, tier=Tier.MEMORY, ttl=42.9), "hit; ttl=42; detail=memory", id="hit"
        ),
        pytest.param(
            Outcome(Verdict.HIT, Why.NOT_MODIFIED, tier=Tier.FILE, ttl=1),
            "hit; ttl=1; detail=file",
            id="2.1 our own 304",
        ),
        pytest.param(
            Outcome(Verdict.UPDATING, Why.STALE_WHILE_REVALIDATE, tier=Tier.MEMORY, ttl=-0.5),
            "hit; ttl=-1; detail=stale-while-revalidate",
            id="2.4 stale is negative",
        ),
        pytest.param(
            Outcome(Verdict.STALE, Why.STALE_IF_ERROR, fwd="stale", ttl=-9, upstream_status=503),
            "fwd=stale; fwd-status=503; ttl=-9; detail=stale-if-error",
            id="2.3 stale after a failure",
        ),
        pytest.param(
            Outcome(Verdict.REVALIDATED, Why.STALE, fwd="stale", upstream_status=304, stored=True, ttl=60),
            "fwd=stale; fwd-status=304; ttl=60; stored; detail=stale",
            id="2.3 confirmed",
        ),
        pytest.param(
            Outcome(Verdict.MISS, Why.URI_MISS, fwd="uri-miss", stored=True, upstream_status=200),
            "fwd=uri-miss; stored; detail=uri-miss",
            id="2.5 stored",
        ),
        pytest.param(
            Outcome(Verdict.MISS, Why.URI_MISS, fwd="uri-miss", stored=True, collapsed=True),
            "fwd=uri-miss; stored; collapsed; detail=uri-miss",
            id="2.6 collapsed",
        ),
        pytest.param(
            Outcome(Verdict.MISS, Why.URI_MISS, fwd="uri-miss", stored_why=Why.SET_COOKIE),
            "fwd=uri-miss; detail=set-cookie",
            id="2.8 why it was not stored",
        ),
        pytest.param(Outcome(Verdict.BYPASS, Why.NO_RULE, fwd="bypass"), "fwd=bypass; detail=no-rule", id="2.2 bypass"),
        pytest.param(
            Outcome(Verdict.BYPASS, Why.RATE_LIMITED), "detail=rate-limited", id="refused: neither hit nor fwd"
        ),
        pytest.param(
            Outcome(Verdict.MISS, Why.URI_MISS, fwd="uri-miss", stored=True, stored_why=Why.STORED),
            "fwd=uri-miss; stored; detail=uri-miss",
            id="2.8 stored after all",
        ),
        pytest.param(
            Outcome(Verdict.STALE, Why.STALE_IF_ERROR, fwd="stale", ttl=-412),
            "hit; ttl=-412; detail=stale-if-error",
            id="2.1 no answer came: a hit",
        ),
        pytest.param(Outcome(Verdict.HIT, Why.FRESH), "hit; detail=fresh", id="a hit in no tier"),
        pytest.param(Outcome(Verdict.MISS, Why.ONLY_IF_CACHED), "detail=only-if-cached", id="504 of only-if-cached"),
    ],
)
def test_render(outcome: Outcome, expected: str) -> None:
    assert render("cachegate", outcome, 200) == f"cachegate; {expected}"


@pytest.mark.parametrize(
    ("verdict", "told", "status", "expected"),
    [
        pytest.param(Verdict.MISS, 200, 200, "", id="2.3 the status that the client sees need not be told"),
        pytest.param(Verdict.MISS, 200, 304, "; fwd-status=200", id="2.3 our own 304 on a miss"),
        pytest.param(Verdict.EXPIRED, 200, 304, "; fwd-status=200", id="2.3 our own 304 on what was stale"),
        pytest.param(Verdict.MISS, 503, 502, "; fwd-status=503", id="2.3 our own words in place of the origin's"),
        pytest.param(Verdict.REVALIDATED, 304, 206, "; fwd-status=304", id="2.3 a part of what a 304 confirmed"),
        pytest.param(Verdict.REVALIDATED, 304, 304, "; fwd-status=304", id="2.3 confirmed to both"),
        pytest.param(Verdict.BYPASS, 206, 206, "", id="2.3 the origin's own 206"),
        pytest.param(Verdict.MISS, None, 502, "", id="2.3 no answer came"),
    ],
)
def test_the_next_hops_status_is_told_where_it_differs(
    verdict: Verdict, told: int | None, status: int, expected: str
) -> None:
    outcome = Outcome(verdict, Why.STALE, fwd="stale", upstream_status=told)
    assert render("c", outcome, status) == f"c; fwd=stale{expected}; detail=stale"


def test_the_key_is_for_debugging() -> None:
    """RFC 9211 6."""
    outcome = Outcome(Verdict.HIT, Why.FRESH, key="abc", tier=Tier.MEMORY)
    assert "abc" not in render("cachegate", outcome)
    assert render("cachegate", outcome, debug=True) == 'cachegate; hit; key="abc"; detail=memory'
    assert render("cachegate", Outcome(Verdict.BYPASS, Why.NO_RULE), debug=True) == "cachegate; detail=no-rule"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cachegate-1a2b", "cachegate-1a2b"),
        ("my cache", '"my cache"'),
        ('a"\\b', r'"a\"\\b"'),
        ("1x", '"1x"'),
        ("ü", '"?"'),
    ],
)
def test_a_name_is_a_token_or_a_string(name: str, expected: str) -> None:
    """RFC 9211 2."""
    assert render(name, MISS).partition(";")[0] == expected


@given(
    st.text(max_size=20),
    st.sampled_from(Verdict),
    st.sampled_from(Why),
    st.none() | st.sampled_from(Why).map(forward_word),
    st.none() | st.floats(-1e9, 1e9),
    st.booleans(),
)
def test_it_is_always_a_list_of_one(
    name: str, verdict: Verdict, why: Why, fwd: str | None, ttl: float | None, flag: bool
) -> None:
    outcome = Outcome(verdict, why, key=name, fwd=fwd, ttl=ttl, stored=flag, collapsed=flag, upstream_status=200)
    parsed = http_sf.parse(render(name, outcome, debug=flag).encode("ascii"), tltype="list")
    assert isinstance(parsed, list)
    assert len(parsed) == 1
    parameters = parsed[0][1]
    assert not ("hit" in parameters and "fwd" in parameters)  # 2.1: exclusive


SAID: dict[str, Any] = {"status": 200, "age": None, "name": "one", "control": None}
KNOWN: dict[str, Any] = {"verdict": Verdict.MISS, "reason": Why.URI_MISS, "fwd": "uri-miss", "upstream_status": 200}


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": Verdict.HIT},
        {"reason": Why.SET_COOKIE},
        {"tier": Tier.FILE},
        {"fwd": None},
        {"ttl": 1.5},
        {"ttl": -1.5},
        {"stored": True},
        {"stored_why": Why.PRIVATE},
        {"collapsed": True},
        {"upstream_status": 304},
        {"status": 304},
        {"age": 0.5},
        {"age": 1.5},
        {"name": "two"},
        {"control": "private"},
    ],
    ids=repr,
)
def test_what_is_remembered_for_one_outcome_is_told_of_no_other(change: dict[str, Any]) -> None:
    for changed in ({}, change, {}):
        said = SAID | {name: value for name, value in changed.items() if name in SAID}
        outcome = Outcome(**KNOWN | {name: value for name, value in changed.items() if name not in SAID})
        status, age, name, control = said.values()
        told = dress(Fields(), ask(), Rule(client_cache_control=control), outcome, name, age, status=status)
        assert told.get("cache-status") == render("cachegate", outcome, status)
        assert (told.get("x-cache"), told.get("x-cache-tier")) == (outcome.verdict, outcome.tier)
        assert told.get("age") == (None if age is None else str(int(age)))
        assert (told.get("via"), told.get("cache-control")) == (f"1.1 {name}", control)


@pytest.mark.parametrize(
    ("why", "word"),
    [
        (Why.URI_MISS, "uri-miss"),
        (Why.VARY_MISS, "vary-miss"),
        (Why.METHOD, "method"),
        (Why.PARTIAL, "partial"),
        (Why.LATELY_UNCACHEABLE, "miss"),
        (Why.CUT_OFF, "miss"),
        (Why.STALE, "stale"),
        (Why.PURGED, "stale"),
        (Why.MUST_REVALIDATE, "stale"),
        (Why.ORIGIN_NO_CACHE, "stale"),
        (Why.REQUEST_NO_CACHE, "request"),
        (Why.REQUEST_MAX_AGE, "request"),
        (Why.REQUEST_MIN_FRESH, "request"),
        (Why.PRECONDITION, "request"),
        (Why.CREDENTIALS, "request"),
        (Why.COOKIE, "request"),
        (Why.NO_RULE, "bypass"),
        (Why.RULE_OFF, "bypass"),
        (Why.UPGRADE, "bypass"),
        (Why.BODY_TOO_LARGE, "bypass"),
        (Why.UNSAFE_TARGET, "bypass"),
    ],
)
def test_forward_word(why: Why, word: str) -> None:
    """RFC 9211 2.2."""
    assert forward_word(why) == word
