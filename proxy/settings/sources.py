"""The sources of settings, each read into a layer: what it sets, by path, and where that stands.

Two names of one setting within a layer must agree; between layers the nearer one wins (`merge`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from proxy.settings.model import Settings
from proxy.settings.problems import Origin, Report, Steps, Text, spell
from proxy.settings.reader import Node, fixed, read_json, read_python, read_yaml
from proxy.settings.shape import Data, Plain, fields_of, shape_of
from proxy.settings.spellings import ENVIRONMENT, FLAGS

PREFIX = "CACHEGATE__"
_MAY_BE_EMPTY = ("redis.username", "redis.password")  # elsewhere an empty variable is one that is not set


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting as one source gives it; `places` tells where the parts of its value stand."""

    value: Any
    origin: Origin
    places: Mapping[Steps, Origin]


Layer = dict[Steps, Leaf]


@dataclass(frozen=True, slots=True)
class Given:
    """One variable or flag."""

    name: str
    origin: Origin
    value: Node


@dataclass(slots=True)
class Merged:
    """All layers in one: the data for the model, and where each part of it comes from."""

    data: Data = field(default_factory=dict)
    places: dict[Steps, Origin] = field(default_factory=dict)
    sources: dict[Steps, str] = field(default_factory=dict)


def file_layer(text: str, file: str, names: Mapping[str, str], report: Report) -> Layer | None:
    """The YAML file; None when it cannot be read as YAML."""

    def place(line: int, column: int) -> Origin:
        at = f"{file}:{line}:{column}"
        return Origin(at, at)

    tree = read_yaml(text, place, names, report)
    return None if tree is None else _layer(tree, report)


def data_layer(data: Mapping[str, Any], report: Report) -> Layer:
    """Settings given as Python data."""
    tree = read_python(data, Origin("settings", "settings"), report)
    return {} if tree is None else _layer(tree, report)


def variable_layer(variables: Mapping[str, Given], report: Report) -> Layer:
    """Environment variables, by their short names and as CACHEGATE__PATH__NAME."""
    given: list[tuple[Given, Layer]] = []
    for name, variable in variables.items():
        if name in ENVIRONMENT:
            paths = ENVIRONMENT[name].paths
        elif name.startswith(PREFIX):
            paths = (_variable_path(name),)
        else:
            continue
        if variable.value.value == "" and paths[0] not in _MAY_BE_EMPTY:
            continue
        if name.endswith("_PORT") and str(variable.value.value).startswith(("tcp://", "udp://")):
            report.warn(variable.origin, (), "ignored: Kubernetes sets this name to the address of a service")
            continue
        given += [(variable, _single(path, variable, report)) for path in paths]
    return _agreed(given, report)


def variable_origin(name: str, source: str, place: str) -> Origin:
    """`CACHE_TTL (environment)` needs no path beside it."""
    paths = ENVIRONMENT[name].paths if name in ENVIRONMENT else (_variable_path(name),)
    return Origin(place, source, tuple(map(_steps, paths)))


def flag_layer(
    flags: Mapping[str, object], sets: Sequence[str], cwd: Path | None, names: Mapping[str, str], report: Report
) -> Layer:
    """Flags by YAML path, and `path=value` as --set has it, whose value is YAML."""
    given: list[tuple[Given, Layer]] = []
    for path, value in flags.items():
        name, paths = (FLAGS[path].flag or "", FLAGS[path].paths) if path in FLAGS else (f"--set {path}", (path,))
        origin = Origin(f"{name} (flag)", f"flag {name}", tuple(map(_steps, paths)))
        node = _flag_node(path, value, origin, cwd, names, report)
        if node is not None:
            flag = Given(name, node.origin, node)
            given.append((flag, _single(path, flag, report)))
    for assignment in sets:
        path, equals, text = assignment.partition("=")
        name = f"--set {path}"
        origin = Origin(f"{name} (flag)", f"flag {name}", (_steps(path),))
        if not equals or not path:
            report.problem(Origin("--set (flag)", "flag"), (), "wants path=value, such as memory.max_bytes=1GiB")
        elif (node := read_yaml(text, fixed(origin), None, report)) is not None:
            flag = Given(name, origin, node)
            given.append((flag, _single(path, flag, report)))
    return _agreed(given, report)


def _flag_node(
    path: str, value: object, origin: Origin, cwd: Path | None, names: Mapping[str, str], report: Report
) -> Node | None:
    if path == "rules" and isinstance(value, str | Path):
        return _rules_node(str(value), origin, cwd, names, report)
    return Node(Text(value), origin) if isinstance(value, str) else read_python(value, origin, report)


def _rules_node(value: str, origin: Origin, cwd: Path | None, names: Mapping[str, str], report: Report) -> Node | None:
    """--cache-rules: JSON itself, or the name of a file with a list of rules or with `rules:` in it."""
    if value.lstrip()[:1] in ("[", "{"):
        return read_json(value, origin, ("rules",), report)
    try:
        text = ((cwd or Path()) / value).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        report.problem(origin, ("rules",), f"cannot read {value}: {reason}")
        return None

    def place(line: int, column: int) -> Origin:
        at = f"{value}:{line}:{column}"
        return Origin(at, at)

    node = read_yaml(text, place, names, report)
    if node is not None and isinstance(node.value, dict) and set(node.value) == {"rules"}:
        return node.value["rules"]
    return node


def _layer(tree: Node, report: Report) -> Layer:
    """The settings of a whole tree."""
    places: dict[Steps, Origin] = {}
    data = Plain(report, places).value(tree, Settings, ())
    if not isinstance(data, dict):
        report.problem(tree.origin, (), "wants a mapping of settings at the top level")
        return {}
    return {steps: Leaf(value, places[steps], _below(places, steps)) for steps, value in _leaves(data, Settings, ())}


def _leaves(data: Data, annotation: Any, above: Steps) -> Iterator[tuple[Steps, Any]]:
    shape = shape_of(annotation)
    for name, value in data.items():
        child = fields_of(shape.model)[name] if shape.model is not None else shape.values
        named_by_operator = shape.values is not None or shape_of(child).optional  # says something even when empty
        if isinstance(value, dict) and shape_of(child).is_branch and (value or not named_by_operator):
            yield from _leaves(value, child, (*above, name))
        else:
            yield (*above, name), value


def _below(places: Mapping[Steps, Origin], steps: Steps) -> dict[Steps, Origin]:
    return {at: origin for at, origin in places.items() if at[: len(steps)] == steps}


def _variable_path(name: str) -> str:
    return name.removeprefix(PREFIX).replace("__", ".").lower()


def _steps(path: str) -> Steps:
    return tuple(path.split("."))


def _single(path: str, given: Given, report: Report) -> Layer:
    """What one variable or flag sets, by the same reading as a file that says only this."""
    tree = given.value
    for name in reversed(path.split(".")):
        tree = Node({name: tree}, given.origin, {name: given.origin})
    layer = _layer(tree, report)
    for steps in layer:
        if len(steps) < len(_steps(path)):
            report.problem(given.origin, _steps(path), f"{spell(steps)} is one setting: give its whole value")
            return {}
    return layer


def _agreed(given: Iterable[tuple[Given, Layer]], report: Report) -> Layer:
    """One layer of all that was given; two names of one setting that disagree are a problem that names both."""
    agreed: Layer = {}
    names: dict[Steps, str] = {}
    for one, layer in given:
        for steps, leaf in layer.items():
            if steps in agreed and not _same(steps, agreed[steps].value, leaf.value):
                text = f"disagrees with {names[steps]}, another name of {spell(steps)}: give only one of them"
                report.problem(one.origin, steps, text)
            agreed[steps], names[steps] = leaf, one.name
    return agreed


def _same(steps: Steps, one: Any, other: Any) -> bool:
    """Whether two values mean the same to the model: `1` and `true` for a switch, `10m` and `600` for a time."""
    try:
        return one == other or bool(_read(steps, one) == _read(steps, other))
    except ValidationError:
        return False


def _read(steps: Steps, value: Any) -> Any:
    data = value
    for step in reversed(steps):
        data = {step: data}
    read: Any = Settings.model_validate(data)
    for step in steps:
        read = read[step] if isinstance(read, Mapping) else getattr(read, str(step))
    return read


def merge(layers: Iterable[Layer]) -> Merged:
    """The layers from the farthest to the nearest, a nearer one's word taking the place of what it covers."""
    chosen: Layer = {}
    for layer in layers:
        for steps, leaf in layer.items():
            for other in [other for other in chosen if _overlaps(steps, other)]:
                del chosen[other]
            chosen[steps] = leaf
    merged = Merged()
    for steps, leaf in chosen.items():
        within: Data = merged.data
        for step in steps[:-1]:
            within = within.setdefault(step, {})
        within[steps[-1]] = leaf.value
        merged.places.update(leaf.places)
        merged.places[steps] = leaf.origin
        merged.sources[steps] = leaf.origin.source
    return merged


def _overlaps(one: Steps, other: Steps) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
