"""Where a problem stands, how it is worded, and what was probably meant.

A refused value is quoted by `found`, which shows a `${NAME}` as it was written instead of what it stood for, so that
no secret that came through a variable can be read in an error.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Self

from proxy.errors import Problem

Steps = tuple[str | int, ...]  # the way from the root to one value: ("rules", 0, "ttl")

_USERINFO = re.compile(r"(^[a-z+]*://|^).*@", re.DOTALL)
_QUERY = re.compile(r"(^[a-z][a-z0-9+.-]*://[^?#]*[?#]).+", re.DOTALL | re.IGNORECASE)
_ANY_QUERY = re.compile(r"(^[^?#]*[?#]).+", re.DOTALL)
# What a terminal or a reader of lines could take for more than text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_QUOTED_AT_MOST = 60


class Text(str):
    """Text as a source gave it. `shown` is what an error may quote; `plain`: unquoted YAML, whose type is open."""

    __slots__ = ("plain", "shown")
    plain: bool
    shown: str

    def __new__(cls, value: str, *, shown: str | None = None, plain: bool = False) -> Self:
        text = super().__new__(cls, value)
        text.shown = value if shown is None else shown
        text.plain = plain
        return text

    def part(self, value: str) -> "Text":
        """A piece of this text, quoted as the whole when the whole must not be shown as it is."""
        return Text(value, shown=None if self.shown == self else self.shown)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from. `names` are the settings that the place itself tells; others are spelled out."""

    place: str
    source: str
    names: tuple[Steps, ...] = ()


@dataclass(slots=True)
class Report:
    """Everything found wrong so far, in the order of finding; nothing is raised before all was looked at."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    wrong: list[Steps] = field(default_factory=list)  # the paths of the problems

    def problem(self, origin: Origin, steps: Steps, text: str) -> None:
        _note(self.problems, origin, steps, text)
        if steps:
            self.wrong.append(steps)

    def warn(self, origin: Origin, steps: Steps, text: str) -> None:
        _note(self.warnings, origin, steps, text)

    def explains(self, steps: Steps) -> bool:
        """Whether something at `steps` may be amiss only because of a problem that is reported already: at the same
        path, above it or below it, or a name beside it that was likely meant to be it."""
        for wrong in self.wrong:
            shared = min(len(wrong), len(steps))
            if wrong[:shared] == steps[:shared]:
                return True
            beside = len(wrong) == shared and wrong[:-1] == steps[: shared - 1]
            likely, meant = wrong[-1], steps[shared - 1]
            if beside and isinstance(likely, str) and isinstance(meant, str) and did_you_mean(likely, [meant]):
                return True
        return False


def _note(problems: list[Problem], origin: Origin, steps: Steps, text: str) -> None:
    problem = noted(origin, steps, text)
    if problem not in problems:
        problems.append(problem)


def noted(origin: Origin, steps: Steps, text: str) -> Problem:
    """A problem at its place; its path is told where the place itself does not tell it. It is one line."""
    said = not steps or steps in origin.names or origin.place == spell(steps)
    return Problem(one_line(origin.place), one_line(text if said else f"{spell(steps)}: {text}"))


def one_line(text: str) -> str:
    """Text with its control characters told by their escapes."""
    return _CONTROL.sub(lambda control: control[0].encode("unicode_escape").decode(), text)


def spell(steps: Steps) -> str:
    """`rules[0].conditions.min_size`"""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def nearest(places: Mapping[Steps, Origin], steps: Steps) -> Origin:
    """The origin of a value, or of the closest thing around it that has one; a default stands under its own name."""
    for length in range(len(steps), 0, -1):
        if (origin := places.get(steps[:length])) is not None:
            return origin
    return Origin(spell(steps), "default")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'pattern'?`, or nothing when no word is near."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def found(value: object, *, url: bool = False) -> str:
    """A refused value as an error quotes it: short, in one line, and without a URL's user, password and query.
    `url`: it was meant as one, whatever it looks like."""
    match value:
        case None:
            return "nothing"
        case str():
            text = _USERINFO.sub(r"\1***@", value.shown if isinstance(value, Text) else value)
            text = one_line((_ANY_QUERY if url else _QUERY).sub(r"\1***", text))
            return f"'{text}'" if len(text) <= _QUOTED_AT_MOST else f"'{text[:_QUOTED_AT_MOST]}…'"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return kind(value)


def kind(value: object) -> str:
    """What sort of thing a value is, for where the value itself must not be quoted."""
    match value:
        case None:
            return "nothing"
        case str():
            return "text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case Mapping():
            return "a mapping"
        case list() | tuple() | set() | frozenset():
            return "a list"
        case _:
            return f"a {type(value).__name__}"
