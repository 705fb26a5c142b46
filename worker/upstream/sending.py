"""A request on its way to a peer: its head, and its body from memory, from a file or from the client as it comes.

Where the kernel can it moves the bytes itself: from file to socket (sendfile), from socket to socket (splice). The peer is
listened to all the time: one that answers before it has everything wants no more, and its answer is what counts (proxy.md §2).
"""

from __future__ import annotations

import errno
import os

from worker import pipes
from worker.client.body import RequestBody
from worker.loop import FAIR_SHARE, WRITE, Event, give_way, park
from worker.stream import BIG_CHUNK, Stream
from worker.temporary_files import TemporaryFile
from worker.upstream.failing import SENDING, failure_of
from worker.upstream.outgoing import Outgoing
from worker.upstream.passing import Passing
from worker.upstream.protocols import UNKNOWN_LENGTH
from wproxy.failures import ClientGone, TimedOut, UpstreamFailure
from wproxy.http import Attempt


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
    passing: Passing, outgoing: Outgoing, upstream: Stream, unsent: memoryview | None, attempt: Attempt
) -> bool:
    """Send what `start_request` could not, and the rest of the body as the client delivers it.

    True when all of it was sent and the connection may serve again; False when the upstream began to answer before that.
    Raises UpstreamFailure, ClientError, ClientGone.
    """
    loop = upstream.loop
    is_over = Event(loop)  # all is sent, or sending has failed, or the upstream has something to say already
    failure: BaseException | None = None
    unexpected = upstream.unexpected

    def answered(stream: Stream) -> bool:
        upstream.unexpected = unexpected
        is_over.set()
        return False

    async def upload() -> None:
        nonlocal failure
        try:
            if unsent is not None:
                await push(upstream, unsent, passing, attempt)
            if outgoing.file is not None:
                await push_file(outgoing.file, upstream, passing, attempt)
            if outgoing.rest is not None:
                await push_body(outgoing, outgoing.rest, upstream, passing, attempt)
        except Exception as error:
            failure = error
        is_over.set()

    upstream.unexpected = answered
    task = loop.spawn(upload(), "upload")
    try:
        await is_over.wait()
    except ClientGone:
        if failure is None:  # else the upload has met its end first, and says more
            raise
    finally:
        is_whole = task not in loop.tasks and not outgoing.ends_connection
        loop.cancel(task)
        upstream.unexpected = unexpected
    try:
        if isinstance(failure, TimedOut):
            raise failure_of("timeout", "upstream timed out (110: Connection timed out)", SENDING)
        if isinstance(failure, OSError):
            if upstream.has_departed():
                raise sending_failed(failure)
            return False  # it takes no more, but has answered first
        if failure is not None:
            raise failure
    finally:
        failure = None  # the frames of its traceback hold this one: no circle is left for the collector
    return is_whole


async def push_body(outgoing: Outgoing, body: RequestBody, upstream: Stream, passing: Passing, attempt: Attempt) -> None:
    """Send the body: what is at hand, then what the client delivers, at the pace of the slower side."""
    unknown = outgoing.length == UNKNOWN_LENGTH
    encode = passing.protocol.encode_body if unknown else bytes
    if outgoing.at_hand:
        await push(upstream, encode(outgoing.at_hand), passing, attempt)
    moved = 0
    while not body.finished:
        if body.moves_by_itself() and upstream.kernel_fd >= 0:
            moved += await move_piece(outgoing, body, upstream, passing, attempt)
        elif piece := await body.read():
            outgoing.consumed = True
            await push(upstream, encode(piece), passing, attempt)
            moved += len(piece)
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()
    if unknown:
        await push(upstream, passing.protocol.end_of_body, passing, attempt)


async def move_piece(outgoing: Outgoing, body: RequestBody, upstream: Stream, passing: Passing, attempt: Attempt) -> int:
    """Let the kernel move the next piece of a body from the client to the upstream; how many bytes.

    Raises ClientError, ClientGone, TimedOut and OSError.
    """
    while True:
        pipe = pipes.pool.take()
        if pipe is None:
            piece = await body.read()
            outgoing.consumed = True
            await push(upstream, piece, passing, attempt)
            return len(piece)
        try:
            moved = body.fill(pipe)
            outgoing.consumed = True
            while pipe.held:
                try:
                    attempt.bytes_sent += pipe.drain(upstream.fd, pipe.held)
                except BlockingIOError:
                    await park(upstream, WRITE, passing.send_timeout)
            return moved
        except BlockingIOError:
            pass  # nothing has come yet: the pipe is not kept for that
        finally:
            pipes.pool.give_back(pipe)
        await body.wait()


async def push_file(file: TemporaryFile, upstream: Stream, passing: Passing, attempt: Attempt) -> None:
    """Send all of a file to the upstream. Raises TimedOut, OSError."""
    offset, size = 0, file.size
    copies = upstream.kernel_fd < 0
    moved = 0
    while offset < size:
        count = min(size - offset, FAIR_SHARE)
        try:
            if copies:
                sent = upstream.send(file.read(offset, min(count, BIG_CHUNK)))
            else:
                sent = os.sendfile(upstream.fd, file.fileno, offset, count)
        except BlockingIOError:
            await park(upstream, WRITE, passing.send_timeout)
            continue
        if not sent:
            raise OSError(errno.EIO, f"the temporary file {file.name} ends before its {size} bytes")
        offset += sent
        attempt.bytes_sent += sent
        moved += sent
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()


async def push(upstream: Stream, data: bytes | memoryview, passing: Passing, attempt: Attempt) -> None:
    """Send all of this to the upstream; proxy_send_timeout is between two pieces of progress. Raises TimedOut, OSError."""
    view = memoryview(data)
    while view:
        try:
            sent = upstream.send(view)
            attempt.bytes_sent += sent
            view = view[sent:]
        except BlockingIOError:
            await park(upstream, WRITE, passing.send_timeout)


def sending_failed(error: OSError) -> UpstreamFailure:
    """A send that the system refused: the other side has closed."""
    return failure_of("error", f"send() failed ({error.errno}: {error.strerror})", SENDING)
