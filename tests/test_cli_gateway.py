"""The commands against a gateway that runs (contract "Two commands", "Command line"): `serve --demo` in a process of
its own, asked as its operator asks it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path

import pytest

from bench.programs import free_port
from proxy.cli import main

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text()


@dataclass(frozen=True)
class Running:
    """A gateway process, and the directory it was started in."""

    port: int
    directory: Path
    process: "subprocess.Popen[str]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str) -> tuple[HTTPMessage, str]:
        """Head and body of the answer to a GET."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.headers, response.read().decode()
        finally:
            connection.close()

    def get(self, path: str) -> HTTPMessage:
        return self.ask(path)[0]

    def verdict(self, path: str) -> tuple[str | None, str | None]:
        head = self.get(path)
        return head["X-Cache"], head["X-Cache-Tier"]


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}


@contextmanager
def gateway(directory: Path, port: int) -> Iterator[Running]:
    """`serve --demo` until the block ends; a clean end on SIGTERM is part of what it must do."""
    command = [sys.executable, "-m", "proxy", "serve", "--demo", "--port", str(port), "--set", "listen.drain_delay=0"]
    with (directory / "gateway.log").open("a") as log:
        process = subprocess.Popen(command, cwd=directory, env=environment(), stderr=log, stdout=log, text=True)
    try:
        wait_until_ready(process, port, directory / "gateway.log")
        yield Running(port, directory, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def wait_until_ready(process: "subprocess.Popen[str]", port: int, log: Path) -> None:
    while process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/cache/ready")
            if connection.getresponse().status == 200:
                return
        except ConnectionRefusedError:
            pass
        finally:
            connection.close()
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with gateway(tmp_path_factory.mktemp("gateway"), free_port()) as started:
        yield started


@pytest.fixture
def operator(running: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Stands where the gateway was started, so that the commands find its token."""
    monkeypatch.chdir(running.directory)
    monkeypatch.delenv("ADMIN_TOKEN", raising=False)
    return running


def test_asked_twice_it_is_a_miss_then_a_hit(running: Running) -> None:
    assert running.verdict("/users/7") == ("MISS", None)
    head = running.get("/users/7")
    assert (head["X-Cache"], head["X-Cache-Tier"]) == ("HIT", "memory")
    assert head["Age"] is not None
    assert head["Cache-Status"].startswith("cachegate; hit; ttl=")


def test_the_readme_shows_what_is_really_answered(operator: Running) -> None:
    assert main(["purge", "/users/7", "--url", operator.url]) == 0
    samples = re.findall(r"^\$ curl -i \S+(/users/7)\n(.*?)(?=^\$|^```)", README, re.MULTILINE | re.DOTALL)
    assert len(samples) == 2
    for path, sample in samples:
        shown, body = sample.split("\n\n", 1)
        head, real_body = operator.ask(path)
        real = [f"{name}: {value}" for name, value in head.items()]
        assert list(map(shape, shown.splitlines()[1:])) == list(map(shape, real))
        assert body.strip() == real_body.strip()


def shape(field: str) -> str:
    """A header line without what is another one at each answer."""
    return re.sub(r"^((?:Date|Age|Demo-Answer|X-Request-Id): ).*|(ttl=|cachegate-)[0-9a-f]+", r"\1\2", field)


def test_stats_tell_the_same_to_people_and_to_programs(operator: Running, capsys: pytest.CaptureFixture[str]) -> None:
    operator.get("/now")
    assert main(["stats", "--json", "--url", operator.url]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert sum(stats["verdicts"].values()) == stats["requests"] > 0
    assert main(["stats", "--url", operator.url]) == 0
    shown = capsys.readouterr().out
    assert f"cachegate {stats['version']}" in shown
    assert "memory" in shown
    assert "\x1b[" not in shown


def test_health_is_exit_0_when_all_is_well(operator: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "--url", operator.url]) == 0
    assert capsys.readouterr().out.startswith(f"healthy: {operator.url}\n")
    assert main(["health", "--json", "--url", operator.url]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {check["name"]: check["state"] for check in document["checks"]} == {
        "gateway": "ok",
        "upstream": "ok",
        "memory": "ok",
        "redis": "off",
        "file": "ok",
    }


def test_a_purged_url_is_asked_for_again(operator: Running, capsys: pytest.CaptureFixture[str]) -> None:
    operator.get("/users/8")
    assert main(["purge", "/users/8", "--dry-run", "--url", operator.url]) == 0
    assert capsys.readouterr().out == f"would purge /users/8: 1 in memory\n  {operator.url}/users/8\n"
    assert operator.verdict("/users/8") == ("HIT", "memory")
    assert main(["purge", "/users/8", "--url", operator.url]) == 0
    assert capsys.readouterr().out.startswith("purged /users/8: 1 in memory; receipt ")
    assert operator.verdict("/users/8") == ("MISS", None)


def test_a_bare_path_can_be_meant_for_one_site(operator: Running, capsys: pytest.CaptureFixture[str]) -> None:
    operator.get("/users/9")
    for site, count in (("elsewhere.example", 0), (f"127.0.0.1:{operator.port}", 1)):
        assert main(["purge", "/users/9", "--site", site, "--json", "--url", operator.url]) == 0
        assert json.loads(capsys.readouterr().out)["matched"] == {"memory": count}


def in_files(operator: Running, capsys: pytest.CaptureFixture[str]) -> int:
    """How many answers the file tier has."""
    assert main(["stats", "--json", "--url", operator.url]) == 0
    return int(json.loads(capsys.readouterr().out)["file"]["size"])


def test_clearing_a_tier_leaves_the_others(operator: Running, capsys: pytest.CaptureFixture[str]) -> None:
    operator.get("/hello")
    within = time.monotonic() + 20
    while not in_files(operator, capsys) and time.monotonic() < within:  # which is written behind the answer
        time.sleep(0.02)
    assert main(["clear", "--tier", "memory", "--yes", "--url", operator.url]) == 0
    assert capsys.readouterr().out.startswith("cleared the memory tier: ")
    assert operator.verdict("/hello") == ("HIT", "file")
    assert main(["clear", "--pattern", "/hello", "--yes", "--json", "--url", operator.url]) == 0
    assert json.loads(capsys.readouterr().out)["cleared"] >= 1
    assert operator.verdict("/hello") == ("MISS", None)


@pytest.mark.parametrize(("said", "code", "verdict"), [("n", 1, "HIT"), ("y", 0, "MISS")])
def test_on_a_terminal_it_asks(running: Running, said: str, code: int, verdict: str) -> None:
    running.get("/")
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{said}\n".encode())
        command = [sys.executable, "-m", "proxy", "purge", "--pattern", "/", "--url", running.url]
        done = subprocess.run(
            command, cwd=running.directory, env=environment(), stdin=theirs, capture_output=True, text=True, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code
    assert "Purge pattern /: 1 in memory" in done.stderr
    assert running.verdict("/")[0] == verdict


def test_a_wrong_token_is_bad_usage(operator: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["purge", "/users/7", "--token", "not-the-token", "--url", operator.url]) == 2
    assert "the token is wrong" in capsys.readouterr().err


def test_without_the_token_it_says_how_to_give_one(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADMIN_TOKEN", raising=False)
    assert main(["purge", "/users/7", "--url", running.url]) == 2
    assert "give it with --token or ADMIN_TOKEN" in capsys.readouterr().err


def test_what_the_gateway_refuses_is_told_in_its_words(operator: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["purge", "--key", "xyz", "--url", operator.url]) == 2
    assert "hex digits" in capsys.readouterr().err


def test_a_page_of_something_else_is_not_taken_for_a_gateway(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["stats", "--url", f"{running.url}/users"]) != 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_port_in_use_is_exit_2_and_one_line(running: Running, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proxy", "--upstream", "http://127.0.0.1:9", "--port", str(running.port)]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if f"port {running.port}" in line and "in use" in line]
    assert "Traceback" not in done.stderr


def test_after_a_restart_the_file_tier_answers(tmp_path: Path) -> None:
    port = free_port()
    with gateway(tmp_path, port) as first:
        assert first.verdict("/users/7") == ("MISS", None)
    with gateway(tmp_path, port) as second:
        assert second.verdict("/users/7") == ("HIT", "file")
        assert second.verdict("/users/7") == ("HIT", "memory")
