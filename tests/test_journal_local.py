"""The journal's file: acknowledged purges outlive any end of the process, and what cannot be proven is not trusted.

Reliability invariants 3, 9, 12; fault classes "disk full, read-only, deleted, bit flips, kill -9 mid-write, a shared
directory"; contract: 0600/0700 whatever the umask, no symlink followed.
"""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.invalidation.disk import REWRITE_FROM
from proxy.invalidation.journal import DEAD, Journal
from proxy.invalidation.lines import compact_copy, record_line, replay
from proxy.invalidation.local import RETRY, LocalLog
from proxy.invalidation.records import Kind
from tests.support.full_disk import full_disk
from tests.support.journal import EPOCH, entry, journal_of, purge

PAGE = "http://a/x"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


def fetched(journal: Journal, tag: str) -> object:
    """What an entry of this tag that was fetched before everything is worth."""
    return journal.ended(entry(PAGE, 0, tags=(tag,), epoch=journal.epoch))


async def reopened(path: Path) -> Journal:
    """The journal of a next start, which ends at once."""
    log = LocalLog(path)
    journal = log.open()
    await log.close()
    return journal


async def test_a_restart_keeps_epoch_purges_positions_and_name(path: Path) -> None:
    log = LocalLog(path)
    first = log.open()
    before = entry(PAGE, first.head, tags=("t",), epoch=first.epoch)
    assert await log.append(purge(Kind.TAG, "t"))
    after = entry(PAGE, first.head, tags=("t",), epoch=first.epoch)
    assert await log.append(purge(Kind.TAG, "u", soft=True, at=12.5))
    await log.close()

    again = LocalLog(path)
    second = again.open()
    assert (again.durable, again.reason, again.instance) == (True, "", log.instance)
    assert not again.distrusted
    assert second.epoch == first.epoch
    assert second.head > first.head
    assert second.ended(before) == DEAD
    assert second.ended(after) is None
    assert fetched(second, "u") == 12.5
    await again.close()


async def test_numbers_leap_so_that_none_is_given_twice(path: Path) -> None:
    """A fetch may have seen a purge that was never synced; its number must not be that of the next one."""
    log = LocalLog(path)
    log.open()
    unsynced = log.append(purge(Kind.TAG, "lost"))
    seen = entry(PAGE, log.journal.head, tags=("t",), epoch=log.journal.epoch)
    unsynced.close()
    kept = path.read_bytes()  # what a crash at this moment leaves
    await log.close()

    path.write_bytes(kept)
    again = LocalLog(path)
    again.open()
    assert again.journal.ended(seen) is None
    assert await again.append(purge(Kind.TAG, "t"))
    assert again.journal.ended(seen) == DEAD
    await again.close()


FULL = b"".join(compact_copy(journal_of(purge(Kind.TAG, "old")))) + b"".join(
    record_line(seq, purge(Kind.TAG, f"t{seq}")) for seq in (2, 3)
)


def test_a_tail_torn_at_any_byte_loses_only_what_was_not_acknowledged() -> None:
    ends = [i + 1 for i, byte in enumerate(FULL) if byte == 0x0A]
    for cut in range(ends[0], len(FULL) + 1):
        journal = replay(FULL[:cut])
        assert journal is not None
        assert journal.epoch == EPOCH
        whole = sum(end <= cut for end in ends)
        ended = [fetched(journal, tag) == DEAD for tag in ("old", "t2", "t3")]
        assert ended == [whole > 1, whole > 2, whole > 3]
    assert replay(FULL + b"\0" * 512) is not None  # the file was made longer, its bytes never came


def test_damage_anywhere_else_is_trusted_with_nothing() -> None:
    for i in range(len(FULL) - 1):
        damaged = bytearray(FULL)
        damaged[i] ^= 0x01
        assert replay(bytes(damaged)) is None, f"byte {i}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"hello\n",
        b'{"journal":1}\n',
        FULL[FULL.index(b"\n") + 1 :],  # no head line
        FULL + record_line(2, purge(Kind.TAG, "back")),  # numbers that fall
        record_line(1, purge(Kind.TAG, "t")) * 2,
    ],
)
async def test_a_foreign_or_headless_file_begins_a_new_epoch(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    log = LocalLog(path)
    journal = log.open()
    assert log.durable
    assert f"{path} is {'damaged or of another version' if content else 'empty'}: nothing that" in log.distrusted
    assert journal.ended(entry(PAGE, 0)) == DEAD
    await log.close()
    assert (await reopened(path)).epoch == journal.epoch


async def test_a_deleted_file_begins_a_new_epoch(path: Path) -> None:
    log = LocalLog(path)
    epoch = log.open().epoch
    await log.close()
    path.unlink()
    assert (await reopened(path)).epoch != epoch


async def test_appends_that_meet_share_a_write_and_all_are_kept(path: Path) -> None:
    log = LocalLog(path)
    log.open()
    assert all(await asyncio.gather(*(log.append(purge(Kind.TAG, f"t{i}")) for i in range(500))))
    journal = replay(path.read_bytes())
    assert journal is not None
    assert journal.head == log.journal.head
    assert all(fetched(journal, f"t{i}") == DEAD for i in range(500))
    await log.close()


async def test_a_purge_holds_before_it_is_awaited_and_when_its_caller_leaves(path: Path) -> None:
    log = LocalLog(path)
    log.open()
    waiting = asyncio.create_task(log.append(purge(Kind.TAG, "t")))
    await asyncio.sleep(0)
    waiting.cancel()
    assert fetched(log.journal, "t") == DEAD
    await log.close()
    assert fetched(await reopened(path), "t") == DEAD


async def test_the_file_is_written_anew_when_it_has_grown_and_answers_the_same(path: Path) -> None:
    log = LocalLog(path)
    log.open()
    names = [f"{'x' * 1000}{i}" for i in range(10)]
    for turn in range(300):
        await asyncio.gather(*(log.append(purge(Kind.TAG, name, soft=turn % 2 == 0, at=turn)) for name in names))
    assert path.stat().st_size < REWRITE_FROM * 1.1
    kept = replay(path.read_bytes())
    assert kept is not None
    assert kept.head == log.journal.head
    for seen in range(log.journal.head - 3000, log.journal.head, 7):
        for name in names[:3]:
            asked = entry(PAGE, seen, tags=(name,), epoch=kept.epoch)
            assert kept.ended(asked) == log.journal.ended(asked)
    assert sorted(p.name for p in path.parent.iterdir()) == ["instance", "journal", "journal.lock"]
    await log.close()


async def test_a_full_disk_keeps_the_purge_in_memory_and_trusts_no_older_file(path: Path) -> None:
    log = LocalLog(path, ticks=lambda: 0.0)
    epoch = log.open().epoch
    assert await log.append(purge(Kind.TAG, "t"))
    with full_disk(path.stat().st_size + 10):  # part of a line is written
        assert not await log.append(purge(Kind.TAG, "u"))
    assert (log.durable, str(path) in log.reason) == (False, True)
    assert fetched(log.journal, "t") == fetched(log.journal, "u") == DEAD
    assert not path.exists()
    assert not await log.append(purge(Kind.TAG, "v"))  # too early for another attempt
    with full_disk():
        await log.close()
    assert (await reopened(path)).epoch != epoch


async def test_the_file_comes_back_with_everything_when_the_disk_has_room_again(path: Path) -> None:
    now = [0.0]
    log = LocalLog(path, ticks=lambda: now[0])
    epoch = log.open().epoch
    with full_disk():
        assert not await log.append(purge(Kind.TAG, "t"))
        now[0] += RETRY
        assert not await log.append(purge(Kind.TAG, "u"))
    now[0] += RETRY
    assert await log.append(purge(Kind.TAG, "v"))
    assert (log.durable, log.reason) == (True, "")
    await log.close()
    again = await reopened(path)
    assert again.epoch == epoch
    assert fetched(again, "t") == fetched(again, "u") == fetched(again, "v") == DEAD


async def test_closing_tries_once_more_for_a_file(path: Path) -> None:
    log = LocalLog(path)
    log.open()
    with full_disk():
        assert not await log.append(purge(Kind.TAG, "t"))
    await log.close()
    assert fetched(await reopened(path), "t") == DEAD


async def test_a_start_on_a_full_disk_gives_up_the_old_file(path: Path) -> None:
    log = LocalLog(path)
    epoch = log.open().epoch
    await log.close()
    with full_disk():
        cramped = LocalLog(path)
        journal = cramped.open()
    assert not cramped.durable
    assert journal.epoch == epoch
    assert not path.exists()


def in_the_way(path: Path) -> None:
    path.parent.write_text("a file where the directory should be")


def linked_directory(path: Path) -> None:
    (path.parent.parent / "elsewhere").mkdir()
    path.parent.symlink_to(path.parent.parent / "elsewhere")


def linked_file(path: Path) -> None:
    path.parent.mkdir()
    (path.parent.parent / "target").write_bytes(FULL)
    path.symlink_to(path.parent.parent / "target")


def directory_for_file(path: Path) -> None:
    path.mkdir(parents=True)


def pipe_for_file(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [in_the_way, linked_directory, linked_file, directory_for_file, pipe_for_file])
async def test_without_a_usable_place_the_journal_lives_in_memory_and_says_so(path: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(path)
    log = LocalLog(path)
    journal = log.open()
    assert not await log.append(purge(Kind.TAG, "t"))
    assert fetched(journal, "t") == DEAD
    assert (log.durable, log.reason[: len(str(path))]) == (False, str(path))
    await log.close()


async def test_a_symlink_is_left_as_it_was(path: Path) -> None:
    linked_file(path)
    log = LocalLog(path)
    log.open()
    await log.append(purge(Kind.TAG, "t"))
    assert (path.parent.parent / "target").read_bytes() == FULL
    await log.close()


async def test_no_directory_wanted() -> None:
    log = LocalLog(None)
    journal = log.open()
    assert not await log.append(purge(Kind.TAG, "t"))
    assert fetched(journal, "t") == DEAD
    assert (log.durable, log.reason) == (False, "no directory for the journal")
    await log.close()


async def test_a_second_gateway_leaves_the_directory_alone(path: Path) -> None:
    first, second = LocalLog(path), LocalLog(path)
    first.open()
    content = path.read_bytes()
    journal = second.open()
    assert not await second.append(purge(Kind.TAG, "t"))
    assert "another gateway" in second.reason
    assert journal.epoch != first.journal.epoch
    assert path.read_bytes() == content
    await second.close()
    assert await first.append(purge(Kind.TAG, "t"))
    await first.close()
    third = LocalLog(path)
    third.open()
    assert third.durable
    await third.close()


async def test_modes_whatever_the_umask(path: Path) -> None:
    old = os.umask(0o777)
    try:
        log = LocalLog(path)
        log.open()
        await log.append(purge(Kind.TAG, "t"))
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()} == {0o600}
    await log.close()


KILLED = """
import asyncio, sys
from pathlib import Path
from proxy.invalidation.local import LocalLog
from proxy.invalidation.records import Kind
from tests.support.full_disk import full_disk
from tests.support.journal import purge

async def main():
    log = LocalLog(Path(sys.argv[1]))
    log.open()
    async def client(name):
        i = 0
        while True:
            assert await log.append(purge(Kind.TAG, f"{name}-{i}"))
            print(f"{name}-{i}", flush=True)
            i += 1
    await asyncio.gather(*map(client, "abc"))

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    epochs, acknowledged = set(), []
    for lines in (1, 40, 200):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
        )
        assert process.stdout is not None
        acknowledged += [process.stdout.readline().strip() for _ in range(lines)]
        process.kill()
        acknowledged += process.stdout.read().splitlines()[:-1]  # its last line may be torn
        process.wait()
        process.stdout.close()
        journal = replay(path.read_bytes())
        assert journal is not None
        epochs.add(journal.epoch)
        assert [tag for tag in acknowledged if fetched(journal, tag) != DEAD] == []
    assert len(acknowledged) >= 241
    assert len(epochs) == 1
