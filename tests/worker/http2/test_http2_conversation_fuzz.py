"""Whole conversations: what the h2 package says as a client, as it is and mutated, read by all parts together."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.http1.request_values import HeadLimits
from worker.http2 import frames
from worker.http2.errors import NAMES, ConnectionFault, Http2Fault, StreamFault
from worker.http2.frames import FrameReader
from worker.http2.header_block import HeaderDecoder, encode_fields, encode_status
from worker.http2.request_head import RequestReader, read_trailers
from worker.http2.response_head import read_response_head, read_response_trailers
from worker.http2.settings import PeerSettings, client_beginning, server_beginning
from worker.http2.streams import DROP, HEAD, OPEN, TRAILERS, ClientStreams, ResponseStream, ServerStreams, Stream
from worker.http2.windows import MAX_WINDOW, ReceiveWindow, SendWindows
from wproxy.failures import ClientError, UpstreamFailure

Told = list[tuple[object, ...]]
MOST_HELD = frames.MAX_FRAME_SIZE + 9


class Server:
    """The receiving half of a server, made of the parts alone; it writes down what it is told."""

    def __init__(self) -> None:
        self.reader = FrameReader()
        self.decoder = HeaderDecoder()
        self.requests = RequestReader(HeadLimits())
        self.settings = PeerSettings()
        self.streams: ServerStreams[Stream] = ServerStreams(8)
        self.sending = SendWindows()
        self.window = ReceiveWindow(MAX_WINDOW)
        self.told: Told = []

    def receive(self, data: bytes) -> None:
        self.reader.feed(data)
        while (frame := self.reader.take()) is not None:
            if isinstance(frame, frames.Headers):
                self.headers(frame)
            elif isinstance(frame, frames.Data):
                self.window.take(frame.flow, "client", "the connection")
                self.window.give_back(frame.flow)
                stream = self.streams.data(frame.stream)
                if stream is not None:
                    self.told.append(("data", frame.stream, frame.data))
                    self.end(stream, frame.end_stream)
            elif isinstance(frame, frames.Settings):
                self.settings.apply(frame.pairs)
                self.sending.set_initial(self.settings.initial_window_size, self.streams.live.values())
            elif isinstance(frame, frames.WindowUpdate):
                if not frame.stream:
                    self.sending.update_connection(frame.increment)
                elif (stream := self.streams.window_update(frame.stream)) is not None:
                    self.sending.update_stream(frame.stream, stream, frame.increment)
            elif isinstance(frame, frames.ResetStream):
                if self.streams.reset_by_peer(frame.stream) is not None:
                    self.told.append(("reset", frame.stream, frame.code))
            elif isinstance(frame, frames.Ping):
                self.told.append(("ping", frame.opaque))

    def headers(self, frame: frames.Headers) -> None:
        verdict = self.streams.headers(frame.stream)
        fields = self.decoder.decode(frame.block)
        try:
            if verdict == OPEN:
                stream = Stream(frame.stream)
                self.streams.open(stream)
                head = self.requests.read(fields, self.decoder.size, frame.end_stream)
                self.told.append(("request", frame.stream, head.line.line, head.fields.lines))
                self.end(stream, frame.end_stream)
            elif verdict == TRAILERS:
                trailers = read_trailers(fields, self.decoder.size, frame.end_stream, HeadLimits())
                self.told.append(("trailers", frame.stream, trailers))
                self.end(self.streams.live[frame.stream], True)
        except ClientError as refused:
            self.told.append(("refused", frame.stream, refused.status))
            self.streams.reset_by_us(self.streams.live[frame.stream])

    def end(self, stream: Stream, ended: bool) -> None:
        if ended:
            self.streams.ended_by_peer(stream)
            self.told.append(("end", stream.number))


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(("get", "post", "data", "end", "trailers", "reset", "ping", "settings", "update", "cookies", "pad")),
        st.integers(0, 5),
        st.binary(max_size=30),
    ),
    max_size=15,
)


def converse(actions: list[tuple[str, int, bytes]]) -> tuple[bytes, Told]:
    """Let h2 act as a client; return its bytes, and what a server has to be told."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    client.receive_data(server_beginning(100, 65536))
    told: Told = []
    open_: list[int] = []
    for action, index, payload in actions:
        text = payload.hex().encode()
        if action in ("get", "post", "cookies"):
            number = client.get_next_available_stream_id()
            pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/" + text), (b":authority", b"a")]
            lines = [(b"host", b"host", b"a"), (b"x", b"x", text)]
            pairs.append((b"x", text))
            if action == "cookies":
                pairs += [(b"cookie", b"a"), (b"cookie", text or b"b")]
                lines.append((b"cookie", b"cookie", b"a; " + (text or b"b")))
            client.send_headers(number, pairs, end_stream=action != "post")
            told.append(("request", number, b"GET /" + text + b" HTTP/2.0", tuple(lines)))
            if action == "post":
                open_.append(number)
            else:
                told.append(("end", number))
        elif action == "ping":
            client.ping(payload[:8].ljust(8, b"\0"))
            told.append(("ping", payload[:8].ljust(8, b"\0")))
        elif action == "settings":
            client.update_settings({4: len(payload) * 1000, 5: 16384 + index, 1: index * 100})
        elif action == "update":
            client.increment_flow_control_window(index + 1)
        elif open_:
            number = open_[index % len(open_)]
            if action in ("data", "pad", "end"):
                pad = index * 20 if action == "pad" else None
                client.send_data(number, payload, end_stream=action == "end", pad_length=pad)
                told.append(("data", number, payload))
            elif action == "trailers":
                client.send_headers(number, [(b"y", text or b"z")], end_stream=True)
                told.append(("trailers", number, ((b"y", b"y", text or b"z"),)))
            elif action == "reset":
                client.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
                told.append(("reset", number, 8))
            if action in ("end", "trailers", "reset"):
                open_.remove(number)
                if action != "reset":
                    told.append(("end", number))
    return client.data_to_send(), told


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places})
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]


CUTS = st.lists(st.integers(0, 1000), max_size=6)


@given(ACTIONS, CUTS)
@settings(max_examples=120, deadline=None)
def test_what_h2_says_as_a_client_is_understood(actions, cuts):
    data, told = converse(actions[:8])
    server = Server()
    for piece in cut(data, cuts):
        server.receive(piece)
    assert server.told == told
    assert not server.reader.is_amid


MUTATIONS = st.lists(
    st.tuples(st.integers(24, 400), st.integers(0, 255), st.sampled_from(("set", "insert", "delete"))), max_size=4
)


@given(ACTIONS, MUTATIONS, CUTS)
@settings(max_examples=100, deadline=None)
def test_a_mutated_conversation_is_served_or_a_declared_fault(actions, mutations, cuts):
    changed = bytearray(converse(actions)[0])
    for place, value, how in mutations:
        if place < len(changed):
            if how == "set":
                changed[place] = value
            elif how == "insert":
                changed.insert(place, value)
            else:
                del changed[place]
    server = Server()
    try:
        for piece in cut(bytes(changed), cuts):
            server.receive(piece)
            assert server.reader.held <= MOST_HELD
    except Http2Fault as fault:
        assert fault.code in NAMES
        assert fault.reason.startswith("client ")
        assert isinstance(fault, ConnectionFault | StreamFault)


FRAMES = st.lists(
    st.tuples(
        st.integers(0, 10), st.sampled_from((0, 1, 4, 5, 8, 0x25)), st.sampled_from((0, 1, 3, 5, 7, 2)), st.binary(max_size=12)
    ),
    max_size=12,
)


@given(FRAMES)
@settings(max_examples=100, deadline=None)
def test_random_frames_are_served_or_a_declared_fault(written):
    server = Server()
    server.receive(frames.PREFACE + frames.settings_frame(()))
    try:
        for kind, flags, number, payload in written:
            server.receive(frames.frame_header(kind, flags, number, len(payload)) + payload)
    except Http2Fault as fault:
        assert fault.code in NAMES


class Upstream:
    """The receiving half of a client of an upstream, made of the parts alone."""

    def __init__(self, requests: int) -> None:
        self.reader = FrameReader("upstream", expects_preface=False)
        self.decoder = HeaderDecoder("upstream", table_size=0)
        self.settings = PeerSettings("upstream")
        self.streams: ClientStreams[ResponseStream] = ClientStreams()
        self.told: Told = []
        for _ in range(requests):
            stream = ResponseStream(self.streams.next)
            self.streams.open(stream)
            self.streams.ended_by_us(stream)

    def receive(self, data: bytes) -> None:
        self.reader.feed(data)
        while (frame := self.reader.take()) is not None:
            if isinstance(frame, frames.Headers):
                self.headers(frame)
            elif isinstance(frame, frames.Data):
                stream = self.streams.data(frame.stream)
                if stream is not None:
                    self.told.append(("data", frame.stream, frame.data))
                    self.end(stream, frame.end_stream)
            elif isinstance(frame, frames.Settings):
                self.settings.apply(frame.pairs)
            elif isinstance(frame, frames.WindowUpdate) and frame.stream:
                self.streams.window_update(frame.stream)
            elif isinstance(frame, frames.ResetStream):
                self.streams.reset_by_peer(frame.stream)
                self.told.append(("reset", frame.stream, frame.code))
            elif isinstance(frame, frames.GoAway):
                self.told.append(("goaway", [stream.number for stream in self.streams.goaway(frame.last)]))

    def headers(self, frame: frames.Headers) -> None:
        verdict = self.streams.headers(frame.stream)
        fields = self.decoder.decode(frame.block)
        if verdict == DROP:
            return
        stream = self.streams.live[frame.stream]
        if verdict == HEAD:
            head = read_response_head(fields, self.decoder.size, 4096)
            stream.has_head = head.status >= 200
            self.told.append(("head", frame.stream, head.status, head.lines))
        else:
            self.told.append(
                ("trailers", frame.stream, read_response_trailers(fields, self.decoder.size, 4096, frame.end_stream))
            )
        self.end(stream, frame.end_stream)

    def end(self, stream: ResponseStream, ended: bool) -> None:
        if ended:
            self.streams.ended_by_peer(stream)
            self.told.append(("end", stream.number))


def answers_of_h2(count: int) -> bytes:
    """Let h2 act as an upstream that is asked `count` times."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    ask = frames.PREFACE + client_beginning(65536)
    block = encode_fields([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")])
    for number in range(1, 2 * count, 2):
        ask += frames.headers_frames(number, block, True)
    server.receive_data(ask)
    for number in range(1, 2 * count, 2):
        server.send_headers(number, [(b":status", b"103"), (b"link", b"</a>")])
        server.send_headers(number, [(b":status", b"200"), (b"x", b"%d" % number)])
        server.send_data(number, b"body")
        server.send_headers(number, [(b"grpc-status", b"0")], end_stream=True)
    server.close_connection(last_stream_id=2 * count - 1)
    return server.data_to_send()


def test_what_h2_says_as_an_upstream_is_understood():
    upstream = Upstream(2)
    upstream.receive(answers_of_h2(2))
    expected: Told = []
    for number in (1, 3):
        expected += [
            ("head", number, 103, ((b"link", b"link", b"</a>"),)),
            ("head", number, 200, ((b"x", b"x", b"%d" % number),)),
            ("data", number, b"body"),
            ("trailers", number, ((b"grpc-status", b"grpc-status", b"0"),)),
            ("end", number),
        ]
    assert upstream.told == [*expected, ("goaway", [])]


@given(MUTATIONS, CUTS)
@settings(max_examples=100, deadline=None)
def test_a_mutated_answer_is_understood_or_a_declared_failure(mutations, cuts):
    changed = bytearray(answers_of_h2(3))
    for place, value, how in mutations:
        place -= 24
        if place < len(changed):
            if how == "set":
                changed[place] = value
            elif how == "insert":
                changed.insert(place, value)
            else:
                del changed[place]
    upstream = Upstream(3)
    try:
        for piece in cut(bytes(changed), cuts):
            upstream.receive(piece)
            assert upstream.reader.held <= MOST_HELD
    except UpstreamFailure as failure:
        assert failure.kind == "invalid_header"
    except ConnectionFault as fault:
        assert fault.reason.startswith("upstream ")


@pytest.mark.parametrize("status", [200, 404, 299])
def test_h2_reads_our_answers(status):
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    client.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")], end_stream=True)
    block = encode_status(status) + encode_fields([(b"Content-Type", b"text/plain"), (b"Set-Cookie", b"a")])
    answer = server_beginning(128, 65536, connect_protocol=True) + frames.headers_frames(1, block, False)
    answer += frames.data_frame(1, b"body", False) + frames.headers_frames(1, encode_fields([(b"x", b"y")]), True)
    events = client.receive_data(answer + frames.goaway_frame(1, 0))
    (head,) = [event for event in events if isinstance(event, h2.events.ResponseReceived)]
    assert head.headers == [(b":status", b"%d" % status), (b"content-type", b"text/plain"), (b"set-cookie", b"a")]
    (data,) = [event for event in events if isinstance(event, h2.events.DataReceived)]
    assert data.data == b"body"
    (trailers,) = [event for event in events if isinstance(event, h2.events.TrailersReceived)]
    assert trailers.headers == [(b"x", b"y")]
