"""A peer's answer on its way to the client: its head, what came with it, and the rest of its body.

A response is handed on as soon as its head is there; a body that came with the head goes out with it, the rest follows
through a `ProxiedBody` at the client's pace. When the last byte has been read, or nobody wants more, the connection goes back
to the pool or is closed.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.http1.response import NONE, ResponseHead
from worker.loop import READ, park
from worker.rates import rate_of
from worker.stream import HEAD_CHUNK, Stream
from worker.upstream.answers import client_fields
from worker.upstream.body import MORE_THAN_LENGTH, ResponseBody
from worker.upstream.failing import READING, READING_HEAD, TOO_BIG_HEADER, failure_of, warn_of_surplus
from worker.upstream.hints import pass_hints
from worker.upstream.live_peer import LivePeer
from worker.upstream.passing import Passing
from worker.upstream.proxied_body import ProxiedBody, release
from wproxy.config.model import Location
from wproxy.failures import UpstreamFailure
from wproxy.http import Attempt, Request, Response, ResponseFields

# How many 1xx heads before the real one.
MAX_INTERIM = 32

# A head, and what of the body came with it.
HeadAndRest = tuple[ResponseHead, bytes]


def receive_head(passing: Passing, request: Request, upstream: Stream, attempt: Attempt) -> HeadAndRest | None:
    """Read once and take the head of the answer; None while it is not complete. Raises UpstreamFailure, OSError.

    What is there of an incomplete head is kept on the stream.
    """
    recv = upstream.recv
    try:
        data = recv(HEAD_CHUNK)
    except BlockingIOError:
        return None
    if not data:
        raise failure_of("error", "upstream prematurely closed connection", READING_HEAD)
    attempt.bytes_received += len(data)
    last = upstream.last_head
    if upstream.head_begun:
        data, upstream.head_begun = upstream.head_begun + data, b""
    elif last is not None and data.startswith(last.block):
        # take_head would say the same 0.1 us later.
        return last, data[len(last.block) :]
    take_head = passing.protocol.take_head
    taken = take_head(data, passing.buffer_size, last)
    if taken is None:
        upstream.head_begun = data
        return None
    head, consumed = taken
    if head.status < 200 and head.status != 101:
        data, taken = skip_interim(passing, data, upstream, attempt, request)
        if taken is None:
            upstream.head_begun = data
            return None
        head, consumed = taken
    # Any location of the group may be the next to see it.
    upstream.last_head = head if len(head.block) <= passing.group.least_buffer else None
    return head, data[consumed:]


async def receive_rest_of_head(
    passing: Passing, request: Request, upstream: Stream, attempt: Attempt, deadline: float
) -> HeadAndRest:
    """Read on until the head is complete, at the latest at the deadline. Raises UpstreamFailure, TimedOut, OSError."""
    while True:
        await park(upstream, READ, deadline - request.client.clock.now)
        received = receive_head(passing, request, upstream, attempt)
        if received is not None:
            return received


def skip_interim(
    passing: Passing, data: bytes, upstream: Stream, attempt: Attempt, request: Request
) -> tuple[bytes, tuple[ResponseHead, int] | None]:
    """What follows the interim heads: the bytes, and the head if it is there. Raises UpstreamFailure.

    Interim heads are read and forgotten: 100 and 102 of a confused upstream (http1-security.md, responses). 103 is passed on
    where early_hints asks for that.
    """
    while True:
        taken = passing.protocol.take_head(data, passing.buffer_size, upstream.last_head)
        if taken is None or taken[0].status >= 200 or taken[0].status == 101:
            return data, taken
        attempt.interim_heads += 1
        attempt.interim_bytes += taken[1]
        if attempt.interim_bytes > passing.buffer_size:
            raise failure_of("invalid_header", TOO_BIG_HEADER, READING_HEAD)
        if attempt.interim_heads > MAX_INTERIM:
            raise failure_of("invalid_header", "upstream sent too many interim responses", READING_HEAD)
        if taken[0].status == 103:
            if taken[0].version < 11:
                raise failure_of("invalid_header", "upstream sent HTTP/1.0 response with early hints", READING_HEAD)
            if passing.location.early_hints:
                pass_hints(request, taken[0], passing.answer_plan.hidden)
        data = data[taken[1] :]


def respond(
    passing: Passing, request: Request, received: HeadAndRest, upstream: Stream, peer: LivePeer, attempt: Attempt, is_whole: bool
) -> Response:
    """The response for the client. is_whole: the request was sent to its end, so that the connection may serve again.

    Raises UpstreamFailure when the body is broken already.
    """
    head, rest = received
    request.upstream_head = head
    attempt.status = head.status
    attempt.header_time = header_time = request.client.clock.now - attempt.started
    fields = head.cache.get(passing.answer_plan)
    if fields is None:
        fields = client_fields(head, passing.answer_plan, request)
    length = len(rest)
    if head.plain_length == length and request.method != b"HEAD":
        # All of it came with the head, as most bodies do.
        attempt.response_length = length
        if is_whole and head.keeps_alive:
            # `release` without the call.
            attempt.response_time = header_time
            passing.group.take_back(peer, upstream, head.keepalive_timeout, attempt)
        else:
            release(passing.group, request, peer, upstream, head, attempt, False)
        return Response(fields, rest)
    if head.status == 101:
        return switch_protocols(passing, request, fields, rest, upstream, peer, attempt)
    # Where another method was sent than a client's HEAD, or HEAD for another one, the connection ends with this answer: there
    # is no body then, or nobody wants it.
    is_head = request.method == b"HEAD" or (not is_whole and request.sent_method == b"HEAD")
    kind, length = passing.protocol.body_of(head, b"HEAD" if is_head else request.method)
    if kind == NONE:
        if rest:
            warn_of_surplus(request, MORE_THAN_LENGTH)
        release(passing.group, request, peer, upstream, head, attempt, is_whole and not rest)
        return Response(fields, bodiless=True)
    body = ResponseBody(upstream, rest, kind, length, passing.read_timeout)
    try:
        at_hand = body.take_at_hand()
    except UpstreamFailure as failure:
        failure.doing, failure.sent = READING, True
        raise
    if body.finished:
        request.upstream_trailers = body.trailers
        attempt.response_length = body.wire_bytes
        if body.surplus:
            warn_of_surplus(request, body.surplus)
        release(passing.group, request, peer, upstream, head, attempt, is_whole and not body.spoiled)
        return Response(fields, at_hand)
    source = ProxiedBody(passing, request, body, head, peer, attempt, is_whole)
    regulate(source, head)
    return Response(fields, at_hand, source)


def regulate(source: ProxiedBody, head: ResponseHead) -> None:
    """What the location says of reading ahead and of rates, and what the upstream says in X-Accel-Buffering."""
    request = source.request
    location = request.location
    if not is_buffered(location, head):
        # nginx sends an unbuffered response as fast as it comes, whatever limit_rate says.
        request.limit_rate = 0
        return
    source.read_rate = rate_of(location.proxy_limit_rate, request)
    source.may_read_ahead = not source.read_rate


def is_buffered(location: Location, head: ResponseHead) -> bool:
    """Whether an answer may be read ahead of its client: as proxy_buffering says, or the upstream in X-Accel-Buffering."""
    asked = head.values.get(b"x-accel-buffering")
    if asked is not None and "x-accel-buffering" not in (location.proxy_ignore_headers or ()):
        return {b"yes": True, b"no": False}.get(asked.lower(), location.proxy_buffering)
    return location.proxy_buffering


def switch_protocols(
    passing: Passing, request: Request, fields: ResponseFields, rest: bytes, upstream: Stream, peer: LivePeer, attempt: Attempt
) -> Response:
    """A 101: a tunnel from here on. One that nobody asked for is no valid answer (http1-security.md, responses)."""
    if request.fields.upgrade is None or not passing.head_plan.asks_to_upgrade(request):
        raise failure_of("invalid_header", "upstream sent 101 to a request without Upgrade", READING_HEAD)
    group = passing.group
    ended = False

    def end() -> None:
        nonlocal ended
        if ended:
            return
        ended = True
        attempt.response_time = request.client.clock.now - attempt.started
        group.count_success(peer, attempt)
        upstream.close()

    return Response(fields, rest, bodiless=True, tunnel=Tunnel(upstream, end))


class Tunnel:
    """The upstream's side of a tunnel, and what to do when it ends."""

    __slots__ = ("end", "upstream")

    def __init__(self, upstream: Stream, end: Callable[[], None]) -> None:
        self.upstream = upstream
        self.end = end
