"""Hits from files on the fast lane: what is answered there, remembered and taken again, and what is left to others."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.disks import needs_page_cache
from tests.support.gateway import HOST, Client, running
from tests.support.origin import Origin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says at once what it has")
FILES: dict[str, Any] = {"memory": {"max_entries": 0}}
FRESH = [("Cache-Control", "max-age=60"), ("ETag", '"e"')]


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {HOST}", *lines, "", ""]).encode()


class Lane:
    """The lane of a gateway, asked without a socket."""

    def __init__(self, gateway: Client) -> None:
        lane = gateway.gateway.lane
        assert lane is not None
        self.lane = lane
        self.peer = lane.peer(next(iter(gateway.gate.connections)), "127.0.0.1", secure=False)

    def answers(self, sent: bytes) -> bool:
        """Whether it does, with a whole answer."""
        said: list[bytes] = []
        left = self.lane.serve(sent, self.peer, said.append)
        return left == (b"", None) and said[0].startswith(b"HTTP/1.1 ")

    def remembers(self, sent: bytes) -> bool:
        return self.lane.again(sent, self.peer) is not None


@asynccontextmanager
async def filled(extra: dict[str, Any] = FILES) -> AsyncIterator[tuple[Client, Lane]]:
    """A gateway that has /a and the empty /none in files."""
    async with Origin() as origin, running(origin, {"listen": {"fast_lane": True}, **extra}) as gateway:
        assert gateway.gateway.tiers.file is not None
        needs_page_cache(gateway.gateway.tiers.file.directory.root)
        for path, body in (("/a", b"hello"), ("/none", b"")):
            origin.answer(path, headers=FRESH, body=body)
            await gateway.get(path)
        await gateway.settled()
        for path in ("/a", "/none"):  # a thread looks at a folder before the loop does
            assert (await gateway.get(path)).verdict == "HIT"
        yield gateway, Lane(gateway)
        assert origin.count() == 2


@pytest.mark.parametrize("path", ["/a", "/none"])
async def test_what_was_answered_is_remembered_and_read_again(path: str) -> None:
    async with filled() as (gateway, lane):
        assert lane.answers(head(path))
        assert lane.remembers(head(path))
        got = await gateway.get(path)
        assert (got.tier, got.body) == ("file", b"hello" if path == "/a" else b"")


@pytest.mark.parametrize(("most", "kept"), [(0, 0), (1, 1), (1000, 2)])
async def test_so_many_files_stay_open(most: int, kept: int) -> None:
    async with filled({**FILES, "limits": {"open_files": most}}) as (gateway, lane):
        for path in ("/a", "/none"):
            assert lane.answers(head(path))
            assert lane.remembers(head(path))
        file = gateway.gateway.tiers.file
        assert file is not None
        assert len(file.kept) == kept


async def test_a_purge_of_what_is_open_holds_at_once() -> None:
    async with filled() as (gateway, lane):
        assert lane.answers(head("/a"))
        assert lane.remembers(head("/a"))
        file = gateway.gateway.tiers.file
        assert file is not None
        assert len(file.kept) == 1
        assert (await gateway.purge(pattern="/a*")).status == 200
        assert not lane.remembers(head("/a"))
        assert not lane.answers(head("/a"))


async def test_a_purge_of_others_has_it_judged_anew_once() -> None:
    async with filled() as (gateway, lane):
        assert lane.answers(head("/a"))
        assert (await gateway.purge(pattern="/b*")).status == 200
        assert not lane.remembers(head("/a"))
        for _ in range(2):
            assert lane.answers(head("/a"))
        assert lane.remembers(head("/a"))


async def test_what_is_purged_is_not_answered() -> None:
    async with filled() as (gateway, lane):
        assert lane.answers(head("/a"))
        assert (await gateway.purge(pattern="/a")).status == 200
        assert not lane.answers(head("/a"))
        assert lane.answers(head("/none"))


async def test_a_range_is_for_those_who_know_of_parts() -> None:
    async with filled() as (_, lane):
        assert lane.answers(head("/a"))
        assert not lane.answers(head("/a", "Range: bytes=0-1"))
        assert lane.answers(head("/a", 'If-None-Match: "e"'))


async def test_where_memory_takes_it_the_next_hit_is_from_there() -> None:
    async with filled({}) as (gateway, lane):
        await gateway.admin("DELETE", "/memory")
        assert lane.answers(head("/a"))
        assert not lane.remembers(head("/a"))
        assert (await gateway.get("/a")).tier == "memory"


async def test_with_redis_files_come_later() -> None:
    """Whatever its state: it is asked first."""
    redis = {"url": "redis://127.0.0.1:1/0"}
    for more in ({}, FILES):
        async with Origin() as origin, running(origin, {**more, "redis": redis}) as gateway:
            assert gateway.gateway.tiers.tiered.nearest_file is None
