"""Where a request stands among all that belong to one trace, as its callers tell it (W3C Trace Context, level 2).

What cannot be read is ignored, as if nobody had traced the request (3.2.2.3, 3.3.1.5): it is never a reason to refuse
one.
"""

import re
from dataclasses import dataclass

from proxy.message import Fields

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
SAMPLED, RANDOM = 0x01, 0x02  # the flags that are known (3.2.2.3)

_NAMES = frozenset({TRACEPARENT, TRACESTATE})
_KNOWN = SAMPLED | RANDOM
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_INVALID, _FIRST = "ff", "00"  # versions
_LOW = (1 << 64) - 1  # of a trace's id, the bits that are random in every version


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A trace and the span in it that is the caller of whatever comes next. `state` is what vendors keep beside it, as
    it came."""

    trace: int
    span: int
    flags: int = SAMPLED
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether somebody records this trace."""
        return bool(self.flags & SAMPLED)

    @property
    def written(self) -> str:
        """The value of traceparent."""
        return f"{_FIRST}-{self.trace:032x}-{self.span:016x}-{self.flags:02x}"


def parse(value: str, state: str = "") -> TraceContext | None:
    """A traceparent, with the tracestate beside it; None where it is none. Of later versions what is known of them is
    read (3.2.2)."""
    form = _FORM.fullmatch(value)
    if form is None:
        return None
    version, trace, span, flags, more = form.groups()
    if version == _INVALID or (version == _FIRST and more is not None):
        return None
    context = TraceContext(int(trace, 16), int(span, 16), int(flags, 16) & _KNOWN, state)
    return context if context.trace and context.span else None


def context_of(fields: Fields) -> TraceContext | None:
    """Of a request; two of them are none (3.2.1). The lines of tracestate are one list (3.3.1)."""
    lines = fields.lines(TRACEPARENT)
    return parse(lines[0], fields.get(TRACESTATE) or "") if len(lines) == 1 else None


def carrying(fields: Fields, context: TraceContext) -> Fields:
    """A request's fields as they go on: what they said of another trace, or of none, stays behind (3.4)."""
    more = ((TRACESTATE, context.state),) if context.state else ()
    return fields.without(_NAMES).plus((TRACEPARENT, context.written), *more)


def chosen(trace: int, ratio: float) -> bool:
    """Whether a trace that nobody decided about is among this share of all. It is decided by its id alone, in the way
    of every OpenTelemetry SDK (TraceIdRatioBased), so that services with one ratio choose the same."""
    return trace & _LOW < ratio * (_LOW + 1)
