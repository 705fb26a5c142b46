"""HTTP/2 to upstreams: `proxy_http_version 2`, and the ground of gRPC (RFC 9113; http2-rules.md, "As client to upstreams").

A connection has one request at a time, as in nginx, unless `proxy_max_streams` allows for more. The bytes are the business of
`worker.http2`; here they meet sockets, tasks and the exchange.

Memory: a response is read ahead by no more than STREAM_WINDOW bytes; the window grows again as they are passed on. The window of
the connection is as wide as it can be, since each stream has its own bound.

Faults: what breaks the rules of the connection ends it, with GOAWAY, and all its requests fail. What breaks a single response is
a failure of its request, and RST_STREAM tells the upstream. A request that the upstream has refused, or had not begun when it
said GOAWAY, had no effect, so that it may be sent again whatever its method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker.channel import Channel
from worker.http1.response import NONE, ResponseHead, body_of
from worker.http2.abuse import ControlBudget, JunkBudget
from worker.http2.errors import CANCEL, NO_ERROR, REFUSED_STREAM, ConnectionFault, StreamFault, name_of
from worker.http2.frames import (
    DATA,
    GOAWAY,
    HEADERS,
    MAX_FRAME_SIZE,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW_UPDATE,
    FrameReader,
    GoAway,
    Ping,
    ResetStream,
    Settings,
    WindowUpdate,
    data_frame,
    goaway_frame,
    headers_frames,
    ping_frame,
    rst_stream_frame,
    window_update_frame,
)
from worker.http2.header_block import SIZE_UPDATE_TO_ZERO, HeaderDecoder, HeaderList, encode_fields
from worker.http2.response_head import read_response_head, read_response_trailers
from worker.http2.settings import PeerSettings, client_beginning
from worker.http2.streams import MAX_STREAM, ClientStreams, ResponseStream
from worker.http2.windows import MAX_WINDOW, ReceiveWindow, SendWindows
from worker.loop import FAIR_SHARE, WRITE, give_way, park
from worker.stream import BIG_CHUNK, Stream
from worker.upstream.body import wait_for_answer
from worker.upstream.failing import READING, READING_HEAD, failure_of
from worker.upstream.hints import note_interim
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import AnswerBody, LiveAttempt, UpstreamProtocol
from worker.upstream.protocols.http1 import HTTP1HeadPlan, request_target
from worker.upstream.sending import cut_short
from worker.upstream.shared import SharedConnection, Use
from wproxy.failures import UpstreamFailure
from wproxy.http import Request
from wproxy.template import checked

STREAM_WINDOW = 256 * 1024
"""The bytes of one response that an upstream may send before we have passed them on."""

# Frames that are written together.
_AT_ONCE = 4 * MAX_FRAME_SIZE
# Bodies up to this size go out together with their head.
_WITH_HEAD = MAX_FRAME_SIZE


class HTTP2Connection(SharedConnection):
    """A connection that carries requests as streams.

    limit: the most at once, as configured; the upstream may allow for less. has_settings: whether it has told of its own limit.
    """

    __slots__ = (
        "_begun",
        "_control",
        "_junk",
        "_last_head",
        "_received",
        "decoder",
        "has_settings",
        "limit",
        "reader",
        "settings",
        "streams",
        "windows",
    )

    def __init__(self, stream: Stream, limit: int, send_timeout: float) -> None:
        super().__init__(stream, limit, send_timeout)
        self.limit = limit
        self.reader = FrameReader("upstream", expects_preface=False)
        self.decoder = HeaderDecoder("upstream", table_size=0)
        self.settings = PeerSettings("upstream")
        self.windows = SendWindows("upstream")
        self.streams: ClientStreams[_StreamState] = ClientStreams()
        self._received = ReceiveWindow(MAX_WINDOW)
        self._control = ControlBudget(self.opened, "upstream")
        self._junk = JunkBudget("upstream")
        self._begun = self.has_settings = False
        self._last_head: tuple[HeaderList, ResponseHead] | None = None

    def may_open(self) -> bool:
        """Whether one more stream may be begun now. Raises UpstreamFailure if none ever may."""
        streams = self.streams
        if streams.may_open(self.settings.max_concurrent_streams):
            return True
        if streams.leaves or streams.next > MAX_STREAM:
            failure = failure_of("error", "upstream leaves, and takes no further request", READING_HEAD)
            failure.sent = False
            raise failure
        return False

    def begin(self) -> HTTP2Stream:
        """Return a new request's use of the connection."""
        return HTTP2Stream(self)

    def open(self, use: HTTP2Stream, block: bytes, is_all: bool) -> bytes:
        """Give a request the next number; return the bytes of its head, and before the first one those of the connection."""
        state = use.state = _StreamState(self.streams.next, not is_all, use)
        self.streams.open(state)
        if self.streams.next > MAX_STREAM:
            self.most = 0  # there are no numbers left
        if self.settings.shrank_table:
            self.settings.shrank_table = False
            block = SIZE_UPDATE_TO_ZERO + block
        return self._beginning() + headers_frames(state.number, block, is_all, self.settings.max_frame_size)

    def _beginning(self) -> bytes:
        """Return what has to be sent before anything else (RFC 9113 section 3.4); b"" when it has been."""
        if self._begun:
            return b""
        self._begun = True
        return PREFACE + client_beginning(STREAM_WINDOW)

    def _reply(self, frames: bytes) -> None:
        """Send frames that belong to no request: an upstream may speak before there is one. Raises UpstreamFailure."""
        self.send(self._beginning() + frames)

    def read_head(self, fields: HeaderList, size: int, limit: int) -> ResponseHead:
        """Return the head that these fields are: mostly that of the answer before. Raises UpstreamFailure."""
        known = self._last_head
        if known is not None and size <= limit and known[0] == fields:
            return known[1]
        head = read_response_head(fields, size, limit)
        self._last_head = fields, head
        return head

    def receive(self, data: bytes) -> None:
        """Hand out the frames in bytes that have arrived. Raises UpstreamFailure."""
        reader = self.reader
        reader.feed(data)
        try:
            while True:
                reader.take_plain(self._take_headers, self._take_data)
                frame = reader.take()
                if frame is None:
                    return
                take = _TAKE.get(frame.kind)
                if take is None:
                    self._junk.junk_frame()
                else:
                    take(self, frame)
        except ConnectionFault as fault:
            try:
                self.stream.send(goaway_frame(0, fault.code))
            except OSError:
                pass
            raise failure_of("invalid_header", fault.reason, READING_HEAD) from None

    # One frame of each kind. All of them raise ConnectionFault.

    def _take_settings(self, frame: Settings) -> None:
        if frame.ack:
            return
        self._control.spend_settings(len(frame.pairs), self.stream.loop.clock.now)
        settings = self.settings
        settings.apply(frame.pairs)
        self.windows.set_initial(settings.initial_window_size, self.streams.live.values())
        self._reply(SETTINGS_ACK)
        self.wake_writers()
        self.has_settings = True
        if self.most:
            # Without any stream allowed, requests may still join: they wait for other settings.
            self.most = min(self.limit, settings.max_concurrent_streams) or self.limit
            self.count_room()

    def _take_ping(self, frame: Ping) -> None:
        if frame.ack:
            return
        self._control.spend(1, self.stream.loop.clock.now, "PING")
        self._reply(ping_frame(frame.opaque, ack=True))
        for use in self.uses:
            use.channel.may_read()  # a sign of life: read timeouts begin anew, as in nginx

    def _take_goaway(self, frame: GoAway) -> None:
        self.most = 0
        for state in self.streams.goaway(frame.last):
            failure = failure_of("error", "upstream sent GOAWAY before it began the request", READING_HEAD)
            failure.sent = False
            state.use.fail(failure)
        self.count_room()

    def _take_window_update(self, frame: WindowUpdate) -> None:
        if not frame.stream:
            self.windows.update_connection(frame.increment)
            self.wake_writers()
            return
        state = self.streams.window_update(frame.stream)
        if state is None:
            self._junk.junk_frame()
            return
        try:
            self.windows.update_stream(frame.stream, state, frame.increment)
        except StreamFault as fault:
            raise ConnectionFault(fault.code, fault.reason) from None
        state.use.channel.may_write()

    def _take_reset(self, frame: ResetStream) -> None:
        state = self.streams.reset_by_peer(frame.stream)
        if state is None:
            self._junk.junk_frame()
            return
        if frame.code == NO_ERROR and state.use.has_ended:
            state.use.channel.may_write()  # it has answered, and does not want the rest of the request
            return
        is_refused = frame.code == REFUSED_STREAM and not state.has_head
        kind = "error" if is_refused or state.has_head else "invalid_header"
        reason = f"upstream rejected request with error {frame.code} ({name_of(frame.code)})"
        failure = failure_of(kind, reason, READING if state.has_head else READING_HEAD, "" if state.has_head else "up_reset")
        failure.sent = not is_refused
        failure.is_refusal = is_refused
        # Streams have the numbers 1, 3, 5 ...
        failure.is_put_off = is_refused and state.use.is_early and frame.stream // 2 >= self.settings.max_concurrent_streams
        state.use.fail(failure)

    def _take_headers(self, number: int, block: bytes, end_stream: bool) -> bool:
        fields = self.decoder.decode(block)
        state = self.streams.live.get(number)
        if state is None or not state.receives:
            self.streams.headers(number)  # late, or a fault
            self._junk.junk_frame()
            return False
        self._junk.useful += 1
        use = state.use
        use.wire_received += len(block) + 9
        if not state.has_head:
            use.heads.append((fields, self.decoder.size))
            state.has_head = not _is_interim(fields)
        else:
            use.trailing = fields, self.decoder.size, end_stream
            use.wire_bytes += len(block) + 9
        if end_stream:
            self._end(state)
        use.channel.may_read()
        return False

    def _take_data(self, number: int, data: bytes, flow: int, end_stream: bool) -> None:
        self._received.take(flow, "upstream", "the connection")
        increment = self._received.give_back(flow)
        if increment:
            self._reply(window_update_frame(0, increment))
        state = self.streams.live.get(number)
        if state is None or not (state.receives and state.has_head):
            self.streams.data(number)  # late, or a fault
            self._junk.junk_frame()
            return
        use = state.use
        if use.window is not None or not end_stream:  # a frame that is all of a body fits any window
            window = use.window = use.window or ReceiveWindow(STREAM_WINDOW)
            window.take(flow, "upstream", number)
        if data:
            self._junk.useful += 1
            use.arrived.append(data)
        elif not end_stream:
            self._junk.junk_frame()
        use.wire_received += flow + 9
        use.wire_bytes += flow + 9  # as in nginx, $upstream_response_length counts frames
        if end_stream:
            self._end(state)
        elif flow != len(data):
            use.give_back(flow - len(data))
        use.channel.may_read()

    def _end(self, state: _StreamState) -> None:
        state.use.has_ended = True
        self.streams.ended_by_peer(state)

    def wake_writers(self) -> None:
        """Let the requests look again that wait for a window, or to begin."""
        for use in self.uses:
            use.channel.may_write()


_TAKE: dict[int, Callable[[HTTP2Connection, Any], object]] = {
    SETTINGS: HTTP2Connection._take_settings,
    PING: HTTP2Connection._take_ping,
    GOAWAY: HTTP2Connection._take_goaway,
    WINDOW_UPDATE: HTTP2Connection._take_window_update,
    RST_STREAM: HTTP2Connection._take_reset,
    HEADERS: lambda connection, frame: connection._take_headers(frame.stream, frame.block, frame.end_stream),
    DATA: lambda connection, frame: connection._take_data(frame.stream, frame.data, frame.flow, frame.end_stream),
}


def _is_interim(fields: HeaderList) -> bool:
    """Whether a field list is that of a 1xx."""
    name, value = fields[0] if fields else (b"", b"")
    return name == b":status" and len(value) == 3 and value[:1] == b"1"


class _StreamState(ResponseStream):
    """The state of a stream, and the request that uses it."""

    __slots__ = ("use",)

    def __init__(self, number: int, sends: bool, use: HTTP2Stream) -> None:
        # Like its parents, without the calls.
        self.credit = 0
        self.number = number
        self.receives, self.sends = True, sends
        self.has_head = False
        self.use = use


class HTTP2Stream(Use):
    """One request as a stream; also the body of its answer (an AnswerBody).

    state: None before it has a number. heads, trailing: field lists that have arrived, with their size. arrived: pieces of the
    body. has_ended: whether the upstream has said that nothing follows. window: for what it may send; None before it has sent any
    of a body. wire_received: bytes of frames. is_early: whether it began before the upstream had told of its limit.
    """

    __slots__ = (
        "_failure", "_head", "_is_last", "arrived", "at_hand", "finished", "has_ended", "heads", "is_early",
        "limit", "received", "spoiled", "state", "surplus",
        "timeout", "trailers", "trailing", "window", "wire_bytes", "wire_received",
    )  # fmt: skip

    shared: HTTP2Connection

    def __init__(self, shared: HTTP2Connection) -> None:
        # Like `Use` and what is beneath it, without the calls.
        self.stream = stream = shared.stream
        self.shared = shared
        self.channel = Channel(stream.loop)
        self.opened = stream.loop.clock.now
        self.requests = shared.requests
        self.released = self.expires = 0.0
        self.room = 0
        shared.uses[self] = None
        self.is_early = not shared.has_settings
        self.state: _StreamState | None = None
        self.heads: list[tuple[HeaderList, int]] = []
        self.trailing: tuple[HeaderList, int, bool] | None = None
        self.arrived: list[bytes] = []
        self.has_ended = self.finished = self.spoiled = False
        self.window: ReceiveWindow | None = None
        self.wire_received = self.wire_bytes = self.received = 0
        self.at_hand = b""
        self.surplus = ""
        self.trailers: tuple[tuple[bytes, bytes, bytes], ...] = ()
        self.timeout = 0.0
        self.limit = 0
        self._head: ResponseHead | None = None
        self._failure: UpstreamFailure | None = None

    def fail(self, failure: UpstreamFailure) -> None:
        """End the request with a failure of its own."""
        self._failure = failure
        self.channel.may_read()
        self.channel.may_write()

    def check(self) -> None:
        """Raise the failure of the request or of its connection, if there is one. Raises UpstreamFailure."""
        if self._failure is not None:
            raise self._failure
        self.shared.check()

    # The request.

    def start(self, attempt: LiveAttempt) -> bool:
        """Send the head, and the body if it is at hand; return whether that was all. Raises UpstreamFailure."""
        outgoing, shared = attempt.outgoing, self.shared
        shared.check()
        if len(shared.streams.live) >= shared.settings.max_concurrent_streams and not shared.may_open():
            return False
        body = outgoing.at_hand
        is_bodiless = outgoing.rest is None and outgoing.file is None and not body
        data = shared.open(self, attempt.request_head, is_bodiless)
        assert self.state is not None
        is_all = is_bodiless
        if body and outgoing.rest is None and len(body) <= min(_WITH_HEAD, shared.windows.room(self.state)):
            data += data_frame(self.state.number, body, True)
            shared.windows.sent(self.state, len(body))
            is_all = True
        attempt.bytes_sent = len(data)
        if is_all and not is_bodiless:
            shared.streams.ended_by_us(self.state)
        shared.send(data)
        return is_all

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
            self.shared.send(data_frame(state.number, b"", True))
            attempt.bytes_sent += 9
            self.shared.streams.ended_by_us(state)

    async def _begin(self, attempt: LiveAttempt) -> bool:
        """Wait until the upstream allows for one more stream, and begin; return whether that was all to be sent."""
        clock, shared = attempt.request.client.clock, self.shared
        deadline = clock.now + attempt.passing.connect_timeout
        while not shared.may_open():
            await park(self.channel, WRITE, deadline - clock.now)
            self.check()
        return self.start(attempt)

    async def _push(self, attempt: LiveAttempt, data: bytes) -> None:
        """Send a piece of the body. Raises TimedOut, UpstreamFailure."""
        shared, state = self.shared, self.state
        assert state is not None
        view = memoryview(data)
        while view and state.sends:
            self.check()
            room = 0 if shared.is_full else min(shared.windows.room(state), _AT_ONCE, len(view))
            if not room:
                await park(self.channel, WRITE, attempt.passing.send_timeout)
                continue
            shared.windows.sent(state, room)
            size = min(shared.settings.max_frame_size, MAX_FRAME_SIZE)
            frames = b"".join([data_frame(state.number, view[at : min(at + size, room)], False) for at in range(0, room, size)])
            view = view[room:]
            attempt.bytes_sent += len(frames)
            shared.send(frames)

    # The answer.

    def receive_head(self, attempt: LiveAttempt) -> ResponseHead | None:
        """Return the head of the answer if it has arrived. Raises UpstreamFailure."""
        attempt.bytes_received = self.wire_received
        limit = attempt.passing.buffer_size
        while self.heads:
            fields, size = self.heads.pop(0)
            head = self.shared.read_head(fields, size, limit)
            if head.status == 101:
                raise failure_of("invalid_header", "upstream sent 101 in HTTP/2", READING_HEAD)
            if head.status >= 200:
                self._head = head
                return head
            note_interim(attempt, head, size)
        self.check()
        if self.has_ended:
            raise failure_of("invalid_header", "upstream closed the stream without a response header", READING_HEAD)
        self.channel.holds = False
        return None

    def body(self, attempt: LiveAttempt) -> bytes | AnswerBody:
        """Return the whole body if it has arrived already; otherwise the reader of the rest. Raises UpstreamFailure."""
        request, head = attempt.request, self._head
        assert head is not None
        ends_here = attempt.outgoing.ends_connection
        is_head = request.method == b"HEAD" or (ends_here and request.sent_method == b"HEAD")
        kind, _ = body_of(head, b"HEAD" if is_head else request.method)
        if kind == NONE and (head.content_length != 0 or is_head or head.status < 200 or head.status in (204, 304)):
            attempt.is_bodiless = True
            return b""
        self.timeout, self.limit = attempt.passing.read_timeout, attempt.passing.buffer_size
        try:
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

    def give_back(self, count: int) -> None:
        """Note that so many bytes need no room any more."""
        increment = self.window.give_back(count) if self.window is not None else 0
        if increment and self.state is not None and self.shared.failure is None:
            self.shared.send(window_update_frame(self.state.number, increment))

    def _look_at_end(self) -> None:
        """See whether the body is finished. Raises UpstreamFailure."""
        if self.arrived or not self.has_ended:
            return
        head = self._head
        if head is not None and head.content_length > self.received:
            raise UpstreamFailure("error", "upstream prematurely closed stream")
        if self.trailing is not None:
            self.trailers = read_response_trailers(self.trailing[0], self.trailing[1], self.limit, self.trailing[2])
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
                read_response_trailers(self.trailing[0], self.trailing[1], self.limit, False)
            self.check()
            self.channel.holds = False
            raise BlockingIOError
        self._look_at_end()
        self.channel.holds = bool(self.arrived) or self.has_ended
        return piece

    def fill(self, pipe: object, most: int) -> int:
        """Move nothing: `unframed` does not allow it."""
        raise NotImplementedError

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until there is something to read, so many seconds or the usual time. Raises UpstreamFailure."""
        await wait_for_answer(self.channel, self.timeout if seconds is None else seconds)

    def close(self) -> None:
        """Leave the connection to the others; tell the upstream if it has not ended."""
        state, shared = self.state, self.shared
        if self in shared.uses and state is not None and state.number in shared.streams.live:
            shared.streams.reset_by_us(state)
            if shared.failure is None:
                try:
                    shared.send(rst_stream_frame(state.number, CANCEL))
                except UpstreamFailure:
                    pass  # the connection has just failed
        super().close()
        if len(shared.uses) > len(shared.streams.live):
            shared.wake_writers()  # others wait to begin

    def __repr__(self) -> str:
        return f"<{self.state or 'stream without a number'}: {self.received} bytes{', finished' if self.finished else ''}>"


# The head of a request.

# Fields about one connection, and those that have another form in HTTP/2.
_NOT_SENT = frozenset(
    (b"host", b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings")
)


class HTTP2HeadPlan(HTTP1HeadPlan):
    """The additions of a location to every request head: those of HTTP/1, as a field block."""

    __slots__ = ("scheme", "set_fields")

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self.scheme = b"https" if self.target.is_secure else b"http"
        self.sends_unknown_length = True
        # With the names in lower case, and None where the field may not be sent.
        self.set_fields = [None if (lower := name.lower()) in _NOT_SENT else lower for name, _ in self.fields]

    def head(self, request: Request, length: int) -> bytes:
        """Return the field block of a request. Raises ClientError(500) when a variable would break it."""
        line = request.line
        cache = request.fields.cache
        as_received = request.path is line.path and request.args is line.args and request.method is line.method
        if as_received:
            remembered = cache.get(self)
            if remembered is not None and remembered[0] is line and remembered[1] == length:
                block: bytes = remembered[2]
                return block
        block = encode_fields(self._fields(request, length))
        if as_received and self.is_stable and line.authority is None:
            cache[self] = line, length, block
        return block

    def own_fields(self, request: Request) -> list[tuple[bytes, bytes]]:
        """Return the fields that a protocol on this ground adds."""
        return []

    def _fields(self, request: Request, length: int) -> list[tuple[bytes, bytes]]:
        values = [evaluate(request) for evaluate in self.evaluate]
        fields = [
            (b":method", request.method),
            (b":scheme", self.scheme),
            (b":path", request_target(request, self.location, self.target)),
            (b":authority", checked(values[0] or self.proxy_host)),
        ]
        for name, value in zip(self.set_fields, values[1:]):
            if value and name is not None and (name != b"te" or value.lower() == b"trailers"):
                fields.append((name, checked(value)))
        fields += self.own_fields(request)
        if length >= 0 and not self.sets_length:
            fields.append((b"content-length", b"%d" % length))
        if self.passes_fields:
            options = request.fields.connection_options
            dropped = self.dropped | options if options else self.dropped
            fields += [(lower, value) for lower, _, value in request.fields.lines if lower not in dropped]
        return fields

    def asks_to_upgrade(self, request: Request) -> bool:
        """Whether the answer may be 101: there is none in HTTP/2."""
        return False


def shown(block: bytes) -> bytes:
    """Return the text of a field block, as for HTTP/1, for logs and explanations."""
    fields = HeaderDecoder("upstream").decode(block)
    pseudo = {name: value for name, value in fields if name[:1] == b":"}
    lines = [b"%b %b HTTP/2.0" % (pseudo.get(b":method", b""), pseudo.get(b":path", b""))]
    lines += [b"%b: %b" % field for field in fields if field[0] not in (b":method", b":path")]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def http2(settings: ModuleSettings) -> UpstreamProtocol:
    """Return HTTP/2 for a location."""
    limit: int = settings.get("max_streams", 1)
    send_timeout: float = settings.get("send_timeout")
    return UpstreamProtocol(
        settings.module,
        "http://",
        lambda stream: HTTP2Connection(stream, limit, send_timeout),
        lambda location: HTTP2HeadPlan(ModuleSettings(location, settings.module)),
        is_shared=True,
        secure_scheme="https://",
        shown=shown,
    )
