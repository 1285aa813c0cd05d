"""W3C Trace Context, level 2: what is read of traceparent and tracestate, and what goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace.propagation import tracecontext

from proxy.message import Fields
from proxy.policy.trace_context import TraceContext, carrying, chosen, context_of, parse

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WHOLE = TraceContext(int(TRACE, 16), int(SPAN, 16), 1)

READ: dict[str, TraceContext | None] = {
    f"00-{TRACE}-{SPAN}-01": WHOLE,
    f"00-{TRACE}-{SPAN}-00": TraceContext(WHOLE.trace, WHOLE.span, 0),
    f"00-{TRACE}-{SPAN}-03": TraceContext(WHOLE.trace, WHOLE.span, 3),
    f"00-{TRACE}-{SPAN}-fd": WHOLE,  # flags of nobody yet are not passed on
    f"00-{TRACE}-{SPAN}-01-": None,  # version 00 ends here
    f"00-{TRACE}-{SPAN}-01-what": None,
    f"01-{TRACE}-{SPAN}-01-what": WHOLE,
    f"cc-{TRACE}-{SPAN}-01": WHOLE,
    f"cc-{TRACE}-{SPAN}-01.what": None,
    f"ff-{TRACE}-{SPAN}-01": None,
    f"00-{TRACE.upper()}-{SPAN}-01": None,
    f"00-{TRACE}-{SPAN.upper()}-01": None,
    f"00-{'0' * 32}-{SPAN}-01": None,
    f"00-{TRACE}-{'0' * 16}-01": None,
    f"00-{TRACE[1:]}-{SPAN}-01": None,
    f"00-{TRACE}-{SPAN}-1": None,
    f"00-{TRACE}-{SPAN}-0x": None,
    f"0-{TRACE}-{SPAN}-01": None,
    f"00-{TRACE}-{SPAN}": None,
    f"00_{TRACE}_{SPAN}_01": None,
    f" 00-{TRACE}-{SPAN}-01": None,
    "": None,
    "٠٠-": None,
}


@pytest.mark.parametrize("value", READ)
def test_what_is_read(value: str) -> None:
    assert parse(value) == READ[value]


ids = st.tuples(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3))


@given(ids)
def test_what_is_written_is_read_again(parts: tuple[int, int, int]) -> None:
    context = TraceContext(*parts)
    assert parse(context.written) == context


@given(
    st.text(max_size=60) | st.from_regex(r"[0-9a-fA-F]{2}-[0-9a-f]{31,33}-[0-9a-f]{16}-[0-9a-f]{2}-?", fullmatch=True)
)
def test_opentelemetry_reads_the_same(value: str) -> None:
    theirs = tracecontext.TraceContextTextMapPropagator().extract({"traceparent": value})
    spans = [span.get_span_context() for span in theirs.values()]
    ours = parse(value)
    if value != value.strip():  # which no field's value is
        assert ours is None
    elif value[:2] == "00" or ours is not None:
        assert [(span.trace_id, span.span_id) for span in spans] == ([(ours.trace, ours.span)] if ours else [])


def test_two_of_them_are_none() -> None:
    line = ("traceparent", WHOLE.written)
    assert context_of(Fields.of(line)) == WHOLE
    assert context_of(Fields.of(line, line)) is None
    assert context_of(Fields.of(("tracestate", "a=1"))) is None


def test_tracestate_is_one_list_and_goes_on_as_it_came() -> None:
    came = Fields.of(
        ("Traceparent", WHOLE.written), ("TraceState", "a=1,,b=2 "), ("Accept", "*/*"), ("tracestate", "c")
    )
    context = context_of(came)
    assert context is not None
    assert context.state == "a=1,,b=2 , c"
    assert list(carrying(came, context)) == [
        ("accept", "*/*"),
        ("traceparent", WHOLE.written),
        ("tracestate", "a=1,,b=2 , c"),
    ]


def test_what_was_said_of_no_trace_stays_behind() -> None:
    came = Fields.of(("traceparent", "00-what-ever-00"), ("tracestate", "a=1"))
    assert list(carrying(came, WHOLE)) == [("traceparent", WHOLE.written)]


@given(st.integers(1, 2**128 - 1), st.floats(0, 1))
def test_a_share_is_chosen_as_every_sdk_chooses_it(trace: int, ratio: float) -> None:
    theirs = TraceIdRatioBased(ratio).should_sample(None, trace, "")
    assert chosen(trace, ratio) == theirs.decision.is_sampled()
    assert chosen(trace, 1.0)
    assert not chosen(trace, 0.0)
