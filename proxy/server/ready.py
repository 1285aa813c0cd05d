"""An answer from memory as it goes out, ready to go out again: only what clock and request change is left open."""

from dataclasses import dataclass
from math import floor

from proxy.pipeline import Instant
from proxy.server.access_log import Account
from proxy.store.near import Trace

_AGE = b"\r\nAge: "
_TTL = b"\r\nCache-Status: cachegate; hit; ttl="
_ID = b"\r\nX-Request-Id: "
_LINE = b"\r\n"
PART = 4096  # bytes of a body that is not what the tier holds


@dataclass(frozen=True, slots=True)
class Ready:
    """A head, and perhaps a body, in pieces between which Age, ttl and X-Request-Id go. It holds from `since` until
    `until`, by the wall clock; it came at `received`, `initial` seconds old, and is fresh for `life` seconds of its
    age."""

    before_age: bytes
    before_ttl: bytes
    before_id: bytes
    rest: bytes
    body: bytes | None  # None: all that is stored
    size: int
    trace: Trace
    since: float
    until: float
    received: float
    initial: float
    life: float
    account: Account

    def render(self, now: float, request_id: bytes, stored: bytes) -> bytes:
        """All bytes to send; `stored` is the whole content."""
        age = self.initial + (now - self.received)
        return b"%b%d%b%d%b%b%b%b" % (
            self.before_age,
            age,
            self.before_ttl,
            floor(self.life - age),
            self.before_id,
            request_id,
            self.rest,
            stored if self.body is None else self.body,
        )


def ready(instant: Instant, head: bytes, body: bytes, now: float, account: Account) -> Ready | None:
    """What was answered at `now` with this head, for the next who asks the same; None where that may be another answer
    then."""
    reply, slot = instant.reply, instant.held.slot
    received, whole = slot.received_at, len(body) == slot.entry.body.size
    if reply.status == 206 and "content-range" not in reply.fields:
        return None  # several parts: nobody may know the boundary between them before
    if not whole and len(body) > PART:
        return None
    if now < received or instant.lasting <= 0 or head.count(_AGE) != 1 or head.count(_ID) != 1:
        return None
    before_age, age, after = head.partition(_AGE)
    after = after.partition(_LINE)[2]
    before_ttl, ttl, tail = after.rpartition(_TTL)
    word, mark, tail = tail.partition(b";")
    before_id, _, rest = tail.partition(_ID)
    if not (ttl and mark and word.isdigit() and _ID in tail):
        return None
    return Ready(
        before_age + age,
        _LINE + before_ttl + ttl,
        mark + before_id + _ID,
        _LINE + rest.partition(_LINE)[2],
        None if whole else body,
        len(body),
        instant.held.trace,
        now,
        now + instant.lasting,
        received,
        instant.age - (now - received),
        instant.age + instant.ttl,
        account,
    )
