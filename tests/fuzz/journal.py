"""The journal's lines and records, in its file and in the stream. A byte that chooses, then: a file; the contents of a
file's lines, which are given checksums that fit; one record; the fields of an entry of the stream."""

from zlib import crc32

from proxy.invalidation.journal import Journal
from proxy.invalidation.lines import compact_copy, line, record_line, restore, unline
from proxy.invalidation.records import Kind, Purge, Seed, decode, encode, matches
from proxy.invalidation.stream import _beat, _record
from proxy.invalidation.tie import Tie
from tests.fuzz.records import ENTRY
from tests.fuzz.target import Feed, Target

_PURGES = tuple(
    Purge(f"i{number}", kind, names, soft, 5.0, "ab12")
    for number, (kind, names, soft) in enumerate(
        [
            (Kind.ALL, (), False),
            (Kind.TAG, ("a", "b"), True),
            (Kind.URL, ("h|/a?b",), False),
            (Kind.PATTERN, ("//h/*",), False),
        ]
    )
)


def _file() -> bytes:
    journal, tie = Journal(77), Tie()
    tie.enter(5, 1, 0)
    for number, purge in enumerate(_PURGES, 1):
        journal.apply(number, purge)
    tie.read(9, 2)
    tie.owe(4, _PURGES[3])
    return b"".join(compact_copy(journal, tie)) + record_line(5, _PURGES[1], unsent=True)


_LINES = _file()
_CONTENTS = b"\n".join(each.partition(b" ")[2] for each in _LINES.splitlines())
SEEDS = (
    b"\x00" + _LINES,
    b"\x01" + _CONTENTS,
    b"\x01" + _CONTENTS + b'\n{"read":10,"applied":[[6,' + encode(_PURGES[0])[9:-1] + b']],"sent":["i1"],"since":6}',
    *(b"\x02" + encode(purge) for purge in _PURGES),
    b"\x02" + encode(Seed("s", 5, 1, ((2, _PURGES[:2]),))),
    b"\x03" + b"1-0\nd\n" + encode(_PURGES[0]) + b"\ne\n5\np\n1",
    b"\x03" + b"1700000000000000 5 9 x1",
)
TOKENS = (
    b'"seq":',
    b'"purge":',
    b'"tie":',
    b'"kind":"',
    b'"all"',
    b'"at":',
    b'"nan"',
    b"-1",
    b"99999999999999999999",
    b"1e308",
    b"[",
    b"]",
    b"{",
    b"}",
    b"null",
    b"\n",
    b"e\n",
    b"p\n",
    b" ",
)


def check(data: bytes) -> None:
    feed = Feed(data)
    match feed.number() % 4:
        case 0:
            _restored(feed.rest())
        case 1:
            contents = feed.rest().split(b"\n")
            _restored(b"".join(_checked(content) for content in contents))
        case 2:
            _told(feed.rest())
        case _:
            _streamed(feed.rest().split(b"\n"))


def _checked(content: bytes) -> bytes:
    """A line whose checksum is right, whatever it holds."""
    return b"%08x %b\n" % (crc32(content), content)


def _restored(data: bytes) -> None:
    kept = restore(data)
    if kept is None:
        return
    copy = b"".join(compact_copy(kept.journal, kept.tie))
    again = restore(copy)
    assert again is not None, "what was restored does not come back"
    assert again.journal.ended(ENTRY) == kept.journal.ended(ENTRY)
    assert (again.journal.head, again.journal.floor) == (kept.journal.head, kept.journal.floor)
    assert again.tie.to_json().keys() == kept.tie.to_json().keys()
    kept.tie.local(kept.tie.epoch, 3, kept.journal.head)
    for raw in copy.splitlines():
        assert line(unline(raw)) == raw + b"\n"


def _told(raw: bytes) -> None:
    told = decode(raw)
    if told is None:
        return
    assert decode(encode(told)) == told
    tie = Tie()
    tie.owe(1, told)
    kept = unline(line({"tie": tie.to_json()})[:-1])
    assert Tie.from_json(kept["tie"]).unsent == tie.unsent
    for purge in (told,) if isinstance(told, Purge) else tuple(p for _, purges in told.items for p in purges):
        matches(purge, ENTRY)
        Journal(1).append(purge)


def _streamed(words: list[bytes]) -> None:
    _beat(words[0])
    number = int.from_bytes(words[0][:7])
    record = _record((b"%d-0" % number, dict(zip(words[1::2], words[2::2], strict=False))))
    assert record.number == number
    assert 0 <= record.epoch < 2**63
    assert 0 <= record.prior < 2**63
    tie = Tie()
    tie.enter(record.epoch, record.prior, 0)
    tie.read(record.number)
    line({"tie": tie.to_json()})


TARGET = Target(check, SEEDS, TOKENS)
