"""How a process gets its modules when it starts."""

import gc
from importlib import import_module
from types import ModuleType


def imported(name: str) -> ModuleType:
    """The module, with all that it imports. Nothing that this makes is garbage: looking for some meanwhile would take
    a fifth of the start, and looking at it ever again some of every hour."""
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()
