"""Methods that a subclass of ours may put itself around.

Whoever changes one changes what its subclasses rely on: when it is called, with what, and what its end means.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def hook(method: Callable[P, R]) -> Callable[P, R]:
    """The same method, marked as one that may be overridden, by whoever calls it in turn with all that it was given.
    It stands once, when its class is made: a call costs nothing more."""
    method.__hook__ = True  # type: ignore[attr-defined]
    return method
