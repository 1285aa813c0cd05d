"""Replay by hand: what rules would have done with requests whose answers are known, one question at a time (row 202).
The live runs that it is held against are in test_replay_live."""

import asyncio
import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from proxy.insight import recalled
from proxy.insight.bodiless import Ledger, Weight
from proxy.insight.curve import SMALLEST, Curve, How, Point
from proxy.insight.picture import Line, svg
from proxy.insight.replay import Report, replay
from proxy.insight.seen import Ours, Seen, Unreadable
from proxy.message import Fields
from proxy.outcome import Verdict
from proxy.settings.load import load
from proxy.settings.model import Settings
from tests.support.entries import entry
from tests.support.process import environment, program
from tests.support.workloads import zipf
from tests.test_logs_read import COMBINED

Said = dict[str, Any]


def settings(**data: Any) -> Settings:
    return load(config=None, flags={}, sets=(), environ={}, cwd=None, data=data, require_upstream=False).settings


def rule(**more: Any) -> Settings:
    return settings(rules=[{"name": "a", "pattern": "/a*", "ttl": 60, **more}])


def seen(at: float, target: str = "/a", method: str = "GET", **more: Any) -> Seen:
    return Seen(
        **{"time": 1000.0 + at, "method": method, "host": "x", "target": target, "status": 200, "size": 10} | more
    )


def verdicts(report: Report) -> dict[str, int]:
    return {verdict.value: count for verdict, count in report.after.counters.verdicts.items() if count}


def answer(*pairs: tuple[str, str]) -> Said:
    return {"answer": Fields.of(*pairs)}


@pytest.mark.parametrize(
    ("rules", "log", "expected"),
    [
        pytest.param(rule(), [seen(0), seen(59), seen(61)], {"MISS": 1, "HIT": 1, "EXPIRED": 1}, id="a lifetime ends"),
        pytest.param(rule(mode="off"), [seen(0), seen(1)], {"BYPASS": 2}, id="off"),
        pytest.param(settings(), [seen(0), seen(1)], {"MISS": 2}, id="no rule, and nothing said"),
        pytest.param(
            settings(), [seen(n, **answer(("Cache-Control", "max-age=5"))) for n in (0, 4, 6)],
            {"MISS": 1, "HIT": 1, "EXPIRED": 1}, id="no rule, and the origin's word",
        ),
        pytest.param(
            rule(), [seen(n, **answer(("Cache-Control", "no-store"))) for n in (0, 1)], {"MISS": 2}, id="no-store",
        ),
        pytest.param(
            rule(stale_while_revalidate=60), [seen(0), seen(70), seen(71)], {"MISS": 1, "UPDATING": 1, "HIT": 1},
            id="refreshed behind",
        ),
        pytest.param(rule(), [seen(0, took=2.0), seen(1), seen(3)], {"MISS": 2, "HIT": 1}, id="a fetch takes its time"),
        pytest.param(rule(), [seen(0, "/a?b=1&c=2"), seen(1, "/a?c=2&b=1")], {"MISS": 1, "HIT": 1}, id="sorted"),
        pytest.param(
            rule(key={"query": {"ignore": ["t"]}}), [seen(0, "/a?t=1"), seen(1, "/a?t=2")], {"MISS": 1, "HIT": 1},
            id="ignored",
        ),
        pytest.param(
            rule(), [seen(0), seen(1, method="DELETE", status=204), seen(2)], {"MISS": 2, "BYPASS": 1},
            id="invalidated",
        ),
        pytest.param(
            rule(), [seen(0), seen(1, method="DELETE", status=500), seen(2)], {"MISS": 1, "BYPASS": 1, "HIT": 1},
            id="a change that failed",
        ),
        pytest.param(
            settings(rules=[{"pattern": "*", "ttl": 60, "methods": ["GET", "POST"]}], limits={"key_body": 1}),
            [seen(0), seen(1, method="POST", body=b"12"), seen(2)], {"MISS": 1, "BYPASS": 1, "HIT": 1},
            id="a question that is too long for a key is no change",
        ),
        pytest.param(rule(), [seen(0), seen(1, method="HEAD")], {"MISS": 1, "HIT": 1}, id="HEAD from GET"),
        pytest.param(
            rule(), [seen(n, asked=Fields.of(("Authorization", "x"))) for n in (0, 1)], {"MISS": 2}, id="credentials",
        ),
        pytest.param(
            rule(key={"headers": ["x-user"]}), [seen(n, asked=Fields.of(("X-User", str(n % 2)))) for n in range(4)],
            {"MISS": 2, "HIT": 2}, id="a header in the key",
        ),
        pytest.param(
            rule(methods=["POST"]), [seen(n, method="POST", body=body) for n, body in enumerate([b"1", b"2", b"1"])],
            {"MISS": 2, "HIT": 1}, id="a body in the key",
        ),
        pytest.param(
            rule(), [seen(n, asked=Fields.of(("Accept-Language", f"l{n % 2}")), **answer(("Vary", "Accept-Language")))
                     for n in range(4)],
            {"MISS": 2, "HIT": 2}, id="Vary",
        ),
        pytest.param(
            settings(rules=[{"pattern": "*", "ttl": 60}], memory={"max_entries": 2}, file={"enabled": False}),
            [seen(n, f"/{n % 4}") for n in range(8)], {"MISS": 8}, id="no room",
        ),
        pytest.param(
            settings(rules=[{"pattern": "*", "ttl": 60}], memory={"max_entries": 2}),
            [seen(n, f"/{n % 4}") for n in range(8)],
            {"MISS": 4, "HIT": 4}, id="no room but in files",
        ),
        pytest.param(
            settings(rules=[{"pattern": "*", "ttl": 60}], memory={"max_bytes": 0}, file={"enabled": False}),
            [seen(0), seen(1)], {"MISS": 2}, id="no tiers",
        ),
    ],
)  # fmt: skip
def test_what_becomes_of_requests(rules: Settings, log: list[Seen], expected: dict[str, int]) -> None:
    assert verdicts(replay(iter(log), rules)) == expected


def ours(verdict: str, reason: str = "", key: str = "k", **more: Any) -> Said:
    return {"ours": Ours(Verdict(verdict), reason, more.pop("rule", "a"), key, **more)}


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        pytest.param([seen(n, **ours("MISS", "no-store")) for n in (0, 1)], {"MISS": 2}, id="no-store"),
        pytest.param([seen(n, **ours("MISS", "private")) for n in (0, 1)], {"MISS": 2}, id="private"),
        pytest.param([seen(n, **ours("MISS", "set-cookie")) for n in (0, 1)], {"MISS": 2}, id="a cookie was set"),
        pytest.param([seen(n, **ours("MISS", "unproven-end")) for n in (0, 1)], {"MISS": 2}, id="no proven end"),
        pytest.param(
            [seen(0, **ours("MISS", "uri-miss", stored=True, origin_ttl=5)), seen(6, **ours("HIT", "fresh"))],
            {"MISS": 1, "EXPIRED": 1}, id="what the origin said wins over the rule",
        ),
        pytest.param(
            [seen(0, **ours("MISS", "uri-miss", stored=True)),
             seen(61, **ours("REVALIDATED", "revalidated", stored=True)),
             seen(62, **ours("HIT", "fresh"))], {"MISS": 1, "REVALIDATED": 1, "HIT": 1}, id="revalidated",
        ),
        pytest.param(
            [seen(0, **ours("MISS", "uri-miss", stored=True)), seen(61, status=200, **ours("STALE", "stale-if-error"))],
            {"MISS": 1, "STALE": 1}, id="an origin that failed",
        ),
        pytest.param(
            [seen(n, status=502, **ours("MISS", "upstream-refused")) for n in (0, 1)], {"MISS": 2},
            id="no answer at all",
        ),
        pytest.param(
            [seen(0, **ours("MISS", "uri-miss", "h.v1", stored=True)),
             seen(1, **ours("MISS", "vary-miss", "h.v2", stored=True)),
             seen(2, **ours("HIT", "fresh", "h.v1")), seen(3, **ours("HIT", "fresh", "h.v2"))],
            {"MISS": 2, "HIT": 2}, id="variants",
        ),
        pytest.param(
            [seen(n, **ours("BYPASS", "rate-limited", ""), status=429) for n in (0, 1)], {"BYPASS": 2}, id="refused",
        ),
        pytest.param(
            [seen(0, **ours("MISS", "credentials", "")), seen(1, **ours("MISS", "credentials", ""))], {"MISS": 2},
            id="credentials",
        ),
    ],
)  # fmt: skip
def test_our_own_log_says_it_all_again(log: list[Seen], expected: dict[str, int]) -> None:
    assert verdicts(replay(iter(log), rule())) == expected


def test_keys_of_our_own_log_tell_what_it_does_not_hold() -> None:
    """Headers and bodies are not in the log: its keys stand for them, and that is said."""
    rules = settings(
        rules=[
            {"name": "users", "pattern": "/u", "ttl": 60, "conditions": {"headers": {"x-user-id": "*"}}},
            {"name": "search", "pattern": "/s", "ttl": 60, "methods": ["POST"]},
        ]
    )
    log = [seen(n, "/u", **ours("MISS", "uri-miss", f"k{n % 2}", rule="users", stored=True)) for n in range(4)]
    log += [seen(9 + n, "/s", "POST", **ours("HIT", "fresh", f"s{n % 2}", rule="search")) for n in range(4)]
    report = replay(iter(log), rules)
    assert verdicts(report) == {"MISS": 4, "HIT": 4}
    assert set(report.after.counters.rules) == {"users", "search"}
    assert report.after.assumed == {recalled.STOOD_IN: 4, recalled.NO_BODY: 4, recalled.UNSAID: 2}


def test_headers_that_the_log_does_not_hold_are_told_as_assumed() -> None:
    rules = rule(key={"headers": ["accept-language"]})
    blind = replay(iter([seen(n) for n in range(2)]), rules)
    assert (verdicts(blind), blind.after.assumed[recalled.UNKEYED]) == ({"MISS": 1, "HIT": 1}, 2)
    told = replay(iter([seen(n, asked=Fields.of(("accept-language", f"l{n}"))) for n in range(2)]), rules)
    assert (verdicts(told), told.after.assumed[recalled.UNKEYED]) == ({"MISS": 2}, 0)


def test_what_is_saved_and_what_changes() -> None:
    log = [seen(n, f"/a?t={n}", took=0.0) for n in range(10)]
    report = replay(iter(log), rule(key={"query": {"ignore": ["t"]}}), rule())
    assert report.before is not None
    assert (report.after.upstream_saved, report.after.bytes_saved) == (9, 90)
    assert (report.before.upstream_saved, report.before.bytes_saved) == (0, 0)
    assert {(each.url, each.was, each.now, each.requests) for each in report.changed} == {
        (f"http://x/a?t={n}", "MISS", "HIT", 1) for n in range(1, 10)
    }
    refreshed = replay(iter([seen(0), seen(61)]), rule(stale_while_revalidate=60))
    assert verdicts(refreshed) == {"MISS": 1, "UPDATING": 1}
    assert refreshed.after.upstream_saved == 0, "the call was made behind the client's back"


def test_unreadable_lines_are_counted_and_the_first_are_named() -> None:
    log: list[Seen | Unreadable] = [seen(0), *(Unreadable(n, "no") for n in range(2, 102)), seen(1)]
    report = replay(iter(log), rule())
    assert (report.unreadable, report.after.counters.requests) == (100, 2)
    assert [each.number for each in report.named] == list(range(2, 22))


# -- how much memory ---------------------------------------------------------------------------------------------------


def asked(curve: Curve, trace: list[int], size: Callable[[int], int], life: float = 1e9) -> Curve:
    for now, key in enumerate(trace):
        curve.ask(f"key-{key}", size(key), life, float(now))
    return curve


def in_full(trace: list[int], size: Callable[[int], int], max_bytes: int) -> float:
    """The hit ratio of a real tier of this size."""
    ledger, hits = Ledger("s3fifo", max_entries=1 << 40, max_bytes=max_bytes), 0
    for key in trace:
        made = entry(f"/{key}")
        if ledger.find(made.hash, lambda variants: "", 0.0):
            hits += 1
        else:
            body = Weight(size(key) - made.size + made.body.size)
            ledger.keep(entry(f"/{key}", body=body), 0.0)
    return hits / len(trace)


def test_the_curve_of_a_sample_is_that_of_all_keys() -> None:
    """SHARDS: with 1 in 16 of the keys no point is off by more than 2 in 100."""
    trace = zipf(random.Random(3), 60_000, 12_000, 0.9)
    whole, sample = (asked(Curve("s3fifo", keys), trace, lambda key: 2000 + key % 1000) for keys in (1 << 30, 1000))
    assert whole.rate == 1
    assert sample.rate < 1 / 8
    exact = {point.bytes: point.hit_ratio for point in whole.points()}
    for point in sample.points():
        assert point.bytes * sample.rate >= SMALLEST, "a miniature has to hold a few"
        if point.bytes * sample.rate > 50_000:
            assert point.hit_ratio == pytest.approx(exact[point.bytes], abs=0.02)
    assert len(sample._sampled) <= 1000


@pytest.mark.parametrize("size", [1 << 20, 1 << 22])
def test_a_point_of_the_curve_is_what_a_tier_of_that_size_does(size: int) -> None:
    trace = zipf(random.Random(4), 20_000, 3000, 0.9)
    curve = asked(Curve("s3fifo", 1 << 30), trace, lambda key: 2000)
    (point,) = [point for point in curve.points() if point.bytes == size]
    assert point.hit_ratio == pytest.approx(in_full(trace, lambda key: 2000, size), abs=0.0001)


@pytest.mark.parametrize(
    ("steps", "hits"),
    [
        ([(0, ""), (9, ""), (11, "")], 1),
        ([(0, ""), (9, "refreshed"), (18, ""), (20, "")], 2),
        ([(0, ""), (11, "confirmed"), (20, "")], 2),
        ([(0, ""), (1, "purged"), (2, "")], 1),
    ],
)
def test_what_is_over_is_no_hit_in_any_size(steps: list[tuple[float, How]], hits: int) -> None:
    curve = Curve("s3fifo")
    for now, how in steps:
        curve.ask("k", 100, 10.0, now, how)
    assert [point.hit_ratio for point in curve.points()] == [round(hits / len(steps), 4)]


def test_what_is_never_kept_counts_at_every_size() -> None:
    curve = Curve("lru")
    for n in range(50):
        curve.ask("k", 100, 1e9, n)
        curve.ask("", 0, 0.0, n)
    assert curve.points()[-1].hit_ratio == pytest.approx(49 / 100)
    assert Curve("lru").points() == ()
    assert curve.points()[0].bytes == SMALLEST


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "new.yaml").write_text('rules: [{name: a, pattern: "/a*", ttl: 60, key: {query: {ignore: [b]}}}]')
    (tmp_path / "old.yaml").write_text('rules: [{name: a, pattern: "/a*", mode: "off"}]')
    lines = "".join(f"{COMBINED.replace('b=c', f'b={n}')}\n" for n in range(20))
    (tmp_path / "access.log").write_text(lines + "junk\n")
    return tmp_path


async def test_the_command_tells_people_and_programs(place: Path) -> None:
    code, text, err = await program(place, "replay", "access.log", "--rules", "new.yaml", "--compare", "old.yaml")
    assert (code, err) == (0, "")
    for told in (
        "hit ratio",
        "95.0%",
        "line 21: not of the combined format",
        "BYPASS   HIT",
        "16.0 KiB would give 95.0%",
    ):
        assert told in text, text
    code, text, err = await program(place, "replay", "access.log", "--rules", "new.yaml", "--json")
    told = json.loads(text)
    assert (code, err) == (0, "")
    # contract, "Other JSON"
    assert (told["requests"], told["hit_ratio"], told["upstream_saved"], told["unreadable"]) == (20, 0.95, 19, 1)
    assert told["bytes_saved"] == 19 * 2326
    assert told["rules"]["a"]["hits"] == 19
    assert told["curve"] == [{"bytes": 1 << 14, "hit_ratio": 0.95}]
    assert told["changed"] == []
    assert list(told["assumed"].values()) == [1]


async def test_a_log_without_a_request_is_said_to_be_none(place: Path) -> None:
    (place / "junk.log").write_text("junk\n")
    (place / "junk.har").write_text('{"log": {"version": "1.2", "entries": [5, 6]}}')
    for name, first in (("junk.log", "line 1: not of"), ("junk.har", "entry 1: wanted an object, found 5")):
        code, text, err = await program(place, "replay", name, "--rules", "new.yaml")
        assert (code, text) == (2, "")
        assert f"{name}: no request that can be read" in err
        assert first in err
    assert "2 unreadable entries" in err


def test_a_curve_goes_on_where_all_of_it_fits() -> None:
    drawn = svg([Line("one", [Point(1 << 16, 0.5)]), Line("other", [Point(1 << 14, 0.1), Point(1 << 24, 0.9)])])
    lines = re.findall(r'polyline points="([^"]*)"', drawn)
    assert [{place.partition(",")[2] for place in line.split()[-2:]} for line in lines] == [{"202.0"}, {"78.8"}]
    assert [line.split()[-1].partition(",")[0] for line in lines] == ["736", "736"]
    assert ">16 KiB<" in drawn
    assert ">16 MiB<" in drawn


async def test_it_draws_what_every_browser_shows(place: Path) -> None:
    for name in ("curve.svg", "curve.html"):
        code, _, err = await program(place, "replay", "access.log", "--rules", "new.yaml", "--plot", name)
        assert (code, err) == (0, "")
        drawn = (place / name).read_text()
        picture = ElementTree.fromstring(drawn[drawn.index("<svg ") : drawn.index("</svg>") + 6])
        assert picture.findtext("{http://www.w3.org/2000/svg}title")
        assert "<circle " in drawn
        assert "http" not in drawn.replace("http://www.w3.org/2000/svg", ""), "nothing from elsewhere"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("no.log", "--rules", "new.yaml"), "no.log: No such file or directory"),
        ((".", "--rules", "new.yaml"), "Is a directory"),
        (("access.log", "--rules", "no.yaml"), "no.yaml"),
        (("access.log", "--rules", "new.yaml", "--plot", "a.png"), "the picture is .html or .svg"),
        (("access.log", "--rules", "new.yaml", "--plot", "no/a.svg"), "No such file or directory"),
        (("access.log", "--rules", "new.yaml", "--field", "tim=ts"), "wanted NAME=THEIRS, with NAME one of time,"),
        (("access.log",), "Missing option '--rules'"),
    ],
)
async def test_what_it_cannot_do_is_said(place: Path, words: tuple[str, ...], said: str) -> None:
    code, text, err = await program(place, "replay", *words)
    assert (code, text) == (2, "")
    assert said in err
    assert "Traceback" not in err


async def test_a_log_may_come_from_a_pipe(place: Path) -> None:
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "replay", "-", "--rules", "new.yaml", "--json"),
        cwd=place,
        env=environment({}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await made.communicate((place / "access.log").read_bytes())
    assert json.loads(out)["requests"] == 20
