"""The admin pages over a real port: rights on the wire, JSON errors, purge, entries, config, probes, stats, metrics
(contract "Endpoints", "Stats", "Purge"; rows 20, 54-57, 64, 66, 68, 72, 77). What the pages act on is scripted by the
ports that they name."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.errors import ConfigError, Problem
from proxy.insight.inventory import Listing, Row
from proxy.insight.search import Search
from proxy.invalidation.purge_requests import PurgeRequest
from proxy.invalidation.purges import Receipt
from proxy.invalidation.records import Kind
from proxy.observe.counters import Counters
from proxy.observe.figures import Figures, ServiceFigures, TierFigures
from proxy.observe.history import History, Window
from proxy.outcome import Outcome, Tier, Verdict
from proxy.reasons import Why
from proxy.server.admin.clearing import Cleared
from proxy.server.admin.config import config_pages
from proxy.server.admin.entries import entry_pages
from proxy.server.admin.metrics import metrics_page
from proxy.server.admin.pages import Pages
from proxy.server.admin.port import admin_front, aliases
from proxy.server.admin.probes import Readiness, probe_pages
from proxy.server.admin.purge import PurgeVerb, purge_pages
from proxy.server.admin.redis import no_redis_pages
from proxy.server.admin.rights import Rights
from proxy.server.admin.stats import stats_page
from proxy.server.front import Doorway
from proxy.server.gate import Gate
from proxy.server.http1 import Limits
from tests.support.door import Door, door, reply
from tests.support.rawtcp import Raw, RawAnswer, raw

TOKEN = "Authorization: Bearer right"
FIGURES = Figures(
    tiers={Tier.MEMORY: TierFigures(3, 300, 1000, 2), Tier.FILE: TierFigures(0, 0, 0, 0, off="read-only")},
    files=tuple(f"f{n}" for n in range(150)),
    services={"main": ServiceFigures()},
    workers=2,
)


@dataclass
class Scripted:
    """All the ports of the admin pages; remembers what it was told."""

    purges: list[PurgeRequest] = field(default_factory=list)
    cleared: list[tuple[Tier | None, str | None]] = field(default_factory=list)
    asked: list[tuple[int, Search]] = field(default_factory=list)
    instances: dict[str, str] = field(default_factory=lambda: {"a1b2": "applied"})
    problems: tuple[Problem, ...] = ()
    rows: tuple[Row, ...] = ()

    async def purge(self, request: PurgeRequest) -> Receipt:
        self.purges.append(request)
        complete = set(self.instances.values()) <= {"applied"}
        kinds = request.kind, request.soft, 1.0
        return Receipt("r1", *kinds, self.instances, 12, dry_run=request.dry_run, complete=complete)

    async def find(self, id: str) -> Receipt | None:
        return Receipt("r1", Kind.ALL, False, 1.0, self.instances) if id == "r1" else None

    async def clear(self, tier: Tier | None, pattern: str | None) -> Cleared:
        if pattern == "[":
            raise ValueError("[ is not closed")
        self.cleared.append((tier, pattern))
        left = Receipt("r1", Kind.ALL, False, 1.0, {"a1b2": "applied", "c3d4": "pending"}, complete=False)
        return Cleared(7, left if tier is None and pattern == "/away" else None)

    async def listed(self, limit: int, search: Search) -> Listing:
        if search.match == "[":
            raise ValueError("[ is not closed")
        self.asked.append((limit, search))
        return Listing(self.rows[:limit], len(self.rows), complete=False)

    async def named(self, key: str) -> Sequence[Row]:
        return [row for row in self.rows if row["key"].startswith(key)]

    def shown(self) -> Mapping[str, object]:
        return {"listen.port": {"value": 4000, "source": "default"}}

    async def reload(self) -> Mapping[str, object]:
        if self.problems:
            raise ConfigError(self.problems)
        return {"changed": ["rules"]}


def row(key: str) -> Row:
    return Row(key=key, url="http://a/", rule="", tier="memory", age=1, ttl=9, size=5, hits=0, tags=())


@dataclass
class Setting:
    """A door with admin pages behind it."""

    door: Door
    client: Raw
    ports: Scripted
    counters: Counters
    readiness: Readiness

    async def ask(self, method: str, page: str, *fields: str, body: bytes = b"", host: str = "localhost") -> RawAnswer:
        lines = [f"{method} {page} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *fields, "", ""]
        await self.client.send("\r\n".join(lines).encode("latin-1") + body)
        return await self.client.response(method=method)


def pages(ports: Scripted, counters: Counters, readiness: Readiness, **more: object) -> Pages:
    async def take() -> tuple[Counters, Figures]:
        return counters, FIGURES

    async def look(minutes: int) -> Window | None:
        return History(lambda: 7200.0).window(minutes, counters) if minutes == 60 else None

    return Pages(
        [
            *probe_pages(readiness),
            stats_page(take, look, started=1.0, timer=lambda: 3.5),
            metrics_page(take),
            *no_redis_pages(),
            *entry_pages(ports),
            *purge_pages(ports, ports.find, ports, ports.clear),
            *config_pages(ports),
        ],
        Rights("right"),
        purge=PurgeVerb(ports),
        **{"prefix": "/cache", **more},  # type: ignore[arg-type]
    )


@asynccontextmanager
async def setting(**more: object) -> AsyncIterator[Setting]:
    ports, counters, readiness = Scripted(), Counters(), Readiness(started=True)
    admin = pages(ports, counters, readiness, **more)
    async with door(lambda request: reply(b"the site"), admin=admin) as d, raw(d.port) as client:
        yield Setting(d, client, ports, counters, readiness)


def error(got: RawAnswer) -> tuple[int, str]:
    document = orjson.loads(got.body)
    assert document["message"]
    assert got.header("content-type") == "application/json"
    assert got.header("cache-control") == "no-store"
    return got.status, document["error"]


async def test_rights_on_the_wire_and_admin_requests_are_not_counted() -> None:
    async with setting() as s:
        assert (await s.ask("GET", "/cache/live")).status == 200
        assert (await s.ask("GET", "/cache/stats")).status == 200
        assert error(await s.ask("GET", "/cache/config")) == (404, "not-found")
        wrong = await s.ask("GET", "/cache/stats", "Authorization: Bearer wrong")
        assert error(wrong) == (401, "wrong-token")
        assert wrong.header("www-authenticate") == 'Bearer realm="cachegate"'
        assert error(await s.ask("GET", "/cache/stats", host="evil.example")) == (404, "not-found")
        assert error(await s.ask("POST", "/cache/purge", "Origin: http://evil.example", TOKEN)) == (
            403,
            "foreign-origin",
        )
        assert (await s.ask("GET", "/cache/config", TOKEN)).status == 200
        assert (s.door.counters.requests, s.door.ended, s.door.requests) == (0, [], [])


async def test_who_may_not_see_a_page_is_not_told_whether_it_exists() -> None:
    async with setting() as s:
        answers = [
            (await s.ask(method, page)).body
            for method, page in [("GET", "/cache/config"), ("GET", "/cache/nothing"), ("POST", "/cache/stats")]
        ]
        assert len(set(answers)) == 1
        assert error(await s.ask("GET", "/cache/nothing", TOKEN)) == (404, "not-found")
        got = await s.ask("POST", "/cache/stats", TOKEN)
        assert (error(got), got.header("allow")) == ((405, "method-not-allowed"), "GET, HEAD")


@pytest.mark.parametrize("path", ["/cach", "/cachex", "/Cache/stats", "/%63ache/stats", "/x/cache/stats", "/"])
async def test_what_is_not_under_the_prefix_is_the_site_s(path: str) -> None:
    async with setting() as s:
        assert (await s.ask("GET", path)).body == b"the site"


@pytest.mark.parametrize("path", ["/cache", "/cache/", "/cache/stats/", "/cache/../stats", "/cache//stats", "/cache?x"])
async def test_what_is_under_the_prefix_never_goes_upstream(path: str) -> None:
    async with setting() as s:
        assert (await s.ask("GET", path, TOKEN)).status in (404, 405)
        assert s.door.requests == []


async def test_head_is_a_get_without_its_body() -> None:
    async with setting() as s:
        got = await s.ask("HEAD", "/cache/live")
        assert (got.status, int(got.header("content-length") or 0) > 0) == (200, True)


async def test_a_prefix_of_ones_own_and_none() -> None:
    async with setting(prefix="/-/gate") as s:
        assert (await s.ask("GET", "/-/gate/live")).status == 200
        assert (await s.ask("GET", "/cache/live")).body == b"the site"
    async with setting(prefix=None) as s:
        assert (await s.ask("GET", "/cache/live")).body == b"the site"
        assert (await s.ask("PURGE", "/x", TOKEN)).status == 200


# -- purge --------------------------------------------------------------------------------------------------------

PURGES = [
    (b'{"url": "http://A:80/x?y"}', PurgeRequest(Kind.URL, ("a|/x?y",))),
    (b'{"tag": "t", "soft": true}', PurgeRequest(Kind.TAG, ("t",), True)),
    (b'{"all": true, "dry_run": true}', PurgeRequest(Kind.ALL, (), False, True)),
]


@pytest.mark.parametrize(("body", "wanted"), PURGES)
async def test_a_purge_and_its_receipt(body: bytes, wanted: PurgeRequest) -> None:
    async with setting() as s:
        got = await s.ask("POST", "/cache/purge", TOKEN, body=body)
        receipt = orjson.loads(got.body)
        assert (got.status, receipt["id"], receipt["matched"]) == (200, "r1", {"memory": 12})
        assert s.ports.purges == [wanted]
        again = await s.ask("GET", "/cache/purges/r1", TOKEN)
        assert orjson.loads(again.body)["id"] == "r1"
        assert error(await s.ask("GET", "/cache/purges/r2", TOKEN)) == (404, "no-such-purge")


async def test_a_purge_that_an_instance_has_not_applied_is_202() -> None:
    async with setting() as s:
        s.ports.instances = {"a1b2": "applied", "c3d4": "pending"}
        assert (await s.ask("POST", "/cache/purge", TOKEN, body=b'{"all": true}')).status == 202


@pytest.mark.parametrize(
    ("body", "word", "says"),
    [
        (b"", "bad-json", "JSON"),
        (b"{", "bad-json", "JSON"),
        (b"\xff", "bad-json", "JSON"),
        (b'{"tag": "a", "tag": "b"}', "bad-json", "tag: given twice"),
        (b'{"tags": [{"x": 1, "x": 2}]}', "bad-json", "x: given twice"),
        (b'{"tags": ' + b"[" * 900 + b"]" * 900 + b"}", "bad-purge", "tags"),
        (b"[]", "bad-purge", "url, key, pattern"),
        (b"{}", "bad-purge", "url, key, pattern"),
        (b'{"tga": "x"}', "bad-purge", "did you mean 'tag'"),
        (b'{"url": "/x", "all": true}', "bad-purge", "exactly one"),
        (b'{"key": "xyz"}', "bad-purge", "hex digits"),
    ],
)
async def test_a_wrong_purge_says_what_is_allowed(body: bytes, word: str, says: str) -> None:
    async with setting() as s:
        got = await s.ask("POST", "/cache/purge", TOKEN, body=body)
        assert error(got) == (400, word)
        assert says in orjson.loads(got.body)["message"]
        assert s.ports.purges == []


async def test_an_admin_body_is_bounded() -> None:
    async with setting() as s:
        got = await s.ask("POST", "/cache/purge", TOKEN, body=b" " * (1024 * 1024 + 1))
        assert error(got) == (413, "too-large")


async def test_a_purge_by_a_short_key() -> None:
    one, two = "abcdef01" + "0" * 56, "abcdef02" + "0" * 56
    async with setting() as s:
        s.ports.rows = (row(one), row(two))
        assert (await s.ask("POST", "/cache/purge", TOKEN, body=b'{"key": "abcdef01"}')).status == 200
        assert s.ports.purges == [PurgeRequest(Kind.KEY, (one,))]
        s.ports.rows = (row(one), row(one + ".0123456789abcdef"))
        assert error(await s.ask("POST", "/cache/purge", TOKEN, body=b'{"key": "abcdef01"}')) == (409, "ambiguous")
        assert error(await s.ask("POST", "/cache/purge", TOKEN, body=b'{"key": "12345678"}')) == (404, "no-such-entry")


async def test_purge_as_a_method_is_ours_whatever_the_url() -> None:
    async with setting() as s:
        for fields in [(TOKEN,), ("Cachegate-Token: right",)]:
            got = await s.ask("PURGE", "/x?y", *fields, host="Site.example")
            assert (got.status, orjson.loads(got.body)["kind"]) == (200, "url")
        assert s.ports.purges == [PurgeRequest(Kind.URL, ("site.example|/x?y",))] * 2
        assert (await s.ask("PURGE", "/cache/stats", TOKEN)).status == 200
        assert s.door.counters.requests == 0
        for fields, status in [((), 403), (("Cachegate-Token: wrong",), 401), (("Origin: http://x", TOKEN), 403)]:
            got = await s.ask("PURGE", "/x?y", *fields)
            assert (got.status, got.header("content-type")) == (status, "text/plain; charset=utf-8")
            assert (got.header("x-cache"), b"(forbidden)" in got.body) == ("BYPASS", True)
        assert (s.door.counters.requests, s.door.counters.reasons) == (3, {Why.FORBIDDEN: 3})
        assert (len(s.ports.purges), s.door.requests) == (3, [])


async def test_clearing() -> None:
    async with setting() as s:
        for page in ("/cache", "/cache/memory", "/cache/file?pattern=*/users/*"):
            got = await s.ask("DELETE", page, TOKEN)
            assert (got.status, got.body) == (200, b'{"cleared":7}')
        assert s.ports.cleared == [(None, None), (Tier.MEMORY, None), (Tier.FILE, "*/users/*")]
        got = await s.ask("DELETE", "/cache?pattern=/away", TOKEN)  # others have not heard of it
        assert (got.status, orjson.loads(got.body)["instances"]["c3d4"]) == (202, "pending")
        s.ports.cleared.pop()
        assert error(await s.ask("DELETE", "/cache?patern=*/users/*", TOKEN)) == (400, "bad-query")
        assert error(await s.ask("DELETE", "/cache?pattern=[", TOKEN)) == (400, "bad-pattern")
        assert error(await s.ask("DELETE", "/cache")) == (404, "not-found")
        assert error(await s.ask("DELETE", "/cache/redis", TOKEN)) == (503, "redis-off")
        assert len(s.ports.cleared) == 3


# -- entries, config, probes --------------------------------------------------------------------------------------


async def test_entries() -> None:
    keys = ["abcdef01" + "0" * 56, "abcdef02" + "0" * 56]
    async with setting() as s:
        s.ports.rows = tuple(map(row, keys))
        got = orjson.loads((await s.ask("GET", "/cache/entries?limit=1&match=*/x", TOKEN)).body)
        assert (got["total"], [entry["key"] for entry in got["entries"]]) == (2, keys[:1])
        assert set(got["entries"][0]) == {"key", "url", "rule", "tier", "age", "ttl", "size", "hits", "tags"}
        await s.ask("GET", "/cache/entries", TOKEN)
        assert s.ports.asked == [(1, Search("*/x")), (100, Search())]
        zeros = ("000000001000000", "000000001" + "0" * 5_000)
        for limit in ("0", "-1", "x", "1001", "99999999999999999999", *zeros, "%C2%B2"):
            assert error(await s.ask("GET", f"/cache/entries?limit={limit}", TOKEN)) == (400, "bad-limit")
        got = await s.ask("GET", "/cache/entries?limit=0", TOKEN)
        assert orjson.loads(got.body)["message"] == "limit: wanted a number from 1 to 1000, found '0'."
        for match in ("[", ""):
            assert error(await s.ask("GET", f"/cache/entries?match={match}", TOKEN)) == (400, "bad-match")
        assert error(await s.ask("GET", "/cache/entries?" + "x&" * 200, TOKEN)) == (400, "bad-query")


@pytest.mark.parametrize(
    ("method", "page", "says"),
    [
        ("GET", "entries?limt=2", "limt: unknown; known are limit, match, url, tag, rule."),
        ("GET", "entries?limit=2&limit=3", "limit: given twice."),
        ("GET", "entries/abcdef01?limit=2", "limit: unknown; this page takes none."),
        ("GET", "stats?windw=1h", "windw: unknown; known are window."),
        ("GET", "config?x", "x: unknown; this page takes none."),
        ("POST", "reload?x=1", "x: unknown; this page takes none."),
        ("POST", "purge?dry_run=true", "dry_run: unknown; this page takes none."),
        ("GET", "purges/r1?x=1", "x: unknown; this page takes none."),
        ("DELETE", "memory?patern=/x", "patern: unknown; known are pattern."),
    ],
)
async def test_a_parameter_without_effect_is_refused(method: str, page: str, says: str) -> None:
    async with setting() as s:
        got = await s.ask(method, f"/cache/{page}", TOKEN, body=b'{"all": true}' if method == "POST" else b"")
        assert (*error(got), orjson.loads(got.body)["message"]) == (400, "bad-query", says)
        assert (s.ports.purges, s.ports.cleared) == ([], [])
        for probe in ("live", "ready", "metrics"):  # who looks there adds what it likes
            assert (await s.ask("GET", f"/cache/{probe}?x=1&x=2", TOKEN)).status == 200


async def test_one_entry_by_its_key_short_or_whole() -> None:
    whole = "abcdef01" + "0" * 56
    async with setting() as s:
        s.ports.rows = (row(whole), row("abcdef02" + "0" * 56), row(whole + ".0123456789abcdef"))
        for key in (whole, "abcdef02", whole + ".0123456789abcdef", whole + ".0"):
            assert orjson.loads((await s.ask("GET", f"/cache/entries/{key}", TOKEN)).body)["key"].startswith(key)
        got = await s.ask("GET", "/cache/entries/abcdef01", TOKEN)
        assert error(got) == (409, "ambiguous")
        assert len(orjson.loads(got.body)["keys"]) == 2
        assert error(await s.ask("GET", "/cache/entries/00000000", TOKEN)) == (404, "no-such-entry")
        for key in ("abcdef0", "ABCDEF01", "../../etc", "a" * 65):
            assert error(await s.ask("GET", f"/cache/entries/{key}", TOKEN))[0] in (400, 404)


async def test_config_and_reload() -> None:
    async with setting() as s:
        got = await s.ask("GET", "/cache/config", TOKEN)
        assert orjson.loads(got.body)["listen.port"]["source"] == "default"
        got = await s.ask("POST", "/cache/reload", TOKEN)
        assert (got.status, orjson.loads(got.body)) == (200, {"reloaded": True, "changed": ["rules"]})
        s.ports.problems = (Problem("x.yaml:1:2", "unknown key"), Problem("x.yaml:2:2", "no number"))
        got = await s.ask("POST", "/cache/reload", TOKEN)
        assert error(got) == (422, "bad-configuration")
        assert orjson.loads(got.body)["problems"][0] == {"place": "x.yaml:1:2", "message": "unknown key"}
        assert error(await s.ask("GET", "/cache/reload", TOKEN)) == (405, "method-not-allowed")


async def test_probes() -> None:
    async with setting() as s:
        for started, draining, status, word in [
            (False, False, 503, "starting"),
            (True, False, 200, "ready"),
            (True, True, 503, "draining"),
        ]:
            s.readiness.started, s.readiness.draining = started, draining
            got = await s.ask("GET", "/cache/ready", "Authorization: Bearer wrong", "X-Forwarded-For: 9.9.9.9")
            assert (got.status, orjson.loads(got.body)) == (status, {"status": word})
            assert (await s.ask("GET", "/cache/live", host="anything")).status == 200


async def test_redis_pages_without_redis() -> None:
    async with setting() as s:
        got = await s.ask("GET", "/cache/redis/health")
        assert (got.status, orjson.loads(got.body)["status"]) == (200, "disabled")
        assert error(await s.ask("GET", "/cache/redis/ping")) == (503, "redis-off")
        assert error(await s.ask("GET", "/cache/redis/info", TOKEN)) == (503, "redis-off")


# -- stats and metrics --------------------------------------------------------------------------------------------


async def test_stats() -> None:
    async with setting() as s:
        for verdict, why in [(Verdict.HIT, Why.FRESH), (Verdict.MISS, Why.URI_MISS), (Verdict.BYPASS, Why.NO_RULE)]:
            s.counters.finish(Outcome(verdict, why, "users"), 0.002, 100)
        glance = orjson.loads((await s.ask("GET", "/cache/stats")).body)
        full = orjson.loads((await s.ask("GET", "/cache/stats", TOKEN)).body)
    assert "files" not in glance["file"]
    assert full.pop("topMisses") == []
    assert len(full["file"].pop("files")) == 100
    assert full == glance
    assert (full["uptime"], full["requests"], full["hitRate"], full["workers"]) == (2.5, 3, 0.5, 2)
    assert sum(full["verdicts"].values()) == 3
    assert full["reasons"] == {"fresh": 1, "uri-miss": 1, "no-rule": 1}
    assert full["memory"] == {
        "size": 3, "bytes": 300, "maxBytes": 1000, "hitRate": 0.0, "totalHits": 0, "totalMisses": 0, "evictions": 2,
    }  # fmt: skip
    assert full["file"]["off"] == "read-only"
    assert set(full["redis"]) >= {
        "enabled", "connected", "isConnected", "mode", "size", "keys", "memory", "memoryUsage", "latency", "keyspace",
        "hits", "misses", "errors", "localFallbackSize",
    }  # fmt: skip
    assert full["rules"]["users"] == {
        "hits": 1, "misses": 1, "bytesSaved": 100, "secondsSaved": 0.0, "callsSaved": 1, "moneySaved": 0.0,
        "calls": 0, "upstreamSeconds": 0.0,
    }  # fmt: skip
    assert set(full["responseTime"]) == {"avg", "p50", "p95", "p99"}
    assert full["upstream"] == {"requests": 0, "errors": 0, "retries": 0, "inFlight": 0, "breaker": "closed"}
    assert {"version", "inFlight", "activeSessions", "coalesced", "malformed"} <= set(full)


async def test_stats_of_a_window() -> None:
    async with setting() as s:
        s.counters.finish(Outcome(Verdict.HIT, Why.FRESH, "users"), 0.002, 100, "/api/users")
        s.counters.finish(Outcome(Verdict.MISS, Why.URI_MISS, "users", upstream_seconds=2.0), 2.0, 100, "/api/users")
        glance = orjson.loads((await s.ask("GET", "/cache/stats?window=1h")).body)["window"]
        full = orjson.loads((await s.ask("GET", "/cache/stats?window=1h", TOKEN)).body)["window"]
        assert error(await s.ask("GET", "/cache/stats?window=24h")) == (503, "busy")
        assert error(await s.ask("GET", "/cache/stats?window=2h")) == (400, "bad-window")
    assert full.pop("groups") == [{"rule": "users", "group": "/api/users", **full["rules"]["users"]}]
    assert full == glance
    assert [full[name] for name in ("name", "minutes", "since", "requests", "hitRate")] == ["1h", 60, 7200, 2, 0.5]
    assert full["reasons"] == full["rules"]["users"]["reasons"] == {"uri-miss": 1}
    assert full["series"] == [
        {"at": 7200, "hits": 1, "misses": 1, "bypassed": 0, "bytesSaved": 100, "upstreamSeconds": 2.0}
    ]


async def test_metrics() -> None:
    async with setting() as s:
        s.counters.finish(Outcome(Verdict.HIT, Why.FRESH, "users"), 0.002, 100)
        got = await s.ask("GET", "/cache/metrics")
        assert (got.header("content-type") or "").startswith("text/plain")
        families = {family.name: family for family in text_string_to_metric_families(got.body.decode())}
        assert "cachegate_requests" in families
        assert "process_open_fds" in families or "python_info" in families
        got = await s.ask("GET", "/cache/metrics", "Accept: application/openmetrics-text; version=1.0.0")
        assert (got.header("content-type") or "").startswith("application/openmetrics-text")
        assert got.body.endswith(b"# EOF\n")


# -- a port of its own --------------------------------------------------------------------------------------------


async def test_a_port_of_its_own() -> None:
    ports, counters, readiness = Scripted(), Counters(), Readiness(started=True)
    alone = pages(ports, counters, readiness, aliases=aliases("/cache"), alone=True)
    gate = Gate(admin_front(alone, Doorway("gate")), Counters(), Limits())
    server = await asyncio.get_running_loop().create_server(gate, "127.0.0.1", 0)
    async with raw(server.sockets[0].getsockname()[1]) as client:
        for path in ("/metrics", "/livez", "/readyz", "/healthz", "/cache/stats"):
            assert (await client.get(path, host="localhost")).status == 200
        for path in ("/", "/anything", "/stats"):
            assert error(await client.get(path, TOKEN, host="localhost")) == (404, "not-found")
        assert (await client.get("/x", TOKEN, method="PURGE", host="localhost")).status == 404
    server.close()
    await gate.shutdown(0.05)
    assert (counters.requests, ports.purges) == (0, [])
