"""What a key of the embedded cache means: a URL is the answer to a GET of it, any other text is a name of its own."""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from proxy.entry import KeyParts, Scope
from proxy.errors import CachegateError
from proxy.invalidation.purge_requests import MAX_NAME, parse_purge
from proxy.landing import Visit
from proxy.message import Fields, Request
from proxy.policy.keys import Keyed, derive
from proxy.policy.storing import barred
from proxy.rules import Mode, Rule, RuleTable

SCHEME = "name"  # of keys that are no URL: no request has it, so that no name is ever an answer to one
# What a name is is said by what is stored under it alone, and nothing of it is of use when that is over.
_NAMES = Rule(mode=Mode.ORIGIN, heuristic=False, keep=0.0, default_stale_if_error=0.0)
_SCHEMES = ("http://", "https://")
_PLAIN = "!$&'()*+,;=:@/?"  # stands in a path as it is; what is escaped is matched by patterns in plain letters
_STORED = Fields.of(("Cache-Control", "only-if-cached"))


def request_for(url: str, fields: Fields, now: float) -> Request:
    """A GET of an absolute URL, as a client would send it who is trusted; PurgeError for one that is none."""
    (name,) = parse_purge({"url": url}).names
    host, _, target = name.partition("|")
    return Request("GET", url[: url.index(":")].lower(), host, target, fields, received_at=now, trusted=True)


class Keys:
    """`table` gives the rules that hold now; `clock` is wall time in seconds."""

    def __init__(self, table: Callable[[], RuleTable], clock: Callable[[], float]) -> None:
        self._table = table
        self._clock = clock

    def visit(self, key: str) -> Visit | None:
        """Who asks for what is stored under the key and for nothing else; None where its rule has nothing stored.
        CachegateError for what can be no key, TypeError for what is no text."""
        now = self._clock()
        text("key", key)
        if key.lower().startswith(_SCHEMES):
            return self._url(request_for(key, _STORED, now), now)
        parts = KeyParts(Scope("", "", SCHEME, "GET", ""), path_of(key))
        request = Request("GET", SCHEME, "", parts.target, _STORED, received_at=now, trusted=True)
        return Visit(request, _NAMES, Keyed(parts.digest(), parts, parts.target), None, now)

    def _url(self, request: Request, now: float) -> Visit | None:
        rule = self._table().match(request)
        if barred(request, rule) is not None:
            return None
        keyed = derive(request, rule)
        return Visit(request, _heard(rule), keyed, None, now) if isinstance(keyed, Keyed) else None


def text(name: str, given: object) -> None:
    """TypeError for what is none."""
    if not isinstance(given, str):
        raise TypeError(f"{name}: wanted text, found {given!r:.80}")


def path_of(name: str) -> str:
    """The path under which a name is stored, and matched by patterns; no two names have the same."""
    if not name or len(name) > MAX_NAME:
        raise CachegateError(f"key: wanted text of 1 to {MAX_NAME} characters, found {len(name)}")
    try:
        return quote(name, safe=_PLAIN)
    except UnicodeEncodeError as error:
        raise CachegateError("key: wanted text that UTF-8 can write") from error


def _heard(rule: Rule) -> Rule:
    """The same for one who wants what is stored: it may let clients say nothing of that."""
    return rule if rule.client_directives != "ignore" else replace(rule, client_directives="honour")
