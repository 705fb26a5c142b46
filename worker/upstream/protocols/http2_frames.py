"""The connection to an upstream over HTTP/2: its frames, and the requests that they belong to (RFC 9113).

The window of the connection is as wide as it can be, since each stream has its own bound.

Faults: what breaks the rules of the connection ends it, with GOAWAY, and all its requests fail. A request that the upstream has
refused, or had not begun when it said GOAWAY, had no effect, so that it may be sent again whatever its method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker.http2.abuse import ControlBudget, JunkBudget
from worker.http2.answer_block import KNOWN_BLOCKS, answer_block
from worker.http2.errors import NO_ERROR, REFUSED_STREAM, ConnectionFault, StreamFault
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
    request_frames,
    window_update_frame,
)
from worker.http2.header_block import SIZE_UPDATE_TO_ZERO
from worker.http2.settings import PeerSettings, client_beginning
from worker.http2.streams import MAX_STREAM, ClientStreams
from worker.http2.windows import MAX_WINDOW, ReceiveWindow, SendWindows
from worker.stream import Stream
from worker.upstream.failing import READING, READING_HEAD, failure_of
from worker.upstream.protocols.http2_arriving import STREAM_WINDOW, Arriving, StreamState
from worker.upstream.shared import SharedConnection

# Bodies up to this size go out together with their head.
_WITH_HEAD = MAX_FRAME_SIZE


class HTTP2Frames(SharedConnection):
    """A connection that carries requests as streams: the frames that arrive are handed out to them.

    limit: the most at once, as configured; the upstream may allow for less. has_settings: whether it has told of its own limit.
    """

    __slots__ = (
        "_begun",
        "_control",
        "_junk",
        "_received",
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
        self.settings = PeerSettings("upstream")
        self.windows = SendWindows("upstream")
        self.streams: ClientStreams[StreamState] = ClientStreams()
        self._received = ReceiveWindow(MAX_WINDOW)
        self._control = ControlBudget(self.opened, "upstream")
        self._junk = JunkBudget("upstream")
        self._begun = self.has_settings = False

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

    def open(self, use: Arriving, block: bytes, body: bytes, has_more: bool) -> bytes:
        """Give a request the next number; return the frames to send for it, and before the first one those of the connection.

        body: all of it, if there is room for it, see `fits_at_once`; b"" if it is none or, with has_more, follows later.
        """
        streams, settings = self.streams, self.settings
        number = streams.next
        state = use.state = StreamState(number, has_more, use)
        streams.open(state)
        if number >= MAX_STREAM:
            self.most = 0  # there are no numbers left
        if settings.shrank_table:
            settings.shrank_table = False
            block = SIZE_UPDATE_TO_ZERO + block
        if body:
            self.windows.sent(state, len(body))
            if len(block) <= MAX_FRAME_SIZE:
                frames = request_frames(number, block, body)
            else:
                frames = headers_frames(number, block, False, settings.max_frame_size) + data_frame(number, body, True)
        else:
            frames = headers_frames(number, block, not has_more, settings.max_frame_size)
        return frames if self._begun else self._beginning() + frames

    def fits_at_once(self, body: bytes) -> bool:
        """Whether a body goes out together with its head: it is small, and a new stream has room for it."""
        size, windows = len(body), self.windows
        return size <= _WITH_HEAD and size <= windows.initial and size <= windows.connection

    def _beginning(self) -> bytes:
        """Return what has to be sent before anything else (RFC 9113 section 3.4); b"" when it has been."""
        if self._begun:
            return b""
        self._begun = True
        return PREFACE + client_beginning(STREAM_WINDOW)

    def _reply(self, frames: bytes) -> None:
        """Send frames that belong to no request: an upstream may speak before there is one.

        One that has closed may have answered before: what it sent is read to the end.
        """
        if not self.try_to_send(self._beginning() + frames):
            self.most = 0

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
            use.own_channel.may_read()  # a sign of life: read timeouts begin anew, as in nginx

    def _take_goaway(self, frame: GoAway) -> None:
        self.most = 0
        for state in self.streams.goaway(frame.last):
            failure = failure_of("error", f"upstream sent goaway with error {frame.code}", READING_HEAD)
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
        state.use.own_channel.may_write()

    def _take_reset(self, frame: ResetStream) -> None:
        state = self.streams.reset_by_peer(frame.stream)
        if state is None:
            self._junk.junk_frame()
            return
        if frame.code == NO_ERROR and state.use.has_ended:
            state.use.own_channel.may_write()  # it has answered, and does not want the rest of the request
            return
        is_refused = frame.code == REFUSED_STREAM and not state.has_head
        kind = "error" if is_refused or state.has_head else "invalid_header"
        reason = f"upstream rejected request with error {frame.code}"
        failure = failure_of(kind, reason, READING if state.has_head else READING_HEAD, "" if state.has_head else "up_reset")
        failure.sent = not is_refused
        failure.is_refusal = is_refused
        # Streams have the numbers 1, 3, 5 ...
        failure.is_put_off = is_refused and state.use.is_early and frame.stream // 2 >= self.settings.max_concurrent_streams
        state.use.fail(failure)

    def _take_headers(self, number: int, block: bytes, end_stream: bool) -> bool:
        read = KNOWN_BLOCKS.get(block) or answer_block(block)
        state = self.streams.live.get(number)
        if state is None or not state.receives:
            self.streams.headers(number)  # late, or a fault
            self._junk.junk_frame()
            return False
        self._junk.useful += 1
        use = state.use
        size = len(block) + 9
        use.wire_received += size
        if not state.has_head:
            use.heads.append((read, end_stream))
            state.has_head = not read.is_interim
        else:
            use.trailing = read, end_stream
            use.wire_bytes += size
        if end_stream:
            use.has_ended = True
            self.streams.ended_by_peer(state)
        use.own_channel.may_read()
        return False

    def _take_data(self, number: int, data: bytes, flow: int, end_stream: bool) -> None:
        increment = self._received.pass_on(flow, "upstream", "the connection")
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
        size = flow + 9
        use.wire_received += size
        use.wire_bytes += size  # as in nginx, $upstream_response_length counts frames
        if end_stream:
            use.has_ended = True
            self.streams.ended_by_peer(state)
        elif flow != len(data):
            use.give_back(flow - len(data))
        use.own_channel.may_read()

    def wake_writers(self) -> None:
        """Let the requests look again that wait for a window, or to begin."""
        for use in self.uses:
            use.own_channel.may_write()


_TAKE: dict[int, Callable[[HTTP2Frames, Any], object]] = {
    SETTINGS: HTTP2Frames._take_settings,
    PING: HTTP2Frames._take_ping,
    GOAWAY: HTTP2Frames._take_goaway,
    WINDOW_UPDATE: HTTP2Frames._take_window_update,
    RST_STREAM: HTTP2Frames._take_reset,
    HEADERS: lambda connection, frame: connection._take_headers(frame.stream, frame.block, frame.end_stream),
    DATA: lambda connection, frame: connection._take_data(frame.stream, frame.data, frame.flow, frame.end_stream),
}
