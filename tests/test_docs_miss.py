"""docs/why-was-it-a-miss.md is true: its commands, in their order, against a gateway with the fault that it describes,
and the fault is mended at its end (rows 201-205)."""

import random
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.origin import Origin, Recorded
from tests.support.process import Process, program, serving

PAGE = Path(__file__).parent.parent / "docs" / "why-was-it-a-miss.md"
SITE = {"Host": "shop.example"}
_PARTS = re.compile(r"```yaml\n# (?P<file>\S+)\n(?P<text>.*?)```"
                    r"|```console\n\$ cachegate (?P<command>.*?)\n(?P<output>.*?)```"
                    r"|<!-- traffic: (?P<traffic>\d+) requests -->", re.DOTALL)  # fmt: skip
# What is another one each time: hashes, amounts, bars, and how wide a column is for them.
_VARIES = re.compile(r"[0-9a-f]{16,}|\d[\d.,:]*(?: ?(?:[KM]iB|B|[smhd]\b))?(?: \d+s)?|#{3,}")


class Step(NamedTuple):
    """One of: a file that is written, a command and what it prints, so many requests of clients."""

    file: str | None
    text: str
    command: str | None
    output: str
    traffic: int


def steps() -> Iterator[Step]:
    for found in _PARTS.finditer(PAGE.read_text()):
        yield Step(
            found["file"], found["text"] or "", found["command"], found["output"] or "", int(found["traffic"] or 0)
        )


def lines(text: str) -> list[str]:
    return [re.sub(r"\s+", " ", _VARIES.sub("0", line)).strip() for line in text.splitlines() if line.strip()]


def missing(page: str, printed: str) -> list[str]:
    """What the page has and the command did not print, or not in that order; where no "…" stands, nothing else is."""
    rest, gap = lines(printed), False
    for line in lines(page):
        if line == "…":
            gap = True
        elif line in (rest if gap else rest[:1]):
            rest, gap = rest[rest.index(line) + 1 :], False
        else:
            return [line, "but there is", *rest[:5]]
    return [] if gap else rest


def product_page(request: Recorded) -> bytes:
    (page,) = re.findall(r"page=(\d+)", request.target)
    return b"products of page %3d, whenever one asks" % int(page)


class Shop:
    """Clients of the shop: few pages are asked for often, and never twice at the same time."""

    def __init__(self, gateway: Process) -> None:
        self._gateway = gateway
        self._random = random.Random(9)

    async def ask(self, number: int) -> None:
        for _ in range(number):
            page = min(40, int(self._random.paretovariate(0.9)))
            ts = 1795305000000 + self._random.randrange(10**9)
            assert (await self._gateway.get(f"/api/products?page={page}&ts={ts}", SITE)).status == 200


async def test_from_always_a_miss_to_a_rule_that_is_tested() -> None:
    first, *others = steps()
    async with Origin() as origin, serving(origin, first.text) as gateway:
        origin.otherwise([], product_page)
        shop, changes = Shop(gateway), 0
        here = {"UPSTREAM_URL": origin.url, "CACHEGATE__LISTEN__PORT": str(gateway.port)}
        for step in others:
            if step.file is not None:
                (gateway.directory / step.file).write_text(step.text)
                changes += step.file == "cachegate.yaml"
                await gateway.logged("reloaded: changed rules", changes)
            elif step.command is not None:
                code, out, err = await program(gateway.directory, *shlex.split(step.command), env=here)
                assert (code, missing(step.output, out)) == (0, []), (step.command, out, err)
            else:
                await shop.ask(step.traffic)
        assert (gateway.directory / "curve.svg").read_text().startswith("<svg")
        verdicts = [line["verdict"] for line in gateway.access]
        assert verdicts[:400] == ["MISS"] * 400
        assert verdicts[-30:].count("HIT") > 20
        assert changes == 2


def test_nothing_but_its_commands_is_run() -> None:
    """Each block of the page that looks like a command is one of the steps."""
    text = PAGE.read_text()
    assert len(re.findall(r"^\$ ", text, re.MULTILINE)) == sum(step.command is not None for step in steps())
    assert text.count("```yaml") == sum(step.file is not None for step in steps())
