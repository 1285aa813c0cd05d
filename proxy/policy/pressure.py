"""How near a process is to the memory that it may take, and what that means for what lies in its memory tier.

Bytes that are given up do not leave a process at once, and those of requests under way not at all until these are over:
so one level begins higher than it ends, and the tier's room is taken away by what is too much and given back slowly.
"""

from enum import StrEnum

SHRINKS, CALMS = 0.95, 0.90  # of the limit: where the memory tier begins to shrink, and where that has been enough
KEPT = 32  # one in so many of the limit stays for what is asked for most, and is answered whatever else is refused
BACK = 256  # one in so many of the whole room comes back at a time
SPARE = 2  # and no more than one in so many of the bytes that are free below CALMS


class Level(StrEnum):
    """What a process does about its memory; a later one does what those before it do."""

    CALM = "calm"
    SHRINKING = "shrinking"
    REFUSING = "refusing"


def judge_pressure(before: Level, used: int, limit: int) -> Level:
    """The level for `used` bytes of at most `limit`, after it was `before`."""
    if used > limit or (before is Level.REFUSING and used > limit * SHRINKS):
        return Level.REFUSING
    if used > limit * SHRINKS or (before is not Level.CALM and used > limit * CALMS):
        return Level.SHRINKING
    return Level.CALM


def judge_room(level: Level, used: int, limit: int, held: int, room: int, whole: int) -> int:
    """Bytes that the memory tier may hold from now on. It holds `held` of `room` now, and `whole` is what it may at
    most."""
    over = used - int(limit * CALMS)
    if level is Level.CALM:
        return max(room, min(whole, room + min(whole // BACK, -over // SPARE)))
    return max(min(whole, limit // KEPT), min(room, held - over))
