"""What Compose makes of docker-compose.yml and the files of deploy/compose, where none of their variables is set.

FILES["sentinel"]               # one file as it stands
overlaid("sentinel")            # with what it lies over, as `make up WITH=sentinel` gives them to Compose
"""

import re
from typing import Any

import yaml

from tests.support.process import REPOSITORY

OVERLAYS = ("dev", "sentinel", "cluster", "monitoring")
GATEWAYS = ("cachegate", "cachegate-2")
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+):-([^}]*)\})")


def interpolated(part: Any) -> Any:
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


def overlaid(*names: str) -> dict[str, Any]:
    """The base with these over it, one after the other."""
    whole: Any = BASE
    for name in names:
        whole = merged(whole, FILES[name], ())
    assert isinstance(whole, dict)
    return whole


def merged(under: Any, over: Any, place: tuple[str, ...]) -> Any:
    """As Compose merges: mappings by name, lists one after the other, but what is a command as a whole."""
    match under, over:
        case dict(), dict():
            return {
                name: merged(under[name], over[name], (*place, name))
                if name in under and name in over
                else {**under, **over}[name]
                for name in {**under, **over}
            }
        case list(), list() if place[-1] not in ("command", "entrypoint", "test"):
            return [*under, *(each for each in over if each not in under)]
        case _:
            return over
