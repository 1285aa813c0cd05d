"""What is read of a request to answer it from memory, for each set of field names that clients send.

Clients send the same names in the same order again and again. Which of them matter is worked out once for each such
list; once it has turned out to be common, its heads are read by an expression made for it.
"""

import re
from collections.abc import Callable, Collection, Iterable
from operator import itemgetter

from proxy.names import lower_name
from proxy.policy.memo import Memo
from proxy.rules import Rule
from proxy.server.heads import TARGET, expression

LONG = 1024  # bytes of a head, or of the names of one, that something is remembered of
_SHAPES = 512  # lists of names per generation
_GROUPS = 256  # lists of names that are read, per generation
COMMON = 256  # heads after which an expression is made, which takes as long as a hundred of them

# With one of these a request is more than its head, or for somebody else.
_NOT_HERE = frozenset(
    {
        "cachegate-token",
        "content-length",
        "expect",
        "http2-settings",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    }
)
# Whatever the judgement reads of a request, but for what rules and stored answers name: of two requests that agree in
# these, neither is answered otherwise. `tests/test_fastlane_same.py` fails for what is missing.
READ = frozenset(
    {
        "accept-encoding",
        "cache-control",
        "connection",
        "forwarded",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "pragma",
        "range",
        "via",
        "x-forwarded-proto",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    }
)
_ID = "x-request-id"

Match = Callable[[bytes], "re.Match[bytes] | None"]


class Shape:
    """A list of names, of one method and from one kind of peer. `here`: such a head may be answered at all. `values`
    takes what is read out of its fields, None where nothing is remembered of such a head; `group` is the same for
    shapes in which the same names are read. `id`: the name of X-Request-Id as it stands there.

    `match`, once there is one, finds in the bytes of a head what is read, the target as group 1, all else as groups
    `places`, and X-Request-Id as group `id_place` (0: it has none).
    """

    __slots__ = (
        "_captured",
        "_left",
        "_method",
        "_names",
        "group",
        "here",
        "id",
        "id_place",
        "match",
        "places",
        "values",
    )

    def __init__(
        self,
        method: str,
        names: tuple[bytes, ...],
        *,
        here: bool,
        group: object = None,
        read: tuple[bytes, ...] | None = None,
        id: bytes | None = None,
        common: int = COMMON,
    ) -> None:
        self.here = here
        self.group = group
        self.id = id
        self.values: Callable[[dict[bytes, bytes]], object] | None = None
        self.match: Match | None = None
        self.places: tuple[int, ...] = ()
        self.id_place = 0
        self._method = method
        self._names = names
        self._captured = frozenset[bytes]()
        self._left = common
        if read is not None:
            self.values = itemgetter(*read)
            self._captured = frozenset({TARGET, *read} if id is None else {TARGET, *read, id})
            captured = [name for name in names if name in self._captured]
            self.places = tuple(1 + captured.index(name) for name in read)
            self.id_place = 0 if id is None else 1 + captured.index(id)

    def seen(self) -> None:
        """One more of them was answered out of what is remembered."""
        self._left -= 1
        if self._left == 0:
            self.match = expression(self._method, self._names, self._captured, self.id).fullmatch


class Shapes:
    """`most`: fields of a head. `rules` and stored answers say what is read beside what always is. After so many heads
    a shape is `common`."""

    def __init__(self, rules: Collection[Rule], nominated: Iterable[str], most: int, common: int) -> None:
        self.read = READ.union(nominated, *map(_read_by, rules))
        self.personal = frozenset({"cookie"}).union(*(rule.credential_headers for rule in rules))
        self._most = most
        self._common = common
        self._known: Memo[tuple[str, int, tuple[bytes, ...]], Shape] = Memo(_SHAPES)
        self._groups: Memo[tuple[str, int, tuple[str, ...]], object] = Memo(_GROUPS)

    @property
    def sizes(self) -> dict[str, int]:
        """How many things are remembered, by what they are."""
        return {"shapes": len(self._known), "groups": len(self._groups)}

    def of(self, method: str, kind: int, names: tuple[bytes, ...]) -> Shape:
        """`names` as they stand in the head, the target first."""
        known = self._known.get((method, kind, names))
        if known is not None:
            return known
        shape = self._learn(method, kind, names)
        if sum(map(len, names)) <= LONG:
            self._known.put((method, kind, names), shape)
        return shape

    def _learn(self, method: str, kind: int, names: tuple[bytes, ...]) -> Shape:
        lower = [lower_name(name) for name in names[1:]]
        if len(lower) > self._most or len(set(lower)) < len(lower) or not _NOT_HERE.isdisjoint(lower):
            return Shape(method, names, here=False)
        request_id = names[1 + lower.index(_ID)] if _ID in lower else None
        # Each name as it stands and as CGI and its heirs read it (RFC 3875 4.1.18).
        meant = [{name, name.replace("_", "-")} for name in lower]
        if any(not self.personal.isdisjoint(each) for each in meant):
            return Shape(method, names, here=True, id=request_id)
        read = tuple(raw for raw, each in zip(names[1:], meant, strict=True) if not self.read.isdisjoint(each))
        if not read:
            return Shape(method, names, here=True, id=request_id)
        group = self._group(method, kind, tuple(map(lower_name, read)))
        return Shape(method, names, here=True, group=group, read=read, id=request_id, common=self._common)

    def _group(self, method: str, kind: int, read: tuple[str, ...]) -> object:
        """One that no other ever is the same as; another one when it has not been asked for in a long time."""
        group = self._groups.get((method, kind, read))
        if group is None:
            group = object()
            self._groups.put((method, kind, read), group)
        return group


def _read_by(rule: Rule) -> set[str]:
    """The fields that a rule names: they choose the rule, or the key."""
    return {name.lower() for name in (*rule.key.headers, *(name for name, _ in rule.request_headers))}
