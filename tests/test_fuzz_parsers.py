"""Every parser of our own takes any bytes: what leaves it is what it promises (tests/fuzz says what that is)."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.every import TARGETS
from tests.fuzz.records import HEAD
from tests.fuzz.target import Target

NAMES = sorted(TARGETS)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Seeds, cut and joined with what they are made of, and with anything."""
    whole = st.sampled_from(target.seeds)
    piece = st.builds(
        lambda seed, start, size: seed[start : start + size], whole, st.integers(0, 200), st.integers(1, 60)
    )
    pieces = st.lists(st.sampled_from(target.tokens) | piece | st.binary(max_size=8), max_size=12).map(b"".join)
    first = st.integers(0, 8).map(lambda number: bytes([number]))
    replaced = st.builds(
        lambda seed, at, new: seed[:at] + new + seed[at + len(new) :], whole, st.integers(0, 300), pieces
    )
    return whole | replaced | st.builds(bytes.__add__, first, pieces) | pieces


UNITS = (
    b" ",
    b"\t",
    b",",
    b";",
    b'"',
    b"\\",
    b"=",
    b"a",
    b"1",
    b"/",
    b"\n",
    b'\\"',
    b" ,",
    b"a=",
    b"%41",
    b"a b",
    b"[",
    b"{",
)


def pumped(target: Target) -> st.SearchStrategy[bytes]:
    """A seed with something in it that is repeated until there is no more room."""
    some = st.sampled_from((*UNITS, *target.tokens))
    unit = some | st.tuples(some, some).map(b"".join)
    behind = st.sampled_from((b"", b"x", b'"', b"\n", b"\x01"))

    def build(seed: bytes, at: int, unit: bytes, behind: bytes) -> bytes:
        return seed[:at] + unit * ((target.most - len(seed) - 1) // len(unit)) + behind + seed[at:]

    return st.builds(build, st.sampled_from(target.seeds), st.integers(0, 120), unit, behind)


def run(target: Target, data: st.SearchStrategy[bytes], examples: int) -> None:
    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(data)
    def holds(data: bytes) -> None:
        target(data)

    holds()


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_the_standards(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name](seed)


# What was found and mended, as it was found.
FOUND = {
    "white space in Accept": ("vary", b"\na" + b" " * 65_000 + b"b"),
    "white space in Cache-Tag": ("tags", b"\n/\n\n\n\na" + b" " * 65_000 + b"b"),
    "white space in Forwarded": ("peers", b"127.0.0.1\n\n" + b" " * 65_000 + b"b"),
    "a port with zeros": ("peers", b"\n\n\n\na:080"),
    "a purge with a long name": ("peers", b"\n" * 10 + b'{"' + b"a" * 5_000 + b'": 1}'),
    "digits that are no number": ("settings", b"\x03" + b"1" * 65_000 + b"x"),
    "white space in .env": ("settings", b"\x02a=b" + b" " * 65_000 + b"b"),
    "names in .env": ("settings", b"\x02" + b"".join(b"a%d=1\n" % n for n in range(7_000))),
    "digits in JSON": ("settings", b"\x01" + b"1" * 5_000),
    "a character past Unicode": ("settings", b'\x00"\\U00110000"'),
    "a character past C": ("settings", b'\x00"\\UFFFFFFFF"'),
    "a version of YAML": ("settings", b"\x00%YAML 1." + b"1" * 5_000 + b"\n--- a"),
    "half a character": ("settings", b'\x04CACHEGATE__UPSTREAM\n{headers: {x: "\\ud800"}}'),
    "a header of more than bytes": ("settings", b'\x04CACHEGATE__UPSTREAM__HEADERS\n{x: "\\u20ac"}'),
    "a time that is none": (
        "journal",
        b'\x02{"purge":{"id":"a","kind":"all","names":[],"soft":false,"at":"nan","origin":"o"}}',
    ),
    "a number past 64 bits": (
        "journal",
        b'\x02{"purge":{"id":"a","kind":"all","names":[],"soft":false,"at":1,"origin":"o","stream":"99999999999999999999"}}',
    ),
    "a seed's id": ("journal", b'\x02{"seed":{"id":[],"of":1,"base":1,"items":[]}}'),
    "a seed's number": ("journal", b'\x02{"seed":{"id":"a","of":1,"base":"99999999999999999999","items":[]}}'),
    "a number past 64 bits in a file": (
        "journal",
        (
            b'\x01{"journal":1,"epoch":7,"head":4,"floor":1}\n{"tie":{"courses":[{"numbers":[1],"least":[1e20],"exact":1,'
            b'"epoch":5,"ceiling":9}],"unsent":[]}}'
        ),
    ),
    "a floor that is no number": ("journal", b'\x01{"journal":1,"epoch":7,"head":4,"floor":{}}'),
    "a record's number past 64 bits": (
        "journal",
        (
            b'\x01{"journal":1,"epoch":7,"head":4,"floor":1}\n{"tie":{"courses":[{"numbers":[1],"least":[2],"exact":1,'
            b'"epoch":5,"ceiling":9}],"unsent":[]}}\n{"read":9999999999999999999999,"applied":[],"sent":[],"since":6}'
        ),
    ),
    "a position past 64 bits": (
        "records",
        b"\x02\n" + HEAD.replace(b'"position":[0', b'"position":[99999999999999999999'),
    ),
    "an answer behind an answer": (
        "wire",
        (
            b"\x00\x00HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
            b"HTTP/1.1 101 Also\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nthis"
        ),
    ),
    "a purge of an empty key": (
        "journal",
        (
            b'\x01{"journal":1,"epoch":7,"head":4,"floor":1}\n{"seq":5,"purge":{"id":"a","kind":"key","names":[""],'
            b'"soft":false,"at":1,"origin":"o"}}'
        ),
    ),
    "a purge of an empty url": (
        "journal",
        b'\x02{"purge":{"id":"a","kind":"url","names":[""],"soft":false,"at":1,"origin":"o"}}',
    ),
    "digits in the stream": ("journal", b"\x03x\ne\n" + b"1" * 5_000),
}


@pytest.mark.parametrize(("name", "data"), FOUND.values(), ids=list(FOUND))
def test_what_was_found(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_would_write(name: str) -> None:
    run(TARGETS[name], inputs(TARGETS[name]), examples=60)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_much_that_nobody_would_write(name: str) -> None:
    run(TARGETS[name], inputs(TARGETS[name]), examples=300)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nothing_takes_longer_than_its_length(name: str) -> None:
    run(TARGETS[name], pumped(TARGETS[name]), examples=40)
