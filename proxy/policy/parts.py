"""Parts of an answer: what a 206 is, what it may be combined with, whether it may be stored, what it answers (RFC 9111
3.3, 3.4, RFC 9110 14, 15.3.7).

A part is kept as if it were an incomplete 200: its fields are those of the whole, its bytes stand where Content-Range
says.
"""

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise

from proxy.entry import Entry, Found
from proxy.message import Fields, Framing, Head, Request
from proxy.policy.conditional import CLIENT_CONDITIONS
from proxy.policy.fields import etag, same_strongly, strong_last_modified
from proxy.policy.identity import uncovered
from proxy.policy.ranges import Part, Several, client_range
from proxy.policy.renewal import Renewed, judge_renewal
from proxy.policy.reuse import Fetch, Serve, ServeStale, judge_reuse
from proxy.policy.storing import Keep, Skip, judge_renewed, judge_storing
from proxy.reasons import Why
from proxy.rules import Rule

# -- which bytes are held ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extents:
    """Which bytes of a representation there are: parts that rise, and neither overlap nor touch."""

    parts: tuple[Part, ...] = ()

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(part.end - part.start for part in self.parts)

    def plus(self, part: Part) -> "Extents":
        """With this part too."""
        if part.end <= part.start:
            return self
        near = [held for held in self.parts if held.start <= part.end and part.start <= held.end]
        start = min([part.start, *(held.start for held in near)])
        end = max([part.end, *(held.end for held in near)])
        rest = [held for held in self.parts if held not in near]
        return Extents(tuple(sorted([*rest, Part(start, end)], key=lambda held: held.start)))

    def covers(self, part: Part) -> bool:
        """Whether all of it is there."""
        return any(held.start <= part.start and part.end <= held.end for held in self.parts)

    def gaps(self, part: Part) -> tuple[Part, ...]:
        """What of it is not there, rising."""
        found = []
        at = part.start
        for held in self.parts:
            if at < held.start and at < part.end:
                found.append(Part(at, min(held.start, part.end)))
            at = max(at, held.end)
        return (*found, Part(at, part.end)) if at < part.end else tuple(found)


WASTE = 2  # what is missing may be asked for in one piece as long as that is no more than so many times as large


def missing(extents: Extents, wanted: tuple[Part, ...]) -> Part | None:
    """The one part to ask for so that all that is `wanted` can be sent in that order; None when it takes several, or
    more of what is held than of what is not. There is something missing."""
    gaps = [gap for part in wanted for gap in extents.gaps(part)]
    hull = Part(gaps[0].start, gaps[-1].end)
    rising = all(a.end <= b.start for a, b in pairwise(gaps))
    return hull if rising and hull.end - hull.start <= WASTE * sum(gap.end - gap.start for gap in gaps) else None


# -- what a 206 says ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """What a 206 holds: this part of a representation of `total` bytes."""

    part: Part
    total: int

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return self.part.end - self.part.start


_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE | re.ASCII)


def described(head: Head) -> Piece | None:
    """What a 206 says it holds; None where that cannot be combined with anything: several parts in one content, another
    unit, a length that is not known, positions that contradict each other or the message's own length (RFC 9110 14.4,
    15.3.7)."""
    lines = head.fields.lines("content-range")
    match = _RANGE.fullmatch(lines[0]) if len(lines) == 1 else None
    media = (head.fields.get("content-type") or "").partition(";")[0].strip(" \t").lower()
    if head.status != 206 or match is None or media in _IN_PARTS:
        return None
    first, last, total = map(int, match.groups())
    if not first <= last < total or head.length not in (None, last + 1 - first):
        return None
    return Piece(Part(first, last + 1), total)


_IN_PARTS = frozenset({"multipart/byteranges", "multipart/x-byteranges"})  # the latter: 14.6, an early draft's


def strong_validator(fields: Fields, received_at: float) -> str | None:
    """What If-Range may say of an answer: a strong entity tag, or a date that counts as strong where there is no tag at
    all (RFC 9110 13.1.5, 8.8.2.2)."""
    if "etag" in fields:
        tag = etag(fields)
        return None if tag is None or tag.weak else tag.opaque
    if strong_last_modified(fields, received_at) is None:
        return None
    return fields.lines("last-modified")[0]


def same_representation(held: Entry, fields: Fields, received_at: float, total: int) -> bool:
    """Whether parts of both may be combined: the same strong validator (RFC 9111 3.4), and the same length."""
    if held.body.size != total:
        return False
    tag, own = etag(fields), etag(held.fields)
    if tag is not None and own is not None:
        return same_strongly(tag, own)
    validator = strong_validator(fields, received_at)
    return validator is not None and validator == strong_validator(held.fields, held.received_at)


# -- storing it --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Combined:
    """A 206 of the representation that is held in parts: `entry` has the fields of both. `personal` is what it says to
    this client alone, as in `Renewed`."""

    piece: Piece
    entry: Entry
    personal: Fields


def combine(held: Entry, head: Head, rule: Rule, now: float) -> Combined | None:
    """What `held` becomes with this 206; None when it is no part of the same representation. It updates the stored
    fields as a 304 would, but for those that describe its own content (RFC 9111 3.2, 3.4, RFC 9110 15.3.7.3)."""
    piece = described(head)
    if piece is None or not same_representation(held, head.fields, head.received_at, piece.total):
        return None
    match judge_renewal(held, replace(head, status=304), rule, now, fallback=False):
        case Renewed(entry, personal):
            return Combined(piece, entry, personal)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Take:
    """Store this part, under these fields of the whole."""

    piece: Piece
    fields: Fields
    keep: Keep
    personal: Fields = field(default_factory=Fields)


def judge_part(request: Request, head: Head, rule: Rule, now: float, held: Entry | None = None) -> Take | Skip:
    """May a 206 be stored as a part of a 200? `held` is what is held of the same answer already, `head` has end-to-end
    fields, `now` is wall-clock seconds."""
    piece = described(head)
    if piece is None or not _asked_for(request, head.fields, piece, held):
        return Skip(Why.PARTIAL)
    if head.framing is Framing.CLOSE:
        return Skip(Why.UNPROVEN_END)
    both = combine(held, head, rule, now) if held is not None else None
    if both is not None:
        fields, personal = both.entry.fields, both.personal
        skip = judge_renewed(request, head, both.entry, rule, now)
    elif "if-range" in request.fields or strong_validator(head.fields, head.received_at) is None:
        return Skip(Why.PARTIAL)  # who sends If-Range has the fields of the whole, and they are left out (15.3.7)
    else:
        fields, personal, skip = head.fields.without(_OF_THE_PART), Fields(), None
    fields = fields.replacing(("Content-Length", str(piece.total)))
    whole = Head(200, "OK", fields, Framing.LENGTH, head.requested_at, head.received_at)
    judged = judge_storing(request, whole, rule, now)
    if skip is not None:
        return skip
    return judged if isinstance(judged, Skip) else Take(piece, fields.without(judged.withheld), judged, personal)


_OF_THE_PART = frozenset({"content-range", "content-length", "content-digest", "content-md5"})


def _asked_for(request: Request, fields: Fields, piece: Piece, held: Entry | None) -> bool:
    """Whether it lies within what was asked for, also of the rest of what is `held` when all was asked for; a part that
    nobody asked for tells of confusion."""
    if held is not None and "range" not in request.fields:
        return True
    parts = _wanted(request, piece.total, fields)
    start, end = min((part.start for part in parts), default=0), max((part.end for part in parts), default=0)
    return start <= piece.part.start and piece.part.end <= end


def _wanted(request: Request, total: int, fields: Fields) -> tuple[Part, ...]:
    """The parts that a request wants of a representation, in its order; () when it wants the whole, or what there is
    not."""
    match client_range(request, total, fields):
        case Part() as part:
            return (part,)
        case Several(parts):
            return parts
        case _:
            return ()


# -- answering from it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Confirm:
    """All that is wanted is held, but the origin has to say that it still holds."""

    fetch: Fetch


@dataclass(frozen=True, slots=True)
class Fill:
    """Ask for this part alone, if it is still one of what is held: `validator` is for If-Range (RFC 9110 13.1.5)."""

    part: Part
    validator: str


@dataclass(frozen=True, slots=True)
class AsCame:
    """Nothing that is held helps: ask what the client asked."""


Course = Serve | ServeStale | Confirm | Fill | AsCame


def judge_range(request: Request, found: Found, extents: Extents, rule: Rule, now: float) -> Course:
    """How to answer a range, or all, of what is held in parts. It answers by itself what lies wholly within (RFC 9111
    3.3), and never a 416; the client's own conditions count only there (4.3.2). `now` is wall-clock seconds."""
    entry = found.entry
    decision = judge_reuse(request, found, rule, now)
    total = entry.body.size
    wanted = _wanted(request, total, entry.fields) if "range" in request.fields else (Part(0, total),)
    if not wanted or (isinstance(decision, Fetch) and not decision.conditional):
        return AsCame()
    if all(extents.covers(part) for part in wanted):
        return Confirm(decision) if isinstance(decision, Fetch) else decision
    hull, validator = missing(extents, wanted), strong_validator(entry.fields, entry.received_at)
    if hull is None or validator is None or request.fields.has_any(CLIENT_CONDITIONS):
        return AsCame()
    if uncovered(request, rule) is not None:
        return AsCame()  # what the origin tells somebody in particular says nothing of what everybody gets
    return Fill(hull, validator)
