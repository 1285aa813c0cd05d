"""The journal: which purges came after an answer was fetched (contract "Purge", reliability invariants 3 and 11).

Rows 19 (namespaces), 51, 52, 55-57: what each kind names; hard and soft; bounds that only ever cost misses.
"""

import pytest

from proxy.entry import NOWHERE, Entry, Position
from proxy.invalidation.journal import DEAD, IDS, SOFTS, Ender, Journal
from proxy.invalidation.records import Kind, PathPattern, matches, url_name
from tests.support.journal import EPOCH, entry, journal_of, names_entry, purge

PAGE = "http://a.example/p/7?x=1"
HASH = entry(PAGE).hash
VARIANT = entry(PAGE, vary=(("accept", "text/html"),))


@pytest.mark.parametrize(
    ("kind", "name", "stored", "named"),
    [
        (Kind.URL, "a.example|/p/7?x=1", entry(PAGE), True),
        (Kind.URL, "a.example|/p/7?x=1", entry(PAGE, method="POST", rule="r"), True),
        (Kind.URL, "a.example|/p/7?x=1", VARIANT, True),
        (Kind.URL, "a.example|/p/7", entry(PAGE), False),
        (Kind.URL, "a.example|/p/7?x=1", entry("http://b.example/p/7?x=1"), False),
        (Kind.URL, "a.example|/p/7?", entry("http://a.example/p/7?"), True),
        (Kind.URL, "a.example|/p/7?", entry("http://a.example/p/7"), False),
        (Kind.URL, "|/p/7?x=1", entry(PAGE), True),
        (Kind.URL, "|/p/7?x=1", entry("/p/7?x=1"), True),
        (Kind.URL, "b.example|/p/7?x=1", entry("/p/7?x=1"), True),
        (Kind.URL, "b.example|/p/8?x=1", entry("/p/7?x=1"), False),
        (Kind.KEY, HASH, entry(PAGE), True),
        (Kind.KEY, HASH, VARIANT, True),
        (Kind.KEY, VARIANT.key, VARIANT, True),
        (Kind.KEY, VARIANT.key, entry(PAGE), False),
        (Kind.KEY, VARIANT.key, entry(PAGE, vary=(("accept", "text/plain"),)), False),
        (Kind.KEY, entry("http://a.example/").hash, entry(PAGE), False),
        (Kind.PATTERN, "/p/*", entry(PAGE), True),
        (Kind.PATTERN, "*/7", entry(PAGE), True),
        (Kind.PATTERN, "/p/?", entry(PAGE), True),
        (Kind.PATTERN, "/p", entry(PAGE), False),
        (Kind.PATTERN, "*x=1", entry(PAGE), False),
        (Kind.PATTERN, "/P/*", entry(PAGE), False),
        (Kind.PATTERN, "//a.example/p/*", entry(PAGE), True),
        (Kind.PATTERN, "//A.Example/p/*", entry(PAGE), True),
        (Kind.PATTERN, "//*.example/p/*", entry(PAGE), True),
        (Kind.PATTERN, "//a.example/*", entry(PAGE), True),
        (Kind.PATTERN, "//a.example/q/*", entry(PAGE), False),
        (Kind.PATTERN, "//b.example/p/*", entry(PAGE), False),
        (Kind.PATTERN, "//b.example/p/*", entry("/p/7"), True),
        (Kind.PATTERN, "query:user:*", entry("query:user:7"), True),
        (Kind.TAG, "user:7", entry(PAGE, tags=("users", "user:7")), True),
        (Kind.TAG, "user", entry(PAGE, tags=("users", "user:7")), False),
        (Kind.RULE, "users", entry(PAGE, rule="users"), True),
        (Kind.RULE, "users", entry(PAGE, rule="user", tags=("users",), namespace="users"), False),
        (Kind.NAMESPACE, "mobile", entry(PAGE, namespace="mobile"), True),
        (Kind.NAMESPACE, "mobile", entry(PAGE), False),
    ],
)
def test_what_a_purge_names(kind: Kind, name: str, stored: Entry, named: bool) -> None:
    record = purge(kind, name)
    assert matches(record, stored) is named
    assert (journal_of(record).ended(stored) is not None) is named
    assert names_entry(record, stored) is named  # the oracle of the model test agrees


def test_all_names_everything() -> None:
    assert matches(purge(Kind.ALL), entry(PAGE))
    assert journal_of(purge(Kind.ALL)).ended(entry(PAGE)) == DEAD


def test_a_host_alone_is_its_every_path() -> None:
    assert PathPattern.parse("//a.example").match("a.example", "/p/7")
    assert not PathPattern.parse("//a.example").match("b.example", "/p/7")


def test_only_later_purges_end_an_entry() -> None:
    journal = journal_of(purge(Kind.TAG, "t"), purge(Kind.TAG, "u"))
    assert journal.ended(entry(PAGE, 0, tags=("t",))) == DEAD
    assert journal.ended(entry(PAGE, 1, tags=("t",))) is None
    assert journal.ended(entry(PAGE, 1, tags=("t", "u"))) == DEAD
    assert journal.ended(entry(PAGE, 2, tags=("t", "u"))) is None


def test_an_entry_carries_the_head_of_the_moment_its_fetch_began() -> None:
    journal = journal_of(purge(Kind.TAG, "t"))
    assert journal.position() == Position(EPOCH, 0, 1)
    assert journal.append(purge(Kind.TAG, "t")) == journal.head == 2


def test_a_soft_purge_ends_the_lifetime_when_it_was_applied() -> None:
    journal = journal_of(
        purge(Kind.TAG, "t", soft=True, at=100.0),
        purge(Kind.TAG, "t", soft=True, at=200.0),
        purge(Kind.PATTERN, "*", soft=True, at=150.0),
    )
    ends = [journal.ended(entry(PAGE, seen, tags=("t",))) for seen in range(4)]
    assert ends == [100.0, 150.0, 150.0, None]


def test_a_clock_that_jumps_back_only_ends_lifetimes_earlier() -> None:
    journal = journal_of(purge(Kind.TAG, "t", soft=True, at=200.0), purge(Kind.TAG, "t", soft=True, at=100.0))
    assert [journal.ended(entry(PAGE, seen, tags=("t",))) for seen in range(3)] == [100.0, 100.0, None]


@pytest.mark.parametrize("soft_first", [True, False])
def test_hard_beats_soft_in_either_order(soft_first: bool) -> None:
    soft, hard = purge(Kind.TAG, "t", soft=True, at=1.0), purge(Kind.TAG, "t")
    journal = journal_of(*((soft, hard) if soft_first else (hard, soft)))
    assert journal.ended(entry(PAGE, 0, tags=("t",))) == DEAD
    assert journal.ended(entry(PAGE, 1, tags=("t",))) == (DEAD if soft_first else 1.0)


def test_another_epoch_and_a_position_never_given_are_dead() -> None:
    journal = Journal(EPOCH)
    assert journal.ended(entry(PAGE)) is None
    assert journal.ended(entry(PAGE, epoch=EPOCH + 1)) == DEAD
    assert journal.ended(entry(PAGE, NOWHERE.local, epoch=NOWHERE.epoch)) == DEAD
    assert journal.ended(entry(PAGE, 1)) == DEAD


def test_few_names_purged_endlessly_neither_move_the_floor_nor_grow() -> None:
    journal = Journal(EPOCH, 8)
    for i in range(5000):
        kind, name = ((Kind.TAG, "t"), (Kind.PATTERN, "/x/*"), (Kind.URL, "a|/x"), (Kind.RULE, "r"))[i % 4]
        journal.append(purge(kind, name, soft=i % 3 == 0, at=float(i)))
    assert journal.floor == 0
    assert len(journal.compacted()) <= 4 * (SOFTS + 1)
    assert journal.ended(entry(PAGE, 0, tags=("other",))) is None
    assert len(journal_of(purge(Kind.URL, "a|/x")).compacted()) == 1


def test_soft_purges_beyond_the_bound_end_a_lifetime_earlier_but_never_later_nor_hard() -> None:
    journal = journal_of(*(purge(Kind.TAG, "t", soft=True, at=float(i)) for i in range(1, 101)))
    ends = [journal.ended(entry(PAGE, seen, tags=("t",))) for seen in range(100)]
    assert all(end is not None and 0 < end <= seen + 1 for seen, end in enumerate(ends))
    assert ends == sorted(ends, key=lambda end: end or 0)
    assert ends[0] == 1.0


def test_what_falls_off_raises_the_floor() -> None:
    journal = journal_of(*(purge(Kind.TAG, f"t{i}") for i in range(1, 8)), purge(Kind.PATTERN, "/y"), size=5)
    assert journal.floor == 3
    assert journal.ended(entry(PAGE, 2)) == DEAD
    assert journal.ended(entry(PAGE, 3)) is None
    assert journal.ended(entry(PAGE, 3, tags=("t4",))) == DEAD


def test_the_oldest_falls_off_whatever_it_names() -> None:
    pattern, tags = purge(Kind.PATTERN, "/y"), [purge(Kind.TAG, "t1"), purge(Kind.TAG, "t2")]
    assert journal_of(pattern, *tags, size=2).floor == 1
    assert journal_of(tags[0], pattern, tags[1], size=2).floor == 1
    assert journal_of(pattern, tags[0], pattern, tags[1], size=2).floor == 2


def test_a_pattern_purged_again_is_the_newest() -> None:
    journal = journal_of(*(purge(Kind.PATTERN, name) for name in ("/p/*", "/y", "/p/*")))
    assert [journal.ended(entry(PAGE, seen)) for seen in range(4)] == [DEAD, DEAD, DEAD, None]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.URL, "a.example|/p/7?x=1"),
        (Kind.URL, "|/p/7?x=1"),
        (Kind.KEY, HASH),
        (Kind.PATTERN, "/p/*"),
        (Kind.TAG, "t"),
        (Kind.RULE, ""),
        (Kind.NAMESPACE, ""),
    ],
)
def test_each_kind_outlives_compaction(kind: Kind, name: str, soft: bool) -> None:
    journal = journal_of(purge(kind, name, soft=soft, at=5.0))
    again = Journal(EPOCH, head=journal.head)
    for seq, record in journal.compacted():
        again.apply(seq, record)
    assert [again.ended(entry(PAGE, seen, tags=("t",))) for seen in (0, 1)] == [5.0 if soft else DEAD, None]


def test_of_many_a_sixteenth_falls_off_at_once() -> None:
    journal = journal_of(*(purge(Kind.TAG, f"t{i}") for i in range(1, 1001)), size=160)
    kept = 1000 - journal.floor
    assert 160 <= kept <= 170
    assert len(journal.compacted()) == kept
    assert journal.ended(entry(PAGE, journal.floor - 1)) == DEAD
    assert journal.ended(entry(PAGE, journal.floor)) is None


def test_a_storm_of_exact_purges_moves_no_floor_and_pushes_out_no_pattern() -> None:
    journal = journal_of(purge(Kind.PATTERN, "/old/*"), size=100)
    for i in range(20_000):
        journal.append(purge(Kind.URL, url_name("a", f"/{i}")))
    assert journal.floor == 0
    assert len(journal.compacted()) <= 110
    assert journal.ended(entry("http://a/old/1", 0)) == DEAD
    assert all(journal.ended(entry(f"http://a/{i}", i)) == DEAD for i in range(0, 20_000, 7))
    assert all(journal.ended(entry(f"/{i}", i)) == DEAD for i in range(0, 20_000, 7))
    others = [journal.ended(entry(f"http://b/{i}/other", 1)) for i in range(1000)]
    assert others.count(None) > 850  # 4% share a bucket with a forgotten name


def test_checked_entries_are_asked_only_about_what_came_since() -> None:
    journal = journal_of(*(purge(Kind.TAG, f"t{i}") for i in range(4)), size=2)
    old = entry(PAGE, 0, tags=("mine",))
    assert journal.ended(old) == DEAD  # below the floor
    assert journal.ended(old, checked=3) is None
    journal.append(purge(Kind.TAG, "mine"))
    assert journal.ended(old, checked=4) == DEAD


def test_alive_before_is_what_a_count_wants_to_know() -> None:
    journal = journal_of(purge(Kind.TAG, "t"), purge(Kind.TAG, "t"), purge(Kind.TAG, "t", soft=True, at=5.0))
    fetched = [entry(PAGE, seen, tags=("t",)) for seen in range(3)]
    assert [journal.alive_before(stored, 1) for stored in fetched] == [True, False, False]
    assert [journal.alive_before(stored, 2) for stored in fetched] == [False, True, False]
    assert [journal.alive_before(stored, 3) for stored in fetched] == [False, False, True]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.URL, "a.example|/p/7?x=1"),
        (Kind.URL, "|/p/7?x=1"),
        (Kind.KEY, HASH),
        (Kind.PATTERN, "/p/*"),
        (Kind.TAG, "t"),
        (Kind.RULE, "r"),
        (Kind.NAMESPACE, "n"),
    ],
)
def test_which_purge_ended_it(kind: Kind, name: str, soft: bool) -> None:
    stored = entry(PAGE, tags=("t",), rule="r", namespace="n")
    name = stored.hash if kind is Kind.KEY else name
    others = [purge(Kind.TAG, "none"), purge(Kind.PATTERN, "/q/*")]
    journal = journal_of(*others, purge(kind, name, soft=soft, at=5.0), *others)
    assert journal.ender(stored) == Ender(kind, name, 3, 5.0 if soft else DEAD, "id")
    assert journal.ender(entry("http://a.example/x", 2)) is None


def test_of_several_purges_the_one_that_counts_is_told() -> None:
    journal = journal_of(purge(Kind.TAG, "t", soft=True, at=9.0), purge(Kind.ALL, soft=True, at=7.0))
    stored = entry(PAGE, tags=("t",))
    assert journal.ender(stored) == Ender(Kind.ALL, "", 2, 7.0, "id")  # it ended the earliest
    journal.append(purge(Kind.RULE, ""))
    assert journal.ender(stored) == Ender(Kind.RULE, "", 3, DEAD, "id")
    journal.append(purge(Kind.RULE, ""))
    assert journal.ender(stored) == Ender(Kind.RULE, "", 3, DEAD, "id")  # the first that did


def test_ids_are_told_of_the_last_purges() -> None:
    stored = entry(PAGE, tags=("t",))
    journal = journal_of(purge(Kind.TAG, "t"), *[purge(Kind.TAG, "other")] * (IDS - 1), size=IDS)
    assert journal.ender(stored) == Ender(Kind.TAG, "t", 1, DEAD, "id")
    journal.append(purge(Kind.TAG, "other"))
    assert journal.ender(stored) == Ender(Kind.TAG, "t", 1, DEAD, "")


def test_what_is_forgotten_ended_it_by_no_name() -> None:
    journal = journal_of(*[purge(Kind.TAG, f"t{n}") for n in range(40)], size=4)
    assert journal.ender(entry(PAGE)) == Ender(None, "", 0, DEAD)
