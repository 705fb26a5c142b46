"""The spans of a finished request: its own, and those of its attempts and its subrequests; and the spans of health checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from worker.tracing.span import CLIENT, PARENT_IS_KNOWN, PARENT_IS_REMOTE, SERVER, Span, Value
from wproxy.config.model import Location
from wproxy.end_causes import end_code_of
from wproxy.http import Attempt, Request
from wproxy.tracing import Inner, TraceContext, new_span_id

# Attributes whose values are lists.
_LISTS = ("http.request.header.", "http.response.header.")
_USUAL_PORTS = {b"http": 80, b"https": 443}
_VERSIONS = {9: "0.9", 10: "1.0", 11: "1.1", 20: "2.0"}
_STABLE_VERSIONS = {9: "0.9", 10: "1.0", 11: "1.1", 20: "2"}

Attributes = dict[str, Value]


def spans_of(request: Request, context: TraceContext, location: Location) -> Iterator[Span]:
    """Yield the spans of a request. location: the last one, whose settings count."""
    clock = request.client.clock
    offset = clock.offset
    code = end_code_of(request)
    parent = context.parent
    attributes = attributes_of(request, location)
    if code:
        attributes["error.type"] = code
    for name, template in location.otel_span_attr:
        value = shown(template.evaluate(request))
        if not value:
            attributes.pop(name, None)
        elif name.startswith(_LISTS):
            attributes[name] = (value,)
        else:
            attributes[name] = value
    yield Span(
        context.trace_id,
        context.span_id,
        context.state,
        b"" if parent is None else parent.span_id,
        name_of(request, location),
        SERVER,
        nanoseconds(request.started + offset),
        nanoseconds(clock.now + offset),
        [*attributes.items()],
        request.end_cause if request.status >= 500 else None,
        context.all_flags | PARENT_IS_KNOWN | (PARENT_IS_REMOTE if parent is not None else 0),
    )
    times = Times(offset, clock.now)
    yield from attempt_spans(context, context.span_id, request.method, request.attempts, times)
    for inner in context.inner:
        own = new_span_id()
        yield inner_span(context, own, inner, offset)
        yield from attempt_spans(context, own, inner.method, inner.attempts, times)


class Times(NamedTuple):
    """The clock of the loop: its difference to unix time, and its time now."""

    offset: float
    now: float


def inner_span(context: TraceContext, span_id: bytes, inner: Inner, offset: float) -> Span:
    """Return the span of a subrequest."""
    attributes: Attributes = {"http.request.method": shown(inner.method), "url.path": shown(inner.path)}
    if inner.status:
        attributes["http.response.status_code"] = inner.status
    if inner.end_code:
        attributes["error.type"] = inner.end_code
    return Span(
        context.trace_id,
        span_id,
        context.state,
        context.span_id,
        f"subrequest {shown(inner.path)}",
        CLIENT,
        nanoseconds(inner.started + offset),
        nanoseconds(inner.ended + offset),
        [*attributes.items()],
        "" if inner.end_code or inner.status >= 500 else None,
        context.all_flags | PARENT_IS_KNOWN,
    )


def check_span(request: Request, passed: bool) -> Iterator[Span]:
    """Yield the span of a health check, which is a trace of its own."""
    context = TraceContext(None)
    context.sampled = True
    clock = request.client.clock
    for attempt in request.attempts:
        span = attempt_span(context, b"", request.method, attempt, 0, Times(clock.offset, clock.now))
        attributes = [*span.attributes, ("wproxy.health_check", "passed" if passed else "failed")]
        yield span._replace(name="health check", attributes=attributes, error=None if passed else "")


def attempt_spans(
    context: TraceContext, parent: bytes, method: bytes, attempts: Sequence[Attempt], times: Times
) -> Iterator[Span]:
    """Yield the spans of the attempts of one request."""
    for number, attempt in enumerate(attempts):
        yield attempt_span(context, parent, method, attempt, number, times)


def attempt_span(context: TraceContext, parent: bytes, method: bytes, attempt: Attempt, number: int, times: Times) -> Span:
    """Return the span of an attempt at a peer. parent: the span of its request. number: how many have been made before."""
    host, _, port = attempt.peer.rpartition(":")
    is_tcp = port.isdigit() and not attempt.peer.startswith("unix:")
    attributes: Attributes = {
        "http.request.method": shown(method),
        "server.address": host.strip("[]") if is_tcp else attempt.peer,
    }
    if is_tcp:
        attributes["server.port"] = int(port)
    if attempt.status:
        attributes["http.response.status_code"] = attempt.status
    if number:
        attributes["http.request.resend_count"] = number
    if attempt.end_code:
        attributes["error.type"] = attempt.end_code
    took = times.now - attempt.started if attempt.response_time is None else attempt.response_time
    began = attempt.started + times.offset
    return Span(
        context.trace_id,
        new_span_id(),
        context.state,
        parent,
        shown(method),
        CLIENT,
        nanoseconds(began),
        nanoseconds(began + took),
        [*attributes.items()],
        "" if attempt.end_code or attempt.status >= 400 else None,
        context.all_flags | PARENT_IS_KNOWN,
    )


def name_of(request: Request, location: Location) -> str:
    """Return the name of a request's span."""
    if location.otel_span_name is not None:
        return shown(location.otel_span_name.evaluate(request))
    if location.otel_semconv == "nginx":
        return location.pattern or shown(request.method)
    return f"{shown(request.method)} {location.pattern}".strip()


def attributes_of(request: Request, location: Location) -> Attributes:
    """Return the attributes that every span has, under the names that are asked for."""
    if location.otel_semconv == "nginx":
        return attributes_of_nginx(request, location)
    if location.otel_semconv == "stable":
        return stable_attributes(request, location)
    return attributes_of_nginx(request, location) | stable_attributes(request, location)


def attributes_of_nginx(request: Request, location: Location) -> Attributes:
    """Return the attributes of nginx's module."""
    client = request.client
    found: Attributes = {"http.method": shown(request.method), "http.target": shown(request.line.target)}
    if location.pattern:
        found["http.route"] = location.pattern
    found["http.scheme"] = shown(client.scheme)
    found["http.flavor"] = _VERSIONS.get(request.version, "1.1")
    agent = request.fields.get(b"user-agent")
    if agent is not None:
        found["http.user_agent"] = shown(agent)
    found["http.request_content_length"] = max(0, request.fields.content_length)
    found["http.response_content_length"] = max(0, request.body_bytes_sent)
    if request.status:
        found["http.status_code"] = request.status
    found["net.host.name"] = shown(request.host)
    port = client.server_address.port
    if port > 0 and port != _USUAL_PORTS.get(client.scheme):
        found["net.host.port"] = port
    found["net.sock.peer.addr"] = shown(client.remote_addr)
    if client.remote_port:
        found["net.sock.peer.port"] = client.remote_port
    return found


def stable_attributes(request: Request, location: Location) -> Attributes:
    """Return the attributes of the stable semantic conventions of OpenTelemetry."""
    client = request.client
    path, question, query = request.line.target.partition(b"?")
    found: Attributes = {"http.request.method": shown(request.method), "url.path": shown(path)}
    if question:
        found["url.query"] = shown(query)
    found["url.scheme"] = shown(client.scheme)
    if location.pattern:
        found["http.route"] = location.pattern
    found["network.protocol.version"] = _STABLE_VERSIONS.get(request.version, "1.1")
    agent = request.fields.get(b"user-agent")
    if agent is not None:
        found["user_agent.original"] = shown(agent)
    if request.status:
        found["http.response.status_code"] = request.status
    found["server.address"] = shown(request.host)
    port = client.server_address.port
    if port > 0:
        found["server.port"] = port
    found["network.peer.address"] = shown(client.remote_addr)
    if client.remote_port:
        found["network.peer.port"] = client.remote_port
    return found


def nanoseconds(seconds: float) -> int:
    """Return unix time in whole milliseconds, as nanoseconds."""
    return int(seconds * 1000) * 1_000_000


def shown(value: bytes) -> str:
    """Return bytes of a request as text."""
    return value.decode("utf-8", "replace")
