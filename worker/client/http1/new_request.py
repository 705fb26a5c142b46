"""A head becomes a request: its server and location, whether the connection is kept after it, and its body."""

from __future__ import annotations

from worker.client.http1.body import HTTP1RequestBody
from worker.client.http1.connection import Connection, Head
from worker.client.requests import find_way
from worker.http1.request import RequestFields, RequestLine
from worker.loop import AT_HOME
from wproxy.browsers import stays_connected
from wproxy.config.model import Location
from wproxy.failures import ClientError
from wproxy.http import Request
from wproxy.route import Route


def make_request(connection: Connection, head: Head) -> Request:
    """Return the request of a head: its server, its location, and whether the connection is kept after it."""
    line, fields, length = head
    client = connection.client
    now = client.clock.now
    client.requests += 1
    request = Request(client, line, fields, now)
    # Not the head itself: compiled, a tuple is a new object each time.
    if line is connection.routed_line and fields is connection.routed_fields:
        route = connection.routed_by
        location = route.location
        connection.learn = route.learn
    else:
        location, route = find_way_again(connection, line, fields, request)
        if connection.learn is not None:
            connection.learn = connection.repetition = None
        form = fields.form
        if (
            form is None
            or form is not connection.routed_form
            or route is not connection.routed_by
            or line.method != b"GET"
            or line.version != 11
        ):
            keeps = fields.keeps > 0 if line.version == 10 else fields.keeps >= 0
            if keeps and (line.method == b"POST" or "safari" in route.keepalive_disable):
                keeps = stays_connected(line.method, fields.get(b"user-agent") or b"", route.keepalive_disable)
                form = None  # that field may be one of those that vary
            elif form is not None and (line.method != b"GET" or line.version != 11):
                form = None
            connection.last_request = route.keepalive_requests if keeps and route.keepalive_timeout[0] else 0
            connection.expires = client.started + route.keepalive_time
            patience = route.keepalive_timeout[0]
            if patience != connection.patience:
                connection.patience = patience
                connection.wait = AT_HOME[patience]
            connection.routed_form = form
        else:
            connection.learn = route.learn_varied
        connection.routed_by = route
        # The captures of a regex belong to this request: the next one must find its own.
        connection.routed_line, connection.routed_fields = (line, fields) if request.captures is None else (None, None)
    request.exchange = connection
    request.location = location
    request.route = route
    request.server = route.server
    request.request_length = length
    if client.requests >= connection.last_request or now >= connection.expires or connection.clients.draining:
        request.keepalive = False
    return request


def find_way_again(connection: Connection, line: RequestLine, fields: RequestFields, request: Request) -> tuple[Location, Route]:
    """Return the location and route of a request, as `find_way` does, but what is known from earlier ones is not looked for."""
    host = line.authority or fields.host
    server = connection.routed_server
    if server is not None and host is connection.routed_host:
        # A block that differs in values has the very Host of the one before it.
        entry = server.entry
        if entry is not None:
            return entry.location, entry
        location = server.locations.find(line.path, request)
        return location, location.route
    client = connection.client
    known, connection.known = connection.known, None
    if client.find_server is not None:
        return find_way(client, host, line.path, request)  # TLS decides
    if known is not None and known.way is not None:
        way: tuple[Location, Route] = known.way  # another connection has begun with this head
    else:
        way = find_way(client, host, line.path, request)
        if request.captures is not None:
            return way  # the name of the server may be a regex, which leaves captures each time
        if known is not None:
            known.way = way
    connection.routed_host, connection.routed_server = host, way[0].server
    return way


def accept_body(connection: Connection, request: Request, fields: RequestFields) -> None:
    """Prepare to read the request's body. Raises ClientError(413) when its announced length is too large."""
    limit = request.route.client_max_body_size
    if limit and fields.content_length > limit:
        raise ClientError(413, f"client intended to send too large body: {fields.content_length} bytes", "client_max_body_size")
    owes_continue = fields.expects_continue and request.version > 10
    body = HTTP1RequestBody(connection.stream, connection.buffer, fields.content_length, owes_continue, limit)
    body.timeout = request.location.client_body_timeout
    connection.buffer = b""
    request.body = body
