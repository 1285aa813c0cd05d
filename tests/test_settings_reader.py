"""YAML with places, `${NAME}`, `.env`, and hostile files. Rows 75 and 76 (the reading side)."""

from pathlib import Path
from typing import Any

import pytest

from proxy.settings.dotenv import parse_dotenv
from proxy.settings.expand import expand
from proxy.settings.problems import Origin, Report
from proxy.settings.reader import MAX_VALUES, Node, read_yaml
from tests.support.settings_loading import problems, read

NAMES = {"A": "1", "EMPTY": "", "SECRET": "hunter2"}


def tree(text: str) -> tuple[Any, list[str]]:
    """The plain values of a text, and what is wrong with it as `line:column: ...`."""
    report = Report()
    node = read_yaml(text, lambda line, column: Origin(f"{line}:{column}", ""), NAMES, report)
    return (None if node is None else plain(node)), [str(problem) for problem in report.problems]


def plain(node: Node) -> Any:
    match node.value:
        case dict() as pairs:
            return {key: plain(child) for key, child in pairs.items()}
        case list() as items:
            return [plain(item) for item in items]
        case value:
            return value


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: 0123", {"a": "0123"}),  # no octal, no lost zero
        ("a: 1:30", {"a": "1:30"}),  # no sexagesimal
        ("a: no", {"a": "no"}),
        ("a: 2001-01-01", {"a": "2001-01-01"}),
        ("on: 1", {"on": "1"}),
        ("404: 10", {"404": "10"}),
        ("a: ~\nb: null\nc:\nd: 'null'", {"a": None, "b": None, "c": None, "d": "null"}),
        ("a: ${A}", {"a": "1"}),
        ("a: ${NONE:-x}", {"a": "x"}),
        ("a: ${EMPTY:-x}", {"a": "x"}),
        ("a: ${EMPTY}", {"a": None}),
        ("a: '${EMPTY}'", {"a": ""}),
        ("a: http://${A}/${NONE:-b}", {"a": "http://1/b"}),
        ("a: $${A}", {"a": "${A}"}),
        ("a: $A pa$$word", {"a": "$A pa$$word"}),
        ("${A}: x", {"${A}": "x"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": "1"}, "c": {"b": "1"}}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": "1", "c": "2"}, "d": {"b": "1", "c": "3"}}),
        ("", None),
        ("# only words", None),
    ],
)
def test_values_keep_their_characters(text: str, wanted: object) -> None:
    assert tree(text) == (wanted, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb:\n  c: ${NONE}", "3:6: b.c: ${NONE} is not set: set NONE, or write ${NONE:-default}"),
        ("a: x${", "1:4: a: wants ${NAME} or ${NAME:-default}; write $${ for the two characters themselves"),
        ("a: ${A B}", "1:4: a: wants ${NAME}"),
        ("a: 1\na: 2", "2:1: a: given twice; first at 1:1"),
        ("a: !secret x", "1:4: a: YAML tags are not used here"),
        ("a: !!python/object:os.system x", "1:4: a: YAML tags are not used here"),
        ("a: !!set {x: ~}", "1:4: a: YAML tags are not used here"),
        ("? [a]\n: b", "1:3: a key wants to be text"),
        ("a: [1", "1:6: not valid YAML"),
        ("a: 1\n b: 2", "2:3: not valid YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1", "2:1: not valid YAML: a tab; YAML wants spaces"),
        ("a: 1\nb:\t2", "2:3: not valid YAML: a tab; YAML wants spaces"),
        ("a: \x00", "1:4: not valid YAML: the character U+0000 is not allowed"),
        ("--- 1\n--- 2", "2:1: not valid YAML"),
        ("a: {<<: 5}", "1:9: a.<<: wants a mapping to merge; found text"),
    ],
)
def test_each_problem_has_its_place(text: str, said: str) -> None:
    assert [line for line in tree(text)[1] if line.startswith(said)], tree(text)[1]


BILLION = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGED = "a0: &a0 {x: 1, y: 2, z: 3}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BILLION, "1:1: unfolds to more than"),
        (MERGED, "1:1: unfolds to more than"),
        ("a: &a [*a]", "1:1: unfolds to more than"),
        ("a: &a {<<: *a}", "1:1: unfolds to more than"),
        ("[" * 100_000, "1:41: not valid YAML: nested deeper than 40 levels"),
        ("a: " + "{a: " * 5_000, "not valid YAML: nested deeper than 40 levels"),
        ("x" * (1 << 20) + "y", "1:1: larger than 1048576 bytes"),
    ],
    ids=["aliases", "merges", "self", "self-merge", "lists", "mappings", "size"],
)
def test_bombs_are_refused(text: str, said: str) -> None:
    value, wrong = tree(text)
    assert value is None
    assert said in wrong[0]
    assert len(wrong) == 1


def test_many_values_are_no_bomb() -> None:
    value, wrong = tree("a: [" + "1, " * 2_000 + "1]")
    assert len(value["a"]) == 2_001 < MAX_VALUES
    assert not wrong


@pytest.mark.parametrize(
    "text", ["password: *hunter2", "password: &hunter2 x\nb: &hunter2 y", "a: %hunter2", "a: @hunter2"]
)
def test_a_yaml_error_quotes_nothing(text: str) -> None:
    wrong = tree(text)[1]
    assert "hunter2" not in "".join(wrong)


def test_dotenv() -> None:
    text = """
# words
PLAIN=a b # words
export EXPORTED = x
EMPTY=
HASH=a#b
SINGLE='${A} # $x'   # words
DOUBLE="a\\n\\"${A}\\""
LINES="one
two"
UP=${PLAIN}/${A}
SHADOWED=file
SEES=${SHADOWED}
MISSING=${NOPE}
DEFAULT=${NOPE:-d}
ESCAPED=$${A}
PLAIN2=first
PLAIN2=second
"""
    variables, wrong = parse_dotenv(text, {"A": "1", "SHADOWED": "environment"})
    assert wrong == ()
    assert {name: str(variable.value) for name, variable in variables.items() if not variable.wrong} == {
        "PLAIN": "a b",
        "EXPORTED": "x",
        "EMPTY": "",
        "HASH": "a#b",
        "SINGLE": "${A} # $x",
        "DOUBLE": 'a\n"1"',
        "LINES": "one\ntwo",
        "UP": "a b/1",
        "SHADOWED": "file",
        "SEES": "environment",
        "DEFAULT": "d",
        "ESCAPED": "${A}",
        "PLAIN2": "second",
    }
    assert variables["MISSING"].wrong[0].startswith("${NOPE} is not set")
    assert (variables["PLAIN"].line, variables["LINES"].line, variables["UP"].line) == (3, 9, 11)


def test_dotenv_lines_that_are_none() -> None:
    _, wrong = parse_dotenv("A=1\nwhat is this\nB='open\n", {})
    assert [line for line, _ in wrong] == [2, 3]


def test_expansion_names_what_is_not_set_and_nothing_else() -> None:
    assert expand("${A}${B}", {"A": "hunter2"}) == (
        "hunter2",
        ("${B} is not set: set B, or write ${B:-default}",),
    )


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert problems(tmp_path, config="nope.yaml") == ["nope.yaml: there is no such file"]
    (tmp_path / "dir.yaml").mkdir()
    assert problems(tmp_path, config="dir.yaml") == ["dir.yaml: cannot be read: Is a directory"]
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9")
    assert problems(tmp_path, config="latin.yaml") == ["latin.yaml:2: not UTF-8"]
    (tmp_path / "list.yaml").write_text("- a")
    assert problems(tmp_path, config="list.yaml") == ["list.yaml:1:1: wants a mapping of settings at the top level"]


def test_a_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfmemory: {max_entries: 3}")
    assert read(tmp_path, config="bom.yaml").settings.memory.max_entries == 3
