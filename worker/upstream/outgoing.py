"""A request on its way to a peer: what is sent of its body, and what may be sent again (proxy.md §2).

What buffering a request is for: a slow client must not hold an upstream, and a body that is kept can be offered to another
peer. So with `proxy_request_buffering on` a body is read whole before a peer is chosen, into memory up to
client_body_buffer_size, beyond that into a temporary file; the kernel moves it there and from there to the peer
(splice, sendfile). With `off` it goes to the peer as it comes, and what has been taken from the client cannot be offered twice.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace

from worker import pipes
from worker.http1.body import RequestBody
from worker.logs import log_request
from worker.loop import FAIR_SHARE, WRITE, give_way, park
from worker.pipes import is_plain
from worker.stream import BIG_CHUNK, Stream
from worker.temp_files import DiskTrouble, TemporaryFile
from worker.upstream.failing import SENDING, failure_of
from worker.upstream.protocols import NO_BODY, UNKNOWN_LENGTH, UpstreamProtocol
from worker.upstream.protocols.http import HTTP1
from wproxy.config.model import Location
from wproxy.directives.request_body import IN_MEMORY
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.http import Attempt, Request
from wproxy.template import Template


class Answered(Exception):
    """Raised in a task that is sending a body: the upstream has something to say already."""


class Outgoing:
    """What follows the head of a request, and how far it got.

    length: of the body, as the protocol's request_head takes it. at_hand: the part that is in memory. file: where all of it is
    when it is not in memory. rest: where the rest comes from, None when all of it is here. consumed: bytes were taken from the
    client that are not here any more. has_more: there is something to send after the head and what is at hand. ends_connection:
    what comes back may not end where it seems to, so that the connection cannot be used again.
    """

    __slots__ = ("at_hand", "consumed", "ends_connection", "file", "has_more", "length", "rest")

    def __init__(self, length: int, at_hand: bytes, rest: RequestBody | None, file: TemporaryFile | None = None) -> None:
        self.length = length
        self.at_hand = at_hand
        self.rest = rest
        self.file = file
        self.consumed = False
        self.ends_connection = False
        self.has_more = rest is not None or file is not None

    def __repr__(self) -> str:
        where = "in a file" if self.file else f"{len(self.at_hand)} at hand"
        return f"<outgoing body of {self.length}, {where}{', the rest to come' if self.rest else ''}>"


# What requests without a body share, and those that say it has no bytes: nothing in these ever changes.
BODILESS = Outgoing(NO_BODY, b"", None)
EMPTY = Outgoing(0, b"", None)

# nginx keeps a body of known length in memory when it is a little larger than the buffer (ngx_http_read_client_request_body).
STRETCH = 1.25


def body_at_hand(body: RequestBody, location: Location) -> Outgoing | None:
    """A body that came with the head, as small ones do; None when there is more to see to."""
    if body.collected is not None or location.client_body_in_file_only != IN_MEMORY:
        return None
    data = body.take_whole()
    if data is None:
        return None
    body.collected = outgoing = Outgoing(len(data), data, None)
    return outgoing


async def outgoing_of(request: Request, body: RequestBody) -> Outgoing | None:
    """The body of a request as its location wants it; None when it could not be kept. Raises ClientError and ClientGone."""
    location = request.location
    collected: Outgoing | None = body.collected
    if collected is None:
        at_hand = body.take_at_hand()
    elif collected.rest is None or collected.consumed:
        return collected
    else:
        at_hand = collected.at_hand  # another location has begun, and nothing was sent
    if may_stream(location, body):
        length = UNKNOWN_LENGTH if body.length < 0 else body.length
        if body.finished:
            body.collected = collected = Outgoing(body.received, at_hand, None)
        else:
            body.collected = collected = Outgoing(length, at_hand, body)
        return collected
    body.collected = BODILESS  # when reading fails, what is left is for nobody
    try:
        body.collected = collected = await keep_body(request, body, at_hand)
    except DiskTrouble as trouble:
        name = body.kept.name if body.kept is not None else location.client_body_temp_path or "a temporary file"
        log_request(request, "crit", f'"{name}" failed ({trouble}) while buffering the request body')
        return None
    return collected


def may_stream(location: Location, body: RequestBody) -> bool:
    """Whether a body may go upstream as it comes. An HTTP/1.0 upstream cannot be told the end of one of unknown length."""
    if location.proxy_request_buffering or location.changes_body or location.client_body_in_file_only != IN_MEMORY:
        return False
    return body.length >= 0 or location.proxy_http_version != 10


async def keep_body(request: Request, body: RequestBody, at_hand: bytes) -> Outgoing:
    """Read a body to its end, into memory or into a file. Raises ClientError, ClientGone and DiskTrouble."""
    location = request.location
    size = location.client_body_buffer_size
    pieces = [at_hand]
    held = len(at_hand)
    if location.client_body_in_file_only == IN_MEMORY:
        if body.length <= size * STRETCH:
            if body.length >= 0:
                size = body.length
            while not body.finished and held <= size:
                piece = await body.read()
                pieces.append(piece)
                held += len(piece)
        if body.finished and held <= size:
            body.data = b"".join(pieces)
            return Outgoing(held, body.data, None)
    file = TemporaryFile(location.client_body_temp_path, location.client_body_in_file_only)
    body.keep_in(file)
    level = "warn" if location.client_body_in_file_only == IN_MEMORY else "notice"
    log_request(request, level, f"a client request body is buffered to a temporary file {file.name}")
    file.write(b"".join(pieces))
    pieces.clear()
    moved = 0
    while count := await body.read_into(file):
        moved += count
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()
    return Outgoing(file.size, b"", None, file)


# A body that is not the client's.

Reshape = Callable[[Request], Awaitable["Outgoing | None"]]


def reshaping(location: Location) -> Reshape | None:
    """What makes the body for the upstream where it is not the client's; None where it is. Raises like `outgoing_of`."""
    template, method = location.proxy_set_body, location.proxy_method
    passes = location.proxy_pass_request_body
    if template is None and passes and method is None:
        return None

    async def reshape(request: Request) -> Outgoing | None:
        own: Outgoing | None = BODILESS if request.fields.content_length < 0 else EMPTY
        if request.body is not None:
            # It is read all the same: $request_body may be asked for, and another location may want to have it.
            own = await outgoing_of(request, request.body)
            if own is None:
                return None
        assert own is not None
        if template is not None:
            data = template.evaluate(request)
            outgoing = Outgoing(len(data), data, None)
        elif passes:
            outgoing = Outgoing(own.length, own.at_hand, own.rest, own.file)
        else:
            # nginx still announces the length of what it does not send, and the upstream waits for it.
            outgoing = Outgoing(NO_BODY, b"", None)
        if method is not None and (request.method == b"HEAD") != (method_for(method, request) == b"HEAD"):
            # The answer has a body that nobody wants, or announces one that does not come.
            outgoing.ends_connection = outgoing.has_more = True
            request.keepalive = False
        return outgoing

    return reshape


def protocol_of(location: Location) -> UpstreamProtocol:
    """The protocol of a location's upstream, with the method of proxy_method in place of the client's."""
    template = location.proxy_method
    if template is None:
        return HTTP1

    def request_head(request: Request, length: int) -> bytes:
        own = request.method
        request.method = method_for(template, request)
        try:
            return HTTP1.request_head(request, length)
        finally:
            request.method = own

    if template.constant == b"HEAD":
        return replace(HTTP1, request_head=request_head, body_of=lambda head, method: HTTP1.body_of(head, b"HEAD"))
    return replace(HTTP1, request_head=request_head)


def method_for(template: Template, request: Request) -> bytes:
    """The method that proxy_method gives; the client's own where that is no method."""
    method = template.evaluate(request)
    return method if method and not method.translate(None, _TOKEN) else request.method


# What a method may consist of (RFC 9110, 5.6.2). Anything else is not sent, lest a variable break the request line.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


# Sending.


def start_request(head: bytes, outgoing: Outgoing, upstream: Stream, attempt: Attempt) -> memoryview | None:
    """Send the head, and the body if it is at hand; what the socket did not take, or None. Raises UpstreamFailure."""
    upstream.requests += 1
    start = head + outgoing.at_hand if outgoing.at_hand and outgoing.rest is None else head
    send = upstream.send
    try:
        sent = send(start)
    except BlockingIOError:
        sent = 0
    except OSError as error:
        raise sending_failed(error) from None
    attempt.bytes_sent = sent
    return None if sent == len(start) else memoryview(start)[sent:]


async def finish_request(
    request: Request, outgoing: Outgoing, upstream: Stream, unsent: memoryview | None, attempt: Attempt
) -> bool:
    """Send what `start_request` could not, and the rest of the body as the client delivers it.

    True when all of it was sent and the connection may serve again; False when the upstream began to answer before that.
    Raises UpstreamFailure, ClientError, ClientGone.
    """
    location = request.location
    task = upstream.loop.current()
    unexpected = upstream.unexpected

    def answered(stream: Stream) -> bool:
        upstream.unexpected = unexpected
        upstream.loop.interrupt(task, Answered())
        return False

    upstream.unexpected = answered
    try:
        if unsent is not None:
            await push(upstream, unsent, location, attempt)
        if outgoing.file is not None:
            await push_file(outgoing.file, upstream, location, attempt)
        if outgoing.rest is not None:
            await push_body(outgoing, outgoing.rest, upstream, location, attempt)
        return not outgoing.ends_connection
    except Answered:
        return False
    except TimedOut:
        raise failure_of("timeout", "upstream timed out (110: Connection timed out)", SENDING) from None
    except OSError as error:
        if upstream.has_departed():
            raise sending_failed(error) from None
        return False  # it takes no more, but has answered first
    finally:
        upstream.unexpected = unexpected


async def push_body(outgoing: Outgoing, body: RequestBody, upstream: Stream, location: Location, attempt: Attempt) -> None:
    """Send the body: what is at hand, then what the client delivers, at the pace of the slower side."""
    unknown = outgoing.length == UNKNOWN_LENGTH
    encode = location.protocol.encode_body if unknown else bytes
    if outgoing.at_hand:
        await push(upstream, encode(outgoing.at_hand), location, attempt)
    moved = 0
    while not body.finished:
        if body.moves_by_itself() and is_plain(upstream):
            moved += await move_piece(outgoing, body, upstream, location, attempt)
        elif piece := await body.read():
            outgoing.consumed = True
            await push(upstream, encode(piece), location, attempt)
            moved += len(piece)
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()
    if unknown:
        await push(upstream, location.protocol.end_of_body, location, attempt)


async def move_piece(outgoing: Outgoing, body: RequestBody, upstream: Stream, location: Location, attempt: Attempt) -> int:
    """Let the kernel move the next piece of a body from the client to the upstream; how many bytes.

    Raises ClientError, ClientGone, TimedOut and OSError.
    """
    while True:
        pipe = pipes.pool.take()
        if pipe is None:
            piece = await body.read()
            outgoing.consumed = True
            await push(upstream, piece, location, attempt)
            return len(piece)
        try:
            moved = body.fill(pipe)
            outgoing.consumed = True
            while pipe.held:
                try:
                    attempt.bytes_sent += pipe.drain(upstream.fd, pipe.held)
                except BlockingIOError:
                    await park(upstream, WRITE, location.proxy_send_timeout)
            return moved
        except BlockingIOError:
            pass  # nothing has come yet: the pipe is not kept for that
        finally:
            pipes.pool.give_back(pipe)
        await body.wait()


async def push_file(file: TemporaryFile, upstream: Stream, location: Location, attempt: Attempt) -> None:
    """Send all of a file to the upstream. Raises TimedOut, OSError."""
    offset, size = 0, file.size
    copies = not is_plain(upstream)
    moved = 0
    while offset < size:
        count = min(size - offset, FAIR_SHARE)
        try:
            if copies:
                sent = upstream.send(file.read(offset, min(count, BIG_CHUNK)))
            else:
                sent = os.sendfile(upstream.fd, file.fileno, offset, count)
        except BlockingIOError:
            await park(upstream, WRITE, location.proxy_send_timeout)
            continue
        if not sent:
            raise OSError(errno.EIO, f"the temporary file {file.name} ends before its {size} bytes")
        offset += sent
        attempt.bytes_sent += sent
        moved += sent
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()


async def push(upstream: Stream, data: bytes | memoryview, location: Location, attempt: Attempt) -> None:
    """Send all of this to the upstream; proxy_send_timeout is between two pieces of progress. Raises TimedOut, OSError."""
    view = memoryview(data)
    while view:
        try:
            sent = upstream.send(view)
            attempt.bytes_sent += sent
            view = view[sent:]
        except BlockingIOError:
            await park(upstream, WRITE, location.proxy_send_timeout)


def sending_failed(error: OSError) -> UpstreamFailure:
    """A send that the system refused: the other side has closed."""
    return failure_of("error", f"send() failed ({error.errno}: {error.strerror})", SENDING)
