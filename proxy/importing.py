"""How a process gets its modules when it starts."""

import gc
from importlib import import_module
from types import ModuleType

# Objects that are made before cycles are looked for among them, in place of Python's 700: what a few dozen requests
# under way hold is more than that, and nearly all of it goes by itself. To look at it so often took a sixth of a miss.
YOUNG = 10_000


def imported(name: str) -> ModuleType:
    """The module, with all that it imports. Nothing that this makes is garbage: looking for some meanwhile would take
    a fifth of the start, and looking at it ever again some of every hour."""
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
        gc.enable()
