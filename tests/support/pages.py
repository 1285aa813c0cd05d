"""The pages of the documentation, as blocks of code with what is said of each.

A block may have marks in the lines before it, which readers do not see:

<!-- file: config/cachegate.yaml -->    it is the content of this file from here on
<!-- of: prometheus -->                 it is in the language of another program: YAML is read, nothing is loaded
<!-- first: make run -->                this is run before it; there may be several
<!-- act: Redis is started -->         before it this happens, which the test of the page knows how to do
<!-- traffic: 400 requests -->          before it these are sent, by the test of its page
<!-- not run: containers -->            it cannot be run by a test; why, by a word of `NOT_RUN`
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parent.parent.parent
T = TypeVar("T")
# Why a block is not run. Its commands of ours have to be understood all the same, its YAML has to be read.
NOT_RUN = {
    "containers": "run by tests/test_deploy_compose_run.py or test_deploy_image.py, where a daemon or buildah is",
    "registry": "wants an image that nobody but a registry has",
    "kubernetes": "wants a cluster",
    "another host": "asks hosts that are not this one",
    "root": "changes the system: packages, services, file systems",
    "minutes": "takes minutes or is the suite itself",
    "another program": "wants a program that the tests do not bring",
    "placeholder": "holds what everybody has to fill in: a name, a secret, an account",
}
KINDS = {
    *("sh", "console"),  # typed by a person; `console` shows what comes of it, after lines that begin with "$ "
    *("yaml", "json", "python"),
    *("text", "http", "ini", "nginx", "vcl", "promql", "dockerfile", "mermaid", "go", "html", "javascript", "toml", ""),
}
MARKS = {"file", "of", "first", "act", "traffic", "not run"}
_MARK = re.compile(r"\s*<!-- ([a-z ]+): (.*?) -->\s*")
_FENCE = re.compile(r"( *)```(.*)")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: where it begins, under which heading, in which language, and its marks."""

    page: str
    line: int
    section: str
    kind: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.kind in ("sh", "console") and "not run" not in self.marks and "of" not in self.marks


def pages() -> list[Path]:
    """Every page that is written for people; `docs/decisions` among them."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in its order. ValueError where a fence is never closed."""
    return told(page, page.read_text())


def told(page: Path, text: str) -> Iterator[Block]:
    """As `blocks`, of this text."""
    name, section = page.relative_to(ROOT).as_posix(), ""
    lines = iter(enumerate(text.splitlines(), 1))
    marks: dict[str, str] = {}
    for number, line in lines:
        if (mark := _MARK.fullmatch(line)) and mark[1] in MARKS:
            marks[mark[1]] = f"{marks[mark[1]]}\n{mark[2]}" if mark[1] in marks else mark[2]
        elif fence := _FENCE.fullmatch(line):
            inside = list(_inside(lines, fence[1], f"{name}:{number}"))
            yield Block(name, number, section, fence[2].strip(), "\n".join(inside) + "\n", marks)
            marks = {}
        elif line.strip():
            marks = {}
            section = line.lstrip("#").strip() if line.startswith("#") else section


def _inside(lines: Iterator[tuple[int, str]], indent: str, where: str) -> Iterator[str]:
    for _, line in lines:
        if line.rstrip() == f"{indent}```":
            return
        yield line.removeprefix(indent)
    raise ValueError(f"{where}: this block is never closed")


@dataclass(frozen=True, slots=True)
class Typed:
    """A line as a person types it, and what is shown of its output: none is shown of `sh`."""

    line: str
    shown: tuple[str, ...] | None = None

    @property
    def code(self) -> int | None:
        """The exit code that its comment names, `# exit 1`: None where it says nothing."""
        found = re.search(r" # .*\bexit(?: code)? (\d+)", self.line)
        return int(found[1]) if found else None


def typed(block: Block) -> list[Typed]:
    """The lines of a block that are typed, those that go on by `\\` or in a here-document as one."""
    if block.kind == "sh":
        return [Typed(line) for line in _whole(block.text.splitlines()) if line.strip() and not line.startswith("#")]
    made: list[Typed] = []
    for line in _whole(block.text.splitlines()):
        if line.startswith("$ "):
            made.append(Typed(line.removeprefix("$ "), ()))
        elif made:
            made[-1] = Typed(made[-1].line, (*(made[-1].shown or ()), line))
    return made


def _whole(lines: list[str]) -> Iterator[str]:
    rest = iter(lines)
    for line in rest:
        whole = line
        while whole.endswith("\\"):
            whole = f"{whole[:-1].rstrip()} {next(rest).strip()}"
        if (document := re.search(r"<<-?\s*'?(\w+)'?", whole)) is not None:
            for more in rest:
                whole += f"\n{more}"
                if more.strip() == document[1]:
                    break
        yield whole


def told_in(kept: dict[str, T]) -> Callable[[str], Callable[[T], T]]:
    """A decorator of what acts out one row or section of a page: it is kept under the title that the page has."""

    def titled(title: str) -> Callable[[T], T]:
        def keep(acts: T) -> T:
            kept[title] = acts
            return acts

        return keep

    return titled
