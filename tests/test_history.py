"""What happened in the last hour and day: groups of keys, differences minute by minute, where they outlive a process
(rows 84, 102, 133, 208)."""

import asyncio
import os
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from zstandard import ZstdCompressor

from proxy.observe.counters import Counters
from proxy.observe.grouping import group_of
from proxy.observe.groups import MAX_GROUPS, OTHER_GROUPS, OTHER_RULES
from proxy.observe.heavy import LONGEST, Heavy
from proxy.observe.history import KEPT, MAX_NAMES, History
from proxy.observe.minutes_file import LINES, MOST, MinutesFile
from proxy.observe.rule_counts import RuleCounts
from proxy.observe.span import MAX_UNPACKED, NoSpan, Span, merged
from proxy.outcome import Outcome, Tier, Verdict
from proxy.reasons import Why
from proxy.redis.errors import RedisError
from proxy.redis.keys import Names
from proxy.redis.minutes import RedisMinutes
from proxy.redis.server import Server
from proxy.remembering import Remembering
from proxy.unsent import Minutes
from tests.support.gateway import Clock, running
from tests.support.origin import Origin
from tests.support.process import PATIENCE, serving
from tests.support.redis_servers import redis_server
from tests.test_redis_server import linked

START = 1_800_000_000.0  # a whole minute
MINUTE = int(START // 60)

# -- groups ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/", "/"),
        ("/health", "/health"),
        ("/api/users/7/cart", "/api/users"),
        ("/users/7", "/users/*"),
        ("/users/7/cart", "/users/*"),
        ("/users/", "/users"),
        ("/users//7", "/users/"),
        ("/v1/9f86d081884c7d65", "/v1/*"),
        ("/v1/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "/v1/*"),
        ("/decade/cafe", "/decade/cafe"),
        ("/" + "x" * 33 + "/a", "/*/a"),
        ("//a", "//a"),
        ("*", "/"),
    ],
)
def test_the_group_of_a_path(path: str, group: str) -> None:
    assert group_of(path) == group


def test_groups_are_bounded_and_lose_nothing() -> None:
    counters = Counters()
    for number in range(MAX_GROUPS + 50):
        counters.finish(Outcome(Verdict.HIT, Why.FRESH, "r"), 0.001, 1, f"/{number}")
    tally = counters.tally("r", Why.FRESH, "/one/more")
    tally.book(0.001, 1)
    counters.settle()
    assert len(counters.groups.by_rule["r"]) == MAX_GROUPS + 1
    assert counters.groups.by_rule["r"][OTHER_GROUPS].hits == 51
    assert counters.rules["r"].hits == counters.requests == MAX_GROUPS + 51


weighed = st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), st.floats(0.1, 9)), max_size=60)


@settings(deadline=None)
@given(weighed, weighed)
@example([(name, 1.0) for name in "abcdefgh"], [("h", 5.0)])
@example([("h", 5.0)], [(name, 1.0) for name in "abcdefgh"])
def test_who_weighs_most_is_never_told_too_light(
    seen: list[tuple[str, float]], elsewhere: list[tuple[str, float]]
) -> None:
    heavy, there, true = Heavy(4), Heavy(4), dict[str, float]()
    for one, named in ((heavy, seen), (there, elsewhere)):
        for name, weight in named:
            one.count(name, weight)
            true[name] = true.get(name, 0.0) + weight
    heavy.add(there)
    told = heavy.most(9)
    assert len(told) == min(4, len(true))
    assert [weight for _, weight in told] == sorted((weight for _, weight in told), reverse=True)
    for name, weight in told:
        assert true[name] - 1e-6 <= weight <= true[name] + heavy.error + 1e-6
    left = max((weight for name, weight in true.items() if name not in heavy.weights), default=0.0)
    assert left - 1e-6 <= heavy.error <= sum(true.values()) / 4 + 1e-6
    assert len(heavy.weights) < 8


def test_names_of_any_length_take_little_and_are_one_by_their_beginning() -> None:
    heavy = Heavy(4)
    for end in ("a", "b"):
        heavy.count("x" * LONGEST + end, 1.0)
    assert heavy.most(4) == [("x" * LONGEST, 2.0)]


# -- spans -------------------------------------------------------------------------------------------------------------

outcomes = st.builds(
    Outcome,
    st.sampled_from(Verdict),
    st.sampled_from(Why),
    rule=st.sampled_from(["", "a", "b"]),
    collapsed=st.booleans(),
    upstream_seconds=st.none() | st.floats(0, 10),
)
requests = st.lists(st.tuples(outcomes, st.sampled_from(["", "/a", "/b/c"])))


def counted(seen: Sequence[tuple[Outcome, str]], into: Counters) -> Counters:
    for outcome, group in seen:
        into.finish(outcome, 0.001, 10, group)
        into.tiers[Tier.MEMORY].hits += 1
    return Counters.merged([into])


@settings(deadline=None, max_examples=50)
@given(requests, requests)
def test_two_spans_one_after_the_other_are_the_whole(
    first: list[tuple[Outcome, str]], then: list[tuple[Outcome, str]]
) -> None:
    counters = Counters({"a": 0.5})
    between, end = counted(first, counters), counted(then, counters)
    parts = [Span.between(Counters(), between), Span.between(between, end)]
    whole = merged(Span.unpacked(part.packed()) for part in parts)
    assert {name: counts.outcomes for name, counts in whole.rules.items()} == {
        name: counts.outcomes for name, counts in end.rules.items()
    }
    assert (whole.whole.calls, whole.whole.bytes_saved) == (
        sum(rule.calls for rule in end.rules.values()),
        sum(rule.bytes_saved for rule in end.rules.values()),
    )
    assert whole.whole.money_saved == pytest.approx(sum(rule.money_saved for rule in end.rules.values()))
    assert sum(seen.hits for seen in whole.tiers.values()) == len(first) + len(then)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        ZstdCompressor().compress(b"{"),
        ZstdCompressor().compress(b"[]"),
        ZstdCompressor().compress(b'{"form": 2, "groups": [], "tiers": {}}'),
        ZstdCompressor().compress(b'{"form": 1, "groups": [["a"]], "tiers": {}}'),
        ZstdCompressor().compress(b'{"form": 1, "groups": [], "tiers": {"tape": [1, 2, 3]}}'),
        ZstdCompressor().compress(b'{"form": 1, "groups": [], "tiers": {"file": [1, 2, {}]}}'),
        ZstdCompressor().compress(b'{"form": 1, "groups": [], "tiers": {"file": [1, 2, -1]}}'),
        *(
            ZstdCompressor().compress(b'{"form": 1, "groups": [[%b]], "tiers": {}}' % row)
            for row in (
                b'"r", 7, {}, 0, 0, 0, 0, 0, 0',
                b'"%b", "g", {}, 0, 0, 0, 0, 0, 0' % (b"r" * 501),
                b'"r", "g", {}, -1, 0, 0, 0, 0, 0',
                b'"r", "g", {}, 1125899906842625, 0, 0, 0, 0, 0',
                b'"r", "g", {}, 0, 0, 1e300, 0, 0, 0',
                b'"r", "g", {}, 0, 0, 0, null, 0, 0',
                b'"r", "g", {"HIT fresh": 1e9}, 0, 0, 0, 0, 0, 0',
                b'"r", "g", {"HIT fresh": -1}, 0, 0, 0, 0, 0, 0',
                b'"r", "g", {"LOST fresh": 1}, 0, 0, 0, 0, 0, 0',
            )
        ),
        ZstdCompressor().compress(b" " * (MAX_UNPACKED + 1)),
        bytes(1 << 20),
    ],
)
def test_what_is_no_span_is_told(raw: bytes) -> None:
    with pytest.raises(NoSpan):
        Span.unpacked(raw)


def test_what_another_version_says_why_of_is_left_out() -> None:
    raw = ZstdCompressor().compress(
        b'{"form": 1, "groups": [["r", "g", {"HIT fresh": 2, "HIT new-word": 3}, 0, 0, 0, 0, 0, 0]], "tiers": {}}'
    )
    assert Span.unpacked(raw).whole.outcomes == {(Verdict.HIT, Why.FRESH): 2}


def test_what_falls_is_nothing_that_happened() -> None:
    full, gone = Counters(), Counters()
    hit(full, 3)
    full.finish(Outcome(Verdict.MISS, Why.URI_MISS, "r", upstream_seconds=2.0), 2.0, 10, "/a")
    full.tiers[Tier.MEMORY].hits = 3
    assert Span.between(full, gone) == Span()
    gone.finish(Outcome(Verdict.STALE, Why.FRESH, "r"), 0.1, 1, "/a")
    (more,) = Span.between(full, gone).groups.values()
    assert more == RuleCounts({(Verdict.STALE, Why.FRESH): 1})


# -- minutes -----------------------------------------------------------------------------------------------------------


def hit(counters: Counters, times: int = 1) -> None:
    for _ in range(times):
        counters.finish(Outcome(Verdict.HIT, Why.FRESH, "r"), 0.001, 10, "/a")


def test_a_window_has_the_minutes_that_lie_in_it_and_the_present_one() -> None:
    clock, counters = Clock(START), Counters()
    history = History(clock)
    for minute in range(3):
        hit(counters, minute + 1)
        clock.advance(60)
        taken = history.take(Counters.merged([counters]))
        assert taken is not None
        assert taken[0] == MINUTE + minute
    hit(counters, 10)
    told = [(point.minute - MINUTE, point.hits) for point in history.window(60, counters).series]
    assert told == [(0, 1), (1, 2), (2, 3), (3, 10)]
    assert history.window(60, counters).span.whole.hits == 16
    counters.tiers[Tier.MEMORY].hits = 5
    history.take(Counters.merged([counters]))
    clock.advance(60 * 60)
    history.take(Counters.merged([counters]))
    assert history.window(60, counters).span.whole.hits == 0
    assert history.window(60, counters).span.tiers[Tier.MEMORY].hits == 0
    assert [point.minute - MINUTE for point in history.window(60, counters).series if point.hits] == []
    assert history.window(KEPT, counters).span.tiers[Tier.MEMORY].hits == 5
    assert history.window(KEPT, counters).span.whole.hits == 16


def test_a_minute_that_is_taken_twice_is_all_of_it() -> None:
    clock, counters = Clock(START), Counters()
    history = History(clock)
    for number in range(3):
        hit(counters, number + 1)
        assert [point.hits for point in history.window(60, counters).series] == [counters.requests]
        taken = history.take(Counters.merged([counters]))
        assert taken is not None
        assert (taken[0], Span.unpacked(taken[1]).whole.hits) == (MINUTE, counters.requests)


def test_a_day_is_all_that_is_kept() -> None:
    clock, counters = Clock(START), Counters()
    history = History(clock)
    for _ in range(KEPT + 100):
        hit(counters)
        clock.advance(60)
        history.take(Counters.merged([counters]))
        history.hear(history.minute, [Span().packed()])
    assert len(history._own) == KEPT - 1
    assert len(history._others) == KEPT
    assert history.window(KEPT, counters).span.whole.hits == KEPT - 1
    assert history.take(counters) is None


def test_what_others_tell_takes_the_place_of_what_they_told() -> None:
    clock, counters = Clock(START), Counters()
    hit(counters, 5)
    raw = Span.between(Counters(), counters).packed()
    history = History(clock)
    for _ in range(2):
        history.hear(MINUTE, [raw, raw, b"nothing"])
        history.hear(MINUTE - KEPT, [raw])
        history.hear(MINUTE + 2, [raw])
    assert history.window(KEPT, Counters()).span.whole.hits == 10
    assert set(history._points) == {MINUTE}


def test_groups_of_a_day_are_bounded_and_taken_off_again() -> None:
    clock = Clock(START)
    history = History(clock)
    one = RuleCounts({(Verdict.HIT, Why.FRESH): 1})
    for minute in range(3):
        theirs = [Span({(f"r{rule}", f"/{minute}/{number}"): one for number in range(150)}) for rule in range(8)]
        history.hear(MINUTE - minute, [span.packed() for span in theirs])
    groups = history.window(KEPT, Counters()).span.groups
    assert MAX_NAMES <= len(groups) <= MAX_NAMES + 8
    assert sum(counts.hits for counts in groups.values()) == 3 * 8 * 150
    history.hear(MINUTE - 3, [Span({("strange", "/a"): one, ("stranger", "/b"): one}).packed()])
    groups = history.window(KEPT, Counters()).span.groups
    assert groups[OTHER_RULES, OTHER_GROUPS].hits == 2
    clock.advance(60 * (KEPT - 1))
    assert history.window(KEPT, Counters()).span.whole.hits == 8 * 150
    clock.advance(60)
    assert history.window(KEPT, Counters()).span.groups == {}


def test_more_than_is_read_is_not_written() -> None:
    many = {("r", f"{number}-{'x' * 400}"): RuleCounts(calls=1) for number in range(6000)}
    with pytest.raises(NoSpan, match="6000 groups"):
        Span(many).packed()
    loud = {("r", str(uuid4())): RuleCounts(calls=1) for _ in range(20_000)}
    with pytest.raises(NoSpan, match="20000 groups"):
        Span(loud).packed()


def test_more_than_anybody_reads_is_not_kept() -> None:
    history = History(Clock(START))
    most = RuleCounts({(Verdict.HIT, Why.FRESH): 1 << 50})
    history.hear(MINUTE, [Span({("r", "g"): most}).packed()] * 9000)
    history.hear(MINUTE - 1, [Span({("r", "g"): most}).packed()] * 2)
    assert history.window(60, Counters()).span.groups == {}


def test_when_the_clock_is_set_back_nothing_is_lost_or_told_twice() -> None:
    clock, counters = Clock(START), Counters()
    history = History(clock)
    for set_back in (0, 3600, 0, 0):
        hit(counters)
        clock.advance(60 - set_back)
        history.take(Counters.merged([counters]))
        assert history.window(60, counters).span.whole.hits == counters.requests
    assert sum(point.hits for point in history.window(KEPT, counters).series) == counters.requests


def test_what_has_left_an_hour_does_not_leave_again_when_the_clock_is_set_back() -> None:
    clock, counters = Clock(START), Counters()
    history = History(clock)
    for hits, minutes in ((1, 1), (0, 70), (5, 1)):
        hit(counters, hits)
        clock.advance(60 * minutes)
        history.take(Counters.merged([counters]))
    for minutes in (0, -71, 72):
        clock.advance(60 * minutes)
        assert history.window(60, counters).span.whole.hits == 5


# -- where they outlive a process --------------------------------------------------------------------------------------


async def remembered(minutes: Minutes, clock: Clock, hits: int) -> Remembering:
    counters = Counters()
    hit(counters, hits)
    one = Remembering(lambda: Counters.merged([counters]), minutes, clock)
    await one.tick()
    return one


async def day(one: Remembering) -> int:
    return (await one.window(KEPT)).span.whole.hits


async def test_a_file_tells_the_next_process(tmp_path: Path) -> None:
    clock, path = Clock(START), tmp_path / "history"
    first = await remembered(MinutesFile(path, "a"), clock, 3)
    await first.tick()
    second = await remembered(MinutesFile(path, "b"), clock, 4)
    assert await day(second) == 7
    with path.open("ab") as file:
        file.write(b"no line\n%d c !!\n%d d AAAA\n%b e AAAA\n\xff \xff" % (MINUTE, MINUTE, b"9" * 5000))
    clock.advance(60)
    third = await remembered(MinutesFile(path, "e"), clock, 5)
    assert await day(third) == 12
    clock.advance(60 * KEPT)
    assert await day(await remembered(MinutesFile(path, "f"), clock, 1)) == 1
    assert b" a " not in path.read_bytes()


async def test_half_a_line_costs_no_other(tmp_path: Path) -> None:
    path, raw = tmp_path / "history", Span({("r", "g"): RuleCounts({(Verdict.HIT, Why.FRESH): 1})}).packed()
    file = MinutesFile(path, "a")
    await file.put(MINUTE, raw)
    assert path.stat().st_mode & 0o777 == 0o600
    file._path = tmp_path  # no file: it cannot be written to now
    with pytest.raises(OSError, match="directory"):
        await file.put(MINUTE + 1, raw)
    file._path = path
    with path.open("ab") as half:
        half.write(b"%d a AA" % (MINUTE + 1))
    await file.put(MINUTE + 1, raw)
    told = await MinutesFile(path, "b").others(0, MINUTE + 1)
    assert {minute: len(parts) for minute, parts in told.items() if parts[-1] == raw} == {MINUTE: 1, MINUTE + 1: 1}


async def test_nobody_else_reads_it_though_it_was_deleted_meanwhile(tmp_path: Path) -> None:
    path, raw = tmp_path / "history", Span().packed()
    file = MinutesFile(path, "a")
    for number in range(2):
        await file.put(MINUTE + number, raw)
        assert path.stat().st_mode & 0o777 == 0o600
        path.unlink()


async def test_a_line_that_is_added_while_the_file_is_written_anew_stays(tmp_path: Path) -> None:
    raw = Span().packed()
    files = [MinutesFile(tmp_path / "history", "a") for _ in range(2)]
    for number in range(200):
        await files[0].put(MINUTE + number, raw)
    file = MinutesFile(tmp_path / "history", "b")
    await asyncio.gather(*(file.others(0, MINUTE) if n % 2 else file.put(MINUTE + n, raw) for n in range(40)))
    mine = [line for line in (tmp_path / "history").read_bytes().splitlines() if line.split()[1] == b"b"]
    assert len(mine) == 20


async def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    file = MinutesFile(tmp_path / "history", "a")
    await file.others(0, MINUTE)
    raw = Span().packed()
    for number in range(LINES + 10):
        file._put(MINUTE + number, raw, "a")
    assert (tmp_path / "history").read_bytes().count(b"\n") < KEPT + 20
    assert (tmp_path / "history").stat().st_mode & 0o777 == 0o600


async def test_redis_tells_all_instances_and_all_of_it_ends() -> None:
    clock, names = Clock(START), Names("t:")
    async with redis_server() as redis, linked(redis.url) as heard:
        strange = (b"x", b"12", b"-1.z", "²".encode() + b".z", b"9" * 5000 + b".z", b"%d.z" % MINUTE)
        await redis.command("HSET", names.hour(MINUTE // 60), *(word for name in strange for word in (name, b"?")))
        first = await remembered(RedisMinutes(heard.server, names, "a"), clock, 3)
        second = await remembered(RedisMinutes(heard.server, names, "b"), clock, 4)
        await first.tick()
        assert await day(first) == await day(second) == 7
        clock.advance(3600)
        third = await remembered(RedisMinutes(heard.server, names, "c"), clock, 5)
        assert await day(third) == 12
        assert (await third.window(60)).span.whole.hits == 5
        clock.advance(-3600 * 5)
        late = await remembered(RedisMinutes(heard.server, names, "d"), clock, 7)
        await third.tick()
        assert (await day(third), await day(late)) == (19, 7)
        for key in await redis.command("KEYS", "t:*"):
            assert 0 < await redis.command("TTL", key) <= 26 * 3600


class Away:
    """Minutes that cannot be kept, until they can; `meanwhile` something happens."""

    shared = True

    def __init__(self) -> None:
        self.away = True
        self.puts = 0
        self.kept: dict[int, bytes] = {}
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def put(self, minute: int, raw: bytes, who: str = "") -> None:
        if self.away:
            raise RedisError("away")
        self.puts += 1
        self.kept[minute] = raw
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            await meanwhile()

    async def others(self, first: int, last: int) -> Mapping[int, Sequence[bytes]]:
        if self.away:
            raise RedisError("away")
        return {}


async def test_minutes_that_cannot_be_kept_wait_and_are_told_meanwhile() -> None:
    clock, minutes = Clock(START), Away()
    one = await remembered(minutes, clock, 3)
    clock.advance(60)
    await one.tick()
    assert await day(one) == 3
    assert not (await one.window(60)).shared
    minutes.away = False
    await one.tick()
    assert {minute: Span.unpacked(raw).whole.hits for minute, raw in minutes.kept.items()} == {MINUTE: 3}
    assert (await one.window(60)).shared
    await one.tick()
    assert minutes.puts == 1
    minutes.away = True
    await one.tick()
    assert not (await one.window(60)).shared


async def test_what_waits_for_a_day_is_not_kept_any_more() -> None:
    clock, minutes = Clock(START), Away()
    one = await remembered(minutes, clock, 3)
    clock.advance(60 * (KEPT + 1))
    minutes.away = False
    await one.tick()
    assert minutes.puts == 0


async def test_more_of_a_minute_while_it_is_kept_is_kept_too() -> None:
    minutes, counters = Away(), Counters()
    minutes.away = False
    one = Remembering(lambda: Counters.merged([counters]), minutes, Clock(START))

    async def more() -> None:
        hit(counters)
        await one.tick()

    minutes.meanwhile = more
    hit(counters, 3)
    await one.tick()
    assert (minutes.puts, Span.unpacked(minutes.kept[MINUTE]).whole.hits) == (2, 4)


async def test_what_goes_on_in_a_thread_is_over_before_the_directory_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "history"
    os.mkfifo(path)  # to read it takes until somebody writes
    file = MinutesFile(path, "a")
    asking = asyncio.create_task(file.others(0, 1))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    await file.settled(0.01)
    assert path.is_fifo()
    waiting = asyncio.create_task(file.settled(PATIENCE))
    writes = await asyncio.to_thread(os.open, path, os.O_WRONLY)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    os.close(writes)
    await waiting
    assert path.is_file()


async def test_what_nobody_foresaw_costs_one_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock, minutes, done = Clock(START + 59.99), Away(), asyncio.Event()
    minutes.away = False
    seen = 0

    def counted() -> Counters:
        nonlocal seen
        seen += 1
        if seen == 1:
            raise ValueError("broken")
        done.set()
        return Counters()

    running = asyncio.create_task(Remembering(counted, minutes, clock).run())
    async with asyncio.timeout(10):
        await done.wait()
    running.cancel()
    assert [record.getMessage() for record in caplog.records] == ["the history of a minute could not be taken"]


async def answers(server: Server) -> bool:
    try:
        await server.call("PING")
    except RedisError:
        return False
    return True


async def test_what_redis_has_not_got_is_sent_by_the_next_process_in_the_name_of_the_one_before(tmp_path: Path) -> None:
    clock, names, path = Clock(START), Names("t:"), tmp_path / "history.unsent"
    async with redis_server() as redis, linked(redis.url) as link:

        def life(who: str, hits: int) -> tuple[Remembering, Counters]:
            counters = Counters()
            hit(counters, hits)
            minutes, spare = RedisMinutes(link.server, names, who), MinutesFile(path, who)
            return Remembering(lambda: Counters.merged([counters]), minutes, clock, spare), counters

        first, counters = life("a", 3)
        await first.tick()
        assert not path.exists()
        await redis.kill()
        hit(counters, 1)
        await first.tick()  # more of the same minute
        clock.advance(60)
        hit(counters, 2)
        await first.tick()
        clock.advance(60)
        hit(counters, 4)
        await first.close()
        assert path.read_bytes().count(b" a ") == 3  # the first of them twice: its last line holds
        second, _ = life("b", 8)
        assert await day(second) == 8
        await second.close()
        await redis.start()
        async with asyncio.timeout(20):
            while not await answers(link.server):
                await asyncio.sleep(0.01)
        third, _ = life("c", 16)
        assert await day(third) == 3 + 1 + 2 + 4 + 8 + 16
        assert not path.exists()
        held = await redis.command("HKEYS", names.hour(MINUTE // 60))
        assert sorted(held) == [f"{MINUTE + at}.{who}".encode() for at, who in ((0, "a"), (1, "a"), (2, "b"))]
        fourth, _ = life("d", 0)
        assert await day(fourth) == 3 + 1 + 2 + 4 + 8  # of the third nothing was sent yet


async def test_what_waits_in_the_file_is_bounded_and_ends(tmp_path: Path) -> None:
    clock, minutes, path = Clock(START), Away(), tmp_path / "history.unsent"
    raw = Span().packed()
    line = b" life%d " + b64encode(raw) + b"\n"
    path.write_bytes(b"".join(b"%d" % (MINUTE - at) + line % life for life in range(5) for at in range(KEPT)))
    minutes.away = False
    one = Remembering(Counters, minutes, clock, MinutesFile(path, "now"))
    await one.tick()
    assert (minutes.puts, min(minutes.kept)) == (MOST, MINUTE - MOST // 5 + 1)  # the newest of them
    assert not path.exists()
    await MinutesFile(path, "old").put(MINUTE - KEPT, raw)
    two = Remembering(Counters, minutes, clock, MinutesFile(path, "now"))
    await two.tick()
    assert (minutes.puts, path.exists()) == (MOST, False)


async def test_what_was_left_is_sent_before_anything_is_heard(tmp_path: Path) -> None:
    held, path, raw = dict[tuple[int, str], bytes](), tmp_path / "history.unsent", Span().packed()
    await MinutesFile(path, "old").put(MINUTE - 9, raw)
    minutes = Common("new", held)
    minutes.away = False
    running = asyncio.create_task(
        Remembering(Counters, minutes, Clock(START), MinutesFile(path, "new")).run(), name="history"
    )
    async with asyncio.timeout(20):
        while path.exists():  # else it would be a minute before it is sent
            await asyncio.sleep(0.01)
    running.cancel()
    assert held == {(MINUTE - 9, "old"): raw}


async def test_a_file_that_cannot_be_written_costs_what_it_would_have_kept_and_no_more(tmp_path: Path) -> None:
    minutes, nowhere = Away(), tmp_path / "none" / "history.unsent"
    counters = Counters()
    hit(counters, 3)
    one = Remembering(lambda: Counters.merged([counters]), minutes, Clock(START), MinutesFile(nowhere, "a"))
    await one.tick()
    minutes.away = False
    await one.tick()
    assert {minute: Span.unpacked(raw).whole.hits for minute, raw in minutes.kept.items()} == {MINUTE: 3}


class Common(Away):
    """Minutes that several keep in one place."""

    def __init__(self, who: str, held: dict[tuple[int, str], bytes]) -> None:
        super().__init__()
        self.who = who
        self.held = held

    async def put(self, minute: int, raw: bytes, who: str = "") -> None:
        await super().put(minute, raw)
        self.held[minute, who or self.who] = raw

    async def others(self, first: int, last: int) -> Mapping[int, Sequence[bytes]]:
        await super().others(first, last)
        return {m: [raw] for (m, who), raw in self.held.items() if who != self.who and first <= m <= last}


async def test_what_others_send_when_they_are_back_is_heard_though_it_is_late() -> None:
    clock, held, counters = Clock(START), dict[tuple[int, str], bytes](), Counters()
    here, there = Common("a", held), Common("b", held)
    one, other = Remembering(Counters, here, clock), Remembering(lambda: Counters.merged([counters]), there, clock)

    async def minute(hits: int) -> None:
        clock.advance(60)
        hit(counters, hits)
        await one.tick()  # and the other sends what it has a little later
        await other.tick()

    for away, minutes in ((False, 1), (True, 6), (False, 2)):
        here.away = there.away = away
        for _ in range(minutes):
            await minute(1)
    assert await day(one) == sum(Span.unpacked(raw).whole.hits for raw in held.values()) - 1  # the last comes next time
    assert len(held) == 9


# -- a gateway ---------------------------------------------------------------------------------------------------------

RULES = {"rules": [{"name": "users", "pattern": "*/users/*", "ttl": 60, "cost": 0.25}]}


async def test_an_hour_by_rule_group_tier_and_reason_outlives_a_restart(tmp_path: Path) -> None:
    async with Origin() as origin:
        for path in ("/api/users/1", "/api/users/2"):
            origin.answer(path, body=b"x")
        origin.answer("/other", headers=[("Cache-Control", "no-store")], body=b"y")
        for _ in range(2):
            async with running(origin, RULES, directory=tmp_path) as gateway:
                for path in ("/api/users/1", "/api/users/2", "/api/users/2", "/other"):
                    await gateway.get(path)
                await gateway.settled()
                told = (await gateway.admin("GET", "/stats?window=1h")).json
        window = told["window"]
        assert (told["requests"], window["requests"]) == (4, 8)
        users = next(group for group in window["groups"] if group["rule"] == "users")
        assert (users["group"], users["hits"], users["misses"]) == ("/api/users", 4, 2)
        assert (users["reasons"], users["calls"], users["moneySaved"]) == ({"uri-miss": 2}, 2, 1.0)
        assert window["reasons"] == {"uri-miss": 2, "no-store": 2}
        assert window["tiers"]["memory"]["hits"] >= 1
        assert {miss["url"].partition("/")[2] for miss in told["topMisses"]} == {"other"}


@pytest.mark.slow
async def test_an_hour_of_all_workers_is_told_by_each_of_them(tmp_path: Path) -> None:
    settings = {**RULES, "listen": {"workers": 2}}
    async with Origin() as origin:
        origin.answer("/api/users/1", body=b"x")
        async with serving(origin, settings, directory=tmp_path) as gateway:
            await asyncio.gather(*(gateway.get("/api/users/1") for _ in range(20)))
            requests = 0
            async with asyncio.timeout(20):
                while requests < 20:
                    requests = (await gateway.admin("GET", "/stats?window=24h")).json["window"]["requests"]
            assert await gateway.stop() == 0
        async with serving(origin, settings, directory=tmp_path) as gateway:
            assert (await gateway.admin("GET", "/stats?window=1h")).json["window"]["requests"] == 20


async def test_minutes_that_redis_missed_at_the_end_are_told_after_the_next_start(tmp_path: Path) -> None:
    async with Origin() as origin, redis_server() as redis:
        origin.answer("/api/users/1", body=b"x")
        settings = {**RULES, "redis": {"url": redis.url}}
        async with running(origin, settings, directory=tmp_path) as gateway:
            assert gateway.gateway.tiers.sharing is not None
            await gateway.gateway.tiers.sharing.joined()
            await redis.kill()
            for _ in range(3):
                await gateway.get("/api/users/1")
        assert (tmp_path / "history.unsent").stat().st_mode & 0o777 == 0o600
        await redis.start()
        async with running(origin, settings, directory=tmp_path) as gateway:
            async with asyncio.timeout(20):
                while (window := (await gateway.admin("GET", "/stats?window=1h")).json["window"])["requests"] < 3:
                    await asyncio.sleep(0.05)
            assert (window["requests"], window["shared"]) == (3, True)
            assert not (tmp_path / "history.unsent").exists()
