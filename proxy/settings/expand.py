"""`${NAME}` and `${NAME:-default}` inside text; `$${` stands for the two characters themselves."""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<inner>[^{}]*)(?P<end>\}?)")
_INNER = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


def expand(text: str, names: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The text with its references replaced, and what is wrong with them. As in a shell, the default also stands in
    for an empty value."""
    wrong: list[str] = []

    def replaced(reference: re.Match[str]) -> str:
        if reference["inner"] is None:
            return "${"
        inner = _INNER.fullmatch(reference["inner"])
        if inner is None or not reference["end"]:
            wrong.append("wants ${NAME} or ${NAME:-default}; write $${ for the two characters themselves")
            return ""
        name, default = inner["name"], inner["default"]
        value = names.get(name)
        if value is None and default is None:
            wrong.append(f"${{{name}}} is not set: set {name}, or write ${{{name}:-default}}")
        return value or default or ""

    if "${" not in text:
        return text, ()
    return _REFERENCE.sub(replaced, text), tuple(wrong)
