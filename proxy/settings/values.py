"""The types of settings: each takes what a source can give (mostly text) and says what it wanted when it cannot.

A validator's ValueError is one sentence, "wants ...; found ...": place and path are added by `settings.load`.
"""

import re
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, SecretStr

from proxy.settings.problems import Text, did_you_mean, found, kind

MAX_SECONDS = 2.0**31  # RFC 9111 1.2.2
MAX_WHOLE = 2**63 - 1  # what pages, logs and stores hold in 64 bits
TTL_PRESETS = {"user": 300.0, "chat": 180.0, "messages": 120.0, "documents": 60.0, "document_stats": 30.0}

VISIBLE = re.compile(r"[!-~]+")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNIT_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    name: 1024**power for power, letter in enumerate("kmgt", 1) for name in (letter, letter + "ib")
}
_NUMBER = re.compile(r"[-+]?\d{1,300}(?:\.\d{1,300})?(?:[eE][-+]?\d{1,3})?")
_SPAN = re.compile(r"(\d{1,12}(?:\.\d{1,12})?) ?(ms|[smhdw]) ?")
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?([A-Za-z]{0,3})")


def _number(value: object) -> float | None:
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isfinite(value) else None


def flag(value: object) -> bool:
    """true or false, in the words that YAML 1.1 and environments use."""
    word = str(value).lower() if isinstance(value, str | bool | int) else ""
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"wants true or false; found {found(value)}")


def whole(low: int, high: int | None = None) -> BeforeValidator:
    """A whole number within bounds."""
    wanted = f"wants a whole number, {low} or more" if high is None else f"wants a whole number from {low} to {high}"

    def validate(value: object) -> int:
        number = _number(value)
        if number is None or number % 1 or number < low or (high is not None and number > high):
            raise ValueError(f"{wanted}; found {found(value)}")
        if number > MAX_WHOLE:
            raise ValueError(f"wants at most {MAX_WHOLE}; found {found(value)}")
        return int(number)

    return BeforeValidator(validate)


def amount(value: object) -> float:
    """A number, 0 or more."""
    number = _number(value)
    if number is None or number < 0:
        raise ValueError(f"wants a number, 0 or more; found {found(value)}")
    return number


def share(value: object) -> float:
    """A part of the whole: 0.2 or 20%."""
    percent = isinstance(value, str) and value.endswith("%")
    number = _number(value[:-1] if isinstance(value, str) and percent else value)
    if number is None or not 0 <= (number := number / 100 if percent else number) <= 1:
        raise ValueError(f"wants a share from 0 to 1, or 0% to 100%; found {found(value)}")
    return number


def seconds(value: object) -> float:
    """Seconds, or "10m", "1h30m" (ms, s, m, h, d, w)."""
    span = _span(value)
    if span is None:
        raise ValueError(f"wants seconds, or a time such as 10m or 1h30m; found {found(value)}")
    return span


def some_seconds(value: object) -> float:
    """Seconds, more than 0."""
    if (span := seconds(value)) == 0:
        raise ValueError("wants more than 0 seconds; found 0")
    return span


def ttl(value: object) -> float:
    """Seconds, a time, or the name of a preset."""
    if isinstance(value, str) and value in TTL_PRESETS:
        return TTL_PRESETS[value]
    span = _span(value)
    if span is None:
        hint = did_you_mean(value, TTL_PRESETS) if isinstance(value, str) else ""
        presets = ", ".join(TTL_PRESETS)
        raise ValueError(f"wants seconds, a time such as 10m or a preset ({presets}); found {found(value)}{hint}")
    return span


def _span(value: object) -> float | None:
    span = _number(value)
    if span is None and isinstance(value, str) and len(value) <= 60:
        parts = list(_SPAN.finditer(value))
        if parts and "".join(part[0] for part in parts) == value:
            span = sum(float(part[1]) * _UNIT_SECONDS[part[2]] for part in parts)
    return span if span is not None and 0 <= span <= MAX_SECONDS else None


def size(value: object) -> int:
    """Bytes, or "256MiB" (KiB, MiB, GiB and K, M, G by 1024; KB, MB, GB by 1000)."""
    number = _number(value)
    if number is None and isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        unit = _UNIT_BYTES.get(match[2].lower())
        number = float(match[1]) * unit if unit else None
    if number is None or number % 1 or number < 0:
        raise ValueError(f"wants bytes, or a size such as 64KiB or 256MiB; found {found(value)}")
    if number > MAX_WHOLE:
        raise ValueError(f"wants at most {MAX_WHOLE} bytes; found {found(value)}")
    return int(number)


def text(value: object) -> str:
    """Printable text that is not empty."""
    if not isinstance(value, str):
        raise ValueError(f"wants text; found {kind(value)}")
    if not value or not value.isprintable():
        raise ValueError(f"wants text, not empty and without control characters; found {found(value)}")
    return str(value)


def path(value: object) -> Path:
    """A file or directory; a relative one is meant from the working directory."""
    return value if isinstance(value, Path) else Path(text(value))


def matching(pattern: re.Pattern[str], wanted: str, *, lower: bool = False) -> Callable[[object], str]:
    """Text of one form, perhaps put into lower case."""

    def validate(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"wants {wanted}; found {found(value)}")
        return str(value).lower() if lower else str(value)

    return validate


def listed(value: object) -> object:
    """A list, one value, or text with commas."""
    if isinstance(value, str):
        whole_text = value if isinstance(value, Text) else Text(value)
        return [whole_text.part(part.strip()) for part in value.split(",") if part.strip()]
    return value


def one_or_more(value: object) -> object:
    """A list or one value, whose commas are its own."""
    return [value] if isinstance(value, str) else value


def not_empty(value: object) -> object:
    if isinstance(value, list | tuple) and not value:
        raise ValueError("wants at least one; found an empty list")
    return value


def lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def log_level(value: object) -> object:
    name = lower(value)
    return "warning" if name == "warn" else name


def secret(value: object) -> SecretStr:
    """Text that no error, log or page ever shows."""
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str):
        raise ValueError(f"wants text; found {kind(value)}")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("wants text without line breaks or control characters")
    return SecretStr(str(value))


def secret_unless_empty(value: object) -> SecretStr | None:
    """A password; the empty one is none."""
    given = secret(value) if value is not None else None
    return given if given is not None and given.get_secret_value() else None


def text_unless_empty(value: object) -> str | None:
    return None if value is None or value == "" else text(value)


Flag = Annotated[bool, BeforeValidator(flag)]
Count = Annotated[int, whole(0)]
Positive = Annotated[int, whole(1)]
Port = Annotated[int, whole(0, 65535)]
Amount = Annotated[float, BeforeValidator(amount)]
Share = Annotated[float, BeforeValidator(share)]
Seconds = Annotated[float, BeforeValidator(seconds)]
SomeSeconds = Annotated[float, BeforeValidator(some_seconds)]
Ttl = Annotated[float, BeforeValidator(ttl)]
Size = Annotated[int, BeforeValidator(size)]
Word = Annotated[str, BeforeValidator(text)]
WordList = Annotated[tuple[Word, ...], BeforeValidator(listed)]
FilePath = Annotated[Path, BeforeValidator(path)]
Name = Annotated[
    str, BeforeValidator(matching(re.compile(r"[A-Za-z0-9_-]{1,64}"), "a name of letters, digits, - and _"))
]
Visible = Annotated[str, BeforeValidator(matching(VISIBLE, "visible ASCII characters without spaces"))]
Secret = Annotated[SecretStr, BeforeValidator(secret)]
Password = Annotated[SecretStr | None, BeforeValidator(secret_unless_empty)]
Username = Annotated[str | None, BeforeValidator(text_unless_empty)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(log_level)]
Eviction = Annotated[Literal["s3fifo", "lru", "fifo"], BeforeValidator(lower)]
