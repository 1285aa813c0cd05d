"""What is shipped to run Redis beside the gateway: Compose files, configurations of Redis, the image's recipe (rows 45,
46, 108, 111). What they give to Redis and to the gateway is given to real ones here."""

import asyncio
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.redis.address import Address, Mode
from proxy.settings.load import load
from proxy.settings.sources import PREFIX
from proxy.settings.spellings import ENVIRONMENT
from tests.support.origin import Origin
from tests.support.process import REPOSITORY, environment, serving
from tests.support.redis_servers import redis_server

OVERLAYS = ("dev", "sentinel", "cluster")
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+):-([^}]*)\})")


def interpolated(part: Any) -> Any:
    """As Compose reads it where none of its variables is set."""
    match part:
        case str():
            return VARIABLE.sub(lambda found: found[1] or found[3], part)
        case list():
            return [interpolated(each) for each in part]
        case dict():
            return {name: interpolated(each) for name, each in part.items()}
        case _:
            return part


def composed(path: str) -> dict[str, Any]:
    read: dict[str, Any] = interpolated(yaml.safe_load((REPOSITORY / path).read_text()))
    return read


BASE = composed("docker-compose.yml")
OVERLAID = {name: composed(f"deploy/compose/{name}.yml") for name in OVERLAYS}
FILES = {"base": BASE, **OVERLAID}
SENTINEL_CONF = (REPOSITORY / "deploy/redis/sentinel.conf").read_text()
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
FINAL = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]

SERVERS = [
    pytest.param(service["command"], id=f"{file}-{name}")
    for file, content in FILES.items()
    for name, service in content["services"].items()
    if service.get("command", [""])[0] == "redis-server"
]


def options(command: list[str]) -> list[str]:
    """The words behind `redis-server` as lines of redis.conf."""
    words = " ".join(command[1:])
    return [line.strip() for line in words.split("--") if line]


def instructions(name: str, recipe: str = DOCKERFILE) -> list[str]:
    return re.findall(rf"^{name} (.*)$", recipe, re.MULTILINE)


# -- Redis -------------------------------------------------------------------------------------------------------------


def test_redis_in_compose_is_what_was_asked_for() -> None:
    redis = BASE["services"]["redis"]
    assert (redis["image"], redis["container_name"]) == ("redis:7-alpine", "cachegate-redis")
    assert options(redis["command"]) == ["appendonly yes", "maxmemory 256mb", "maxmemory-policy allkeys-lru"]
    assert "${REDIS_MAXMEMORY:-256mb}" in (REPOSITORY / "docker-compose.yml").read_text()
    assert "redis-cli ping" in redis["healthcheck"]["test"][1]
    assert redis["volumes"] == ["redis-data:/data"]
    assert "depends_on" not in redis  # so that it can be started alone


@pytest.mark.parametrize("command", SERVERS)
async def test_each_redis_keeps_what_it_has_over_a_crash_and_evicts(command: list[str]) -> None:
    given = [line for line in options(command) if not line.startswith("replicaof")]
    async with redis_server(*given, "cluster-enabled no") as redis:  # a node alone serves no slot
        said = await redis.command("CONFIG GET", "maxmemory*")
        assert (said["maxmemory"], said["maxmemory-policy"]) == (str(256 << 20), "allkeys-lru")
        await redis.command("SET", "kept", "yes", "PX", 600_000)
        await redis.kill()
        await redis.start()
        assert await redis.command("GET", "kept") == b"yes"
        assert await redis.command("PTTL", "kept") > 0


async def test_the_production_configuration_loads_and_says_what_was_asked_for(tmp_path: Path) -> None:
    file = REPOSITORY / "deploy" / "redis" / "redis.conf"
    async with redis_server(f"include {file}", "bind 127.0.0.1", f"dir {tmp_path}") as redis:
        said = await redis.command("CONFIG GET", "*")
        assert (said["maxmemory"], said["maxmemory-policy"]) == (str(1 << 30), "allkeys-lru")
        assert (said["save"], said["appendonly"]) == ("900 1 300 10 60 10000", "yes")
        assert (said["protected-mode"], said["stop-writes-on-bgsave-error"]) == ("yes", "no")
        await redis.command("SET", "kept", "yes", "PX", 600_000)
        await redis.kill()
        await redis.start()
        assert await redis.command("GET", "kept") == b"yes"


async def test_sentinels_begin_with_names_and_are_quick() -> None:
    lines = SENTINEL_CONF.replace("dir /data\n", "").replace("port 26379\n", "")
    lines = lines.replace("mymaster redis 6379", "mymaster localhost 1")
    async with redis_server(*lines.splitlines(), sentinel=True) as sentinel:
        said = await sentinel.command("SENTINEL MASTER", "mymaster")
        assert (said["ip"], said["quorum"]) == ("localhost", 2)
        assert said["down-after-milliseconds"] + 2 * said["failover-timeout"] < 15_000  # one vote may come to nothing


def test_the_nodes_of_the_cluster_share_all_slots() -> None:
    script = OVERLAID["cluster"]["services"]["redis-cluster"]["command"][-1]
    shared = re.findall(r"-h (\S+) cluster addslotsrange (\d+) (\d+)", script)
    assert [slot for _, first, last in shared for slot in range(int(first), int(last) + 1)] == list(range(16384))
    nodes = {host for host, _ in Address.parse(_redis_url("cluster")).nodes}
    assert {name for name, _, _ in shared} == nodes
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0


# -- who reaches whom --------------------------------------------------------------------------------------------------


def test_the_parts_have_their_names() -> None:
    assert BASE["services"]["cachegate"]["container_name"] == "cachegate"
    assert BASE["networks"]["cachegate-network"]["name"] == "cachegate-network"
    names = [
        service["container_name"]
        for content in FILES.values()
        for service in content["services"].values()
        if "image" in service
    ]
    assert all(name.startswith("cachegate") for name in names)
    assert len(names) == len(set(names))


def test_nobody_but_the_gateway_reaches_redis() -> None:
    assert BASE["networks"]["cachegate-network"]["internal"] is True
    for content in (BASE, OVERLAID["sentinel"], OVERLAID["cluster"]):
        for name, service in content["services"].items():
            if name != "cachegate":
                assert "ports" not in service
                assert service.get("networks", ["cachegate-network"]) == ["cachegate-network"]


def test_what_is_published_is_published_to_this_machine_alone() -> None:
    published = {
        (file, name): service["ports"]
        for file, content in FILES.items()
        for name, service in content["services"].items()
        if "ports" in service
    }
    assert published == {("base", "cachegate"): ["127.0.0.1:4000:4000"], ("dev", "redis"): ["127.0.0.1:6379:6379"]}


def test_what_is_waited_for_can_tell_that_it_is_ready() -> None:
    for content in FILES.values():
        services = {name: {**BASE["services"].get(name, {}), **own} for name, own in content["services"].items()}
        services = {**BASE["services"], **services}
        waits = [wait for own in content["services"].values() for wait in own.get("depends_on", {}).items()]
        for name, how in waits:
            wanted = "service_healthy" if "healthcheck" in services[name] else "service_completed_successfully"
            assert how == {"condition": wanted}
    assert BASE["services"]["cachegate"]["depends_on"]["redis"] == {"condition": "service_healthy"}


def test_every_container_may_do_little() -> None:
    for content in FILES.values():
        for service in content["services"].values():
            if "image" in service:
                assert service["cap_drop"] == ["ALL"]
                assert service["security_opt"] == ["no-new-privileges:true"]
    gateway = BASE["services"]["cachegate"]
    assert gateway["read_only"] is True
    assert "cache:/var/cache/cachegate" in gateway["volumes"]


def test_every_volume_is_declared_and_every_file_is_there() -> None:
    for content in FILES.values():
        known = {*BASE["volumes"], *content.get("volumes", {})}
        for service in content["services"].values():
            for volume in service.get("volumes", ()):
                source = volume.partition(":")[0]
                assert (REPOSITORY / source).exists() if source.startswith("./") else source in known


# -- the gateway -------------------------------------------------------------------------------------------------------


def _redis_url(file: str) -> str:
    return str(FILES[file]["services"]["cachegate"]["environment"]["REDIS_URL"])


def _image_environment() -> dict[str, str]:
    pairs = [word.split("=", 1) for line in instructions("ENV", FINAL) for word in shlex.split(line)]
    return {name: value for name, value in pairs if name not in ("PATH", "PYTHONUNBUFFERED")}


@pytest.mark.parametrize("file", ["base", "sentinel", "cluster"])
def test_the_settings_know_every_variable(file: str, tmp_path: Path) -> None:
    own = FILES[file]["services"]["cachegate"]["environment"]
    given = {**_image_environment(), **BASE["services"]["cachegate"]["environment"], **own}
    assert [name for name in given if name not in ENVIRONMENT and not name.startswith(PREFIX)] == []
    loaded = load(config=None, flags={}, sets=(), environ=given, cwd=tmp_path, require_upstream=False)
    assert loaded.warnings == ()
    assert loaded.settings.redis.enabled
    assert (loaded.settings.listen.host, loaded.settings.file.dir) == ("0.0.0.0", Path("/var/cache/cachegate"))
    assert loaded.settings.admin.token_file.parent == loaded.settings.file.dir
    assert loaded.settings.upstream.url == ()  # none, so that `serve --demo` brings one
    assert BASE["services"]["cachegate"]["command"] == ["serve", "--demo"]


@pytest.mark.parametrize(
    ("file", "mode", "port"),
    [("base", Mode.AUTO, 6379), ("sentinel", Mode.SENTINEL, 26379), ("cluster", Mode.CLUSTER, 6379)],
)
def test_the_gateway_is_sent_to_services_that_there_are(file: str, mode: Mode, port: int) -> None:
    address = Address.parse(_redis_url(file))
    assert address.mode is mode
    assert {name for name, _ in address.nodes} <= {*BASE["services"], *FILES[file]["services"]}
    assert {given for _, given in address.nodes} == {port}
    if mode is Mode.SENTINEL:
        assert f"port {port}\n" in SENTINEL_CONF
        assert f"sentinel monitor {address.service} redis 6379 2\n" in SENTINEL_CONF


@pytest.mark.parametrize(("token", "code"), [("", 2), ("a-token-of-mine", 0)])
def test_it_wants_an_admin_token(token: str, code: int, tmp_path: Path) -> None:
    program = tmp_path / "cachegate"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m proxy "$@"\n')
    program.chmod(0o755)
    known = environment({"ADMIN_TOKEN": token, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    command = [*BASE["services"]["cachegate"]["entrypoint"], "--version"]
    done = subprocess.run(command, env=known, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert ("cachegate " in done.stdout) is (code == 0)
    assert ("make up writes one" in done.stderr) is (code == 2)


async def test_the_health_checks_see_a_gateway_that_lives_and_one_that_does_not() -> None:
    (check,) = re.findall(r"CMD (\[.*\])$", instructions("HEALTHCHECK", FINAL)[0])
    in_compose = BASE["services"]["cachegate"]["healthcheck"]["test"][1:]
    async with Origin() as origin, serving(origin) as gateway:
        port = str(gateway.port)
        checks = [json.loads(check), [word.replace("4000", port) for word in in_compose]]
        assert all("/live" in words[-1] for words in checks)  # who serves on without Redis is not to be restarted
        assert [await _ended(words, port) for words in checks] == [0, 0]
        await gateway.stop()
        assert [await _ended(words, port) for words in checks] == [1, 1]


async def _ended(words: list[str], port: str) -> int:
    assert words[0] == "python"
    known = environment({"PORT": port})
    quiet = asyncio.subprocess.DEVNULL
    running = await asyncio.create_subprocess_exec(sys.executable, *words[1:], env=known, stderr=quiet)
    return await running.wait()


# -- the image ---------------------------------------------------------------------------------------------------------


def test_the_image_runs_as_nobody_special_and_holds_no_tools() -> None:
    assert [line.split()[0] for line in instructions("FROM")] == ["python:3.12-slim", "python:3.12-slim"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER", FINAL)[0])  # by number: Kubernetes looks at it
    assert instructions("COPY", FINAL) == ["--from=build /opt/cachegate /opt/cachegate"]
    assert "apt-get" not in DOCKERFILE
    assert [json.loads(line) for line in instructions("ENTRYPOINT", FINAL)] == [["cachegate"]]


def test_the_image_installs_what_the_lock_says() -> None:
    installs = [
        step for line in instructions("RUN") for step in line.split("&&") if re.search(r"\bpip\b.*\binstall ", step)
    ]
    assert installs
    assert [step for step in installs if "--require-hashes" not in step and "--no-deps --no-index" not in step] == []


def test_what_is_copied_is_let_through_and_nothing_else_is() -> None:
    copied = {word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]}
    let_through = re.findall(r"^!(.*)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    assert copied == set(let_through)
    assert all((REPOSITORY / name).exists() for name in copied)


# -- the verbs ---------------------------------------------------------------------------------------------------------


def make(*words: str, cwd: Path) -> str:
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", *words]
    done = subprocess.run(
        command, cwd=cwd, env=environment({}), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_up_writes_a_token_once_and_prints_how_to_ask(tmp_path: Path) -> None:
    place = tmp_path / "deploy" / "compose"
    place.mkdir(parents=True)
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    shutil.copy(REPOSITORY / "deploy" / "compose" / "asking.txt", place)
    first = make("up", "COMPOSE=true", cwd=tmp_path)
    made = place / ".env"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    (token,) = re.findall(r"^ADMIN_TOKEN=([0-9a-f]{48})$", made.read_text(), re.MULTILINE)
    told = [shlex.split(line, comments=True) for line in first.splitlines() if line.startswith("curl ")]
    assert len(told) >= 2
    assert all(f"Authorization: Bearer {token}" in words for words in told if "/cache/" in " ".join(words))
    make("down", "COMPOSE=true", cwd=tmp_path)
    assert make("up", "COMPOSE=true", cwd=tmp_path) == first


def test_make_up_takes_overlays_and_an_upstream() -> None:
    shown = make("-n", "up", f"WITH={' '.join(OVERLAYS)}", "UPSTREAM=http://api.example.com", cwd=REPOSITORY)
    (line,) = [line for line in shown.splitlines() if "docker compose" in line]
    assert line.startswith('UPSTREAM_URL="http://api.example.com" docker compose --env-file deploy/compose/.env')
    files = re.findall(r"-f (\S+)", line)
    assert files == ["docker-compose.yml", *(f"deploy/compose/{name}.yml" for name in OVERLAYS)]


@pytest.mark.parametrize("files", [(), *((name,) for name in OVERLAYS)], ids=lambda files: "-".join(files) or "base")
def test_compose_itself_takes_them(files: tuple[str, ...]) -> None:
    docker = ["docker", "compose"]
    if not shutil.which("docker") or subprocess.run([*docker, "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no docker compose on this machine")
    named = ["docker-compose.yml", *(f"deploy/compose/{name}.yml" for name in files)]
    command = [*docker, *(word for name in named for word in ("-f", name)), "config", "--format", "json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    gateway = json.loads(done.stdout)["services"]["cachegate"]
    assert gateway["depends_on"]["redis"]["condition"] == "service_healthy"
    assert gateway["environment"]["REDIS_URL"] == _redis_url(files[0] if files and files[0] != "dev" else "base")
