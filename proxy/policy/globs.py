"""The one pattern language of rules, purges and queries: `*` any run of characters ("/" too), `?` exactly one.

Everything else stands for itself, case counts, and the whole text must fit. There is no backtracking over `*`: pieces
between stars are found leftmost, one after the other, so that no pattern and no text makes it slow. A long piece with
`?` in it is looked for at all places of a long text at once, 64 of them in a step of the processor.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

STEPS = 1 << 14  # characters of a piece times those of a text up to which looking place by place is quicker


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
    *middles, last = rest
    tail, short = _piece(last), [_searching(_piece(middle)) for middle in middles]
    longest = max((len(middle) for middle in middles if "?" in middle), default=0)

    def match(text: str) -> bool:
        at, end = len(first), len(text) - len(last)
        if at > end or head.match(text) is None or tail.match(text, end) is None:
            return False
        for find in short if longest * len(text) <= STEPS else _searching_at_once(middles, text):
            at = find(text, at)
            if not 0 <= at <= end:
                return False
        return True

    return match


# The end of the leftmost place where a piece fits, from one on; -1 when it fits nowhere.
_Find = Callable[[str, int], int]


def _piece(text: str) -> re.Pattern[str]:
    """What stands between two stars: characters and single wildcards, no repetition, hence no backtracking."""
    return re.compile("".join("." if char == "?" else re.escape(char) for char in text), re.DOTALL)


def _searching(piece: re.Pattern[str]) -> _Find:
    def find(text: str, at: int) -> int:
        found = piece.search(text, at)
        return -1 if found is None else found.end()

    return find


def _searching_at_once(pieces: Sequence[str], text: str) -> Iterator[_Find]:
    """For this text alone: every place is a bit, and what stands there is known before (shift-and)."""
    bits = _bits(text, set().union(*pieces) - {"?"})
    for piece in pieces:
        places = -1  # all of them, those that are too near the end too
        for offset, char in enumerate(piece):
            if char != "?" and places:
                places &= bits.get(char, 0) >> offset
        yield partial(_next_place, places, len(piece))


def _next_place(places: int, size: int, text: str, at: int) -> int:
    behind = places >> at
    return at + (behind & -behind).bit_length() - 1 + size if behind else -1


def _bits(text: str, wanted: Collection[str]) -> dict[str, int]:
    """Where each wanted character stands in the text: bit n is set when it is number n."""
    rows = {char: bytearray(b"0") * len(text) for char in wanted if char in text}
    for place, char in enumerate(reversed(text)):
        if char in rows:
            rows[char][place] = ord("1")
    return {char: int(row, 2) for char, row in rows.items()}
