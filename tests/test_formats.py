"""What earlier versions wrote, and later ones will write, is read or is a miss, never an error (docs/upgrading.md).

`tests/golden/format-1/` holds what version 0.1.0 writes. Those files stay as they are: whoever changes a format raises
its number, writes the next directory (`python -m tests.test_formats DIR`), and lets the tables here have both.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from zstandard import ZstdCompressor, ZstdDecompressor

from proxy import entry as keys
from proxy.entry import BytesBody, Entry, KeyParts, Position, Scope
from proxy.invalidation import lines
from proxy.invalidation.journal import Journal
from proxy.invalidation.records import Kind, Purge, Seed, decode, encode
from proxy.message import Fields
from proxy.observe import span
from proxy.observe.rule_counts import RuleCounts
from proxy.observe.span import Lookups, NoSpan, Span
from proxy.outcome import Tier, Verdict
from proxy.reasons import Why
from proxy.store import codec, redis_record
from proxy.store.codec import BadRecord
from tests.support.origin import Origin
from tests.support.process import REPOSITORY, serving
from tests.support.redis_servers import RedisServer, redis_server

GOLDEN = REPOSITORY / "tests" / "golden" / "format-1"
SCOPE = Scope("api.example.com:443", "mobile", "https", "POST", "site.example")
PARTS = KeyParts(SCOPE, "/caf\xe9", "a=1&b=2", "5f" * 32, (("accept-language", "de"), ("cookie:tenant", "x")))
ANSWER = Entry(
    hash=PARTS.digest(),
    parts=PARTS,
    status=203,
    phrase="Fine",
    fields=Fields.of(("Content-Type", "application/json"), ("Set-Cookie", "a"), ("Set-Cookie", "b"), ("ETag", 'W/"1"')),
    requested_at=1_700_000_000.25,
    received_at=1_700_000_001.5,
    keep_until=1_700_003_600.0,
    body=BytesBody(bytes(range(256)) * 2),
    vary=(("accept-encoding", "gzip"), ("origin", "")),
    rule="users",
    tags=("users", "user:7"),
    position=Position(77, 12, 34),
    fence=9,
)
LARGE = replace(ANSWER, body=BytesBody(b'{"name": "value"}' * 200))  # large enough to be packed
PURGES = (
    Purge("p1", Kind.TAG, ("user:7",), True, 1_700_000_100.5, "a1b2", 5),
    Purge("p2", Kind.PATTERN, ("*/users/*",), False, 1_700_000_200.0, "c3d4"),
)
SEED = Seed("s1", 76, 3, ((5, (PURGES[1],)), (7, ())))
TOLD: tuple[Purge | Seed, ...] = (*PURGES, SEED)
MINUTE = Span(
    {
        ("users", "/users/*"): RuleCounts(
            {(Verdict.HIT, Why.FRESH): 3, (Verdict.MISS, Why.URI_MISS): 1}, 99, 3, 0.5, 0.25, 1, 2.0
        )
    },
    {Tier.MEMORY: Lookups(3, 1, 0)},
)


def record() -> bytes:
    return codec.encode(ANSWER, ANSWER.body.data or b"")


def packed() -> bytes:
    return redis_record.framed(LARGE, redis_record.seal(LARGE.body.data or b"", packs=True))


def journal() -> bytes:
    made = Journal(77, head=3, floor=1)
    for seq, purge in enumerate(PURGES, 4):
        made.apply(seq, purge)
    return b"".join(lines.compact_copy(made)) + lines.record_line(6, PURGES[0], unsent=True)


def told() -> bytes:
    """What the stream in Redis holds, a record a line."""
    return b"".join(encode(each) + b"\n" for each in TOLD)


FILES: dict[str, Callable[[], bytes]] = {
    "record": record,
    "packed": packed,
    "journal": journal,
    "told": told,
    "minute": MINUTE.packed,
}


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


# -- what there is -----------------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_directory() -> None:
    assert {keys.FORMAT, codec.VERSION, lines.FORMAT, span.FORM} == {int(GOLDEN.name.rpartition("-")[2])}


@pytest.mark.parametrize(
    "name", ["record", "journal", "told"]
)  # what is packed may be packed otherwise, and is the same
def test_the_same_is_written_today(name: str) -> None:
    assert FILES[name]() == golden(name), "a new form wants a new number: see the head of this file"


def test_records_are_read() -> None:
    assert codec.decode(golden("record"), ANSWER.key) == ANSWER
    assert redis_record.opened(LARGE.key, golden("packed"), 1 << 20) == LARGE
    assert len(golden("packed")) < len(LARGE.body.data or b"")


def test_a_journal_is_read() -> None:
    kept = lines.restore(golden("journal"))
    assert kept is not None
    assert (kept.journal.epoch, kept.journal.head, kept.journal.floor) == (77, 6, 1)
    said = [(seq, purge.kind, purge.names, purge.soft) for seq, purge in kept.journal.compacted()]
    assert said == [(5, Kind.PATTERN, ("*/users/*",), False), (6, Kind.TAG, ("user:7",), True)]
    assert [each.told for each in kept.tie.unsent.values()] == [PURGES[0]]


def test_what_instances_tell_each_other_is_read() -> None:
    assert tuple(map(decode, golden("told").splitlines())) == TOLD


def test_a_minute_is_read() -> None:
    assert Span.unpacked(golden("minute")) == MINUTE


# -- what is not known -------------------------------------------------------------------------------------------------


def of_another_version(raw: bytes) -> bytes:
    """A record whose number alone is another one: what its bytes mean is then anybody's guess."""
    return raw[:6] + (codec.VERSION + 1).to_bytes(2) + raw[8:]


def of_another_form(raw: bytes) -> bytes:
    """The journal with another number, and sound all the same."""
    first, _, rest = raw.partition(b"\n")
    return lines.line(lines.unline(first) | {"journal": lines.FORMAT + 1}) + rest


def a_minute_of_another_form(raw: bytes) -> bytes:
    """Sound in all but its number."""
    content = ZstdDecompressor().decompress(raw)
    assert content.count(b'"form":1') == 1
    return ZstdCompressor().compress(content.replace(b'"form":1', b'"form":2'))


def test_what_another_version_wrote_is_nothing_that_is_read() -> None:
    with pytest.raises(BadRecord, match="not a record of this version"):
        codec.decode(of_another_version(golden("record")), ANSWER.key)
    with pytest.raises(BadRecord, match="not a record of this version"):
        redis_record.opened(LARGE.key, of_another_version(golden("packed")), 1 << 20)
    assert lines.restore(of_another_form(golden("journal"))) is None
    assert decode(NEWS) is None
    with pytest.raises(NoSpan, match="another version"):
        Span.unpacked(a_minute_of_another_form(golden("minute")))


NEWS = b'{"purge":{"id":"p3","kind":"country","names":["fr"],"soft":false,"at":1.0,"origin":"a1b2","stream":0}}'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "change", "verdict"),
    [
        pytest.param("answers/**/*", of_another_version, "MISS", id="records"),
        pytest.param(
            "journal", of_another_form, "MISS", id="a journal"
        ),  # purges that cannot be read may name anything
        pytest.param("history", lambda raw: b"2 of another form\n", "HIT", id="a history"),
        pytest.param("instance", lambda raw: b'{"another": "form"}', "HIT", id="a name"),
    ],
)
async def test_a_gateway_starts_on_what_another_version_left(
    files: str, change: Callable[[bytes], bytes], verdict: str, tmp_path: Path
) -> None:
    settings = {"rules": [{"pattern": "*", "ttl": 600}]}
    async with Origin() as origin:
        origin.answer("/a", body=b"yes")
        async with serving(origin, settings, directory=tmp_path) as gateway:
            assert await gateway.verdicts("/a", "/a") == ["MISS", "HIT"]
        places = (tmp_path / ".cachegate").glob(files)
        changed = [path for path in places if path.is_file() and path.name != "lock"]
        assert changed
        for path in changed:
            path.write_bytes(change(path.read_bytes()))
        before = len((tmp_path / "gateway.log").read_text())
        async with serving(origin, settings, directory=tmp_path) as gateway:
            assert await gateway.verdicts("/a", "/a") == [verdict, "HIT"]
            assert (await gateway.admin("POST", "/purge", {"url": "/a"})).status == 200
            assert (await gateway.admin("GET", "/stats?window=1h")).status == 200
            assert await gateway.verdicts("/a") == ["MISS"]
        assert "Traceback" not in (tmp_path / "gateway.log").read_text()[before:]


async def records(redis: RedisServer) -> None:
    async with redis.client() as client:
        names = [key async for key in client.scan_iter(match="proxy:cache:e:*")]
        assert len(names) == 2
        for name in names:
            raw = await client.get(name)
            assert raw is not None
            await client.set(name, of_another_version(raw), keepttl=True)


async def indexes(redis: RedisServer) -> None:
    async with redis.client() as client:
        (name,) = [key async for key in client.scan_iter(match="proxy:cache:v:*")]
        for field in await client.hkeys(name):
            await client.hset(name, field, b"of another form")


async def minutes(redis: RedisServer) -> None:
    async with redis.client() as client:
        names = [key async for key in client.scan_iter(match="proxy:cache:m:*")]
        assert names
        for name in names:
            for field, raw in (await client.hgetall(name)).items():
                await client.hset(name, field, a_minute_of_another_form(raw))


async def purges(redis: RedisServer) -> None:
    """One that ends what nobody here knows."""
    async with redis.client() as client:
        ((name, fields),) = await client.xrevrange("proxy:cache:j:{journal}", count=1)
        number = int(name.partition(b"-")[0])
        content = {b"e": fields[b"e"], b"p": str(number).encode(), b"d": NEWS}
        await client.xadd("proxy:cache:j:{journal}", content, id=f"{number + 1}-0")


async def instances(redis: RedisServer) -> None:
    async with redis.client() as client:
        await client.hset("proxy:cache:i:{journal}", "a1b2", b"2 of another form")


async def nothing(redis: RedisServer) -> None:
    """To see that the rest is seen."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        (nothing, ["HIT", "HIT"]),
        (records, ["MISS", "MISS"]),
        (indexes, ["HIT", "MISS"]),  # of the two the second alone has variants
        (minutes, ["HIT", "HIT"]),
        (purges, ["MISS", "MISS"]),  # it may have named anything
        (instances, ["HIT", "HIT"]),
    ],
)
async def test_a_gateway_joins_what_another_version_left_in_redis(
    change: Callable[[RedisServer], Awaitable[None]], verdicts: list[str]
) -> None:
    async with redis_server() as redis, Origin() as origin:
        settings = {"rules": [{"pattern": "*", "ttl": 600, "key": {"host": False}}], "file": {"enabled": False}}
        settings["redis"] = {"url": redis.url}
        origin.answer("/a", body=b"yes")
        origin.answer("/b", headers=[("Vary", "Accept-Language")], body=b"ja")
        async with serving(origin, settings) as gateway:
            await gateway.connected()
            assert await gateway.verdicts("/a", "/b") == ["MISS", "MISS"]
            await redis.until(lambda number: number == 2, "EVAL", COUNT, 0)
        await change(redis)
        async with serving(origin, settings) as gateway:
            await gateway.connected()
            assert await gateway.verdicts("/a", "/b") == verdicts
            assert (await gateway.admin("GET", "/stats?window=1h")).status == 200
            assert (await gateway.admin("POST", "/purge", {"url": "/a"})).status == 200
            assert await gateway.verdicts("/a") == ["MISS"]
            assert "Traceback" not in gateway.log


COUNT = "return #redis.call('KEYS', 'proxy:cache:e:*')"


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    os.makedirs(directory)
    for name, written in FILES.items():
        (directory / name).write_bytes(written())
