"""Canonical JSON for keys (RFC 8785): order, white space, escapes and number form do not tell documents apart.

One departure: RFC 8785 rounds numbers to IEEE doubles, here they stay exact decimals (1e2, 100 and 100.0 meet,
2^64 and 2^64+1 do not). What cannot be exact raises Inexact and is keyed by its bytes: anything that is no JSON
(RFC 8259), duplicate names, NaN, lone surrogates, nesting past 200, exponents past what can be counted.
"""

import json
import re
from collections.abc import Sequence
from json.encoder import encode_basestring

MAX_DEPTH = 200


class Inexact(ValueError):
    """The document has no canonical form."""


class Number(str):
    """A number as the text of its exact value."""

    __slots__ = ()


Json = dict[str, "Json"] | list["Json"] | str | Number | bool | None
Path = tuple[str, ...]


def canonical_json(raw: bytes, ignore: Sequence[str] = ()) -> bytes | None:
    """The canonical form of a document without what `ignore` names; None when it has none.

    `ignore` holds dotted paths ("user", "metadata.*", "items.*.id"): each step a member's name, an element's index,
    or `*` for any of them.
    """
    try:
        return write_json(read_json(raw), ignore)
    except Inexact:
        return None


def read_json(raw: bytes) -> Json:
    """Parse UTF-8 JSON strictly and exactly; raises Inexact."""
    try:
        value: Json = _DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Inexact(str(error)) from error
    return value


def write_json(value: Json, ignore: Sequence[str] = ()) -> bytes:
    """Serialise canonically; raises Inexact."""
    out: list[str] = []
    _write(value, [tuple(path.split(".")) for path in ignore], 0, out)
    try:
        return "".join(out).encode("utf-8")
    except UnicodeEncodeError as error:
        raise Inexact("lone surrogate") from error


def _write(value: Json, ignore: list[Path], depth: int, out: list[str]) -> None:
    if depth > MAX_DEPTH:
        raise Inexact("too deep")
    if isinstance(value, Number):
        out.append(value)
    elif isinstance(value, str):
        out.append(encode_basestring(value))
    elif isinstance(value, dict):
        _write_members(value, ignore, depth, out)
    elif isinstance(value, list):
        _write_elements(value, ignore, depth, out)
    else:
        out.append("null" if value is None else "true" if value else "false")


def _write_members(members: dict[str, Json], ignore: list[Path], depth: int, out: list[str]) -> None:
    mark = "{"
    for name in sorted(members, key=_utf16):
        below = _below(ignore, name)
        if below is not None:
            out += (mark, encode_basestring(name), ":")
            _write(members[name], below, depth + 1, out)
            mark = ","
    out.append("{}" if mark == "{" else "}")


def _write_elements(elements: list[Json], ignore: list[Path], depth: int, out: list[str]) -> None:
    mark = "["
    for index, element in enumerate(elements):
        below = _below(ignore, str(index)) if ignore else ignore
        if below is not None:
            out.append(mark)
            _write(element, below, depth + 1, out)
            mark = ","
    out.append("[]" if mark == "[" else "]")


def _below(ignore: list[Path], step: str) -> list[Path] | None:
    """What of the paths goes on below this step; None when one of them ends here."""
    below = [path[1:] for path in ignore if path[0] in ("*", step)]
    return None if () in below else below


def _utf16(name: str) -> bytes:
    """Names are sorted by UTF-16 code units (RFC 8785 3.2.3)."""
    return name.encode("utf-16-be", "surrogatepass")


_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")


def _number(text: str) -> Number:
    """The exact value, laid out as ECMAScript does (RFC 8785 3.2.2.3): 1e+21, 0.000001, 1e-7."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise Inexact(f"no number: {text[:40]}")
    sign, whole, fraction, exponent = match.groups()
    digits = (whole + (fraction or "")).lstrip("0")
    point = len(digits) - len(fraction or "") + int(exponent or 0)  # digits before the decimal point
    digits = digits.rstrip("0")
    count = len(digits)
    if not digits:
        return Number("0")  # -0 too
    if count <= point <= max(21, count):
        return Number(f"{sign}{digits}{'0' * (point - count)}")
    if 0 < point < count:
        return Number(f"{sign}{digits[:point]}.{digits[point:]}")
    if -6 < point <= 0:
        return Number(f"{sign}0.{'0' * -point}{digits}")
    rest = f".{digits[1:]}" if count > 1 else ""
    return Number(f"{sign}{digits[0]}{rest}e{point - 1:+d}")


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Inexact("duplicate name")
    return members


def _constant(text: str) -> Json:
    raise Inexact(f"not JSON: {text}")


_DECODER = json.JSONDecoder(
    parse_int=_number, parse_float=_number, parse_constant=_constant, object_pairs_hook=_members
)
