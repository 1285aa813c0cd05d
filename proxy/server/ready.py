"""An answer from memory as it goes out, ready to go out again: only what clock and request change is left open."""

from math import floor, inf

from proxy.instant import Instant
from proxy.observe.counters import Tally
from proxy.server.access_log import Line
from proxy.store.file_warm import Mark
from proxy.store.memory import Slot
from proxy.store.near import FarHeld, Held
from proxy.store.redis_again import Mark as AwayMark

_AGE = b"\r\nAge: "
_TTL = b"\r\nCache-Status: cachegate; hit; ttl="
_ID = b"\r\nX-Request-Id: "
_LINE = b"\r\n"
PART = 4096  # bytes of a body that is not what the tier holds
_NEAR = 1e-5  # seconds before Age or ttl change, within which the clock's own digits could tell either


class Ready:
    """A head, and perhaps a body, in pieces between which Age, ttl and X-Request-Id go, and how it is booked that it
    goes out. It holds from `since` until `until`, by the wall clock, or until it is ended; it came at `received`,
    `initial` seconds old, and is fresh for `life` seconds of its age.

    `told` is all before the X-Request-Id, as it is until `told_until` while the clock goes forward; `rest` all behind
    it. Whatever is read for every answer is at hand: of a thousand answers in turn nothing lies in the processor's
    caches, and each object more that is looked at costs as much as ten lines of this.
    """

    __slots__ = (
        "_initial",
        "_life",
        "_pieces",
        "_received",
        "_since",
        "_until",
        "body",
        "line",
        "rest",
        "slot",
        "tally",
        "told",
        "told_until",
    )

    def __init__(
        self,
        held: Held | FarHeld[Mark | AwayMark],
        pieces: tuple[bytes, bytes, bytes, bytes],
        body: bytes | None,
        booked: tuple[Tally, Line | None],
        *,
        since: float,
        until: float,
        initial: float,
        life: float,
    ) -> None:
        self.slot: Slot | Mark | AwayMark | None = held.slot
        self.tally, self.line = booked
        self.body = body  # None: what is taken
        *self._pieces, self.rest = pieces
        self._since = since
        self._until = until
        self._received = held.found.entry.received_at
        self._initial = initial
        self._life = life
        self.told = b""
        self.told_until = since

    def tell(self, now: float) -> bool:
        """Let `told` be what it is now; whether the answer holds now."""
        if not self._since <= now < self._until:
            return False
        age = self._initial + (now - self._received)
        left = self._life - age
        before_age, before_ttl, before_id = self._pieces
        self.told = b"%b%d%b%d%b" % (before_age, age, before_ttl, floor(left), before_id)
        self.told_until = min(now + min(floor(age) + 1 - age, left - floor(left)) - _NEAR, self._until)
        return True

    def end(self) -> None:
        """It holds no longer, and keeps nothing."""
        self.slot = None
        self._until = self.told_until = -inf
        self.told = self.rest = self.body = b""
        self._pieces = []

    def leave(self) -> None:
        """End it, and let the slot forget it."""
        if self.slot is not None:
            self.slot.holds = tuple(hold for hold in self.slot.holds if hold is not self)
            self.end()


def ready(instant: Instant, head: bytes, body: bytes, now: float, booked: tuple[Tally, Line | None]) -> Ready | None:
    """What was answered at `now` with this head, for the next who asks the same, as long as it is `lasting`; None where
    that may be another answer all the same."""
    reply, held, entry = instant.reply, instant.held, instant.held.found.entry
    received, whole = entry.received_at, len(body) == entry.body.size
    if reply.status == 206 and "content-range" not in reply.fields:
        return None  # several parts: nobody may know the boundary between them before
    if not whole and len(body) > PART:
        return None
    if now < received or head.count(_AGE) != 1 or head.count(_ID) != 1:
        return None
    before_age, age, after = head.partition(_AGE)
    after = after.partition(_LINE)[2]
    before_ttl, ttl, tail = after.rpartition(_TTL)
    word, mark, tail = tail.partition(b";")
    before_id, _, rest = tail.partition(_ID)
    if not (ttl and mark and word.isdigit() and _ID in tail):
        return None
    return Ready(
        held,
        (before_age + age, _LINE + before_ttl + ttl, mark + before_id + _ID, _LINE + rest.partition(_LINE)[2]),
        held.kept if whole else body,
        booked,
        since=now,
        until=min(now + instant.lasting, held.until),
        initial=instant.age - (now - received),
        life=instant.age + instant.ttl,
    )
