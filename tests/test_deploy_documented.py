"""docs/deploying.md and the first lines of what is deployed: each command names what there is, with words that it takes
(row 117). `cachegate` and `make` by themselves are held against the program and the Makefile in test_project."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from proxy.settings.spellings import ENVIRONMENT
from tests.support.composed import BASE, OVERLAYS
from tests.support.image import DOCKERFILE, FINAL, instructions
from tests.support.process import REPOSITORY

PAGE = (REPOSITORY / "docs" / "deploying.md").read_text()
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
HEADS = [
    path.read_text().partition("\napiVersion")[0] for path in sorted(KUBERNETES.glob("overlays/*/kustomization.yaml"))
]


def commands() -> Iterator[list[str]]:
    """The words of every command of the page, and of the first lines of the overlays."""
    blocks = SHELL.findall(PAGE) + [re.sub(r"^#\s*", "", head, flags=re.MULTILINE) for head in HEADS]
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split(" && "):
                if re.match(r"(?:sudo |kubectl |make |docker |deploy/)", part):
                    yield [word for word in shlex.split(part, comments=True) if word != "sudo"]


def of(program: str) -> list[list[str]]:
    found = [words[1:] for words in commands() if words[0] == program]
    assert found
    return found


def test_every_file_that_is_named_is_there() -> None:
    words = [word for command in commands() for word in command]
    words += re.findall(r"`((?:deploy|config|docs|tests|proxy)/[^`*]*)`", PAGE)
    named = {word for word in words if re.match(r"(?:deploy|config|docs|requirements)[/.]", word)}
    named.discard("config/cachegate.yaml")  # which is the reader's own
    assert len(named) > 5
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []


def test_make_is_given_words_that_it_takes() -> None:
    profiles = {profile for service in BASE["services"].values() for profile in service.get("profiles", ())}
    for verb, *given in of("make"):
        for name, _, value in (word.partition("=") for word in given):
            assert name in {"up": {"UPSTREAM", "PROFILE", "WITH"}, "image": {"BASE", "ARGS"}}[verb]
            known = {"PROFILE": profiles, "WITH": set(OVERLAYS)}.get(name)
            assert known is None or set(value.split()) <= known
    arguments = {line.partition("=")[0] for line in instructions("ARG")}
    assert set(re.findall(r"--build-arg (\w+)=", PAGE)) <= arguments


def test_docker_is_told_what_compose_says_too() -> None:
    ((_, *words),) = [given for given in of("docker") if given[0] == "run"]
    gateway = BASE["services"]["cachegate"]
    for flag, name in (("--tmpfs", "tmpfs"), ("--cap-drop", "cap_drop"), ("--security-opt", "security_opt")):
        (said,) = gateway[name]
        assert words[words.index(flag) + 1] == said.removesuffix(":true")
    assert ("--read-only" in words) is gateway["read_only"]
    assert words[words.index("-v") + 1] == f"cache:{instructions('VOLUME', FINAL)[0]}"
    assert words[words.index("-p") + 1] in gateway["ports"]
    assert words[-2:] == gateway["command"]
    assert f"runs as {instructions('USER', FINAL)[0]}," in PAGE
    (check,) = re.findall(r"CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[:1]
    assert "`" + " ".join(json.loads(check)) + "`" in PAGE.replace("\n", " ")


def test_kubectl_makes_the_secrets_that_pods_ask_for() -> None:
    made: dict[str, set[str]] = {}
    for words in of("kubectl"):
        match words:
            case ["-n", _, "create", "secret", "generic", name, literal]:
                made.setdefault(name, set()).add(re.findall(r"^--from-literal=(\w+)=", literal)[0])
            case ["apply", "-k", place]:
                assert (REPOSITORY / place / "kustomization.yaml").is_file()
    asked: dict[str, set[str]] = {}
    for file in KUBERNETES.rglob("*.yaml"):
        for name, key in re.findall(r"secretKeyRef:\s+name: (\S+)\s+key: (\S+)", file.read_text()):
            asked.setdefault(name, set()).add(key)
    assert made == asked


@pytest.mark.parametrize("overlay", ["dev", "production"])
def test_kubectl_is_sent_to_the_namespace_of_the_overlay(overlay: str) -> None:
    text = (KUBERNETES / "overlays" / overlay / "kustomization.yaml").read_text()
    named = set(re.findall(r"(?:-n|create namespace) (\S+)", text.partition("\napiVersion")[0]))
    assert named == {yaml.safe_load(text)["namespace"]}


def test_every_variable_that_is_named_is_one() -> None:
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", PAGE))
    files = [REPOSITORY / "docker-compose.yml", *(REPOSITORY / "deploy" / "compose").glob("*.yml")]
    ours = {name for path in files for name in re.findall(r"\$\{(\w+)", path.read_text())}
    assert named <= {*ENVIRONMENT, *ours}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd on this machine")
def test_the_exposure_is_that_which_is_told() -> None:
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", "deploy/systemd/cachegate.service"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+) ", done.stdout)
    assert re.search(rf"says\s+{exposure} of 10", PAGE)


def test_a_unit_is_installed_where_systemd_looks() -> None:
    placed = {words[-2]: words[-1] for words in of("install") if words[-2].startswith("deploy/systemd/")}
    assert {Path(source).name for source in placed} == {path.name for path in (REPOSITORY / "deploy/systemd").iterdir()}
    homes = {"service": "/etc/systemd/system/", "sysusers": "/etc/sysusers.d/", "tmpfiles": "/etc/tmpfiles.d/"}
    assert all(place.startswith(homes[Path(source).suffix[1:]]) for source, place in placed.items())
