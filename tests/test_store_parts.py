"""Answers of which only parts are held: what is read, combined, given up and made whole (RFC 9111 3.3, 3.4)."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.entry import BytesBody, Entry, any_variant
from proxy.errors import StoreError
from proxy.message import Fields
from proxy.outcome import Tier
from proxy.policy.parts import Piece
from proxy.policy.ranges import Part
from proxy.store.file import FileStore
from proxy.store.parts import MOST, Beside, Parts, Room
from proxy.store.parts_held import Partly
from proxy.store.tiered import Tiered
from tests.support.entries import NOW, FakeClock, entry, language, pick

WHOLE = bytes(range(200))


class Standing:
    """What a test says was purged."""

    def __init__(self) -> None:
        self.ends: dict[str, float] = {}
        self.head = 0

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        return self.ends.get(entry.fields.get("x-fetch") or "")


class Setup:
    def __init__(self, file: FileStore, near: Room, far: Room, entries: int) -> None:
        self.file, self.clock, self.standing = file, FakeClock(), Standing()
        self.whole: list[Entry] = []
        self.on_put: Callable[[], None] = lambda: None
        self.blind = False
        self.parts = Parts(
            near=near,
            far=far,
            entries=entries,
            variants=4,
            directory=lambda: file.directory,
            standing=self.standing,
            put=self._put,
            clock=self.clock,
            blind=lambda: self.blind,
        )

    async def _put(self, entry: Entry) -> None:
        self.on_put()
        self.whole.append(entry)
        await self.file.put(entry)

    async def add(self, start: int, end: int, *, of: Entry | None = None, body: bytes = WHOLE) -> bool:
        piece = Piece(Part(start, end), len(body))
        return await self.parts.add(of or told(), piece, BytesBody(body[start:end]))

    def find(self, path: str = "/a") -> Partly | None:
        return self.parts.find(entry(path).hash, any_variant)

    def extents(self, path: str = "/a") -> list[tuple[int, int]]:
        found = self.find(path)
        return [] if found is None else [(part.start, part.end) for part in found.extents.parts]

    async def read(self, start: int, end: int, path: str = "/a") -> bytes:
        found = self.find(path)
        taken = found.taken() if found is not None else None
        assert taken is not None
        try:
            return b"".join([chunk async for chunk in taken.entry.body.read(start, end)])
        finally:
            taken.entry.body.close()


def told(etag: str = '"1"', path: str = "/a", *, at: float = NOW, fetch: str = "", **changes: object) -> Entry:
    """The entry of a message that holds a part."""
    fields = Fields.of(("ETag", etag), ("X-Fetch", fetch))
    return replace(entry(path, received_at=at), fields=fields, requested_at=at, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[FileStore]:
    store = FileStore(tmp_path / "answers", max_bytes=1 << 24, max_object=1 << 20, clock=FakeClock())
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["memory", "file"])
def setup(request: pytest.FixtureRequest, file: FileStore) -> Setup:
    near = Room(1000, 10_000) if request.param == "memory" else Room()
    return Setup(file, near, Room(1000, 1 << 21), 10)


async def test_what_was_added_is_read_and_nothing_else(setup: Setup) -> None:
    assert setup.find() is None
    assert await setup.add(10, 20)
    assert await setup.add(30, 40)
    assert await setup.add(15, 32)
    assert setup.extents() == [(10, 40)]
    assert await setup.read(10, 40) == WHOLE[10:40]
    for start, end in ((9, 20), (10, 41), (0, 200), (100, 101)):
        with pytest.raises(StoreError):
            await setup.read(start, end)
    found = setup.find()
    assert found is not None
    assert (found.entry.status, found.entry.body.size, found.entry.body.data) == (200, 200, None)
    assert found.found.tier is (Tier.MEMORY if found.held.tier is Tier.MEMORY else Tier.FILE)
    with pytest.raises(StoreError):
        await found.entry.body.verify()


async def test_what_is_held_is_never_written_again(setup: Setup) -> None:
    await setup.add(10, 20)
    assert await setup.add(0, 30, body=bytes(200))  # its validator says that it is the same; it is not
    assert await setup.read(0, 30) == bytes(10) + WHOLE[10:20] + bytes(10)


async def test_when_all_is_there_it_goes_to_the_tiers(setup: Setup) -> None:
    for start in range(0, 200, 50):
        assert setup.whole == []
        assert await setup.add(start, start + 50)
    (whole,) = setup.whole
    assert (whole.status, whole.body.size, len(setup.parts)) == (200, 200, 0)
    assert setup.file.directory.spooled == 0
    stored = await setup.file.get(whole.hash, any_variant)
    assert stored is not None
    assert b"".join([chunk async for chunk in stored.body.read()]) == WHOLE
    stored.body.close()


async def test_who_reads_while_it_becomes_whole_reads_on(setup: Setup) -> None:
    await setup.add(0, 150)
    found = setup.find()
    assert found is not None
    taken = found.taken()
    assert taken is not None
    await setup.add(150, 200)
    assert len(setup.parts) == 0
    assert b"".join([chunk async for chunk in taken.entry.body.read(0, 150)]) == WHOLE[:150]
    taken.entry.body.close()
    taken.entry.body.close()
    assert found.taken() is None  # nobody may begin any more


@pytest.mark.parametrize("total", [200, 2000], ids=["as long", "of another length"])
async def test_another_version_takes_its_place(setup: Setup, total: int) -> None:
    await setup.add(0, 50)
    other = told('"2"', at=NOW + 1)
    assert await setup.parts.add(other, Piece(Part(20, 40), 200), BytesBody(b"x" * 20))
    assert setup.extents() == [(20, 40)]
    assert await setup.read(20, 40) == b"x" * 20
    assert len(setup.parts) == 1


async def test_what_was_asked_for_earlier_does_not_put_out_what_came_since(setup: Setup) -> None:
    await setup.add(0, 50, of=told('"2"', at=NOW + 5))
    assert not await setup.add(50, 100, of=told('"1"', at=NOW))
    assert setup.extents() == [(0, 50)]


async def test_the_newest_head_rules_whatever_came_last(setup: Setup) -> None:
    await setup.add(0, 50, of=told(at=NOW + 5, fetch="new", fence=5))
    await setup.add(50, 100, of=told(at=NOW, fetch="old", fence=1))
    found = setup.find()
    assert found is not None
    assert (found.entry.received_at, found.entry.fields.get("x-fetch"), found.entry.fence) == (NOW + 5, "new", 5)
    await setup.add(100, 120, of=told(at=NOW + 6, fetch="newest", fence=6))
    found = setup.find()
    assert found is not None
    assert (found.entry.received_at, found.entry.fields.get("x-fetch"), found.entry.fence) == (NOW + 6, "newest", 6)


async def test_a_content_of_another_length_than_was_told_is_refused(setup: Setup) -> None:
    assert not await setup.parts.add(told(), Piece(Part(0, 50), 200), BytesBody(b"x" * 49))
    assert not await setup.parts.add(told(), Piece(Part(0, 50), 200), BytesBody(b"x" * 51))
    assert setup.find() is None


async def test_variants_are_held_apart(setup: Setup) -> None:
    for name, letter in (("de", b"d"), ("fr", b"f")):
        await setup.add(0, 20, of=told(vary=language(name)), body=letter * 200)
    for name, letter in (("de", b"d"), ("fr", b"f")):
        found = setup.parts.find(entry().hash, pick(language(name)))
        assert found is not None
        assert b"".join([chunk async for chunk in found.entry.body.read(0, 20)]) == letter * 20
    assert setup.parts.find(entry().hash, pick(language("it"))) is None


# -- ends --------------------------------------------------------------------------------------------------------------


async def test_a_purge_ends_it(setup: Setup) -> None:
    await setup.add(0, 50, of=told(fetch="1"))
    setup.standing.ends["1"] = NOW + 7
    found = setup.find()
    assert found is not None
    assert found.found.ended_at == NOW + 7  # a soft one ends its lifetime
    setup.standing.ends["1"] = -math.inf
    assert setup.find() is None
    assert (len(setup.parts), setup.file.directory.spooled) == (0, 0)


async def test_a_purge_since_a_fetch_began_is_not_undone(setup: Setup) -> None:
    setup.standing.ends["1"] = -math.inf
    assert not await setup.add(0, 50, of=told(fetch="1"))
    assert setup.find() is None
    await setup.add(0, 50, of=told(fetch="2"))
    assert not await setup.add(50, 100, of=told(fetch="1"))
    assert setup.extents() == [(0, 50)]
    setup.standing.ends["2"] = -math.inf
    assert await setup.add(50, 100, of=told(fetch="3"))  # the older bytes do not come back with the newer head
    assert setup.extents() == [(50, 100)]


async def test_it_is_not_found_past_its_time_or_while_nothing_may_be_trusted(setup: Setup) -> None:
    await setup.add(0, 50)
    setup.blind = True
    assert setup.find() is None
    setup.blind = False
    assert setup.find() is not None
    setup.clock.now = NOW + 3601
    assert setup.parts.sweep() == 1
    assert (setup.find(), setup.file.directory.spooled) == (None, 0)


async def test_a_whole_answer_ends_the_parts_of_its_key(setup: Setup) -> None:
    tiers = Tiered(None, [(Tier.FILE, setup.file)], setup.standing, clock=setup.clock, spawn=lambda work: work.close())
    beside = Beside(tiers, setup.parts)
    await setup.add(0, 50)
    await setup.add(0, 50, of=told(path="/b"))
    await setup.add(0, 50, of=told(vary=language("de")))
    assert await beside.put(entry(vary=language("de")))
    assert (setup.extents(), len(setup.parts)) == ([(0, 50)], 2)
    assert await beside.put(entry())
    assert (setup.extents(), setup.extents("/b")) == ([], [(0, 50)])
    found = await beside.far(entry().hash, any_variant, {})
    assert found is not None
    found.entry.body.close()


async def test_clearing(setup: Setup) -> None:
    await setup.add(0, 50)
    own = Tier.MEMORY if (found := setup.find()) and found.held.tier is Tier.MEMORY else Tier.FILE
    assert setup.parts.clear(Tier.REDIS) == 0
    assert setup.parts.clear(own) == 1
    assert (setup.find(), setup.file.directory.spooled) == (None, 0)


async def test_a_304_renews_what_it_was_about(setup: Setup) -> None:
    await setup.add(0, 50)
    found = setup.find()
    assert found is not None
    renewed = replace(found.entry, received_at=NOW + 50, fields=Fields.of(("ETag", '"1"'), ("X-New", "1")))
    assert setup.parts.renew(found, renewed)
    assert not setup.parts.renew(found, renewed)  # it has become another one since
    after = setup.find()
    assert after is not None
    assert (after.entry.received_at, after.entry.fields.get("x-new"), setup.extents()) == (NOW + 50, "1", [(0, 50)])
    assert await setup.read(0, 50) == WHOLE[:50]
    setup.parts.end(after.held)
    assert not setup.parts.renew(after, renewed)


# -- bounds ------------------------------------------------------------------------------------------------------------


async def test_the_least_recently_used_leave_first(setup: Setup) -> None:
    for number in range(10):
        assert await setup.add(0, 50, of=told(path=f"/{number}"))
    assert setup.find("/0") is not None
    await setup.add(0, 50, of=told(path="/more"))
    assert (len(setup.parts), setup.find("/1"), setup.extents("/0")) == (10, None, [(0, 50)])


async def test_bytes_bound_it_too(file: FileStore) -> None:
    setup = Setup(file, Room(1000, 4000), Room(20_000, 60_000), 1000)
    for number in range(20):
        assert await setup.add(0, 50, of=told(path=f"/{number}"), body=bytes(1000))
    assert 0 < len(setup.parts) < 4
    setup.parts.clear()
    for number in range(20):
        assert await setup.add(0, 10_000, of=told(path=f"/{number}"), body=bytes(20_000))
        assert file.directory.spooled <= 60_000
    assert 0 < len(setup.parts) <= 6


async def test_a_smaller_bound_in_memory_leaves_those_on_disk_alone(file: FileStore) -> None:
    setup = Setup(file, Room(1000, 10_000), Room(20_000, 60_000), 10)
    for path, total in (("/old", 1000), ("/new", 1000), ("/far", 5000)):
        assert await setup.add(0, 50, of=told(path=path), body=bytes(total))
    setup.parts.resize(setup.parts.near_bytes - 1)
    assert [setup.find(path) is not None for path in ("/old", "/new", "/far")] == [False, True, True]
    setup.parts.resize(0)
    assert setup.parts.near_bytes == 0
    assert [setup.find(path) is not None for path in ("/new", "/far")] == [False, True]
    assert await setup.add(0, 50, of=told(path="/small"), body=bytes(1000))  # on disk, where there is room


async def test_where_it_is_held(file: FileStore) -> None:
    setup = Setup(file, Room(1000, 10_000), Room(2000, 10_000), 10)
    assert [setup.parts.takes(total) for total in (1000, 1001, 2000, 2001)] == [True, True, True, False]
    narrow = Setup(file, Room(1000, 100), Room(2000, 1500), 10)  # what could never become whole is not begun
    assert [narrow.parts.takes(total) for total in (100, 1500, 1501)] == [True, True, False]
    for total, tier in ((1000, Tier.MEMORY), (1001, Tier.FILE)):
        await setup.add(0, 50, of=told(path=f"/{total}"), body=bytes(total))
        found = setup.find(f"/{total}")
        assert found is not None
        assert found.found.tier is tier
    assert not await setup.add(0, 50, of=told(path="/2001"), body=bytes(2001))


async def test_many_small_parts_are_not_held(setup: Setup) -> None:
    body = bytes(2 * MOST + 10)
    for at in range(0, 2 * MOST, 2):
        assert await setup.add(at, at + 1, body=body)
    assert not await setup.add(2 * MOST, 2 * MOST + 1, body=body)
    assert await setup.add(0, 2, body=body)  # one that closes a gap is welcome
    assert len(setup.extents()) == MOST - 1


async def test_a_full_disk_is_a_part_that_is_not_held(file: FileStore) -> None:
    setup = Setup(file, Room(), Room(1000, 100_000), 10)
    file.directory.spooled = file.directory.spool_max - 60
    assert await setup.add(0, 50)
    assert not await setup.add(50, 100)
    assert setup.extents() == [(0, 50)]
    setup.parts.clear()
    assert file.directory.spooled == file.directory.spool_max - 60


# -- at the same time --------------------------------------------------------------------------------------------------


async def test_many_at_once(setup: Setup) -> None:
    assert all(await asyncio.gather(*(setup.add(start, start + 30) for start in range(0, 160, 10))))
    assert await setup.read(0, 180) == WHOLE[:180]
    assert await setup.add(170, 200)
    assert len(setup.whole) == 1


@pytest.mark.parametrize("event", ["purge", "purge of what was there", "clear", "another version"])
async def test_what_ends_while_it_is_written_stays_ended(file: FileStore, event: str) -> None:
    setup = Setup(file, Room(), Room(1000, 100_000), 10)
    await setup.add(0, 50, of=told(fetch="1"))

    class Slow(BytesBody):
        async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
            yield self.data[start : start + 1]
            if event == "purge":
                setup.standing.ends |= {"1": -math.inf, "2": -math.inf}
            elif event == "purge of what was there":
                setup.standing.ends |= {"1": -math.inf}
            elif event == "clear":
                setup.parts.clear()
            else:
                await setup.add(0, 10, of=told('"2"', at=NOW + 9), body=b"y" * 200)
            yield self.data[start + 1 : end]

    assert not await setup.parts.add(told(fetch="2"), Piece(Part(40, 100), 200), Slow(WHOLE[40:100]))
    assert setup.extents() == ([(0, 10)] if event == "another version" else [])


async def test_nothing_is_left_on_disk(file: FileStore, tmp_path: Path) -> None:
    setup = Setup(file, Room(), Room(1000, 100_000), 10)
    await setup.add(0, 50)
    await setup.add(0, 200, of=told(path="/b"))
    assert len(list((tmp_path / "answers" / "tmp").iterdir())) == 1
    setup.parts.clear()
    await file.close()
    assert list((tmp_path / "answers" / "tmp").iterdir()) == []
