"""What was stored while Redis was away (row 34, invariant 3): put when it is back, newest first, at a bounded rate, and
never over what is newer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from proxy.entry import Entry, any_variant
from proxy.errors import StoreError
from proxy.redis.errors import Away, Refused
from proxy.redis.server import State
from proxy.store.backlog import BATCH, Backlog
from proxy.store.redis import RedisStore
from tests.support.entries import NOW, DictStore, FakeClock, content, entry, language
from tests.support.faults import RST, FaultProxy, Pass, Refuse
from tests.support.redis_servers import redis_server
from tests.support.redis_stores import NAMES, Journal, redis_link, redis_store

AWAY = Away("no connection")


class Moody(DictStore):
    """Takes what it is given unless it has an error to raise; `before` happens at each put, `asked` are their paths."""

    def __init__(self) -> None:
        super().__init__()
        self.error: StoreError | None = None
        self.before: Callable[[Entry], None] = lambda entry: None
        self.asked: list[str] = []

    async def put(self, entry: Entry) -> bool:
        self.asked.append(entry.parts.path)
        self.before(entry)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return await super().put(entry)


class Others:
    """The other tiers: what they hold by key. Time passes when somebody sleeps."""

    def __init__(self, **how: float) -> None:
        self.store = Moody()
        self.clock = FakeClock()
        self.backlog = Backlog(self.store, timer=self.clock, sleep=self.sleep, **how)  # type: ignore[arg-type]
        self.held: dict[str, Entry] = {}

    async def sleep(self, seconds: float) -> None:
        self.clock.now += seconds
        await asyncio.sleep(0)

    async def find(self, key: str) -> Entry | None:
        return self.held.get(key)

    async def fail(self, *ours: Entry, error: StoreError = AWAY) -> None:
        """These are put while the store cannot take them."""
        self.store.error = error
        for one in ours:
            self.held[one.key] = one
            with pytest.raises(type(error)):
                await self.backlog.put(one)
        self.store.error = None
        self.store.asked.clear()


def many(count: int) -> list[Entry]:
    return [entry(f"/{number}") for number in range(count)]


def paths(ours: list[Entry]) -> list[str]:
    return [one.parts.path for one in ours]


async def test_what_could_not_be_put_is_put_later_newest_first() -> None:
    others, ours = Others(), many(3 * BATCH + 5)
    await others.fail(*ours, ours[0])  # put again: it is the newest now
    assert await others.backlog.resync(others.find) == len(ours)
    assert others.store.asked == paths([ours[0], *reversed(ours[1:])])
    assert len(others.backlog) == 0
    assert await others.backlog.resync(others.find) == 0


async def test_the_rate_is_bounded() -> None:
    others = Others(pace=50)
    await others.fail(*many(100))
    await others.backlog.resync(others.find)
    assert others.clock.now - NOW == pytest.approx(100 / 50)


async def test_no_more_than_the_newest_are_remembered() -> None:
    others, ours = Others(most=7), many(20)
    await others.fail(*ours)
    assert len(others.backlog) == 7
    await others.backlog.resync(others.find)
    assert others.store.asked == paths(ours[:12:-1])


async def test_what_is_cleared_while_it_is_looked_for_is_not_put() -> None:
    others, ours = Others(), many(3)
    await others.fail(*ours)

    async def find(key: str) -> Entry | None:
        await others.backlog.clear()
        return await others.find(key)

    assert await others.backlog.resync(find) == 0
    assert (others.store.asked, len(others.backlog)) == ([], 0)


async def test_a_clear_that_fails_forgets_nothing() -> None:
    others, ours = Others(), many(3)
    await others.fail(*ours)
    others.store.fail = True
    with pytest.raises(StoreError):
        await others.backlog.clear()
    assert len(others.backlog) == 3


async def test_what_was_put_deleted_or_cleared_meanwhile_is_forgotten() -> None:
    others, ours = Others(), many(4)
    varied = [entry("/0", vary=language(code)) for code in ("de", "fr")]
    await others.fail(*ours, *varied)
    await others.backlog.put(ours[1])
    await others.backlog.delete(varied[0].key)
    assert len(others.backlog) == 4
    await others.backlog.delete(ours[0].hash)
    assert len(others.backlog) == 2
    others.store.asked.clear()
    del others.held[ours[3].key]  # purged, expired or evicted
    assert await others.backlog.resync(others.find) == 1
    assert others.store.asked == ["/2"]
    await others.fail(*ours)
    await others.backlog.clear()
    assert await others.backlog.resync(others.find) == 0


async def test_a_delete_is_done_although_the_key_is_noted() -> None:
    others, one = Others(), entry()
    await others.backlog.put(one)
    await others.fail(one)
    assert await others.backlog.delete(one.hash) == 1


async def test_it_ends_when_the_store_goes_again_and_keeps_what_is_left() -> None:
    others, ours = Others(), many(4 * BATCH)
    await others.fail(*ours)

    def third_batch(one: Entry) -> None:
        if len(others.store.asked) > 2 * BATCH:
            others.store.error = AWAY

    others.store.before = third_batch
    assert await others.backlog.resync(others.find) == 2 * BATCH
    assert len(others.backlog) == 2 * BATCH
    others.store.before, others.store.error = lambda entry: None, None
    others.store.asked.clear()
    assert await others.backlog.resync(others.find) == 2 * BATCH
    assert others.store.asked == paths(ours[2 * BATCH - 1 :: -1])


async def test_only_trouble_that_may_pass_is_remembered() -> None:
    """Else one entry that never can be written would end every resync."""
    others = Others()
    for error in (StoreError("an entry that cannot be written"), Refused("ERR", "ERR too long")):
        await others.fail(entry(), error=error)
        assert len(others.backlog) == 0
        await others.fail(entry("/odd"), entry("/good"))
        others.store.before = lambda one, error=error: setattr(  # type: ignore[misc]
            others.store, "error", error if one.parts.path == "/odd" else None
        )
        await others.backlog.resync(others.find)
        assert len(others.backlog) == 0
        others.store.before = lambda entry: None
    await others.fail(entry(), error=Refused("OOM", "OOM full"))
    assert len(others.backlog) == 1


async def test_what_is_noted_anew_while_its_older_self_is_pushed_stays_noted() -> None:
    others, old, new = Others(), entry(body=b"old"), entry(body=b"new")
    await others.fail(old)
    turns = 0

    async def find(key: str) -> Entry | None:
        nonlocal turns
        turns += 1
        if turns > 1:
            return others.held[key]
        found = others.held[key]
        await others.fail(new)
        return found

    await others.backlog.resync(find)
    assert turns == 2
    found = await others.store.get(new.hash, any_variant)
    assert found is not None
    assert await content(found) == b"new"
    assert len(others.backlog) == 0


async def test_one_resync_at_a_time_and_a_cancelled_one_loses_nothing() -> None:
    others, gate = Others(), asyncio.Event()
    await others.fail(*many(5))

    async def find(key: str) -> Entry | None:
        await gate.wait()
        return others.held[key]

    first = asyncio.create_task(others.backlog.resync(find))
    await asyncio.sleep(0)
    assert await others.backlog.resync(find) == 0
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gate.set()
    assert await others.backlog.resync(find) == 5


# -- with a real server ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def cut_off(
    journal: Journal, clock: FakeClock
) -> AsyncIterator[tuple[Backlog, FaultProxy, Callable[[], object]]]:
    """An instance behind a faulty network, and what waits until it has its server again."""
    ready = asyncio.Event()

    def changed(state: State, reason: str) -> None:
        ready.set() if state is State.READY else ready.clear()

    async with redis_server() as redis, FaultProxy(redis.port) as proxy:
        url = redis.url.replace(str(redis.port), str(proxy.port))
        async with redis_link(url, on_change=changed) as server:
            how = {"max_object": 1000, "compression": True, "scan_count": 10, "variants": 4, "clock": clock}
            yield Backlog(RedisStore(server, NAMES, journal, **how)), proxy, ready.wait  # type: ignore[arg-type]


async def test_after_an_outage_what_is_good_lies_there_with_its_remaining_life_and_nothing_newer_is_lost() -> None:
    journal, clock = Journal(), FakeClock()
    held: dict[str, Entry] = {}

    async def find(key: str) -> Entry | None:
        return held.get(key)

    async with cut_off(journal, clock) as (backlog, proxy, ready):
        await proxy.become(Refuse())
        proxy.cut(RST)
        names = ("/good", "/soft", "/short", "/newer")
        made = {path: entry(path, keep_until=NOW + (20 if path == "/short" else 100)) for path in names}
        for one in made.values():
            held[one.key] = one
            with pytest.raises(StoreError):
                await backlog.put(one)
        assert len(backlog) == 4
        journal.purged = {"/soft": NOW + 1}
        clock.now += 30
        await proxy.become(Pass())
        async with asyncio.timeout(20):
            await ready()
        async with redis_store(f"redis://127.0.0.1:{proxy.target[1]}", clock=clock) as other:
            await other.put(entry("/newer", b"newer", received_at=clock.now))
            assert await backlog.resync(find) == 1
            assert sorted([one.parts.path async for one in other.scan()]) == ["/good", "/newer"]
            newer = await other.get(entry("/newer").hash, any_variant)
            assert newer is not None
            assert await content(newer) == b"newer"
            good = await other.get(entry("/good").hash, any_variant)
            assert good is not None
            assert good.keep_until == NOW + 100
        async with redis_link(f"redis://127.0.0.1:{proxy.target[1]}") as server:
            assert 60_000 < await server.call("PTTL", NAMES.entry(entry("/good").hash)) <= 70_000
        assert len(backlog) == 0


async def test_while_the_journal_is_not_linked_puts_are_remembered() -> None:
    journal = Journal(at=None)
    async with cut_off(journal, FakeClock()) as (backlog, _, _):
        with pytest.raises(Away):
            await backlog.put(entry())
        journal.at = (7, 100)

        async def find(key: str) -> Entry | None:
            return entry()

        assert await backlog.resync(find) == 1
        assert await backlog.get(entry().hash, any_variant) is not None
