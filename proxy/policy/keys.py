"""From a request and its rule to the key under which its answer may be shared.

The key covers all that the rule says may change the answer, and what is sent upstream on a rule's route is the
`target` of the key: nothing is matched, keyed and sent in two spellings. What would change the answer without being
in the key (a method override, content on GET, a path that servers read differently) is refused, not guessed at.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from proxy.entry import KeyParts, Pairs, Scope
from proxy.fixed import fixed
from proxy.message import Fields, Request
from proxy.names import lower_name
from proxy.policy.graphql_form import graphql_request
from proxy.policy.json_form import canonical_json
from proxy.policy.memo import Memo
from proxy.policy.paths import normal_target
from proxy.reasons import Why
from proxy.rules import BodyKey, KeySpec, Rule, RuleTable

OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")


@fixed
class Keyed:
    """The key, and the target to send upstream for what is stored under it."""

    hash: str
    parts: KeyParts
    target: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is no matter for the cache, and goes upstream as it came."""

    why: Why


@dataclass(frozen=True, eq=False, slots=True)
class _Plan:
    """What of a request a rule's key reads; hashed by identity."""

    rule: Rule
    methods: frozenset[str]
    headers: tuple[str, ...]  # lower case, sorted
    secret: frozenset[str]  # of them, those that are told by digest only
    cookies: frozenset[str]
    bare: bool  # neither headers nor cookies

    @classmethod
    def of(cls, rule: Rule) -> "_Plan":
        names = {name.lower() for name in rule.key.headers} | {name for name, _ in rule.request_headers}
        if rule.key.credentials == "key":
            names |= rule.credential_headers
        cookies = frozenset(rule.key.cookies or ())
        return cls(
            rule,
            rule.methods | {"HEAD"} if "GET" in rule.methods else rule.methods,
            tuple(sorted(names)),
            frozenset(names & (rule.credential_headers | {"cookie"})),
            cookies,
            not names and not cookies,
        )


class KeyDeriver:
    """Derives keys and remembers what it derived: a known request costs a look at its fields and a dict lookup."""

    _BOUND = 4096  # remembered keys per generation, of targets and values up to _LONG characters
    _LONG = 1024
    _RULES = 4096  # rules with a plan; past it (many reloads) all are made anew

    def __init__(self) -> None:
        self._plans: dict[int, _Plan] = {}
        self._known: Memo[tuple[_Plan, str, str, str, str, Pairs, str], Keyed | Refused] = Memo(self._BOUND)

    def derive(self, request: Request, rule: Rule, body: bytes | None = None) -> Keyed | Refused:
        """The key of `request` under `rule`. `body` is the whole content where `needs_body` says so."""
        plan = self._plans.get(id(rule)) or self._learn(rule)
        method = _method_class(request.method)
        why = _refusal(request, plan, method)
        if why is not None:
            return Refused(why)
        selected = () if plan.bare else _selected(request.fields, plan)
        content = "" if method == "GET" else _content(request.fields, rule.key.body, body or b"")
        if content is None:
            return Refused(Why.METHOD)
        asked = (plan, request.scheme, request.host, method, request.target, selected, content)
        known = self._known.get(asked)
        if known is None:
            known = _keyed(request, rule, method, selected, content)
            if len(request.target) + sum(len(value) for _, value in selected) <= self._LONG:
                self._known.put(asked, known)
        return known

    def _learn(self, rule: Rule) -> _Plan:
        if len(self._plans) >= self._RULES:
            self._plans.clear()
        plan = self._plans[id(rule)] = _Plan.of(rule)  # it holds the rule, so that the id stays its own
        return plan


derive = KeyDeriver().derive  # one memory for the process


def needs_body(request: Request, rule: Rule) -> bool:
    """Whether `derive` wants the content of this request."""
    return rule.key.body.kind != "none" and _method_class(request.method) != "GET"


def url_forms(table: RuleTable, host: str, target: str) -> tuple[str, ...]:
    """The targets under which answers to this one may be stored: as it came, and each normal form that the key of a
    rule for it gives. `host` "" means any host."""
    forms = {target: None}
    for rule in table.at(target.partition("?")[0], host or None):
        normal = _normal(target, rule.key)
        if normal is not None:
            path, query = normal
            forms[path if query is None else f"{path}?{query}"] = None
    return tuple(forms)


def _method_class(method: str) -> str:
    return "GET" if method == "HEAD" else method


def _refusal(request: Request, plan: _Plan, method: str) -> Why | None:
    if request.method not in plan.methods:
        return Why.METHOD
    if method == "GET" and request.body is not None and request.body.length != 0:
        return Why.CONTENT_IN_GET
    for raw in request.fields.order.names:
        if raw not in _HARMLESS and (why := _suspect(raw, request, plan.rule)) is not None:
            return why
    return None


_HARMLESS: set[bytes] = set()  # field names that are no override however an origin reads them


def _suspect(raw: bytes, request: Request, rule: Rule) -> Why | None:
    """Whether a field asks for another method, or brings credentials in disguise: CGI and its heirs read "X_Api_Key"
    as X-Api-Key (RFC 3875 4.1.18), so that an origin may see what no rule here saw."""
    name = lower_name(raw)
    meant = name.replace("_", "-")
    if meant in OVERRIDES and (meant != name or request.fields.get(name) != request.method):
        return Why.METHOD_OVERRIDE
    if meant != name and meant in rule.credential_headers and rule.key.credentials != "ignore":
        return Why.CREDENTIALS
    if meant == name and meant not in OVERRIDES and len(raw) <= 64 and len(_HARMLESS) < 4096:
        _HARMLESS.add(raw)
    return None


def _selected(fields: Fields, plan: _Plan) -> Pairs:
    """Absent is distinct from empty: what is absent has no pair."""
    out = []
    for name in plan.headers:
        value = fields.get(name)
        if value is not None:
            out.append((f"credential:{name}", _digest(value)) if name in plan.secret else (name, value))
    if plan.cookies:
        out += _cookies(fields, plan.cookies)
    return tuple(out)


# RFC 6265 4.2.1, without the "$Version" of its forerunners.
_OCTETS = r"[\x21\x23-\x2B\x2D-\x3A\x3C-\x5B\x5D-\x7E]*+"
_CRUMB = rf"(?!\$)[!#$%&'*+\-.^_`|~0-9A-Za-z]++=(?:\"{_OCTETS}\"|{_OCTETS})"
_COOKIES = re.compile(rf"{_CRUMB}(?:;[ \t]*{_CRUMB})*")


def _cookies(fields: Fields, wanted: frozenset[str]) -> Iterator[tuple[str, str]]:
    """The wanted cookies, by digest, in order. Servers part a field that is not plain cookies in different places,
    so that one could hide a cookie in another's value: such a field is keyed whole."""
    whole = fields.get("cookie")
    if whole is None:
        return
    if _COOKIES.fullmatch(whole) is None:
        yield "cookie", _digest(whole)
        return
    for crumb in whole.split(";"):
        name, _, value = crumb.strip(" \t").partition("=")
        if name in wanted:
            yield f"cookie:{name}", _digest(value)


def _content(fields: Fields, key: BodyKey, body: bytes) -> str | None:
    """What of the content enters the key; None when it asks for a change (a GraphQL mutation)."""
    if key.kind == "none":
        return ""
    content_type, coding = fields.get("content-type"), fields.get("content-encoding")
    media, utf8 = _media(content_type or "")
    plain = utf8 and coding is None
    if key.kind == "json" and plain:
        form = canonical_json(body, key.ignore)
        if form is not None:
            return _content_digest("json", media, form)
    if key.kind == "graphql":
        if not plain:
            return None
        operation = graphql_request(body, media, key.ignore)
        if operation is not None:
            return _content_digest("graphql", media, operation.form) if operation.safe else None
    said = f"{content_type is not None:d}{content_type or ''}\n{coding is not None:d}{coding or ''}"
    return _content_digest("raw", said, body)


def _media(content_type: str) -> tuple[str, bool]:
    """The media type, with those parameters that say more than charset=utf-8; and whether the text is UTF-8."""
    essence, _, parameters = content_type.partition(";")
    said = parameters.strip().lower()
    if said in ("", "charset=utf-8", 'charset="utf-8"'):
        return essence.strip().lower(), True
    return content_type, "charset" not in said


def _content_digest(kind: str, said: str, form: bytes) -> str:
    raw = said.encode("latin-1")
    return f"{kind}:{sha256(b'%d:%b%b' % (len(raw), raw, form)).hexdigest()}"


def _digest(value: str) -> str:
    return sha256(value.encode("latin-1")).hexdigest()


def _keyed(request: Request, rule: Rule, method: str, selected: Pairs, content: str) -> Keyed | Refused:
    normal = _normal(request.target, rule.key)
    if normal is None:
        return Refused(Why.UNSAFE_TARGET)
    path, query = normal
    host = request.host if rule.key.host else ""
    scope = Scope(rule.upstream_id, rule.namespace, request.scheme, method, host)
    parts = KeyParts(scope, path, query, content, selected)
    return Keyed(parts.digest(), parts, parts.target)


def _normal(target: str, key: KeySpec) -> tuple[str, str | None] | None:
    if key.normal:
        return normal_target(target, key.query_sort, key.query_ignore, key.query_only)
    path, mark, query = target.partition("?")
    return path, query if mark else None
