"""What is shipped to run Redis beside the gateway: its commands in Compose, its configurations (rows 45, 46, 111). What
they give to Redis is given to real ones here."""

import re
import subprocess
from pathlib import Path

import pytest

from proxy.redis.address import Address
from tests.support.composed import BASE, FILES, OVERLAID
from tests.support.process import REPOSITORY
from tests.support.redis_servers import redis_server

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


async def test_sentinels_are_quick(tmp_path: Path) -> None:
    """As their container does it: the address of the primary in place of its name."""
    service = OVERLAID["sentinel"]["services"]["sentinel-1"]
    script = re.sub(r"exec .*", "cat sentinel.conf", service["command"][-1]).replace("cd /tmp", f"cd {tmp_path}")
    script = script.replace("/etc/redis/sentinel.conf", str(REPOSITORY / "deploy/redis/sentinel.conf"))
    made = subprocess.run(["sh", "-c", script], env=service["environment"], capture_output=True, text=True, check=True)
    assert re.search(r"^sentinel monitor mymaster 10\.218\.77\.2 6379 2$", made.stdout, re.MULTILINE)
    lines = made.stdout.replace("dir /tmp\n", "").replace("port 26379\n", "")
    async with redis_server(*lines.splitlines(), sentinel=True) as sentinel:
        said = await sentinel.command("SENTINEL MASTER", "mymaster")
        assert (said["ip"], said["quorum"]) == ("10.218.77.2", 2)
        assert said["down-after-milliseconds"] + 2 * said["failover-timeout"] < 15_000  # one vote may come to nothing


def test_the_nodes_of_the_cluster_share_all_slots() -> None:
    service = OVERLAID["cluster"]["services"]["redis-cluster"]
    script = service["command"][-1].replace("$SUBNET", service["environment"]["SUBNET"])
    shared = re.findall(r"-h (\S+) cluster addslotsrange (\d+) (\d+)", script)
    assert [slot for _, first, last in shared for slot in range(int(first), int(last) + 1)] == list(range(16384))
    nodes = {
        host
        for host, _ in Address.parse(OVERLAID["cluster"]["services"]["cachegate"]["environment"]["REDIS_URL"]).nodes
    }
    assert {name for name, _, _ in shared} == nodes
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0
