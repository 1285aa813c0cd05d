"""`cachegate monitor` on a real terminal and as a stream of lines (row 81)."""

import asyncio
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from proxy.cli.trend import Trend, newest, sparkline
from proxy.cli.view import picture
from tests.support.gateway import TOKEN
from tests.support.origin import Origin
from tests.support.process import environment, serving

# -- curves ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "width", "top", "line"),
    [
        ([], 3, None, "   "),
        ([0.0, 0.0], 2, None, "▁▁"),
        ([0.0, 1.0, 2.0], 3, None, "▁▅█"),
        ([1.0, None, 1.0], 3, None, "█ █"),
        ([9.0, 1.0, 2.0], 2, None, "▅█"),
        ([0.5, 1.0], 4, 1.0, "  ▅█"),
        ([3.0], 1, 1.0, "█"),
    ],
)
def test_a_sparkline(values: list[float | None], width: int, top: float | None, line: str) -> None:
    assert sparkline(values, width, top) == line


def test_what_grew_between_looks_and_a_restart_is_no_fall() -> None:
    trend = Trend(4)
    assert trend.last is None
    for at, uptime, hits, misses in ((0, 10, 5, 5), (2, 12, 9, 5), (4, 1, 2, 0), (6, 3, 2, 0), (8, 5, 3, 3)):
        trend.add(at, {"uptime": uptime, "hits": hits, "misses": misses})
    trend.add(10, None)
    rates = trend.rates(lambda told: told["hits"])
    assert rates == [0.0, 0.5, None]
    assert newest(rates) == 0.5
    assert trend.shares(lambda told: told["hits"], lambda told: told["misses"]) == [None, 0.25, None]
    assert trend.last == {"uptime": 5, "hits": 3, "misses": 3}


# -- the picture -------------------------------------------------------------------------------------------------------

RULES = {"rules": [{"name": "users", "pattern": "*/users/*", "ttl": 60}]}


def drawn(looks: Sequence[dict[str, Any] | None], trouble: str, width: int, height: int) -> list[str]:
    trend = Trend(99)
    for number, stats in enumerate(looks):
        trend.add(2.0 * number, stats)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(picture("http://127.0.0.1:4000", trend, trouble, 2.0, width, height))
    return console.export_text().splitlines()


async def told(times: int) -> list[dict[str, Any]]:
    """What a gateway tells again and again while it is asked for more."""
    async with Origin() as origin, serving(origin, RULES) as gateway:
        origin.answer("/api/users/1", body=b"x")
        looks = []
        for number in range(times):
            await gateway.verdicts("/api/users/1", "/api/users/1", "/no/[rule]", f"/{number}")
            looks.append(await gateway.stats())
    return looks


async def test_what_there_is_room_for_is_shown_in_the_order_of_its_worth() -> None:
    looks = await told(3)
    shown: dict[tuple[int, int], set[str]] = {}
    words = ("from store", "redis  ", "gateway  ", "memory", "evicted", "users", "/no/[rule]")
    for size in ((20, 5), (80, 12), (40, 15), (59, 24), (80, 24), (80, 60), (200, 60)):
        lines = drawn(looks, "", *size)
        assert max(map(len, lines)) <= size[0]
        assert len(lines) <= size[1]
        assert not [line for line in lines if line.startswith(("tier", "memory", "rule ")) and line.endswith("…")]
        assert not lines[-1].strip().startswith(("tier", "rule", "took"))
        shown[size] = {word for word in words if word in "\n".join(lines)}
        if set("\n".join(lines)) & set("▁▂▃▄▅▆▇█"):
            shown[size].add("curves")
    assert shown == {
        (20, 5): {"from store"},
        (80, 12): {"from store", "redis  ", "gateway  ", "curves"},
        (40, 15): {*words} - {"evicted", "users", "/no/[rule]"},
        (59, 24): {*words, "curves"},
        (80, 24): {*words, "curves"},
        (80, 60): {*words, "curves"},
        (200, 60): {*words, "curves"},
    }


async def test_what_is_wrong_stands_first_and_what_strangers_name_moves_no_cursor() -> None:
    (stats,) = await told(1)
    stats["redis"] |= {"enabled": True, "reason": "refused"}
    stats["upstream"] |= {"breaker": "open", "cause": "slow"}
    stats["rules"]["\x1b[2J" + "r" * 40] = stats["rules"].pop("users")
    stats["topMisses"] = [{"url": "a/\x9b2J\u202e", "seconds": 1.5, "error": 0.0}]
    text = "\n".join(drawn([stats], "nobody", 80, 60))
    for part in (
        "again: nobody",
        "fallback: refused",
        "open (slow), 0 errors",
        "\ufffd[2Jrrr",
        "r…",
        "a/\ufffd2J\ufffd",
    ):
        assert part in text
    assert not {"\x1b", "\x9b", "\u202e"} & set(text)


def test_before_anything_is_known_it_says_why() -> None:
    assert drawn([None], "nobody", 80, 24)[1] == "not reached, trying again: nobody"


# -- the command -------------------------------------------------------------------------------------------------------


async def test_lines_for_programs() -> None:
    async with Origin() as origin, serving(origin, RULES) as gateway:
        await gateway.get("/api/users/1")
        code, out, _ = await gateway.command("monitor", "--json", "--ticks", "3", "--every", "0.2")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, [line["requests"] for line in lines]) == (0, [1, 1, 1])
    assert lines[0]["uptime"] < lines[2]["uptime"]


async def test_without_a_terminal_it_says_what_to_do() -> None:
    async with Origin() as origin, serving(origin, RULES) as gateway:
        code, _, err = await gateway.command("monitor")
    assert (code, "--json" in err) == (2, True)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process = process
        self._master = master
        self._seen = bytearray()
        asyncio.get_running_loop().add_reader(master, self._read)
        self._news = asyncio.Event()

    def _read(self) -> None:
        try:
            self._seen += os.read(self._master, 65536)
        except OSError:
            asyncio.get_running_loop().remove_reader(self._master)
        self._news.set()

    async def shows(self, text: str) -> None:
        """Wait until it is written, from now on."""
        del self._seen[:]
        async with asyncio.timeout(30):
            while text not in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", self._seen).decode(errors="ignore"):
                self._news.clear()
                await self._news.wait()

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def by_line(self) -> bool:
        """Whether it hands over whole lines, and shows what is typed: as it is while nobody reads single keys."""
        shown = termios.ECHO | termios.ICANON
        return bool(termios.tcgetattr(self._master)[3] & shown == shown)

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    async def left(self) -> tuple[int, bytes]:
        """Its exit code, and what it wrote last."""
        async with asyncio.timeout(30):
            return await self.process.wait(), bytes(self._seen)


@asynccontextmanager
async def watching(url: str, *words: str, token: str = TOKEN) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "monitor", "--url", url, "--token", token, "--every", "0.2", *words),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment({"TERM": "xterm-256color"}),
        start_new_session=True,
    )
    os.close(slave)
    terminal = Terminal(process, master)
    terminal.resize(40, 120)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)


async def test_a_terminal_is_drawn_on_and_given_back(tmp_path: Path) -> None:
    async with Origin() as origin, serving(origin, RULES, directory=tmp_path) as gateway:
        origin.answer("/api/users/1", body=b"x")
        async with watching(gateway.url) as terminal:
            await terminal.shows("0 in all")
            await gateway.verdicts("/api/users/1", "/api/users/1")
            await terminal.shows("2 in all")
            terminal.resize(30, 70)
            await terminal.shows("from store")
            terminal.press(b"x")
            await terminal.shows("users")
            terminal.press(b"q")
            code, last = await terminal.left()
        assert (code, b"\x1b[?1049l" in last, b"\x1b[?25h" in last) == (0, True, True)


@pytest.mark.parametrize("key", [b"q", b"Q"])
async def test_single_keys_are_read_without_enter_and_the_terminal_is_as_it_was(tmp_path: Path, key: bytes) -> None:
    async with (
        Origin() as origin,
        serving(origin, RULES, directory=tmp_path) as gateway,
        watching(gateway.url) as terminal,
    ):
        assert terminal.by_line
        await terminal.shows("0 in all")
        assert not terminal.by_line
        terminal.press(b"x\x1b[A")  # which are none of ours
        await terminal.shows("0 in all")
        terminal.press(key)
        assert (await terminal.left())[0] == 0
        assert terminal.by_line


async def test_a_gateway_that_goes_is_waited_for_and_ctrl_c_ends_it() -> None:
    async with Origin() as origin, AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(serving(origin, RULES))
        terminal = await stack.enter_async_context(watching(gateway.url))
        await terminal.shows("0 in all")
        assert await gateway.stop() == 0
        await terminal.shows("not reached, trying again")
        again = await stack.enter_async_context(serving(origin, RULES, "--port", str(gateway.port)))
        await again.get("/api/users/1")
        await terminal.shows("1 in all")
        terminal.process.send_signal(signal.SIGINT)
        assert (await terminal.left())[0] == 0


async def test_a_gateway_that_hangs_holds_nobody_up() -> None:
    silent = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with watching(f"http://127.0.0.1:{port}") as terminal:
            await terminal.shows("no answer for 2 s")
            terminal.press(b"q")
            code, last = await terminal.left()
        silent.set()
    assert (code, b"\x1b[?1049l" in last) == (0, True)


async def test_a_wrong_token_ends_it_and_says_so() -> None:
    async with (
        Origin() as origin,
        serving(origin, RULES) as gateway,
        watching(gateway.url, token="wrong-one") as terminal,
    ):
        code, last = await terminal.left()
    assert (code, b"the token is wrong" in last.rpartition(b"\x1b[?1049l")[2]) == (2, True)
