"""Which of the stored entries an operator looks for."""

from collections.abc import Callable
from typing import NamedTuple

from proxy.entry import Entry
from proxy.invalidation.records import PathPattern


class Search(NamedTuple):
    """All that is given has to fit: `match`, a glob on the path; a part of the `url`, as it is shown; a whole `tag`;
    the name of a `rule`. Nothing given: every entry."""

    match: str | None = None
    url: str | None = None
    tag: str | None = None
    rule: str | None = None

    def fits(self) -> Callable[[Entry], bool]:
        """Whether an entry is one of them. ValueError for a glob that is none."""
        pattern = None if self.match is None else PathPattern.parse(self.match)

        def fits(entry: Entry) -> bool:
            return (
                (self.rule is None or entry.rule == self.rule)
                and (self.tag is None or self.tag in entry.tags)
                and (pattern is None or pattern.match(entry.parts.host, entry.parts.path))
                and (self.url is None or self.url in shown_url(entry))
            )

        return fits


def shown_url(entry: Entry) -> str:
    """Its URL; of one that is kept for whatever host, its path and query."""
    return entry.parts.url if entry.parts.host else entry.parts.target
