"""traceparent and tracestate, by the rules of W3C Trace Context and by its own tests."""

from __future__ import annotations

import pytest

from worker.http1.request import HeadLimits, parse_request_fields
from wproxy.tracing import Parent, TraceContext, read_parent, read_traceparent, read_tracestate

TRACE = b"0af7651916cd43dd8448eb211c80319c"
SPAN = b"b7ad6b7169203331"
GOOD = b"00-%b-%b-01" % (TRACE, SPAN)


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (GOOD, 1),
        (GOOD[:-2] + b"00", 0),
        (GOOD[:-2] + b"03", 3),
        (GOOD[:-2] + b"ff", 255),
        (b"cc" + GOOD[2:], 1),
        (b"01" + GOOD[2:] + b"-what-the-future-brings", 1),
        (b"cc" + GOOD[2:] + b"-", 1),
    ],
)
def test_good_traceparents(value, flags):
    assert read_traceparent(value) == (TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        b"ff" + GOOD[2:],
        GOOD + b"-",
        GOOD + b"-more",
        b"01" + GOOD[2:] + b".more",
        GOOD.upper(),
        b"0" + GOOD,
        GOOD[:-1],
        GOOD.replace(TRACE, b"0" * 32),
        GOOD.replace(SPAN, b"0" * 16),
        GOOD.replace(TRACE, TRACE[:-1] + b"."),
        GOOD.replace(SPAN, SPAN[:-1] + b"G"),
        GOOD[:-2] + b".0",
        b" " + GOOD,
        b".0" + GOOD[2:],
    ],
)
def test_bad_traceparents(value):
    assert read_traceparent(value) is None


@pytest.mark.parametrize(
    "value",
    [
        b"foo=1",
        b"foo=1,bar=2",
        b"foo=1,,bar=2,",
        b"foo=1 \t , \t bar=2",
        b"a@b/c-d*e_f=x:y z",
        b"1a=2",
        b"z" * 256 + b"=" + b"v" * 256,
        b",".join(b"m%d=1" % number for number in range(32)),
    ],
)
def test_good_tracestates_are_passed_on_unchanged(value):
    assert read_tracestate(value) == value


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b",",
        b"foo",
        b"foo=",
        b"=1",
        b"Foo=1",
        b"foo=1=2",
        b"foo =1",
        b"foo=\xc3\xa4",
        b"foo=1,bar",
        b"z" * 257 + b"=1",
        b"z=" + b"v" * 257,
        b",".join(b"m%d=1" % number for number in range(33)),
    ],
)
def test_bad_tracestates_are_dropped(value):
    assert read_tracestate(value) == b""


def fields(*lines: bytes):
    return parse_request_fields(b"\r\n".join(lines), HeadLimits())


def test_the_parent_of_a_request():
    assert read_parent(fields(b"Host: a")) is None
    assert read_parent(fields(b"TraceParent: \t" + GOOD + b" ", b"tracestate: a=1", b"Tracestate: b=2")) == (
        TRACE,
        SPAN,
        1,
        b"a=1,b=2",
    )
    assert read_parent(fields(b"traceparent: " + GOOD, b"tracestate: A")) == (TRACE, SPAN, 1, b"")
    # Two of them are none, and without a parent there is no state.
    assert read_parent(fields(b"traceparent: " + GOOD, b"traceparent: " + GOOD, b"tracestate: a=1")) is None


def test_a_context_without_a_parent_starts_a_random_trace():
    one, other = TraceContext(None), TraceContext(None)
    assert one.trace_id != other.trace_id
    assert one.span_id != other.span_id
    assert one.traceparent == b"00-%b-%b-02" % (one.trace_id, one.span_id)
    one.sampled = True
    assert one.traceparent.endswith(b"-03")
    assert one.state == b""


def test_a_context_with_a_parent_goes_on_with_its_trace():
    context = TraceContext(Parent(TRACE, SPAN, 0xFF, b"a=1"))
    assert (context.trace_id, context.state) == (TRACE, b"a=1")
    assert context.span_id != SPAN
    assert context.traceparent == b"00-%b-%b-02" % (TRACE, context.span_id), "its sampling is not ours; its randomness stays"
    assert TraceContext(Parent(TRACE, SPAN, 1, b"")).all_flags == 0
