"""docker-compose.yml and what can be laid over it: who reaches whom, what each part may do, what the gateway is given,
and the verbs that start it (rows 108, 111, 112). `make up` itself wants a daemon, and is run by
test_deploy_compose_run; here every part is held against the thing that it speaks to."""

import asyncio
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from bench.programs import free_port
from proxy.redis.address import Address, Mode
from proxy.settings.load import load
from proxy.settings.sources import PREFIX
from proxy.settings.spellings import ENVIRONMENT
from tests.support.composed import BASE, FILES, GATEWAYS, OVERLAID, OVERLAYS, overlaid
from tests.support.gateway import TOKEN
from tests.support.image import FINAL, image_environment, instructions
from tests.support.origin import Origin
from tests.support.process import PATIENCE, REPOSITORY, Process, environment, serving

SENTINEL_CONF = (REPOSITORY / "deploy/redis/sentinel.conf").read_text()
ADDRESS = re.compile(r"\b\d+\.\d+\.\d+\.\d+\b")
PUBLISHED = {
    "cachegate": ["127.0.0.1:4000:4000"],
    "cachegate-2": ["127.0.0.1:4001:4000"],
    "prometheus": ["127.0.0.1:9090:9090"],
    "grafana": ["127.0.0.1:3000:3000"],
}
WHOLE = {"-".join(names) or "base": overlaid(*names) for names in ((), *((name,) for name in OVERLAYS))}
whole = pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in WHOLE.items()])


# -- who reaches whom --------------------------------------------------------------------------------------------------


def test_the_parts_have_their_names() -> None:
    assert BASE["networks"]["cachegate-network"]["name"] == "cachegate-network"
    assert BASE["services"]["cachegate"]["container_name"] == "cachegate"
    every = overlaid(*OVERLAYS)["services"]
    names = [service["container_name"] for service in every.values()]
    assert all(name.startswith("cachegate") for name in names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("names", [(), ("sentinel",), ("cluster",), ("monitoring",), ("sentinel", "monitoring")])
def test_nobody_but_the_gateways_reaches_redis(names: tuple[str, ...]) -> None:
    content = overlaid(*names)
    inside = {name for name, network in content["networks"].items() if (network or {}).get("internal")}
    assert inside == {*content["networks"]} - {"default"} >= {"cachegate-network"}
    for name, service in content["services"].items():
        on = {*service.get("networks", ["default"])}
        if name in GATEWAYS:
            assert on == {"default"} | inside
        elif name in ("prometheus", "grafana"):
            assert on == {"default"}
        else:
            assert on <= inside
            assert "ports" not in service


@pytest.mark.parametrize("name", ["sentinel", "cluster"])
def test_those_who_are_spoken_to_by_address_have_it(name: str) -> None:
    """A stopped container has no name: a Sentinel that looks it up promotes nobody meanwhile."""
    content = OVERLAID[name]
    given = {
        place["ipv4_address"]
        for service in content["services"].values()
        for place in (service["networks"].values() if isinstance(service.get("networks"), dict) else ())
    }
    ((network,),) = [part["ipam"]["config"] for part in content["networks"].values()]
    free = ip_network(network["ip_range"])
    assert all(ip_address(each) in ip_network(network["subnet"]) and ip_address(each) not in free for each in given)
    every = sum(f"{name}-network" in service.get("networks", ()) for service in content["services"].values())
    assert every - len(given) < free.num_addresses - 2  # one is the bridge's, and the last one everybody's
    spoken = {word for text in FILES if text == name for word in ADDRESS.findall(json.dumps(FILES[text]["services"]))}
    assert spoken - {"127.0.0.1"} == given


def test_what_is_published_is_published_to_this_machine_alone() -> None:
    found = {
        name: service["ports"]
        for content in (overlaid("sentinel", "monitoring"), overlaid("cluster", "monitoring"))
        for name, service in content["services"].items()
        if "ports" in service
    }
    assert found == PUBLISHED
    assert OVERLAID["dev"]["services"]["redis"]["ports"] == ["127.0.0.1:6379:6379"]


@whole
def test_what_is_waited_for_can_tell_that_it_is_ready(content: dict[str, Any]) -> None:
    services = content["services"]
    waits = [wait for service in services.values() for wait in service.get("depends_on", {}).items()]
    assert waits
    for name, how in waits:
        wanted = "service_healthy" if "healthcheck" in services[name] else "service_completed_successfully"
        assert how == {"condition": wanted}
    assert services["cachegate"]["depends_on"]["redis"] == {"condition": "service_healthy"}


@whole
def test_every_container_may_do_little_and_grows_to_a_bound(content: dict[str, Any]) -> None:
    for name, service in content["services"].items():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        if name in ("cachegate", "cachegate-2", "redis", "prometheus", "grafana"):
            assert service["deploy"]["resources"]["limits"]["memory"]
            assert service["logging"]["options"].keys() == {"max-size", "max-file"}
            assert service["restart"] == "unless-stopped"
        if name in ("cachegate", "cachegate-2", "prometheus", "grafana") or (name, content) == ("redis", BASE):
            assert service["read_only"] is True


@whole
def test_every_volume_is_declared_and_used_and_every_file_is_there(content: dict[str, Any]) -> None:
    sources = [
        volume.partition(":")[0] for service in content["services"].values() for volume in service.get("volumes", ())
    ]
    files = [source for source in sources if source.startswith("./")]
    assert [source for source in files if not (REPOSITORY / source).exists()] == []
    assert set(sources) - set(files) == set(content["volumes"])


@pytest.mark.parametrize("names", [(), *((name,) for name in OVERLAYS), ("sentinel", "monitoring")])
def test_the_compose_specification_knows_every_word(names: tuple[str, ...]) -> None:
    specification = pytest.importorskip("compose_spec", reason="not installed: `make .venv/.deploy`")
    content = overlaid(*names)
    asked = {name: part for name, part in content.items() if not name.startswith("x-")}
    text = json.dumps(asked).replace("host-gateway", "127.0.0.1")  # a word of Docker's, which that parser does not know
    read = specification.PyCompose.from_json(text)
    read.validate()
    assert set(read.service_names()) == set(content["services"])


# -- the gateways ------------------------------------------------------------------------------------------------------


def _redis_url(file: str, gateway: str = "cachegate") -> str:
    return str(FILES[file]["services"][gateway]["environment"]["REDIS_URL"])


@pytest.mark.parametrize("file", ["base", "sentinel", "cluster"])
def test_the_settings_know_every_variable(file: str, tmp_path: Path) -> None:
    own = FILES[file]["services"]["cachegate"]["environment"]
    given = {**image_environment(), **BASE["services"]["cachegate"]["environment"], **own}
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
def test_the_gateways_are_sent_to_services_that_there_are(file: str, mode: Mode, port: int) -> None:
    address = Address.parse(_redis_url(file))
    assert address.mode is mode
    assert {name for name, _ in address.nodes if not ADDRESS.fullmatch(name)} <= {
        *BASE["services"],
        *FILES[file]["services"],
    }
    assert {given for _, given in address.nodes} == {port}
    if mode is Mode.SENTINEL:
        assert f"port {port}\n" in SENTINEL_CONF
        assert f"sentinel monitor {address.service} redis 6379 2\n" in SENTINEL_CONF


@whole
def test_two_gateways_differ_in_name_port_and_files_alone(content: dict[str, Any]) -> None:
    first, second = ({**content["services"][name]} for name in GATEWAYS)
    assert second.pop("profiles") == ["two"]
    assert (first.pop("build"), second.pop("pull_policy")) == (".", "never")  # one image, and nobody else's
    differ = {name for name in first if first[name] != second[name]}
    assert differ == {"container_name", "ports", "volumes"}
    assert [volume for volume in first["volumes"] if volume in second["volumes"]] == ["./config:/app/config:ro"]


def test_a_container_is_given_the_time_that_the_gateway_takes_to_end(tmp_path: Path) -> None:
    listen = load(config=None, flags={}, sets=(), environ={}, cwd=tmp_path, require_upstream=False).settings.listen
    assert BASE["services"]["cachegate"]["stop_grace_period"] == f"{listen.drain + listen.drain_delay + 4:g}s"


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


async def test_a_health_check_asks_for_life_and_not_for_redis() -> None:
    """Who serves on without Redis is not to be restarted."""
    checks = [json.loads(instructions("HEALTHCHECK", FINAL)[0].partition("CMD ")[2])]
    checks.append(BASE["services"]["cachegate"]["healthcheck"]["test"][1:])
    assert checks == [["cachegate", "health", "--live"]] * 2
    lost = f"redis://127.0.0.1:{free_port()}"
    async with Origin() as origin, serving(origin, {"redis": {"url": lost}}) as gateway:
        assert [await _code(gateway, "health", "--live"), await _code(gateway, "health")] == [0, 1]
        code, told, _ = await gateway.command("health", "--live", "--json")
        assert (code, json.loads(told)["status"]) == (0, "healthy")
        await gateway.stop()
        assert await _code(gateway, "health", "--live") == 1


async def _code(gateway: Process, *words: str) -> int:
    return (await gateway.command(*words))[0]


# -- Prometheus and Grafana --------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_prometheus_finds_the_gateway_by_its_file_and_its_token(tmp_path: Path) -> None:
    """The program itself, with the entrypoint, the flags and the files of deploy/prometheus; places and ports apart."""
    if not shutil.which("prometheus"):
        pytest.skip("there is no prometheus on this machine")
    service = OVERLAID["monitoring"]["services"]["prometheus"]
    token = tmp_path / "cachegate.token"
    async with Origin() as origin, serving(origin) as gateway:
        place = tmp_path / "etc"
        shutil.copytree(REPOSITORY / "deploy" / "prometheus", place)
        config = (place / "prometheus.yml").read_text()
        for here, there in (("cachegate:4000", f"127.0.0.1:{gateway.port}"), ("/run/secrets/cachegate.token", token),
                            ("15s", "1s")):  # fmt: skip
            assert str(here) in config
            config = config.replace(here, str(there))
        (place / "prometheus.yml").write_text(config)
        script = service["entrypoint"][2].replace("/run/secrets/cachegate.token", str(token))
        words = [word.replace("/etc/prometheus", str(place)).replace("/prometheus", str(tmp_path / "data"))
                 if not word.startswith("--config") else f"--config.file={place}/prometheus.yml"
                 for word in service["command"]]  # fmt: skip
        port = free_port()
        running = await asyncio.create_subprocess_exec(
            *("sh", "-c", script, "prometheus", *words, f"--web.listen-address=127.0.0.1:{port}"),
            env=environment({"ADMIN_TOKEN": TOKEN}),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert await _scraped(port) == f"127.0.0.1:{gateway.port}"
        finally:
            running.terminate()
            await running.wait()
    assert token.read_text() == TOKEN


async def _scraped(port: int) -> str:
    """Wait until a target of this Prometheus is up; its instance."""
    query = f"http://127.0.0.1:{port}/api/v1/query?query=cachegate_build_info"
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
        while True:
            try:
                async with session.get(query) as answer:
                    found = (await answer.json())["data"]["result"] if answer.status == 200 else []
            except aiohttp.ClientError:
                found = []
            if found:
                return str(found[0]["metric"]["instance"])
            await asyncio.sleep(0.1)


def test_grafana_is_given_what_its_files_name() -> None:
    services = OVERLAID["monitoring"]["services"]
    mounted = dict(volume.split(":")[:2][::-1] for volume in services["grafana"]["volumes"])
    providers = yaml.safe_load((REPOSITORY / "deploy/grafana/provisioning/dashboards/cachegate.yml").read_text())
    (folder,) = (each["options"]["path"] for each in providers["providers"])
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(f"{folder}/")
    assert (REPOSITORY / mounted[folder] / Path(home).name).is_file()
    assert (REPOSITORY / mounted["/etc/grafana/provisioning"] / "datasources").is_dir()
    sources = yaml.safe_load((REPOSITORY / "deploy/grafana/provisioning/datasources/cachegate.yml").read_text())
    assert [source["url"] for source in sources["datasources"]] == ["http://prometheus:9090"]


# -- the verbs ---------------------------------------------------------------------------------------------------------


def make(*words: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", *words]
    done = subprocess.run(
        command, cwd=cwd, env=environment(env or {}), capture_output=True, text=True, timeout=60, check=False
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
    # That of the shell is the one that Compose takes; an empty one is none.
    assert make("up", "COMPOSE=true", cwd=tmp_path, env={"ADMIN_TOKEN": "mine"}) == first.replace(token, "mine")
    compose = "COMPOSE=printenv ADMIN_TOKEN || true"
    assert make("up", compose, cwd=tmp_path, env={"ADMIN_TOKEN": ""}) == first


def test_make_up_takes_overlays_and_an_upstream() -> None:
    shown = make(
        "-n", "up", f"WITH={' '.join(OVERLAYS)}", "UPSTREAM=http://api.example.com", "PROFILE=two", cwd=REPOSITORY
    )
    (line,) = [line for line in shown.splitlines() if "docker compose" in line]
    assert line.startswith('UPSTREAM_URL="http://api.example.com" docker compose --env-file deploy/compose/.env')
    files = re.findall(r"-f (\S+)", line)
    assert files == ["docker-compose.yml", *(f"deploy/compose/{name}.yml" for name in OVERLAYS)]
    assert "--profile two up " in line
    assert "--profile two down " in make("-n", "down", cwd=REPOSITORY)  # or else the second one would stay


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
    assert gateway["environment"] == overlaid(*files)["services"]["cachegate"]["environment"]
