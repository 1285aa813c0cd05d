"""The memory tier: bounds, eviction, use counts, its own ttl (rows 12, 14-17; its six verbs are in the contract)."""

import tracemalloc

import pytest

from proxy.entry import BytesBody, any_variant
from proxy.message import Fields
from proxy.policy.fields import http_date
from proxy.store.eviction import Name
from proxy.store.file_body import AbsentBody
from proxy.store.memory import MemoryStore
from tests.support.entries import NOW, FakeClock, entry, language, pick


def store(clock: FakeClock | None = None, **changes: object) -> MemoryStore:
    settings: dict[str, object] = {"max_entries": 100, "max_bytes": 1 << 20, "max_object": 1 << 16}
    return MemoryStore(**settings | changes, clock=clock or FakeClock())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["s3fifo", "lru", "fifo"])
def test_a_flood_of_unique_keys_fills_it_exactly(name: Name) -> None:
    tier = store(max_entries=200, eviction=name)
    for number in range(2000):
        assert tier.keep(entry(f"/{number}", b"x")) is True
        assert tier.entries == min(number + 1, 200)
    assert tier.evictions == 1800
    assert tier.bytes == sum(slot.size for slot in tier.slots())


def test_a_flood_does_not_grow_the_process() -> None:
    tier = store(max_entries=100)
    tracemalloc.start()
    try:
        sizes = []
        for lap in range(4):
            for number in range(300):
                tier.keep(entry(f"/{lap}/{number}"))
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[3] < sizes[1] * 1.1


def test_what_an_entry_takes_beside_its_body() -> None:
    """Goal: at most 1 KB. Names, and values that others have too, are there once."""
    number, body = 2000, 500
    tier = store(max_entries=number, max_bytes=1 << 30)
    tracemalloc.start()
    try:
        for n in range(number):
            plain = (("Server", "nginx"), ("Content-Type", "application/json"), ("Cache-Control", "max-age=86400"))
            own = (("Content-Length", str(body)), ("Date", http_date(NOW + n / 100)), ("ETag", f'"{n:020}"'))
            tier.keep(entry(f"/{n}", b"%0*d" % (body, n), fields=Fields.of(*plain, *own), received_at=NOW + n / 100))
        taken = tracemalloc.get_traced_memory()[0] / number - body
    finally:
        tracemalloc.stop()
    assert tier.entries == number
    assert taken < 1200, f"{taken:.0f} bytes"


def test_bytes_bound_it_too() -> None:
    one = entry(body=b"x" * 10_000)
    tier = store(max_bytes=one.size * 5 + 100)
    for number in range(50):
        tier.keep(entry(f"/{number}", b"x" * 10_000))
        assert tier.bytes <= one.size * 5 + 100
    assert tier.entries == 5


@pytest.mark.parametrize("name", ["s3fifo", "lru", "fifo"])
def test_another_bound_holds_at_once(name: Name) -> None:
    one = entry(body=b"x" * 1000)
    tier = store(max_bytes=one.size * 10, eviction=name)
    for number in range(10):
        tier.keep(entry(f"/{number}", b"x" * 1000))
    assert (tier.resize(one.size * 4), tier.entries, tier.evictions) == (6, 4, 6)
    tier.resize(one.size - 1)
    assert (tier.entries, tier.bytes, tier.keep(entry("/none", b"x" * 1000))) == (0, 0, False)
    tier.resize(one.size * 2)
    assert [tier.keep(entry(f"/{number}", b"x" * 1000)) for number in range(3)] == [True] * 3
    assert tier.entries == 2


@pytest.mark.parametrize(("name", "left"), [("lru", {"/b"}), ("fifo", {"/a"})])
def test_who_leaves_when_a_was_used(name: Name, left: set[str]) -> None:
    tier = store(max_entries=3, eviction=name)
    for path in ("/a", "/b", "/c"):
        tier.keep(entry(path))
    assert tier.find(entry("/a").hash, any_variant)
    tier.keep(entry("/d"))
    assert {"/a", "/b", "/c", "/d"} - {slot.entry.parts.path for slot in tier.slots()} == left
    assert tier.evictions == 1


def test_use_is_remembered_with_the_entry() -> None:
    clock = FakeClock()
    tier = store(clock)
    tier.keep(entry())
    clock.now += 5
    for _ in range(3):
        tier.find(entry().hash, any_variant)
    tier.find(entry("/none").hash, any_variant)
    (slot,) = tier.slots()
    assert (slot.hits, slot.last_access) == (3, NOW + 5)
    assert (tier.hits, tier.misses) == (3, 1)


def test_a_refused_slot_was_a_miss() -> None:
    tier = store()
    tier.keep(entry())
    slot = tier.find(entry().hash, any_variant)
    assert slot is not None
    tier.refuse(slot)
    assert (tier.hits, tier.misses, tier.entries) == (0, 1, 0)
    tier.refuse(slot)  # somebody else had it too
    assert tier.entries == 0


def test_a_refused_slot_does_not_take_its_successor_along() -> None:
    tier = store()
    tier.keep(entry())
    slot = tier.find(entry().hash, any_variant)
    tier.keep(entry(body=b"newer"))
    assert slot is not None
    tier.refuse(slot)
    assert tier.entries == 1


@pytest.mark.parametrize(
    ("ttl", "age", "found"), [(None, 3599, True), (None, 3600, False), (5, 4.9, True), (5, 5, False)]
)
def test_nothing_is_found_past_its_time(ttl: float | None, age: float, found: bool) -> None:
    clock = FakeClock()
    tier = store(clock, ttl=ttl)
    tier.keep(entry())
    clock.now += age
    assert (tier.find(entry().hash, any_variant) is not None) is found
    assert (tier.peek(entry().key) is not None) is found


def test_a_new_copy_is_trusted_anew() -> None:
    clock = FakeClock()
    tier = store(clock, ttl=5)
    for _ in range(3):
        tier.keep(entry())
        clock.now += 4
        assert tier.find(entry().hash, any_variant)


def test_the_sweep_removes_what_nobody_can_want() -> None:
    clock = FakeClock()
    tier = store(clock)
    for number in range(10):
        tier.keep(entry(f"/{number}", keep_until=NOW + number * 10 + 1))
    assert tier.sweep(NOW + 50) == 5
    assert (tier.entries, tier.evictions) == (5, 0)
    assert tier.bytes == sum(slot.size for slot in tier.slots())


def test_the_oldest_variant_leaves_for_one_too_many() -> None:
    tier = store(variants=3)
    for number, code in enumerate(["de", "fr", "it"]):
        tier.keep(entry(vary=language(code), received_at=NOW - number))
    tier.keep(entry("/b"))
    tier.keep(entry(vary=language("fr"), received_at=NOW))  # the same again: nobody has to leave
    assert tier.evictions == 0
    tier.keep(entry(vary=language("es"), received_at=NOW))
    assert tier.find(entry().hash, pick(language("it"))) is None
    assert tier.find(entry().hash, pick(language("de"))) is not None
    assert (tier.entries, tier.evictions) == (4, 1)


def test_a_body_too_large_is_not_taken_and_ends_the_old_one() -> None:
    """Else memory would go on giving the old answer while a farther tier has the new one."""
    tier = store(max_object=10)
    assert tier.keep(entry(body=b"x" * 10)) is True
    assert tier.keep(entry(body=b"x" * 11)) is False
    assert tier.entries == 0
    assert tier.keep(entry(body=AbsentBody(3))) is False
    assert store(max_bytes=100).keep(entry(body=b"", fields=entry().fields)) is False


def test_a_refused_older_fence_leaves_the_newer() -> None:
    tier = store(max_object=10)
    tier.keep(entry(fence=2))
    assert tier.keep(entry(fence=1, body=b"x" * 11)) is False
    assert tier.entries == 1


def test_bodies_are_kept_not_copied() -> None:
    body = b"x" * 1000
    tier = store()
    tier.keep(entry(body=BytesBody(body)))
    (slot,) = tier.slots()
    assert slot.entry.body.data is body
