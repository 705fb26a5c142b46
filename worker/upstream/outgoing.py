"""The body of a request on its way to a peer: where it is, and whether it may be sent again (proxy.md §2).

The purpose of buffering a request: a slow client must not hold an upstream, and a body that is kept can be offered to another
peer. So with `proxy_request_buffering on` a body is read completely before a peer is chosen, into memory up to
client_body_buffer_size, beyond that into a temporary file; the kernel moves it there and from there to the peer (splice,
sendfile). With `off` it goes to the peer as it arrives, and bytes taken from the client cannot be offered twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from worker import pipes
from worker.logs import log_request
from worker.loop import FAIR_SHARE, give_way
from worker.temporary_files import DiskTrouble, TemporaryFile
from worker.upstream.module_settings import ModuleSettings
from wproxy.directives.request_body import IN_MEMORY
from wproxy.explain import Trace
from wproxy.http import Request
from wproxy.request_body import BODILESS, UNKNOWN_LENGTH, Outgoing, RequestBody

# Makes the body for the upstream, if it is not the client's own.
Reshape = Callable[[Request], Awaitable["Outgoing | None"]]

# nginx keeps a body of known length in memory when it is a little larger than the buffer (ngx_http_read_client_request_body).
STRETCH: Final = 1.25


def body_at_hand(request: Request, body: RequestBody) -> Outgoing | None:
    """Return the client's body if it came with the head, as small ones do; None when more has to be done."""
    if body.collected is not None or request.location.client_body_in_file_only != IN_MEMORY:
        return None
    data = body.take_whole()
    if data is None:
        return None
    body.collected = outgoing = Outgoing(len(data), data, None)
    return outgoing


async def outgoing_of(request: Request, body: RequestBody, streaming: Streaming) -> Outgoing | None:
    """Return the body of a request as its location needs it; None when it could not be kept. Raises ClientError, ClientGone."""
    if request.trace is not None and request.trace.is_rehearsal and body.collected is None:
        body.collected = announced(request.trace, body.length)
    collected = body.collected
    if collected is None:
        at_hand = body.take_at_hand()
    elif collected.rest is None or collected.consumed:
        return collected
    else:
        at_hand = collected.at_hand  # another location has taken over, and nothing was sent
    if streaming.unknown_length if body.length < 0 else streaming.known_length:
        length = UNKNOWN_LENGTH if body.length < 0 else body.length
        if body.finished:
            body.data = at_hand
            body.collected = collected = Outgoing(body.received, at_hand, None)
        else:
            body.collected = collected = Outgoing(length, at_hand, body)
        return collected
    body.collected = BODILESS  # when reading fails, the rest is dropped
    try:
        body.collected = collected = await keep_body(request, body, at_hand)
    except DiskTrouble as trouble:
        name = body.kept.name if body.kept is not None else request.route.body_temp_path or "a temporary file"
        log_request(request, "crit", f'"{name}" failed ({trouble}) while buffering the request body')
        return None
    return collected


def announced(trace: Trace, length: int) -> Outgoing:
    """Return the body that a request announces, as if it had been read: `wproxy explain` has none. length: -1 where unknown."""
    if length >= 0:
        return Outgoing(length, b"", None)
    trace.add("body", "a chunked body: one that fits client_body_buffer_size is sent with its Content-Length instead")
    return Outgoing(UNKNOWN_LENGTH, b"", None)


class Streaming(NamedTuple):
    """The bodies that may go upstream as they arrive: those of known and of unknown length."""

    known_length: bool
    unknown_length: bool


def streaming_of(settings: ModuleSettings, sends_unknown_length: bool) -> Streaming:
    """Decide which bodies a location streams. sends_unknown_length: the upstream can be told the end of a body later."""
    is_own = settings.get("set_body") is None and settings.get("pass_request_body", True)
    streams = is_own and not settings.get("request_buffering", True) and settings.location.client_body_in_file_only == IN_MEMORY
    return Streaming(streams, streams and sends_unknown_length)


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
    file = TemporaryFile(request.route.body_temp_path, location.client_body_in_file_only)
    body.keep_in(file)
    level = "warn" if location.client_body_in_file_only == IN_MEMORY else "notice"
    log_request(request, level, f"a client request body is buffered to a temporary file {file.title}")
    file.write(b"".join(pieces))
    pieces.clear()
    moved = 0
    while count := await read_into(file, body):
        moved += count
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()
    return Outgoing(file.size, b"", None, file)


async def read_into(file: TemporaryFile, body: RequestBody) -> int:
    """Append the next piece of a body to a file; return how many bytes, 0 at the end. Raises like `read`, and DiskTrouble.

    If the kernel can move the bytes, they do not pass through Python.
    """
    while body.moves_by_itself():
        pipe = pipes.pool.take()
        if pipe is None:
            break
        try:
            moved = body.fill(pipe)
            file.take_out(pipe)
            return moved
        except BlockingIOError:
            pass  # nothing is there yet: do not hold the pipe for that
        finally:
            pipes.pool.give_back(pipe)
        await body.wait()
    piece = await body.read()
    file.write(piece)
    return len(piece)
