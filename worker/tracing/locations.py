"""Tracing in one location: when the trace of a request begins, what goes to the upstream, and what is exported at the end.

As in nginx the first location of a request decides whether it is traced, and the last one about its name and attributes. A
request that ends before the phases of its location (400, 413) is traced by the location that it was led to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from worker.tracing.span import Span
from worker.tracing.spans import check_span, spans_of
from wproxy.config.model import Location
from wproxy.http import FieldsLike, Request
from wproxy.tracing import CONTEXTS, context_of

_FIELDS = (b"traceparent", b"tracestate")

Write = Callable[[Request], None]


class Tracing:
    """The tracing of one location."""

    def __init__(self, location: Location, add: Callable[[Iterable[Span]], None] | None) -> None:
        """add: gives spans to the exporter; None without one."""
        self._evaluate = location.otel_trace.evaluate
        self._add = add
        self._traces_all = location.otel_trace.constant in (b"on", b"1")
        self._injects = CONTEXTS[location.otel_trace_context][1]

    def begin(self, request: Request) -> None:
        """Begin the trace of a request that comes to this location first."""
        context = context_of(request)
        context.has_begun = True
        context.sampled = self._evaluate(request) in (b"on", b"1")
        if context.sampled:
            request.call_at_end(lambda: self.end(request))
        if self._injects:
            request.take_client(request.client, with_context(request.fields, context.traceparent, context.state))

    def end(self, request: Request) -> None:
        """Export a request that is over."""
        context = request.trace_context
        if context is not None and context.sampled and self._add is not None:
            self._add(spans_of(request, context, request.location))

    def checked(self, request: Request, passed: bool) -> None:
        """Export a health check that is over, where every request is traced."""
        if self._add is not None and self._traces_all:
            self._add(check_span(request, passed))

    def logging(self, write: Write | None) -> Write:
        """Return the function that logs a finished request; one that has ended early begins its trace there."""

        def write_log(request: Request) -> None:
            if request.main is None and may_begin(request):
                self.begin(request)
            if write is not None:
                write(request)

        return write_log


def may_begin(request: Request) -> bool:
    """Whether no location has decided about the trace of a request."""
    return request.trace_context is None or not request.trace_context.has_begun


def with_context(fields: FieldsLike, traceparent: bytes, tracestate: bytes) -> FieldsLike:
    """Return the fields of a request with ours in place of those that it came with."""
    lines = [line for line in fields.lines if line[0] not in _FIELDS]
    lines.append((b"traceparent", b"traceparent", traceparent))
    if tracestate:
        lines.append((b"tracestate", b"tracestate", tracestate))
    return fields.with_lines(tuple(lines))
