"""Sending a response to the client: at once as far as its socket takes it, the rest at its pace or at a rate; and tunnels.

A response that was sent by `start_response` alone is done: that is one system call, and most are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from worker.client.http1.connection import Connection
from worker.filters.limit_rate import hold_back
from worker.http1.body import RequestBody
from worker.http1.chunked import encode_chunk
from worker.http1.write import BODILESS, KEEPALIVE, UNCHUNKED, last_chunk, make_head
from worker.logs import log_request
from worker.loop import FAIR_SHARE, give_way, sleep
from worker.rates import Pace, client_rate, rate_of
from worker.stream import Stream, send_all
from worker.tunnel import Timeouts, run_tunnel
from worker.upstream.incoming import Tunnel
from worker.upstream.proxied_body import ProxiedBody
from wproxy.failures import ClientError
from wproxy.http import BodySource, Request, Response


def start_response(connection: Connection, request: Request, response: Response) -> memoryview | None:
    """Send the head and what of the body is at hand, as far as the socket takes it; what is left, or None. Raises OSError.

    When it raises, it has closed the response. A function and not a coroutine: for most responses there is nothing to wait for.
    """
    try:
        fields = response.fields
        body = response.body
        request.status = fields.status
        request.response_fields = fields
        if fields.content_length < 0 and not response.bodiless:
            # The client is told the end of the body by chunks or, before 1.1, by the end of the connection.
            if request.version == 10 or not request.route.chunked:
                request.keepalive = False
            else:
                body = encode_chunk(body)
                if response.source is None:
                    body += last_chunk(request, response)
        if request.body is not None and not request.body.finished:
            settle_unread_body(request, response)
        variant = KEEPALIVE if request.keepalive else 0
        if request.version == 10 or not request.route.chunked:
            variant |= UNCHUNKED
        if response.bodiless:
            variant |= BODILESS
        date_line = connection.client.clock.date_line
        sent_last = fields.wire.get(variant)
        if sent_last is not None and sent_last[1] is date_line:
            head = sent_last[0]
        else:
            head = make_head(fields, variant, request.route.keepalive_timeout[1], date_line)
            # An upstream's X-Accel-Limit-Rate comes with fields made for this response alone, so it is seen here, if anywhere.
            if request.limit_rate and hold_back(request, response):
                body = b""
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
        return None if sent == size else memoryview(data)[sent:]
    except BaseException:
        response.close()
        raise


def settle_unread_body(request: Request, response: Response) -> None:
    """See what becomes of the connection when the request's body has not been read to its end. Raises ClientError(400).

    As in nginx (ngx_http_discard_request_body) the part that came with the head is checked: bad chunks make it a bad request,
    unless the response tells of an error already.
    """
    body: RequestBody = request.body
    if body.owes_continue:
        request.keepalive = False  # the body was never asked for: whether it comes all the same cannot be known
    try:
        body.forget_at_hand()
    except ClientError as error:
        if response.error < 400:
            raise
        request.keepalive = False
        log_request(request, "info", error.reason)


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
        response.close()


async def send_rest(connection: Connection, request: Request, response: Response) -> None:
    """Send what of a body is not at hand yet, a piece at a time: nothing is read that the client has not room for."""
    stream = connection.stream
    timeout = request.location.send_timeout
    source = response.source
    assert source is not None
    chunked = response.fields.content_length < 0 and request.version > 10 and request.route.chunked
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
    is_relayed = isinstance(source, ProxiedBody)
    while True:
        # Before the pause: what has been sent to its end need not wait to hear of it.
        if not is_relayed and not data:
            piece = await source.read()
            if not piece:
                return
            data = memoryview(encode_chunk(piece) if chunked else piece)
        while not (allowed := pace.allowance(clock.now, request.bytes_sent)):
            if proxied is not None:
                proxied.read_ahead()
                if is_relayed and proxied.is_sent:
                    return
            await sleep(pace.pause(clock.now, request.bytes_sent))
        if isinstance(source, ProxiedBody):
            sent = await (source.send_chunks if chunked else source.send)(stream, timeout, allowed)
            if not sent:
                return
        else:
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
    if request.body is not None:
        early = request.body.leftover
    loop = connection.stream.loop
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
