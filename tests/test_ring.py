"""Records in shared memory: whole or not at all, in order, and whoever was too slow knows it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.invalidation.ring import Ring, RingView, Word, shared_memory
from tests.support.process import environment
from tests.support.ring_reader import content


@pytest.fixture
def fd() -> Iterator[int]:
    fd = shared_memory(4096)
    yield fd
    os.close(fd)


def test_what_is_written_is_read_in_order_and_once(fd: int) -> None:
    ring = Ring(fd)
    early, late = RingView(fd, ring.written), None
    ring.write(5, b"one")
    late = RingView(fd, ring.written)
    assert early.behind
    assert not late.behind
    ring.write(6, b"")
    assert early.read() == [b"one", b""]
    assert late.read() == [b""]
    assert early.read() == late.read() == []
    assert not early.behind
    assert early.get(Word.NUMBER) == 6


def test_words_are_seen_at_once(fd: int) -> None:
    ring, view = Ring(fd), RingView(fd, 0)
    assert view.get(Word.DURABLE) == 0
    ring.set(Word.DURABLE, True)
    assert view.get(Word.DURABLE) == 1


def test_a_reader_can_write_nothing(fd: int) -> None:
    view = RingView(fd, 0)
    with pytest.raises(TypeError):
        view._words[0] = 1


def test_a_reader_that_was_overtaken_is_told_and_goes_on(fd: int) -> None:
    ring, view = Ring(fd), RingView(fd, 0)
    for number in range(1, 11):
        ring.write(number, b"x" * 1000)
    assert view.read() is None
    assert view.get(Word.NUMBER) == 10
    ring.write(11, b"y")
    assert view.read() == [b"y"]


def test_a_reader_goes_where_it_is_told(fd: int) -> None:
    ring, view = Ring(fd), RingView(fd, 0)
    ring.write(1, b"one")
    second = ring.written
    ring.write(2, b"two")
    assert view.read() == [b"one", b"two"]
    view.go(second)
    assert view.behind
    assert view.read() == [b"two"]
    for number in range(3, 10):
        ring.write(number, b"x" * 1000)
    view.go(second)
    assert view.read() is None


def test_what_was_damaged_is_lost_and_not_read(fd: int) -> None:
    """Nobody damages it; this stands for a machine on which bytes come later than the word that announces them."""
    ring, view = Ring(fd), RingView(fd, 0)
    ring.write(1, b"abc")
    os.pwrite(fd, b"X", 8 * 8 + 8 + 1)
    assert view.read() is None
    ring.write(2, b"def")
    assert view.read() == [b"def"]


def test_too_large_is_known_before(fd: int) -> None:
    ring = Ring(fd)
    assert ring.fits(b"x" * 2000)
    assert not ring.fits(b"x" * 2048)


@given(st.lists(st.integers(0, 600) | st.sampled_from(["a", "b"]), max_size=200))
def test_every_reader_sees_a_run_of_records_or_that_it_missed_some(steps: list[int | str]) -> None:
    """Numbers are written; a letter lets that reader read. The oracle is the list of all that was written."""
    fd = shared_memory(1500)
    try:
        ring, views = Ring(fd), {name: RingView(fd, 0) for name in "ab"}
        written: list[bytes] = []
        read = dict.fromkeys("ab", 0)
        for step in [*steps, "a", "b"]:
            if isinstance(step, int):
                written.append(content(len(written) + 1)[:step])
                ring.write(len(written), written[-1])
                continue
            found = views[step].read()
            waiting = sum(8 + len(each) for each in written[read[step] :])
            assert (found is None) == (waiting > 1500)
            assert found is None or found == written[read[step] :]
            read[step] = len(written)
    finally:
        os.close(fd)


def test_processes_that_read_while_another_writes_see_no_torn_record() -> None:
    """A small ring, written as fast as it goes round and round, under the eyes of readers that cannot keep up."""
    fd, last = shared_memory(256 * 1024), 60_000
    command = [sys.executable, "-m", "tests.support.ring_reader", str(fd), str(last)]
    readers = [
        subprocess.Popen(command, pass_fds=[fd], env=environment({}), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        ring = Ring(fd)
        ring.write(1, content(1))
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
        for number in range(2, last + 1):
            ring.write(number, content(number))
        for reader in readers:
            out, _ = reader.communicate(timeout=50)
            assert reader.returncode == 0
            assert json.loads(out)["seen"] > 0
    finally:
        os.close(fd)
        for reader in readers:
            reader.kill()
            reader.wait()
