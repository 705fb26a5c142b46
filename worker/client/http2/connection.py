"""One client's HTTP/2 connection: its state, and what each frame of the client does to it.

Nothing here waits. `receive` obeys frames and starts a task for each request; `serve.py` reads, waits and ends.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any, Final

from worker.client.ending import departure
from worker.client.http2.body import HTTP2RequestBody
from worker.client.http2.exchange import HTTP2Exchange, Shared
from worker.client.http2.sender import Sender
from worker.client.plan import ListenerPlan
from worker.client.requests import attend, find_way
from worker.http1.request import RequestFields, RequestLine
from worker.http2 import frames
from worker.http2.abuse import (
    PING_COST,
    PRIORITY_COST,
    STARTS_PER_READ,
    ControlBudget,
    JunkBudget,
    RefusalBudget,
    ResetBudget,
)
from worker.http2.errors import ENHANCE_YOUR_CALM, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, ConnectionFault, StreamFault
from worker.http2.frames import FrameReader, goaway_frame, ping_frame, rst_stream_frame, window_update_frame
from worker.http2.header_block import NEVER_INDEXED, HeaderDecoder, HeaderList
from worker.http2.request_head import RequestHead, RequestReader, as_upgrade, read_trailers
from worker.http2.settings import PeerSettings, server_beginning
from worker.http2.streams import DROP, MAX_STREAM, OPEN, REFUSE, TRAILERS, ServerStreams
from worker.http2.windows import DEFAULT_WINDOW, MAX_WINDOW, ReceiveWindow, SendWindows
from worker.stream import HEAD_CHUNK, Stream
from wproxy.failures import ClientError, ClientGone
from wproxy.http import Client, Request
from wproxy.regex import RegexTimedOut

# The opaque bytes of the PING that follows a first GOAWAY: its answer says that the client has seen it.
LEAVING: Final = b"leaving\0"
# How long a client may take for that answer, in seconds.
PATIENCE_TO_LEAVE: Final = 1.0
# The increment below which a window update counts as one of too many.
SMALL_UPDATE: Final = 128
# How long a client may go on with a body that has been answered before its stream is reset, in seconds, and on how many streams.
# Clients (curl 7.88) lose an answer if they read its reset before they have looked at it.
TIME_AFTER_ANSWER: Final = 0.25
MOST_ANSWERED: Final = 32

# The bytes of responses that are kept in memory while the client takes none; the rest goes to files, or stays with its upstream.
MOST_KEPT: Final = 1 << 20

NEVER: Final = float("inf")

# The name of the tasks of its streams, with its number.
_STREAM: Final = "client * stream"


class HTTP2Connection(Shared):
    """The state of a connection (ClientConnection).

    idle_since: the time at which the last request ended, or the connection began. begun_at: the time at which an unfinished frame
    or field block began. leaves_at: the time from which it no longer waits for the answer to its first GOAWAY. has_left: whether
    the real GOAWAY has gone out. last_request, expires: the request, or the time, from which it is to end. is_called: whether its
    task was woken to look after something else than the socket.
    """

    __slots__ = (
        "answered",
        "begun_at",
        "body_window",
        "client",
        "client_leaves",
        "control",
        "decoder",
        "exchanges",
        "expires",
        "fault",
        "flow_faults",
        "has_left",
        "idle_since",
        "is_called",
        "junk",
        "largest_read",
        "last_request",
        "leaves_at",
        "most",
        "plan",
        "reader",
        "refusals",
        "requests",
        "resets",
        "routed_by",
        "routed_head",
        "routed_to",
        "started",
        "stream",
        "task",
        "useful",
        "window",
    )

    def __init__(self, stream: Stream, client: Client, plan: ListenerPlan) -> None:
        server, loop = plan.default, stream.loop
        self.stream = stream
        self.client = client
        self.plan = plan
        self.clients = plan.clients
        self.loop = loop
        self.task = task = loop.current()
        task.home = stream
        now = loop.clock.now
        connects = server.http2_extended_connect
        self.reader = FrameReader()
        self.decoder = HeaderDecoder()
        self.requests = RequestReader(plan.limits, connects)
        self.settings = PeerSettings()
        self.windows = SendWindows()
        self.window = ReceiveWindow(MAX_WINDOW, DEFAULT_WINDOW)
        self.streams = ServerStreams(server.http2_max_concurrent_streams)
        self.sender = Sender(stream, self)
        self.control = ControlBudget(now)
        # These are made when they are needed, which for most connections is never.
        self.junk: JunkBudget | None = None
        self.resets: ResetBudget | None = None
        self.refusals: RefusalBudget | None = None
        self.answered: dict[HTTP2Exchange, float] | None = None
        self.progress = self.waiting = self.starved = None
        self.useful = 0
        self.last = None
        self.fault: ConnectionFault | None = None  # to be raised by its task
        self.exchanges: dict[HTTP2Exchange, None] = {}  # all that have a task
        self.memory = MOST_KEPT
        self.is_ending = False  # its task waits for those to end
        self.largest_read = server.http2_recv_buffer_size
        self.most = HEAD_CHUNK
        self.body_window = server.http2_body_preread_size
        self.idle_since = now
        self.begun_at = NEVER
        self.leaves_at = NEVER
        self.has_left = False
        self.client_leaves = False
        self.is_called = False
        fallback = server.locations.fallback
        self.last_request = fallback.keepalive_requests
        self.expires = client.started + fallback.keepalive_time
        # The last head, and its way.
        self.routed_head: RequestHead | None = None
        self.routed_to, self.routed_by = fallback, fallback.route
        self.started = 0  # requests since the last read
        self.flow_faults = 0
        self.sender.write_first(server_beginning(server.http2_max_concurrent_streams, self.body_window, connects))

    def part(self) -> None:
        """Let go of what refers to the connection, at its end: without cycles no connection waits for the collector.

        Over TLS each kept 60 KB until then.
        """
        self.sender.part()
        self.last = None

    # ClientConnection.

    @property
    def idle(self) -> bool:
        """Whether it has no request, and no part of one."""
        return not self.streams.busy and not self.reader.is_amid

    @property
    def is_reading(self) -> bool:
        """Whether a part of a request has arrived, and not yet all of its head."""
        return self.reader.is_amid and not self.streams.busy

    @property
    def waits(self) -> bool:
        """See `ClientConnection.waits`."""
        return self.idle

    @property
    def begun(self) -> int:
        """See `ClientConnection.begun`."""
        return len(self.exchanges)

    @property
    def under_way(self) -> list[Request]:
        """Return the requests that it has now."""
        return [exchange.request for exchange in self.exchanges]

    def may_leave(self, now: float) -> bool:
        """Whether it may be closed: it waits for a request, has for keepalive_min_timeout, and none has arrived."""
        if not self.idle or not self.task.parked:
            return False
        least = self.plan.default.locations.fallback.keepalive_min_timeout
        return not self.client.requests or now >= self.idle_since + least

    def drain(self, now: float) -> None:
        """Let the requests under way end, and take no further ones."""
        self.leave()

    def cut(self, reason: ClientGone) -> None:
        """End its requests now."""
        for exchange in list(self.exchanges):
            exchange.give_up(reason)

    # Leaving.

    def leave(self) -> None:
        """Tell the client to open no more streams. What it has sent before it hears of that is still served."""
        if self.streams.announced < 0:
            self.sender.write_first(goaway_frame(self.streams.begin_to_leave(), NO_ERROR) + ping_frame(LEAVING))
            self.leaves_at = self.loop.clock.now + PATIENCE_TO_LEAVE
            self.call()

    def settle_leaving(self) -> None:
        """Name the last stream that is served."""
        if not self.has_left:
            self.has_left = True
            self.leaves_at = NEVER
            self.sender.write_first(goaway_frame(self.streams.leave(), NO_ERROR))

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return (self.has_left or self.client_leaves) and not self.streams.busy and not self.answered

    def call(self) -> None:
        """Have the task of the connection look after everything but the socket."""
        self.is_called = True
        self.loop.wake(self.task)

    def break_off(self, fault: ConnectionFault) -> None:
        """End the connection from the task of a request."""
        if self.fault is None:
            self.fault = fault
            self.call()

    # Shared.

    def has_room(self) -> None:
        """Let the exchanges that wait for the sender go on; have the task wait for the socket if bytes are left."""
        sender = self.sender
        if sender.is_blocked or sender.failure is not None:
            self.call()
        if self.waiting and not sender.is_full():
            for exchange in self.waiting:
                exchange.wake()

    def note_waste(self) -> None:
        """Count a stream that made work for nothing."""
        try:
            self.count_waste()
        except ConnectionFault as fault:
            self.break_off(fault)

    def count_waste(self) -> None:
        """Count a stream that made work for nothing, from the task of the connection. Raises ConnectionFault."""
        if self.resets is None:
            self.resets = ResetBudget()
        self.resets.streams = self.client.requests
        self.resets.wasted()

    def count_junk(self) -> None:
        """Count a frame that brought nothing. Raises ConnectionFault."""
        if self.junk is None:
            self.junk = JunkBudget()
        self.junk.useful = self.useful
        self.junk.junk_frame()

    def reset_later(self, exchange: HTTP2Exchange) -> None:
        """Reset a stream whose answer is complete, unless its client ends it soon."""
        if self.answered is None:
            self.answered = {}
        answered = self.answered
        assert exchange not in answered and exchange.body is not None
        exchange.body.let_all_come()
        if len(answered) >= MOST_ANSWERED:
            first = next(iter(answered))
            del answered[first]
            first.reset(NO_ERROR)
        answered[exchange] = when = self.loop.clock.now + TIME_AFTER_ANSWER
        self.loop.hasten(self.task, when)

    def reset_answered(self, now: float) -> None:
        """Reset the answered streams whose time is over."""
        answered = self.answered
        assert answered is not None
        due = [exchange for exchange, when in answered.items() if when <= now]
        for exchange in due:
            del answered[exchange]
            exchange.reset(NO_ERROR)

    # Frames.

    def receive(self) -> bool:
        """Obey the frames that have been fed; return whether some are left for the next turn. Raises ConnectionFault."""
        self.started = 0
        reader = self.reader
        take, take_plain, handlers = reader.take, reader.take_plain, _HANDLERS
        while self.started < STARTS_PER_READ:
            if take_plain(self.on_headers, self.on_data):
                self.begun_at = NEVER
                continue
            frame = take()
            if frame is None:
                # Bytes that dribble in do not extend the time.
                self.begun_at = min(self.begun_at, self.loop.clock.now) if reader.is_amid else NEVER
                return False
            self.begun_at = NEVER
            handlers.get(frame.kind, HTTP2Connection.on_unknown)(self, frame)
        return True

    def on_headers(self, number: int, block: bytes, end_stream: bool) -> bool:
        """Begin a request, or take its trailers; return whether enough have begun for this turn.

        Every block is decoded, whatever becomes of its stream.
        """
        what = self.streams.headers(number)
        fields = self.decoder.decode(block)
        if what == OPEN:
            self.useful += 1
            self.open(number, fields, len(block), end_stream)
        elif what == TRAILERS:
            self.take_trailers(self.streams.live[number], fields, end_stream)
        elif what == REFUSE:
            if self.refusals is None:
                self.refusals = RefusalBudget(self.streams.limit)
            self.refusals.refused()
            self.sender.write_first(rst_stream_frame(number, REFUSED_STREAM))
            if self.clients.http2 is not None:
                self.clients.http2.resets_sent[REFUSED_STREAM] += 1
        else:
            assert what == DROP
            self.count_junk()
        return self.started >= STARTS_PER_READ

    def on_data(self, number: int, data: bytes, flow: int, end_stream: bool) -> None:
        """Give bytes to the body of a request."""
        if flow:
            increment = self.window.pass_on(flow, "client", "the connection")
            if increment:
                self.sender.write_first(window_update_frame(0, increment))
        exchange = self.streams.data(number)
        if exchange is None:
            self.count_junk()
            return
        if data or end_stream:
            self.useful += 1
        else:
            self.count_junk()
        body = exchange.body
        if body is not None and not (end_stream and flow == len(data) and body.feed_all(data)):  # the request is not over
            try:
                body.feed(data, flow, number)
                if end_stream:
                    body.end()
            except ClientError as fault:
                self.break_body_off(exchange, body, fault)
        if end_stream and exchange.receives:
            self.end_of_client(exchange)

    def take_trailers(self, exchange: HTTP2Exchange, fields: HeaderList, end_stream: bool) -> None:
        """End the body of a request; its trailers are checked and dropped."""
        body = exchange.body
        if body is not None:
            try:
                read_trailers(fields, self.decoder.size, end_stream, self.plan.limits)
                body.end()
            except ClientError as fault:
                self.break_body_off(exchange, body, fault)
        if exchange.receives:
            self.end_of_client(exchange)

    def end_of_client(self, exchange: HTTP2Exchange) -> None:
        """Take note that a client has sent the whole of its request."""
        self.streams.ended_by_peer(exchange)
        if self.answered:
            self.answered.pop(exchange, None)

    def break_body_off(self, exchange: HTTP2Exchange, body: HTTP2RequestBody, fault: ClientError) -> None:
        """Answer a body that breaks the rules with its status, or reset its stream if the answer has begun."""
        exchange.is_malformed = True
        body.break_off(fault)
        if exchange.request.replied:
            exchange.reset(PROTOCOL_ERROR)
            exchange.wake()

    def on_priority(self, frame: frames.Priority) -> None:
        """Ignore an outdated priority."""
        self.control.spend(PRIORITY_COST, self.loop.clock.now, "PRIORITY")

    def on_reset(self, frame: frames.ResetStream) -> None:
        """End a request that the client no longer wants."""
        if self.clients.http2 is not None:
            self.clients.http2.resets_received[frame.code] += 1
        exchange = self.streams.reset_by_peer(frame.stream)
        if exchange is None:
            self.count_junk()
            return
        if exchange.task is None:
            if self.answered:
                self.answered.pop(exchange, None)
            return
        request = exchange.request
        if not request.replied:
            self.count_waste()
        exchange.is_malformed = False  # a reset is not answered by one
        self.leave_alone(exchange, f"client canceled stream {frame.stream}")

    def leave_alone(self, exchange: HTTP2Exchange, reason: str) -> None:
        """End a request whose client is gone; one that goes on without it (proxy_ignore_client_abort) needs its whole body."""
        if not exchange.request.route.ignores_abort:
            exchange.give_up(departure(exchange.request, reason))
        elif exchange.body is not None:
            exchange.body.cut_off(reason)
        exchange.wake()

    def on_settings(self, frame: frames.Settings) -> None:
        """Obey the client's settings, and say so."""
        if frame.ack:
            return
        self.control.spend_settings(len(frame.pairs), self.loop.clock.now)
        self.settings.apply(frame.pairs)
        self.windows.set_initial(self.settings.initial_window_size, self.streams.live.values())
        self.sender.write_first(frames.SETTINGS_ACK)
        self.feed_starved()

    def on_ping(self, frame: frames.Ping) -> None:
        """Answer a sign of life; take the answer to ours."""
        if not frame.ack:
            self.control.spend(PING_COST, self.loop.clock.now, "PING")
            self.sender.write_first(ping_frame(frame.opaque, True))
        elif frame.opaque == LEAVING and self.streams.announced >= 0:
            self.settle_leaving()

    def on_goaway(self, frame: frames.GoAway) -> None:
        """Close when the requests under way are answered."""
        self.client_leaves = True

    def on_window_update(self, frame: frames.WindowUpdate) -> None:
        """Let one stream, or all, send more."""
        if frame.increment < SMALL_UPDATE:
            self.count_junk()
        if not frame.stream:
            self.windows.update_connection(frame.increment)
            self.feed_starved()
            return
        exchange = self.streams.window_update(frame.stream)
        if exchange is None:
            self.count_junk()
            return
        if exchange.task is None:
            return
        try:
            self.windows.update_stream(frame.stream, exchange, frame.increment)
        except StreamFault as fault:
            self.flow_faults += 1
            self.count_waste()
            if self.flow_faults > 1:
                raise ConnectionFault(fault.code, fault.reason) from None
            self.log("info", fault.reason)
            exchange.reset(fault.code)
            exchange.give_up(departure(exchange.request, fault.reason))
        exchange.wake()

    def on_unknown(self, frame: frames.Frame) -> None:
        """Ignore a frame of an unknown type."""
        self.count_junk()

    def feed_starved(self) -> None:
        """Let the exchanges that wait for a window look again."""
        for exchange in self.starved or ():
            exchange.wake()

    # Requests.

    def open(self, number: int, fields: HeaderList, size: int, end_stream: bool) -> None:
        """Begin a request. size: that of its field block."""
        client, plan = self.client, self.plan
        exchange = HTTP2Exchange(number, self, not end_stream)
        self.streams.open(exchange)
        if self.clients.http2 is not None:
            self.clients.http2.streams += 1
        if self.refusals is not None:
            self.refusals = None  # a stream is served again: the client has heard
        self.started += 1
        client.requests += 1
        refusal: ClientError | None = None
        try:
            head = self.requests.read(fields, self.decoder.size, end_stream)
        except ClientError as error:
            refusal, head = error, unreadable_head(fields)
            exchange.is_malformed = error.status == 400
        never_indexed = self.decoder.never_indexed
        if never_indexed and head.fields.cache.get(NEVER_INDEXED) != never_indexed:
            head.fields.forget()  # with the heads for upstreams that were made without this
            head.fields.remember(NEVER_INDEXED, never_indexed)
        now = client.clock.now
        request = exchange.request = Request(client, head.line, head.fields, now)
        request.exchange = exchange
        request.request_length = size
        if head is self.routed_head:
            location, route = self.routed_to, self.routed_by
        else:
            try:
                location, route = find_way(client, head.fields.host, head.line.path, request)
            except (ClientError, RegexTimedOut) as obstacle:
                refusal = refusal or (
                    obstacle if isinstance(obstacle, ClientError) else ClientError(500, str(obstacle), code="regex_slow")
                )
                location = plan.default.locations.fallback
                route = location.route
            if not client.listener.speaks_http2(location.server):
                name = location.server.name
                refusal = refusal or ClientError(421, f'client asked in HTTP/2 for server "{name}", which does not speak it')
            # The captures of a regex belong to this request: the next one must find its own.
            self.routed_head = head if refusal is None and request.captures is None else None
            self.routed_to, self.routed_by = location, route
        request.location, request.route, request.server = location, route, route.server
        if refusal is not None and request.trace is not None:
            request.trace.is_refused = True
        if not end_stream:
            refusal = self.accept_body(exchange, request, head, refusal)
        if client.requests >= self.last_request or now >= self.expires or number >= MAX_STREAM or self.clients.draining:
            self.leave()
        self.exchanges[exchange] = None
        exchange.refusal = refusal
        exchange.task = self.loop.spawn(attend(self.clients, request, exchange), _STREAM, client.serial)

    def accept_body(
        self, exchange: HTTP2Exchange, request: Request, head: RequestHead, refusal: ClientError | None
    ) -> ClientError | None:
        """Prepare to read what follows a head; return the refusal of the request, if there is one."""
        fields = head.fields
        owes_continue = fields.expects_continue
        length = fields.content_length
        if head.protocol is not None:
            exchange.body = HTTP2RequestBody(self.loop, exchange, length, owes_continue, self.body_window)
            request.fields = as_upgrade(head, base64.b64encode(os.urandom(16)))
            return refusal
        limit, timeout = request.route.client_max_body_size, request.location.client_body_timeout
        request.body = exchange.body = HTTP2RequestBody(
            self.loop, exchange, length, owes_continue, self.body_window, timeout, limit
        )
        if refusal is None and limit and length > limit:
            return ClientError(413, f"client intended to send too large body: {length} bytes", "client_max_body_size")
        return refusal

    def ended(self, exchange: HTTP2Exchange) -> None:
        """Take note of the end of a request."""
        del self.exchanges[exchange]
        streams = self.streams
        streams.release()
        if not streams.busy:
            # A dictionary that is empty, but has not been cleared, takes 160 bytes more.
            self.exchanges.clear()
            if not streams.live:
                streams.live.clear()
            self.idle_since = self.loop.clock.now
            if self.is_ending or self.has_left or self.client_leaves:
                self.call()
            else:
                self.loop.hasten(self.task, self.idle_since + self.patience)
        refusal = exchange.refusal
        if isinstance(refusal, ClientError) and refusal.status in (414, 494):
            self.break_off(ConnectionFault(ENHANCE_YOUR_CALM, refusal.reason))

    @property
    def patience(self) -> float:
        """Return the seconds that it may wait for a request: the first one, or a further one."""
        if not self.client.requests:
            return self.plan.header_timeout
        return self.plan.default.locations.fallback.route.keepalive_timeout[0]

    def log(self, level: str, text: str) -> None:
        """Log a line about the connection."""
        client = self.client
        where = f"client: {client.remote_addr.decode('latin-1')}, server: {client.listener.address}"
        self.plan.log.write(level, f"{text} while processing HTTP/2 connection, {where}", client.serial)


# What each kind of frame does.
_HANDLERS: dict[int, Callable[[HTTP2Connection, Any], object]] = {
    frames.DATA: lambda connection, frame: connection.on_data(frame.stream, frame.data, frame.flow, frame.end_stream),
    frames.HEADERS: lambda connection, frame: connection.on_headers(frame.stream, frame.block, frame.end_stream),
    frames.PRIORITY: HTTP2Connection.on_priority,
    frames.RST_STREAM: HTTP2Connection.on_reset,
    frames.SETTINGS: HTTP2Connection.on_settings,
    frames.PING: HTTP2Connection.on_ping,
    frames.GOAWAY: HTTP2Connection.on_goaway,
    frames.WINDOW_UPDATE: HTTP2Connection.on_window_update,
}


def unreadable_head(fields: HeaderList) -> RequestHead:
    """Return the head of a malformed request, for its answer and the logs."""
    known = dict(fields)
    method, path = known.get(b":method", b""), known.get(b":path", b"")
    text = b"%b %b HTTP/2.0" % (method[:64], path[:8192])
    line = RequestLine(text, b"HEAD" if method == b"HEAD" else b"", path, b"", b"", None, 20, False)
    return RequestHead(line, RequestFields((), {}, None, None, -1, False), b"", None)
