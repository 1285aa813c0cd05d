"""What the fast lane leaves as it is: the connection's own rules, purges, reloads, limits and books."""

import asyncio
import gc
import io
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.message import Fields, Reply, Request
from proxy.observe.counters import Counters
from proxy.observe.logs import Format, LineWriter
from proxy.outcome import Outcome, Tier, Verdict
from proxy.reasons import Why
from proxy.server.access_log import AccessLog, Books, Redaction
from proxy.settings import settings_from
from proxy.settings.load import Loaded
from proxy.store.memory import Slot
from tests.support.gateway import Client, Clock, settings
from tests.support.gateway import running_with_lane as running
from tests.support.origin import Origin
from tests.support.rawtcp import Raw, raw

FRESH = [("Cache-Control", "max-age=60"), ("ETag", '"e"')]
HOST = b"Host: site.example\r\n"


def asked(target: str = "/a", *lines: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\n".encode() + HOST + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


async def filled(gateway: Client, origin: Origin, path: str = "/a", body: bytes = b"hello", **more: Any) -> None:
    origin.answer(path, headers=more.get("headers", FRESH), body=body)
    await gateway.get(path)
    await gateway.settled()


async def hits(client: Raw, number: int) -> list[bytes]:
    got = [await client.response() for _ in range(number)]
    assert {(answer.status, answer.header("x-cache")) for answer in got} == {(200, "HIT")}
    return [answer.body for answer in got]


async def test_several_at_once_in_their_order() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        for path in ("/a", "/b"):
            await filled(gateway, origin, path, path.encode())
        await client.send(asked("/a") + asked("/b") + asked("/a"))
        assert await hits(client, 3) == [b"/a", b"/b", b"/a"]
        assert origin.count() == 2


async def test_a_hit_a_miss_and_a_hit_behind_it() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        origin.answer("/new", body=b"new")
        gate = origin.hold("/new")
        await client.send(asked() + asked("/new") + asked())
        assert await hits(client, 1) == [b"hello"]
        await origin.arrived("/new")
        await client.send(asked())  # it waits its turn
        gate.release()
        assert (await client.response()).body == b"new"
        assert await hits(client, 2) == [b"hello"] * 2


@pytest.mark.parametrize("at", range(1, len(asked())))
async def test_a_head_in_two_pieces(at: int) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        await client.send(asked() + asked()[:at])
        assert await hits(client, 1) == [b"hello"]
        await client.send(asked()[at:] + asked())
        assert await hits(client, 2) == [b"hello"] * 2


async def test_an_upload_between_hits_is_never_read_as_a_request() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        origin.answer("/up", body=b"thanks")
        inside = asked("/a")
        head = b"POST /up HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(inside)
        await client.send(asked() + head)
        assert await hits(client, 1) == [b"hello"]
        await client.send(inside + asked())
        assert (await client.response()).body == b"thanks"
        assert origin.last.body == inside
        assert await hits(client, 1) == [b"hello"]


async def test_more_at_once_than_may_wait_are_treated_as_ever() -> None:
    async with (
        Origin() as origin,
        running(origin, {"limits": {"pipelined": 3}}) as gateway,
        raw(gateway.port) as client,
    ):
        await filled(gateway, origin)
        await client.send(asked() * 9)
        assert await hits(client, 3) == [b"hello"] * 3
        assert await client.closed() == "fin"


async def test_an_idle_connection_is_closed_after_its_last_hit() -> None:
    async with Origin() as origin, running(origin, {"timeouts": {"keep_alive": 0.4, "head": 0.2}}) as gateway:
        await filled(gateway, origin)
        async with raw(gateway.port) as client:
            for _ in range(4):  # longer than keep_alive on the whole
                await client.send(asked())
                await hits(client, 1)
                await asyncio.sleep(0.15)
            assert await client.closed() == "fin"
        async with raw(gateway.port) as client:
            await client.send(asked() + b"GET /a HT")
            await hits(client, 1)
            assert (await client.response()).status == 408


async def test_who_reads_nothing_is_held_up_and_cut() -> None:
    async with Origin() as origin, running(origin, {"timeouts": {"send_idle": 0.3}}) as gateway:
        await filled(gateway, origin, body=bytes(60_000))
        before = gateway.gateway.counters.connections
        async with raw(gateway.port) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            for _ in range(200):  # more than the buffers of two sockets take
                client.writer.write(asked())
                await asyncio.sleep(0)
            await until(lambda: gateway.gateway.counters.connections == before)
        assert (await gateway.stats())["memory"]["totalHits"] < 200  # most of them were never looked at


async def test_who_reads_late_gets_all_in_order() -> None:
    """Past what a socket takes, requests go the long way, and those behind them wait."""
    async with Origin() as origin, running(origin, {"limits": {"pipelined": 500}}) as gateway:
        await filled(gateway, origin, body=bytes(60_000))
        origin.answer("/new", body=b"new")
        gate = origin.hold("/new")
        async with raw(gateway.port) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.writer.write(asked())
            await until(lambda: served(gateway, client) is not None)
            end, sent = served(gateway, client), 1
            while end is not None and end.get_write_buffer_size() <= 65_536:  # then writing is paused
                client.writer.write(asked())
                sent += 1
                await asyncio.sleep(0.001)
            for _ in range(50):
                client.writer.write(asked())
                await asyncio.sleep(0.001)
            assert end is not None
            assert end.get_write_buffer_size() <= 65_536 + 2 * 61_000
            client.writer.write(asked("/new"))
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            await hits(client, sent + 50)
            await origin.arrived("/new")
            await client.send(asked())
            await gateway.get("/a")  # by now it has come
            gate.release()
            assert (await client.response()).body == b"new"
            assert len((await hits(client, 1))[0]) == 60_000


async def test_who_reads_nothing_of_the_last_answer_is_cut() -> None:
    """Nobody waits for this client then, but the sweep."""
    async with Origin() as origin, running(origin, {"timeouts": {"send_idle": 0.3}}) as gateway:
        await filled(gateway, origin, body=bytes(60_000))
        async with raw(gateway.port) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.writer.write(asked())
            await until(lambda: client.received == 0 and served(gateway, client) is not None)
            transport = served(gateway, client)
            while transport is not None and not transport.get_write_buffer_size():
                client.writer.write(asked())
                await asyncio.sleep(0.01)
            await until(lambda: served(gateway, client) is None)


def served(gateway: Client, client: Raw) -> asyncio.Transport | None:
    """The gateway's end of a connection, None once it is gone."""
    own = client.writer.get_extra_info("sockname")
    ends = [each.transport for each in gateway.gate.connections if each.peername == own]
    return ends[0] if ends else None


async def test_a_method_that_has_begun_goes_on() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        await client.send(asked() + b"FOO")
        await hits(client, 1)
        await client.send(asked())
        assert (await client.response()).header("x-cache") == "BYPASS"
        assert origin.last.method == "FOOGET"


@pytest.mark.parametrize("limit", ["request_line", "header", "headers", "header_count"])
async def test_no_limit_of_heads_is_passed(limit: str) -> None:
    small = {"request_line": 40, "header": 50, "headers": 100, "header_count": 3}
    line = "/a?" + "x" * 30 if limit == "request_line" else "/a"
    more = {"header": ["X: " + "y" * 60], "headers": ["X: " + "y" * 100], "header_count": ["X: 1", "Y: 1", "Z: 1"]}
    async with Origin() as origin, running(origin, {"limits": {limit: small[limit]}}) as gateway:
        await filled(gateway, origin)
        async with raw(gateway.port) as client:
            await client.send(asked())
            await hits(client, 1)
            await client.send(asked(line, *more.get(limit, [])))
            assert (await client.response()).status == (414 if limit == "request_line" else 431)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_drain_is_told() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        for _ in range(4):
            await client.send(asked())
            await hits(client, 1)
        gateway.gateway.front.draining = True
        await client.send(asked())
        got = await client.response()
        assert (got.header("x-cache"), got.header("connection")) == ("HIT", "close")
        assert await client.closed() == "fin"


@pytest.mark.parametrize(
    "purge",
    [{"url": "http://site.example/a"}, {"pattern": "/a*"}, {"tag": "t"}, {"all": True}, {"all": True, "soft": True}],
)
async def test_a_purge_holds_from_the_next_request_on(purge: dict[str, Any]) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        for turn in range(3):
            await filled(
                gateway, origin, body=b"%d" % turn, headers=[("Cache-Control", "max-age=60"), ("Cache-Tag", "t")]
            )
            await client.send(asked() * 2)
            assert await hits(client, 2) == [b"%d" % turn] * 2
            assert (await gateway.purge(**purge)).status == 200
            assert (await client.get("/a", host="site.example")).header("x-cache") in ("MISS", "EXPIRED")
            await gateway.purge(all=True)
            await gateway.settled()


async def test_a_purge_of_others_leaves_it_as_it_is() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        for number in range(3):
            await gateway.purge(url=f"http://site.example/{number}")
            await client.send(asked())
            assert await hits(client, 1) == [b"hello"]


async def test_rules_that_change_hold_at_once(tmp_path: Path) -> None:
    rule = {"name": "all", "pattern": "*", "ttl": 60}
    async with Origin() as origin, running(origin, {"rules": [rule]}, directory=tmp_path) as gateway:
        await filled(gateway, origin)
        async with raw(gateway.port) as client:
            for more, verdict in (({}, "HIT"), ({"mode": "off"}, "BYPASS"), ({}, "HIT"), ({"namespace": "n"}, "MISS")):
                changed = {**settings(origin, tmp_path), "rules": [{**rule, **more}]}
                gateway.gateway.apply(Loaded(settings_from(changed), {}))
                for again in range(4):
                    await client.send(asked())
                    answer = await client.response()
                    assert answer.header("x-cache") == ("HIT" if again and verdict == "MISS" else verdict)
                    await gateway.settled()


@pytest.mark.parametrize("vary", ["X-One", "X-One, Accept-Language", "Accept-Encoding"])
async def test_variants_by_fields_that_were_never_heard_of(vary: str) -> None:
    async with Origin() as origin, running(origin, {"cache": {"accept_encoding": "preserve"}}) as gateway:
        name = vary.partition(",")[0]
        for value in ("p", "q"):
            origin.answer("/a", headers=[*FRESH, ("Vary", vary)], body=value.encode())
            await gateway.get("/a", {name: value})
            await gateway.settled()
        async with raw(gateway.port) as client:
            for _ in range(3):
                for value in ("p", "q"):
                    await client.send(asked("/a", f"{name}: {value}"))
                    assert await hits(client, 1) == [value.encode()]
        assert origin.count() == 2


@pytest.mark.parametrize("name", ["X_Foo", "X_Foo_Bar", "x_foo-bar"])
async def test_a_variant_by_a_name_with_underscores_is_nobody_elses(name: str) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.otherwise([*FRESH, ("Vary", name)], lambda request: (request.header(name) or "none").encode())
        for _ in range(4):
            for value in ("alice", "bob"):
                got = await client.get("/v", f"{name}: {value}", host="site.example")
                assert (got.status, got.body) == (200, value.encode())
            assert (await client.get("/v", host="site.example")).body == b"none"


@pytest.mark.parametrize("name", ["x_weird", "X-Weird"])
async def test_a_credential_by_a_name_of_the_operators_is_one(name: str) -> None:
    extra = {"cache": {"credential_headers": ["authorization", name]}, "rules": [{"pattern": "*", "ttl": 60}]}
    async with Origin() as origin, running(origin, extra) as gateway, raw(gateway.port) as client:
        origin.answer("/w", body=b"for all")
        for _ in range(3):
            await client.get("/w", host="site.example")
        got = await client.get("/w", f"{name}: K1", host="site.example")
        assert got.header("x-cache") != "HIT"


@pytest.mark.parametrize("first", ["miss", "admin", "no-store", "1.0", "refused", "empty post", "trace"])
async def test_no_hit_overtakes_what_was_asked_before_it(first: str) -> None:
    """Bytes that come at whichever moment while another request is on its way through aiohttp."""
    asking = {
        "miss": asked("/slow"),
        "admin": asked("/cache/stats", "Authorization: Bearer test-token"),
        "no-store": asked("/never"),
        "1.0": asked().replace(b"1.1", b"1.0").replace(HOST, HOST + b"Connection: keep-alive\r\n"),
        "refused": asked("/a", "Host: twice"),
        "empty post": asked("/never", "Content-Length: 0").replace(b"GET", b"POST"),
        "trace": asked("/never").replace(b"GET", b"TRACE"),
    }[first]
    async with Origin() as origin, running(origin) as gateway:
        await filled(gateway, origin)
        origin.answer("/slow", headers=FRESH, body=b"slow")
        origin.answer("/never", headers=[("Cache-Control", "no-store")], body=b"never")
        async with raw(gateway.port) as client:
            await client.get("/a", host="site.example")
            asking = asking.replace(b"\r\n\r\n", b"\r\nX-Request-Id: one\r\n\r\n")
            client.writer.write(asking)
            # A timer comes after the sockets: the gateway has read the first, and its task has not taken it yet.
            asyncio.get_running_loop().call_later(0, client.writer.write, asked("/a", "X-Request-Id: two"))
            assert (await client.response()).header("x-request-id") != "two"


@pytest.mark.parametrize(
    "upgrade", ["Connection: upgrade", "Proxy-Connection: upgrade", "Connection: keep-alive, Upgrade"]
)
async def test_nothing_behind_an_upgrade_that_is_none_is_taken_for_a_request(upgrade: str) -> None:
    async with Origin() as origin, running(origin) as gateway:
        await filled(gateway, origin)
        origin.answer("/outer", body=b"outer")
        inside = b"DELETE /victim HTTP/1.1\r\n" + HOST + b"\r\n"
        outer = b"POST /outer HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(inside)
        async with raw(gateway.port) as client:
            await client.send(asked("/a", upgrade, "Upgrade: foo") + outer)
            got = await client.response()
            assert (got.status, got.header("connection")) == (200, "close")
            with suppress(ConnectionError):
                await client.send(inside)
            assert await client.reader.read() == b""
        assert origin.count("/victim") == 0


async def test_long_heads_are_not_remembered_and_nothing_is_while_memory_is_short() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        lane = gateway.gateway.lane
        assert lane is not None
        await client.send(asked("/a", 'If-None-Match: "' + "z" * 2000 + '"'))
        await hits(client, 1)
        assert lane.sizes["answers"] == 0
        await client.send(asked())
        await hits(client, 1)
        assert lane.sizes["answers"] == 1
        for pressed, number in ((True, 0), (False, 1)):
            lane.rest(pressed)
            assert lane.sizes["answers"] == 0
            await client.send(asked())
            await hits(client, 1)
            assert lane.sizes["answers"] == number


async def test_heads_with_names_without_end_stay_within_bounds() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        for number in range(2000):
            await client.send(asked("/a", f"X-{number}: 1", f"Range: bytes=0-{number + 5}"))
            await client.response()
        lane = gateway.gateway.lane
        assert lane is not None
        assert all(size <= 20_000 for size in lane.sizes.values()), lane.sizes


async def test_nobody_uses_up_the_kinds_of_heads_that_are_remembered() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        lane = gateway.gateway.lane
        assert lane is not None
        names = ("Accept-Encoding", "Forwarded", "If-Range", "Pragma", "Via", "X-Forwarded-Proto")
        for order in islice(permutations(names), 700):
            await client.send(asked("/a", *(f"{name}: x" for name in order)))
            await client.response()
        assert lane.sizes["groups"] <= 512
        before = lane.sizes["answers"]
        await client.send(asked("/a", "If-Modified-Since: x"))
        await hits(client, 1)
        assert lane.sizes["answers"] == before + 1


async def test_white_space_around_a_request_id_is_none_of_it() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        for _ in range(4):
            await client.send(asked("/a", "X-Request-Id:  a \t"))
            assert (await client.response()).header("x-request-id") == "a"


async def test_what_memory_trusts_no_longer_is_not_repeated() -> None:
    clock = Clock()
    short = {"memory": {"ttl": 5}, "file": {"enabled": False}}
    async with Origin() as origin, running(origin, short, clock=clock) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        for seconds, verdict in ((0, "HIT"), (0, "HIT"), (4.9, "HIT"), (0.2, "MISS"), (0, "HIT")):
            clock.advance(seconds)
            await client.send(asked())
            assert (await client.response()).header("x-cache") == verdict
            await gateway.settled()


@pytest.mark.parametrize(("setting", "status"), [("header", 431), ("headers", 431), ("request_line", 414)])
async def test_a_head_like_one_before_passes_no_limit(setting: str, status: int) -> None:
    async with Origin() as origin, running(origin, {"limits": {setting: 500}}) as gateway:
        await filled(gateway, origin, "/" + "a" * 300)
        origin.answer("/" + "a" * 600, headers=FRESH, body=b"long")
        lane = gateway.gateway.lane
        assert lane is not None
        lane.common = 1
        lane.rest(False)
        async with raw(gateway.port) as client:
            for _ in range(4):
                await client.send(asked("/" + "a" * 300, "User-Agent: a"))
                await hits(client, 1)
            longer = (
                asked("/" + "a" * 600, "User-Agent: a")
                if status == 414
                else asked("/" + "a" * 300, "User-Agent: " + "a" * 520)
            )
            await client.send(longer)
            assert (await client.response()).status == status


async def test_of_two_rules_in_turn_none_is_answered_by_what_was_read_for_the_other(tmp_path: Path) -> None:
    """A connection that knows the shape of its heads from before a reload does not find by it what is read now."""
    keyed = [{"name": "k", "pattern": "*", "ttl": 60, "key": {"headers": [name]}} for name in ("X-One", "X-Two")]
    async with Origin() as origin, running(origin, {"rules": [keyed[0]]}, directory=tmp_path) as gateway:
        lane = gateway.gateway.lane
        assert lane is not None
        lane.common = 1
        lane.rest(False)
        origin.answer("/a", headers=FRESH, body=b"for one")
        async with raw(gateway.port) as old, raw(gateway.port) as new:
            for _ in range(4):
                await old.send(asked("/a", "X-One: 1"))
                assert (await old.response()).body == b"for one"
                await gateway.settled()
            changed = {**settings(origin, tmp_path), "rules": [keyed[1]]}
            gateway.gateway.apply(Loaded(settings_from(changed), {}))
            origin.answer("/a", headers=FRESH, body=b"for two")
            for _ in range(4):
                await new.send(asked("/a", "X-Two: 1"))
                assert (await new.response()).body == b"for two"
                await gateway.settled()
            origin.answer("/a", headers=FRESH, body=b"for nobody")
            await old.send(asked("/a", "X-One: 1"))
            assert (await old.response()).body == b"for nobody"


async def test_what_leaves_memory_is_kept_by_nobody() -> None:
    small = {"memory": {"max_entries": 20}, "file": {"enabled": False}}
    async with Origin() as origin, running(origin, small) as gateway, raw(gateway.port) as client:
        for number in range(60):
            await filled(gateway, origin, f"/{number}", bytes(10_000))
            await client.send(asked(f"/{number}") * 2)
            await hits(client, 2)
        gc.collect()
        assert len([each for each in gc.get_objects() if isinstance(each, Slot)]) <= 21


async def test_each_answer_is_told_its_own_time() -> None:
    async with Origin() as origin, running(origin, {"observe": {"server_timing": True}}) as gateway:
        await filled(gateway, origin)
        async with raw(gateway.port) as client:
            told = [(await client.get("/a", host="site.example")).header("server-timing") or "" for _ in range(5)]
        assert all(re.fullmatch(r"memory;dur=\d+\.\d{3}", each) for each in told)
        lane = gateway.gateway.lane
        assert lane is not None
        assert lane.sizes["answers"] == 0  # of which each would tell the first one's


# -- books -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["id-1", "0", "-", '1"2', "1=2", "1\\\\2", "0f8fad5b-d9cb-469f-a165-70867728950e"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_of_hits_like_another_are_those_that_each_would_have(form: Format, id: str) -> None:
    outcome = Outcome(Verdict.HIT, Why.FRESH, "users", "abc", Tier.MEMORY, ttl=5.0)
    reply = Reply(200, "OK", Fields.of(("Content-Type", 'text/"x"')), b"hello", outcome)
    request = Request("GET", "http", "a", "/x?token=1&b=%\x1b", Fields(), "10.0.0.1", 5.25, id)
    stream = io.BytesIO()
    writer, counters = LineWriter(stream), Counters()
    books = Books(counters, AccessLog(writer, form, Redaction(["token"], b"k")))
    books(request, reply, 5, 0.00031, True)
    _, line = books.account(request, reply, 5)
    assert line is not None
    line.write(5.25, 0.00031, "10.0.0.2", b"7")
    line.write(5.25, 0.00031, "10.0.0.1", id.encode())
    writer.close()
    first, _, second = stream.getvalue().splitlines()
    if form == "json":
        one, other = orjson.loads(first), orjson.loads(second)
        assert list(one) == list(other)
        assert one == other
    else:
        assert first.replace(b"0.00031 ", b"0.000310 ") == second


def test_what_is_tallied_counts_as_what_is_counted_one_by_one() -> None:
    outcome = Outcome(Verdict.HIT, Why.FRESH, "users", "abc", Tier.MEMORY)
    reply = Reply(200, "OK", Fields(), b"hello", outcome)
    request = Request("GET", "http", "a", "/", Fields())
    seen: list[Mapping[str, Any]] = []
    for tallied in (True, False):
        counters = Counters({"users": 0.25})
        counters.finish(Outcome(Verdict.MISS, Why.URI_MISS, "users", upstream_seconds=0.5), 0.5, 5)
        books = Books(counters, None)
        tally, _ = books.account(request, reply, 5)
        for seconds in (0.00001, 0.0001, 0.2):
            if tallied:
                tally.book(seconds, 5)
            else:
                books(request, reply, 5, seconds, True)
        counters.settle()
        counters.settle()
        histogram = counters.seconds[Verdict.HIT]
        rule = counters.rules["users"]
        seen.append(
            {
                "verdicts": counters.verdicts,
                "reasons": counters.reasons,
                "buckets": histogram.buckets,
                "total": pytest.approx(histogram.total),
                "saved": (rule.bytes_saved, rule.calls_saved, rule.money_saved, pytest.approx(rule.seconds_saved)),
            }
        )
    assert seen[0] == seen[1]


async def test_the_log_names_each_client_behind_a_trusted_proxy() -> None:
    stream = io.BytesIO()
    access = LineWriter(stream)
    extra = {"listen": {"trusted_proxies": ["127.0.0.0/8"]}, "log": {"access": True, "format": "json"}}
    async with Origin() as origin, running(origin, extra, access=access) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        for number in (1, 2, 2, 3):
            await client.send(asked("/a", f"X-Forwarded-For: 10.0.0.{number}", f"X-Request-Id: id-{number}"))
            await hits(client, 1)
        for own in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"):  # the same head from each
            with socket.create_connection(("127.0.0.1", gateway.port), source_address=(own, 0)) as sock:
                sock.sendall(asked())
                assert await asyncio.to_thread(sock.recv, 4096)
    access.close()
    lines = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    told = [(line["client"], line["request_id"]) for line in lines if line["verdict"] == "HIT"]
    assert told[:4] == [(f"10.0.0.{number}", f"id-{number}") for number in (1, 2, 2, 3)]
    assert [client for client, _ in told[4:]] == ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"]


async def test_each_answer_has_an_id_of_its_own() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await filled(gateway, origin)
        found = set()
        for _ in range(20):
            got = await client.get("/a", host="site.example")
            found.add(got.header("x-request-id"))
        assert len(found) == 20
        assert all(re.fullmatch("[0-9a-f]{32}", each or "") for each in found)
