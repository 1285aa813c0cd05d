"""`cachegate doctor` tries the real things (contract "Command line"; row 85): a real Redis, an origin, a disk."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from tests.support import forked
from tests.support.origin import Origin
from tests.support.redis_servers import redis_server


async def doctor(cwd: Path, *args: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Exit code, findings by `part name`, and all that was printed."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = await asyncio.to_thread(forked.run, cwd, environment, "doctor", "--json", *args)
    printed = done.stdout + done.stderr
    said = json.loads(printed)
    found = {f"{each['part']} {each['name']}": each for each in said["findings"]}
    assert said["ok"] == (done.returncode == 0)
    return done.returncode, found, printed


async def test_all_is_well(tmp_path: Path) -> None:
    async with redis_server() as redis, Origin() as api:
        code, found, _ = await doctor(tmp_path, "--redis-url", redis.url, "--upstream", api.url)
        assert (code, {each["state"] for each in found.values()}) == (0, {"ok"})
        assert {"redis set", "redis get", "redis delete", "redis ttl", "redis info", "upstream upstream"} <= set(found)
        assert await redis.command("KEYS", "*") == []
        assert list(tmp_path.iterdir()) == []


async def test_what_an_acl_denies_is_named_with_what_it_costs(tmp_path: Path) -> None:
    async with redis_server() as redis:
        await redis.command("ACL", "SETUSER", "weak", "on", ">pw-1234", "~*", "+@all", "-subscribe", "-eval")
        url = f"redis://weak:pw-1234@127.0.0.1:{redis.port}"
        code, found, printed = await doctor(tmp_path, "redis", "--redis-url", url)
        bad = {name: each["detail"] for name, each in found.items() if each["state"] == "bad"}
        assert (code, set(bad)) == (1, {"redis script", "redis subscribe"})
        assert "'eval'" in bad["redis script"]
        assert "without it" in bad["redis script"]
        assert "pw-1234" not in printed
        assert await redis.command("KEYS", "*") == []


async def test_a_wrong_password_and_nobody_there(tmp_path: Path) -> None:
    async with redis_server(password="right-one") as redis:
        url = f"redis://:wr0ng-one@127.0.0.1:{redis.port}"
        code, found, printed = await doctor(tmp_path, "redis", "--redis-url", url)
        assert (code, set(found)) == (1, {"redis connect"})
        assert "password is refused" in found["redis connect"]["detail"]
        assert "wr0ng" not in printed
        await redis.kill()
        code, found, _ = await doctor(tmp_path, "redis", "--redis-url", url)
        assert (code, set(found)) == (1, {"redis connect"})


async def test_an_upstream_in_trouble_and_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine")
    async with Origin() as api:
        url = api.url
    code, found, _ = await doctor(tmp_path, "upstream", "file", "--upstream", url, "--cache-dir", "cache")
    assert code == 1
    assert {name: each["state"] for name, each in found.items()} == {"upstream upstream": "bad", "file cache": "bad"}


async def test_what_is_not_in_use_is_no_illness(tmp_path: Path) -> None:
    code, found, _ = await doctor(tmp_path, "redis", "file", "--no-file-cache")
    assert (code, {each["state"] for each in found.values()}) == (0, {"off"})
