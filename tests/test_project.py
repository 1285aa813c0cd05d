"""The project's own files: documented commands parse, links lead somewhere, locks fit, nothing local is spoken of."""

import ast
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from proxy.cli import program
from proxy.version import VERSION
from tests.support.parsed import parsed

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {
    name: (ROOT / name).read_text()
    for name in ("requirements.lock", "requirements-otel.lock", "requirements-test.lock", "requirements-deploy.lock")
}
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
CODE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OURS = ("*.md", "*.toml", "Makefile", ".ci/*", ".env.example", "bench/**/*.*", "config/**/*.*", "deploy/**/*.*",
        "docs/**/*.*", "proxy/**/*.py", "tests/**/*.py")  # fmt: skip


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def code(kind: str) -> Iterator[str]:
    """Every block of code of one kind in the documents."""
    for path in documents():
        yield from (text for of, text in CODE.findall(path.read_text()) if of == kind)


def documented_commands() -> Iterator[list[str]]:
    """The words of every `cachegate …` that stands in a block of shell."""
    for block in (*code("sh"), *code("console")):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(
                r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?cachegate( .*)?$",
                line.partition("  #")[0].partition(" | ")[0].rstrip(),
            )
            if found:
                yield shlex.split(found[1] or "")


def pinned(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ]+)", LOCKS[lock], re.MULTILINE))


# -- README and the other documents ------------------------------------------------------------------------------------


def test_documented_make_verbs_exist() -> None:
    verbs = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    named = {verb for block in code("sh") for verb in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)}
    named |= {verb for path in documents() for verb in re.findall(r"`make ([a-z-]+)", path.read_text())}
    assert {"run", "test", "check"} <= named <= verbs


@pytest.mark.parametrize("words", [pytest.param(words, id=" ".join(words)) for words in documented_commands()])
def test_documented_commands_parse(words: list[str]) -> None:
    with program.make_context("cachegate", list(words)) as ctx:
        args = [*ctx._protected_args, *ctx.args]
        name, command, rest = program.resolve_command(ctx, args)
        assert command is not None
        command.make_context(name, rest, parent=ctx).close()


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents()
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert broken == []


def test_files_named_in_contributing_exist() -> None:
    named = set(re.findall(r"`((?:proxy|tests|docs|config)/[\w./-]*)`", (ROOT / "CONTRIBUTING.md").read_text()))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_changelog_keeps_its_form() -> None:
    releases = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", release) for release in releases[1:])
    kinds = set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_what_is_unreleased_is_told_once_and_in_sentences() -> None:
    (unreleased,) = re.findall(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", CHANGELOG, re.MULTILINE | re.DOTALL)
    kinds = re.findall(r"^### (.*)$", unreleased, re.MULTILINE)
    assert sorted(set(kinds)) == sorted(kinds)
    parts = [part.strip() for part in re.split(r"^(?:- |### .*$)", unreleased, flags=re.MULTILINE)]
    entries = [part for part in parts if part]
    assert [entry for entry in entries if not entry.endswith((".", ".)"))] == []
    heads = [entry[:50] for entry in entries]  # of two entries on one thing one is the other before it was changed
    assert [head for head in heads if heads.count(head) > 1] == []


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_is_a_page_with_four_parts(page: Path) -> None:
    text = page.read_text()
    assert re.match(rf"# {int(page.stem[:4])}\. ", text)
    assert re.findall(r"^\*\*(.*?)\.\*\*", text, re.MULTILINE) == ["Context", "Choice", "Cost", "When to revisit"]
    assert len(text.splitlines()) < 60


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.stem[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


# -- what is installed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", PYPROJECT["project"]["dependencies"] + PYPROJECT["build-system"]["requires"]),
        ("requirements-otel.lock", PYPROJECT["project"]["optional-dependencies"]["otel"]),
        ("requirements-test.lock", PYPROJECT["project"]["optional-dependencies"]["test"]),
        ("requirements-deploy.lock", PYPROJECT["project"]["optional-dependencies"]["deploy"]),
    ],
)
def test_the_lock_fits_what_the_project_asks_for(lock: str, wanted: list[str]) -> None:
    pins = pinned(lock)
    wrong = [
        text
        for text in wanted
        if not (need := Requirement(text)).specifier.contains(pins.get(canonicalize_name(need.name), "0"))
    ]
    assert wrong == [], "run `make lock`"


def test_what_is_imported_is_asked_for() -> None:
    project = PYPROJECT["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["otel"]]
    asked: set[str] = {canonicalize_name(Requirement(text).name) for text in needs}
    asked.add("pydantic-core")  # a part of pydantic
    trees = [parsed(path) for path in (ROOT / "proxy").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"proxy"}
    known = packages_distributions()
    missing = {name for name in foreign if asked.isdisjoint(map(canonicalize_name, known.get(name, [name])))}
    assert missing == set()


def test_what_is_in_an_extra_is_imported_by_those_alone_that_are_imported_with_it() -> None:
    """Else nothing would run without it."""
    users = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "proxy").rglob("*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("opentelemetry")
    }
    assert users == {"proxy/observe/otlp.py", "proxy/observe/otlp_figures.py"}
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert {*extras["otel"]} <= {*extras["test"]}


def test_the_locks_agree_and_name_no_index() -> None:
    base = pinned("requirements.lock")
    for lock in LOCKS:
        assert {name: pinned(lock).get(name) for name in base if name != "setuptools"}.items() <= base.items()
    assert {pinned(lock).get("setuptools") for lock in LOCKS} <= {base["setuptools"], None}
    for text in LOCKS.values():
        assert "http" not in re.sub(r"^[a-z0-9-]+==.*$", "", text, flags=re.MULTILINE)
        pins = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in pin for pin in pins)


def test_the_build_needs_are_the_same_for_make() -> None:
    (needs,) = PYPROJECT["build-system"]["requires"]
    assert set(re.findall(r'echo "(.*?)"\s*\|', MAKEFILE)) == {needs}


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PYPROJECT["project"]["dynamic"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "proxy.version.VERSION"}
    elsewhere = [path.name for path in (ROOT / "proxy").rglob("*.py") if f'"{VERSION}"' in path.read_text()]
    assert elsewhere == ["version.py"]


# -- what is never written down ----------------------------------------------------------------------------------------


def test_nothing_local_or_unfinished_is_spoken_of() -> None:
    unwanted = re.compile(r"/(?:home|root|Users|work|tmp/bash)/\w|\bTO" + r"DO\b|\bFIX" + r"ME\b")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for pattern in OURS
        for path in ROOT.glob(pattern)
        if path.is_file() and path.suffix != ".pyc" and (match := unwanted.search(path.read_text(errors="replace")))
    ]
    assert found == []


def test_what_a_running_gateway_makes_is_never_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".venv/", ".cachegate/", ".env", "deploy/compose/.env"} <= set(ignored)
