"""What `purge` and `clear` ask first, for whom they mean it, and how they tell of it (contract "Command line", "Purge";
rows 57, 82, 206)."""

import asyncio
import os
import pty
from typing import Any

import click
import pytest

from proxy.cli import main
from proxy.cli.purge import pattern_on_site, told
from tests.support import forked
from tests.support.gateway import TOKEN
from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, environment, serving

RULES: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}
RECEIPT: dict[str, Any] = {"id": "r1", "soft": False, "matched": {"memory": 1}, "exact": True, "durable": True}
RECEIPT |= {"instances": {"a": "applied", "b": "applied"}}
LATE = {"instances": {"a": "applied", "b": "pending"}}


@pytest.mark.parametrize(
    ("changes", "everywhere", "lines"),
    [
        ({}, True, ["purged it: 1 in memory; receipt r1"]),
        ({"soft": True, "exact": False}, True, ["soft-purged it: at least 1 in memory; receipt r1"]),
        (LATE, False, ["purged it: 1 in memory; receipt r1", "  not yet applied by b"]),
        (
            {"instances": {"a": "applied"}},  # cut off: nobody knows of the others
            False,
            ["purged it: 1 in memory; receipt r1", "  not yet applied by instances that cannot be reached now"],
        ),
        (
            {"durable": False},
            True,
            [
                "purged it: 1 in memory; receipt r1",
                "  it is not on disk: should the gateway end now, it is forgotten",
            ],
        ),
        ({"dry_run": True, "sample": ["http://a/\u202e"]}, True, ["would purge it: 1 in memory", "  http://a/\ufffd"]),
        ({"dry_run": True, "sample": ["http://a/"]}, True, ["would purge it: 1 in memory", "  http://a/"]),
    ],
)
def test_a_receipt_tells_what_is_still_open(changes: dict[str, Any], everywhere: bool, lines: list[str]) -> None:
    assert told("it", RECEIPT | changes, everywhere=everywhere).splitlines() == lines


@pytest.mark.parametrize(
    ("pattern", "site", "meant"),
    [
        ("/users/*", None, "/users/*"),
        ("*", None, "*"),
        ("/users/*", "a.example:8080", "//a.example:8080/users/*"),
        ("//b.example/users/*", "a.example", "//b.example/users/*"),
    ],
)
def test_a_pattern_is_meant_for_the_site_that_is_named(pattern: str, site: str | None, meant: str) -> None:
    assert pattern_on_site(pattern, site) == meant


def test_a_pattern_that_no_site_can_be_said_for_is_bad_usage() -> None:
    with pytest.raises(click.UsageError, match="for example '/users/"):
        pattern_on_site("*/users/*", "a.example")


def test_what_is_purged_is_named_without_what_would_turn_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["purge", "--rule", "a\u202eb\x1b[31m"]) == 2  # nobody is there to be asked
    assert "purging rule a\ufffdb\ufffd[31m without a terminal" in capsys.readouterr().err


async def stored(gateway: Process, *paths: str) -> None:
    """Fetch them, and wait until they are on disk, which is behind their answers."""
    for path in paths:
        await gateway.get(path)
    async with asyncio.timeout(PATIENCE):
        while (await gateway.stats())["file"]["size"] < len(paths):
            await asyncio.sleep(0.005)


async def test_only_what_lies_on_the_named_site_goes() -> None:
    async with Origin() as origin, serving(origin, RULES) as gateway:
        origin.answer("/a")
        for verb in ("purge", "clear"):
            await gateway.get("/a")
            for site, verdict in (("other.example", "HIT"), ("site.example", "MISS")):
                code, _, err = await gateway.command(verb, "--pattern", "/a", "--site", site, "--yes")
                assert (code, err) == (0, "")
                assert (await gateway.get("/a")).verdict == verdict


async def test_clearing_says_before_what_there_is() -> None:
    async with Origin() as origin, serving(origin, RULES) as gateway:
        origin.answer("/a")
        origin.answer("/b")
        for words, question in (
            (["--tier", "file"], "Clear the file tier of {}: 2 in file. Go on?"),
            (["--tier", "file", "--pattern", "/a"], "Clear the file tier of /a of {}. Go on?"),
            (["--pattern", "/a"], "Clear every tier of /a of {}: 1 in memory. Go on?"),
            ([], "Clear every tier of {}: 2 in memory, 2 in file. Go on?"),
        ):
            await stored(gateway, "/a", "/b")
            for said, code in (("n", 1), ("y", 0)):
                found, err = await on_a_terminal(gateway, said, "clear", *words)
                assert (found, question.format(gateway.url) in err) == (code, True), err
                assert (await gateway.stats())["file"]["size"] == 2 if said == "n" else True
            assert (await gateway.stats())["file"]["size"] < 2
            assert (await gateway.admin("DELETE", "")).status == 200


async def on_a_terminal(gateway: Process, said: str, *words: str) -> tuple[int, str]:
    """Exit code, and what was asked, of a command to which somebody at the terminal says this."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{said}\n".encode())
        env, at = environment({"ADMIN_TOKEN": TOKEN}), ("--url", gateway.url)
        done = await asyncio.to_thread(forked.run, gateway.directory, env, *words, *at, stdin=theirs)
        return done.returncode, done.stderr
    finally:
        os.close(ours)
        os.close(theirs)
