"""Field names as they follow each other: what depends on them alone is worked out once, not for each message.

Clients send the same names in the same order again and again, and so do origins. Whoever has the names of a message
knows by them where each field stands, what is left without some, what they are with others behind them, and how they
are written down: all that differs is the values.
"""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import TypeVar

from proxy.policy.memo import Memo

_ORDERS = 512  # sequences of names per generation
_NAMES = 64  # that a sequence has which is remembered
_BYTES = 1024  # of one
_MADE = 32  # answers of one kind that are remembered of a sequence

K = TypeVar("K")
V = TypeVar("V")
Values = tuple[bytes, ...]
Take = Callable[[Values], Values]


class _Lower(dict[bytes, str]):
    """Field names in lower case; the common ones are looked up, and the table is bounded."""

    def __missing__(self, raw: bytes) -> str:
        name = raw.decode("latin-1").lower()
        if len(self) < 4096 and len(raw) <= 64:
            self[bytes(raw)] = name
        return name


lower_name: Callable[[bytes], str] = _Lower().__getitem__


class _Made(dict[K, V]):
    """Answers of one kind, each worked out when it is asked for first: to look one up runs no Python."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make

    def __missing__(self, key: K) -> V:
        if len(self) >= _MADE:
            self.clear()
        value = self[key] = self._make(key)
        return value


class Order:
    """Names as they follow each other. Shared, never changed.

    `lasting`: short enough to be remembered; `lines`: which lines each (lower-case) name has, the number of the one or
    those of several; `any_of`: whether any of some names is here; `without`: what is left without some, and what takes
    its values from all, None where none of them is here; `followed_by`: these names, then those of another.
    """

    __slots__ = ("_form", "any_of", "followed_by", "lasting", "lines", "names", "size", "without")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.names = names
        self.size = sum(map(len, names)) + 4 * len(names)  # bytes of the lines, without their values
        self.lasting = self.size <= _BYTES and len(names) <= _NAMES
        self.lines = _lines(names)
        self.any_of: dict[frozenset[str], bool] = _Made(partial(_any_of, self.lines))
        self.without: dict[frozenset[str], tuple[Order, Take] | None] = _Made(partial(_without, names))
        self.followed_by: dict[Order, Order] = _Made(partial(_followed_by, names))
        self._form: bytes | None = None

    @property
    def form(self) -> bytes:
        """All lines, each with its end, but for the values: `form % values` (RFC 9112 5)."""
        if self._form is None:
            self._form = b"".join([name.replace(b"%", b"%%") + b": %b\r\n" for name in self.names])
        return self._form

    def only(self, places: tuple[int, ...]) -> "tuple[Order, Take]":
        """The names at these places, and what takes the values there from all."""
        return order_of(tuple([self.names[place] for place in places])), _taking(places)


def _lines(names: tuple[bytes, ...]) -> dict[str, int | tuple[int, ...]]:
    lines: dict[str, list[int]] = {}
    for number, name in enumerate(map(lower_name, names)):
        lines.setdefault(name, []).append(number)
    return {name: numbers[0] if len(numbers) == 1 else tuple(numbers) for name, numbers in lines.items()}


def _any_of(lines: dict[str, int | tuple[int, ...]], names: frozenset[str]) -> bool:
    return not names.isdisjoint(lines)


def _without(all_of_them: tuple[bytes, ...], names: frozenset[str]) -> tuple[Order, Take] | None:
    left = tuple([place for place, name in enumerate(all_of_them) if lower_name(name) not in names])
    if len(left) == len(all_of_them):
        return None
    return order_of(tuple([all_of_them[place] for place in left])), _taking(left)


def _followed_by(names: tuple[bytes, ...], other: Order) -> Order:
    return order_of(names + other.names)


def _taking(places: tuple[int, ...]) -> Take:
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple([values[place] for place in places])


_KNOWN: Memo[tuple[bytes, ...], Order] = Memo(_ORDERS)  # one memory for the process


def order_of(names: tuple[bytes, ...]) -> Order:
    """The one order of these names, as far as they were seen lately. Threads may ask too: what two of them ask for at
    once may be there twice."""
    order = _KNOWN.get(names)
    if order is None:
        order = Order(names)
        if order.lasting:
            _KNOWN.put(names, order)
    return order
