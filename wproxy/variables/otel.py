"""Variables of tracing (nginx's module otel): reading one gives a request its place in a trace."""

from __future__ import annotations

from wproxy.http import Request
from wproxy.tracing import SAMPLED, context_of
from wproxy.variables.registry import REQUEST, variable


@variable("otel_trace_id", REQUEST)
def otel_trace_id(request: Request) -> bytes:
    return context_of(request).trace_id


@variable("otel_span_id", REQUEST)
def otel_span_id(request: Request) -> bytes:
    return context_of(request).span_id


@variable("otel_parent_id", REQUEST)
def otel_parent_id(request: Request) -> bytes | None:
    parent = context_of(request).parent
    return None if parent is None else parent.span_id


@variable("otel_parent_sampled", REQUEST)
def otel_parent_sampled(request: Request) -> bytes:
    parent = context_of(request).parent
    return b"1" if parent is not None and parent.flags & SAMPLED else b"0"
