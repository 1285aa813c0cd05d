"""`.env`: NAME=value lines in the form that shells and Compose share."""

import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.settings.expand import expand
from proxy.settings.problems import Text

_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_LINE = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*
    (?: '(?P<literal>[^']*)' | "(?P<escaped>(?:\\.|[^"\\])*)" | (?P<bare>[^\n'"][^\n]*|) )
    [ \t]*(?:[#][^\n]*)?(?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"(?<![^ \t])#.*")  # at the beginning or behind white space
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Variable:
    """One line's value; `wrong` says what is the matter with its references, of which the value then is without."""

    value: Text
    line: int
    wrong: tuple[str, ...] = ()


def parse_dotenv(text: str, environ: Mapping[str, str]) -> tuple[dict[str, Variable], tuple[tuple[int, str], ...]]:
    """The variables, and (line, text) of what is no such line. References look into the environment first, then at
    the lines above; single quotes keep them as they are. A later line of the same name wins."""
    variables: dict[str, Variable] = {}
    names = ChainMap(dict(environ), {})
    wrong: list[tuple[int, str]] = []
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    at, line = 0, 1
    while at < len(text):
        if blank := _BLANK.match(text, at):
            end = blank.end()
        elif assignment := _LINE.match(text, at):
            end = assignment.end()
            name = assignment["name"]
            variable = variables[name] = _variable(assignment, line, names)
            above = names.maps[1]
            above.pop(name, None)
            if not variable.wrong:
                above[name] = str(variable.value)
        else:
            end = (text.find("\n", at) + 1) or len(text)
            wrong.append((line, "wants NAME=value, with every quote closed"))
        line += text.count("\n", at, end)
        at = end
    return variables, tuple(wrong)


def _variable(assignment: re.Match[str], line: int, names: Mapping[str, str]) -> Variable:
    if (literal := assignment["literal"]) is not None:
        return Variable(Text(literal), line)
    if (raw := assignment["escaped"]) is not None:
        raw = _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), raw)
    else:
        raw = _COMMENT.sub("", assignment["bare"]).rstrip()
    value, wrong = expand(raw, names)
    return Variable(Text(value, shown=raw), line, wrong)
