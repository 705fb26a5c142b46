"""The long body of a repeated exchange: its head is known, the kernel moves the rest from the upstream to the client.

What comes with the head goes out with it; the rest has mostly come by then and fits into one pipe, and the client takes it all.
So such an answer is two writes and two splices, and `pass_on` needs no object of the request for them, like the repetition that
calls it (`worker.client.http1.repeated_exchange`).

As soon as anything is not so (the rest has not come, or only some of it, or more than there should be; the client takes no
more; one of both has left; there is no pipe), they are made as if they had been there from the beginning, and a `ProxiedBody`
takes over, with the pipe and what is in it. It meets again what has been met here: an end, or a socket that has no room. Only
an error is told by the system once, and so it is handed over.

Where a limit or a filter decides about bodies, or nothing is read ahead of the client, each exchange goes the usual way.
"""

from __future__ import annotations

from typing import Final

from worker.client.ending import finish
from worker.client.http1.connection import Connection
from worker.client.http1.repeated_exchange import RepeatedExchange, attempt_of
from worker.http1.response import LENGTH, ResponseHead
from worker.http1.write import make_head
from worker.pipes import Pipe, pool
from worker.stream import HEAD_CHUNK
from worker.upstream.body import ResponseBody
from worker.upstream.passing import Passing
from worker.upstream.protocols.http1 import HTTP1Connection
from worker.upstream.proxied_body import WORTH_A_PIPE, ProxiedBody
from wproxy.http import Request, Response

NOTHING: Final = b""


def may_pass_on(passing: Passing) -> bool:
    """Whether the bodies of a location may be passed on without a look at each: they are read ahead, at no rate."""
    return passing.buffering.at_once > 0 and not passing.location.limit_rate


def is_passed_on(passing: Passing, connection: Connection, request: Request) -> bool:
    """Whether the kernel moves the greatest part of the body of an answer like that of this request."""
    answer = request.upstream_head
    return (
        isinstance(answer, ResponseHead)
        # However much of it comes with the head, the rest is worth a pipe, and is not read together with the head.
        and answer.plain_length - HEAD_CHUNK >= WORTH_A_PIPE
        and answer.plain_length - HEAD_CHUNK > passing.buffering.at_once
        and b"x-accel-buffering" not in answer.values
        and connection.stream.kernel_fd >= 0
    )


def pass_on(repeated: RepeatedExchange, connection: Connection, upstream: HTTP1Connection, answer: bytes) -> Response | None:
    """Answer the client, and count that; return None, or the response with what is left to be sent. Raises OSError of the client.

    answer: the known head, and the beginning of the body.
    """
    passing, known, fields, peer = repeated.passing, repeated.answer, repeated.fields, repeated.peer
    assert peer is not None
    route, client, stream = connection.routed_by, connection.client, connection.stream
    clock = client.clock
    at_hand = answer[len(known.block) :]
    left = known.plain_length - len(at_hand)

    # The head and the beginning.
    date_line = clock.date_line
    sent_last = fields.wire.get(repeated.variant)
    if sent_last is not None and sent_last[1] is date_line:
        reply = sent_last[0] + at_hand
    else:
        reply = make_head(fields, repeated.variant, route.keepalive_timeout[1], date_line) + at_hand
    size = len(reply)
    is_ahead = len(answer) >= upstream.chunk  # what fills the read is mostly not all that there is
    try:
        sent = stream.send_ahead(reply) if is_ahead else stream.send(reply)
    except BlockingIOError:
        sent = 0
    except OSError:
        begun(repeated, connection, upstream, at_hand, size).close()
        raise
    if sent != size:
        return Response(fields, reply[sent:], begun(repeated, connection, upstream, at_hand, size))

    # The rest, in and out.
    pipe = pool.take()
    if pipe is None:
        if is_ahead:
            stream.push()
        return Response(fields, NOTHING, begun(repeated, connection, upstream, at_hand, size))
    most = passing.buffering.file or pipe.capacity
    if most > pipe.capacity:
        most = pipe.capacity
    moved = drained = 0
    try:
        moved = pipe.fill(upstream.stream.kernel_fd, most if most <= left else left + 1)  # one more would be surplus
        if moved == left:
            drained = pipe.drain(stream.kernel_fd, left)
    except BlockingIOError:
        pass
    except OSError as error:
        if moved:
            begun(repeated, connection, upstream, at_hand, size, pipe, moved).close()
            raise
        pool.give_back(pipe)
        if is_ahead:
            stream.push()
        return Response(fields, NOTHING, begun(repeated, connection, upstream, at_hand, size, failure=error))
    if drained != left:
        if is_ahead and not drained:
            stream.push()
        source = begun(repeated, connection, upstream, at_hand, size, pipe, moved)
        source.request.bytes_sent += drained
        source.request.body_bytes_sent += drained
        return Response(fields, NOTHING, source)
    pool.give_back(pipe)

    # Keep the upstream's connection, and count the request.
    connection.repeating = None
    received = len(known.block) + known.plain_length
    peer.counters.count_whole(
        known.status, received, len(repeated.upstream_head) + len(repeated.body), clock.now - repeated.started
    )
    passing.group.take_back(peer, upstream, known.keepalive_timeout)
    size += left
    if route.write_log is not None:
        finish(connection.clients, repeated.note_answer(connection, size))
        connection.request = None
    else:
        connection.clients.requests += 1
        if route.sample is not None:
            length = len(connection.head) + len(repeated.body)
            route.sample((fields.status, length, size, clock.now - repeated.started))
        repeated.body = NOTHING
    connection.idle = True
    return None


def begun(
    repeated: RepeatedExchange,
    connection: Connection,
    upstream: HTTP1Connection,
    at_hand: bytes,
    size: int,
    pipe: Pipe | None = None,
    moved: int = 0,
    failure: OSError | None = None,
) -> ProxiedBody:
    """Return the rest of the body, of a request that is made as if it had been there from the beginning.

    at_hand: the part that came with the head; size: of both, for the client. pipe: the next part is in it, or has been, `moved`
    bytes; it is taken over. failure: that of the upstream's connection, which the system tells once.
    """
    passing, known = repeated.passing, repeated.answer
    try:
        request = repeated.hand_over(connection)
    except BaseException:
        if pipe is not None:
            pool.give_back(pipe)
        raise
    attempt = attempt_of(request)
    attempt.head = request.upstream_head = known
    attempt.status = known.status
    attempt.bytes_received = len(known.block) + len(at_hand)
    attempt.header_time = connection.client.clock.now - attempt.started
    request.status = repeated.fields.status
    request.response_fields = repeated.fields
    request.replied = True
    request.bytes_sent = size
    request.body_bytes_sent = len(at_hand)
    left = known.plain_length - len(at_hand)
    body = ResponseBody(upstream.stream, at_hand, LENGTH, left, passing.read_timeout, len(at_hand))
    source = ProxiedBody(attempt, upstream, body)
    source.may_read_ahead = True
    if pipe is not None:
        if moved:
            body.filled(pipe, moved)
        source.take_over(pipe)
    if failure is not None:
        failure.__traceback__ = None  # its frames have all that the request has
        body.failure = failure
    return source
