"""A bounded memory of pure answers: what is asked for again stays, what is not leaves after two turns."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(Generic[K, V]):
    """Two generations of at most `bound` answers each: a full one becomes the old one, and the old one is dropped.

    One dict lookup when it knows, constant work always; None cannot be remembered.
    """

    __slots__ = ("_bound", "_new", "_old")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        value = self._new.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        if len(self._new) >= self._bound:
            self._old, self._new = self._new, {}
        self._new[key] = value

    def __len__(self) -> int:
        return len(self._new) + len(self._old)
