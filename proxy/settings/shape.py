"""What the model says about a path: which names are known there, and what kind of value stands under each.

`plain` turns a source's tree into data for the model: camelCase names become ours, unknown ones are reported, and the
origin of every value is noted.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from proxy.settings.model import Settings
from proxy.settings.problems import Origin, Report, Steps, Text, did_you_mean, spell
from proxy.settings.reader import Node, fixed, guess, read_json, read_yaml

Data = dict[Any, Any]

HALF = re.compile("[\ud800-\udfff]")  # by an escape of YAML or JSON, or from a variable whose bytes are none of UTF-8
_MOVED: dict[Steps, str] = {("cache", "rules"): "rules stand at the top level of the file, beside `cache`: use `rules`"}


@dataclass(frozen=True, slots=True)
class Shape:
    """How a value is built. `model`: named settings; `items`: a list of this; `values`: a mapping with free names."""

    model: type[BaseModel] | None = None
    items: Any = None
    values: Any = None
    optional: bool = False
    open: bool = False  # any data at all

    @property
    def is_branch(self) -> bool:
        """Whether the settings are what stands below, each with a source of its own."""
        return self.model is not None or (self.values is not None and shape_of(self.values).model is not None)


@cache
def shape_of(annotation: Any) -> Shape:
    if get_origin(annotation) is Annotated:
        return shape_of(get_args(annotation)[0])
    if annotation is Any:
        return Shape(open=True)
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        shapes = [shape_of(argument) for argument in arguments if argument is not NoneType]
        named = next((shape for shape in shapes if shape != Shape()), Shape())
        return Shape(named.model, named.items, named.values, optional=NoneType in arguments)
    if get_origin(annotation) is tuple and arguments[-1:] == (...,):
        return Shape(items=arguments[0])
    if get_origin(annotation) is dict:
        return Shape(values=arguments[1])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape(model=annotation)
    return Shape()


@cache
def fields_of(model: type[BaseModel]) -> Mapping[str, Any]:
    """The annotation of each name as the YAML has it."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def setting_paths(model: type[BaseModel] = Settings, above: Steps = ()) -> Iterator[Steps]:
    """Every setting's path; below a mapping with free names there are none to tell."""
    for name, annotation in fields_of(model).items():
        shape = shape_of(annotation)
        if shape.model is not None:
            yield from setting_paths(shape.model, (*above, name))
        else:
            yield (*above, name)


def effective(section: BaseModel, above: Steps = ()) -> Iterator[tuple[Steps, Any]]:
    """Every setting that is in force, with its value; all rules are one."""
    for name, annotation in fields_of(type(section)).items():
        steps, value = (*above, name), getattr(section, name)
        if isinstance(value, BaseModel):
            yield from effective(value, steps)
        elif isinstance(value, dict) and shape_of(annotation).is_branch:
            for key, child in value.items():
                yield from effective(child, (*steps, key))
        else:
            yield steps, value


def describe(path: str) -> str:
    """The one-line description of a setting."""
    *above, last = path.split(".")
    model: type[BaseModel] = Settings
    for name in above:
        model = shape_of(fields_of(model)[name]).model or model
    return next(f.description or "" for name, f in model.model_fields.items() if (f.alias or name) == last)


@dataclass(slots=True)
class Plain:
    """One pass over one tree."""

    report: Report
    places: dict[Steps, Origin]

    def value(self, node: Node, annotation: Any, steps: Steps) -> Any:
        """The data under `steps`; what is unknown is reported and left out."""
        self.places[steps] = node.origin
        shape = shape_of(annotation)
        if isinstance(node.value, str) and HALF.search(node.value):
            self.report.problem(node.origin, steps, "holds half of a character, or what is not UTF-8")
            return None
        node = self._unfolded(node, shape, steps)
        if shape.open:
            return _free(node)
        match node.value:
            case dict() as pairs if shape.model is not None:
                return self._named(pairs, node, shape.model, steps)
            case dict() as pairs:
                return {key: self.value(child, shape.values, (*steps, key)) for key, child in pairs.items()}
            case list() as items:
                return [self.value(item, shape.items, (*steps, n)) for n, item in enumerate(items)]
            case None if shape.model is not None and not shape.optional:
                return {}  # a section whose lines are all commented out
            case value:
                return value

    def _named(self, pairs: Mapping[str, Node], node: Node, model: type[BaseModel], steps: Steps) -> Data:
        known = fields_of(model)
        data: Data = {}
        given: dict[str, str] = {}
        for key, child in pairs.items():
            name = snake_case(key)
            here = node.keys.get(key, child.origin)
            if name not in known:
                self.report.problem(here, (*steps, key), self._unknown(key, name, known, steps))
            elif name in given:
                self.report.problem(here, (*steps, name), f"given twice, as '{given[name]}' and as '{key}'")
            else:
                given[name] = key
                value = self.value(child, known[name], (*steps, name))
                if value is not None or shape_of(known[name]).optional:
                    data[name] = value
        return data

    def _unknown(self, key: str, name: str, known: Mapping[str, Any], steps: Steps) -> str:
        if (moved := _MOVED.get((*steps, name))) is not None:
            return moved
        hint = did_you_mean(name, known)
        elsewhere = [path for path in setting_paths() if path[-1] == name]
        if not hint and len(elsewhere) == 1:
            hint = f"; did you mean '{spell(elsewhere[0])}'?"
        return f"unknown key{hint}"

    def _unfolded(self, node: Node, shape: Shape, steps: Steps) -> Node:
        """Lists and mappings may come as text: JSON for the rules, YAML in one line for the others."""
        text = node.value
        structured = shape.model or shape.items or shape.values
        if not isinstance(text, str) or not structured or text.lstrip()[:1] not in ("[", "{"):
            return node
        if steps == ("rules",):
            read = read_json(text, node.origin, steps, self.report)
        else:
            read = read_yaml(text, fixed(node.origin), None, self.report)
        return read or Node(None, node.origin)


def snake_case(key: str) -> str:
    """`minSize` as `min_size`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower() if re.fullmatch(r"[a-z][A-Za-z0-9]*", key) else key


def _free(node: Node) -> Any:
    match node.value:
        case dict() as pairs:
            return {key: _free(child) for key, child in pairs.items()}
        case list() as items:
            return [_free(item) for item in items]
        case Text() as text:
            return guess(text)
        case value:
            return value
