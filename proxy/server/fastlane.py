"""Answers from memory straight from the socket's bytes (docs/decisions/0012).

A request is read by `Heads` and asked the same questions as every other, by the same code: `Reading` makes it,
`Pipeline.at_once` answers it, `render` writes it down. What was answered is remembered by all that was read of the
request to answer it, so that the next one like it costs a look at the clock, the shelf and the journal. The lane only
ever answers: what it has no answer for goes on, untouched, to those who read everything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Protocol

from aiohttp.http import HttpVersion11

from proxy.entry import Entry
from proxy.errors import BadRequest
from proxy.message import Fields, Pair, Request, lower_name
from proxy.pipeline import Instant
from proxy.policy.memo import Memo
from proxy.rules import Rule, RuleTable
from proxy.server.access_log import Books
from proxy.server.front import Admin
from proxy.server.heads import END, TARGET, Heads
from proxy.server.ready import Ready, ready
from proxy.server.replies import HttpDate, render
from proxy.server.requests import Reading, fresh_id, is_request_id
from proxy.store.near import Held, Trace

LARGEST = 64 * 1024  # bytes of a body that goes out in one piece
_REMEMBERED = 4096  # answers per generation, some 1.2 KB each
_LONG = 1024  # bytes of a head whose answer is remembered
_SHAPES = 512  # sets of names per generation
_NOMINATED = 32  # names that Vary fields of stored answers may add to what is read
_GROUPS = 256  # sets of names that are read

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


class Answerer(Protocol):
    """The pipeline, as the lane sees it."""

    @property
    def table(self) -> RuleTable: ...

    def at_once(self, request: Request, most: int) -> Instant | None:
        """The reply of at most so many bytes for which nothing is waited; None leaves no trace."""
        ...


class Shelves(Protocol):
    """The nearest tier, as the lane sees it."""

    def again(self, trace: Trace, now: float) -> Entry | None:
        """Take what was found before, if the same would be found now (wall clock)."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection; a `trusted` one speaks for others. `kind` tells apart whose fields are read in
    another way."""

    remote: str
    secure: bool
    trusted: bool

    @property
    def kind(self) -> int:
        return self.secure + 2 * self.trusted


@dataclass(frozen=True, slots=True)
class _Asked:
    """A head as `Reading` wants it."""

    method: str
    raw_path: str
    raw_headers: tuple[Pair, ...]
    remote: str
    secure: bool
    version = HttpVersion11


@dataclass(frozen=True, slots=True)
class _Shape:
    """What there is to be read in a head with these names. `values` takes it out of the fields, None where nothing is
    remembered of such a head; `group` is the same for heads in which the same names are read."""

    here: bool
    group: int = 0
    values: Callable[[dict[bytes, bytes]], object] | None = None
    id: bytes | None = None


_ASIDE = _Shape(False)


class FastLane:
    """`largest`: bytes of a head, and `most` fields, within which no limit of heads is passed; of more than `pipelined`
    heads at once none is looked at. `clock` is wall time, `timer` measures, both in seconds."""

    def __init__(
        self,
        answerer: Answerer,
        shelves: Shelves,
        reading: Reading,
        admin: Admin,
        books: Books,
        *,
        largest: int,
        most: int,
        pipelined: int,
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self._answerer = answerer
        self._shelves = shelves
        self._reading = reading
        self._admin = admin
        self._books = books
        self._largest = largest
        self._most = most
        self._pipelined = pipelined
        self._clock = clock
        self._timer = timer
        self._date = HttpDate(clock)
        self._heads = Heads()
        self._nominated: set[str] = set()
        self._pressed = False
        self._last_head = b""  # many clients ask for one thing again and again
        self._last: tuple[int, Ready, bytes | None] | None = None  # the peer's kind, the answer, X-Request-Id
        self._learn_rules()

    def peer(self, remote: str, *, secure: bool) -> Peer:
        """Whoever is at the other end of a connection."""
        return Peer(remote, secure, remote in self._reading.proxies)

    def rest(self, pressed: bool) -> None:
        """While memory is short nothing is remembered."""
        self._pressed = pressed
        self._learn_rules()

    @property
    def sizes(self) -> dict[str, int]:
        """How many things are remembered, by what they are."""
        return {"answers": len(self._known), "shapes": len(self._shapes), "groups": len(self._groups)}

    def serve(self, data: bytes, peer: Peer, write: Callable[[bytes], object]) -> bytes:
        """Answer the heads that `data` begins with, as far as they can be answered here; what is left is for others.
        `data` begins where a request begins, and nothing on its connection is under way."""
        if self._answerer.table is not self._table:
            self._learn_rules()
        end = data.find(END) + len(END)
        if end == len(data):
            answer = self._answer(data, peer)
            if answer is None:
                return data
            write(answer)
            return b""
        return data if end < len(END) else self._serve_several(data, peer, write)

    def _serve_several(self, data: bytes, peer: Peer, write: Callable[[bytes], object]) -> bytes:
        if data.count(END) > self._pipelined:
            return data
        answers, size = [], 0
        while size < LARGEST and (end := data.find(END) + len(END)) >= len(END):
            answer = self._answer(data[:end], peer)
            if answer is None:
                break
            answers.append(answer)
            size += len(answer)
            data = data[end:]
        if answers:
            write(b"".join(answers))
        return data

    # -- one head --------------------------------------------------------------------------------------------------

    def _answer(self, head: bytes, peer: Peer) -> bytes | None:
        began = self._timer()
        if head == self._last_head and self._last is not None and self._last[0] == peer.kind and not peer.trusted:
            _, ready, given = self._last
            answer = self._again(ready, given, peer.remote, began)
            if answer is not None:
                return answer
        heads = self._heads
        if len(head) > self._largest or not heads.read(head):
            return None
        fields = heads.fields
        names = tuple(fields)
        shape = self._shapes.get((heads.method, peer.kind, names)) or self._learn_shape(heads.method, peer.kind, names)
        if not shape.here:
            heads.renew()
            return None
        remembered = shape.values is not None and len(head) <= _LONG
        key = (shape.group, shape.values(fields)) if remembered and shape.values is not None else None
        known = None if key is None else self._known.get(key)
        if known is not None:
            given = fields[shape.id] if shape.id is not None else None
            client = self._client(peer) if peer.trusted else peer.remote
            answer = self._again(known, given, client, began)
            if answer is not None:
                self._last_head, self._last = head, (peer.kind, known, given)
                return answer
        return self._ask(key, peer, began)

    def _again(self, ready: Ready, given: bytes | None, client: str, began: float) -> bytes | None:
        """What was answered before, if it still is the answer."""
        now = self._clock()
        entry = self._shelves.again(ready.trace, now) if ready.since <= now < ready.until else None
        if entry is None:
            return None
        told = given if given is not None and is_request_id(given) else fresh_id().encode()
        answer = ready.render(now, told, entry.body.data or b"")
        ready.account(now, self._timer() - began, client, told)
        return answer

    def _ask(self, key: object, peer: Peer, began: float) -> bytes | None:
        """What those say who answer every request, when they can do it at once."""
        now = self._clock()
        request = self._request(peer, now)
        if request is None or self._admin.owns(request):
            return None
        if (request.fields.get("connection") or "keep-alive").lower() != "keep-alive":
            self._heads.renew()  # llhttp knows that nothing may follow
            return None
        request = self._reading.for_site(request)
        instant = self._answerer.at_once(request, LARGEST)
        if instant is None:
            return None
        reply = instant.reply
        assert isinstance(reply.body, bytes)
        wire = render(reply, method=request.method, http11=True, keep_alive=True, date=self._date())
        body = reply.body[: wire.length]
        if key is not None:
            account = self._books.account(request, reply, len(body))
            self._remember(key, ready(instant, wire.head, body, now, account), instant.held)
        self._books(request, reply, len(body), self._timer() - began, True)
        return wire.head + body

    def _request(self, peer: Peer, now: float) -> Request | None:
        target = self._heads.fields[TARGET].decode("latin-1")
        try:
            return self._reading(_Asked(self._heads.method, target, self._pairs(), peer.remote, peer.secure), now)
        except BadRequest:
            return None

    def _client(self, peer: Peer) -> str:
        return self._reading.proxies.client(peer.remote, Fields(self._pairs()))

    def _pairs(self) -> tuple[Pair, ...]:
        return tuple((name, value.strip(b" \t")) for name, value in self._heads.fields.items() if name is not TARGET)

    # -- what is remembered ----------------------------------------------------------------------------------------

    def _learn_rules(self) -> None:
        """Begin anew: the rules say what is read."""
        self._table = table = self._answerer.table
        rules = (*table.rules, table.unmatched)
        self._read = READ.union(self._nominated, *map(_read_by, rules))
        self._personal = frozenset({"cookie"}).union(*(rule.credential_headers for rule in rules))
        self._known: Memo[object, Ready] = Memo(_REMEMBERED)
        self._shapes: Memo[tuple[str, int, tuple[bytes, ...]], _Shape] = Memo(_SHAPES)
        self._groups: dict[tuple[str, int, tuple[bytes, ...]], int] = {}
        self._last = None
        self._books.close_accounts()

    def _remember(self, key: object, answer: Ready | None, held: Held) -> None:
        if answer is None or self._pressed:
            return
        nominated = {name for slot in held.shelf for name, _ in slot.entry.vary}
        if nominated <= self._read:
            self._known.put(key, answer)
        elif not nominated & self._personal and len(nominated | self._nominated) <= _NOMINATED:
            self._nominated |= nominated
            self._learn_rules()

    def _learn_shape(self, method: str, kind: int, names: tuple[bytes, ...]) -> _Shape:
        shape = self._shape(method, kind, names)
        if sum(map(len, names)) <= _LONG:
            self._shapes.put((method, kind, names), shape)
        return shape

    def _shape(self, method: str, kind: int, names: tuple[bytes, ...]) -> _Shape:
        lower = [lower_name(name) for name in names[1:]]
        if len(lower) > self._most or len(set(lower)) < len(lower) or not _NOT_HERE.isdisjoint(lower):
            return _ASIDE
        request_id = names[1 + lower.index(_ID)] if _ID in lower else None
        # Each name as it stands and as CGI and its heirs read it (RFC 3875 4.1.18).
        meant = [{name, name.replace("_", "-")} for name in lower]
        if any(not self._personal.isdisjoint(each) for each in meant):
            return _Shape(True, id=request_id)
        read = tuple(raw for raw, each in zip(names[1:], meant, strict=True) if not self._read.isdisjoint(each))
        if len(self._groups) >= _GROUPS and (method, kind, read) not in self._groups:
            return _Shape(True, id=request_id)
        group = self._groups.setdefault((method, kind, read), len(self._groups))
        return _Shape(True, group, itemgetter(TARGET, *read), request_id)


def _read_by(rule: Rule) -> set[str]:
    """The fields that a rule names: they choose the rule, or the key."""
    return {name.lower() for name in (*rule.key.headers, *(name for name, _ in rule.request_headers))}
