"""Ranges of what is not stored whole, over the wire: RFC 9111 3.3, 3.4, 4.3.2, 5.1; RFC 9110 13.1.5, 13.2.2, 14.2,
14.4, 15.3.7, 15.5.17; RFC 9211 2.2."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import HOST, Client, Clock, Got, running
from tests.support.origin import FIN, RST, Gate, Origin
from tests.support.process import serving
from tests.support.ranged import Ranged
from tests.support.rawtcp import raw
from tests.support.redis_servers import redis_server

BODY = bytes(range(256)) * 8  # 2048 bytes, of which no two hundred are like any other at their place


def told(got: Got) -> tuple[int, str | None, bytes]:
    return got.status, got.header("content-range"), got.body


async def ranged(gateway: Client, wanted: str, **headers: str) -> Got:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    got = await gateway.get("/a", {"Range": f"bytes={wanted}", **fields})
    await gateway.settled()
    return got


def cut(start: int, end: int, body: bytes = BODY) -> tuple[int, str, bytes]:
    return 206, f"bytes {start}-{end - 1}/{len(body)}", body[start:end]


async def test_a_part_is_stored_and_answers_what_lies_within() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY, [("Content-Type", "text/x"), ("X-More", "1")]))
        first = await ranged(gateway, "100-299")
        assert (told(first), first.verdict) == (cut(100, 300), "MISS")
        assert "fwd=uri-miss; " in str(first.header("cache-status"))
        assert "stored" in str(first.header("cache-status"))
        for wanted, start, end in (("100-299", 100, 300), ("150-199", 150, 200), ("299-299", 299, 300)):
            got = await ranged(gateway, wanted)
            assert (told(got), got.verdict, got.tier) == (cut(start, end), "HIT", "memory")
            assert (got.header("x-more"), got.header("etag"), got.header("content-type")) == ("1", '"1"', "text/x")
        assert origin.count("/a") == 1


async def test_several_ranges_are_cut_from_the_parts() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        await ranged(gateway, "1000-1099")
        got = await ranged(gateway, "10-19,1010-1019")
        assert (got.status, got.verdict) == (206, "HIT")
        assert str(got.header("content-type")).startswith("multipart/byteranges; boundary=")
        assert BODY[10:20] in got.body
        assert BODY[1010:1020] in got.body
        assert origin.count("/a") == 2


async def test_the_origin_is_asked_only_for_what_is_missing() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "100-299")
        got = await ranged(gateway, "0-499")
        assert told(got) == cut(0, 500)
        assert (got.verdict, got.tier, got.detail) == ("MISS", None, "partial")
        assert str(got.header("cache-status")).startswith("cachegate; fwd=partial; ")
        assert (origin.last.header("range"), origin.last.header("if-range")) == ("bytes=0-499", '"1"')
        got = await ranged(gateway, "400-599")
        assert told(got) == cut(400, 600)
        assert origin.last.header("range") == "bytes=500-599"
        assert told(await ranged(gateway, "0-599")) == cut(0, 600)
        assert origin.count("/a") == 3


@pytest.mark.parametrize("held", ["0-9", "20-29", "90-99", "10-39,60-89", "0-19,80-99"])
@pytest.mark.parametrize("wanted", [(0, 100), (10, 90), (0, 30), (5, 25), (70, 100), (19, 81)])
async def test_what_was_completed_ends_in_order(held: str, wanted: tuple[int, int]) -> None:
    """Wherever the gap lies, the connection goes on after the last byte."""
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        for each in held.split(","):
            await ranged(gateway, each)
        start, end = wanted
        async with raw(gateway.port) as connection:
            for _ in range(3):
                got = await connection.get("/a", f"Range: bytes={start}-{end - 1}", host=HOST)
                assert (got.status, got.body, got.complete) == (206, BODY[start:end], True)
        await gateway.settled()
        again = await ranged(gateway, f"{start}-{end - 1}")
        assert (again.verdict, again.body) == ("HIT", BODY[start:end])


@pytest.mark.parametrize(
    ("held", "asked"), [("0-99", "bytes=100-2047"), ("2000-2047", "bytes=0-1999"), ("0-99,2000-2047", "bytes=100-1999")]
)
async def test_a_whole_answer_is_asked_for_where_it_is_missing(held: str, asked: str) -> None:
    """RFC 9111 3.3: and is stored as a whole from then on."""
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY, [("X-More", "1")]))
        for each in held.split(","):
            await ranged(gateway, each)
        async with raw(gateway.port) as connection:
            first = await connection.get("/a", host=HOST)
            assert (first.status, first.body, first.complete) == (200, BODY, True)
            assert (first.header("content-range"), first.header("x-more")) == (None, "1")
            assert "; fwd=partial; fwd-status=206; " in f"; {first.header('cache-status')}"
            assert (origin.last.header("range"), origin.last.header("if-range")) == (asked, '"1"')
            await gateway.settled()
            asked_before = origin.count()
            again = await connection.get("/a", host=HOST)
            assert (again.header("x-cache"), again.body, origin.count()) == ("HIT", BODY, asked_before)


async def test_a_whole_answer_of_which_parts_are_outdated_comes_whole() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        origin.script("/a", Ranged(BODY[::-1], etag='"2"'))
        got = await gateway.get("/a")
        assert (got.status, got.body, got.header("etag")) == (200, BODY[::-1], '"2"')
        await gateway.settled()
        assert (await gateway.get("/a")).verdict == "HIT"


async def test_a_crowd_for_the_whole_shares_what_is_missing() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        gate = origin.hold("/a")
        asking = [asyncio.create_task(gateway.get("/a")) for _ in range(20)]
        await gateway.waiting(19)
        gate.release()
        assert {(got.status, got.body) for got in await asyncio.gather(*asking)} == {(200, BODY)}
        assert origin.count("/a") == 2


async def test_several_ranges_with_one_gap_are_completed() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        got = await ranged(gateway, "10-19,90-199")
        assert got.status == 206
        assert BODY[10:20] in got.body
        assert BODY[90:200] in got.body
        assert origin.last.header("range") == "bytes=100-199"


async def test_several_ranges_that_would_cost_more_than_they_want_are_asked_as_they_came() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "1000-1099")
        await ranged(gateway, "0-0,-1")
        assert (origin.last.header("range"), origin.last.header("if-range")) == ("bytes=0-0,-1", None)


@pytest.mark.parametrize("size", [2048, 3 << 20], ids=["in memory", "in a file"])
async def test_when_all_parts_are_there_it_is_a_plain_entry(size: int, tmp_path: Path) -> None:
    body = (BODY * (size // len(BODY) + 1))[:size]
    half = size // 2
    async with Origin() as origin, running(origin, directory=tmp_path) as gateway:
        origin.script("/a", Ranged(body, [("Content-Type", "text/x")]))
        assert told(await ranged(gateway, f"{half}-")) == cut(half, size, body)
        inside = await ranged(gateway, f"{half + 5}-{half + 14}")
        assert (told(inside), inside.tier) == (cut(half + 5, half + 15, body), "memory" if size == 2048 else "file")
        assert told(await ranged(gateway, f"0-{half + 9}")) == cut(0, half + 10, body)
        whole = await gateway.get("/a")
        assert (whole.status, whole.verdict, whole.body == body) == (200, "HIT", True)
        assert (whole.header("content-length"), whole.header("content-range")) == (str(size), None)
        assert whole.header("content-type") == "text/x"
        assert (len(gateway.gateway.tiers.parts), origin.count("/a")) == (0, 2)
    async with Origin() as silent, running(silent, {"upstream": {"url": origin.url}}, directory=tmp_path) as gateway:
        again = await gateway.get("/a")
        assert (again.tier, again.body == body) == ("file", True)  # it outlives the process like any other


async def test_parts_are_never_in_redis_but_what_they_make_is() -> None:
    async with redis_server() as redis, Origin() as origin, running(origin, {"redis": {"url": redis.url}}) as gateway:
        async with asyncio.timeout(20):
            while not (await gateway.admin("GET", "/redis/health")).json["connected"]:
                await asyncio.sleep(0.005)
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-1023")
        assert (await ranged(gateway, "0-9")).verdict == "HIT"
        assert await redis.command("KEYS", "*:e:*") == []
        await ranged(gateway, "1024-")
        await redis.until(lambda keys: len(keys) == 1, "KEYS", "*:e:*")
        assert origin.count("/a") == 2


async def test_parts_alone_do_not_outlive_the_process(tmp_path: Path) -> None:
    body = BODY * 1024
    async with Origin() as origin:
        origin.script("/a", Ranged(body))
        for turn in (1, 2):
            async with running(origin, directory=tmp_path) as gateway:
                assert told(await ranged(gateway, "5-9")) == cut(5, 10, body)
                assert len(gateway.gateway.tiers.parts) == 1
            assert origin.count("/a") == turn
            assert list((tmp_path / "answers" / "tmp").iterdir()) == []


async def test_without_a_file_tier_what_is_large_is_passed(tmp_path: Path) -> None:
    async with Origin() as origin, running(origin, {"file": {"enabled": False}}) as gateway:
        origin.script("/a", Ranged(BODY * 1024))
        for turn in (1, 2):
            got = await ranged(gateway, "5-9")
            assert (got.status, got.body, got.detail) == (206, BODY[5:10], "max-size")
            assert origin.count("/a") == turn


# -- who may have it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "etag", "detail"),
    [
        ([], 'W/"1"', "partial"),
        ([], None, "partial"),
        ([("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")], 'W/"1"', "partial"),
        ([("Vary", "*")], '"1"', "vary-star"),
        ([("Set-Cookie", "a=b")], '"1"', "set-cookie"),
        ([("Cache-Control", "private")], '"1"', "private"),
        ([("Cache-Control", "no-store")], '"1"', "no-store"),
    ],
)
async def test_what_is_not_stored(headers: list[tuple[str, str]], etag: str | None, detail: str) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY, headers, etag=etag))
        for turn in (1, 2):
            got = await ranged(gateway, "5-9")
            assert (told(got), got.detail, origin.count("/a")) == (cut(5, 10), detail, turn)


async def test_a_date_is_a_strong_validator_when_it_is_old_enough() -> None:
    async with Origin() as origin, running(origin) as gateway:
        modified = "Tue, 14 Nov 2023 22:13:20 GMT"
        origin.script("/a", Ranged(BODY, [("Last-Modified", modified)], etag=None))
        await ranged(gateway, "0-99")
        assert told(await ranged(gateway, "0-199")) == cut(0, 200)
        assert (origin.last.header("range"), origin.last.header("if-range")) == ("bytes=100-199", modified)


async def test_one_persons_part_is_not_anothers() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        for turn in (1, 2):
            got = await ranged(gateway, "5-9", Authorization="me")
            assert (told(got), got.detail, origin.count("/a")) == (cut(5, 10), "credentials", turn)
        assert (await ranged(gateway, "5-9")).verdict == "MISS"
        for someone in ({}, {"Authorization": "me"}):  # what the origin said to anybody is for everybody
            assert (await ranged(gateway, "5-9", **someone)).verdict == "HIT"


async def test_what_somebody_in_particular_is_told_ends_nothing() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        own, public = Ranged(BODY[::-1], etag='"2"'), Ranged(BODY)
        origin.script("/a", lambda r: (own if r.header("authorization") else public)(r))
        await ranged(gateway, "0-99")
        clock.advance(61)
        got = await ranged(gateway, "0-99", Authorization="me")
        assert (told(got), got.detail) == (cut(0, 100, BODY[::-1]), "credentials")
        assert told(await ranged(gateway, "50-149", Authorization="me")) == cut(50, 150, BODY[::-1])
        got = await ranged(gateway, "0-99")
        assert (told(got), got.verdict) == (cut(0, 100), "REVALIDATED")


async def test_a_client_that_forbids_storing_forbids_it_for_itself() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        got = await ranged(gateway, "0-199", Cache_Control="no-store")
        assert (told(got), got.detail, origin.last.header("range")) == (
            cut(0, 200),
            "request-no-store",
            "bytes=100-199",
        )
        assert (await ranged(gateway, "0-99")).verdict == "HIT"
        assert (await ranged(gateway, "0-199")).verdict == "MISS"


async def test_a_client_that_forbids_storing_holds_up_nobody() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        gate = origin.hold("/a")
        alone = asyncio.ensure_future(gateway.get("/a", {"Range": "bytes=0-99", "Cache-Control": "no-store"}))
        await origin.arrived("/a")
        other = asyncio.ensure_future(gateway.get("/a", {"Range": "bytes=0-99"}))
        await origin.arrived("/a", 2)
        gate.release()
        assert [told(await each) for each in (alone, other)] == [cut(0, 100)] * 2
        assert (await ranged(gateway, "0-99")).verdict == "HIT"


async def test_what_may_not_be_stored_any_more_is_sent_and_gone() -> None:
    async with Origin() as origin, running(origin) as gateway:
        file = Ranged(BODY)
        origin.script("/a", file)
        await ranged(gateway, "0-99")
        file.headers = [("Cache-Control", "no-store")]
        got = await ranged(gateway, "0-199")
        assert (told(got), got.detail, origin.last.header("range")) == (cut(0, 200), "no-store", "bytes=100-199")
        assert (await ranged(gateway, "0-99")).verdict == "MISS"


async def test_variants_have_parts_of_their_own() -> None:
    async with Origin() as origin, running(origin) as gateway:
        german, french = Ranged(b"d" * 100, [("Vary", "Accept-Language")]), Ranged(b"f" * 100)
        french.headers, french.etag = german.headers, '"2"'
        origin.script("/a", lambda r: (german if r.header("accept-language") == "de" else french)(r))
        for verdict in ("MISS", "HIT"):
            for language, letter in (("de", b"d"), ("fr", b"f")):
                got = await ranged(gateway, "0-9", Accept_Language=language)
                assert (got.verdict, got.body) == (verdict, letter * 10)
        got = await ranged(gateway, "0-19", Accept_Language="fr")
        assert (got.body, origin.last.header("if-range")) == (b"f" * 20, '"2"')


# -- conditions --------------------------------------------------------------------------------------------------------


async def test_the_clients_conditions_count_where_the_parts_answer() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        assert told(await ranged(gateway, "0-9", If_Range='"1"')) == cut(0, 10)
        assert (await ranged(gateway, "0-9", If_None_Match='"1"')).status == 304
        assert told(await ranged(gateway, "0-9", If_None_Match='"other"')) == cut(0, 10)
        assert origin.count("/a") == 1
        assert told(await ranged(gateway, "0-199", If_Range='"1"')) == cut(0, 200)
        assert (origin.last.header("range"), origin.count("/a")) == ("bytes=100-199", 2)
        assert (await ranged(gateway, "0-299", If_None_Match='"1"')).status == 304  # the origin's to say: 4.3.2
        assert (origin.last.header("if-none-match"), origin.last.header("range")) == ('"1"', "bytes=0-299")


async def test_if_range_that_names_another_version_gets_the_whole() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        got = await ranged(gateway, "0-9", If_Range='"old"')
        assert (got.status, got.body, origin.last.header("if-range")) == (200, BODY, '"old"')
        assert (await gateway.get("/a")).verdict == "HIT"


async def test_a_part_fetched_with_if_range_lacks_fields_and_founds_nothing() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        for turn in (1, 2):
            assert told(await ranged(gateway, "0-9", If_Range='"1"')) == cut(0, 10)
            assert origin.count("/a") == turn


async def test_a_range_outside_is_the_origins_to_refuse() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        got = await ranged(gateway, "5000-")
        assert (got.status, got.header("content-range"), origin.count("/a")) == (416, "bytes */2048", 2)
        assert (await ranged(gateway, "0-99")).verdict == "HIT"


async def test_only_if_cached_is_answered_from_parts_or_not_at_all() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        assert (await ranged(gateway, "0-9", Cache_Control="only-if-cached")).status == 206
        assert (await ranged(gateway, "0-199", Cache_Control="only-if-cached")).status == 504
        assert origin.count("/a") == 1


# -- it changes --------------------------------------------------------------------------------------------------------


async def test_a_change_seen_while_completing_gives_one_version() -> None:
    async with Origin() as origin, running(origin) as gateway:
        file = Ranged(BODY)
        origin.script("/a", file)
        await ranged(gateway, "0-99")
        file.become(BODY[::-1], etag='"2"')
        got = await ranged(gateway, "50-199")  # If-Range was false, so the origin sends all of the new one
        assert (told(got), got.header("etag"), origin.count("/a")) == (cut(50, 200, BODY[::-1]), '"2"', 2)
        again = await ranged(gateway, "0-9")
        assert (again.verdict, again.body, origin.count("/a")) == ("HIT", BODY[::-1][:10], 2)


async def test_a_change_ends_the_parts_when_it_is_seen_not_when_it_is_stored() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY), times=1)  # type: ignore[arg-type]
        await ranged(gateway, "0-99")
        rest = Gate()
        head = b'HTTP/1.1 206 P\r\nETag: "2"\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n'
        origin.script("/a", head + b"Content-Range: bytes 200-299/2048\r\n\r\n" + b"y" * 50, rest, b"y" * 50, times=1)
        origin.script("/a", Ranged(BODY[::-1], etag='"2"'))
        async with raw(gateway.port) as client:
            fields = b'Range: bytes=200-299\r\nIf-None-Match: "0"\r\n'  # asked as it came
            await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n" + fields + b"\r\n")
            await client.reader.readuntil(b"y" * 50)
            got = await gateway.get("/a", {"Range": "bytes=0-9"})
            assert (told(got), got.verdict) == (cut(0, 10, BODY[::-1]), "MISS")
            rest.release()
            await client.reader.readuntil(b"y" * 50)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (206, [("ETag", '"2"'), ("Content-Range", "bytes 100-199/2048")], b"x" * 100),
        (206, [("ETag", 'W/"1"'), ("Content-Range", "bytes 100-199/2048")], b"x" * 100),
        (206, [("Content-Range", "bytes 100-199/2048")], b"x" * 100),
        (206, [("ETag", '"1"'), ("Content-Range", "bytes 100-199/4096")], b"x" * 100),
        (206, [("ETag", '"1"'), ("Content-Range", "bytes 100-199/*")], b"x" * 100),
        (206, [("ETag", '"1"'), ("Content-Range", "bytes 0-99/2048")], b"x" * 100),
        (206, [("ETag", '"1"'), ("Content-Range", "bytes 100-199/2048")], b"x" * 99),
        (206, [("ETag", '"1"'), ("Content-Range", "bytes 100-149/2048")], b"x" * 50),
        (206, [("ETag", '"1"'), ("Content-Range", "lines 100-199/2048")], b"x" * 100),
        (206, [("ETag", '"1"')], b"x" * 100),
        (206, [("ETag", '"1"'), ("Content-Type", "multipart/byteranges; boundary=b")], b"x" * 100),
        (304, [("ETag", '"1"')], b""),
        (416, [("Content-Range", "bytes */50")], b"no"),
    ],
)
async def test_a_part_that_does_not_fit_is_never_spliced(
    status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY), times=1)  # type: ignore[arg-type]
        await ranged(gateway, "0-99")
        origin.answer("/a", status, headers=headers, body=body, times=1)
        origin.script("/a", Ranged(BODY[::-1], etag='"3"'))
        got = await ranged(gateway, "0-199")
        assert told(got) == cut(0, 200, BODY[::-1])
        assert [r.header("range") for r in origin.of("/a")] == ["bytes=0-99", "bytes=100-199", "bytes=0-199"]
        assert origin.last.header("if-range") is None


async def test_errors_pass_and_what_is_held_stays() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY), times=1)  # type: ignore[arg-type]
        origin.answer("/a", 503, body=b"trouble", times=1)
        origin.script("/a", RST, times=2)  # a GET is tried twice
        origin.answer("/a", 404, body=b"none")
        await ranged(gateway, "0-99")
        assert (await ranged(gateway, "0-199")).body == b"trouble"
        assert (await ranged(gateway, "0-199")).status == 502
        assert (await ranged(gateway, "0-199")).body == b"none"
        assert (await ranged(gateway, "0-99")).verdict == "HIT"


async def test_a_whole_answer_ends_the_parts() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        file = Ranged(BODY)
        origin.script("/a", file)
        await ranged(gateway, "0-99")
        assert len(gateway.gateway.tiers.parts) == 1
        await gateway.get("/a")
        await gateway.settled()
        assert len(gateway.gateway.tiers.parts) == 0
        assert (await ranged(gateway, "500-599")).verdict == "HIT"


async def test_a_stored_answer_that_is_stale_is_renewed_and_then_cut() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.script("/a", Ranged(BODY))
        await gateway.get("/a")
        clock.advance(61)
        got = await ranged(gateway, "5-9")
        assert (told(got), got.verdict) == (cut(5, 10), "REVALIDATED")
        assert (origin.last.header("if-none-match"), origin.last.header("range")) == ('"1"', None)


@pytest.mark.parametrize("what", [{"url": "/a"}, {"all": True}, {"pattern": "/*"}])
async def test_a_purge_ends_the_parts(what: dict[str, Any]) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        await gateway.purge(**what)
        got = await ranged(gateway, "0-199")
        assert (told(got), origin.last.header("range"), origin.last.header("if-range")) == (
            cut(0, 200),
            "bytes=0-199",
            None,
        )


async def test_a_purge_while_a_part_comes_is_not_undone() -> None:
    async with Origin() as origin, running(origin) as gateway:
        file = Ranged(BODY)
        origin.script("/a", file)
        gate = origin.hold("/a")
        first = asyncio.ensure_future(gateway.get("/a", {"Range": "bytes=0-99"}))
        await origin.arrived("/a")
        await gateway.purge(url="/a")
        gate.release()
        assert told(await first) == cut(0, 100)
        await gateway.settled()
        assert (await ranged(gateway, "0-9")).verdict == "MISS"


async def test_a_soft_purge_has_the_parts_confirmed() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        await gateway.purge(url="/a", soft=True)
        got = await ranged(gateway, "0-9")
        assert (told(got), got.verdict, origin.last.header("if-none-match")) == (cut(0, 10), "REVALIDATED", '"1"')
        assert (await ranged(gateway, "0-9")).verdict == "HIT"
        await gateway.purge(url="/a", soft=True)
        assert told(await ranged(gateway, "0-199")) == cut(0, 200)  # If-Range confirms it on the way
        assert (await ranged(gateway, "0-199")).verdict == "HIT"


async def test_what_nobody_can_want_any_more_is_swept() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        clock.advance(10_000)
        assert await gateway.gateway.sweep() == 1
        assert len(gateway.gateway.tiers.parts) == 0


async def test_clearing_a_tier_clears_its_parts() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        await gateway.admin("DELETE", "/memory")
        assert (await ranged(gateway, "0-99")).verdict == "MISS"


# -- it grows old ------------------------------------------------------------------------------------------------------


async def test_stale_parts_are_confirmed() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        clock.advance(59)
        assert ((got := await ranged(gateway, "0-9")).verdict, got.header("age")) == ("HIT", "59")
        clock.advance(2)
        got = await ranged(gateway, "0-9")
        assert (told(got), got.verdict, got.header("age")) == (cut(0, 10), "REVALIDATED", "0")
        assert (origin.last.header("if-none-match"), origin.last.header("range")) == ('"1"', "bytes=0-9")
        assert (await ranged(gateway, "0-9")).verdict == "HIT"
        assert origin.count("/a") == 2


async def test_stale_parts_that_changed_give_way() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        file = Ranged(BODY)
        origin.script("/a", file)
        await ranged(gateway, "0-99")
        clock.advance(61)
        file.become(b"new" * 1000, etag='"2"')
        got = await ranged(gateway, "0-9")
        assert (told(got), got.verdict) == (cut(0, 10, b"new" * 1000), "EXPIRED")
        assert (await ranged(gateway, "0-9")).verdict == "HIT"
        assert (await ranged(gateway, "50-99")).verdict == "MISS"


async def test_stale_parts_stand_in_for_an_origin_in_trouble() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.script("/a", Ranged(BODY), times=1)  # type: ignore[arg-type]
        await ranged(gateway, "0-99")
        clock.advance(61)
        origin.answer("/a", 503, times=1)
        origin.script("/a", RST)
        for _ in range(2):
            got = await ranged(gateway, "0-9")
            assert (told(got), got.verdict, got.detail) == (cut(0, 10), "STALE", "stale-if-error")
        assert (await ranged(gateway, "0-199")).status == 502  # of what is not there nothing can stand in


async def test_in_the_window_they_are_served_and_confirmed_behind() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        file = Ranged(BODY)
        file.headers = [("Cache-Control", "max-age=60, stale-while-revalidate=60")]
        origin.script("/a", file)
        await ranged(gateway, "0-99")
        clock.advance(61)
        assert (await ranged(gateway, "0-9")).verdict == "UPDATING"
        assert (await ranged(gateway, "0-9")).verdict == "HIT"
        clock.advance(61)
        file.become(BODY[::-1], etag='"2"')
        assert (await ranged(gateway, "0-9")).verdict == "UPDATING"
        got = await ranged(gateway, "0-9")
        assert (got.verdict, got.body) == ("MISS", BODY[::-1][:10])


@pytest.mark.parametrize(("window", "verdict"), [("", "REVALIDATED"), (", stale-while-revalidate=60", "UPDATING")])
async def test_stale_parts_that_are_confirmed_as_private_are_gone(window: str, verdict: str) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        file = Ranged(BODY)
        file.headers = [("Cache-Control", f"max-age=60{window}")]
        origin.script("/a", file)
        await ranged(gateway, "0-99")
        clock.advance(61)
        file.headers = [("Cache-Control", "private")]
        got = await ranged(gateway, "0-9")
        assert (told(got), got.verdict) == (cut(0, 10), verdict)
        assert len(gateway.gateway.tiers.parts) == 0
        origin.script("/a", RST)
        assert (await ranged(gateway, "0-9")).status == 502


async def test_the_newest_head_rules() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        file = Ranged(BODY, [("X-Said", "first"), ("X-Old", "kept")])
        origin.script("/a", file)
        await ranged(gateway, "0-99")
        clock.advance(30)
        file.headers = [("Cache-Control", "max-age=100"), ("X-Said", "second"), ("Content-Language", "de")]
        await ranged(gateway, "0-199")
        clock.advance(80)  # too old by the first word, not by the second
        got = await ranged(gateway, "0-9")
        assert (got.verdict, got.header("age"), got.header("x-said")) == ("HIT", "80", "second")
        assert (got.header("x-old"), got.header("content-language")) == ("kept", "de")


# -- while it comes ----------------------------------------------------------------------------------------------------


async def test_who_asks_the_same_at_the_same_time_shares_the_answer() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        gate = origin.hold("/a")
        together = asyncio.gather(*(gateway.get("/a", {"Range": "bytes=0-99"}) for _ in range(20)))
        await origin.arrived("/a")
        await gateway.waiting(19)
        gate.release()
        assert {told(got) for got in await together} == {cut(0, 100)}
        assert origin.count("/a") == 1
        await gateway.settled()
        gate = origin.hold("/a")
        together = asyncio.gather(*(gateway.get("/a", {"Range": f"bytes={at}-199"}) for at in range(20)))
        await origin.arrived("/a", 2)
        await gateway.waiting(19)
        gate.release()
        assert {told(got) for got in await together} == {cut(at, 200) for at in range(20)}
        assert origin.count("/a") == 2


async def test_what_may_not_be_shared_is_not() -> None:
    async with Origin() as origin, running(origin) as gateway:
        file = Ranged(BODY, [("Cache-Control", "private")])
        origin.script("/a", file)
        gate = origin.hold("/a")
        together = asyncio.gather(*(gateway.get("/a", {"Range": "bytes=0-99"}) for _ in range(5)))
        await origin.arrived("/a")
        await gateway.waiting(4)
        gate.release()
        await together
        assert origin.count("/a") == 5
        gate = origin.hold("/a")
        together = asyncio.gather(*(gateway.get("/a", {"Range": "bytes=0-99"}) for _ in range(5)))
        await origin.arrived("/a", 10)  # all at once: for a while nobody waits for what he cannot have
        gate.release()
        await together


@pytest.mark.parametrize("end", [FIN, RST], ids=["ended", "reset"])
@pytest.mark.parametrize("held", [False, True], ids=["nothing held", "a part held"])
async def test_a_part_that_is_cut_is_cut_for_its_client_and_not_stored(end: Any, held: bool) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY), times=int(held)) if held else None  # type: ignore[arg-type]
        if held:
            await ranged(gateway, "0-99")
        first = 100 if held else 0

        head = b'HTTP/1.1 206 Partial Content\r\nETag: "1"\r\nCache-Control: max-age=60\r\n'
        head += b"Content-Length: %d\r\nContent-Range: bytes %d-199/2048\r\n\r\n" % (200 - first, first)
        origin.script("/a", head + BODY[first:150], end, times=1)
        origin.script("/a", Ranged(BODY))
        async with raw(gateway.port) as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\nRange: bytes=0-199\r\n\r\n")
            got = await client.response()
            assert (got.complete, BODY[:200].startswith(got.body)) == (False, True)
        await gateway.settled()
        assert told(await ranged(gateway, "0-199")) == cut(0, 200)
        assert origin.last.header("range") == f"bytes={first}-199"


async def test_more_than_was_announced_is_not_stored() -> None:
    async with Origin() as origin, running(origin) as gateway:
        file = Ranged(BODY)
        origin.script("/a", file, times=1)  # type: ignore[arg-type]
        await ranged(gateway, "0-99")
        more = b'HTTP/1.1 206 P\r\nETag: "1"\r\nContent-Range: bytes 100-199/2048\r\nTransfer-Encoding: chunked\r\n\r\n'
        origin.script("/a", more + b"%x\r\n%b\r\n0\r\n\r\n" % (150, b"x" * 150), times=1)
        origin.script("/a", file)
        async with raw(gateway.port) as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\nRange: bytes=0-199\r\n\r\n")
            assert not (await client.response()).complete
        await gateway.settled()
        assert told(await ranged(gateway, "0-199")) == cut(0, 200)


async def test_a_client_that_leaves_ends_the_fetch_of_a_part() -> None:
    async with Origin() as origin, running(origin) as gateway:
        rest = Gate()
        head = b'HTTP/1.1 206 P\r\nETag: "1"\r\nCache-Control: max-age=60\r\nContent-Length: 1000\r\n'
        head += b"Content-Range: bytes 0-999/2048\r\n\r\n"
        origin.script("/a", head + BODY[:100], rest, BODY[100:200], rest, BODY[200:999], times=1)
        async with raw(gateway.port) as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\nRange: bytes=0-999\r\n\r\n")
            await client.reader.readuntil(BODY[90:100])
        rest.release()
        await gateway.settled()
        assert len(gateway.gateway.tiers.parts) == 0


async def test_a_whole_answer_to_a_range_is_stored() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[("Cache-Control", "max-age=60")], body=BODY)  # knows no ranges
        got = await ranged(gateway, "5-9")
        assert (told(got), got.verdict) == (cut(5, 10), "MISS")
        assert (await gateway.get("/a")).body == BODY
        assert origin.count("/a") == 1


async def test_chunked_parts_are_parts_too() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY, chunked=True))
        assert told(await ranged(gateway, "0-99")) == cut(0, 100)
        assert told(await ranged(gateway, "0-199")) == cut(0, 200)
        assert (await ranged(gateway, "0-199")).verdict == "HIT"


async def test_what_is_held_in_parts_is_shown_counted_and_cleared() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        origin.script("/b", Ranged(BODY))
        for path in ("/a", "/b"):
            await gateway.get(path, {"Range": "bytes=0-99"})
            await gateway.get(path, {"Range": "bytes=500-599"})
        await gateway.settled()
        listing = (await gateway.admin("GET", "/entries")).json
        shown = {row["url"].rpartition("/")[2]: (row["tier"], row["size"], row["of"]) for row in listing["entries"]}
        assert (shown, listing["total"]) == ({"a": ("memory", 200, 2048), "b": ("memory", 200, 2048)}, 2)
        (row,) = (await gateway.admin("GET", "/entries?match=*/b")).json["entries"]
        assert (await gateway.admin("GET", f"/entries/{row['key'][:12]}")).json["key"] == row["key"]
        stats = await gateway.stats()
        assert (stats["parts"]["size"], stats["memory"]["size"]) == (2, 0)
        assert stats["parts"]["bytes"] > 2 * len(BODY)
        assert (await gateway.admin("DELETE", "/file")).json["cleared"] == 0
        assert (await gateway.admin("DELETE", "/memory?pattern=*/b")).json["cleared"] == 1
        assert (await gateway.stats())["parts"]["size"] == 1
        assert (await gateway.admin("DELETE", "")).json["cleared"] == 1
        assert (await gateway.stats())["parts"] == {"size": 0, "bytes": 0}
        assert (await gateway.admin("GET", "/entries")).json["total"] == 0


@pytest.mark.parametrize(("page", "cleared"), [("/memory", 2), ("/file", 0), ("", None)])
async def test_clearing_reaches_what_every_worker_holds_in_parts(page: str, cleared: int | None) -> None:
    async with Origin() as origin, serving(origin, None, "--workers", "2") as gateway:
        origin.script("/a", Ranged(BODY))
        while (await gateway.stats())["parts"]["size"] < 2:  # one in each worker
            async with raw(gateway.port) as connection:
                await connection.get("/a", "Range: bytes=0-99")
        got = (await gateway.admin("DELETE", page)).json
        assert cleared is None or got["cleared"] == cleared
        assert (await gateway.stats())["parts"]["size"] == (2 if page == "/file" else 0)
        assert (await gateway.admin("GET", "/entries")).json["total"] == (1 if page == "/file" else 0)


@pytest.mark.parametrize(
    ("told", "ends"),
    [
        ([("ETag", '"1"'), ("Content-Length", "2048")], False),
        ([("ETag", '"2"'), ("Content-Length", "2048")], True),
        ([("ETag", '"1"'), ("Content-Length", "9")], True),
        ([], False),
    ],
    ids=["agrees", "another tag", "another length", "says nothing"],
)
async def test_a_head_that_disagrees_ends_the_parts(told: list[tuple[str, str]], ends: bool) -> None:
    """RFC 9111 4.3.5."""
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", Ranged(BODY))
        await ranged(gateway, "0-99")
        lines = "".join(f"{name}: {value}\r\n" for name, value in told)
        origin.script("/a", f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode(), times=1)
        assert (await gateway.ask("HEAD", "/a")).status == 200
        assert origin.last.method == "HEAD"
        assert (await ranged(gateway, "0-49")).verdict == ("MISS" if ends else "HIT")
