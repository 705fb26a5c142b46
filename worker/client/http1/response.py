"""Writing responses as HTTP/1: the head and the body at hand in one send, the rest in chunks or unchanged; and tunnels.

A response that `start_response` could send alone is done: that is one system call, and true for most.
"""

from __future__ import annotations

from worker.client.http1.body import HTTP1RequestBody
from worker.client.http1.connection import Connection
from worker.client.http1.tunnel import serve_tunnel
from worker.filters.limit_rate import hold_back
from worker.http1.chunked import encode_chunk, encode_whole
from worker.http1.write import BODILESS, KEEPALIVE, UNCHUNKED, last_chunk, make_head
from worker.logs import log_request
from worker.outlet import send_all, send_body, send_unsent
from worker.tunnel import tunnel_of
from wproxy.failures import ClientError
from wproxy.http import Request, Response


def start_response(connection: Connection, request: Request, response: Response) -> memoryview | None:
    """Send the head and the body at hand, as far as the socket takes it; return the rest, or None. Raises OSError.

    When it raises, it has closed the response. A function and not a coroutine: for most responses there is no wait. A source that
    has passed on all of its body is taken out of the response.
    """
    try:
        fields = response.fields
        body = response.body
        request.status = fields.status
        request.response_fields = fields
        if fields.content_length < 0 and not response.bodiless:
            # The client learns the end of the body from chunks or, before 1.1, from the end of the connection.
            if request.version == 10 or not request.route.chunked:
                request.keepalive = False
            else:
                if response.source is not None:
                    body = encode_chunk(body)
                elif response.trailers is None:
                    body = encode_whole(body)
                else:
                    body = encode_chunk(body) + last_chunk(request, response)
        if request.body is not None and request.body.data is None and not request.body.finished:
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
            # An upstream's X-Accel-Limit-Rate comes with fields made for this response alone, so it always passes here.
            if request.limit_rate and hold_back(request, response):
                body = b""
        data = head + body
        size = len(data)
        request.replied = True
        request.bytes_sent = size
        request.body_bytes_sent = len(body)
        stream = connection.stream
        try:
            if request.keepalive or stream.kernel_fd >= 0 or response.source is not None or response.tunnel is not None:
                sent = stream.send(data)
            else:
                sent = stream.send_last(data)  # TLS has words for the end: they go out together with the answer
        except BlockingIOError:
            sent = 0
        if sent != size:
            return memoryview(data)[sent:]
        source = response.source
        if source is not None and fields.content_length >= 0 and source.pass_on(stream, request):
            response.source = None
        return None
    except BaseException:
        response.close()
        raise


def settle_unread_body(request: Request, response: Response) -> None:
    """Decide about the connection when the request's body has not been read to its end. Raises ClientError(400).

    As in nginx (ngx_http_discard_request_body) the part that came with the head is checked: bad chunks make it a bad request,
    unless the response is an error already.
    """
    body = request.body
    assert isinstance(body, HTTP1RequestBody)
    if body.owes_continue:
        request.keepalive = False  # the body was never asked for: it cannot be known whether it comes all the same
    if body.is_passed_on:
        body.owes_continue = False  # an interim response cannot follow the beginning of the final one
        return
    try:
        body.forget_at_hand()
    except ClientError as error:
        if response.error < 400:
            raise
        request.keepalive = False
        log_request(request, "info", error.reason)


async def finish_response(connection: Connection, request: Request, response: Response, unsent: memoryview | None) -> None:
    """Send what `start_response` could not, at the client's pace. Raises ClientGone, TimedOut, OSError, UpstreamFailure."""
    stream, source = connection.stream, response.source
    chunked = response.fields.content_length < 0 and request.version > 10 and request.route.chunked
    frame = encode_chunk if chunked else None
    try:
        response.forget_body()  # a slow client would keep it in memory for long
        if unsent:
            await send_unsent(stream, request, source, frame, unsent)
        if source is not None:
            await send_body(stream, request, source, frame)
            if chunked:
                data = last_chunk(request, response)
                request.body_bytes_sent += len(data)
                request.bytes_sent += len(data)
                await send_all(stream, data, request.location.send_timeout)
        elif (tunnel := tunnel_of(response)) is not None:
            await serve_tunnel(connection, request, tunnel)
    finally:
        response.close()
