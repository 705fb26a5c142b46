"""One HTTP/1 client connection, request after request, until one side is done.

`serve_connection` is the whole life: wait for a head, let the location answer, send, log, repeat. Failures are caught at its end,
by guilt: the client's mistakes get their status and the connection is closed; a client that has left gets nothing.

A repeated request on the connection costs 2 system calls here: one recv, one send.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from worker.client.ending import finish, request_lost
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
from worker.client.http1.new_request import accept_body, make_request
from worker.client.http1.repeated_visit import begin_visit
from worker.client.http1.response import finish_response, start_response
from worker.client.plan import ListenerPlan
from worker.content.returns import CloseConnection
from worker.http1.request import is_still_begun, take_request_head
from worker.loop import READ, park
from worker.stream import HEAD_CHUNK, SMALL_CHUNK, Stream
from wproxy.failures import ClientError, ClientGone, TimedOut, UpstreamFailure
from wproxy.http import Client, Request, Response
from wproxy.regex import RegexTimedOut
from wproxy.request_body import RequestBody

HEAD_TIMED_OUT: Final = "client timed out (110: Connection timed out)"


async def serve_connection(stream: Stream, client: Client, plan: ListenerPlan, received: bytes = b"") -> None:
    """Serve one client until one side is done; closes the stream. received: its first bytes, where they have been read."""
    connection = Connection(stream, client, plan)
    request: Request | None = None
    response: Response | None = None
    stream.unexpected = connection
    stream.watches_departure = True
    plan.clients.connections.add(connection)
    head: Head | None = None
    pipelined = False
    page: Response | None = None
    try:
        try:
            if received:
                connection.buffer, connection.idle = received, False
                received = b""
                head = take_request_head(connection.buffer, plan.limits, connection)
            else:
                # Where a worker is busy, a new client has sent its request by now.
                received = first_bytes(connection) if stream.kernel_fd >= 0 else b""
                if not received:
                    await park(stream, READ, connection.patience)
                    received = first_bytes(connection)
                if received:
                    if stream.kernel_fd >= 0:
                        connection.repetition = begin_visit(connection, received)
                    if connection.repetition is None:
                        head = receive_head(connection, received)
                        received = b""  # it need not be kept as long as the connection is
                    else:
                        outcome = await connection.repetition.serve(connection)
                        if isinstance(outcome, bytes):
                            return
                        response = outcome
            if head is not None and stream.kernel_fd >= 0 and 2 * head[2] < SMALL_CHUNK:
                connection.chunk = SMALL_CHUNK
            while True:
                if response is None:
                    if head is None:
                        head = await receive_rest_of_head(connection)
                    request = connection.request = make_request(connection, head)
                    if connection.buffer:
                        connection.buffer = connection.buffer[request.request_length :]
                    if pipelined:
                        request.pipelined, pipelined = True, False
                    if request.fields.content_length > 0 or request.fields.chunked:
                        accept_body(connection, request, head[1])
                    response = await request.route.answer(request)
                    change = request.route.filter
                    if change is not None:
                        response = change(request, response)
                    unsent = start_response(connection, request, response)
                else:
                    # It was begun as a repetition, and perhaps some of its answer is out.
                    request = connection.request
                    assert request is not None
                    unsent = memoryview(response.body) if request.replied else start_response(connection, request, response)
                if unsent or response.source is not None or response.tunnel is not None:
                    await finish_response(connection, request, response, unsent)
                finish(plan.clients, request)
                connection.request = None
                if not request.keepalive:
                    if response.tunnel is None and not is_done(connection, request):
                        await linger(connection, request)
                    elif client.requests == 1 and stream.kernel_fd >= 0:
                        learn = request.route.learn
                        if learn is not None:
                            learn(connection, request, response)
                    break
                body = request.body
                if body is not None:
                    if not leave_body(connection, body) and not await skip_body(connection, request, body):
                        break
                    body = None
                if connection.buffer:
                    pipelined = True
                    request = response = None
                    head = take_request_head(connection.buffer, plan.limits, connection)
                else:
                    connection.idle = True
                    if connection.learn is not None and response.source is None:
                        connection.repetition = connection.learn(connection, request, response)
                        if connection.repetition is not None:
                            request = response = None
                            outcome = await connection.repetition.serve(connection)
                            if isinstance(outcome, bytes):
                                head = receive_head(connection, outcome)
                            else:
                                response = outcome
                            continue
                    request = response = head = None  # an idle connection need not keep them: 500 bytes
                    await connection.wait
                    head = receive_head(connection)
        except _ENDS as end:
            page = after_end(connection, end)
        except Exception:
            if connection.request is not None:
                request_lost(plan.clients, connection.request)
            raise
        if page is not None and connection.request is not None:
            await end_with(connection, connection.request, page)
    finally:
        if connection.request is not None:
            connection.request.end()  # a bug, or the end of the worker, has come before the request's own end
        plan.clients.before_close()
        stream.close()
        connection.request = None  # without the cycle no connection waits for the collector
        plan.clients.ended(connection)


# What ends a connection, but for bugs.
_ENDS: Final = (ClientError, RegexTimedOut, ClientGone, OSError, TimedOut, UpstreamFailure, CloseConnection)


def after_end(connection: Connection, end: BaseException) -> Response | None:
    """Do what has to be done after what ends a connection; return the page that is still to be sent, if there is one."""
    request = connection.request
    if isinstance(end, ClientError):
        return refused(connection, end)
    if isinstance(end, RegexTimedOut):
        return refused(connection, ClientError(500, str(end), code="regex_slow"))
    if isinstance(end, (ClientGone, OSError)):
        client_left(connection, end)
    elif isinstance(end, TimedOut):
        # In an idle connection this is normal.
        if request is not None:
            client_timed_out(connection, request)
    elif isinstance(end, UpstreamFailure):
        # Logged where it happened. The head is out: closing without an end tells the client that something is missing.
        finish_if_any(connection)
    else:
        assert isinstance(end, CloseConnection)
        if request is not None:
            request.status = end.status
            reset_if_asked(connection, request.location)
        finish_if_any(connection)
    return None


# Reading requests.


def leave_body(connection: Connection, body: RequestBody) -> bool:
    """Keep what has come after a body for the next head, if it has been read to its end; return whether it has."""
    # What is in memory has been. (A property costs 1,000 instructions.)
    if body.after is not None:
        connection.buffer = body.after
    elif body.data is not None or body.finished:
        connection.buffer = body.leftover
    else:
        return False
    return True


def first_bytes(connection: Connection) -> bytes:
    """Read once from a new connection; return b"" if nothing has come yet. Raises ClientGone, OSError."""
    try:
        data = connection.stream.recv(HEAD_CHUNK)
    except BlockingIOError:
        return b""
    if not data:
        raise ClientGone
    connection.idle = False
    return data


def receive_head(connection: Connection, data: bytes = b"") -> Head | None:
    """Read once and take a request head; None while it is incomplete. data: what has been read already, instead.

    Raises ClientError, ClientGone, OSError.
    """
    if not data:
        try:
            data = connection.stream.recv(connection.chunk)
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
            data += connection.stream.recv(HEAD_CHUNK)
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
