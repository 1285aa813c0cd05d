"""docs/conformance.md names tests that exist, and leaves no line empty."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LINES = [line for line in (TESTS.parent / "docs" / "conformance.md").read_text().splitlines() if line.startswith("| ")]
TABLE = [line for line in LINES if not line.startswith(("| clause", "| what "))]


def test_the_documents_are_all_there() -> None:
    documents = {line.split()[1] for line in TABLE}
    assert {"9110", "9111", "5861", "8246", "9211", "9213"} <= documents


@pytest.mark.parametrize("line", TABLE, ids=lambda line: line.strip("| ")[:60])
def test_each_line_names_its_tests_or_says_why_there_is_none(line: str) -> None:
    shown = line.strip("| ").rsplit(" | ", 1)[-1]
    named = re.findall(r"`(\w+)\.(\w+)`", shown)
    assert named or len(shown) > 8
    missing = [f"{file}.{name}" for file, name in named if not exists(TESTS / f"test_{file}.py", name)]
    assert missing == []


def exists(file: Path, name: str) -> bool:
    return file.exists() and f"def test_{name}(" in file.read_text()
