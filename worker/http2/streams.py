"""The states of streams, from both ends: which frame fits which stream, and which is a fault (RFC 9113, 5.1).

A stream is live from its HEADERS until both sides have ended it or one has reset it. RFC 9113 draws seven states; without pushes
four are left, and two bits tell them apart:

    receives  sends
    yes       yes     open
    no        yes     half-closed (remote): the peer has sent END_STREAM
    yes       no      half-closed (local): we have
    -         -       closed: no longer in `live`

A frame for a closed stream may have been under way when we closed it, or may be an error, and only memory can tell: the numbers
of the last streams that the peer itself ended are kept, and there DATA and HEADERS are errors. On any other number that was used
they are dropped, after the field block was decoded and the bytes were counted (http2-rules.md, policies 3 and 4).

Both classes are told what happened and return what to do. They send nothing.
"""

from __future__ import annotations

from array import array
from typing import Final, Generic, TypeVar

from worker.http2.errors import PROTOCOL_ERROR, STREAM_CLOSED, ConnectionFault
from worker.http2.windows import SendWindow
from wproxy.native import mypyc_attr

MAX_STREAM: Final = 2**31 - 1

# What to do with HEADERS.
OPEN: Final = 0
"""They begin a request: call `open`."""
TRAILERS: Final = 1
"""They are the trailers of a live stream."""
DROP: Final = 2
"""Decode the block and forget it."""
REFUSE: Final = 3
"""Decode the block, then reset the stream with REFUSED_STREAM."""
HEAD: Final = 4
"""They are the head of a response, interim or final."""

_REMEMBERED: Final = 256
_MOST_ENDED: Final = 2 * _REMEMBERED


@mypyc_attr(allow_interpreted_subclasses=True)
class Stream(SendWindow):
    """A live stream; users add what they need.

    receives: whether the peer may still send. sends: whether we may.
    """

    __slots__ = ("number", "receives", "sends")

    def __init__(self, number: int, receives: bool = True, sends: bool = True) -> None:
        self.credit = 0  # as a SendWindow has it; each call of an __init__ costs 0.1 us
        self.number = number
        self.receives = receives
        self.sends = sends

    def __repr__(self) -> str:
        states = {(True, True): "open", (False, True): "half-closed (remote)", (True, False): "half-closed (local)"}
        return f"<stream {self.number}: {states.get((self.receives, self.sends), 'closed')}>"


S = TypeVar("S", bound=Stream)


class ServerStreams(Generic[S]):
    """The streams of one connection of a client.

    live: number -> stream. last: the highest number that the client has used. busy: requests that are being worked for, whether
    their streams are live or not: a request that was reset keeps its place until its upstream is closed, otherwise resetting
    would be a way around the limit. announced: the number in our last GOAWAY, -1 before.
    """

    __slots__ = ("_ended", "_skipped", "announced", "busy", "last", "limit", "live")

    def __init__(self, max_concurrent_streams: int) -> None:
        self.limit = max_concurrent_streams
        self.live: dict[int, S] = {}
        self.last = 0
        self.busy = 0
        self.announced = -1
        # Those that the client has ended, the last _REMEMBERED at least; only a fault is looked for in it. (256 numbers are 1 KB
        # in an array, 9 KB in a deque.)
        self._ended = array("I")
        self._skipped: tuple[tuple[int, int], ...] = ()  # ranges of numbers that were never used, the oldest first

    def headers(self, number: int) -> int:
        """Return what to do with HEADERS: OPEN, TRAILERS, DROP or REFUSE; raises ConnectionFault."""
        if number > self.last:
            if not number & 1:
                raise ConnectionFault(PROTOCOL_ERROR, f"client sent HEADERS frame with even identifier {number}")
            expected = self.last + 2 if self.last else 1
            if number > expected:
                self._skipped = (*self._skipped, (expected, number - 1))[-_REMEMBERED:]
            self.last = number
            if 0 <= self.announced < number:
                return DROP
            return REFUSE if self.busy >= self.limit else OPEN
        stream = self.live.get(number)
        if stream is not None:
            if stream.receives:
                return TRAILERS
            raise ConnectionFault(STREAM_CLOSED, f"client sent HEADERS frame for half-closed stream {number}")
        if not number & 1 or any(low <= number <= high for low, high in self._skipped):
            raise ConnectionFault(
                PROTOCOL_ERROR, f"client sent HEADERS frame with incorrect identifier {number}, the last was {self.last}"
            )
        if number in self._ended:
            raise ConnectionFault(STREAM_CLOSED, f"client sent HEADERS frame for closed stream {number}")
        return DROP

    def open(self, stream: S) -> None:
        """Enter a stream after `headers` said OPEN; `release` is owed for it."""
        self.live[stream.number] = stream
        self.busy += 1

    def release(self) -> None:
        """Note that the work for one request has ended, and give its place free."""
        self.busy -= 1

    def data(self, number: int) -> S | None:
        """Return the stream of a DATA frame, None to drop it; raises ConnectionFault. The windows count it in any case."""
        stream = self.live.get(number)
        if stream is not None and stream.receives:
            return stream
        self._check_not_idle(number, "DATA")
        if stream is not None:
            raise ConnectionFault(STREAM_CLOSED, f"client sent DATA frame for half-closed stream {number}")
        if number in self._ended:
            raise ConnectionFault(STREAM_CLOSED, f"client sent DATA frame for closed stream {number}")
        return None

    def window_update(self, number: int) -> S | None:
        """Return the stream of a WINDOW_UPDATE, None to ignore it; raises ConnectionFault."""
        stream = self.live.get(number)
        if stream is None:
            self._check_not_idle(number, "WINDOW_UPDATE")
        return stream

    def reset_by_peer(self, number: int) -> S | None:
        """Close the stream of an RST_STREAM and return it, None to ignore the frame; raises ConnectionFault."""
        stream = self.live.get(number)
        if stream is None:
            self._check_not_idle(number, "RST_STREAM")
            return None
        stream.receives = stream.sends = False
        self._close(stream, by_peer=True)
        return stream

    def reset_by_us(self, stream: S) -> None:
        """Close a stream that we reset."""
        stream.receives = stream.sends = False
        self._close(stream, by_peer=False)

    def ended_by_peer(self, stream: S) -> None:
        """Note the END_STREAM of the client."""
        stream.receives = False
        if not stream.sends:
            self._close(stream, by_peer=True)

    def ended_by_us(self, stream: S) -> None:
        """Note that we have sent END_STREAM."""
        stream.sends = False
        if not stream.receives:
            self._close(stream, True)

    def _close(self, stream: S, by_peer: bool) -> None:
        """Remove a stream. by_peer: whether the client had ended its side, so that nothing of it can be under way."""
        if self.live.pop(stream.number, None) is not None and by_peer:
            ended = self._ended
            ended.append(stream.number)
            if len(ended) >= _MOST_ENDED:
                del ended[:_REMEMBERED]

    def begin_to_leave(self) -> int:
        """Return the number for a first GOAWAY: any stream that is under way still gets its answer."""
        if self.announced < 0:
            self.announced = MAX_STREAM
        return self.announced

    def leave(self) -> int:
        """Return the number for the real GOAWAY: later streams are dropped. It never grows (RFC 9113, 6.8)."""
        if self.announced < 0 or self.announced > self.last:
            self.announced = self.last
        return self.announced

    @property
    def is_used_up(self) -> bool:
        """Whether the client has no numbers left, so that the connection should be left."""
        return self.last >= MAX_STREAM

    def _check_not_idle(self, number: int, name: str) -> None:
        if number > self.last or not number & 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"client sent {name} frame for idle stream {number}")

    def __repr__(self) -> str:
        return f"<streams of a client: {len(self.live)} live, {self.busy} busy, last {self.last}>"


@mypyc_attr(allow_interpreted_subclasses=True)
class ResponseStream(Stream):
    """A live stream to an upstream. has_head: whether its final head has come, so that further HEADERS are trailers."""

    __slots__ = ("has_head",)

    def __init__(self, number: int, receives: bool = True, sends: bool = True) -> None:
        super().__init__(number, receives, sends)
        self.has_head = False


R = TypeVar("R", bound=ResponseStream)


class ClientStreams(Generic[R]):
    """The streams of one connection to an upstream.

    live: number -> stream. next: the number of the next one. leaves: whether the upstream has said GOAWAY, so that no stream may
    be begun.
    """

    __slots__ = ("_last_served", "leaves", "live", "next")

    def __init__(self) -> None:
        self.live: dict[int, R] = {}
        self.next = 1
        self.leaves = False
        self._last_served = MAX_STREAM

    def may_open(self, max_concurrent_streams: int) -> bool:
        """Whether one more stream may be begun, given the upstream's setting."""
        return not self.leaves and self.next <= MAX_STREAM and len(self.live) < max_concurrent_streams

    def open(self, stream: R) -> None:
        """Enter a stream whose number is `next`."""
        assert stream.number == self.next
        self.live[stream.number] = stream
        self.next += 2

    def headers(self, number: int) -> int:
        """Return what to do with HEADERS: HEAD, TRAILERS or DROP; raises ConnectionFault."""
        stream = self._find(number, "HEADERS")
        if stream is None:
            return DROP
        return TRAILERS if stream.has_head else HEAD

    def data(self, number: int) -> R | None:
        """Return the stream of a DATA frame, None to drop it; raises ConnectionFault. The windows count it in any case."""
        stream = self._find(number, "DATA")
        if stream is not None and not stream.has_head:
            raise ConnectionFault(PROTOCOL_ERROR, f"upstream sent DATA frame before HEADERS for stream {number}")
        return stream

    def _find(self, number: int, name: str) -> R | None:
        stream = self.live.get(number)
        if stream is None:
            self._check_not_idle(number, name)
        elif not stream.receives:
            raise ConnectionFault(STREAM_CLOSED, f"upstream sent {name} frame for half-closed stream {number}")
        return stream

    def window_update(self, number: int) -> R | None:
        """Return the stream of a WINDOW_UPDATE, None to ignore it; raises ConnectionFault."""
        stream = self.live.get(number)
        if stream is None:
            self._check_not_idle(number, "WINDOW_UPDATE")
        return stream

    def reset_by_peer(self, number: int) -> R | None:
        """Close the stream of an RST_STREAM and return it, None to ignore the frame; raises ConnectionFault."""
        stream = self.live.pop(number, None)
        if stream is None:
            self._check_not_idle(number, "RST_STREAM")
        else:
            stream.receives = stream.sends = False
        return stream

    def reset_by_us(self, stream: R) -> None:
        """Close a stream that we reset."""
        stream.receives = stream.sends = False
        self.live.pop(stream.number, None)

    def ended_by_peer(self, stream: R) -> None:
        """Note the END_STREAM of the upstream."""
        stream.receives = False
        if not stream.sends:
            self.live.pop(stream.number, None)

    def ended_by_us(self, stream: R) -> None:
        """Note that we have sent END_STREAM."""
        stream.sends = False
        if not stream.receives:
            self.live.pop(stream.number, None)

    def goaway(self, last: int) -> list[R]:
        """Note a GOAWAY; close and return the streams that the upstream has not begun, and which may be tried elsewhere."""
        self.leaves = True
        self._last_served = min(self._last_served, last)  # it must not grow, and does not here
        unserved = [stream for number, stream in self.live.items() if number > self._last_served]
        for stream in unserved:
            self.reset_by_us(stream)
        return unserved

    def _check_not_idle(self, number: int, name: str) -> None:
        if number >= self.next or not number & 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"upstream sent {name} frame for unknown stream {number}")

    def __repr__(self) -> str:
        return f"<streams to an upstream: {len(self.live)} live, next {self.next}{', leaving' if self.leaves else ''}>"
