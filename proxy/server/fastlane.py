"""Answers from memory straight from the socket's bytes (docs/decisions/0012).

A request is read by `Heads` and asked the same questions as every other, by the same code: `Reading` makes it,
`AtOnce` answers it, `render` writes it down. What was answered is remembered by all that was read of the
request to answer it, so that the next one like it costs a look at the clock, the shelf and the journal. The lane only
ever answers: what it has no answer for goes on, untouched, to those who read everything. What was answered from Redis
is remembered too, but for its content, for which Redis is asked again (docs/decisions/0017).
"""

from collections.abc import Callable
from functools import partial
from math import inf

from aiohttp.web_protocol import RequestHandler

from proxy.errors import BadRequest
from proxy.instant import AtOnce, Instant
from proxy.message import Fields, Request
from proxy.names import order_of
from proxy.server.access_log import Books
from proxy.server.again import Again, Asking
from proxy.server.answers import Answers
from proxy.server.front import Admin, Arrival
from proxy.server.heads import END, TARGET, Heads
from proxy.server.interim import Interim
from proxy.server.known_peer import Last, Peer
from proxy.server.plain import Plain
from proxy.server.ready import Ready, ready
from proxy.server.replies import HttpDate, render
from proxy.server.requests import Reading, fresh_id, is_request_id
from proxy.server.shapes import COMMON, LONG, Shape, Shapes

LARGEST = 64 * 1024  # bytes of a body that goes out in one piece
_REMEMBERED = 4096  # answers per generation, some 1.2 KB each
_NOMINATED = 32  # names that Vary fields of stored answers may add to what is read


Waiting = Arrival | Again


class FastLane:
    """`largest`: bytes of a head, and `most` fields, within which no limit of heads is passed; of more than `pipelined`
    heads at once none is looked at. `clock` is wall time, `timer` measures, both in seconds."""

    def __init__(
        self,
        at_once: AtOnce,
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
        self.common = COMMON  # heads of a kind after which they are read by an expression of their own
        self.asking = Asking(at_once, clock, timer)
        self._at_once = at_once
        self._take = at_once.again
        self._reading = reading
        self._admin = admin
        self._books = books
        self._largest = largest
        self._longest = min(largest, LONG)
        self._most = most
        self._pipelined = pipelined
        self._clock = clock
        self._timer = timer
        self._date = HttpDate(clock)
        self._heads = Heads()
        self._nominated: set[str] = set()
        self._pressed = False
        self._waiting: Waiting | None = None  # of the last head
        self._lasts = (Last(), Last())  # of plain and of secure connections
        self._known = Answers(_REMEMBERED)
        self._now = -inf  # by the clock, when something was answered last
        self._begin_anew()
        at_once.watch(self._begin_anew)

    def peer(self, protocol: RequestHandler, remote: str, *, secure: bool) -> Peer:
        """Whoever is at the other end of a connection."""
        trusted = remote in self._reading.proxies
        return Peer(protocol, remote, secure=secure, trusted=trusted, last=Last() if trusted else self._lasts[secure])

    def rest(self, pressed: bool) -> None:
        """While memory is short nothing is remembered."""
        self._pressed = pressed
        self._begin_anew()

    @property
    def sizes(self) -> dict[str, int]:
        """How many things are remembered, by what they are."""
        return {"answers": len(self._known), **self._shapes.sizes}

    def again(self, head: bytes, peer: Peer) -> bytes | None:
        """The answer to one whole head that came before, or looks like the one before it, out of what is remembered;
        None where more has to be asked. Nothing on its connection is under way."""
        peer.at = began = self._timer()
        last = peer.last
        if head == last.head:
            known, given = last.ready, last.id
        else:
            shape = peer.shape
            if shape is None or shape.match is None or len(head) > self._longest:
                return None
            found = shape.match(head)
            if found is None:
                return None
            known = self._known.get((shape.group, found.group(*shape.places)), found[1])
            given = found[shape.id_place] if shape.id_place else None
            last.head, last.ready, last.id = head, known, given
        now = self._clock()
        if known is None or now < self._now:
            return None
        self._now = now
        if now >= known.told_until and not known.tell(now):
            return None
        slot, body = known.slot, known.body
        taken = slot is not None and self._take(slot, now)
        if not taken:
            return None
        if body is None:
            body = taken if isinstance(taken, bytes) else b""
        told = given or fresh_id().encode()
        known.tally.book(self._timer() - began, len(body))
        if known.line is not None:
            known.line.write(now, self._timer() - began, peer.client, told)
        return b"".join((known.told, told, known.rest, body))

    def serve(self, data: bytes, peer: Peer, write: Callable[[bytes], object]) -> tuple[bytes, Waiting | None]:
        """Answer the heads that `data` begins with, as far as they can be answered here; what is left is for others.
        The first that cannot be answered is no longer among it where it is read so far that the front can take it, or
        where Redis was asked again: then its `come` is to be set at once. `data` begins where a request begins, and
        nothing on its connection is under way."""
        last = peer.last
        self._waiting = None
        if data == last.head and last.ready is not None and self._asks(data, last.ready, peer):
            return b"", self._waiting
        end = data.find(END) + len(END)
        if end == len(data):
            answer = self._answer(data, peer)
            if answer is not None:
                write(answer)
                return b"", None
            return (data, None) if self._waiting is None else (b"", self._waiting)
        return (data, None) if end < len(END) else self._serve_several(data, peer, write)

    def _serve_several(self, data: bytes, peer: Peer, write: Callable[[bytes], object]) -> tuple[bytes, Waiting | None]:
        if data.count(END) > self._pipelined:
            return data, None
        answers, size = [], 0
        while size < LARGEST and (end := data.find(END) + len(END)) >= len(END):
            head = data[:end]
            answer = self.again(head, peer) or self._answer(head, peer)
            if answer is None:
                break
            answers.append(answer)
            size += len(answer)
            data = data[end:]
        if answers:
            write(b"".join(answers))
        return (data, None) if self._waiting is None else (data[end:], self._waiting)

    def anew(self, again: Again, peer: Peer) -> tuple[bytes | None, Arrival | None]:
        """The answer to the same request, or what the front can take of it, as if nothing had been remembered; neither
        where it is for those who read everything."""
        self._waiting = None
        answer = self._answer(again.head, peer, anew=True)
        arrival = self._waiting if isinstance(self._waiting, Arrival) else None
        if arrival is not None:
            arrival.plain.began = again.began
        return answer, arrival

    # -- one head --------------------------------------------------------------------------------------------------

    def _answer(self, head: bytes, peer: Peer, *, anew: bool = False) -> bytes | None:
        peer.at = self._timer()
        heads = self._heads
        if len(head) > self._largest or not heads.read(head):
            return None
        fields = heads.fields
        shape = self._shapes.of(heads.method, peer.kind, tuple(fields))
        if not shape.here:
            heads.renew()
            return None
        key = None
        if shape.values is not None and len(head) <= LONG:
            key = (shape.group, shape.values(fields)), fields[TARGET]
        known = None if key is None or anew else self._known.get(*key)
        if known is not None:
            answer = self._as_before(head, known, shape, peer)
            if answer is not None or self._asks(head, known, peer):
                return answer
        return self._ask(key, peer)

    def _as_before(self, head: bytes, known: Ready, shape: Shape, peer: Peer) -> bytes | None:
        given = self._heads.fields[shape.id].strip(b" \t") if shape.id is not None else None
        if peer.trusted:  # each head may name another client
            peer.client = self._client(peer)
        else:
            shape.seen()
            peer.shape = shape
        last = peer.last
        last.head, last.ready, last.id = head, known, given if given is not None and is_request_id(given) else None
        return self.again(head, peer)

    def _asks(self, head: bytes, known: Ready, peer: Peer) -> bool:
        """Whether Redis is asked again for what is not remembered of this answer, the `last` of the peer."""
        again = self.asking.ask(head, known, peer.last.id, peer.client)
        if again is None:
            return False
        peer.at = again.began
        self._waiting = again
        return True

    def _ask(self, key: tuple[object, bytes] | None, peer: Peer) -> bytes | None:
        """What those say who answer every request, when they can do it at once."""
        now = self._clock()
        if now < self._now:  # the clock was set back: what is remembered was told by another
            self._begin_anew()
        self._now = now
        plain = self._plain(peer)
        interim = Interim(plain)
        try:
            request = self._reading(plain, now, inform=interim)
        except BadRequest:
            return None
        if self._admin.owns(request):
            return None
        if (request.fields.get("connection") or "keep-alive").lower() != "keep-alive":
            self._heads.renew()  # llhttp knows that nothing may follow
            return None
        request = self._reading.for_site(request)
        learn = None
        if key is not None and self._at_once.asks:
            learn = partial(self._learn, key, self._shapes, request)
        instant = self._at_once.answer(request, LARGEST, learn)
        if not isinstance(instant, Instant):
            self._waiting = Arrival(plain, request, interim, instant)
            return None
        reply = instant.reply
        assert isinstance(reply.body, bytes)
        wire = render(reply, method=request.method, http11=True, keep_alive=True, date=self._date())
        body = reply.body[: wire.length]
        if key is not None:
            self._remember(key, request, instant, wire.head, body)
        self._books(request, reply, len(body), self._timer() - peer.at, True)
        return wire.head + body

    def _learn(self, key: tuple[object, bytes], shapes: Shapes, request: Request, instant: Instant) -> None:
        """What others are about to answer, from Redis."""
        reply = instant.reply
        if shapes is not self._shapes or not isinstance(reply.body, bytes) or len(reply.body) > LARGEST:
            return  # other rules hold by now, or it is too much
        wire = render(reply, method=request.method, http11=True, keep_alive=True, date=self._date())
        self._remember(key, request, instant, wire.head, reply.body[: wire.length])

    def _remember(
        self, key: tuple[object, bytes], request: Request, instant: Instant, head: bytes, body: bytes
    ) -> None:
        if instant.lasting <= 0 or self._pressed or not self._reads_all_of(instant.held.nominated):
            return
        booked = self._books.account(request, instant.reply, len(body))
        answer = ready(instant, head, body, request.received_at, booked)
        if answer is not None:
            self._known.put(*key, answer)
            self._at_once.hold(instant.held, answer)

    def _plain(self, peer: Peer) -> Plain:
        target = self._heads.fields[TARGET].decode("latin-1")
        method, fields = self._heads.method, self._fields()
        return Plain(peer.protocol, method, target, fields, peer.remote, secure=peer.secure, began=peer.at)

    def _client(self, peer: Peer) -> str:
        return self._reading.proxies.client(peer.remote, self._fields())

    def _fields(self) -> Fields:
        read = self._heads.fields  # the target stands first
        values = [value.strip(b" \t") for value in read.values()]
        return Fields.laid(order_of(tuple(read)[1:]), tuple(values[1:]))

    # -- what is read ----------------------------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        """Forget everything: what is read is what the rules and stored answers say now."""
        table = self._at_once.table
        self._known.clear()
        self._shapes = Shapes((*table.rules, table.unmatched), self._nominated, self._most, self.common)
        for last in self._lasts:
            last.head, last.ready = b"", None
        self._books.close_accounts()

    def _reads_all_of(self, nominated: set[str]) -> bool:
        """Whether what stored answers nominate is read here. When it is not yet, it is from the next request on."""
        if nominated <= self._shapes.read:
            return True
        if not nominated & self._shapes.personal and len(nominated | self._nominated) <= _NOMINATED:
            self._nominated |= nominated
            self._begin_anew()
        return False
