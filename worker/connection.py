"""One HTTP/1 client connection, request after request, until one side is done.

`serve_connection` is the whole life: wait for a head, let the location answer, send, log, go round. What goes wrong is caught
at its end, by guilt: the client's mistakes get their status and the connection is closed; a client that has left gets nothing.

A request that is repeated on the connection costs 2 system calls here: one recv, one send.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from worker.content.pages import error_response
from worker.content.returns import CloseConnection
from worker.http1.body import RequestBody
from worker.http1.chunked import encode_chunk
from worker.http1.request import (
    HOST_LINE,
    HeadLimits,
    HeadMemo,
    RequestFields,
    RequestLine,
    parse_request_line,
    take_request_head,
)
from worker.http1.write import BODILESS, KEEPALIVE, UNCHUNKED, last_chunk, make_head
from worker.logs import log_connection, log_request
from worker.loop import FAIR_SHARE, READ, give_way, park, sleep
from worker.phases import answer_error
from worker.rates import Pace, client_rate, rate_of
from worker.stream import CHUNK, HEAD_CHUNK, Stream, send_all
from worker.tunnel import Timeouts, run_tunnel
from worker.upstream.incoming import Tunnel
from worker.upstream.proxied_body import ProxiedBody
from wproxy.config.model import Listener, Location, Server, Settings
from wproxy.failures import ClientError, ClientGone, TimedOut, UpstreamFailure
from wproxy.http import BodySource, Client, Request, Response
from wproxy.regex import RegexTimedOut

if TYPE_CHECKING:
    from worker.run import Worker


# struct linger: on, and no time for it.
_NO_LINGER = struct.pack("ii", 1, 0)

HEAD_TIMED_OUT = "client timed out (110: Connection timed out)"

Head = tuple[RequestLine, RequestFields, int]


class Connection:
    """What a client connection keeps from one request to the next.

    buffer: bytes received and not yet used. idle: waiting for the first byte of a request, so that it may be closed; patience:
    for so many seconds.
    routed_*: the last head, and the location it led to; last_request, expires: from this request on, or this moment, the
    connection is not kept, as that head and location have it.
    """

    __slots__ = (
        "buffer",
        "client",
        "expires",
        "idle",
        "last_request",
        "memo",
        "patience",
        "plan",
        "request",
        "routed_head",
        "routed_to",
        "stream",
        "task",
        "worker",
    )

    def __init__(self, worker: Worker, stream: Stream, client: Client, plan: ListenerPlan) -> None:
        self.worker = worker
        self.stream = stream
        self.client = client
        self.plan = plan
        self.memo = HeadMemo()
        self.buffer = b""
        self.idle = True
        self.patience = plan.header_timeout
        self.request: Request | None = None
        self.routed_head: Head | None = None
        self.routed_to: Location = plan.default.locations.fallback
        self.last_request = 0
        self.expires = 0.0
        self.task = worker.loop.current()

    @property
    def idle_since(self) -> float:
        """When it began to wait for a request, if it does; in seconds of the loop's clock."""
        return self.task.deadline - self.patience

    def may_leave(self, now: float) -> bool:
        """Whether nobody misses it: it waits for a request, has for keepalive_min_timeout, and none has come."""
        if not self.idle or not self.task.parked:
            return False
        return not self.client.requests or now >= self.idle_since + self.routed_to.keepalive_min_timeout

    def client_moved(self, stream: Stream) -> bool:
        """The client sent something, or left, while it is not its turn: a departure ends the request (499).

        Bytes are left where they are until the next request is read.
        """
        request = self.request
        if request is not None and not request.location.proxy_ignore_client_abort and stream.has_ended():
            attempts = request.attempts
            ends_upstream = bool(attempts) and attempts[-1].response_time is None
            more = ", so upstream connection is closed too" if ends_upstream else ""
            self.worker.loop.interrupt(self.task, ClientGone(f"client prematurely closed connection{more}"))
        return False


class ListenerPlan:
    """What every connection of a listener needs before its first request names a server: of the default server."""

    __slots__ = ("default", "header_timeout", "limits")

    def __init__(self, default: Server) -> None:
        number, each = default.large_client_header_buffers
        self.default = default
        self.header_timeout = default.client_header_timeout
        self.limits = HeadLimits(
            line=each,
            field=each,
            total=number * each,
            count=default.max_headers,
            ignore_invalid_headers=default.ignore_invalid_headers,
            underscores_in_headers=default.underscores_in_headers,
            merge_slashes=default.merge_slashes,
        )


async def serve_connection(worker: Worker, stream: Stream, client: Client, plan: ListenerPlan) -> None:
    """Serve one client until one side is done; closes the stream."""
    connection = Connection(worker, stream, client, plan)
    stream.unexpected = connection.client_moved
    client.send_interim = stream.send
    stream.watches_departure = True
    worker.connections.add(connection)
    try:
        while True:
            pipelined = bool(connection.buffer)
            if pipelined:
                head = take_request_head(connection.buffer, plan.limits, connection.memo)
            else:
                connection.idle = True
                await park(stream, READ, connection.patience)
                head = receive_head(connection)
            if head is None:
                head = await receive_rest_of_head(connection)
            request = connection.request = make_request(connection, head)
            if connection.buffer:
                connection.buffer = connection.buffer[request.request_length :]
            if pipelined:
                request.pipelined = True
            fields = request.fields
            if fields.content_length > 0 or fields.chunked:
                accept_body(connection, request)
            answer = request.location.answer
            response = await answer(request)
            change = request.location.filter
            if change is not None:
                response = change(request, response)
            unsent = start_response(connection, request, response)
            if unsent or response.source is not None or response.tunnel is not None:
                await finish_response(connection, request, response, unsent)
            finish(connection, request)
            connection.request = None
            if not request.keepalive:
                if response.tunnel is None:
                    await linger(connection, request)
                break
            if request.body is not None:
                if request.body.finished:
                    connection.buffer = request.body.leftover
                elif not await skip_body(connection, request):
                    break
    except ClientError as error:
        await refuse(connection, error)
    except RegexTimedOut as error:
        await refuse(connection, ClientError(500, str(error)))
    except (ClientGone, OSError) as error:
        client_left(connection, error)
    except TimedOut:
        # While it was idle nobody minds.
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
    finally:
        stream.close()
        worker.connection_ended(connection)


# Reading requests.


def receive_head(connection: Connection) -> Head | None:
    """Read once and take a request head; None while it is not complete. Raises ClientError, ClientGone, OSError."""
    recv = connection.stream.recv
    try:
        data = recv(HEAD_CHUNK)
    except BlockingIOError:
        return None
    if not data:
        raise ClientGone
    connection.idle = False
    memo = connection.memo
    if connection.buffer:
        data = connection.buffer + data
    elif data == memo.head:
        return memo.taken  # the same head and nothing else, as most often: it need not go through the buffer
    connection.buffer = data
    return take_request_head(data, connection.plan.limits, memo)


async def receive_rest_of_head(connection: Connection) -> Head:
    """Read on until the head is complete, within client_header_timeout. Raises ClientError, ClientGone, OSError.

    The time runs from the first byte, on a new connection from its beginning; bytes that dribble in do not extend it.
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
    """The request of a head: its server, its location, and whether the connection is kept after it."""
    line, fields, length = head
    client = connection.client
    now = client.clock.now
    client.requests += 1
    request = Request(client, line, fields, now)
    if head is connection.routed_head:
        location = connection.routed_to
    else:
        server = client.listener.servers.find(line.authority or fields.host, request)
        location = connection.routed_to = server.entry or server.locations.find(line.path, request)
        # What a regex found belongs to this request: the next one must find its own.
        connection.routed_head = head if request.captures is None else None
        keeps = fields.wants_keepalive if line.version == 10 else not fields.wants_close
        connection.last_request = location.keepalive_requests if keeps and location.keepalive_timeout[0] else 0
        connection.expires = client.started + location.keepalive_time
        connection.patience = location.keepalive_timeout[0]
    request.location = location
    request.server = location.server
    request.request_length = length
    if client.requests >= connection.last_request or now >= connection.expires or connection.worker.draining:
        request.keepalive = False
    return request


def accept_body(connection: Connection, request: Request) -> None:
    """Prepare to read the request's body. Raises ClientError(413) when it says that it is too large."""
    fields = request.fields
    location = request.location
    limit = location.client_max_body_size
    if limit and fields.content_length > limit:
        raise ClientError(413, f"client intended to send too large body: {fields.content_length} bytes", "client_max_body_size")
    owes_continue = isinstance(fields, RequestFields) and fields.expects_continue and request.version > 10
    body = RequestBody(connection.stream, connection.buffer, fields.content_length, owes_continue)
    body.limit = limit
    body.timeout = location.client_body_timeout
    connection.buffer = b""
    request.body = body


# Sending responses.


def start_response(connection: Connection, request: Request, response: Response) -> memoryview | None:
    """Send the head and what of the body is at hand, as far as the socket takes it; what is left, or None. Raises OSError.

    A function and not a coroutine: for most responses there is nothing to wait for.
    """
    fields = response.fields
    body = response.body
    request.status = fields.status
    request.response_fields = fields
    if fields.content_length < 0 and not response.bodiless:
        # The client is told the end of the body by chunks or, before 1.1, by the end of the connection.
        if request.version == 10 or not request.location.chunked_transfer_encoding:
            request.keepalive = False
        else:
            body = encode_chunk(body)
            if response.source is None:
                body += last_chunk(request, response)
    if request.body is not None and request.body.owes_continue:
        request.keepalive = False  # the body was never asked for: whether it comes all the same cannot be known
    variant = KEEPALIVE if request.keepalive else 0
    if request.version == 10 or not request.location.chunked_transfer_encoding:
        variant |= UNCHUNKED
    if response.bodiless:
        variant |= BODILESS
    date_line = connection.client.clock.date_line
    sent_last = fields.wire.get(variant)
    if sent_last is not None and sent_last[1] is date_line:
        head = sent_last[0]
    else:
        head = make_head(fields, variant, request.location.keepalive_timeout[1], date_line)
    data = head + body
    size = len(data)
    request.status = fields.status
    request.replied = True
    request.bytes_sent = size
    request.body_bytes_sent = len(body)
    send = connection.stream.send
    try:
        sent = send(data)
    except BlockingIOError:
        sent = 0
    except OSError:
        abandon(response)
        raise
    return None if sent == size else memoryview(data)[sent:]


def abandon(response: Response) -> None:
    """Give up what a response holds of an upstream; nothing happens when it has been given back already."""
    if response.source is not None:
        response.source.close()
    elif response.tunnel is not None:
        response.tunnel.end()


async def finish_response(connection: Connection, request: Request, response: Response, unsent: memoryview | None) -> None:
    """Send what `start_response` could not, at the client's pace. Raises ClientGone, TimedOut, OSError, UpstreamFailure."""
    try:
        if unsent and isinstance(response.source, ProxiedBody) and len(unsent) <= len(response.body):
            # Its source counts it, and reads on if the client is slow.
            request.bytes_sent -= len(unsent)
            request.body_bytes_sent -= len(unsent)
            response.source.put_first(unsent)
        elif unsent:
            await sender(request)(connection.stream, unsent, request.location.send_timeout)
        response.body = b""  # a slow client would keep it for long
        if response.source is not None:
            await send_rest(connection, request, response)
        elif response.tunnel is not None:
            await serve_tunnel(connection, request, response.tunnel)
    finally:
        abandon(response)


async def send_rest(connection: Connection, request: Request, response: Response) -> None:
    """Send what of a body is not at hand yet, a piece at a time: nothing is read that the client has not room for."""
    stream = connection.stream
    timeout = request.location.send_timeout
    source = response.source
    assert source is not None
    chunked = response.fields.content_length < 0 and request.version > 10 and request.location.chunked_transfer_encoding
    rate = client_rate(request)
    if rate:
        await send_at_rate(connection, request, source, chunked, rate)
    elif send := getattr(source, "send_chunks" if chunked else "send", None):
        # It moves its bytes to the socket itself.
        moved = 0
        while sent := await send(stream, timeout):
            request.body_bytes_sent += sent
            request.bytes_sent += sent
            moved += sent
            if moved >= FAIR_SHARE:
                moved = 0
                await give_way()
    else:
        await send_pieces(connection, request, source, chunked)
    if chunked:
        data = last_chunk(request, response)
        request.body_bytes_sent += len(data)
        request.bytes_sent += len(data)
        await send_all(stream, data, timeout)


def proxied_body(request: Request) -> ProxiedBody | None:
    """The rest of the upstream's answer, of which filters may make what is sent; None where there is none on its way."""
    found: ProxiedBody | None = request.attempts[-1].body if request.attempts else None
    return found


def sender(request: Request) -> Callable[[Stream, bytes | memoryview, float], Awaitable[None]]:
    """What sends all of some bytes to the client: where they are made of an upstream's answer the rest of that is read ahead."""
    proxied = proxied_body(request)
    return send_all if proxied is None else proxied.send_changed


async def send_pieces(connection: Connection, request: Request, source: BodySource, chunked: bool) -> None:
    """Send what of a body comes in pieces: because it is changed on its way, or because its source knows no other way."""
    timeout = request.location.send_timeout
    send = sender(request)
    moved = 0
    while piece := await source.read():
        data = encode_chunk(piece) if chunked else piece
        request.body_bytes_sent += len(data)
        request.bytes_sent += len(data)
        await send(connection.stream, data, timeout)
        moved += len(data)
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()


async def send_at_rate(connection: Connection, request: Request, source: BodySource, chunked: bool, rate: int) -> None:
    """Send a body with so many bytes a second. An upstream is read as fast as it can, where that is allowed."""
    stream = connection.stream
    clock = connection.client.clock
    timeout = request.location.send_timeout
    pace = Pace(rate, rate_of(request.location.limit_rate_after, request), request.started)
    data = memoryview(b"")
    proxied, send = proxied_body(request), sender(request)
    while True:
        while not (allowed := pace.allowance(clock.now, request.bytes_sent)):
            if proxied is not None:
                proxied.read_ahead()
            await sleep(pace.pause(clock.now, request.bytes_sent))
        if isinstance(source, ProxiedBody):
            sent = await (source.send_chunks if chunked else source.send)(stream, timeout, allowed)
            if not sent:
                return
        else:
            if not data:
                piece = await source.read()
                if not piece:
                    return
                data = memoryview(encode_chunk(piece) if chunked else piece)
            sent = min(allowed, len(data))
            await send(stream, data[:sent], timeout)
            data = data[sent:]
        request.body_bytes_sent += sent
        request.bytes_sent += sent
        await give_way()


async def serve_tunnel(connection: Connection, request: Request, tunnel: Tunnel) -> None:
    """Carry bytes both ways until one side closes; the connection ends with it."""
    request.keepalive = False
    location = request.location
    early, connection.buffer = connection.buffer, b""
    loop = connection.worker.loop
    timeouts = Timeouts(location.proxy_read_timeout, location.proxy_send_timeout, location.send_timeout)
    if location.proxy_tunnel_timeout is not None:
        timeouts = timeouts._replace(proxy_read_timeout=location.proxy_tunnel_timeout, idle_setting="proxy_tunnel_timeout")
    end, sent, received = await run_tunnel(loop, connection.stream, tunnel.upstream, early, timeouts)
    request.body_bytes_sent += sent
    request.bytes_sent += sent
    request.request_length += received
    if end.why:
        request.end_cause = f"{end.why}{location.described(end.setting)}"
        log_request(request, "info", f"{end.why} while proxying upgraded connection", setting=location.described(end.setting))


# The end of a request.


def finish(connection: Connection, request: Request) -> None:
    """Count and log a request that is over."""
    connection.worker.requests += 1
    if request.body is not None:
        request.request_length += request.body.received
        request.body.close()
    write = request.location.write_log
    if write is not None:
        write(request)


def finish_if_any(connection: Connection) -> None:
    """The same for a request that ended early, if there is one."""
    request = connection.request
    if request is not None:
        request.is_cut = True
        finish(connection, request)


async def skip_body(connection: Connection, request: Request) -> bool:
    """Read past what of a request body nobody wanted, so that the next head can follow; False when it takes too long."""
    body: RequestBody = request.body
    if not body.finished:
        if body.owes_continue:
            return False  # it was never asked for: whether it comes is for the client to decide
        body.timeout = request.location.lingering_timeout
        deadline = connection.client.clock.now + request.location.lingering_time
        try:
            while await body.read():
                await give_way()
                if connection.client.clock.now > deadline:
                    return False
        except (ClientError, ClientGone):
            return False
    connection.buffer = body.leftover
    return True


async def linger(connection: Connection, request: Request | None) -> None:
    """Close so that the answer arrives: bytes still coming would make the system reset the connection.

    We end our side, then read and forget until the client ends its own, within lingering_time.
    """
    stream = connection.stream
    location = request.location if request is not None else connection.plan.default.locations.fallback
    if location.lingering_close == "off":
        return
    expected = request is not None and (request.fields.content_length > 0 or request.fields.chunked)
    if request is not None and request.body is not None:
        expected = not request.body.finished
    if not (expected or connection.buffer or location.lingering_close == "always" or stream.has_unread()):
        return
    clock = connection.client.clock
    deadline = clock.now + location.lingering_time
    try:
        stream.sock.shutdown(socket.SHUT_WR)
        while clock.now < deadline:
            try:
                if not stream.recv(CHUNK):
                    return
                await give_way()
            except BlockingIOError:
                await park(stream, READ, location.lingering_timeout)
    except (OSError, TimedOut):
        return


async def refuse(connection: Connection, error: ClientError) -> None:
    """Answer a mistake of the client's with its status, and close."""
    request = connection.request
    level = "error" if error.status in (413, 500) else "info"
    if request is not None and request.replied:
        finish_if_any(connection)
        return
    if request is None:
        doing = "while reading client request headers"
        settings: Settings = connection.plan.default
        text = f"{error.reason} {doing}, {who(connection)}{settings.described(error.setting)}"
        log_connection(connection, level, text)
        # The access log needs a request: one is made of what there is.
        request = connection.request = unreadable_request(connection)
    else:
        settings = request.location
        log_request(request, level, error.reason, setting=settings.described(error.setting))
    request.end_cause = f"client: {error.reason}{settings.described(error.setting)}"
    request.keepalive = False
    if error.status == 408:
        request.status = 408
        reset_if_asked(connection, request.location)
        finish(connection, request)
        return
    try:
        response = await replaced_refusal(request, error_response(request, error.status, request.location.server_token))
        unsent = start_response(connection, request, response)
        if unsent or response.source is not None:
            await finish_response(connection, request, response, unsent)
        finish(connection, request)
        await linger(connection, request)
    except (OSError, TimedOut, ClientGone, UpstreamFailure):
        finish(connection, request)


async def replaced_refusal(request: Request, response: Response) -> Response:
    """What the location's error_page and filters make of a refusal; the refusal itself where they fail in their turn."""
    try:
        page = await answer_error(request, response)
        change = request.location.filter
        return page if change is None else change(request, page)
    except (ClientError, RegexTimedOut, CloseConnection):
        return response


def client_left(connection: Connection, error: BaseException) -> None:
    """The client is gone: 499 when it did not wait for an answer."""
    request = connection.request
    if request is None:
        if connection.buffer:
            text = f"client prematurely closed connection while reading client request headers, {who(connection)}"
            log_connection(connection, "info", text)
        return
    if not request.replied:
        request.status = 499
    request.is_cut = True
    request.end_cause = "client: closed the connection"
    log_request(request, "info", f"{error or 'client closed connection'}")
    finish(connection, request)


def client_timed_out(connection: Connection, request: Request) -> None:
    """The client did not take the response in time."""
    request.is_cut = True
    location = request.location
    request.end_cause = f"client: it did not take the response{location.described('send_timeout')}"
    text = "client timed out (110: Connection timed out) while sending response to client"
    log_request(request, "info", text, setting=location.described("send_timeout"))
    reset_if_asked(connection, location)
    finish(connection, request)


def reset_if_asked(connection: Connection, location: Location) -> None:
    """Let the close that follows be a reset, with reset_timedout_connection: nothing of what is unsent stays in memory."""
    if location.reset_timedout_connection:
        connection.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


def unreadable_request(connection: Connection) -> Request:
    """A request for the log where none could be read: its line if that is good, otherwise what of it has arrived.

    Where a Host could be read, the error page is of the server that it names, as of any other request; otherwise of the default
    one.
    """
    connection.client.requests += 1
    raw, newline, _ = connection.buffer.lstrip(b"\r\n").partition(b"\n")
    raw = raw.rstrip(b"\r")[:8192]
    length = 0  # nginx counts the bytes of what it could read
    try:
        if not newline:
            raise ClientError(400, "client sent invalid request")
        line = parse_request_line(raw, connection.plan.limits.merge_slashes)
        length = len(connection.buffer)
    except ClientError:
        # A client that asked for a head gets one, whatever else it wrote.
        line = RequestLine(raw, b"HEAD" if raw.startswith(b"HEAD ") else b"", b"", b"", b"", None, 11, False)
    request = Request(connection.client, line, RequestFields((), {}, None, None, -1, False), connection.client.clock.now)
    request.request_length = length
    request.location = connection.plan.default.locations.fallback
    host = HOST_LINE(connection.buffer)
    if host is not None:
        with suppress(RegexTimedOut):
            server = connection.client.listener.servers.find(host[1].lower().removesuffix(b"."), request)
            request.location = server.locations.fallback
    request.server = request.location.server
    request.keepalive = False
    return request


def who(connection: Connection) -> str:
    """`client: ADDRESS, server: LISTENER`: what is known before there is a request."""
    listener: Listener = connection.client.listener
    return f"client: {connection.client.remote_addr.decode('latin-1')}, server: {listener.address}"
