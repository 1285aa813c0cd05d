"""Cache-Control, read once per text and typed (RFC 9111 5.2), and the fields that take its place (RFC 9213).

Both readers are memoised by the text they read, so that a hit parses nothing.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

import http_sf

from proxy.message import Fields, Request
from proxy.policy.fields import INFINITE, IS_TOKEN, TOKEN, delta_seconds, members
from proxy.rules import Rule

TARGETS = ("cachegate-cache-control", "cdn-cache-control")  # most specific first (RFC 9213 2.2)
_TARGETED = frozenset(TARGETS)
_ASKING = frozenset({"cache-control", "pragma"})


@dataclass(frozen=True, slots=True)
class Directives:
    """What a message says to caches. Seconds are None when not said.

    `withheld` are the fields (lower case) that qualified forms of `private` and `no_cache` name: the answer is kept
    without them (5.2.2.4, 5.2.2.7). `targeted`: these come from a field meant for us, so Expires does not count.
    """

    no_store: bool = False
    no_cache: bool = False
    private: bool = False
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    immutable: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    max_stale: int | None = None
    min_fresh: int | None = None
    withheld: frozenset[str] = frozenset()
    targeted: bool = False


SILENT = Directives()


def parse(fields: Fields) -> Directives:
    """The Cache-Control of a request or an answer."""
    lines = fields.lines("cache-control")
    return _directives(lines) if lines else SILENT


def for_shared_cache(fields: Fields) -> Directives:
    """What an answer says to us: the first valid field of `TARGETS` alone, else Cache-Control (RFC 9213 2.2)."""
    if fields.has_any(_TARGETED):
        for name in TARGETS:
            value = fields.get(name)
            if value is not None and (targeted := _targeted(value)) is not None:
                return targeted
    return parse(fields)


def asked(request: Request, rule: Rule) -> Directives:
    """What the client asks for, as far as the rule listens (5.2.1, all of them advisory).

    `no-cache`, `max-age` and Pragma force a revalidation: from the trusted only, unless the rule hears them from all.
    """
    fields = request.fields
    if rule.client_directives == "ignore" or not fields.has_any(_ASKING):
        return SILENT
    reloads = request.trusted or rule.client_directives == "all"
    lines = fields.lines("cache-control")
    if lines:
        return _directives(lines) if reloads else _without_reload(lines)
    if reloads and "no-cache" in members((fields.get("pragma") or "").lower()):  # 5.4: only without Cache-Control
        return _RELOAD
    return SILENT


_RELOAD = Directives(no_cache=True)


# -- Cache-Control -----------------------------------------------------------------------------------------------------

_DIRECTIVE = re.compile(rf'(?P<name>{TOKEN})(?:=(?:(?P<token>{TOKEN})|"(?P<quoted>(?:[^"\\]|\\.)*)"))?', re.DOTALL)
_NAME = re.compile(TOKEN).match
_BROKEN = "?"  # an argument that is no number
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

_QUALIFIABLE = frozenset({"no-cache", "private"})
_RESTRICTIONS = frozenset({"no-store", "must-revalidate", "proxy-revalidate"})
_PERMISSIONS = frozenset({"public", "must-understand"})
_NUMBERS = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})
_WISHES = frozenset({"max-stale", "min-fresh"})  # numbers of a request (5.2.1)
_ARGUMENTLESS = _RESTRICTIONS | {"immutable", "only-if-cached"}  # an argument changes nothing (RFC 8246 2)

# Without these an answer could not be judged any more, or not be read: to withhold one is to withhold all.
_NEEDED = frozenset(
    {
        *TARGETS,
        "age",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "etag",
        "expires",
        "last-modified",
        "vary",
    }
)


@lru_cache(maxsize=512)
def _directives(lines: tuple[str, ...]) -> Directives:
    """Line by line, so that a quote that one forgot to close does not swallow what another says."""
    flags: set[str] = set()
    numbers: dict[str, int] = {}
    withheld: frozenset[str] = frozenset()
    for member in chain.from_iterable(map(members, lines)):
        name, argument, quoted = _split(member)
        if name in _QUALIFIABLE and quoted and (named := _field_names(argument or "")):
            withheld |= named
        elif name in _QUALIFIABLE or name in _ARGUMENTLESS or (name in _PERMISSIONS and argument is None):
            flags.add(name)
        elif name in _NUMBERS or name in _WISHES:
            _note(numbers, name, _seconds(name, argument))
    return _typed(flags, numbers, withheld)


@lru_cache(maxsize=512)
def _without_reload(lines: tuple[str, ...]) -> Directives:
    return replace(_directives(lines), no_cache=False, max_age=None)


def _split(member: str) -> tuple[str, str | None, bool]:
    """The name in lower case, the argument, and whether it was quoted. What is not of the grammar keeps its name with
    an argument that is no number, so that it can only restrict."""
    match = _DIRECTIVE.fullmatch(member)
    if match is None:
        name = _NAME(member)
        return name[0].lower() if name else "", _BROKEN, False
    quoted = match["quoted"]
    if quoted is None:
        return match["name"].lower(), match["token"], False
    return match["name"].lower(), _ESCAPE.sub(r"\1", quoted), True


def _field_names(argument: str) -> frozenset[str]:
    """The fields that a qualified directive names. None when it has to hold for the whole answer: it names nothing, or
    what is no field name, or a field that we need. So does the token form, which nobody should send (5.2.2.4)."""
    names = frozenset(name.lower() for name in members(argument))
    return names if not names & _NEEDED and all(map(IS_TOKEN, names)) else frozenset()


def _seconds(name: str, argument: str | None) -> int:
    """A number that is none means stale (4.2.1); `max-stale` alone means any staleness (5.2.1.2)."""
    if argument is None:
        return INFINITE if name == "max-stale" else 0
    return delta_seconds(argument) or 0


def _note(numbers: dict[str, int], name: str, seconds: int) -> None:
    """Two values that differ mean stale (4.2.1)."""
    numbers[name] = seconds if numbers.get(name, seconds) == seconds else 0


def _typed(
    flags: Iterable[str], numbers: dict[str, int], withheld: frozenset[str], *, targeted: bool = False
) -> Directives:
    said: dict[str, bool | int] = {name.replace("-", "_"): seconds for name, seconds in numbers.items()}
    said |= {name.replace("-", "_"): True for name in flags}
    return Directives(targeted=targeted, withheld=withheld, **said)  # type: ignore[arg-type]


# -- targeted fields ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _targeted(value: str) -> Directives | None:
    """A structured-field dictionary of directives; None when it is empty, broken, or a directive that we act on has a
    value of a type that it cannot have: then the whole field is as if it were absent (RFC 9213 2.1)."""
    try:
        dictionary = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
    except (http_sf.StructuredFieldError, ValueError):
        return None
    if not isinstance(dictionary, dict) or not dictionary:
        return None
    flags: set[str] = set()
    numbers: dict[str, int] = {}
    withheld: frozenset[str] = frozenset()
    for name, member in dictionary.items():
        item = member[0] if isinstance(member, tuple) else member
        if name in _NUMBERS:
            if type(item) is not int:
                return None
            numbers[name] = max(0, min(item, INFINITE))
        elif name in _QUALIFIABLE and type(item) is str:
            named = _field_names(item)
            withheld |= named
            flags |= set() if named else {name}
        elif name in _QUALIFIABLE or name in _RESTRICTIONS or name in _PERMISSIONS:
            if item is not True:
                return None
            flags.add(name)
        elif name == "immutable":
            flags.add(name)
    return _typed(flags, numbers, withheld, targeted=True)
