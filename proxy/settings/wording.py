"""pydantic's errors in our words: what was wanted, what was found. Containers are never quoted, only named by kind."""

import re
from collections.abc import Callable

from pydantic_core import ErrorDetails

from proxy.settings.problems import did_you_mean, found, kind


def worded(detail: ErrorDetails) -> str:
    """One sentence for one error."""
    say = _SAID.get(detail["type"])
    return say(detail) if say is not None else f"{detail['msg']}; found {kind(detail['input'])}"


def _ours(detail: ErrorDetails) -> str:
    return str(detail["ctx"]["error"])


def _choice(detail: ErrorDetails) -> str:
    words = re.findall(r"'([^']*)'", str(detail["ctx"]["expected"]))
    given = detail["input"]
    hint = did_you_mean(given.lower(), words) if isinstance(given, str) else ""
    return f"wants one of {', '.join(words)}; found {found(given)}{hint}"


def _wants(wanted: str) -> Callable[[ErrorDetails], str]:
    return lambda detail: f"wants {wanted}; found {kind(detail['input'])}"


_SAID: dict[str, Callable[[ErrorDetails], str]] = {
    "value_error": _ours,
    "literal_error": _choice,
    "missing": lambda detail: "required",
    "model_type": _wants("a mapping"),
    "model_attributes_type": _wants("a mapping"),
    "dict_type": _wants("a mapping"),
    "list_type": _wants("a list"),
    "tuple_type": _wants("a list"),
    "union_tag_not_found": _wants("a word or a mapping"),
    "too_long": lambda detail: f"wants at most {detail['ctx']['max_length']}",
    "string_too_long": lambda detail: f"wants at most {detail['ctx']['max_length']} characters",
    "extra_forbidden": lambda detail: "unknown key",
}
