"""docs/rows.md and SECURITY.md name tests that exist, and speak of every row and promise that is due."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = (ROOT / "docs" / "rows.md").read_text()
DUE = {*range(1, 139), *range(201, 211)}


def test_every_row_that_is_due_is_listed() -> None:
    assert {int(row) for row in re.findall(r"^\| (\d+) \|", TABLE, re.MULTILINE)} == DUE


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(\w+)\.(\w+)`", TABLE)
    assert len(named) > 100
    missing = [f"{file}.{name}" for file, name in named if not exists(ROOT / "tests" / f"test_{file}.py", name)]
    assert missing == []


def test_no_row_is_without_a_test_or_a_word_on_why() -> None:
    lines = [line for line in TABLE.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [line for line in lines if not (re.search(r"`\w+\.\w+`", line) or "Not yet" in line)] == []


def test_every_promise_names_modules_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert re.findall(r"^\| (\d+) \|.*`tests/", text, re.MULTILINE) == [str(number) for number in range(1, 13)]
    assert [name for name in re.findall(r"`(tests/\w+\.py)`", text) if not (ROOT / name).exists()] == []


def exists(file: Path, name: str) -> bool:
    return file.exists() and f"def test_{name}(" in file.read_text()
