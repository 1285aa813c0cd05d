"""Groups of keys that figures are kept of: a rule, and the first two segments of the path.

The rule's pattern alone would say no more than the rule does, and unmatched traffic has none; whole paths are as many
as there are answers. What looks like an id stands as "*", so that /users/1 and /users/2 are one group.
"""

from functools import lru_cache

LONGEST = 32  # characters of a segment that is a word
_HEX = frozenset("0123456789abcdefABCDEF-")


def group_of(path: str) -> str:
    """The group of a path: /api/users for /api/users/7, and /users/* for /users/7."""
    first, _, rest = path[1:].partition("/")
    second, deeper, _ = rest.partition("/")
    return _named(first, second if deeper or second else None)


@lru_cache(maxsize=1024)
def _named(first: str, second: str | None) -> str:
    return f"/{_word(first)}" if second is None else f"/{_word(first)}/{_word(second)}"


def _word(segment: str) -> str:
    """The segment, or a star for what looks like an id: a number, long hex digits or a UUID, whatever is long."""
    looks = len(segment) > LONGEST or segment.isdigit() or (len(segment) >= 8 and _HEX.issuperset(segment))
    return "*" if looks else segment
