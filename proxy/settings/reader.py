"""YAML, JSON and Python data as one tree in which every value knows where it stands.

Plain scalars stay text: what they are is for the setting to say, not for YAML to guess, so a password of digits, a
country called `no` and a file mode keep their characters. Only an unquoted `null`, `~` or nothing is None.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from proxy.settings.expand import expand
from proxy.settings.problems import Origin, Report, Steps, Text, kind

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_VALUES = 100_000  # aliases counted as often as they stand: what a bomb of them would unfold to

_CORE = "tag:yaml.org,2002:"
_SCALARS = {_CORE + name for name in ("null", "bool", "int", "float", "str", "timestamp", "merge", "value")}
_NAMED = re.compile(r" (?:'(?!<)(?:[^']{2,}|\w)'|\"[^\"]*\")")  # PyYAML quotes from the text, which may be a secret

Place = Callable[[int, int], Origin]  # from line and column, counted from 1


def fixed(origin: Origin) -> Place:
    """One place for all of it: a flag or a variable has no lines to point at."""
    return lambda line, column: origin


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands; `keys` are the places of a mapping's keys. Scalars are Text, None, or whatever
    Python value was given."""

    value: "object | list[Node] | dict[str, Node]"
    origin: Origin
    keys: Mapping[str, Origin] = field(default_factory=dict)


class _TooMuchError(Exception):
    """Deeper or larger than a configuration can be."""


class _Composer(yaml.SafeLoader):
    """PyYAML's composer recurses; this one knows how deep."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nested deeper than {MAX_DEPTH} levels",
                problem_mark=self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(text: str, place: Place, names: Mapping[str, str] | None, report: Report) -> Node | None:
    """The tree, or None when the text is no YAML (which is reported). `names`: what `${NAME}` may stand for; None
    leaves it as it is."""
    if len(text) > MAX_BYTES:
        report.problem(place(1, 1), (), f"larger than {MAX_BYTES} bytes")
        return None
    composer: _Composer | None = None
    try:
        composer = _Composer(text)
        root = composer.get_single_node()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        report.problem(where, (), f"not valid YAML: the character U+{ord(text[error.position]):04X} is not allowed")
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = place(mark.line + 1, mark.column + 1) if mark else place(1, 1)
        if mark and text[mark.index : mark.index + 1] == "\t":
            report.problem(where, (), "not valid YAML: a tab; YAML wants spaces")
        else:
            report.problem(where, (), f"not valid YAML: {_NAMED.sub('', error.problem or 'unreadable')}")
        return None
    except (ValueError, OverflowError):  # PyYAML's own, for "\U00110000" and versions of YAML that are no numbers
        mark = composer.get_mark() if composer else None
        where = place(mark.line + 1, mark.column + 1) if mark else place(1, 1)
        report.problem(where, (), "not valid YAML: a number here is too large")
        return None
    if root is None:
        return Node(None, place(1, 1))
    try:
        return _Conversion(place, names, report).node(root, (), 0)
    except _TooMuchError:
        report.problem(place(1, 1), (), f"unfolds to more than {MAX_VALUES} values or {MAX_DEPTH} levels")
        return None


@dataclass(slots=True)
class _Conversion:
    place: Place
    names: Mapping[str, str] | None
    report: Report
    seen: int = 0

    def node(self, yaml_node: yaml.Node, steps: Steps, depth: int) -> Node:
        self.seen += 1
        if self.seen > MAX_VALUES or depth > MAX_DEPTH:
            raise _TooMuchError
        origin = self._at(yaml_node)
        match yaml_node:
            case yaml.ScalarNode() if yaml_node.tag in _SCALARS:
                return Node(self._scalar(yaml_node, origin, steps), origin)
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                items = [self.node(item, (*steps, n), depth + 1) for n, item in enumerate(yaml_node.value)]
                return Node(items, origin)
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                return self._mapping(yaml_node, origin, steps, depth)
            case _:
                self.report.problem(origin, steps, "YAML tags are not used here; quote a text that begins with '!'")
                return Node(None, origin)

    def _scalar(self, scalar: yaml.ScalarNode, origin: Origin, steps: Steps) -> Text | None:
        plain = scalar.style is None and scalar.tag != _CORE + "str"
        if scalar.tag == _CORE + "null":
            return None
        value, wrong = (scalar.value, ()) if self.names is None else expand(scalar.value, self.names)
        for text in wrong:
            self.report.problem(origin, steps, text)
        if wrong or (not value and scalar.style is None):
            return None  # or an unquoted ${NAME:-} that came to nothing
        return Text(value, shown=scalar.value, plain=plain)

    def _mapping(self, mapping: yaml.MappingNode, origin: Origin, steps: Steps, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Origin] = {}
        merged: list[yaml.Node] = []
        for key, child in mapping.value:
            here = self._at(key)
            if not isinstance(key, yaml.ScalarNode):
                self.report.problem(here, steps, "a key wants to be text")
            elif key.tag == _CORE + "merge":
                merged += child.value if isinstance(child, yaml.SequenceNode) else [child]
            elif key.value in values:
                self.report.problem(here, (*steps, key.value), f"given twice; first at {keys[key.value].place}")
            else:
                values[key.value] = self.node(child, (*steps, key.value), depth + 1)
                keys[key.value] = here
        for other in merged:  # `<<: *defaults`: what is written out here wins, then the earlier default
            base = self.node(other, steps, depth + 1)
            if isinstance(base.value, dict):
                values = {**base.value, **values}
                keys = {**base.keys, **keys}
            else:
                self.report.problem(base.origin, (*steps, "<<"), f"wants a mapping to merge; found {kind(base.value)}")
        return Node(values, origin, keys)

    def _at(self, node: yaml.Node) -> Origin:
        return self.place(node.start_mark.line + 1, node.start_mark.column + 1)


def read_json(text: str, origin: Origin, steps: Steps, report: Report) -> Node | None:
    """The tree of strict JSON, all of it at one place; None when it is none, with line and column reported."""
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        report.problem(origin, steps, f"not valid JSON at {where}: {error.msg}")
        return None
    except ValueError:
        report.problem(origin, steps, "not usable JSON: a number has too many digits")
        return None
    except RecursionError:
        report.problem(origin, steps, f"not usable JSON: nested deeper than {MAX_DEPTH} levels")
        return None
    except _TwiceError as error:
        report.problem(origin, steps, f"the JSON gives '{error}' twice in one object")
        return None
    return read_python(data, origin, report)


class _TwiceError(Exception):
    """A name stands twice in one JSON object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        times = Counter(name for name, _ in pairs)
        raise _TwiceError(next(name for name in times if times[name] > 1))
    return data


def read_python(data: object, origin: Origin, report: Report) -> Node | None:
    """The tree of Python data (mappings, lists and scalars), all of it at one place."""
    try:
        return _wrap(data, origin, 0)
    except _TooMuchError:
        report.problem(origin, (), f"nested deeper than {MAX_DEPTH} levels")
        return None


def _wrap(data: object, origin: Origin, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise _TooMuchError
    match data:
        case Mapping():
            pairs = {str(key): _wrap(value, origin, depth + 1) for key, value in data.items()}
            return Node(pairs, origin, dict.fromkeys(pairs, origin))
        case list() | tuple() | set() | frozenset():
            return Node([_wrap(item, origin, depth + 1) for item in data], origin)
        case _:
            return Node(data, origin)


def guess(text: Text) -> str | int | float | bool:
    """What an unquoted scalar is by YAML 1.2's core schema, where no setting says (the body of a rule's test)."""
    lowered = text.lower()
    if not text.plain:
        return str(text)
    if lowered in ("true", "false"):
        return lowered == "true"
    if re.fullmatch(r"[-+]?\d{1,300}", text):
        return int(text)
    if re.fullmatch(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", text):
        return float(text)
    return str(text)
