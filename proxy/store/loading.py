"""A store of the operator's own, named by its dotted path."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from proxy.errors import ConfigError, Problem
from proxy.store import Store

VERBS = ("get", "put", "delete", "scan", "clear", "close")
_NOTHING: Mapping[str, object] = MappingProxyType({})


def load_store(path: str, options: Mapping[str, object] = _NOTHING, *, place: str = "store") -> Store:
    """Make the Store that `package.module:Class` names, with `options` as its keyword arguments.

    ConfigError, with `place` and what to do, when there is none, it cannot be made, or it lacks one of the six verbs.
    """
    module_name, colon, class_name = path.partition(":")
    if not (module_name and colon and class_name):
        raise _problem(place, f"{path!r} names no class; write it as package.module:Class")
    try:
        module = import_module(module_name)
    except Exception as error:  # what a foreign module does when it is imported is anybody's guess
        raise _problem(place, f"{module_name!r} cannot be imported: {error}") from error
    made_by = getattr(module, class_name, None)
    if not isinstance(made_by, type):
        raise _problem(place, f"{module_name!r} has no class {class_name!r}")
    missing = [verb for verb in VERBS if not callable(getattr(made_by, verb, None))]
    if missing:
        raise _problem(place, f"{path!r} is no store: it has no {', '.join(missing)}; wanted are {', '.join(VERBS)}")
    try:
        store: Store = made_by(**options)
    except Exception as error:
        raise _problem(place, f"{path!r} cannot be made with {dict(options)!r}: {error}") from error
    return store


def _problem(place: str, text: str) -> ConfigError:
    return ConfigError((Problem(place, text),))
