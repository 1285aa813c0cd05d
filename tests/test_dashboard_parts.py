"""The dashboard's pure parts, each a module that the browser itself runs: texts, links, events, differences."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.browser import Page, browser, wants_browser
from tests.support.gateway import running
from tests.support.origin import Origin

pytestmark = [pytest.mark.asyncio(loop_scope="module"), wants_browser]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Page]:
    async with Origin() as origin, running(origin) as gateway, browser() as chromium, chromium.page() as page:
        await page.open(f"{gateway.url}/cache/dashboard")
        await page.shows("#link", "Live")
        yield page


async def called(page: Page, module: str, script: str) -> Any:
    """The value of an expression in which `m` is the module."""
    return await page.evaluate(f"import('/cache/dashboard/{module}.js').then(m => {script})")


TEXTS = [
    ("number(null)", "–"),
    ("number(undefined)", "–"),
    ("number(NaN)", "–"),
    ("number(0)", "0"),
    ("number(1234567)", "1,234,567"),
    ("number(0.12345)", "0.12"),
    ("number(12.345)", "12.3"),
    ("number(123.45)", "123"),
    ("percent(null)", "–"),
    ("percent(0)", "0 %"),
    ("percent(0.0001)", "< 0.1 %"),
    ("percent(0.9999)", "> 99.9 %"),
    ("percent(1)", "100 %"),
    ("percent(0.7845)", "78.5 %"),
    ("bytes(0)", "0 B"),
    ("bytes(999)", "999 B"),
    ("bytes(1000)", "0.977 KiB"),
    ("bytes(1536)", "1.5 KiB"),
    ("bytes(268435456)", "256 MiB"),
    ("bytes(1e30)", "888,000,000,000,000 PiB"),
    ("milliseconds(0.051)", "0.05 ms"),
    ("milliseconds(15.6)", "16 ms"),
    ("milliseconds(2500)", "2.5 s"),
    ("milliseconds(null)", "–"),
    ("span(0)", "0 s"),
    ("span(1.25)", "1.25 s"),
    ("span(59.6)", "1 min"),
    ("span(61)", "1 min 1 s"),
    ("span(3600)", "1 h"),
    ("span(90061)", "1 d 1 h"),
    ("span(-61)", "-1 min 1 s"),
    ("plural(1, 'entry', 'entries')", "1 entry"),
    ("plural(1000, 'call')", "1,000 calls"),
    ("shown('a\\u202eb\\u0000\\u{e0041}\\u200b')", "a\\u{202e}b\\u{0}\\u{e0041}\\u{200b}"),
    ("shown('Grüße, 世界 🙂')", "Grüße, 世界 🙂"),
]


@pytest.mark.parametrize(("script", "text"), TEXTS)
async def test_figures_as_text(page: Page, script: str, text: str) -> None:
    assert await called(page, "format", f"m.{script}") == text


ROUTES = [
    ("overview", "", [], "#overview"),
    ("entries", "/users/*", [], "#entries=%2Fusers%2F*"),
    ("explain", "http://a/?b=c&d#e", [["method", "POST"], ["header", "A: b"], ["header", "C: d"]], None),
    ("purge", "100% +x", [["kind", "tag"], ["soft", ""]], "#purge=100%25+%2Bx&kind=tag"),
]


@pytest.mark.parametrize(("view", "value", "more", "link"), ROUTES)
async def test_a_link_is_read_as_it_was_made(
    page: Page, view: str, value: str, more: list[list[str]], link: str | None
) -> None:
    made = await called(page, "route", f"m.link('{view}', {json.dumps(value)}, {json.dumps(more)})")
    assert link in (None, made)
    read = await called(page, "route", f"(r => [r.view, r.value, [...r.more]])(m.read({json.dumps(made)}))")
    assert read == [view, value, [pair for pair in more if pair[1]]]


@pytest.mark.parametrize("hash", ["", "#", "#nothing", "#__proto__=x", "#%", "#=x"])
async def test_what_is_no_link_is_the_overview(page: Page, hash: str) -> None:
    assert await called(page, "route", f"m.read({json.dumps(hash)}).view") == "overview"


EVENTS = [
    ("data: a\n\n", [["message", "a", ""]]),
    ("event: purge\nid: 4\ndata: {}\n\n", [["purge", "{}", "4"]]),
    (": still here\n\nretry: 2000\n\n", []),
    ("data:a\ndata: b\n\ndata\n\n", [["message", "a\nb", ""], ["message", "", ""]]),
    ("id: 1\ndata: a\r\n\r\ndata: b\r\rdata: cut", [["message", "a", "1"], ["message", "b", "1"]]),
    ("event: lost\n\ndata: a\n\n", [["message", "a", ""]]),
]


@pytest.mark.parametrize(("text", "told"), EVENTS)
async def test_events_come_out_however_their_text_is_cut(page: Page, text: str, told: list[list[str]]) -> None:
    cuts = [[text], list(text), [text[:7], text[7:]]]
    taken = "(p => pieces.flatMap(t => p.take(t)).map(e => [e.kind, e.data, e.id]))(new m.Parser())"
    for pieces in cuts:
        assert await called(page, "sse", f"(pieces => {taken})({json.dumps(pieces)})") == told


async def test_a_message_without_an_end_is_refused(page: Page) -> None:
    endless = "(() => { try { new m.Parser().take('data: ' + 'x'.repeat(2e6)) } catch (e) { return e.message } })()"
    assert await called(page, "sse", endless) == "a message without an end"


DIFFERENCES = [
    ("http://a/x?p=1&q=2", "http://a/x?p=1&q=3", ["&q=2"], ["&q=3"]),
    ("http://a/x?ts=5&q=2", "http://a/x?q=2", ["?ts=5", "&q=2"], ["?q=2"]),
    ("http://a/x/y", "http://b/x/y", ["a"], ["b"]),
    ("http://a/x", "http://a/x", [], []),
    ("http://a/users/1/cart", "http://a/users/2/cart", ["/1"], ["/2"]),
    ("", "http://a/", [], ["http://", "a", "/"]),
    ("http://a" + "/x" * 300, "http://a" + "/x" * 299 + "/y", ["/x"], ["/y"]),
]


@pytest.mark.parametrize(("here", "there", "one", "other"), DIFFERENCES)
async def test_what_tells_two_urls_apart(page: Page, here: str, there: str, one: list[str], other: list[str]) -> None:
    pair = f"m.compared({json.dumps(here)}, {json.dumps(there)})"
    marked = await called(page, "differs", f"{pair}.map(all => all.filter(p => p.differs).map(p => p.text))")
    assert marked == [one, other]
    assert await called(page, "differs", f"{pair}.map(all => all.map(p => p.text).join(''))") == [here, there]


def stats(uptime: float, hits: int, misses: int, times: list[list[float]]) -> dict[str, Any]:
    verdicts = {"HIT": hits, "MISS": misses, "BYPASS": 1}
    return {"uptime": uptime, "requests": hits + misses + 1, "verdicts": verdicts, "responseTimes": times}


async def test_what_happened_between_two_looks(page: Page) -> None:
    looks = [
        {"at": 100, "stats": stats(10, 1, 1, [[1, 2]])},
        {"at": 102, "stats": stats(12, 4, 2, [[1, 3], [8, 3]])},
        {"at": 110, "stats": stats(20, 4, 2, [[1, 3], [8, 3]])},
    ]
    add = f"(t => ({json.dumps(looks)}.forEach(l => t.add(l)), t))(new m.Trend(600))"
    assert await called(page, "trend", f"{add}.last(60)") == {
        "seconds": 10, "hits": 3, "misses": 1, "bypassed": 0, "times": [[1, 1], [8, 3]],
    }  # fmt: skip
    assert await called(page, "trend", f"{add}.last(2)") is None  # nothing that old is known
    assert await called(page, "trend", f"{add}.points(2).map(p => [p.at, p.change.hits])") == [[102, 3]]
    again = f"(t => (t.add({json.dumps({'at': 112, 'stats': stats(1, 0, 0, [])})}), [t.last(60), t.since]))({add})"
    assert await called(page, "trend", again) == [None, 112]  # a restart counts from nothing


@pytest.mark.parametrize(
    ("times", "q", "low", "high"),
    [([[1, 10]], 0.5, 0.84, 1), ([[1, 90], [100, 10]], 0.95, 84, 100), ([[1, 90], [100, 10]], 0.5, 0.84, 1)],
)
async def test_quantiles_lie_in_their_bucket(page: Page, times: Any, q: float, low: float, high: float) -> None:
    assert low <= await called(page, "trend", f"m.quantile({json.dumps(times)}, {q})") <= high
    assert await called(page, "trend", f"m.quantile([], {q})") is None


async def test_minutes_become_points(page: Page) -> None:
    point = {"hits": 6, "misses": 6, "bypassed": 0, "bytesSaved": 1, "upstreamSeconds": 3}
    window = json.dumps({"series": [{"at": 600, **point}, {"at": 780, **point, "hits": 18}]})
    told = await called(page, "history", f"m.columns({window}, 1)")
    assert told["at"] == [630, 690, 750, 810]
    assert told["ratio"] == [0.5, None, None, 0.75]
    assert told["hits"] == [0.1, 0, 0, 0.3]
    assert (await called(page, "history", f"m.columns({window}, 10)"))["upstream"] == [0.01]
    assert (await called(page, "history", "m.columns({series: []}, 1)"))["at"] == []
    open_ended = f"m.over(m.columns({window}, 1), 1, 800).at"
    assert await called(page, "history", open_ended) == [630, 690, 750]  # the last is not over yet
    assert await called(page, "history", f"m.over(m.columns({window}, 1), 1, 840).at.length") == 4


BADGES: list[tuple[dict[str, Any], bool, list[str]]] = [
    ({}, False, ["off Redis off", "good File tier on", "good Breakers closed", "good Purges durable"]),
    ({}, True, ["warn Draining"]),
    ({"redis": {"enabled": True, "connected": False, "reason": "refused"}}, False, ["bad Redis fallback"]),
    ({"redis": {"enabled": True, "connected": True, "state": "ready"}}, False, ["good Redis shared"]),
    ({"redis": {"enabled": True, "connected": True, "state": "degraded"}}, False, ["warn Redis degraded"]),
    ({"file": {"off": "disk full"}}, False, ["bad File tier off"]),
    ({"file": {"maxBytes": 0}}, False, ["off No file tier"]),
    ({"upstreams": {"main": {"breaker": "open", "cause": "errors"}}}, False, ["bad Breaker open: main"]),
    ({"upstreams": {"main": {"breaker": "half-open", "cause": ""}}}, False, ["warn Breaker half-open: main"]),
    ({"durable": False}, False, ["bad Purges not durable"]),
    ({"process": {"memoryLimit": 5, "memory": 4, "pressure": "tight"}}, False, ["warn Memory tight"]),
]


@pytest.mark.parametrize(("more", "draining", "told"), BADGES)
async def test_how_it_stands_in_words(page: Page, more: dict[str, Any], draining: bool, told: list[str]) -> None:
    calm: dict[str, Any] = {
        "redis": {"enabled": False},
        "file": {"bytes": 1, "maxBytes": 2},
        "memory": {},
        "upstreams": {"main": {"breaker": "closed", "cause": ""}},
        "durable": True,
        "process": {"memoryLimit": 0},
    }
    script = f"m.badges({json.dumps(calm | more)}, {json.dumps(draining)}).map(b => `${{b.how}} ${{b.text}}`)"
    assert set(told) <= set(await called(page, "badges", script))


@pytest.mark.parametrize(
    ("clause", "url"),
    [
        ("RFC 9111 5.2.2.4", "https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.4"),
        ("RFC 9111", "https://www.rfc-editor.org/rfc/rfc9111"),
        ("", None),
        ("javascript:alert(1)", None),
    ],
)
async def test_a_clause_leads_to_its_document(page: Page, clause: str, url: str | None) -> None:
    assert await called(page, "rows", f"m.document({json.dumps(clause)})") == url


async def test_the_trace_does_not_say_that_nothing_lies_where_nobody_looked(page: Page) -> None:
    memory = {"tier": "memory", "found": False, "age": None, "variants": 0}
    redis = {"tier": "redis", "found": None, "age": None, "variants": 0, "trouble": "not asked: no answer in time"}
    told = dict.fromkeys(["clause", "because", "refreshes", "advice", "nearest", "limit", "key", "parts", "upstream"])
    told |= {"verdict": "MISS", "reason": "uri-miss", "method": "GET", "url": "http://a/", "rule": "", "mode": "origin"}
    told |= {"maybe": [], "warnings": [], "rules": [], "workers": [], "storing": None, "tiers": [memory, redis]}
    script = f"m.trace({json.dumps(told)}, {{}}).map(e => e.textContent).join()"
    shown = await called(page, "trace", script)
    assert "Is it stored? no, but nobody knows of redis" in shown
    assert "memorynonothing" in shown
    assert "redis?not asked: no answer in time" in shown
