"""The connection to an upstream over HTTP/2: its frames, and the requests that they belong to (RFC 9113).

The window of the connection is as wide as it can be, since each stream has its own bound.

Faults: what breaks the rules of the connection ends it, with GOAWAY, and all its requests fail. A request that the upstream has
refused, or had not begun when it said GOAWAY, had no effect, so that it may be sent again whatever its method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker.http1.response import ResponseHead
from worker.http2.abuse import ControlBudget, JunkBudget
from worker.http2.errors import NO_ERROR, REFUSED_STREAM, ConnectionFault, StreamFault
from worker.http2.frames import (
    DATA,
    GOAWAY,
    HEADERS,
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
    goaway_frame,
    headers_frames,
    ping_frame,
    window_update_frame,
)
from worker.http2.header_block import SIZE_UPDATE_TO_ZERO, HeaderDecoder, HeaderList
from worker.http2.response_head import read_response_head
from worker.http2.settings import PeerSettings, client_beginning
from worker.http2.streams import MAX_STREAM, ClientStreams
from worker.http2.windows import MAX_WINDOW, ReceiveWindow, SendWindows
from worker.stream import Stream
from worker.upstream.failing import READING, READING_HEAD, failure_of
from worker.upstream.protocols.http2_arriving import STREAM_WINDOW, Arriving, StreamState
from worker.upstream.shared import SharedConnection


class HTTP2Frames(SharedConnection):
    """A connection that carries requests as streams: the frames that arrive are handed out to them.

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
        self.streams: ClientStreams[StreamState] = ClientStreams()
        self._received = ReceiveWindow(MAX_WINDOW)
        self._control = ControlBudget(self.opened, "upstream")
        self._junk = JunkBudget("upstream")
        self._begun = self.has_settings = False
        self._last_head: tuple[HeaderList, bool, ResponseHead] | None = None

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

    def open(self, use: Arriving, block: bytes, is_all: bool) -> bytes:
        """Give a request the next number; return the bytes of its head, and before the first one those of the connection."""
        state = use.state = StreamState(self.streams.next, not is_all, use)
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
        """Send frames that belong to no request: an upstream may speak before there is one.

        One that has closed may have answered before: what it sent is read to the end.
        """
        if not self.try_to_send(self._beginning() + frames):
            self.most = 0

    def read_head(self, fields: HeaderList, size: int, limit: int, is_all: bool) -> ResponseHead:
        """Return the head that these fields are: mostly that of the answer before. Raises UpstreamFailure.

        is_all: whether there is no body, though there could be one.
        """
        known = self._last_head
        if known is not None and size <= limit and known[0] == fields and known[1] == is_all:
            return known[2]
        head = read_response_head(fields, size, limit, is_all)
        self._last_head = fields, is_all, head
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
        reason = f"upstream rejected request with error {frame.code}"
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
            use.heads.append((fields, self.decoder.size, end_stream))
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

    def _end(self, state: StreamState) -> None:
        state.use.has_ended = True
        self.streams.ended_by_peer(state)

    def wake_writers(self) -> None:
        """Let the requests look again that wait for a window, or to begin."""
        for use in self.uses:
            use.channel.may_write()


_TAKE: dict[int, Callable[[HTTP2Frames, Any], object]] = {
    SETTINGS: HTTP2Frames._take_settings,
    PING: HTTP2Frames._take_ping,
    GOAWAY: HTTP2Frames._take_goaway,
    WINDOW_UPDATE: HTTP2Frames._take_window_update,
    RST_STREAM: HTTP2Frames._take_reset,
    HEADERS: lambda connection, frame: connection._take_headers(frame.stream, frame.block, frame.end_stream),
    DATA: lambda connection, frame: connection._take_data(frame.stream, frame.data, frame.flow, frame.end_stream),
}


def _is_interim(fields: HeaderList) -> bool:
    """Whether a field list is that of a 1xx."""
    name, value = fields[0] if fields else (b"", b"")
    return name == b":status" and len(value) == 3 and value[:1] == b"1"
