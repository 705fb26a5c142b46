"""The request of a health check: a GET of our own for the check's uri, with all additions of the location's proxy_ settings."""

from __future__ import annotations

from worker.http1.request import HeadLimits, parse_request_fields, parse_request_line
from worker.services import Services
from wproxy.config.model import Check, Listener
from wproxy.http import Client, Endpoint, Request

# Variables of the client have the values of a request from this machine itself; most others are empty, as in nginx.
_OURSELVES = b"127.0.0.1"


def check_request(services: Services, check: Check) -> Request:
    """Return the request of a check; it has no Host, so that `$host` is the first server_name."""
    location = check.location
    server = location.server
    listeners = services.configuration.listeners
    address = server.listen[0].addresses[0] if server.listen else listeners[0].address
    client = Client(services.process, Listener(address, check.position), services.loop.clock, _OURSELVES, 0, 0, Endpoint(address))
    uri = check.settings.uri.encode("utf-8", "surrogateescape")
    token = services.process.identity.token
    fields = parse_request_fields(f'User-Agent: {token} (health check "{check.match.name}")'.encode(), HeadLimits())
    request = Request(
        client, parse_request_line(b"GET " + uri + b" HTTP/1.1", server.merge_slashes), fields, services.loop.clock.now
    )
    request.location, request.route = location, location.route
    request.server = server
    request.upstream_uri = uri
    return request
