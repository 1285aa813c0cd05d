"""In whose name a stored answer is refreshed: RFC 9111 3.5, 4.1, 5.2.1; invariants 4 and 6."""

import pytest

from proxy.policy.identity import for_everybody
from proxy.rules import Rule
from tests.support.judged import ORIGIN, Told, cc, get, ruled

AUTH = ("Authorization", "Basic YQ==")
KEY = ("X-API-Key", "k")
COOKIE = ("Cookie", "sid=1")
TONGUE = ("Accept-Language", "de")
ALL = [AUTH, KEY, COOKIE, TONGUE, cc("no-store"), ("Pragma", "no-cache")]


@pytest.mark.parametrize(
    ("rule", "vary", "kept"),
    [
        pytest.param(ORIGIN, [], [TONGUE], id="nobody's"),
        pytest.param(ruled(credentials="ignore"), [], [AUTH, KEY, TONGUE], id="one entry for all, says the operator"),
        pytest.param(ruled(credentials="key"), [], [AUTH, KEY, TONGUE], id="each its own entries"),
        pytest.param(ruled(cookies=("sid",)), [], [COOKIE, TONGUE], id="a cookie in the key"),
        pytest.param(ruled(cookies=()), [], [COOKIE, TONGUE], id="cookies that do not matter, says the operator"),
        pytest.param(ruled(headers=("x-api-key",)), [], [KEY, TONGUE], id="a header in the key"),
        pytest.param(ruled(request_headers=(("cookie", "*"),)), [], [COOKIE, TONGUE], id="a condition is in the key"),
        pytest.param(ORIGIN, ["authorization"], [AUTH, TONGUE], id="4.1 the variant's"),
        pytest.param(ORIGIN, ["cache-control"], [TONGUE, cc("no-store")], id="4.1 whatever it varies by"),
    ],
)
def test_what_a_refresh_brings(rule: Rule, vary: list[str], kept: list[Told]) -> None:
    request = for_everybody(get(*ALL), rule, tuple((name, "") for name in vary))
    assert request.fields == get(*kept).fields


@pytest.mark.parametrize(("method", "asked"), [("HEAD", "GET"), ("GET", "GET"), ("POST", "POST")])
def test_a_refresh_is_no_head(method: str, asked: str) -> None:
    assert for_everybody(get(method=method), ORIGIN, ()).method == asked
