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
from worker.loop import READ, park, park_here
from worker.stream import HEAD_CHUNK, SMALL_CHUNK, Stream
from wproxy.failures import ClientError, ClientGone, TimedOut, UpstreamFailure
from wproxy.http import Client, Request, Response
from wproxy.regex import RegexTimedOut

HEAD_TIMED_OUT: Final = "client timed out (110: Connection timed out)"


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
            if head is not None and 2 * head[2] < SMALL_CHUNK and stream.kernel_fd >= 0:
                connection.chunk = SMALL_CHUNK
            while True:
                if response is None:
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
                else:
                    # It was begun as a repetition, and perhaps some of its answer is out.
                    request = connection.request
                    assert request is not None
                    unsent = memoryview(response.body) if request.replied else start_response(connection, request, response)
                if unsent or response.source is not None or response.tunnel is not None:
                    await finish_response(connection, request, response, unsent)
                finish(clients, request)
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
                    # What is in memory has been read to its end. (A property costs 1,000 instructions.)
                    if body.after is not None:
                        connection.buffer = body.after
                    elif body.data is not None or body.finished:
                        connection.buffer = body.leftover
                    elif not await skip_body(connection, request, body):
                        break
                    body = None
                if connection.buffer:
                    pipelined = True
                    request = response = None
                    head = take_request_head(connection.buffer, plan.limits, connection)
                else:
                    pipelined = False
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
                    request = response = None  # an idle connection need not keep them: 500 bytes
                    if connection.patience != patience:
                        patience = connection.patience
                        next_request = park_here(stream, READ, patience)
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
