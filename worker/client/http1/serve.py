"""One HTTP/1 client connection, request after request, until one side is done.

`serve_connection` is the whole life: wait for a head, let the location answer, send, log, repeat. Failures are caught at its end,
by guilt: the client's mistakes get their status and the connection is closed; a client that has left gets nothing.

A repeated request on the connection costs 2 system calls here: one recv, one send.
"""

from __future__ import annotations

from contextlib import suppress

from worker.client.ending import finish, request_lost
from worker.client.http1.body import HTTP1RequestBody
from worker.client.http1.connection import Connection, Head
from worker.client.http1.ending import (
    client_left,
    client_timed_out,
    end_with,
    finish_if_any,
    is_done,
    linger,
    refused,
    reset_if_asked,
    skip_body,
)
from worker.client.http1.repeated import ANSWERED, answer_again, finish_again
from worker.client.http1.response import finish_response, start_response
from worker.client.plan import ListenerPlan
from worker.client.requests import find_way
from worker.content.returns import CloseConnection
from worker.http1.request import RequestFields, RequestLine, is_still_begun, take_request_head
from worker.loop import READ, park, park_here
from worker.stream import HEAD_CHUNK, SMALL_CHUNK, Stream
from wproxy.browsers import stays_connected
from wproxy.config.model import Location
from wproxy.failures import ClientError, ClientGone, TimedOut, UpstreamFailure
from wproxy.http import Client, Request, Response
from wproxy.regex import RegexTimedOut
from wproxy.route import Route

HEAD_TIMED_OUT = "client timed out (110: Connection timed out)"


async def serve_connection(stream: Stream, client: Client, plan: ListenerPlan, received: bytes = b"") -> None:
    """Serve one client until one side is done; closes the stream. received: its first bytes, where they have been read."""
    connection = Connection(stream, client, plan)
    request: Request | None = None
    response: Response | None = None
    clients = plan.clients
    stream.unexpected = connection.client_moved
    stream.watches_departure = True
    clients.connections.add(connection)
    head: Head | None = None
    pipelined = False
    patience = -1.0
    page: Response | None = None
    try:
        try:
            if received:
                connection.buffer, connection.idle = received, False
                received = b""
                head = take_request_head(connection.buffer, plan.limits, connection)
            elif stream.kernel_fd >= 0:
                head = receive_head(connection)  # where a worker is busy, a new client has sent its request by now
            if connection.idle:
                await park(stream, READ, connection.patience)
                head = receive_head(connection)
            if head is not None and 2 * head[2] < SMALL_CHUNK and stream.kernel_fd >= 0:
                connection.chunk = SMALL_CHUNK
            while True:
                if head is None:
                    head = await receive_rest_of_head(connection)
                request = connection.request = make_request(connection, head)
                if connection.buffer:
                    connection.buffer = connection.buffer[request.request_length :]
                if pipelined:
                    request.pipelined = True
                fields = head[1]
                if fields.content_length > 0 or fields.chunked:
                    accept_body(connection, request, fields)
                answer = request.route.answer
                response = await answer(request)
                change = request.route.filter
                if change is not None:
                    response = change(request, response)
                unsent = start_response(connection, request, response)
                if unsent or response.source is not None or response.tunnel is not None:
                    await finish_response(connection, request, response, unsent)
                finish(clients, request)
                connection.request = None
                if not request.keepalive:
                    if response.tunnel is None and not is_done(connection, request):
                        await linger(connection, request)
                    break
                body = request.body
                if body is not None:
                    # What is in memory has been read to its end. (A property costs 1,000 instructions.)
                    if body.after is not None:
                        connection.buffer = body.after
                    elif body.data is not None or body.finished:
                        connection.buffer = body.leftover
                    elif not await skip_body(connection, request, body):
                        break
                    body = None
                request = response = None  # an idle connection need not keep them: 500 bytes
                if connection.buffer:
                    pipelined = True
                    head = take_request_head(connection.buffer, plan.limits, connection)
                else:
                    pipelined = False
                    connection.idle = True
                    if connection.patience != patience:
                        patience = connection.patience
                        next_request = park_here(stream, READ, patience)
                    await next_request
                    head = receive_head(connection)
                    while connection.again is not None and head is not None and not connection.buffer:
                        response = answer_again(connection, head, connection.again)
                        if response is None:
                            break
                        if response is not ANSWERED and not await finish_again(connection, response):
                            return
                        await next_request
                        head = receive_head(connection)
        except ClientError as error:
            page = refused(connection, error)
        except RegexTimedOut as delay:
            page = refused(connection, ClientError(500, str(delay), code="regex_slow"))
        except (ClientGone, OSError) as departure:
            client_left(connection, departure)
        except TimedOut:
            # In an idle connection this is normal.
            if connection.request is not None:
                client_timed_out(connection, connection.request)
        except UpstreamFailure:
            # Logged where it happened. The head is out: closing without an end tells the client that something is missing.
            finish_if_any(connection)
        except CloseConnection as closing:
            if connection.request is not None:
                connection.request.status = closing.status
                reset_if_asked(connection, connection.request.location)
            finish_if_any(connection)
        except Exception:
            if connection.request is not None:
                request_lost(clients, connection.request)
            raise
        if page is not None and connection.request is not None:
            await end_with(connection, connection.request, page)
    finally:
        if connection.request is not None:
            connection.request.end()  # a bug, or the end of the worker, has come before the request's own end
        clients.before_close()
        stream.close()
        connection.request = None  # without the cycle no connection waits for the collector
        clients.ended(connection)


# Reading requests.


def receive_head(connection: Connection) -> Head | None:
    """Read once and take a request head; None while it is incomplete. Raises ClientError, ClientGone, OSError."""
    recv = connection.stream.recv
    try:
        data = recv(connection.chunk)
    except BlockingIOError:
        return None
    if not data:
        raise ClientGone
    connection.idle = False
    if connection.buffer:
        data = connection.buffer + data
        if is_still_begun(data, connection.plan.limits, connection):
            connection.buffer = data
            return None
    elif data == connection.head:
        return connection.taken  # the same head and nothing else, as usual: no need to use the buffer
    elif connection.chunk < HEAD_CHUNK and len(data) == connection.chunk:
        # All that has come is wanted, as it decides whether a close has to wait for the client.
        connection.chunk = HEAD_CHUNK
        with suppress(BlockingIOError):
            data += recv(HEAD_CHUNK)
    connection.buffer = data
    return take_request_head(data, connection.plan.limits, connection)


async def receive_rest_of_head(connection: Connection) -> Head:
    """Read on until the head is complete, within client_header_timeout. Raises ClientError, ClientGone, OSError.

    The time starts at the first byte, on a new connection at its beginning; bytes that dribble in do not extend it.
    """
    client = connection.client
    clock = client.clock
    deadline = (clock.now if client.requests else client.started) + connection.plan.header_timeout
    while True:
        try:
            await park(connection.stream, READ, deadline - clock.now)
        except TimedOut:
            raise ClientError(408, HEAD_TIMED_OUT, "client_header_timeout") from None
        head = receive_head(connection)
        if head is not None:
            return head


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
    else:
        location, route = find_way_again(connection, line, fields, request)
        form = fields.form
        if (
            form is None
            or form is not connection.routed_form
            or route is not connection.routed_by
            or line.method != b"GET"
            or line.version != 11
        ):
            keeps = fields.wants_keepalive if line.version == 10 else not fields.wants_close
            if keeps and (line.method == b"POST" or "safari" in route.keepalive_disable):
                keeps = stays_connected(line.method, fields.get(b"user-agent") or b"", route.keepalive_disable)
                form = None  # that field may be one of those that vary
            elif form is not None and (line.method != b"GET" or line.version != 11):
                form = None
            connection.last_request = route.keepalive_requests if keeps and route.keepalive_timeout[0] else 0
            connection.expires = client.started + route.keepalive_time
            connection.patience = route.keepalive_timeout[0]
            connection.routed_form = form
            connection.again = again = route.again
            if again is not None and (
                line.method != b"GET"
                or line.version != 11
                or fields.content_length >= 0
                or fields.chunked
                or connection.clients.draining
            ):
                connection.again = None
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
