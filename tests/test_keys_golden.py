"""Golden vectors of keys (rows 7, 19, 137; contract, Keys): stable across processes, machines and hash seeds.

A hash that changes makes every stored answer of every user a miss: then `entry.FORMAT` must be raised. Run this file
(`python -m tests.test_keys_golden`) to print the vectors as they would be now.
"""

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from proxy.policy.keys import KeyDeriver, Keyed
from proxy.rules import BodyKey, KeySpec, Rule
from tests.support.asking import ask

FILE = Path(__file__).parent / "golden" / "keys.json"
VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text())


def rule_of(said: dict[str, Any]) -> Rule:
    key = {name: tuple(value) if isinstance(value, list) else value for name, value in said.get("key", {}).items()}
    if "body" in key:
        key["body"] = BodyKey(key["body"]["kind"], tuple(key["body"].get("ignore", ())))
    rest = {name: value for name, value in said.items() if name not in ("key", "methods", "request_headers")}
    return Rule(
        key=KeySpec(**key),
        methods=frozenset(said.get("methods", ("GET",))),
        request_headers=tuple(map(tuple, said.get("request_headers", ()))),
        **rest,
    )


def derived(vector: dict[str, Any]) -> Keyed:
    said = dict(vector["request"])
    fields = [(name, value) for name, value in said.pop("fields", ())]
    body = vector.get("body")
    request = ask(said.pop("target"), *fields, **said, content=0 if body is None else len(body.encode()))
    keyed = KeyDeriver().derive(request, rule_of(vector["rule"]), None if body is None else body.encode())
    assert isinstance(keyed, Keyed), keyed
    return keyed


def now() -> list[dict[str, Any]]:
    return [vector | {"target": (keyed := derived(vector)).target, "hash": keyed.hash} for vector in VECTORS]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["what"])
def test_vector(vector: dict[str, Any]) -> None:
    keyed = derived(vector)
    assert (keyed.target, keyed.hash) == (vector["target"], vector["hash"])


def test_no_two_vectors_meet_but_those_that_say_so() -> None:
    seen: dict[str, str] = {}
    for vector in VECTORS:
        first = seen.setdefault(vector["hash"], vector["what"])
        assert first == vector.get("same_as", vector["what"])
    assert len(seen) >= 25


def test_the_first_vector_is_what_the_contract_says() -> None:
    """sha256 over the length-prefixed tuple, written out by hand."""
    raw = (
        b"1:" + b"19:origin.example:8080" + b"0:" + b"4:http" + b"3:GET" + b"15:api.example.com"
        b"12:/api/users/7" + b"1:1" + b"7:a=1&b=2" + b"0:"
    )
    assert VECTORS[0]["hash"] == sha256(raw).hexdigest()


def test_another_process_with_another_hash_seed_agrees() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "tests.test_keys_golden"],
        cwd=FILE.parent.parent.parent,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(said.stdout) == VECTORS


if __name__ == "__main__":
    print("[\n" + ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in now()) + "\n]")
