"""The effective settings for people and pages: as data, with the source of each, and no secret in it."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from proxy.settings.compile import rule_names
from proxy.settings.load import Loaded
from proxy.settings.model import Settings
from proxy.settings.values import MAX_WHOLE

HIDDEN = "***"
# Mappings whose names are the operator's own, so that only the name tells what may be a secret.
_FREE = ("headers", "body", "options")
_SECRET = re.compile(
    r"token(?!s)|secret|passw|passphrase|auth(?!or(?!i))|credential|cookie"
    r"|(?:^|[-_.]|api|access|private)keys?(?:$|[-_.])|^(?:pass|pwd|dsn)$",
    re.IGNORECASE,
)
_TAGS = "surrogate-key"  # of an answer


def show(loaded: Loaded) -> dict[str, Any]:
    """`{"settings": ..., "sources": {path: source}}`. Secrets are `***`; rules show what differs from the defaults."""
    settings = loaded.settings
    data = as_data(settings, reveal=False)
    names = rule_names(settings)
    data["rules"] = [
        {**_differing(rule, shown), "name": name}
        for name, rule, shown in zip(names, settings.rules, data["rules"], strict=True)
    ]
    return {"settings": data, "sources": dict(loaded.sources)}


def as_data(settings: Settings, *, reveal: bool) -> dict[str, Any]:
    """The settings as plain data, which loads to the same settings again when `reveal` leaves the secrets in."""
    hidden = frozenset(settings.cache.credential_headers)
    return {name: _plain(name, getattr(settings, name), hidden, reveal) for name in type(settings).model_fields}


def _plain(name: str, value: Any, hidden: frozenset[str], reveal: bool) -> Any:
    match value:
        case BaseModel():
            fields = {field.alias or of: getattr(value, of) for of, field in type(value).model_fields.items()}
            return {of: _plain(of, child, hidden, reveal) for of, child in fields.items()}
        case Mapping():
            pairs = {str(key): _plain(name, child, hidden, reveal) for key, child in value.items()}
            if reveal or name not in _FREE:
                return pairs
            return {key: _hidden(child) if _is_secret(key, hidden) else child for key, child in pairs.items()}
        case tuple() | list():
            return [_plain(name, child, hidden, reveal) for child in value]
        case SecretStr():
            return value.get_secret_value() if reveal else _redacted(name, value.get_secret_value())
        case str() if name == "options" and not reveal:  # a password of somebody else's store is called anything
            return HIDDEN
        case int() if abs(value) > MAX_WHOLE and not reveal:  # more than the JSON of a page can hold
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def _is_secret(name: str, hidden: frozenset[str]) -> bool:
    return name in hidden or (_SECRET.search(name) is not None and name != _TAGS)


def _hidden(value: Any) -> Any:
    """The same without what it says; `*` says nothing."""
    match value:
        case Mapping():
            return {key: _hidden(child) for key, child in value.items()}
        case list():
            return [_hidden(child) for child in value]
        case None | bool() | "*":
            return value
        case _:
            return HIDDEN


def _redacted(name: str, given: str) -> str:
    """`***`; but a Redis URL shows where it leads, and an admin token of `none` is no secret."""
    if name == "token" and given == "none":
        return given
    scheme, separator, rest = given.partition("://")
    if name != "url" or not separator:
        return HIDDEN
    if "?" in rest:  # a password may stand there too
        return f"{scheme}://{HIDDEN}"
    address = rest.rpartition("@")[2]
    return f"{scheme}://{address}" if address == rest else f"{scheme}://{HIDDEN}@{address}"


def _differing(section: BaseModel, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is shown, only what is not the default."""
    kept: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value, of = getattr(section, name), field.alias or name
        if value != field.default:
            kept[of] = _differing(value, shown[of]) if isinstance(value, BaseModel) else shown[of]
    return kept
