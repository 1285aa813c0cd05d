"""The command line without a gateway: finding verbs, exit codes, errors with their place (contract "Command line").

0 done, 1 the answer is "no", 2 bad usage or configuration.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli import VERBS, main, output
from proxy.version import VERSION
from tests.support import forked

REPOSITORY = Path(__file__).parent.parent
RULES = """\
rules:
  - name: users
    pattern: "*/users/*"
    ttl: 600
    tests:
      - request: {url: /users/7}
        expect: {verdict: MISS, rule: users, ttl: TTL}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty directory, so that no settings of the repository count."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def nobody() -> str:
    """A URL where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def run(*args: str, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
    """The real program in a process of its own, away from any terminal."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **environ}
    return forked.run(Path.cwd(), env, *args, stdin=stdin)


# -- the program -------------------------------------------------------------------------------------------------------


def test_help_lists_every_verb_and_loads_none() -> None:
    probe = (
        "import sys; from proxy.cli import main; code = main(['--help']); print(sorted(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    text, modules = done.stdout.rsplit("\n", 2)[0], done.stdout.splitlines()[-1]
    assert [verb for verb in VERBS if f"  {verb} " not in text] == []
    assert "'aiohttp'" not in modules
    assert "'pydantic'" not in modules


def test_the_version_is_told_by_the_module_as_a_program() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"cachegate {VERSION}\n")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"Usage: cachegate {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["--frobnicate"], "--frobnicate"),
        (["serve", "stray"], "stray"),
        (["purge"], "name what to purge, in one way"),
        (["purge", "/x", "--tag", "t"], "name what to purge, in one way"),
        (["purge", "/x", "--url", "nowhere"], "'nowhere' is no URL"),
        (["clear", "--tier", "attic"], "attic"),
        (["check", "a.yaml", "--config", "b.yaml"], "name the file once"),
    ],
)
def test_bad_usage_is_exit_2(args: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""


# -- configuration -----------------------------------------------------------------------------------------------------


def test_bare_flags_mean_serve_and_every_problem_is_told_with_its_place() -> None:
    Path("bad.yaml").write_text("memory:\n  max_entires: 5\nrules:\n  - {patern: x}\n")
    done = run("--upstream", "http://127.0.0.1:9", "--config", "bad.yaml", "--port", "70000", CACHE_TTL="soon")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert "bad.yaml:2:3: memory.max_entires: unknown key; did you mean 'max_entries'?" in lines
    assert any(line.startswith("bad.yaml:4:6: rules[0].patern: unknown key; did you mean 'pattern'?") for line in lines)
    assert any(line.startswith("CACHE_TTL (environment): ") for line in lines)
    assert any("--port" in line for line in lines)
    assert "Traceback" not in done.stderr


def test_serve_wants_an_upstream() -> None:
    done = run()
    assert done.returncode == 2
    assert "upstream" in done.stderr


@pytest.mark.parametrize(
    ("limit", "workers", "said"),
    [
        (
            1000,
            99_999,
            "listen.workers: 99999 need 200046 open files, and the limit here is 1000: raise it (ulimit -n), or",
        ),
        (32, 2, "listen.workers: 2 need 52 open files, and the limit here is 32: raise it (ulimit -n)\n"),
        (32, 1, "listen.workers: 1 need 49 open files, and the limit here is 32: raise it (ulimit -n)\n"),
    ],
)
def test_too_few_open_files_are_one_line(limit: int, workers: int, said: str) -> None:
    words = f"--upstream http://127.0.0.1:9 --host 127.0.0.1 --port 0 --workers {workers}"
    program = f"ulimit -n {limit}; exec {sys.executable} -m proxy {words}"
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, env=environ, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1


def test_check_reports_in_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text("nope: 1\n")
    assert main(["check", "bad.yaml", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document == {"ok": False, "problems": [{"place": "bad.yaml:1:1", "text": "nope: unknown key"}]}


@pytest.mark.parametrize(
    ("text", "flags", "warned"),
    [
        ("", [], True),
        ("cache: {default_ttl: 5}\n", [], True),
        ("upstream: {url: http://api}\n", [], False),
        ("", ["--upstream", "http://api"], False),
    ],
)
def test_check_tells_that_nothing_is_in_front_of(
    text: str, flags: list[str], *, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("some.yaml").write_text(text)
    assert main(["check", "some.yaml", *flags]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: upstream.url: not set here; `cachegate serve` wants it") if warned else not said
    assert main(["check", "some.yaml", "--json", *flags]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"]
    assert [warning["place"] for warning in document["warnings"]] == ["upstream.url"] * warned


def test_check_runs_the_tests_of_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    Path("good.yaml").write_text(RULES.replace("TTL", "600"))
    assert main(["check", "good.yaml"]) == 0
    assert capsys.readouterr().out == "ok: 1 rule, 1 of 1 test passed\n"
    Path("failing.yaml").write_text(RULES.replace("TTL", "60"))
    assert main(["check", "failing.yaml"]) == 1
    assert capsys.readouterr().out == (
        "rules[0].tests[0] (users): GET /users/7\n"
        "  ttl: wanted 60, found 600\n"
        "failed: 1 rule, 0 of 1 test passed\n"
    )  # fmt: skip


def test_check_shows_settings_that_load_again_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    Path("good.yaml").write_text(RULES.replace("TTL", "600"))
    flags = ["--redis-password", "hunter2", "--admin-token", "sesame-sesame"]
    assert main(["check", "good.yaml", "--show", "--set", "memory.max_bytes=1GiB", *flags]) == 0
    shown = capsys.readouterr().out
    assert "hunter2" not in shown
    assert "sesame" not in shown
    assert "max_bytes: 1073741824" in shown
    assert "good.yaml:2:5" in shown
    Path("again.yaml").write_text(shown)
    assert main(["check", "again.yaml"]) == 0


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (12345, "12.1 KiB"), (2**20 - 1, "1.0 MiB"), (2**30, "1.0 GiB")],
)
def test_bytes_are_shown_in_the_units_of_the_settings(count: int, shown: str) -> None:
    assert output.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (0.0001, "<1ms"), (0.83, "830ms"), (0.9999, "1.0s"), (3.25, "3.2s"), (9.99, "9s"), (59.9, "59s")],
)
def test_sums_of_time_are_shown_to_the_millisecond_while_they_are_short(seconds: float, shown: str) -> None:
    assert output.spent(seconds) == shown


@pytest.mark.parametrize(
    ("verb", "hint"), [("serv", "; did you mean 'serve'?"), ("monitr", "'monitor'?"), ("xyzzy", "")]
)
def test_a_verb_that_is_none_is_told_what_is_near(verb: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 2
    said = capsys.readouterr().err
    assert f"No such command '{verb}'" in said
    assert hint in said
    assert bool(hint) == ("did you mean" in said)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0s"), (59.9, "59s"), (60, "1m"), (3725, "1h 2m"), (90061, "1d 1h"), (86400, "1d")]
)
def test_seconds_are_shown_in_two_units(seconds: float, shown: str) -> None:
    assert output.span(seconds) == shown


def test_columns_are_aligned() -> None:
    rows = [output.heading("tier", "entries"), ["memory", "1,245"], ["file", "3"]]
    assert output.table(rows, indent=1).splitlines()[1:] == [" memory    1,245", " file          3"]


# -- without a gateway -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [["stats"], ["health"], ["health", "--live"], ["purge", "/x"], ["clear", "--yes"]])
def test_no_gateway_is_exit_1_and_says_what_to_do(
    args: list[str], nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*args, "--url", nobody]) == 1
    captured = capsys.readouterr()
    told = captured.out + captured.err
    assert f"no gateway answers at {nobody} (Connection refused)" in told
    assert "--url" in told


def test_health_without_a_gateway_is_json_on_demand(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "--json", "--url", nobody]) == 1
    assert json.loads(capsys.readouterr().out)["status"] == "unreachable"


@pytest.mark.parametrize(
    "args",
    [
        ["purge", "--all"],
        ["purge", "--tag", "users"],
        ["purge", "--pattern", "*"],
        ["purge", "--rule", "users"],
        ["purge", "--namespace", "mobile"],
        ["clear"],
        ["clear", "--tier", "memory"],
    ],
)
def test_without_a_terminal_much_is_thrown_away_only_with_yes(args: list[str], nobody: str) -> None:
    done = run(*args, "--url", nobody)
    assert done.returncode == 2
    assert "--yes" in done.stderr


def test_settings_that_are_wrong_do_not_keep_the_operator_out(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config").mkdir()
    Path("config/cachegate.yaml").write_text("nope: 1\n")
    assert main(["stats", "--url", nobody]) == 1
    assert "settings ignored: config/cachegate.yaml:1:1: nope: unknown key" in capsys.readouterr().err


# -- a directory that is no longer there -------------------------------------------------------------------------------

NOWHERE = "the directory that this was started in is no longer there"
NO_GATEWAY = "no gateway answers at"
WITHOUT_A_DIRECTORY = {  # what is asked there, its exit code, and what it says
    "serve": ("--upstream http://127.0.0.1:1", 2, NOWHERE),
    "demo": ("--port 70000", 2, "70000 is not in the range"),  # it looks for no file, and would run
    "check": ("", 2, NOWHERE),
    "stats": ("--url {nobody}", 1, NO_GATEWAY),
    "monitor": ("--url {nobody}", 2, "wants a terminal"),
    "health": ("--url {nobody}", 1, NO_GATEWAY),
    "explain": ("/a --url {nobody}", 1, NO_GATEWAY),
    "purge": ("/a --url {nobody}", 1, NO_GATEWAY),
    "clear": ("--yes --url {nobody}", 1, NO_GATEWAY),
    "warm": ("{nobody}/a --url {nobody}", 1, NO_GATEWAY),
    "replay": ("{log} --rules {rules} --json", 0, '"requests": 1'),
    "suggest": ("{log} --rules {rules} --json", 0, '"suggestions"'),
    "doctor": ("", 2, NOWHERE),
}


@pytest.mark.parametrize("verb", VERBS)
def test_in_a_directory_that_is_gone_a_verb_works_or_says_so(verb: str, nobody: str, tmp_path: Path) -> None:
    words, code, told = WITHOUT_A_DIRECTORY[verb]
    log, rules, gone = tmp_path / "access.log", tmp_path / "rules.yaml", tmp_path / "gone"
    log.write_text('127.0.0.1 - - [21/Nov/2026:10:00:00 +0000] "GET /users/1 HTTP/1.1" 200 120 "-" "curl/8"\n')
    rules.write_text('rules: [{pattern: "*", ttl: 60}]\n')
    gone.mkdir()
    asked = f"{verb} {words.format(nobody=nobody, log=log, rules=rules)}"
    done = subprocess.run(
        ["sh", "-c", f"rmdir ../gone && exec {sys.executable} -m proxy {asked}"],
        cwd=gone,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, told in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
