"""One request over HTTP/2 to an upstream: the sending of it, and its answer for the exchange (RFC 9113).

What breaks the rules of a single response is a failure of its request, and RST_STREAM tells the upstream.
"""

from __future__ import annotations

from worker.channel import Channel
from worker.http1.response import NONE, ResponseHead, body_of
from worker.http2.errors import CANCEL
from worker.http2.frames import (
    MAX_FRAME_SIZE,
    data_frame,
    rst_stream_frame,
)
from worker.loop import FAIR_SHARE, WRITE, give_way, park
from worker.stream import BIG_CHUNK
from worker.upstream.body import wait_for_answer
from worker.upstream.failing import READING, READING_HEAD, failure_of
from worker.upstream.hints import note_interim
from worker.upstream.passing import AnswerBody, LiveAttempt
from worker.upstream.protocols.http2_arriving import STREAM_WINDOW, Arriving
from worker.upstream.protocols.http2_frames import HTTP2Frames
from worker.upstream.sending import cut_short
from wproxy.failures import UpstreamFailure
from wproxy.http import Request

# Frames that are written together.
_AT_ONCE = 4 * MAX_FRAME_SIZE
# The statuses of answers without a body.
_BODILESS = frozenset((204, 304))


class HTTP2Stream(Arriving):
    """One request as a stream; also the body of its answer (an AnswerBody). frames: the connection, as what it is."""

    __slots__ = ("_head", "at_hand", "finished", "frames", "limit", "received", "request", "timeout", "trailers")

    # Set by `body`, where it is not all there.
    at_hand: bytes
    timeout: float
    limit: int
    request: Request
    # How it ends does not matter for the connection.
    spoiled = False
    surplus = ""

    def __init__(self, shared: HTTP2Frames) -> None:
        # Like `Use` and what is beneath it, without the calls, and without what only the pool asks for.
        self.stream = stream = shared.stream
        self.shared = self.frames = shared
        self.channel = self.own_channel = Channel(stream.loop)
        self.opened = stream.loop.clock.now
        self.requests = shared.requests
        self.room = 0
        shared.uses[self] = None
        self.is_early = not shared.has_settings
        self.state = None
        self.heads = []
        self.trailing = None
        self.arrived = []
        self.has_ended = self.finished = False
        self.window = None
        self.wire_received = self.wire_bytes = self.received = 0
        self.trailers: tuple[tuple[bytes, bytes, bytes], ...] = ()
        self._head: ResponseHead | None = None
        self._failure = None

    def check(self) -> None:
        """Raise the failure of the request or of its connection, if there is one. Raises UpstreamFailure."""
        if self._failure is not None:
            raise self._failure
        self.frames.check()

    # The request.

    def start(self, attempt: LiveAttempt) -> bool:
        """Send the head, and the body if it is at hand; return whether that was all. Raises UpstreamFailure."""
        outgoing, frames = attempt.outgoing, self.frames
        if frames.failure is not None:
            frames.check()
        if len(frames.streams.live) >= frames.settings.max_concurrent_streams and not frames.may_open():
            return False
        body, has_more = outgoing.at_hand, outgoing.has_more
        if body and (has_more or not frames.fits_at_once(body)):
            body, has_more = b"", True
        data = frames.open(self, attempt.request_head, body, has_more)
        attempt.bytes_sent = len(data)
        frames.send(data)
        return not has_more

    async def finish(self, attempt: LiveAttempt) -> None:
        """Send the rest of the body, as far as the windows of the upstream allow."""
        outgoing = attempt.outgoing
        if self.state is None and await self._begin(attempt):
            return
        state = self.state
        assert state is not None
        moved = 0
        if outgoing.at_hand:
            await self._push(attempt, outgoing.at_hand)
        file, offset = outgoing.file, 0
        while file is not None and offset < file.size and state.sends:
            piece = file.read(offset, min(file.size - offset, BIG_CHUNK))
            if not piece:
                raise cut_short(file)
            offset += len(piece)
            await self._push(attempt, piece)
            await give_way()
        body = outgoing.rest
        while body is not None and not body.finished and state.sends:
            if piece := await body.read():
                outgoing.consumed = True
                await self._push(attempt, piece)
                moved += len(piece)
            if moved >= FAIR_SHARE:
                moved = 0
                await give_way()
        if state.sends:
            self.check()
            self.frames.send(data_frame(state.number, b"", True))
            attempt.bytes_sent += 9
            self.frames.streams.ended_by_us(state)

    async def _begin(self, attempt: LiveAttempt) -> bool:
        """Wait until the upstream allows for one more stream, and begin; return whether that was all to be sent."""
        clock, frames = attempt.request.client.clock, self.frames
        deadline = clock.now + attempt.passing.connect_timeout
        while not frames.may_open():
            await park(self.channel, WRITE, deadline - clock.now)
            self.check()
        return self.start(attempt)

    async def _push(self, attempt: LiveAttempt, data: bytes) -> None:
        """Send a piece of the body. Raises TimedOut, UpstreamFailure."""
        frames, state = self.frames, self.state
        assert state is not None
        view = memoryview(data)
        while view and state.sends:
            self.check()
            room = 0 if frames.is_full else min(frames.windows.room(state), _AT_ONCE, len(view))
            if not room:
                await park(self.channel, WRITE, attempt.passing.send_timeout)
                continue
            frames.windows.sent(state, room)
            size = min(frames.settings.max_frame_size, MAX_FRAME_SIZE)
            pieces = []
            for at in range(0, room, size):
                end = at + size if at + size < room else room
                pieces.append(data_frame(state.number, view[at:end], False))
            view = view[room:]
            data = b"".join(pieces)
            attempt.bytes_sent += len(data)
            frames.send(data)

    # The answer.

    def receive_head(self, attempt: LiveAttempt) -> ResponseHead | None:
        """Return the head of the answer if it has arrived. Raises UpstreamFailure."""
        attempt.bytes_received = self.wire_received
        limit = attempt.passing.buffer_size
        while self.heads:
            block, ends = self.heads.pop(0)
            # With gRPC, but not with proxy_pass, nginx takes a head that ends its stream for the announcement of an empty body.
            is_all = ends and attempt.passing.protocol.module == "grpc" and attempt.request.method != b"HEAD"
            if block.never_indexed:
                attempt.request.never_indexed |= block.never_indexed
            head = block.head(limit, is_all)
            if head.status == 101:
                raise failure_of("invalid_header", "upstream sent 101 in HTTP/2", READING_HEAD)
            if head.status >= 200:
                self._head = head
                return head
            note_interim(attempt, head, block.size)
        self.check()
        if self.has_ended:
            raise failure_of("invalid_header", "upstream closed the stream without a response header", READING_HEAD)
        self.own_channel.holds = False
        return None

    def body(self, attempt: LiveAttempt) -> bytes | AnswerBody:
        """Return the whole body if it has arrived already; otherwise the reader of the rest. Raises UpstreamFailure."""
        request, head = attempt.request, self._head
        assert head is not None
        ends_here = attempt.outgoing.ends_connection
        self.limit = limit = attempt.passing.buffer_size
        try:
            if self.has_ended and request.method != b"HEAD" and not ends_here and head.status not in _BODILESS:
                arrived, trailing = self.arrived, self.trailing
                whole = arrived[0] if len(arrived) == 1 else b"".join(arrived)
                if head.content_length == -1 or head.content_length == len(whole):
                    # Nothing is left to be found out about this answer.
                    if trailing is not None:
                        request.upstream_trailers = trailing[0].trailers(limit, trailing[1])
                        if trailing[0].never_indexed:
                            request.never_indexed |= trailing[0].never_indexed
                    attempt.response_length = self.wire_bytes
                    return whole
            is_head = request.method == b"HEAD" or (ends_here and request.sent_method == b"HEAD")
            kind, _ = body_of(head, b"HEAD" if is_head else request.method)
            if kind == NONE and (head.content_length != 0 or is_head or head.status in _BODILESS):
                attempt.is_bodiless = True
                return b""
            self.request = request
            self.timeout = attempt.passing.read_timeout
            self.at_hand = self._take(STREAM_WINDOW)
            self._look_at_end()
        except UpstreamFailure as failure:
            failure.doing, failure.sent = READING, True
            raise
        if not self.finished:
            return self
        request.upstream_trailers = self.trailers
        attempt.response_length = self.wire_bytes
        return self.at_hand

    def _take(self, most: int) -> bytes:
        """Return payload that has arrived, and let the upstream send as much again. Raises UpstreamFailure."""
        arrived = self.arrived
        if not arrived:
            return b""
        size, count = len(arrived[0]), 1
        while count < len(arrived) and size + len(arrived[count]) <= most:
            size += len(arrived[count])
            count += 1
        piece = arrived[0] if count == 1 else b"".join(arrived[:count])
        del arrived[:count]
        self.received += size
        length = self._head.content_length if self._head is not None else -1
        if 0 <= length < self.received:
            raise UpstreamFailure(
                "error", 'upstream sent more data than specified in "Content-Length" header', code="up_bad_body"
            )
        if not self.has_ended:
            self.give_back(size)
        return piece

    def _look_at_end(self) -> None:
        """See whether the body is finished. Raises UpstreamFailure."""
        if self.arrived or not self.has_ended:
            return
        head = self._head
        if head is not None and head.content_length > self.received:
            raise UpstreamFailure("error", "upstream prematurely closed stream")
        if self.trailing is not None:
            block, ends = self.trailing
            self.trailers = block.trailers(self.limit, ends)
            if block.never_indexed:
                self.request.never_indexed |= block.never_indexed
        self.finished = True

    @property
    def unframed(self) -> int:
        """Return 0: all payload is in frames."""
        return 0

    def receive(self, most: int) -> bytes:
        """Return payload that has arrived. Raises BlockingIOError, UpstreamFailure."""
        piece = self._take(most)
        if not piece and not self.has_ended:
            if self.trailing is not None:  # without END_STREAM
                self.trailing[0].trailers(self.limit, False)
            self.check()
            self.own_channel.holds = False
            raise BlockingIOError
        self._look_at_end()
        self.own_channel.holds = bool(self.arrived) or self.has_ended
        return piece

    def fill(self, pipe: object, most: int) -> int:
        """Move nothing: `unframed` does not allow it."""
        raise NotImplementedError

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until there is something to read, so many seconds or the usual time. Raises UpstreamFailure."""
        await wait_for_answer(self.channel, self.timeout if seconds is None else seconds)

    def close(self) -> None:
        """Leave the connection to the others; tell the upstream if it has not ended."""
        state, frames = self.state, self.frames
        uses, live = frames.uses, frames.streams.live
        if self not in uses:
            return
        if state is not None and state.number in live:
            frames.streams.reset_by_us(state)
            if frames.failure is None:
                try:
                    frames.send(rst_stream_frame(state.number, CANCEL))
                except UpstreamFailure:
                    pass  # the connection has just failed
        uses.pop(self, None)
        frames.left()
        if len(uses) > len(live):
            frames.wake_writers()  # others wait to begin

    def __repr__(self) -> str:
        return f"<{self.state or 'stream without a number'}: {self.received} bytes{', finished' if self.finished else ''}>"
