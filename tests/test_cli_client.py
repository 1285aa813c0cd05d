"""Where the commands look for the gateway, and what they make of others that answer there (contract "Command line"):
an admin port, a site behind the gateway, a stranger, a certificate that nobody trusts, arguments of the wrong form."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from bench.programs import free_port
from proxy.cli import main
from tests.support.gateway import TOKEN
from tests.support.origin import Origin, server_tls
from tests.support.process import REPOSITORY, environment, program, serving
from tests.test_cli import run

VERBS = (
    ["stats"],
    ["health"],
    ["explain", "/a"],
    ["purge", "/a"],
    ["clear", "--yes"],
    ["clear", "--tier", "memory", "--yes"],
)
STRANGER = "is no gateway's admin page"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADMIN_TOKEN", TOKEN)


async def cachegate(*words: str, **env: str) -> tuple[int, str]:
    """Exit code and all that was said."""
    code, out, err = await program(Path.cwd(), *words, env=env)
    return code, out + err


# -- where -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ("listen: {port: PORT}", "http://127.0.0.1:PORT"),
        ("listen: {port: PORT, host: 0.0.0.0}", "http://127.0.0.1:PORT"),
        ("listen: {port: PORT, host: localhost}", "http://127.0.0.1:PORT"),
        ("listen: {port: PORT, host: '::'}", "http://[::1]:PORT"),
        ("listen: {port: PORT, host: '::1'}", "http://[::1]:PORT"),
        ("listen: {port: PORT, host: 127.0.0.2}", "http://127.0.0.2:PORT"),
        ("listen: {port: PORT, tls_cert: a, tls_key: b}", "https://127.0.0.1:PORT"),
        ("listen: {tls_cert: a, tls_key: b}\nadmin: {port: PORT}", "http://127.0.0.1:PORT"),
        ("admin: {port: PORT, host: '::'}", "http://[::1]:PORT"),
    ],
)
def test_it_is_where_the_settings_here_put_it(
    settings: str, where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = str(free_port())
    Path("config").mkdir()
    Path("config/cachegate.yaml").write_text(settings.replace("PORT", port))
    assert main(["stats"]) == 1
    assert f"no gateway answers at {where.replace('PORT', port)} " in capsys.readouterr().err
    other = str(free_port())
    if "admin" not in settings:
        monkeypatch.setenv("PORT", other)
        assert main(["stats"]) == 1
        assert f":{other} " in capsys.readouterr().err


def test_without_settings_it_is_at_the_port_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    main(["stats", "--token", "not-the-right-one"])  # whoever may listen there just now
    assert "http://127.0.0.1:4000" in capsys.readouterr().err
    for verb, *_ in VERBS:
        assert main([verb, "--help"]) == 0
        assert "http://127.0.0.1:4000" in capsys.readouterr().out


def test_a_port_that_the_system_chooses_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text("PORT=0\n")
    assert main(["stats"]) == 2
    assert "name it in --url" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--url", "http://127.0.0.1:99999"], "'http://127.0.0.1:99999' is no URL"),
        (["--url", "http://[::1"], "'http://[::1' is no URL"),
        (["--url", "http://"], "'http://' is no URL"),
        (["--url", "http://h:0"], "'http://h:0' is no URL"),
        (["--url", "ftp://h"], "'ftp://h' is no URL"),
        (["--url", "http://u:hunter2@h"], "'http://***@h' is no URL"),
        (["--url", "http://h/?key=hunter2"], "'http://h/?***' is no URL"),
        (["--token", "a\nhunter2"], "a token has 8 to 512 visible"),
        (["--token", "hunter2"], "and no spaces; found 7 characters"),
        (["--token", "hunter2 hunter2"], "found a space or a character that is none of them"),
    ],
)
@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_arguments_that_are_no_such_thing(
    verb: list[str], args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb, *args]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "hunter2" not in told


def test_a_token_file_without_a_token_is_bad_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ADMIN_TOKEN")
    Path(".cachegate").mkdir()
    Path(".cachegate/admin.token").write_text("two words\n")
    assert main(["stats", "--url", "http://127.0.0.1:9"]) == 2
    assert "a token has 8 to 512 visible" in capsys.readouterr().err


# -- who ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_with_an_admin_port_the_site_never_learns_the_token_and_the_command_says_where_to_ask() -> None:
    """The site answers whatever it is asked, as JSON."""
    port = free_port()
    settings = {"admin": {"port": port}, "rules": [{"pattern": "*", "ttl": 60}]}
    async with Origin() as origin, serving(ready(origin), settings) as gateway:
        for path in ("/cache/stats", "/cache/purge", "/cache", "/cache/memory"):
            origin.answer(path, headers=[("Content-Type", "application/json")], body=b'{"status": "fine", "id": 7}')
        for verb in VERBS:
            code, out, err = await gateway.command(*verb)
            assert (code, out) == (2, ""), verb
            assert "name the admin port (admin.port) in --url" in err
            assert "Traceback" not in err
        code, _, err = await gateway.command("stats", env={"ADMIN_TOKEN": "another-token"})
        assert (code, "name the admin port" in err) == (2, True)
        sent = b"".join(request.raw for request in origin.of())
        assert {"/cache/stats", "/cache/purge", "/cache", "/cache/memory"} <= {request.path for request in origin.of()}
        assert TOKEN.encode() not in sent
        assert b"another-token" in sent  # somebody else's, for all the gateway knows
        for verb in (*VERBS, ["stats", "--url", f"http://127.0.0.1:{port}"]):
            code, said = await cachegate(*verb, CONFIG_FILE=str(gateway.directory / "cachegate.yaml"))
            assert code == 0, said


def ready(origin: Origin) -> Origin:
    """On the public port nobody but the site tells that all is well."""
    origin.answer("/cache/ready", body=b"yes")
    return origin


@pytest.mark.parametrize("verb", VERBS, ids=str)
@pytest.mark.parametrize(
    "body",
    [
        b'{"hello": "world"}',
        b"[]",
        b"7",
        b"not JSON",
        b"",
        b"[" * 100_000,
        b'{"version": 1, "uptime": "x", "requests": {}, "responseTime": [], "upstream": 5, "id": null}',
        b'{"matched": 5, "cleared": "all", "instances": [], "receipt": 0, "exact": true}',
    ],
    ids=lambda body: str(body[:20]),
)
async def test_a_stranger_who_speaks_json_is_no_gateway(verb: list[str], body: bytes) -> None:
    async with Origin() as stranger:
        for path in ("/cache/stats", "/cache/ready", "/cache/explain", "/cache/purge", "/cache", "/cache/memory"):
            stranger.answer(path, headers=[("Content-Type", "application/json")], body=body)
        code, said = await cachegate(*verb, "--url", stranger.url)
        assert (code, said.count(STRANGER)) == (2, 1), said


async def test_a_certificate_that_nobody_trusts_is_named_as_what_is_wrong(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    plain = await asyncio.start_server(in_plain_words, "127.0.0.1", 0)
    async with Origin(tls=server_tls(authority)) as there, plain:
        code, said = await cachegate("stats", "--url", there.url)
        assert (code, "SSL_CERT_FILE" in said, "not permitted" in said) == (1, True, False)
        assert "certificate" in said.partition("(")[2]
        trusting = environment({"ADMIN_TOKEN": TOKEN, "SSL_CERT_FILE": str(tmp_path / "ca.pem")})
        command = [sys.executable, "-m", "proxy", "stats", "--url", there.url]
        done = await asyncio.to_thread(subprocess.run, command, env=trusting, capture_output=True, check=False)
        assert (done.returncode, STRANGER.encode() in done.stderr or b"no such page" in done.stderr) == (2, True)
        code, said = await cachegate("stats", "--url", f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}")
        assert (code, "is it plain http:// there?" in said) == (1, True), said


async def in_plain_words(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def test_a_token_that_lies_elsewhere(tmp_path: Path) -> None:
    """`serve --cache-dir` keeps the token in that directory; the same by CACHE_DIR finds it."""
    aside = ["--cache-dir", "aside"]
    async with Origin() as origin, serving(origin, {}, *aside, directory=tmp_path, env={"ADMIN_TOKEN": ""}) as gateway:
        code, _, err = await gateway.command("purge", "/a", env={"ADMIN_TOKEN": ""})
        assert (code, "by CACHE_DIR in which directory" in err) == (2, True)
        assert "if its log says that the token is nowhere, set ADMIN_TOKEN for the gateway and restart it" in err
        code, _, err = await gateway.command("purge", "/a", env={"ADMIN_TOKEN": "another-token"})
        assert (code, "by CACHE_DIR in which directory" in err) == (2, True)
        code, out, _ = await gateway.command("purge", "/a", env={"ADMIN_TOKEN": "", "CACHE_DIR": "aside"})
        assert (code, out.startswith("purged /a")) == (0, True)


# -- what it is told, and where it tells -------------------------------------------------------------------------------


def test_clear_offers_no_dry_run_and_purge_does() -> None:
    said = {
        verb: run(verb, *more, "--url", "http://127.0.0.1:9").stderr for verb, *more in (["clear"], ["purge", "--all"])
    }
    assert "add --yes\n" in said["clear"]
    assert "add --yes (or --dry-run to see what would go)" in said["purge"]


@pytest.mark.parametrize(("port", "delay"), [("99999", "1"), ("-1", "1"), ("0", "-1")])
def test_the_demos_numbers_have_bounds(port: str, delay: str) -> None:
    done = run("demo", "--port", port, "--delay", delay)
    assert (done.returncode, "is not in the range" in done.stderr) == (2, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_is_full_or_closed_is_no_traceback() -> None:
    command = [sys.executable, "-m", "proxy", "check", "--show"]
    env = environment({})
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=env, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "cannot write the output: No space left on device\n")
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=env, text=True, check=False)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")  # as it is with `| head`


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc here")
async def test_it_serves_with_every_standard_stream_closed(tmp_path: Path) -> None:
    """No socket and no file may take their numbers: what is written there by habit would go to a client."""
    async with Origin() as origin:
        origin.answer("/cache/ready", body=b"yes")
        port = free_port()
        words = f"-m proxy serve --upstream {origin.url} --port {port} --set listen.drain_delay=0"
        line = f"exec {sys.executable} {words} <&- >&- 2>&-"
        process = await asyncio.create_subprocess_shell(
            line, cwd=tmp_path, env=environment({"ADMIN_TOKEN": TOKEN, "PYTHONPATH": str(REPOSITORY)})
        )
        try:
            code = 1
            async with asyncio.timeout(20):
                while code and process.returncode is None:
                    code, _ = await cachegate("health", "--url", f"http://127.0.0.1:{port}")
            assert code == 0
            links = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in (0, 1, 2)]
            assert links == ["/dev/null"] * 3
            process.terminate()
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
