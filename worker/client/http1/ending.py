"""The end of an HTTP/1 connection, and of its requests that are not answered in the usual way: the answer, the close."""

from __future__ import annotations

from contextlib import suppress

from worker.client.ending import finish, read_away, record_if_refused, replaced_refusal, request_left, request_timed_out
from worker.client.http1.connection import Connection
from worker.client.http1.response import finish_response, start_response
from worker.http1.broken_head import read_what_there_is
from worker.http1.request import (
    HEAD_END,
    RequestFields,
    RequestLine,
    parse_request_line,
    version_of_refused_line,
)
from worker.logs import log_request
from worker.loop import READ, give_way
from worker.pages import error_response
from wproxy.config.model import Location, Settings
from wproxy.failures import BodyBrokenOff, ClientError, ClientGone, TimedOut, UpstreamFailure
from wproxy.http import Request, Response
from wproxy.regex import RegexTimedOut
from wproxy.request_body import RequestBody


def finish_if_any(connection: Connection) -> None:
    """Do the same for a request that ended early, if there is one."""
    request = connection.request
    if request is not None:
        request.is_cut = True
        finish(connection.clients, request)


async def skip_body(connection: Connection, request: Request, body: RequestBody) -> bool:
    """Skip a request body that was not read, so that the next head can follow; return False to close the connection.

    It may be of any size (nginx: ngx_http_discard_request_body): only lingering_time and lingering_timeout limit it.
    """
    if not body.finished:
        if body.owes_continue:
            return False  # it was never asked for: the client decides whether it comes
        body.limit = 0
        body.timeout = request.location.lingering_timeout
        deadline = connection.client.clock.now + request.location.lingering_time
        try:
            connection.is_over = True  # for those who count: the request is
            while await body.read():
                await give_way()
                if connection.client.clock.now > deadline:
                    return False
            connection.is_over = False
        except ClientError as error:
            if error.status == 408:
                return False
        except ClientGone:
            return False
        if connection.is_over:
            await linger(connection, request)  # a bad chunk: more may come, and would reset the answer
            return False
    connection.buffer = body.leftover
    return True


async def linger(connection: Connection, request: Request | None) -> None:
    """Close so that the answer arrives: incoming bytes would make the system reset the connection.

    We end our side, then read and drop bytes until the client ends its own, within lingering_time.
    """
    stream = connection.stream
    location = request.location if request is not None else connection.plan.default.locations.fallback
    if stream.flush is not None:
        try:
            await stream.drained(location.send_timeout)
        except TimedOut:
            return
    if not lingers(connection, request, location):
        if stream.kernel_fd < 0:  # TLS has words for the end
            with suppress(TimedOut):
                await stream.finished(location.send_timeout)
        return
    connection.clients.before_close()
    connection.is_over = True
    await read_away(stream, location)


def is_done(connection: Connection, request: Request) -> bool:
    """Whether nothing is left for `linger` to do, as mostly: no coroutine has to be made for that."""
    stream, fields, location = connection.stream, request.fields, request.location
    if stream.flush is not None or (stream.kernel_fd < 0 and (stream.holds or not stream.has_finished())):
        return False
    if request.body is not None or fields.content_length > 0 or fields.chunked or connection.buffer or not stream.armed & READ:
        return not lingers(connection, request, location)
    return location.lingering_close != "always"


def lingers(connection: Connection, request: Request | None, location: Location) -> bool:
    """Whether the client may send more, or has, so that a close would reset what it has not read.

    The socket is asked only after an event that no task has waited for, which has switched them off: as in nginx
    (ngx_http_finalize_connection), bytes of which no event has told yet are not waited for.
    """
    if location.lingering_close == "off":
        return False
    expected = request is not None and (request.fields.content_length > 0 or request.fields.chunked)
    if request is not None and request.body is not None:
        expected = not request.body.finished
    stream = connection.stream
    if expected or connection.buffer or location.lingering_close == "always":
        return True
    return (stream.holds or not stream.armed & READ) and stream.has_unread()


def refused(connection: Connection, error: ClientError) -> Response | None:
    """Return the page for a mistake of the client's, for `end_with`; None when the request gets no answer, and is finished."""
    request = connection.request
    if request is None:
        # The logs need a request: one is made from the bytes there are.
        request = connection.request = unreadable_request(connection)
        settings: Settings = connection.plan.default
        connection.is_refused = True
        text = f"{error.reason} {while_reading(request)}"
    else:
        settings = request.location
        text = error.reason
    record_if_refused(request)
    setting = settings.described(error.setting)
    log_request(request, error.level, text, setting, error.code)
    request.ends(error.code, f"client: {error.reason}{setting}")
    request.keepalive = False
    if request.replied:  # the body of the request was still on its way
        finish_if_any(connection)
        return None
    if error.status == 408 or isinstance(error, BodyBrokenOff):
        request.status = error.status
        if error.status == 408:
            reset_if_asked(connection, request.location)
        finish(connection.clients, request)
        return None
    return error_response(request, error.status, request.route.server_token)


async def end_with(connection: Connection, request: Request, page: Response) -> None:
    """Send the page for a mistake of the client's, or what the location has in its place, and close."""
    try:
        response = await replaced_refusal(request, page)
        unsent = start_response(connection, request, response)
        if unsent or response.source is not None:
            await finish_response(connection, request, response, unsent)
    except (OSError, TimedOut, ClientGone, UpstreamFailure):
        finish(connection.clients, request)
        return
    finish(connection.clients, request)
    connection.request = None  # it is over: a client that leaves while we linger ends nothing
    connection.is_over = True
    await linger(connection, request)


def client_left(connection: Connection, error: BaseException) -> None:
    """Finish the request of a client that has left: with 499 if it did not wait for an answer."""
    request = connection.request
    of_tls: str = getattr(error, "text", "")  # a TlsFailure's
    if request is None:
        if connection.buffer.strip(b"\r\n"):
            request = connection.request = unreadable_request(connection)
            record_if_refused(request)
            request.status = 400
            request.is_cut = True
            request.ends("cl_left", f"client: {of_tls or 'closed the connection'}")
            text = f"{of_tls or 'client prematurely closed connection'} {while_reading(request)}"
            log_request(request, "info", text, code="cl_left")
            finish(connection.clients, request)
            return
        if connection.buffer:
            connection.clients.requests += 1  # an empty line begins a request, as in nginx
        if of_tls:
            client = connection.client
            doing = "while keepalive" if client.requests else "while waiting for request"
            address = client.remote_addr.decode("latin-1")
            text = f"{of_tls} {doing}, client: {address}, server: {client.listener.address}"
            connection.plan.log.write("info", text, client.serial)
        return
    request_left(connection.clients, request, error)


def client_timed_out(connection: Connection, request: Request) -> None:
    """Finish the request of a client that did not take the response in time: the connection ends with it."""
    reset_if_asked(connection, request.location)
    request_timed_out(connection.clients, request)


def reset_if_asked(connection: Connection, location: Location) -> None:
    """Make the following close a reset, with reset_timedout_connection: then no unsent bytes stay in memory."""
    if location.reset_timedout_connection:
        connection.stream.reset_on_close()


def unreadable_request(connection: Connection) -> Request:
    """Return a request for the log when none could be read: with its line if it is valid, otherwise with the bytes that arrived.

    If a host could be read, in the line or in Host, the error page is that of the server it names, as for any other request;
    otherwise that of the default server.
    """
    connection.client.requests += 1
    head = first_head(connection.buffer)
    raw, newline, _ = head.partition(b"\n")
    raw = raw.rstrip(b"\r")[:8192]
    fields, length = RequestFields((), {}, None, None, -1, False), 0
    try:
        if not newline:
            raise ClientError(400, "client sent invalid request")
        line = parse_request_line(raw, connection.plan.limits.merge_slashes)
        fields, length = read_what_there_is(head)
    except ClientError:
        # A client that asked for a head gets only a head, whatever else it wrote.
        method = b"HEAD" if raw.startswith(b"HEAD ") else b""
        line = RequestLine(raw, method, b"", b"", b"", None, version_of_refused_line(raw), False)
    request = Request(connection.client, line, fields, connection.client.clock.now)
    request.request_length = length
    request.lead_to(connection.plan.default.locations.fallback)
    host = line.authority or fields.host
    if host is not None:
        with suppress(RegexTimedOut):
            server = connection.client.listener.servers.find(host, request)
            request.lead_to(server.locations.fallback)
    request.server = request.location.server
    request.keepalive = False
    if request.trace is not None:
        request.trace.is_refused = True
    return request


def first_head(buffer: bytes) -> bytes:
    """Return the head that the bytes begin with, without empty lines before it, and without later requests."""
    begun = buffer.lstrip(b"\r\n")
    end = HEAD_END(begun)
    return begun if end is None else begun[: end.end()]


def while_reading(request: Request) -> str:
    """Return the part of its head in which an unreadable request ended, in nginx's words."""
    return f"while reading client request {'headers' if request.line.target else 'line'}"
