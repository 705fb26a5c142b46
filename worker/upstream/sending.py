"""Sending a request's body to a peer: from memory, from a file, or from the client as it arrives.

If possible the kernel moves the bytes itself: from file to socket (sendfile), from socket to socket (splice). proxy_send_timeout
and the like limit the time between two pieces of progress.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from worker import pipes
from worker.loop import FAIR_SHARE, WRITE, give_way, park
from worker.stream import BIG_CHUNK, Stream
from worker.upstream.failing import SENDING, call_failed, failure_of
from worker.upstream.passing import LiveAttempt
from wproxy.failures import UpstreamFailure
from wproxy.request_body import BodyFile, RequestBody

Frame = Callable[[bytes], bytes]


async def push(attempt: LiveAttempt, stream: Stream, data: bytes | memoryview) -> None:
    """Send all of these bytes to the peer. Raises TimedOut, OSError."""
    view = memoryview(data)
    while view:
        try:
            sent = stream.send(view)
            attempt.bytes_sent += sent
            view = view[sent:]
            continue
        except BlockingIOError:
            pass
        await park(stream, WRITE, attempt.passing.send_timeout)


async def push_outgoing(attempt: LiveAttempt, stream: Stream, frame: Frame) -> None:
    """Send all of a body in the protocol's frames, wherever it is. Raises TimedOut, OSError, ClientError, ClientGone."""
    outgoing = attempt.outgoing
    if outgoing.rest is not None:
        await push_body(attempt, stream, outgoing.rest, frame)
    elif outgoing.at_hand:
        await push(attempt, stream, frame(outgoing.at_hand))
    file = outgoing.file
    offset = 0
    while file is not None and offset < file.size:
        piece = file.read(offset, min(file.size - offset, BIG_CHUNK))
        if not piece:
            raise cut_short(file)
        offset += len(piece)
        await push(attempt, stream, frame(piece))
        await give_way()


async def push_body(attempt: LiveAttempt, stream: Stream, body: RequestBody, frame: Frame | None = None) -> None:
    """Send the part of a body in memory, then the client's bytes as they arrive, at the pace of the slower side.

    frame: puts each piece into the protocol's frame; None if the bytes go unchanged, and the kernel may move them. Raises
    TimedOut, OSError, ClientError, ClientGone.
    """
    outgoing = attempt.outgoing
    if outgoing.at_hand:
        await push(attempt, stream, outgoing.at_hand if frame is None else frame(outgoing.at_hand))
    moved = 0
    while not body.finished:
        if frame is None and body.moves_by_itself() and stream.kernel_fd >= 0:
            moved += await move_piece(attempt, stream, body)
        elif piece := await body.read():
            outgoing.consumed = True
            await push(attempt, stream, piece if frame is None else frame(piece))
            moved += len(piece)
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()


async def move_piece(attempt: LiveAttempt, stream: Stream, body: RequestBody) -> int:
    """Let the kernel move the next piece of a body from the client to the peer; return how many bytes.

    Raises ClientError, ClientGone, TimedOut and OSError.
    """
    while True:
        pipe = pipes.pool.take()
        if pipe is None:
            piece = await body.read()
            attempt.outgoing.consumed = True
            await push(attempt, stream, piece)
            return len(piece)
        try:
            moved = body.fill(pipe)
            attempt.outgoing.consumed = True
            while pipe.held:
                try:
                    attempt.bytes_sent += pipe.drain(stream.fd, pipe.held)
                    continue
                except BlockingIOError:
                    pass
                await park(stream, WRITE, attempt.passing.send_timeout)
            return moved
        except BlockingIOError:
            pass  # nothing has arrived yet: do not hold the pipe for that
        finally:
            pipes.pool.give_back(pipe)
        await body.wait()


async def push_file(attempt: LiveAttempt, stream: Stream, file: BodyFile) -> None:
    """Send all of a file to the peer. Raises TimedOut, OSError."""
    offset, size = 0, file.size
    copies = stream.kernel_fd < 0
    moved = 0
    while offset < size:
        count = min(size - offset, FAIR_SHARE)
        try:
            if copies:
                sent = stream.send(file.read(offset, min(count, BIG_CHUNK)))
            else:
                sent = os.sendfile(stream.fd, file.fileno, offset, count)
        except BlockingIOError:
            sent = -1
        if sent < 0:
            await park(stream, WRITE, attempt.passing.send_timeout)
            continue
        if not sent:
            raise cut_short(file)
        offset += sent
        attempt.bytes_sent += sent
        moved += sent
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()


def cut_short(file: BodyFile) -> OSError:
    """Return the error of a temporary file that has lost bytes."""
    return OSError(errno.EIO, f"the temporary file {file.name} ends before its {file.size} bytes")


def sending_failed(error: OSError) -> UpstreamFailure:
    """Return the failure of a send that the system refused: the other side has closed."""
    return failure_of("error", call_failed("send()", error), SENDING)
