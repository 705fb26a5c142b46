"""Frames of HTTP/2: bytes in, values out, and back (RFC 9113, 4 and 6).

A `FrameReader` belongs to a connection. Bytes go in with `feed`, in pieces of any size; frames come out of `take`, one for each
call, None when more bytes are needed:

    reader.feed(data)
    while (frame := reader.take()) is not None:
        ...  # by frame.kind

`take` raises ConnectionFault and nothing else; every frame before the fault has been returned by then, and the reader must not be
used after it. A frame that is wrong in itself always is a fault of the connection, although the RFC would allow to reset only a
stream here and there: a reset that a peer gets so cheaply is a way to make a server work for nothing (http2-rules.md, policy 1).

The reader knows what can be told from a frame alone, and from the frames of the same field block: sizes, padding, stream numbers
that must or must not be 0, SETTINGS as the first frame. HEADERS and its CONTINUATIONs are returned as one `Headers`. Whether a
frame fits the state of its stream is a matter for `streams.py`.

Memory is bounded: a frame by `MAX_FRAME_SIZE`, a field block by `MAX_BLOCK` bytes.

The functions that serialise return bytes. A body need not be copied into its DATA frame: `data_header` makes the 9 bytes
before it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import ClassVar, Final

from worker.http2.errors import ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, PROTOCOL_ERROR, ConnectionFault

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first bytes of a client (RFC 9113, 3.4)."""

# Plain numbers: comparing Enum members costs eight times as much.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

# Of HEADERS that need a closer look; END_HEADERS alone of these makes plain ones.
_NOT_PLAIN: Final = END_HEADERS | PADDED | PRIORITY_FLAG

MAX_FRAME_SIZE: Final = 16384
"""The largest payload that we accept; we never offer more."""
# Length and type beyond those of any such frame.
_TOO_LARGE: Final = (MAX_FRAME_SIZE + 1) << 8

MAX_BLOCK: Final = 128 * 1024
"""The largest field block, in encoded bytes."""

MAX_CONTINUATIONS: Final = 32
MAX_EMPTY_CONTINUATIONS: Final = 4

_HEADER = struct.Struct(">BHBBI")
_make_header: Final = _HEADER.pack
_read_header: Final = _HEADER.unpack_from
# Length and type, flags, and the stream, which is negative where the reserved bit is set.
_read_plain_header: Final = struct.Struct(">IBi").unpack_from
_SETTING: Final = struct.Struct(">HI")
_NUMBER: Final = struct.Struct(">I")
_TWO_NUMBERS: Final = struct.Struct(">II")
_NUMBER_BITS: Final = 0x7FFFFFFF


class Data:
    """A piece of a body. data: without padding. flow: the bytes that count in the windows, padding included."""

    __slots__ = ("data", "end_stream", "flow", "stream")
    kind: ClassVar[int] = DATA

    def __init__(self, stream: int, data: bytes, flow: int, end_stream: bool) -> None:
        self.stream = stream
        self.data = data
        self.flow = flow
        self.end_stream = end_stream

    def __repr__(self) -> str:
        return f"<DATA {self.stream}: {len(self.data)} bytes{', END_STREAM' if self.end_stream else ''}>"


class Headers:
    """A whole field block: HEADERS with its CONTINUATIONs. block: still encoded. Priorities are not kept (RFC 9113, 5.3.2)."""

    __slots__ = ("block", "end_stream", "stream")
    kind: ClassVar[int] = HEADERS

    def __init__(self, stream: int, block: bytes, end_stream: bool) -> None:
        self.stream = stream
        self.block = block
        self.end_stream = end_stream

    def __repr__(self) -> str:
        return f"<HEADERS {self.stream}: {len(self.block)} bytes{', END_STREAM' if self.end_stream else ''}>"


class Priority:
    """An outdated priority: it means nothing and only counts."""

    __slots__ = ("stream",)
    kind: ClassVar[int] = PRIORITY

    def __init__(self, stream: int) -> None:
        self.stream = stream

    def __repr__(self) -> str:
        return f"<PRIORITY {self.stream}>"


class ResetStream:
    """The peer gave up a stream. code: why."""

    __slots__ = ("code", "stream")
    kind: ClassVar[int] = RST_STREAM

    def __init__(self, stream: int, code: int) -> None:
        self.stream = stream
        self.code = code

    def __repr__(self) -> str:
        return f"<RST_STREAM {self.stream}: {self.code}>"


class Settings:
    """The peer's settings, as (identifier, value) in order; ack: it has taken ours."""

    __slots__ = ("ack", "pairs")
    kind: ClassVar[int] = SETTINGS
    stream = 0

    def __init__(self, ack: bool, pairs: tuple[tuple[int, int], ...]) -> None:
        self.ack = ack
        self.pairs = pairs

    def __repr__(self) -> str:
        return f"<SETTINGS {'ACK' if self.ack else self.pairs}>"


class Ping:
    """A sign of life; without ack it has to be answered with the same eight bytes."""

    __slots__ = ("ack", "opaque")
    kind: ClassVar[int] = PING
    stream = 0

    def __init__(self, ack: bool, opaque: bytes) -> None:
        self.ack = ack
        self.opaque = opaque

    def __repr__(self) -> str:
        return f"<PING {'ACK ' if self.ack else ''}{self.opaque.hex()}>"


class GoAway:
    """The peer serves no stream after `last`. code: why; debug: its words on it."""

    __slots__ = ("code", "debug", "last")
    kind: ClassVar[int] = GOAWAY
    stream = 0

    def __init__(self, last: int, code: int, debug: bytes) -> None:
        self.last = last
        self.code = code
        self.debug = debug

    def __repr__(self) -> str:
        return f"<GOAWAY {self.last}: {self.code}>"


class WindowUpdate:
    """Room for more bytes, on a stream or, for stream 0, on the connection. increment: at least 1."""

    __slots__ = ("increment", "stream")
    kind: ClassVar[int] = WINDOW_UPDATE

    def __init__(self, stream: int, increment: int) -> None:
        self.stream = stream
        self.increment = increment

    def __repr__(self) -> str:
        return f"<WINDOW_UPDATE {self.stream}: {self.increment}>"


class Unknown:
    """A frame of a type that we do not know: it is ignored, and only counts."""

    __slots__ = ("kind", "stream")

    def __init__(self, kind: int, stream: int) -> None:
        self.kind = kind
        self.stream = stream

    def __repr__(self) -> str:
        return f"<frame of type {self.kind:#x} {self.stream}>"


Frame = Data | Headers | Priority | ResetStream | Settings | Ping | GoAway | WindowUpdate | Unknown


# Take a field block and whether it ends the stream; a payload, the bytes that it counts in the windows, and the same.
TakeHeaders = Callable[[int, bytes, bool], bool]
TakeData = Callable[[int, bytes, int, bool], None]


# The pieces of a field block while there is none. (A list for each connection would be 64 bytes of it.)
_NO_PIECES: Final[list[bytes]] = []


class FrameReader:
    """The bytes of one connection, cut into frames.

    peer: "client" or "upstream", for the sentences of faults. expects_preface: whether the bytes begin with a client's preface.
    in_block: whether a field block has begun and not ended: its deadline must not be moved by the frames in it.
    """

    __slots__ = (
        "_at",
        "_block",
        "_block_end_stream",
        "_block_size",
        "_block_stream",
        "_buffer",
        "_continuations",
        "_empty_continuations",
        "_expects_preface",
        "_expects_settings",
        "in_block",
        "peer",
    )

    def __init__(self, peer: str = "client", expects_preface: bool = True) -> None:
        self.peer = peer
        self.in_block = False
        self._buffer = b""
        self._at = 0
        self._expects_preface = expects_preface
        self._expects_settings = True
        self._block = _NO_PIECES
        self._block_stream = 0
        self._block_size = 0
        self._block_end_stream = False
        self._continuations = 0
        self._empty_continuations = 0

    @property
    def held(self) -> int:
        """The number of bytes that were fed and not taken: the beginning of a frame, once `take` has returned None."""
        return len(self._buffer) - self._at

    @property
    def is_amid(self) -> bool:
        """Whether a frame or a field block has begun that is not complete."""
        return self.in_block or self._at < len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add the next bytes."""
        at = self._at
        self._buffer = data if at == len(self._buffer) else self._buffer[at:] + data
        self._at = 0

    def take(self) -> Frame | None:
        """Return the next frame, None while there is no complete one; raises ConnectionFault."""
        if self._expects_preface and not self._take_preface():
            return None
        buffer = self._buffer
        if not buffer:
            return None
        at = self._at
        while True:
            if len(buffer) - at < 9:
                self._buffer, self._at = buffer[at:], 0  # a connection that waits keeps nothing of what was taken
                return None
            high, low, kind, flags, stream = _read_header(buffer, at)
            length = high << 16 | low
            if length > MAX_FRAME_SIZE:
                raise self._fault(FRAME_SIZE_ERROR, f"too large frame: {length} bytes")
            if self._expects_settings:
                if kind != SETTINGS or flags & ACK:
                    raise self._fault(PROTOCOL_ERROR, "another frame where SETTINGS was expected")
                self._expects_settings = False
            begin = at + 9
            end = begin + length
            if len(buffer) < end:
                if self.in_block and (kind != CONTINUATION or stream & _NUMBER_BITS != self._block_stream):
                    raise self._fault(PROTOCOL_ERROR, "another frame where CONTINUATION was expected")
                self._buffer, self._at = buffer[at:], 0
                return None
            at = self._at = end
            if end == len(buffer):
                self._buffer, self._at = b"", 0
            stream &= _NUMBER_BITS
            if self.in_block:
                frame = self._continue_block(kind, flags, stream, buffer[begin:end])
                if frame is not None:
                    return frame
                continue
            if kind == HEADERS:
                if flags & _NOT_PLAIN == END_HEADERS and stream:
                    return Headers(stream, buffer[begin:end], flags & END_STREAM != 0)  # as most are
                headers = self._read_headers(flags, stream, buffer[begin:end])
                if headers is not None:
                    return headers
                continue
            if kind == DATA:
                if not stream:
                    raise self._fault(PROTOCOL_ERROR, "DATA frame with incorrect identifier")
                if flags & PADDED:
                    data = self._without_padding(buffer[begin:end], "DATA")
                else:
                    data = buffer[begin:end]
                return Data(stream, data, length, flags & END_STREAM != 0)
            read = _READERS.get(kind)
            if read is None:
                return Unknown(kind, stream)
            return read(self, flags, stream, buffer[begin:end])

    def take_plain(self, on_headers: TakeHeaders, on_data: TakeData) -> bool:
        """Hand out the plain HEADERS and DATA at the beginning of what was fed; return whether there were any.

        It ends before a frame of another kind, one that is padded, cut off or wrong: `take` looks at those. Most frames need no
        object, and no second look; that takes 0.8 us off each. on_headers: returns whether to hand out no more now.
        """
        buffer = self._buffer
        if not buffer or self._expects_settings or self._expects_preface or self.in_block:
            return False
        first = at = self._at
        end_of_all = len(buffer)
        last = end_of_all - 9
        while at <= last:
            form, flags, stream = _read_plain_header(buffer, at)
            begin = at + 9
            end = begin + (form >> 8)
            if end > end_of_all or form >= _TOO_LARGE or stream <= 0:
                break
            kind = form & 0xFF
            if kind == HEADERS:
                if flags & _NOT_PLAIN != END_HEADERS:
                    break
                self._at = at = end
                if on_headers(stream, buffer[begin:end], flags & END_STREAM != 0):
                    break
            elif kind or flags & PADDED:  # no DATA, or with padding
                break
            else:
                self._at = at = end
                on_data(stream, buffer[begin:end], end - begin, flags & END_STREAM != 0)
        if at == end_of_all:
            self._buffer, self._at = b"", 0  # see `take`
        return at > first

    def _take_preface(self) -> bool:
        """Take the preface off; return whether it is complete."""
        begun = self._buffer[: len(PREFACE)]
        if not PREFACE.startswith(begun):
            raise self._fault(PROTOCOL_ERROR, "invalid HTTP/2 preface")
        if len(begun) < len(PREFACE):
            return False
        self._expects_preface = False
        self._at = len(PREFACE)
        return True

    def _fault(self, code: int, what: str) -> ConnectionFault:
        return ConnectionFault(code, f"{self.peer} sent {what}")

    def _without_padding(self, payload: bytes, name: str) -> bytes:
        """Return the payload of a PADDED frame without the length and the padding."""
        if not payload:
            raise self._fault(FRAME_SIZE_ERROR, f"padded {name} frame with incorrect length: 0")
        padding = payload[0]
        if padding >= len(payload):
            raise self._fault(PROTOCOL_ERROR, f"padded {name} frame with incorrect padding: {padding}")
        return payload[1 : len(payload) - padding]

    def _read_headers(self, flags: int, stream: int, payload: bytes) -> Headers | None:
        """Read HEADERS; None when CONTINUATION must follow."""
        if not stream:
            raise self._fault(PROTOCOL_ERROR, "HEADERS frame with incorrect identifier")
        if flags & (PADDED | PRIORITY_FLAG):
            least = (1 if flags & PADDED else 0) + (5 if flags & PRIORITY_FLAG else 0)
            if len(payload) < least:
                raise self._fault(FRAME_SIZE_ERROR, f"HEADERS frame with incorrect length {len(payload)}")
            if flags & PADDED:
                padding = payload[0]
                if padding > len(payload) - least:
                    raise self._fault(PROTOCOL_ERROR, f"padded HEADERS frame with incorrect padding: {padding}")
                payload = payload[1 : len(payload) - padding]
            if flags & PRIORITY_FLAG:
                self._check_dependency("HEADERS", stream, payload)
                payload = payload[5:]
        end_stream = flags & END_STREAM != 0
        if flags & END_HEADERS:
            return Headers(stream, payload, end_stream)
        self.in_block = True
        self._block = [payload]
        self._block_stream = stream
        self._block_size = len(payload)
        self._block_end_stream = end_stream
        self._continuations = self._empty_continuations = 0
        return None

    def _continue_block(self, kind: int, flags: int, stream: int, payload: bytes) -> Headers | None:
        """Read the CONTINUATION of a block; None when another must follow."""
        if kind != CONTINUATION or stream != self._block_stream:
            raise self._fault(PROTOCOL_ERROR, "another frame where CONTINUATION was expected")
        self._continuations += 1
        self._empty_continuations += not payload
        self._block_size += len(payload)
        if self._continuations > MAX_CONTINUATIONS or self._empty_continuations > MAX_EMPTY_CONTINUATIONS:
            raise self._fault(ENHANCE_YOUR_CALM, "too many CONTINUATION frames in one field block")
        if self._block_size > MAX_BLOCK:
            raise self._fault(ENHANCE_YOUR_CALM, f"too large field block: more than {MAX_BLOCK} bytes")
        self._block.append(payload)
        if not flags & END_HEADERS:
            return None
        block = b"".join(self._block)
        self._block = _NO_PIECES
        self.in_block = False
        return Headers(stream, block, self._block_end_stream)

    def _check_dependency(self, name: str, stream: int, payload: bytes) -> None:
        if _NUMBER.unpack_from(payload)[0] & _NUMBER_BITS == stream:
            raise self._fault(PROTOCOL_ERROR, f"{name} frame for stream {stream} with incorrect dependency")

    def _read_priority(self, flags: int, stream: int, payload: bytes) -> Priority:
        if len(payload) != 5:
            raise self._fault(FRAME_SIZE_ERROR, f"PRIORITY frame with incorrect length {len(payload)}")
        if not stream:
            raise self._fault(PROTOCOL_ERROR, "PRIORITY frame with incorrect identifier")
        self._check_dependency("PRIORITY", stream, payload)
        return Priority(stream)

    def _read_rst_stream(self, flags: int, stream: int, payload: bytes) -> ResetStream:
        if len(payload) != 4:
            raise self._fault(FRAME_SIZE_ERROR, f"RST_STREAM frame with incorrect length {len(payload)}")
        if not stream:
            raise self._fault(PROTOCOL_ERROR, "RST_STREAM frame with incorrect identifier")
        return ResetStream(stream, _NUMBER.unpack(payload)[0])

    def _read_settings(self, flags: int, stream: int, payload: bytes) -> Settings:
        if stream:
            raise self._fault(PROTOCOL_ERROR, "SETTINGS frame with incorrect identifier")
        if flags & ACK:
            if payload:
                raise self._fault(FRAME_SIZE_ERROR, "SETTINGS frame with the ACK flag and nonzero length")
            return Settings(True, ())
        if len(payload) % 6:
            raise self._fault(FRAME_SIZE_ERROR, f"SETTINGS frame with incorrect length {len(payload)}")
        return Settings(False, tuple(_SETTING.iter_unpack(payload)))

    def _read_push_promise(self, flags: int, stream: int, payload: bytes) -> Frame:
        raise self._fault(PROTOCOL_ERROR, "PUSH_PROMISE frame")

    def _read_ping(self, flags: int, stream: int, payload: bytes) -> Ping:
        if len(payload) != 8:
            raise self._fault(FRAME_SIZE_ERROR, f"PING frame with incorrect length {len(payload)}")
        if stream:
            raise self._fault(PROTOCOL_ERROR, "PING frame with incorrect identifier")
        return Ping(flags & ACK != 0, payload)

    def _read_goaway(self, flags: int, stream: int, payload: bytes) -> GoAway:
        if len(payload) < 8:
            raise self._fault(FRAME_SIZE_ERROR, f"GOAWAY frame with incorrect length {len(payload)}")
        if stream:
            raise self._fault(PROTOCOL_ERROR, "GOAWAY frame with incorrect identifier")
        last, code = _TWO_NUMBERS.unpack_from(payload)
        return GoAway(last & _NUMBER_BITS, code, payload[8:])

    def _read_window_update(self, flags: int, stream: int, payload: bytes) -> WindowUpdate:
        if len(payload) != 4:
            raise self._fault(FRAME_SIZE_ERROR, f"WINDOW_UPDATE frame with incorrect length {len(payload)}")
        increment = _NUMBER.unpack(payload)[0] & _NUMBER_BITS
        if not increment:
            raise self._fault(PROTOCOL_ERROR, "WINDOW_UPDATE frame with incorrect window increment 0")
        return WindowUpdate(stream, increment)

    def _read_lone_continuation(self, flags: int, stream: int, payload: bytes) -> Frame:
        raise self._fault(PROTOCOL_ERROR, "unexpected CONTINUATION frame")

    def __repr__(self) -> str:
        return f"<frames of the {self.peer}: {self.held} bytes held{', in a field block' if self.in_block else ''}>"


# The readers of the frames that are neither DATA nor parts of a field block.
_READERS: dict[int, Callable[[FrameReader, int, int, bytes], Frame]] = {
    PRIORITY: FrameReader._read_priority,
    RST_STREAM: FrameReader._read_rst_stream,
    SETTINGS: FrameReader._read_settings,
    PUSH_PROMISE: FrameReader._read_push_promise,
    PING: FrameReader._read_ping,
    GOAWAY: FrameReader._read_goaway,
    WINDOW_UPDATE: FrameReader._read_window_update,
    CONTINUATION: FrameReader._read_lone_continuation,
}


def may_begin_preface(data: bytes) -> bool:
    """Whether the first bytes of a clear connection are those of HTTP/2, or may become them: a lone `P` has to wait.

    HTTP/2 it is once there are len(PREFACE) bytes.
    """
    return PREFACE.startswith(data[: len(PREFACE)])


SETTINGS_ACK = _make_header(0, 0, SETTINGS, ACK, 0)


def data_header(stream: int, length: int, end_stream: bool) -> bytes:
    """Return the 9 bytes before a DATA payload of this length."""
    return _make_header(length >> 16, length & 0xFFFF, DATA, end_stream, stream)


def data_frame(stream: int, data: bytes | memoryview, end_stream: bool) -> bytes:
    """Return a DATA frame; the caller has seen to its size."""
    length = len(data)
    return b"".join((_make_header(length >> 16, length & 0xFFFF, DATA, end_stream, stream), data))


def answer_frames(stream: int, block: bytes, body: bytes, trailers: bytes) -> bytes:
    """Return a whole answer: a field block, a body and, unless they are empty, trailers, each no larger than a frame may be."""
    end = _make_header(0, len(trailers), HEADERS, END_HEADERS | END_STREAM, stream) if trailers else b""
    return b"".join(
        (
            _make_header(0, len(block), HEADERS, END_HEADERS, stream),
            block,
            _make_header(0, len(body), DATA, not trailers, stream),
            body,
            end,
            trailers,
        )
    )


def request_frames(stream: int, block: bytes, body: bytes) -> bytes:
    """Return a whole request with a body: a field block and the body, each no larger than a frame may be."""
    return b"".join(
        (
            _make_header(0, len(block), HEADERS, END_HEADERS, stream),
            block,
            _make_header(0, len(body), DATA, END_STREAM, stream),
            body,
        )
    )


def headers_frames(stream: int, block: bytes, end_stream: bool, max_frame_size: int = MAX_FRAME_SIZE) -> bytes:
    """Return a field block in HEADERS and, if the peer's frames are too small for it, CONTINUATIONs."""
    length = len(block)
    if length <= max_frame_size:
        return _make_header(length >> 16, length & 0xFFFF, HEADERS, END_HEADERS | end_stream, stream) + block
    pieces = [block[at : at + max_frame_size] for at in range(0, length, max_frame_size)]
    last = len(pieces) - 1
    frames: list[bytes] = []
    for index, piece in enumerate(pieces):
        kind = CONTINUATION if index else HEADERS
        flags = (END_HEADERS if index == last else 0) | (0 if index else end_stream)
        frames += frame_header(kind, flags, stream, len(piece)), piece
    return b"".join(frames)


def frame_header(kind: int, flags: int, stream: int, length: int) -> bytes:
    """Return the 9 bytes that begin any frame."""
    return _make_header(length >> 16, length & 0xFFFF, kind, flags, stream)


def rst_stream_frame(stream: int, code: int) -> bytes:
    """Return RST_STREAM."""
    return _make_header(0, 4, RST_STREAM, 0, stream) + _NUMBER.pack(code)


def settings_frame(pairs: tuple[tuple[int, int], ...]) -> bytes:
    """Return SETTINGS of these (identifier, value)."""
    return _make_header(0, 6 * len(pairs), SETTINGS, 0, 0) + b"".join(_SETTING.pack(*pair) for pair in pairs)


def ping_frame(opaque: bytes, ack: bool = False) -> bytes:
    """Return PING with these eight bytes."""
    return _make_header(0, 8, PING, ack, 0) + opaque


def goaway_frame(last: int, code: int, debug: bytes = b"") -> bytes:
    """Return GOAWAY; last: the number of the last stream that is or may be served."""
    return _make_header(0, 8 + len(debug), GOAWAY, 0, 0) + _TWO_NUMBERS.pack(last, code) + debug


def window_update_frame(stream: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE; stream 0 is the connection."""
    return _make_header(0, 4, WINDOW_UPDATE, 0, stream) + _NUMBER.pack(increment)
