"""Frozen dataclasses at the price of plain ones, for what is made anew for each request.

`frozen=True` has every field set through `object.__setattr__`: to make a Request takes three times as long as to set
fourteen attributes. What is `fixed` is frozen for mypy, which reads all of this house, and an ordinary dataclass with
slots when it runs.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def fixed(cls: type[T]) -> type[T]:
    """As `dataclass(frozen=True, slots=True)`; only a type checker minds a change."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
