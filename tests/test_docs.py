"""Every page of the documentation is acted out: its lines are typed, its YAML is loaded, what it shows is what comes.

A page that somebody adds is found by itself. What cannot be run says so by a mark (`tests.support.pages`), and why, by
one of a few words.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.insight.rule_tests import run_rule_tests
from proxy.settings.load import load
from tests.support.pages import KINDS, MARKS, NOT_RUN, ROOT, Block, blocks, pages, told, typed
from tests.support.stage import differing, stage

# Their blocks are played where what they speak of is staged: faults, the services behind the examples.
ELSEWHERE = {
    "docs/troubleshooting.md": "tests/test_docs_troubleshooting.py",
    "docs/examples.md": "tests/test_examples_page.py",
    "docs/why-was-it-a-miss.md": "tests/test_docs_miss.py",
}
BLOCKS = [block for page in pages() for block in blocks(page)]
PLAYED = [page for page in pages() if any(block.runs for block in blocks(page))]


def named(value: object) -> str:
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else str(value)


def acted(page: Path) -> Any:
    """The README with every change, the others in the slow part: each line that is typed starts a program."""
    slow = () if named(page) == "README.md" else pytest.mark.slow
    return pytest.param(page, id=named(page), marks=slow)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [acted(page) for page in PLAYED if named(page) not in ELSEWHERE])
async def test_a_page_is_acted_out(page: Path, tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        for block in blocks(page):
            await scene.play(block)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "yaml"], ids=str)
def test_yaml_loads_and_does_what_its_tests_say(block: Block, tmp_path: Path) -> None:
    assert yaml.safe_load_all(block.text)
    if "of" in block.marks:
        assert [document for document in yaml.safe_load_all(block.text) if document]
        return
    file = tmp_path / "cachegate.yaml"
    file.write_text(block.text)
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)", block.text), "given")
    loaded = load(config=file, flags={}, sets=(), environ=variables, cwd=tmp_path, require_upstream=False)
    warned = [re.sub(r"^\S+: |;.*", "", warning.text) for warning in loaded.warnings]
    assert [text for text in warned if f"check warns: {text}" not in block.text] == []
    assert [trial for trial in run_rule_tests(loaded.settings, 1_800_000_000.0) if trial.wrong] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind in ("json", "python")], ids=str)
def test_json_and_python_are_read(block: Block) -> None:
    if block.kind == "json":
        json.loads(block.text)
    else:
        compile(block.text, str(block), "exec", dont_inherit=True)


def test_every_block_says_what_it_is() -> None:
    """Without its language nobody knows whether it is typed; `text` is what programs say."""
    assert {block.kind for block in BLOCKS} <= KINDS
    assert [str(block) for block in BLOCKS if not block.kind and re.search(r"^\$ ", block.text, re.MULTILINE)] == []
    assert {name for block in BLOCKS for name in block.marks} <= MARKS
    assert {block.marks["not run"] for block in BLOCKS if "not run" in block.marks} <= {*NOT_RUN}
    assert [str(block) for block in BLOCKS if block.runs and not typed(block)] == []


def test_a_mark_is_nothing_that_readers_see() -> None:
    """One that is misspelt would be a block that is run, or not, against its author's will."""
    marks = [mark for page in pages() for mark in re.findall(r"^<!-- ([a-z ]+):", page.read_text(), re.MULTILINE)]
    assert {*marks} <= MARKS


def test_what_is_played_elsewhere_is_played_there() -> None:
    for page, module in ELSEWHERE.items():
        assert Path(page).name in (ROOT / module).read_text()


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"]({page.name})" not in index]
    assert missing == ["README.md"]


@pytest.mark.parametrize(
    ("kind", "text", "lines"),
    [
        ("sh", "a  # why\n\n# nothing\nb \\\n  c\n", [("a  # why", None, None), ("b c", None, None)]),
        ("sh", "cat > f <<'EOF'\n$ x\nEOF\na\n", [("cat > f <<'EOF'\n$ x\nEOF", None, None), ("a", None, None)]),
        ("console", "$ a # exit 1\nb\n\n$ c\n", [("a # exit 1", 1, ("b", "")), ("c", None, ())]),
        ("console", "$ a  # it has exit code 2, then\n", [("a  # it has exit code 2, then", 2, ())]),
    ],
)
def test_lines_are_what_a_person_types(kind: str, text: str, lines: list[tuple[str, int | None, object]]) -> None:
    found = typed(Block("page", 1, "", kind, text))
    assert [(each.line, each.code, each.shown) for each in found] == lines


def test_marks_stand_before_their_block_alone() -> None:
    page = ROOT / "docs" / "nowhere.md"
    text = "# A\n<!-- first: x -->\n<!-- first: y -->\n```sh\na\n```\n\n```sh\nb\n```\n"
    text += "<!-- of: z -->\nword\n```yaml\nc: 1\n```\n"
    found = list(told(page, text))
    assert [(block.section, block.text, block.marks) for block in found] == [
        ("A", "a\n", {"first": "x\ny"}),
        ("A", "b\n", {}),
        ("A", "c: 1\n", {}),
    ]
    with pytest.raises(ValueError, match=r"nowhere.md:1: this block is never closed"):
        list(told(page, "```sh\na\n"))


@pytest.mark.parametrize(
    ("shown", "said", "wrong"),
    [
        ("ttl=59; stored", "ttl=60; stored", None),
        ("HTTP/1.1 200 OK", "HTTP/1.1 503 OK", "HTTP/1.1 200 OK"),
        ("X-Cache: HIT", "X-Cache: MISS", "X-Cache: HIT"),
        ("for 1m 3s", "for 59s", None),
        ("a\n...\nc", "a\nb\nb\nc", None),
        ("a\n...", "a\nb", None),
        ("a", "a\nb", "b"),
        ("a\nb", "a", "b"),
        ("7fa484224fecaaed  now", "0c0e43aac01489f4 now", None),
        ("at Sat, 21 Nov 2026 02:24:21 GMT", "at Sun, 22 Nov 2026 02:24:21 GMT", None),
    ],
)
def test_what_is_shown_is_held_against_what_is_said(shown: str, said: str, wrong: str | None) -> None:
    assert differing(tuple(shown.splitlines()), said.splitlines()) == wrong
