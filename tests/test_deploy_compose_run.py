"""docker-compose.yml and what is laid over it, run as `make up` runs them: what it prints is typed, containers are
looked into, Redis is taken away (rows 42, 43, 108, 111, 112, 115). The daemon is the tests' own, and its images are of
Debian's packages; where that cannot be, these are skipped. The lines are those of the pages."""

import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.support.docker import Docker, docker
from tests.support.image import instructions
from tests.support.pages import ROOT, blocks, typed
from tests.support.process import PATIENCE, environment

BUILT_OF = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]
TREE = ("Makefile", "Dockerfile", ".dockerignore", "docker-compose.yml", "deploy", "config", *BUILT_OF)
UP = {  # how the page says it, and the story that has it
    "make up": "the_printed_lines",
    "make up UPSTREAM=http://host.docker.internal:8080": "an_api_on_this_machine",
    "make up PROFILE=two": "by_hand",
    'make up WITH="sentinel monitoring" PROFILE=two': "sentinels",
    "make up WITH=monitoring": "sentinels",
}


def lines(page: str, section: str) -> list[str]:
    """What is typed under this heading of a page, with its comments, where it wants containers."""
    found = [block for block in blocks(ROOT / page) if block.section == section]
    return [each.line for block in found if block.marks.get("not run") == "containers" for each in typed(block)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Docker]:
    with docker() as made:
        made.load()
        yield made


class Tree:
    """A copy of what `make up` needs, and a Docker that nothing runs in."""

    def __init__(self, engine: Docker, place: Path) -> None:
        self.engine = engine
        self.place = place
        for name in TREE:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", ".env"))
            else:
                shutil.copy(ROOT / name, place / name)

    def type(self, line: str, *, code: int | None = 0, **env: str) -> str:
        try:
            return self.engine.type(line, cwd=self.place, code=code, env=env)
        except AssertionError as error:
            each = 'echo "== $name"; docker logs --tail 8 "$name"'
            said = self.engine.type(f"for name in $(docker ps --all --format '{{{{.Names}}}}'); do {each}; done")
            raise AssertionError(f"{error}\n{said}") from None

    @property
    def token(self) -> str:
        """That which `make up` has made."""
        text = (self.place / "deploy/compose/.env").read_text()
        return text.partition("ADMIN_TOKEN=")[2].strip()

    def json(self, path: str, port: int = 4000) -> Any:
        """An admin page of a gateway, as the bearer of the token; None while nobody answers."""
        said = self.type(f"curl -s -H 'Authorization: Bearer {self.token}' http://127.0.0.1:{port}{path}", code=None)
        return json.loads(said) if said.startswith("{") else None

    def connected(self, *ports: int) -> None:
        """Wait until these gateways, or that on 4000, are one with the others over Redis again."""
        deadline = monotonic() + PATIENCE
        for port in ports or (4000,):
            while not (said := self.json("/cache/redis/health", port))["connected"]:
                assert monotonic() < deadline, said
                sleep(0.2)


@pytest.fixture
def tree(engine: Docker, tmp_path: Path) -> Iterator[Tree]:
    engine.forget()
    yield Tree(engine, tmp_path)
    engine.forget()


def verdict(said: str) -> tuple[str, str]:
    """X-Cache, and the tier or an empty text."""
    head = said[said.find("HTTP/1.1 ") :].partition("\n\n")[0]
    found = dict(re.findall(r"^(X-Cache(?:-Tier)?): (\S+)", head, re.MULTILINE))
    return found["X-Cache"], found.get("X-Cache-Tier", "")


# -- one gateway -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_printed_lines_do_what_they_say(tree: Tree) -> None:
    said = tree.type("make up")
    page, stats, purge = [line for line in said.splitlines() if line.startswith("curl ")]
    assert [verdict(tree.type(page)) for _ in range(2)] == [("MISS", ""), ("HIT", "memory")]
    assert json.loads(tree.type(f"{stats} --silent"))["verdicts"]["HIT"] == 1
    assert json.loads(tree.type(f"{purge} --silent"))["instances"]
    assert verdict(tree.type(page))[0] == "MISS"
    assert "404" in tree.type("curl -i http://127.0.0.1:4000/cache/stats")  # who is outside is no friend of the house
    _locked_down(tree)
    _kept(tree, page)
    tree.type("make down")
    assert tree.type("docker ps --all --quiet") == ""
    assert "cachegate" not in tree.type("docker network ls")
    assert tree.type("docker volume ls --quiet").split() == ["cachegate_cache", "cachegate_redis-data"]
    tree.type("make up")
    assert verdict(tree.type(page))[0] in ("HIT", "REVALIDATED")  # its minute may be over by now


def _locked_down(tree: Tree) -> None:
    """What the files promise of the two containers is what the kernel says of them."""
    for name, uid in (("cachegate", "10001"), ("cachegate-redis", "999")):
        status = dict(re.findall(r"^(\w+):\s+(.*)$", tree.type(f"docker exec {name} cat /proc/1/status"), re.MULTILINE))
        assert status["Uid"].split() == [uid] * 4
        assert {status[each] for each in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert "Read-only file system" in tree.type(f"docker exec {name} touch /usr/x", code=1)
        inspected = tree.engine.inspect(name)
        assert inspected["State"]["Health"]["Status"] == "healthy"
        assert inspected["HostConfig"]["Memory"] == 1 << 30
    assert tree.type("docker port cachegate") == "4000/tcp -> 127.0.0.1:4000\n"
    assert tree.type("docker port cachegate-redis") == ""
    assert list(tree.engine.inspect("cachegate-redis")["NetworkSettings"]["Networks"]) == ["cachegate-network"]


def _kept(tree: Tree, page: str) -> None:
    """Redis is killed, and comes back with what it had; meanwhile nobody notices."""
    keys = "docker exec cachegate-redis redis-cli --scan --pattern 'proxy:cache:e:*'"
    tree.engine.until(keys, "proxy:cache:e:")
    before = set(tree.type(keys).split())
    sleep(1.1)  # what is said to be lost at most: appendfsync everysec
    tree.type("docker kill cachegate-redis")
    assert verdict(tree.type(page))[0] == "HIT"
    assert verdict(tree.type("curl -i http://127.0.0.1:4000/users/9"))[0] == "MISS"
    tree.type("docker start cachegate-redis")
    tree.connected()
    assert before <= set(tree.type(keys).split())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_api_on_this_machine_is_what_it_stands_before(tree: Tree) -> None:
    words = (sys.executable, "-m", "http.server", "8080", "--bind", "0.0.0.0", "--directory", str(tree.place))
    with _running(tree, *words):
        tree.type("make up UPSTREAM=http://host.docker.internal:8080")
        said = tree.type("curl -i http://127.0.0.1:4000/README.md")
        assert "# Cachegate" in said
        assert verdict(said)[0] == "MISS"


@contextmanager
def _running(tree: Tree, *words: str, env: dict[str, str] | None = None) -> Iterator[None]:
    """A program outside of containers, where their ports are published."""
    log = tree.place / "program.log"
    with log.open("wb") as output:
        command = tree.engine.words(*words)
        known = environment(env or {})
        program = subprocess.Popen(command, cwd=tree.place, env=known, stdout=output, stderr=output)
    try:
        yield
    finally:
        program.terminate()
        program.wait(PATIENCE)


# -- two gateways ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_by_hand_two_gateways_are_one(tree: Tree) -> None:
    """docs/operations.md, line by line; each comment that names a verdict or a status is held against what comes."""
    steps = lines("docs/operations.md", "By hand")
    assert steps[0].startswith("make up PROFILE=two")
    for line in steps:
        known = {"ADMIN_TOKEN": tree.token} if line.startswith("curl") else {}
        held_against(line, tree.type(line, **known))
        if line.startswith("docker start"):
            tree.connected(4000, 4001)
    assert tree.type("docker images --quiet --filter dangling=true") == ""  # both run the image that was built once


def held_against(line: str, said: str) -> None:
    """AssertionError where the comment of a line names another verdict, tier or word than came."""
    comment = line.partition("  # ")[2]
    for wanted in re.findall(r"\b(?:MISS|HIT)\b", comment):
        assert verdict(said)[0] == wanted, f"{line}\n{said}"
    for word in re.findall(r"`([^`]+)`", comment):
        assert word in said, f"{line}\n{said}"


# -- several servers ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sentinels_name_another_primary_and_prometheus_looks_on(tree: Tree) -> None:
    tree.type('make up WITH="sentinel monitoring" PROFILE=two')
    _watched(tree)
    tree.type("docker stop --time 1 cachegate-redis")
    role = "docker exec cachegate-redis-replica redis-cli role"
    deadline = monotonic() + PATIENCE
    for number in itertools.count():  # every request has its answer while nobody is the primary
        assert "HTTP/1.1 200" in tree.type(f"curl -i http://127.0.0.1:4000/users/{1 + number % 50}")
        if tree.type(role).startswith("master"):
            break
        assert monotonic() < deadline, tree.type("docker logs --tail 20 cachegate-sentinel-1")
    tree.connected(4000, 4001)
    purged = json.loads(tree.type(
        f"curl -s -H 'Authorization: Bearer {tree.token}' http://127.0.0.1:4000/cache/purge -d '{{\"all\": true}}'"
    ))  # fmt: skip
    assert len(purged["instances"]) == 2
    tree.type("docker start cachegate-redis")
    tree.engine.until("docker exec cachegate-redis redis-cli role", r"^slave\n\S+\.3\n6379\nconnected")
    tree.type('make down WITH="sentinel monitoring"')
    assert re.findall(r"^[0-9a-f]{64}$", tree.type("docker volume ls --quiet"), re.MULTILINE) == []


def _watched(tree: Tree) -> None:
    """Prometheus reaches both gateways by the token and has taken all rules; Grafana's files are where it reads them.
    (Grafana itself is not tried: Debian has none.)"""
    targets = "curl -s http://127.0.0.1:9090/api/v1/targets"
    tree.engine.until(targets, '"up".*"up"')
    found = json.loads(tree.type(targets))["data"]["activeTargets"]
    assert {each["labels"]["instance"] for each in found} == {"cachegate:4000", "cachegate-2:4000"}
    groups = json.loads(tree.type("curl -s http://127.0.0.1:9090/api/v1/rules"))["data"]["groups"]
    names = {rule["name"] for group in groups for rule in group["rules"]}
    written = (ROOT / "deploy/prometheus/alerts.yml").read_text() + (
        ROOT / "deploy/prometheus/recording.yml"
    ).read_text()
    assert names == set(re.findall(r"^\s+- (?:alert|record): (\S+)$", written, re.MULTILINE))
    assert "ok" in tree.type("curl -s http://127.0.0.1:3000/api/health")
    assert '"cachegate"' in tree.type("curl -s http://127.0.0.1:3000/dashboards/cachegate.json")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cluster_goes_on_without_one_of_its_nodes(tree: Tree) -> None:
    tree.type("make up WITH=cluster PROFILE=two")
    page = "curl -i -H 'Host: site.example' http://127.0.0.1:{}/users/{}"
    for number in range(1, 4):
        assert verdict(tree.type(page.format(4000, number)))[0] == "MISS"
        assert verdict(tree.type(page.format(4001, number))) == ("HIT", "redis")
    slots = "docker exec cachegate-redis redis-cli cluster slots"
    assert re.findall(r"^\S+\.[234]$", tree.type(slots), re.MULTILINE) == ["10.218.78.2", "10.218.78.3", "10.218.78.4"]
    tree.type("docker stop --time 1 cachegate-redis-3")
    for number in range(1, 31):
        assert "HTTP/1.1 200" in tree.type(page.format(4000, number))
    tree.type("docker start cachegate-redis-3")
    tree.connected()
    tree.type("make down WITH=cluster")
    tree.type("make up WITH=cluster")  # the nodes know each other still
    assert tree.json("/cache/redis/health")["connected"]


# -- without Compose ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_redis_in_a_container_for_a_gateway_outside(tree: Tree) -> None:
    """docs/redis.md: `docker run redis`, and Redis alone out of Compose; the gateway is `make run` with their flags."""
    (tree.place / ".venv").symlink_to(Path(sys.executable).parent.parent)
    started, outside = False, "make --old-file=.venv/.run run"  # which is there, and is not to be installed into
    for line in lines("docs/redis.md", "While you develop"):
        if not line.startswith("make run"):
            held_against(line, tree.type(line.replace("cachegate doctor", ".venv/bin/python -m proxy doctor")))
            continue
        words = shlex.split(f"{outside} {line.removeprefix('make run')}", comments=True)
        with _running(tree, *words, env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}):
            tree.engine.until("curl -s http://127.0.0.1:4000/cache/redis/health", '"connected":true')
            assert verdict(tree.type("curl -i http://127.0.0.1:4000/users/7"))[0] == ("HIT" if started else "MISS")
        started = True


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_by_itself(tree: Tree) -> None:
    """docs/deploying.md: `docker run` with everything locked. `make image` itself is tried by test_deploy_image."""
    tree.type("docker compose build cachegate")
    run, execute = [line for line in lines("docs/deploying.md", "The image") if line.startswith("docker ")]
    tree.type(run.replace("docker run", "docker run --detach --name tried"))
    tree.engine.until("docker exec tried cachegate health", "^healthy")
    assert "healthy" in tree.type(execute.replace("CONTAINER", "tried"))
    tree.type("docker stop tried")
    assert tree.engine.inspect("tried")["State"]["ExitCode"] == 0


# -- the pages ---------------------------------------------------------------------------------------------------------


def test_every_line_of_the_page_has_its_story() -> None:
    shown = [line.partition("#")[0].strip() for line in lines("docs/deploying.md", "Compose")]
    assert {line for line in shown if line.startswith("make up")} == {*UP}
    assert shown[-1] == "make down"
    for line, story in UP.items():
        assert re.search(rf"def test_{story}\w*\(", Path(__file__).read_text()), line
