"""Suggest by hand: what samples say of rules, and what they do not (row 203)."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from proxy.entry import BytesBody
from proxy.insight.bounds import rate_at_most, share_at_most
from proxy.insight.samples import LARGEST, PACE, Sample, Samples, json_parts
from proxy.insight.samples_log import ANYTHING, gathered
from proxy.insight.seen import Ours, Seen
from proxy.insight.suggesting import Suggestion, group_of, merged, patch_for, suggestions
from proxy.message import Fields
from proxy.outcome import Verdict
from proxy.rules import BodyKey, KeySpec, Rule, RuleTable
from tests.support.entries import NOW, entry
from tests.support.gateway import Clock, running
from tests.support.origin import Origin
from tests.support.process import program
from tests.support.workloads import WORKLOADS, Workload
from tests.test_replay import seen

# -- how sure ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "trials", "bound"),
    # Clopper and Pearson as R has them: binom.test(k, n, alternative = "less")$conf.int[2]
    [(0, 59, 0.0495), (0, 10, 0.2589), (0, 1, 0.95), (1, 100, 0.0466), (5, 100, 0.1022), (50, 100, 0.5863), (3, 3, 1),
     (0, 0, 1)],
)  # fmt: skip
def test_the_share_that_may_be_left(times: int, trials: int, bound: float) -> None:
    assert share_at_most(times, trials) == pytest.approx(bound, abs=0.0001)


@pytest.mark.parametrize(
    ("times", "exposure", "bound"),
    # Garwood as R has them: poisson.test(k, T, alternative = "less")$conf.int[2]
    [(0, 1.0, 2.9957), (0, 100.0, 0.029957), (1, 1.0, 4.7439), (10, 1.0, 16.9622), (100, 10.0, 11.8079)],
)
def test_the_rate_that_may_be_left(times: int, exposure: float, bound: float) -> None:
    assert rate_at_most(times, exposure) == pytest.approx(bound, rel=0.0001)
    assert rate_at_most(times, 0) == float("inf")


# -- what samples say --------------------------------------------------------------------------------------------------


def sample(at: float, digest: str, rule: str = "a", place: str = "GET x/a", **parts: str) -> Sample:
    named = tuple(sorted((name.replace("_", ".", 1), value) for name, value in parts.items()))
    return Sample(at, rule, place, named, digest)


def told(samples: Iterable[Sample]) -> dict[tuple[str, str], Suggestion]:
    return {(each.kind, each.name): each for each in suggestions(samples)}


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("query", {"query": {"ignore": ["t"]}}),
        ("json", {"body": {"json": {"ignore": ["t"]}}}),
        ("header", {"headers": ["p"]}),
        ("vary", None),
        ("cookie", None),
    ],
)
def test_what_never_mattered_may_go_and_what_matters_stays(kind: str, patch: Any) -> None:
    parts = [{f"{kind}_t": str(n), f"{kind}_p": str(n % 3)} for n in range(300)]
    found = told(sample(n, part[f"{kind}_p"], **part) for n, part in enumerate(parts))
    ((_, name), suggestion) = next((key, each) for key, each in found.items() if key[0] not in ("ttl", "split"))
    assert name == "t"
    assert suggestion.pairs >= 59
    assert suggestion.bound == share_at_most(0, suggestion.pairs)
    assert suggestion.patch == (None if patch is None else {"rules": [{"name": "a", "key": patch}]})
    assert [key for key in found if key[1] == "p" and key[0] != "split"] == []


@pytest.mark.parametrize(("pairs", "enough"), [(58, False), (59, True)])
def test_59_pairs_are_enough_and_58_are_not(pairs: int, enough: bool) -> None:
    found = told(sample(n, "same", query_t=str(n)) for n in range(pairs + 1))
    assert (("query", "t") in found) is enough


def test_the_same_pair_again_is_no_new_evidence() -> None:
    assert ("query", "t") not in told(sample(n, "same", query_t=str(n % 2)) for n in range(500))
    found = told(sample(n, str(n % 2), query_t=str(n % 2)) for n in range(500))
    assert "1 of 1 pairs that differ in it alone had other answers" in found["split", "t"].text


def test_one_answer_that_differs_is_enough_to_leave_it() -> None:
    found = told(sample(n, "other" if n == 77 else "same", query_t=str(n)) for n in range(300))
    assert ("query", "t") not in found
    assert found["split", "t"].patch is None
    assert "2 of 299 pairs that differ in it alone had other answers" in found["split", "t"].text


def test_what_is_there_or_not_is_compared_too() -> None:
    samples = [
        sample(n, f"{n // 2}", place=f"GET x/{n // 2}", **({"query_t": "1"} if n % 2 else {})) for n in range(200)
    ]
    assert told(samples)["query", "t"].pairs == 100


def test_parts_that_are_new_on_every_request_are_tried_together() -> None:
    """A time stamp beside a session: no two requests differ in one of them alone."""
    samples = [sample(n, str(n % 3), query_ts=str(n), query_s=f"s{n}", query_p=str(n % 3)) for n in range(300)]
    found = told(samples)
    assert {key for key in found if key[0] == "query"} == {("query", "ts"), ("query", "s")}
    assert "differ in it and query.ts had the same answers" in found["query", "s"].text
    samples[150] = sample(150, "another", query_ts="150", query_s="s150", query_p="0")
    assert {key for key in told(samples) if key[0] == "query"} == set()


def test_a_ttl_is_what_the_rate_of_change_allows() -> None:
    samples = [sample(60.0 * n, str(n // 20)) for n in range(1001)]  # a change every 20 minutes
    (suggestion,) = suggestions(samples)
    assert suggestion.patch == {"rules": [{"name": "a", "ttl": 60}]}
    assert suggestion.bound == rate_at_most(50, 60_000.0)
    assert suggestions([sample(n, str(n)) for n in range(100)]) == [], "it changes faster than any ttl"
    assert suggestions([sample(n, "same") for n in range(20)]) == [], "too little was seen"


def test_without_digests_nothing_is_said_of_answers() -> None:
    found = suggestions(sample(n, "", query_t=str(n)) for n in range(300))
    assert [(each.kind, each.patch) for each in found] == [("split", None)]
    assert found[0].text == "query.t makes 300 keys of 1; nothing to compare"


def test_patches_of_a_rule_are_one_patch() -> None:
    patches = (
        {"key": {"query": {"ignore": ["t"]}}},
        {"key": {"query": {"ignore": ["s"]}}},
        {"key": {"headers": ["accept", "x-b"]}},
        {"key": {"headers": ["accept", "x-a"]}},
        {"ttl": 60},
    )
    found = [Suggestion("query", "", "a", 100, 0.03, "", patch_for("a", patch)) for patch in patches]
    key = {"query": {"ignore": ["t", "s"]}, "headers": ["accept"]}
    assert merged(found) == {"rules": [{"name": "a", "key": key, "ttl": 60}]}
    assert merged([]) == {}


@pytest.mark.parametrize(
    ("rule", "place", "group"),
    [
        ("users", "GET x/users/7", "users"),
        ("", "GET x/users/7", "/users/*"),
        ("", "GET x/users/7/posts/0f3a9c1d2e", "/users/*/posts/*"),
        ("", "GET x/search", "/search"),
        ("", "GET x/items/a7.json", "/items/*"),
    ],
)
def test_without_a_rule_paths_that_look_alike_are_one_group(rule: str, place: str, group: str) -> None:
    assert group_of(Sample(0.0, rule, place, (), "")) == group


# -- samples -----------------------------------------------------------------------------------------------------------


def test_the_last_ones_are_kept_and_of_each_digests_alone() -> None:
    samples, rule = Samples(3, b"key"), Rule(name="a", key=KeySpec(body=BodyKey("json", ("user",))))
    for n in range(5):
        samples.add(rule, entry(f"/{n}", rule="a"), b'{"secret": "hunter2", "user": 7, "deep": {"x": {"y": 1}}}')
    kept = samples.taken()
    assert [each.place for each in kept] == [f"GET example.com/{n}" for n in (2, 3, 4)]
    assert [name for name, _ in kept[0].parts] == ["json.deep.x", "json.secret"]
    assert "hunter2" not in json.dumps([each.as_json() for each in kept])
    other = Samples(1, b"another key")
    other.add(rule, entry("/4", rule="a"), b'{"secret": "hunter2"}')
    (told_elsewhere,) = other.taken()
    assert dict(told_elsewhere.parts)["json.secret"] != dict(kept[-1].parts)["json.secret"], "not to be guessed"
    assert [Sample.from_json(json.loads(json.dumps(each.as_json()))) for each in kept] == kept
    samples.add(rule, entry("/5", body=BytesBody(b"x" * (LARGEST + 1))), None)
    assert [each.place for each in samples.taken()][-1] == "GET example.com/4"
    none = Samples(0, b"key")
    none.add(rule, entry(), None)
    assert none.taken() == []


def test_so_many_bytes_a_second_are_digested_and_of_more_whole_places() -> None:
    """What is left out is the same places again and again; a second with less has all of them again."""
    samples, large, places = Samples(100_000, b"key"), b"x" * (64 << 10), 8 * PACE // (64 << 10)

    def second(at: float, number: int, size: int) -> Counter[str]:
        before = len(samples.taken())
        for n in range(number):
            samples.add(Rule(), entry(f"/{n // 2}?{n}", large[:size], received_at=NOW + at), None)
        return Counter(each.place.partition("?")[0] for each in samples.taken()[before:])

    assert sum(second(0, places, len(large)).values()) == PACE // (len(large) + 1024)
    taken = second(1, places, len(large))
    assert 0 < sum(taken.values()) <= PACE // (len(large) + 1024)
    assert second(2, places, len(large)) == taken
    assert len(second(3, 100, 100)) < 50  # how much comes is known by the second before
    assert len(second(4, 100, 100)) == 50
    second(5, places, len(large))
    second(-60, 1, 1)  # the clock was set back
    assert len(second(-59, 100, 100)) == 50


async def test_what_is_confirmed_is_the_same_once_more() -> None:
    clock = Clock()
    rules = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}
    async with Origin() as origin, running(origin, rules, clock=clock) as gateway:
        origin.answer("/a", headers=[("ETag", '"1"')], body=b"a", times=1)
        origin.answer("/a", 304, [("ETag", '"1"')])
        for _ in range(3):
            await gateway.get("/a")
            await gateway.settled()
            clock.advance(61)
        (first, *later) = gateway.gateway.story.samples.taken()
        assert [each.digest for each in later] == [first.digest] * 2
        assert [each.at - first.at for each in later] == [61, 122]


def test_json_is_taken_apart_two_levels_deep() -> None:
    one, other = (
        dict(json_parts(text)) for text in (b'{"a": {"b": 1, "c": 2}, "d": []}', b'{"d":[],"a":{"c":2,"b":3}}')
    )
    deep = b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"
    assert list(one) == ["json.a.b", "json.a.c", "json.d"]
    assert [name for name in one if one[name] != other[name]] == ["json.a.b"]
    assert [dict(json_parts(text)) for text in (b"[1]", b"{", b"7", deep)] == [{}] * 4


def test_a_large_log_is_sampled_by_place() -> None:
    log = [seen(n, f"/{n % 500}?t={n}", digest=str(n % 500)) for n in range(5000)]
    found = gathered(iter(log), ANYTHING, most=1000)
    assert len(found.samples) <= 1000
    places = [each.place for each in found.samples]
    assert all(places.count(place) == 10 for place in places), "with all their requests or none"


def test_what_a_log_tells_of_answers_from_a_store_is_left_out() -> None:
    log = [seen(n, digest="1", status=status) for n, status in enumerate((200, 304, 206, 404, 200))]
    log += [seen(9, digest="1", ours=Ours(verdict)) for verdict in (Verdict.HIT, Verdict.UPDATING)]
    assert len(gathered(iter(log)).samples) == 3


def test_a_304_proves_that_the_answer_it_names_is_the_answer_still() -> None:
    def one(at: float, digest: str, tag: str, **more: Any) -> Seen:
        return seen(at, digest=digest, **{"answer": Fields.of(("ETag", tag))} | more)

    def confirms(at: float, tag: str, target: str = "/a") -> Seen:
        asked = Fields.of(("If-None-Match", tag))
        return one(at, "of nothing", tag, status=304, target=target, asked=asked)

    log = [one(0, "1", '"1"'), one(1, "2", '"2"'), confirms(2, '"2"'), confirms(3, '"1"'), confirms(4, '"3"')]
    found = gathered(iter([*log, confirms(5, '"1"', "/b")])).samples
    assert [(each.at - 1000, each.digest) for each in found] == [(0, "1"), (1, "2"), (2, "2"), (3, "1")]


# -- planted, in three kinds of traffic --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
async def test_what_was_planted_is_found_and_what_matters_is_left_alone(name: str, tmp_path: Path) -> None:
    """From the running gateway's own sample, under rules that ignore nothing yet."""
    workload = WORKLOADS[name]
    async with workload.recorded(tmp_path, 2500, ignoring_nothing(workload)) as gateway:
        code, out, err = await gateway.command("suggest", "--json")
        assert (code, err) == (0, "")
        found = json.loads(out)["suggestions"]
        code, text, _ = await gateway.command("suggest")
    ignored = {each["name"] for each in found if each["kind"] in ("query", "header", "json")}
    assert workload.noise in ignored
    assert workload.matters not in ignored
    evidence = next(each["evidence"] for each in found if each["name"] == workload.noise)
    assert evidence["pairs"] >= 59
    assert evidence["bound"] <= 0.05
    assert f"- {workload.noise}" in text


def ignoring_nothing(workload: Workload) -> dict[str, Any]:
    rules = [{name: value for name, value in rule.items() if name != "key"} for rule in workload.settings["rules"]]
    return {**workload.settings, "rules": rules}


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    chance = random.Random(5)
    entries = []
    for n in range(300):
        page = chance.randrange(3)
        body = {"q": page, "trace": str(n)}
        entries.append(
            {
                "startedDateTime": f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z",
                "time": 1,
                "request": {
                    "method": "POST",
                    "url": f"http://x.example/search?page={page}&utm={n}",
                    "headers": [{"name": "Content-Type", "value": "application/json"}],
                    "postData": {"text": json.dumps(body)},
                },
                "response": {"status": 200, "headers": [], "content": {"size": 1, "text": f"page {page}"}},
            }
        )
    (tmp_path / "a.har").write_text(json.dumps({"log": {"entries": entries}}))
    (tmp_path / "a.log").write_text(
        "".join(
            json.dumps(
                {"time": n + 1, "method": "GET", "uri": f"/a?t={n}&p={n % 2}", "status": 200, "etag": f"v{n % 2}"}
            )
            + "\n"
            for n in range(200)
        )
        + "{\n"
    )
    return tmp_path


async def test_the_command_prints_a_patch_with_its_evidence(place: Path) -> None:
    code, text, err = await program(place, "suggest", "a.har")
    assert (code, err) == (0, "")
    assert text.startswith("# from 300 answers in 300 requests of a.har\n")
    patch = text.partition("nothing was changed\n")[2]
    assert "- pattern: /search" in patch
    assert "- utm" in patch
    assert "- trace" in patch
    assert "page" not in patch
    code, text, err = await program(place, "suggest", "a.log", "--json")
    (query,) = [each for each in json.loads(text)["suggestions"] if each["kind"] == "query"]
    assert (query["name"], query["patch"]) == ("t", {"rules": [{"pattern": "/a", "key": {"query": {"ignore": ["t"]}}}]})
    assert list(query["evidence"]) == ["pairs", "bound", "text"]


async def test_with_rules_it_speaks_of_them_and_of_what_they_do_not_ignore(place: Path) -> None:
    rules = {"rules": [{"name": "a", "pattern": "/a", "ttl": 60, "key": {"query": {"ignore": ["t"]}}}]}
    (place / "rules.yaml").write_text(json.dumps(rules))
    code, text, _ = await program(place, "suggest", "a.log", "--rules", "rules.yaml")
    assert code == 0
    assert "1 unreadable line; the first: line 201: no JSON" in text
    assert "ignore" not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("no.log",), "no.log: No such file"),
        (("--rules", "rules.yaml"), "--rules and --field go with a LOG"),
        (("a.log", "--rules", "no.yaml"), "no.yaml"),
    ],
)
async def test_what_it_cannot_do_is_said(place: Path, words: tuple[str, ...], said: str) -> None:
    code, text, err = await program(place, "suggest", *words)
    assert (code, text) == (2, "")
    assert said in err


def test_fields_of_a_rule_are_parts() -> None:
    table_rule = Rule(name="a", key=KeySpec(headers=("x-user",)))
    log = [seen(0, "/a?p=1", asked=Fields.of(("X-User", "7")), answer=Fields.of(("Vary", "Accept")), digest="1")]
    (found,) = gathered(iter(log), RuleTable((table_rule,), Rule())).samples
    assert [name for name, _ in found.parts] == ["header.x-user", "query.p", "vary.accept"]
