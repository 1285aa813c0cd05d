"""What other people's programs hold on to: nothing of it goes away or changes without somebody saying so (row 116).

`tests/golden/public.json` is what there was: names and signatures in Python, verbs and flags of the command, settings,
variables, metrics, and the keys of the admin pages' JSON. What is new is written down for good with

    python -m tests.test_public

and what has gone is a matter for a major version, the CHANGELOG and that file.
"""

import asyncio
import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

import proxy
from proxy.cli import VERBS, program
from proxy.settings.spellings import ENVIRONMENT
from tests.support.gateway import Asker, running
from tests.support.origin import Origin
from tests.support.process import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "public.json"


def python() -> Iterator[str]:
    """Each public name with how it is called, and what it gives back."""
    for name in proxy.__all__:
        found = getattr(proxy, name)
        if name == "Settings":  # how it is made is the settings themselves
            yield "Settings"
            continue
        yield f"{name}{_called(found)}"
        if inspect.isclass(found):
            for verb, function in inspect.getmembers(found, inspect.isfunction):
                if not verb.startswith("_") or verb in ("__aenter__", "__aexit__"):
                    kind = "async " if inspect.iscoroutinefunction(function) else ""
                    yield f"{kind}{name}.{verb}{_called(function)}"
                    yield from _given_back(function)


def _called(found: Any) -> str:
    return str(inspect.signature(found)).replace("pathlib._local.", "pathlib.")  # where Python 3.13 keeps Path


def _given_back(function: Any) -> Iterator[str]:
    """The fields of what a call gives back, where that is ours."""
    told = get_type_hints(function).get("return")
    for each in get_args(told) or (told,):
        if dataclasses.is_dataclass(each) and isinstance(each, type):
            yield from (f"{each.__name__}.{field.name}" for field in dataclasses.fields(each))


def command() -> Iterator[str]:
    """Each verb with its arguments and flags, and whether a flag takes a value."""
    with program.make_context("cachegate", ["--help"], resilient_parsing=True) as ctx:
        for verb in VERBS:
            made = program.get_command(ctx, verb)
            assert made is not None
            yield verb
            for each in made.to_info_dict(ctx)["params"]:
                if each["param_type_name"] == "argument":
                    yield f"{verb} {each['name'].upper()}{'...' if each['nargs'] == -1 else ''}"
                for flag in each["opts"] if each["param_type_name"] == "option" else ():
                    yield f"{verb} {flag}{'' if each['is_flag'] else ' VALUE'}"


def listed(page: str) -> list[str]:
    """The first column of a page's tables, which other tests hold against the program."""
    text = (REPOSITORY / "docs" / page).read_text()
    return re.findall(r"^\| `([^`|]+)` \|", text, re.MULTILINE)


async def pages() -> dict[str, list[str]]:
    """The keys of what each page answers, of a gateway that has one rule, one answer and one of everything else."""
    settings = {"rules": [{"name": "all", "pattern": "*", "ttl": 60, "tags": ["things"]}]}
    async with Origin() as origin, running(origin, settings) as gateway:
        origin.answer("/a", headers=[("ETag", '"1"')], body=b"yes")
        await gateway.get("/a")
        await gateway.get("/a")
        await gateway.settled()
        told = {page: await _keys(gateway, *page.split(" ", 1)) for page in ASKED}
        (entry,) = (await gateway.admin("GET", "/entries")).json["entries"]
        told["GET /entries/{key}"] = _paths((await gateway.admin("GET", f"/entries/{entry['key']}")).json)
        receipt = (await gateway.purge(tag="things", dry_run=True)).json
        told["POST /purge, dry"] = _paths({**receipt, "instances": {}})
        receipt = (await gateway.purge(tag="things")).json
        told["POST /purge"] = _paths({**receipt, "instances": {}})  # their names are another each time
        job = (await gateway.admin("POST", "/warm", {"urls": [f"{gateway.url}/a"]})).json
        told["POST /warm"] = _paths(job)
        told["GET /warm/{id}"] = _paths((await gateway.admin("GET", f"/warm/{job['id']}")).json)
        await gateway.settled()
        return told


ASKED = (
    "GET /stats",
    "GET /stats?window=1h",
    "GET /redis/health",
    "GET /redis/ping",
    "GET /entries",
    "GET /explain?url=/a",
    "GET /suggest",
    "GET /config",
    "GET /live",
    "GET /ready",
    "GET /nothing",
    "DELETE /memory",
)


async def _keys(gateway: Asker, method: str, page: str) -> list[str]:
    answered = await gateway.admin(method, page)
    document = answered.json
    if page == "/config":  # what is under these are the settings
        document = dict.fromkeys(document)
    return [f"{answered.status}", *_paths(document)]


def _paths(document: Any, at: str = "") -> list[str]:
    """Every key, by its path; of a list that of its first item."""
    match document:
        case dict():
            below = [path for name, each in document.items() for path in _paths(each, f"{at}.{name}" if at else name)]
            return sorted({*([at] if at else []), *below})
        case [first, *_]:
            return _paths(first, f"{at}[]")
        case _:
            return [at]


async def public() -> dict[str, Any]:
    return {
        "python": sorted(python()),
        "command": sorted(command()),
        "settings": sorted({*listed("configuration.md")}),
        "environment": sorted(ENVIRONMENT),
        "metrics": sorted(name for name in listed("metrics.md") if name.startswith("cachegate_")),
        "pages": await pages(),
    }


def gone(before: Any, now: Any, at: str = "") -> list[str]:
    """What was there and is not."""
    if isinstance(before, dict):
        return [line for name in before for line in gone(before[name], now.get(name, ()), f"{at}{name}: ")]
    return [f"{at}{each}" for each in before if each not in now]


async def test_nothing_that_somebody_may_use_has_gone() -> None:
    before = json.loads(GOLDEN.read_text())
    assert set(before) == {"python", "command", "settings", "environment", "metrics", "pages"}
    assert all(len(part) > 3 for part in before.values())
    assert gone(before, await public()) == [], "see the head of this file"


async def test_what_calls_can_be_made_is_all_written_down() -> None:
    """A name or a flag that is not in the file could go again, and nobody would see it."""
    before, now = json.loads(GOLDEN.read_text()), await public()
    for part in ("python", "command", "environment"):
        assert gone(now[part], before[part]) == [], "python -m tests.test_public"


@pytest.mark.parametrize(
    ("before", "now", "missing"),
    [
        ({"a": ["x", "y"]}, {"a": ["y", "z"]}, ["a: x"]),
        ({"a": {"b": ["x"]}}, {"a": {}}, ["a: b: x"]),
        ({"a": ["x"]}, {"a": ["x"], "c": []}, []),
    ],
)
def test_what_has_gone_is_found(before: Any, now: Any, missing: list[str]) -> None:
    assert gone(before, now) == missing


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(asyncio.run(public()), indent=1, sort_keys=True) + "\n")
