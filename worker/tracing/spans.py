"""The spans of a finished request: its own, and one for each attempt at a peer."""

from __future__ import annotations

from collections.abc import Iterator

from worker.tracing.span import CLIENT, PARENT_IS_KNOWN, PARENT_IS_REMOTE, SERVER, Span, Value
from wproxy.config.model import Location
from wproxy.end_causes import end_code_of
from wproxy.http import Attempt, Request
from wproxy.tracing import TraceContext, new_span_id

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
    for number, attempt in enumerate(request.attempts):
        yield attempt_span(request, context, attempt, number, offset, clock.now)


def attempt_span(request: Request, context: TraceContext, attempt: Attempt, number: int, offset: float, now: float) -> Span:
    """Return the span of an attempt at a peer. number: how many have been made before."""
    host, _, port = attempt.peer.rpartition(":")
    is_tcp = port.isdigit() and not attempt.peer.startswith("unix:")
    attributes: Attributes = {
        "http.request.method": shown(request.method),
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
    took = now - attempt.started if attempt.response_time is None else attempt.response_time
    return Span(
        context.trace_id,
        new_span_id(),
        context.state,
        context.span_id,
        shown(request.method),
        CLIENT,
        nanoseconds(attempt.started + offset),
        nanoseconds(attempt.started + offset + took),
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
