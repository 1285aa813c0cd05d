"""Settings from all sources: YAML, JSON, `.env`, variables, values. A byte that chooses, then the text."""

import json
from collections.abc import Callable

from proxy.errors import ConfigError
from proxy.message import Fields
from proxy.redis.address import Address
from proxy.settings import addresses, values
from proxy.settings.compile import compile_rules
from proxy.settings.dotenv import parse_dotenv
from proxy.settings.expand import expand
from proxy.settings.load import Loaded, load
from proxy.settings.problems import Origin, Report, Text, found, one_line
from proxy.settings.reader import MAX_DEPTH, Node, guess, read_json, read_yaml
from proxy.settings.show import as_data
from proxy.upstream.client import Authority
from tests.fuzz.target import Feed, Target

_NAMES = {"HOME": "/h", "EMPTY": "", "SECRET": "hush-hush"}
_AT = Origin("x", "x")
SEEDS = (
    (
        b'\x00upstream: {url: "http://a:1"}\nrules:\n  - &r\n    pattern: "*/users/*"\n    ttl: 1h30m\n'
        b"  - <<: *r\n    ttl: ${X:-5}\n"
    ),
    b'\x00memory: {max_bytes: 256MiB}\nlisten:\n  port: 0x10\n  trusted_proxies: [10.0.0.0/8, "::1"]\n? a\n: |\n  b\n',
    b'\x00%YAML 1.1\n--- !!map\na: "\\x41\\u00e4\\U0001F600"\nb: >-\n  c\n...\n',
    b'\x01[{"pattern": "*", "ttl": 60, "conditions": {"headers": {"a": "*"}}}]',
    b"\x02A='b $c'\nexport B=\"x\\n${A}\" # c\nCACHE_TTL=5\nC=${A:-d} # e\n",
    b"\x0310m\n1.5MiB\n20%\nyes\n10.0.0.0/8\nhttp://a:1/b\n3e2\nGET, post",
    b"\x03redis://u:p@h:1/0\nredis+sentinel://h:1,[::1]:2/s/1?tls=true\nunix:///s?db=1\nhttp://[::1]:8/b",
    b'\x04CACHE_TTL\n5s\nCACHE_RULES\n[{"pattern": "/a", "ttl": "chat"}]\nCACHEGATE__MEMORY__MAX_BYTES\n1GiB',
)
TOKENS = (
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!",
    b'"\\U',
    b"${",
    b"}",
    b"|\n",
    b"? ",
    b"{",
    b"[",
    b"'",
    b"\n",
    b"=",
    b"#",
    b"1h",
    b"KiB",
    b"e9",
    b"%YAML 1.",
    b"rules",
    b'"a":1,',
    b"a=1\n",
    b"1\n",
)


def check(data: bytes) -> None:
    feed = Feed(data)
    choice = feed.number() % 5
    text = feed.rest().decode("utf-8", "replace")
    (_yaml, _json, _dotenv, _values, _loaded)[choice](text)


def _yaml(text: str) -> None:
    report = Report()
    tree = read_yaml(text, lambda line, column: Origin(f"{line}:{column}", "x"), _NAMES, report)
    assert tree is not None or report.problems
    rows = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 2
    for problem in report.problems:
        row, column = map(int, problem.place.split(":"))
        assert 1 <= row <= rows
        assert 1 <= column <= len(text) + 2
        assert len(problem.text) < 1000 + len(text)
        assert one_line(problem.text) == problem.text
    if tree is not None:
        _sound(tree, 0)


def _sound(node: Node, depth: int) -> None:
    """Every text can be written as UTF-8, and nothing lies too deep."""
    assert depth <= MAX_DEPTH + 2
    if isinstance(node.value, dict):
        assert node.value.keys() == node.keys.keys()
        for child in node.value.values():
            _sound(child, depth + 1)
    elif isinstance(node.value, list):
        for child in node.value:
            _sound(child, depth + 1)
    elif isinstance(node.value, Text):
        guess(node.value)


def _json(text: str) -> None:
    report = Report()
    tree = read_json(text, _AT, ("rules",), report)
    assert tree is not None or report.problems
    if tree is not None:
        _sound(tree, 0)


def _dotenv(text: str) -> None:
    variables, wrong = parse_dotenv(text, _NAMES)
    rows = text.count("\n") + 1
    assert all(1 <= variable.line <= rows for variable in variables.values())
    assert all(1 <= line <= rows for line, _ in wrong)
    line = text.partition("\n")[0].replace("'", "")
    assert parse_dotenv(f"A='{line}'", {})[0]["A"].value == line.replace("\r\n", "\n")
    plain, said = expand(text, {})
    assert said or "${" in text or plain == text


_VALIDATORS = (
    values.flag,
    values.amount,
    values.share,
    values.seconds,
    values.ttl,
    values.size,
    values.text,
    values.path,
    values.secret,
    addresses.method,
    addresses.path_prefix,
    addresses.listening_host,
    addresses.field_name,
    addresses.network,
    addresses.upstream_url,
    addresses.redis_host,
    addresses.redis_url,
    addresses.token,
    Address.parse,
)
_AGAIN = (
    values.amount,
    values.share,
    values.seconds,
    values.ttl,
    values.size,
    addresses.method,
    addresses.path_prefix,
    addresses.network,
)


def _values(text: str) -> None:
    for line in text.split("\n")[:20]:
        value = Text(line, plain=True)
        guess(value)
        assert len(found(value)) < 500
        for validate in _VALIDATORS:
            taken = _taken(validate, value)
            assert not isinstance(taken, ValueError) or len(str(taken)) < 1000
            if validate in _AGAIN and not isinstance(taken, ValueError):
                assert validate(taken) == taken  # type: ignore[arg-type]
        assert all(part.strip() for part in values.listed(value))  # type: ignore[attr-defined]
        try:
            assert Authority.of(line).port <= 65535
        except ConfigError:
            continue


def _taken(validate: Callable[[Text], object], value: Text) -> object:
    try:
        return validate(value)
    except ValueError as error:
        return error


def _loaded(text: str) -> None:
    """Whole settings of variables; what can be loaded can be shown, and loads again as the same."""
    words = text.split("\n")
    environ = {
        name: value for name, value in zip(words[::2], words[1::2], strict=False) if name and "\0" not in name + value
    }
    loaded = _read(environ)
    if isinstance(loaded, ConfigError):
        assert loaded.problems
        assert all(one_line(str(problem)) == str(problem) for problem in loaded.problems)
        return
    data = as_data(loaded.settings, reveal=True)
    again = load(config=None, flags={}, sets=[], environ={}, cwd=None, data=data, require_upstream=False)
    assert again.settings == loaded.settings
    json.dumps(data, ensure_ascii=False, default=str).encode()
    Fields.of(*((name, value.get_secret_value()) for name, value in loaded.settings.upstream.headers.items()))
    compile_rules(loaded.settings)


def _read(environ: dict[str, str]) -> Loaded | ConfigError:
    try:
        return load(config=None, flags={}, sets=[], environ=environ, cwd=None, require_upstream=False)
    except ConfigError as error:
        return error


TARGET = Target(check, SEEDS, TOKENS)
