"""What a log tells of one request, whoever wrote it, and of a line that cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.fixed import fixed
from proxy.message import Fields
from proxy.outcome import Verdict

NO_FIELDS = Fields()


@fixed
class Ours:
    """What our own access log says beside (contract, "Logs and metrics"). `reason` and `rule` are its words, ""
    where it has none; `origin_ttl` in seconds, None where the origin said nothing."""

    verdict: Verdict
    reason: str = ""
    rule: str = ""
    key: str = ""
    origin_ttl: float | None = None
    stored: bool = False

    @property
    def from_origin(self) -> bool:
        """Whether the origin answered this very request, so that the line tells what it said."""
        return self.verdict in _ASKED


_ASKED = frozenset({Verdict.MISS, Verdict.EXPIRED, Verdict.REVALIDATED, Verdict.BYPASS})


@fixed
class Seen:
    """One request and its answer. `time` is wall-clock seconds when it came; `size` bytes of content; `took` seconds
    until the answer could be stored, 0 where nobody measured. `asked` and `answer` hold the fields that the log knows,
    None where it knows none; `body` is the request's content; `digest` stands for the content of the answer."""

    time: float
    method: str
    host: str
    target: str
    status: int
    size: int
    took: float = 0.0
    scheme: str = "http"
    asked: Fields | None = None
    answer: Fields | None = None
    body: bytes | None = None
    digest: str = ""
    ours: Ours | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}{self.target}" if self.host else self.target


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line, or an entry of a HAR, that tells of no request: its number from 1, what was wrong, and which it is."""

    number: int
    why: str
    unit: str = "line"

    @property
    def text(self) -> str:
        return f"{self.unit} {self.number}: {self.why}"


class Malformed(ValueError):
    """This line tells of no request; the text says why."""


Names = Mapping[str, str]  # of fields of foreign JSON lines, by ours: {"target": "request.uri"}
