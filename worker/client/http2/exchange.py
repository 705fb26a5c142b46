"""One request on a stream of an HTTP/2 connection, and the way of its response back: Exchange and Outlet.

The response takes whatever is least: the room in the two windows, in the client's frames, and in the sender. While others wait,
a stream sends one frame at a time; each gets its turn.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from typing import Final

from worker.client.clients import Clients
from worker.client.http2.body import HTTP2RequestBody
from worker.client.http2.response import head_block, interim_block, make_block, trailers_block
from worker.client.http2.sender import Sender
from worker.client.http2.tunnel import serve_tunnel
from worker.filters.limit_rate import hold_back
from worker.http2.abuse import Progress
from worker.http2.errors import CANCEL, INTERNAL_ERROR, PROTOCOL_ERROR
from worker.http2.frames import (
    MAX_FRAME_SIZE,
    answer_frames,
    data_frame,
    data_header,
    headers_frames,
    rst_stream_frame,
    window_update_frame,
)
from worker.http2.header_block import NOT_GUARDED, SIZE_UPDATE_TO_ZERO
from worker.http2.settings import PeerSettings
from worker.http2.streams import ServerStreams, Stream
from worker.http2.windows import SendWindows
from worker.loop import Loop, Task, give_way, park
from worker.outlet import send_body
from worker.tunnel import Tunnel, tunnel_of
from wproxy.bodies import BodySource, Outlet
from wproxy.failures import ClientError, ClientGone, TimedOut, UpstreamFailure
from wproxy.http import Request, Response, is_interim

FRAME_HEAD: Final = 9
# A client that opens its window by a few bytes at a time gets no frame of a few bytes, if it waits for that.
LEAST_PIECE: Final = 1024
PATIENCE_FOR_MORE: Final = 5.0


class Shared(ABC):
    """The state that the exchanges of one connection share: what they need of the connection.

    waiting: those that wait for the sender or for their turn, starved: those that wait for the client to open a window, in the
    order in which they came. last: the one that sent last. progress: that of the whole connection, for waits that are no single
    stream's. is_ending: whether the connection ends with all of its streams. memory: the bytes that may still be kept for streams
    that the client takes nothing of.
    """

    __slots__ = (
        "clients",
        "is_ending",
        "last",
        "loop",
        "memory",
        "progress",
        "sender",
        "settings",
        "starved",
        "streams",
        "waiting",
        "windows",
    )

    loop: Loop
    clients: Clients
    sender: Sender
    settings: PeerSettings
    windows: SendWindows
    progress: Progress | None
    streams: ServerStreams[HTTP2Exchange]
    waiting: dict[HTTP2Exchange, None] | None
    starved: dict[HTTP2Exchange, None] | None
    last: HTTP2Exchange | None
    is_ending: bool
    memory: int

    @abstractmethod
    def note_waste(self) -> None:
        """Count a stream that made work for nothing."""

    @abstractmethod
    def reset_later(self, exchange: HTTP2Exchange) -> None:
        """Reset a stream whose answer is complete, unless its client ends it soon."""

    @abstractmethod
    def ended(self, exchange: HTTP2Exchange) -> None:
        """Take note of the end of a request."""


class HTTP2Exchange(Stream):
    """One request and its response.

    body: what the client sends, also where the request has no body to pass on. task: the one that serves it; None before and
    after. has_begun: whether that has had its first turn; refusal: what it finds then if the request must not be answered.
    is_malformed: the request breaks the rules of HTTP/2: its stream is reset after the answer. waiter: the task that waits for
    room.
    """

    __slots__ = (
        "_chunk",
        "_left",
        "_may_send_little",
        "_progress",
        "_reserved",
        "_shared",
        "_wanted",
        "body",
        "has_begun",
        "is_malformed",
        "kernel_fd",
        "refusal",
        "request",
        "task",
        "waiter",
    )
    __deletable__ = ["request"]

    request: Request

    def __init__(self, number: int, shared: Shared, receives: bool) -> None:
        # Like its parent, without the call.
        self.credit = 0
        self.number = number
        self.receives = receives
        self.sends = True
        self._shared = shared
        self.kernel_fd = -1
        self.body: HTTP2RequestBody | None = None
        self.task: Task | None = None
        self.waiter: Task | None = None
        self.is_malformed = self.has_begun = False
        self.refusal: ClientError | ClientGone | None = None
        self._may_send_little = False
        self._left = -1
        self._wanted = 1
        self._chunk = MAX_FRAME_SIZE
        self._progress: Progress | None = None
        self._reserved = 0

    # Exchange.

    @property
    def outlet(self) -> Outlet:
        """Return the outlet for the bytes of the response: itself."""
        return self

    def moved(self, request: Request) -> None:
        """Do nothing: the connection does not depend on the location of one request."""

    def reserve(self, wanted: int) -> int:
        """Return how many bytes of a response may be kept in memory: a quarter at most of what is left for the connection."""
        shared = self._shared
        granted = min(wanted, shared.memory // 4)
        shared.memory -= granted
        self._reserved += granted
        return granted

    def interim(self, status: int, lines: tuple[tuple[bytes, bytes], ...]) -> int:
        """Send a head before the real one; return its size. Raises BlockingIOError if there is no room for it, ClientGone."""
        if not self.sends:
            raise ClientGone("client closed the stream")
        if self._shared.sender.is_full():
            raise BlockingIOError
        return self._write_head(interim_block(status, lines, self.request.never_indexed), False)

    # BodyStream.

    def widen(self, increment: int) -> None:
        """Let the client send so many bytes more on this stream."""
        if self.receives:
            self._shared.sender.write_first(window_update_frame(self.number, increment))

    def ask_to_continue(self) -> None:
        """Send 100 Continue."""
        if self.sends and not self.request.replied:
            self._write_head(interim_block(100, (), NOT_GUARDED), False)

    # Outlet.

    def send(self, data: bytes | memoryview, /) -> int:
        """Send the beginning of this in frames; return the number of bytes. Raises BlockingIOError, OSError."""
        shared = self._shared
        if not self.sends:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        sender, windows = shared.sender, shared.windows
        others_wait = bool(shared.waiting)
        if sender.is_full() or (others_wait and shared.last is self):
            raise BlockingIOError
        size = len(data)
        room = windows.room(self)
        self._wanted = min(size, LEAST_PIECE)
        if room < self._wanted and not (room and self._may_send_little):
            raise BlockingIOError
        self._may_send_little = False
        shared.last = self
        most = min(self._chunk, shared.settings.max_frame_size)
        count = min(room, size, most) if others_wait else min(room, size)
        at = frames = 0
        view = memoryview(data)
        while at < count and not sender.is_full():
            begin, at = at, min(at + most, count)
            piece = view[begin:at]
            frames += 1
            sender.write(data_header(self.number, at - begin, self._left == at))
            sender.write(piece)
        windows.sent(self, at)
        if self._progress is not None:
            now = shared.loop.clock.now
            self._progress.moves(at, now)
            assert shared.progress is not None
            shared.progress.moves(at, now)
        self.request.bytes_sent += frames * FRAME_HEAD
        if self._left >= 0:
            self._left -= at
            if not self._left:
                self._end()
        if sender.is_full():
            sender.flush()
        return at

    def may_send(self) -> bool:
        """Whether another frame may go now."""
        return not self.sends or (not self._shared.sender.is_full() and self._shared.windows.room(self) >= self._wanted)

    async def room(self, seconds: float) -> None:
        """Wait until more may be sent. Raises TimedOut."""
        shared = self._shared
        if shared.waiting is None or shared.starved is None or shared.progress is None:
            shared.waiting, shared.starved, shared.progress = {}, {}, Progress()
        waiting, starved, common_progress = shared.waiting, shared.starved, shared.progress
        if self.may_send():
            waiting[self] = None
            try:
                await give_way()  # to those that wait
            finally:
                del waiting[self]
            return
        clock, windows, sender = shared.loop.clock, shared.windows, shared.sender
        own_progress = self._progress = self._progress or Progress()
        deadline = clock.now + seconds
        patience = clock.now + PATIENCE_FOR_MORE
        while not self.may_send():
            now = clock.now
            room = windows.room(self)
            place, until = waiting, deadline
            if room < self._wanted:
                # It is the client's turn: for this stream, or for all.
                place = starved
                progress = own_progress if windows.initial + self.credit < self._wanted else common_progress
                progress.waits(now)
                if progress.is_too_slow(now):
                    raise TimedOut
                if room and not sender.is_full():
                    if now >= patience:
                        self._may_send_little = True
                        return
                    until = min(patience, deadline)
            if now >= deadline:
                raise TimedOut
            place[self] = None
            self.waiter = shared.loop.current()
            try:
                await park(None, 0, until - now)
            finally:
                self.waiter = None
                del place[self]

    def wake(self) -> None:
        """Let it look again whether there is room."""
        if self.waiter is not None:
            self._shared.loop.wake(self.waiter)

    # WayBack.

    def begin(self) -> None:
        """Note that its task runs. Raises the fault of the request, or the departure of its client."""
        self.has_begun = True
        if self.refusal is not None:
            raise self.refusal

    def end(self) -> None:
        """Note that the request is over: its stream is, too, and without the cycles nothing of it waits for the collector."""
        self.task = None
        shared = self._shared
        shared.memory += self._reserved
        if self.number in shared.streams.live:
            if shared.is_ending:
                shared.streams.reset_by_us(self)
            elif self.sends:
                self.reset(INTERNAL_ERROR)
            else:
                shared.reset_later(self)
        self.request.exchange = None
        del self.request
        if self.body is not None:
            self.body.close()
            self.body = None
        shared.ended(self)
        self.refusal = None  # its traceback has frames that have this

    async def reply(self, request: Request, response: Response) -> None:
        """Send a response. Raises ClientGone, ClientError, OSError, TimedOut, UpstreamFailure."""
        shared, fields = self._shared, response.fields
        request.status, request.response_fields = fields.status, fields
        try:
            if request.limit_rate:
                hold_back(request, response)
            body, source, seconds = response.body, response.source, request.location.send_timeout
            while shared.sender.is_full():
                await (self.room(seconds) if source is None else source.wait_for_room(self, None, seconds))
            if not self.sends:
                raise ClientGone("client closed the stream")
            if fields.status < 200 or response.tunnel is not None:
                tunnel = tunnel_of(response)
                if tunnel is not None:
                    await self._reply_tunnel(request, response, tunnel)
                    return
                if is_interim(fields.status):
                    raise UpstreamFailure("invalid_header", "an interim status cannot be a final answer")
            has_trailers = response.trailers is not None and not response.bodiless
            if body and source is None and not response.bodiless and self._reply_at_once(request, response):
                return
            ends = response.bodiless or (source is None and not body)
            size = self._write_head(
                head_block(fields, shared.loop.clock.date_line, request.never_indexed), ends and not has_trailers
            )
            request.bytes_sent += size
            request.replied = True
            if not response.bodiless:
                # The last byte of a body of known length says that it is the last.
                length = len(body) if source is None else fields.content_length
                self._left = length if length > 0 and not has_trailers else -1
                self._chunk = min(request.location.http2_chunk_size, MAX_FRAME_SIZE)
                response.forget_body()  # a slow client would keep it in memory for long
                if body:
                    await self._send_at_hand(request, body, source)
                if source is not None:
                    # A client without a window for it does not have its file read, or its upstream.
                    while not self.may_send():
                        await source.wait_for_room(self, None, seconds)
                    await send_body(self, request, source, None)
            if self.sends:
                self._finish(request, response, has_trailers)
            self._close()
        finally:
            if response.source is not None or response.tunnel is not None:
                response.close()

    def _reply_at_once(self, request: Request, response: Response) -> bool:
        """Send a whole response whose parts each fit into a frame, as most do; return False when they do not, or others wait."""
        shared, body = self._shared, response.body
        size, windows, settings = len(body), shared.windows, shared.settings
        if size > request.location.http2_chunk_size or size > MAX_FRAME_SIZE or shared.waiting:
            return False
        if size > windows.connection or size > windows.initial + self.credit:  # as `SendWindows.room` has it, without the call
            return False
        fields = request.response_fields
        assert fields is not None
        block = head_block(fields, shared.loop.clock.date_line, request.never_indexed)
        if len(block) > MAX_FRAME_SIZE or settings.shrank_table:
            return False
        trailers = b""
        end = response.trailers
        if end is not None:
            request.response_trailers = lines = end(request)
            trailers = trailers_block(lines, request.never_indexed) if lines else b""
            if len(trailers) > MAX_FRAME_SIZE:
                return False
        data = answer_frames(self.number, block, body, trailers)
        shared.sender.write(data)
        windows.sent(self, size)
        request.bytes_sent += len(data)
        request.body_bytes_sent = size
        request.replied = True
        shared.streams.ended_by_us(self)
        if self.is_malformed:
            self._close()
        return True

    async def _reply_tunnel(self, request: Request, response: Response, tunnel: Tunnel) -> None:
        """Answer an extended CONNECT with 200, and carry bytes both ways."""
        assert self.body is not None
        block = make_block(response.fields, 200, self._shared.loop.clock.date_line, request.never_indexed)
        request.bytes_sent += self._write_head(block, False)
        request.replied = True
        self._chunk = min(request.location.http2_chunk_size, MAX_FRAME_SIZE)
        has_closed = await serve_tunnel(self._shared.loop, self, self.body, request, response.body, tunnel)
        if self.sends and not has_closed and not self.is_malformed:
            self.reset(CANCEL)
        elif self.sends:
            self._shared.sender.write(data_frame(self.number, b"", True))
            self._end()
        self._close()

    async def _send_at_hand(self, request: Request, body: bytes, source: BodySource | None) -> None:
        """Send the part of a body that came with its head."""
        seconds = request.location.send_timeout
        view: bytes | memoryview = body
        while view:
            try:
                sent = self.send(view)
            except BlockingIOError:
                sent = -1
            if sent < 0:
                await (self.room(seconds) if source is None else source.wait_for_room(self, None, seconds))
                continue
            request.body_bytes_sent += sent
            request.bytes_sent += sent
            view = memoryview(view)[sent:]

    def _finish(self, request: Request, response: Response, has_trailers: bool) -> None:
        """Send the end of a response that has not said yet that it ends."""
        if self._left > 0:
            raise UpstreamFailure("error", "the body is shorter than its length says")
        lines: tuple[tuple[bytes, bytes], ...] = ()
        if has_trailers and response.trailers is not None:
            request.response_trailers = lines = response.trailers(request)
        block = trailers_block(lines, request.never_indexed) if lines else b""
        if block:
            request.bytes_sent += self._write_head(block, True)
        else:
            self._shared.sender.write(data_frame(self.number, b"", True))
            request.bytes_sent += FRAME_HEAD
            self._end()

    def _write_head(self, block: bytes, end_stream: bool) -> int:
        """Send a field block; return its size in frames."""
        shared = self._shared
        settings = shared.settings
        if settings.shrank_table:
            settings.shrank_table = False
            block = SIZE_UPDATE_TO_ZERO + block
        data = headers_frames(self.number, block, end_stream, min(settings.max_frame_size, MAX_FRAME_SIZE))
        shared.sender.write(data)
        if end_stream:
            self._end()
        return len(data)

    # The end.

    def give_up(self, gone: ClientGone) -> None:
        """End its task: the client is gone, or has to go."""
        if self.task is None:
            return
        if self.has_begun:
            self._shared.loop.interrupt(self.task, gone)
        else:
            self.refusal = gone  # nothing in it could catch an exception yet

    def _end(self) -> None:
        """Note that the response has been sent to its end."""
        self._left = -1
        self._shared.streams.ended_by_us(self)

    def _close(self) -> None:
        """Reset a stream whose answer is complete, if the client has sent what it must not."""
        if self.is_malformed:
            self._shared.sender.flush()  # the answer must not be in one record with the reset: see TIME_AFTER_ANSWER
            self.reset(PROTOCOL_ERROR)

    def cut(self, request: Request, error: Exception) -> None:
        """Reset the stream of a response that is not complete."""
        if self.is_malformed:
            code = PROTOCOL_ERROR
        else:
            code = CANCEL if isinstance(error, TimedOut | ClientError) else INTERNAL_ERROR
        if self.sends:
            self.reset(code)

    def reset(self, code: int) -> None:
        """Send RST_STREAM, and forget the stream."""
        shared = self._shared
        shared.sender.write(rst_stream_frame(self.number, code))
        if shared.clients.http2 is not None:
            shared.clients.http2.resets_sent[code] += 1
        shared.streams.reset_by_us(self)
        if code == PROTOCOL_ERROR:
            shared.note_waste()
