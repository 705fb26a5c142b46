"""A request on its way to a peer: what is sent of it, and what may be sent again.

A body that fits client_body_buffer_size is read whole before a peer is chosen; it goes out with the head and can be sent to
another peer. A larger one is streamed, and what has been taken from the client cannot be offered twice.
"""

from __future__ import annotations

from worker.http1.body import RequestBody
from worker.loop import FAIR_SHARE, WRITE, give_way, park
from worker.stream import Stream
from worker.upstream.failing import SENDING, failure_of
from worker.upstream.protocols import NO_BODY, UNKNOWN_LENGTH
from wproxy.config.model import Location
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.http import Attempt, Request


class Answered(Exception):
    """Raised in a task that is sending a body: the upstream has something to say already."""


class Outgoing:
    """What follows the head of a request, and how far it got.

    length: of the body, as the protocol's request_head takes it. at_hand: the part that is in memory. rest: where the rest
    comes from, None when all of it is at hand. consumed: bytes were taken from the client that are not at hand any more.
    """

    __slots__ = ("at_hand", "consumed", "length", "rest")

    def __init__(self, length: int, at_hand: bytes, rest: RequestBody | None) -> None:
        self.length = length
        self.at_hand = at_hand
        self.rest = rest
        self.consumed = False


# What requests without a body share, and those that say it has no bytes: nothing in these ever changes.
BODILESS = Outgoing(NO_BODY, b"", None)
EMPTY = Outgoing(0, b"", None)


def body_at_hand(body: RequestBody) -> Outgoing | None:
    """A body of known length that came with the head, as small ones do; None when some of it is still to be read."""
    data = body.take_whole()
    return None if data is None else Outgoing(len(data), data, None)


async def collect_body(body: RequestBody, location: Location) -> Outgoing:
    """Read a body as far as it fits the buffer. Raises ClientError and ClientGone."""
    # An HTTP/1.0 upstream can't be told the end of a body of unknown length: all of it is read first.
    enough = location.client_body_buffer_size
    if body.length < 0 and location.proxy_http_version == 10:
        enough = location.client_max_body_size or 1 << 30
    if body.length > enough:
        return Outgoing(body.length, b"", body)
    pieces: list[bytes] = []
    size = 0
    while size <= enough:
        piece = await body.read()
        if not piece:
            return Outgoing(size, b"".join(pieces), None)
        pieces.append(piece)
        size += len(piece)
    return Outgoing(UNKNOWN_LENGTH if body.length < 0 else body.length, b"".join(pieces), body)


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

    True when all of it was sent; False when the upstream began to answer before that.
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
        if outgoing.rest is not None:
            await push_body(outgoing, outgoing.rest, upstream, location, attempt)
        return True
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
    while piece := await body.read():
        outgoing.consumed = True
        await push(upstream, encode(piece), location, attempt)
        moved += len(piece)
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()
    if unknown:
        await push(upstream, location.protocol.end_of_body, location, attempt)


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
