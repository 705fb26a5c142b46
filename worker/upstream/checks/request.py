"""The request of a health check: one of our own, with all additions of the location's proxy_ settings.

It is a GET for the check's uri or, with `type=grpc`, the call that gRPC has for this (grpc.health.v1.Health/Check).
"""

from __future__ import annotations

from worker.http1.request import HeadLimits, parse_request_fields, parse_request_line
from worker.services import Services
from wproxy.config.model import Check, Listener
from wproxy.directives.health_check import GRPC_CHECK, HealthCheck
from wproxy.http import Client, FixedEndpoint, Request

# Variables of the client have the values of a request from this machine itself; most others are empty, as in nginx.
_OURSELVES = b"127.0.0.1"


CALL = "/grpc.health.v1.Health/Check"


def check_body(settings: HealthCheck) -> bytes:
    """Return the body of a check's request: the message HealthCheckRequest, whose field 1 is the service, in its frame."""
    if settings.kind != GRPC_CHECK:
        return b""
    service = settings.grpc_service.encode("utf-8", "surrogateescape")
    message = b"\x0a" + varint(len(service)) + service if service else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def varint(number: int) -> bytes:
    """Return a whole number in the form of Protocol Buffers."""
    octets = []
    while number > 127:
        octets.append(128 | number & 127)
        number >>= 7
    return bytes((*octets, number))


def check_request(services: Services, check: Check) -> Request:
    """Return the request of a check; it has no Host, so that `$host` is the first server_name."""
    location = check.location
    server = location.server
    listeners = services.configuration.listeners
    address = server.listen[0].addresses[0] if server.listen else listeners[0].address
    client = Client(
        services.process, Listener(address, check.position), services.loop.clock, _OURSELVES, 0, 0, FixedEndpoint(address)
    )
    is_call = check.settings.kind == GRPC_CHECK
    uri = (CALL if is_call else check.settings.uri).encode("utf-8", "surrogateescape")
    token = services.process.identity.token
    lines = f'User-Agent: {token} (health check "{check.match.name}")'
    if is_call:
        lines += "\r\nContent-Type: application/grpc\r\nTE: trailers"
    fields = parse_request_fields(lines.encode(), HeadLimits())
    method = b"POST " if is_call else b"GET "
    request = Request(
        client, parse_request_line(method + uri + b" HTTP/1.1", server.merge_slashes), fields, services.loop.clock.now
    )
    request.location, request.route = location, location.route
    request.server = server
    request.upstream_uri = uri
    return request
