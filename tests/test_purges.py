"""Purges as they are asked for: what a body may say and a receipt tells (contract "Purge"; rows 51, 52, 57, 206)."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import pytest

from proxy.entry import Entry
from proxy.invalidation.journal import DEAD, Journal
from proxy.invalidation.local import LocalLog
from proxy.invalidation.purge_requests import MAX_NAME, MAX_NAMES, PurgeError, PurgeRequest, parse_purge
from proxy.invalidation.purges import BATCH, COUNT_LIMIT, RECEIPTS, SAMPLE, SLICE, Purger
from proxy.invalidation.records import Kind, Purge
from tests.support.journal import entry

HASH = "ab" * 32


class Bench:
    """A Purger over a journal in memory and a shelf of entries, with clocks that stand until they are moved."""

    def __init__(self, *shelf: Entry) -> None:
        self.log = LocalLog(None)
        self.shelf: Iterable[Entry] = shelf
        self.now = 1_700_000_000.25
        self.ticked = 0.0
        self.dropped: list[tuple[Kind, tuple[str, ...]]] = []
        self.heard: list[Purge] = []
        self.purger = Purger(
            self.log,
            lambda: self.now,
            forms=self.forms,
            drop=self.drop,
            scan_memory=lambda: self.shelf,
            on_purge=self.heard.append,
            ticks=lambda: self.ticked,
        )

    @property
    def journal(self) -> Journal:
        return self.log.journal

    def forms(self, host: str, target: str) -> Iterable[str]:
        """A rule that drops utm_source, and one that leaves all as it is."""
        return target.partition("?utm_source")[0], target

    async def drop(self, kind: Kind, names: Sequence[str]) -> int:
        self.dropped.append((kind, tuple(names)))
        return 0

    def stored(self, url: str, *, tags: tuple[str, ...] = (), rule: str = "", namespace: str = "") -> Entry:
        epoch, head = self.journal.epoch, self.journal.head
        return entry(url, head, tags=tags, rule=rule, namespace=namespace, epoch=epoch)

    def fill(self, *entries: Entry) -> None:
        self.shelf = entries

    def ended(self) -> list[float | None]:
        return [self.journal.ended(stored) for stored in self.shelf]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("body", "hits"),
    [
        ({"url": "http://a.example/users/7"}, [0]),
        ({"url": "HTTP://A.Example:80/users/7#top"}, [0]),
        ({"url": "http://a.example/users/7?utm_source=x"}, [0]),
        ({"url": "/users/7"}, [0, 1]),
        ({"url": "http://a.example/users/7?x"}, []),
        ({"pattern": "/users/*"}, [0, 1]),
        ({"pattern": "//b.example/*"}, [1]),
        ({"tag": "news"}, [2]),
        ({"tags": ["news", "none"]}, [2]),
        ({"rule": "users"}, [0]),
        ({"namespace": "mobile"}, [1]),
        ({"all": True}, [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
async def test_each_kind(bench: Bench, body: dict[str, object], hits: list[int], soft: bool) -> None:
    bench.fill(
        bench.stored("http://a.example/users/7", rule="users"),
        bench.stored("http://b.example/users/7", namespace="mobile"),
        bench.stored("http://a.example/news?page=2", tags=("news", "all")),
    )
    trial = await bench.purger.purge(parse_purge(body | {"soft": soft, "dry_run": True}))
    assert bench.ended() == [None, None, None]
    assert (trial.matched, len(trial.sample)) == (len(hits), len(hits))

    receipt = await bench.purger.purge(parse_purge(body | {"soft": soft}))
    assert receipt.matched == len(hits)
    assert bench.ended() == [(bench.now if soft else DEAD) if i in hits else None for i in range(3)]
    assert [purge.kind for purge in bench.heard] == [receipt.kind]


async def test_a_key_purge_takes_one_entry_or_one_variant(bench: Bench) -> None:
    variants = [
        entry("http://a/x", 0, vary=(("accept", value),), epoch=bench.journal.epoch) for value in ("html", "text")
    ]
    bench.fill(*variants)
    await bench.purger.purge(parse_purge({"key": variants[0].key.upper()}))
    assert bench.ended() == [DEAD, None]
    await bench.purger.purge(parse_purge({"key": variants[0].hash}))
    assert bench.ended() == [DEAD, DEAD]
    assert bench.dropped == [(Kind.KEY, (variants[0].key,)), (Kind.KEY, (variants[0].hash,))]


async def test_a_short_key_is_resolved_before(bench: Bench) -> None:
    request = parse_purge({"key": HASH[:8]})
    assert request.short
    assert not parse_purge({"key": f"{HASH}.{HASH[:16]}"}).short
    with pytest.raises(PurgeError, match="resolved"):
        await bench.purger.purge(request)


async def test_a_receipt_as_the_contract_shows_it(bench: Bench) -> None:
    bench.fill(bench.stored("http://a/x", tags=("t",)), bench.stored("/no-host", tags=("t",)))
    body = (await bench.purger.purge(parse_purge({"tag": "t"}))).to_json()
    assert body == {
        "id": body["id"],
        "kind": "tag",
        "soft": False,
        "matched": {"memory": 2},
        "exact": True,
        "instances": {bench.log.instance: "applied"},
        "complete": True,
        "at": "2023-11-14T22:13:20.250Z",
        "durable": False,
    }


async def test_a_dry_run_as_the_contract_shows_it(bench: Bench) -> None:
    bench.fill(bench.stored("http://a/x?y", tags=("t",)), bench.stored("/no-host", tags=("t",)))
    body = (await bench.purger.purge(parse_purge({"tag": "t", "dry_run": True, "soft": True}))).to_json()
    assert body["dry_run"] is True
    assert body["sample"] == ["http://a/x?y", "/no-host"]
    assert (body["soft"], body["instances"], body["matched"]) == (True, {}, {"memory": 2})
    assert (bench.journal.head, bench.heard, bench.dropped) == (0, [], [])


async def test_a_sample_is_bounded_and_the_count_is_not(bench: Bench) -> None:
    bench.fill(*(bench.stored(f"http://a/{i}") for i in range(100)))
    receipt = await bench.purger.purge(PurgeRequest(Kind.ALL, dry_run=True))
    assert (receipt.matched, len(receipt.sample)) == (100, SAMPLE)


async def test_what_was_dead_before_or_fetched_after_is_not_counted_again(bench: Bench) -> None:
    old = bench.stored("http://a/old", tags=("t",))
    bench.fill(old, bench.stored("http://a/rule", tags=("t",), rule="r"))
    assert (await bench.purger.purge(parse_purge({"rule": "r"}))).matched == 1
    assert (await bench.purger.purge(parse_purge({"tag": "t", "dry_run": True}))).matched == 1
    assert (await bench.purger.purge(parse_purge({"tag": "t"}))).matched == 1
    assert (await bench.purger.purge(parse_purge({"tag": "t"}))).matched == 0
    bench.fill(old, bench.stored("http://a/new", tags=("t",)))
    assert (await bench.purger.purge(parse_purge({"tag": "t"}))).matched == 1


async def test_every_form_of_a_url_is_purged_and_dropped(bench: Bench) -> None:
    await bench.purger.purge(parse_purge({"url": "http://a/x?utm_source=y"}))
    names = ("a|/x?utm_source=y", "a|/x")
    assert bench.heard[0].names == names
    assert bench.dropped == [(Kind.URL, names)]


@pytest.mark.parametrize("body", [{"url": "/x", "soft": True}, {"tag": "t"}, {"pattern": "*"}, {"all": True}])
async def test_only_hard_purges_of_exact_names_delete(bench: Bench, body: dict[str, object]) -> None:
    await bench.purger.purge(parse_purge(body))
    assert bench.dropped == []


async def test_a_failing_delete_fails_no_purge(bench: Bench) -> None:
    async def drop(kind: Kind, names: Sequence[str]) -> int:
        raise OSError("disk on fire")

    bench.fill(bench.stored("http://a/x"))
    purger = Purger(bench.log, lambda: 0.0, forms=bench.forms, drop=drop, scan_memory=lambda: bench.shelf)
    assert (await purger.purge(parse_purge({"url": "http://a/x"}))).matched == 1
    assert bench.ended() == [DEAD]


async def test_counting_ends_in_time_gives_others_their_turn_and_says_so(bench: Bench) -> None:
    step = SLICE / 4 / BATCH
    entries = [bench.stored(f"http://a/{i}") for i in range(50 * BATCH)]
    turns = 0

    def slow() -> Iterator[Entry]:
        for stored in entries:
            bench.ticked += step
            yield stored

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    bench.shelf = slow()
    working = asyncio.create_task(others())
    receipt = await bench.purger.purge(PurgeRequest(Kind.ALL))
    working.cancel()
    assert not receipt.exact
    assert COUNT_LIMIT / step - BATCH <= receipt.matched <= COUNT_LIMIT / step + BATCH
    assert COUNT_LIMIT / SLICE / 2 <= turns <= COUNT_LIMIT / SLICE * 2
    assert bench.journal.ended(entries[-1]) == DEAD  # it holds for what was not counted


async def test_a_few_are_counted_however_long_it_takes(bench: Bench) -> None:
    stored = bench.stored("http://a/x")

    def paused() -> Iterator[Entry]:
        bench.ticked += 2 * COUNT_LIMIT
        yield stored

    bench.shelf = paused()
    receipt = await bench.purger.purge(PurgeRequest(Kind.ALL))
    assert (receipt.matched, receipt.exact) == (1, True)


async def test_a_purge_holds_before_it_is_counted(bench: Bench) -> None:
    stored = bench.stored("http://a/x")

    def scan() -> Iterator[Entry]:
        assert bench.journal.ended(stored) == DEAD
        yield stored

    bench.shelf = scan()
    assert (await bench.purger.purge(PurgeRequest(Kind.ALL))).matched == 1


async def test_receipts_are_kept_for_an_hour_and_bounded(bench: Bench) -> None:
    first = await bench.purger.purge(parse_purge({"tag": "t"}))
    assert await bench.purger.receipt(first.id) == first
    assert await bench.purger.receipt("unknown") is None
    bench.ticked += 3600 - 1
    second = await bench.purger.purge(parse_purge({"tag": "t"}))
    assert await bench.purger.receipt(first.id) == first
    bench.ticked += 1
    assert await bench.purger.receipt(first.id) is None
    for _ in range(RECEIPTS - 1):
        await bench.purger.purge(parse_purge({"tag": "t"}))
    assert await bench.purger.receipt(second.id) == second
    await bench.purger.purge(parse_purge({"tag": "t"}))
    assert await bench.purger.receipt(second.id) is None


@pytest.mark.parametrize(
    ("body", "kind", "names"),
    [
        ({"url": "https://A.example:443"}, Kind.URL, ("a.example|/",)),
        ({"url": "https://a.example:80/x"}, Kind.URL, ("a.example:80|/x",)),
        ({"url": "http://a.example:0080?q=//x"}, Kind.URL, ("a.example|/?q=//x",)),
        ({"url": "http://[::1]:81/x?"}, Kind.URL, ("[::1]:81|/x?",)),
        ({"url": "/x?y=http://b/"}, Kind.URL, ("|/x?y=http://b/",)),
        ({"url": "//x#frag?no"}, Kind.URL, ("|//x",)),
        ({"url": "/caf\u00e9%2f"}, Kind.URL, ("|/caf%C3%A9%2f",)),
        ({"pattern": "/caf\u00e9/*"}, Kind.PATTERN, ("/caf%C3%A9/*",)),
        ({"key": HASH.upper()}, Kind.KEY, (HASH,)),
        ({"key": f"{HASH[:8]}.{HASH[:16]}"}, Kind.KEY, (f"{HASH[:8]}.{HASH[:16]}",)),
        ({"tag": "caf\u00e9 7"}, Kind.TAG, ("caf\u00e9 7",)),
        ({"tags": ["a", "b"]}, Kind.TAG, ("a", "b")),
        ({"all": True}, Kind.ALL, ()),
    ],
)
def test_bodies_that_are_taken(body: dict[str, object], kind: Kind, names: tuple[str, ...]) -> None:
    assert parse_purge(body) == PurgeRequest(kind, names)


WAYS = "url, key, pattern, tag, tags, rule, namespace, all"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, f"wanted a JSON object with exactly one of {WAYS}, and optionally soft, dry_run"),
        ([{"tag": "t"}], f"wanted a JSON object with exactly one of {WAYS}"),
        ("all", f"wanted a JSON object with exactly one of {WAYS}"),
        ({}, f"wanted exactly one of {WAYS}; found none"),
        ({"soft": True}, f"wanted exactly one of {WAYS}; found none"),
        ({"tag": "t", "url": "/x"}, "found url and tag"),
        ({"tag": "t", "tags": ["t"]}, "found tag and tags"),
        ({"patern": "*"}, "patern: unknown field; did you mean 'pattern'?"),
        ({"tag": "t", "dryrun": True}, "dryrun: unknown field; did you mean 'dry_run'?"),
        ({"tag": "t", "zzz": 1}, f"zzz: unknown field; allowed are {WAYS}, soft, dry_run"),
        ({"tag": "t", "soft": 1}, "soft: wanted true or false, found 1"),
        ({"tag": "t", "dry_run": "yes"}, 'dry_run: wanted true or false, found "yes"'),
        ({"all": False}, "all: wanted true, found false"),
        ({"all": 1}, "all: wanted true, found 1"),
        ({"tag": ""}, "tag: wanted text"),
        ({"tag": 7}, "tag: wanted text of 1 to 8192 characters, found 7"),
        ({"rule": None}, "rule: wanted text"),
        ({"namespace": ["n"]}, "namespace: wanted text"),
        ({"pattern": "x" * (MAX_NAME + 1)}, "pattern: wanted text"),
        ({"tag": "a\nb"}, 'tag: wanted text without control characters, found "a\\nb"'),
        ({"tag": "\ud800"}, 'tag: wanted text without control characters, found "\\ud800"'),
        ({"tags": "t"}, 'tags: wanted a list of 1 to 1000 tags, found "t"'),
        ({"tags": []}, "tags: wanted a list"),
        ({"tags": ["t", 1]}, "tags: wanted text"),
        ({"tags": ["t"] * (MAX_NAMES + 1)}, "tags: wanted a list"),
        ({"key": HASH[:7]}, "key: wanted 8 to 64 hex digits"),
        ({"key": f"{HASH}a"}, "key: wanted 8 to 64 hex digits"),
        ({"key": f"{HASH}.abc"}, "key: wanted 8 to 64 hex digits"),
        ({"key": "nothexatall"}, "key: wanted 8 to 64 hex digits"),
        ({"url": "a.example/x"}, "url: wanted an absolute http(s) URL or a path that begins with '/'"),
        ({"url": "ftp://a.example/x"}, "url: wanted an absolute http(s) URL"),
        ({"url": "http:///x"}, "url: wanted an absolute http(s) URL"),
        ({"url": "http://me:secret@a.example/x"}, "url: wanted an absolute http(s) URL"),
        ({"url": "http://a.example:x/"}, "url: wanted an absolute http(s) URL"),
        ({"url": "http://a.example:65536/"}, 'url: wanted a port up to 65535, found "http://a.example:65536/"'),
        ({"url": "https://[::1]:99999/x"}, "url: wanted a port up to 65535"),
        ({"url": "/a b"}, 'url: wanted %20 for a space, found "/a b"'),
        ({"url": "/a\tb"}, "url: wanted text without control characters"),
    ],
)
def test_bodies_that_are_not_and_what_is_said(body: object, message: str) -> None:
    with pytest.raises(PurgeError) as error:
        parse_purge(body)
    assert message in str(error.value)
    assert len(str(error.value)) < 250
