"""The one pattern language of rules, purges and queries: `*` any run of characters ("/" too), `?` exactly one.

Everything else stands for itself, case counts, and the whole text must fit. There is no backtracking over `*`: pieces
between stars are found leftmost, one after the other, so that no pattern and no text makes it slow.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled pattern; equal when their patterns are."""

    pattern: str
    match: Callable[[str], bool] = field(compare=False, repr=False)


@lru_cache(maxsize=4096)
def compile_glob(pattern: str) -> Glob:
    """Compile `pattern`; every text is a valid pattern."""
    return Glob(pattern, _matcher(re.sub(r"\*+", "*", pattern)))


def _matcher(pattern: str) -> Callable[[str], bool]:
    if "?" in pattern:
        return _general(pattern)
    match pattern.split("*"):
        case [literal]:
            return lambda text: text == literal
        case ["", ""]:
            return lambda text: True
        case [prefix, ""]:
            return lambda text: text.startswith(prefix)
        case ["", suffix]:
            return lambda text: text.endswith(suffix)
        case ["", middle, ""]:
            return lambda text: middle in text
        case _:
            return _general(pattern)


def _general(pattern: str) -> Callable[[str], bool]:
    first, *rest = pattern.split("*")
    head = _piece(first)
    if not rest:
        return lambda text: head.fullmatch(text) is not None
    *middles, last = map(_piece, rest)
    last_size = len(rest[-1])

    def match(text: str) -> bool:
        found = head.match(text)
        end = len(text) - last_size
        for piece in middles:
            if found is None:
                return False
            found = piece.search(text, found.end())
        return found is not None and found.end() <= end and last.match(text, end) is not None

    return match


def _piece(text: str) -> re.Pattern[str]:
    """What stands between two stars: characters and single wildcards, no repetition, hence no backtracking."""
    return re.compile("".join("." if char == "?" else re.escape(char) for char in text), re.DOTALL)
