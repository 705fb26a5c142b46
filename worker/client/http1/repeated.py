"""Requests that come again: the last head of the connection, byte for byte, in a location that needs nothing but the head.

Such a location (a constant `return`, files) has `Route.again`. Server, location and keepalive have been decided for that head,
and no handler, filter or variable has to see it: so there is no coroutine and, unless the access log wants one, no Request.
Whatever is unusual is left to the whole way, which decides and reports it: a connection that ends with this request, a new
second, a file that has changed, a client without room.
"""

from __future__ import annotations

import os
from typing import Final

from worker.client.ending import finish
from worker.client.http1.connection import Connection, Head
from worker.client.http1.ending import is_done, linger
from worker.client.http1.response import finish_response
from worker.content.file_body import FileBody
from worker.content.open_files import OpenFile
from worker.http1.write import KEEPALIVE
from worker.stream import Stream
from wproxy.http import Request, Response, ResponseFields
from wproxy.route import Again

# Returned for an answer that is out, with its request counted and logged.
ANSWERED: Final = Response(ResponseFields(200))


def answer_again(connection: Connection, head: Head, again: Again) -> Response | None:
    """Answer the last head of the connection once more: return ANSWERED, or the rest that the socket did not take.

    None: nothing has happened, and the whole way has to be taken. A rest is for `finish_again`. Raises OSError.
    """
    line, fields, length = head
    # Not the head itself: compiled, a tuple is a new object each time.
    if line is not connection.routed_line or fields is not connection.routed_fields:
        return None
    client, stream = connection.client, connection.stream
    clock = client.clock
    number = client.requests + 1
    if number >= connection.last_request or clock.now >= connection.expires:
        return None
    answer = again(line, fields, stream.kernel_fd >= 0)
    if answer is None:
        return None
    answered, body, file = answer
    known = answered.wire.get(KEEPALIVE)
    if known is None or known[1] is not clock.date_line:
        if file is not None:
            os.close(file[1])
        return None
    data: bytes = known[0] + body
    whole = size = len(data)
    try:
        sent = stream.send(data)
    except OSError as error:
        if file is not None:
            os.close(file[1])
        if isinstance(error, BlockingIOError):
            return None
        note_request(connection, head, answered, size, len(body))
        raise
    if file is not None:
        whole += answered.content_length
        if sent == size:
            sent += send_file(stream, file[1], answered.content_length)
    if sent != whole:
        return rest_of(connection, head, answered, data, sent, file)
    if file is not None:
        os.close(file[1])
    route = connection.routed_by
    if route.write_log is None:
        client.requests = number
        connection.clients.requests += 1
        sample = route.sample
        if sample is not None:
            sample((answered.status, length, whole, 0.0))
    else:
        finish(connection.clients, note_request(connection, head, answered, whole, answered.content_length))
        connection.request = None
    connection.idle = True
    return ANSWERED


def send_file(stream: Stream, fd: int, size: int) -> int:
    """Have the kernel send a file of this size; return how many bytes went. A failure is met again by who sends the rest."""
    try:
        return os.sendfile(stream.kernel_fd, fd, 0, size)
    except OSError:
        return 0


def note_request(connection: Connection, head: Head, answered: ResponseFields, size: int, body_size: int) -> Request:
    """Return the request of a head that has been answered, with so many bytes in all; the connection has it now."""
    line, fields, length = head
    client, route = connection.client, connection.routed_by
    client.requests += 1
    request = connection.request = Request(client, line, fields, client.clock.now)
    request.exchange = connection
    request.location = route.location
    request.route = route
    request.server = route.server
    request.request_length = length
    request.status = answered.status
    request.response_fields = answered
    request.replied = True
    request.bytes_sent = size
    request.body_bytes_sent = body_size
    return request


def rest_of(
    connection: Connection, head: Head, answered: ResponseFields, data: bytes, sent: int, file: tuple[bytes, int] | None
) -> Response:
    """Return the rest of an answer of which so many bytes are out. data: its head and what was at hand. file: takes it over."""
    size = len(data)
    if file is None:
        note_request(connection, head, answered, size, answered.content_length)
        return Response(answered, data[sent:])
    begun = max(0, sent - size)
    request = note_request(connection, head, answered, size + begun, begun)
    path, fd = file
    source = FileBody(request, OpenFile(path, fd), ((begun, answered.content_length),))
    return Response(answered, data[sent:], source)


async def finish_again(connection: Connection, rest: Response) -> bool:
    """Send the rest of an answer at the client's pace, and end its request; return whether the connection is kept.

    Raises ClientGone, TimedOut, OSError, UpstreamFailure.
    """
    request = connection.request
    assert request is not None
    await finish_response(connection, request, rest, memoryview(rest.body))
    finish(connection.clients, request)
    connection.request = None
    if not request.keepalive:  # the worker drains
        if not is_done(connection, request):
            await linger(connection, request)
        return False
    connection.idle = True
    return True
