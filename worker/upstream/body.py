"""The body of an upstream's answer on its way: read at the pace of the reader, or moved by the kernel.

It begins with the bytes that were read together with the head; its framing (worker/http1/framing.py) determines its end.
"""

from __future__ import annotations

from typing import Final

from worker.http1.chunked import ChunkError
from worker.http1.framing import Framing
from worker.http1.response import CHUNKED, UNTIL_CLOSE
from worker.loop import READ, Waitable, park
from worker.pipes import Pipe
from worker.stream import BIG_CHUNK, Stream
from worker.upstream.failing import call_failed
from wproxy.failures import TimedOut, UpstreamFailure

MORE_THAN_LENGTH: Final = 'upstream sent more data than specified in "Content-Length" header'
AFTER_LAST_CHUNK: Final = "upstream sent data after final chunk"


def _broken(error: OSError) -> UpstreamFailure:
    return UpstreamFailure("error", call_failed("recv()", error))


async def wait_for_answer(channel: Waitable, seconds: float) -> None:
    """Wait until a peer has said more. Raises UpstreamFailure."""
    try:
        await park(channel, READ, seconds)
    except TimedOut:
        raise UpstreamFailure("timeout", "upstream timed out (110: Connection timed out)") from None


class ResponseBody:
    """The body of an upstream's response.

    at_hand: the bytes that came with the head. channel: the stream, as what to wait for. kind, length: as `body_of` returns them.
    received: bytes of payload; wire_bytes: with framing.
    finished: whether it was read to its end. spoiled: whether the connection cannot be used again, because of excess bytes or
    because its end was the end of the body. surplus: a message about the excess bytes. failure: one of the connection that the
    system has told already, which it does once.
    """

    __slots__ = (
        "_framing",
        "_is_chunked",
        "at_hand",
        "channel",
        "failure",
        "spoiled",
        "stream",
        "surplus",
        "timeout",
        "wire_bytes",
    )

    def __init__(self, stream: Stream, at_hand: bytes, kind: int, length: int, timeout: float, begun: int = 0) -> None:
        """at_hand: to be decoded by `take_at_hand`; or it is payload already, of `begun` bytes, and `length` more are to come."""
        self.stream = stream
        self.channel: Waitable = stream
        self.timeout = timeout
        self.spoiled = kind == UNTIL_CLOSE
        self.surplus = ""
        self.wire_bytes = len(at_hand)
        self.at_hand = at_hand
        self.failure: OSError | None = None
        self._framing = Framing(kind, length)
        self._framing.received = begun
        self._is_chunked = kind == CHUNKED

    @property
    def received(self) -> int:
        """Return the number of bytes of payload that have been read."""
        return self._framing.received

    @property
    def finished(self) -> bool:
        """Whether it has been read to its end."""
        return self._framing.finished

    def take_at_hand(self) -> None:
        """Decode the bytes that came with the head: `at_hand` becomes the payload in them. This may finish the body.

        Raises UpstreamFailure.
        """
        self.at_hand = self._take(self.at_hand)

    @property
    def trailers(self) -> tuple[tuple[bytes, bytes, bytes], ...]:
        """Return (lower-case name, name, value) of the fields after a chunked body that was read to its end."""
        return tuple((name.lower(), name, value) for name, value in self._framing.trailers) if self._is_chunked else ()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until there is something to read, so many seconds or the usual time. Raises UpstreamFailure."""
        await wait_for_answer(self.stream, self.timeout if seconds is None else seconds)

    def receive(self, most: int = BIG_CHUNK) -> bytes:
        """Read once, at most so many bytes; return the payload in them, which may be b"" before the end too.

        Raises BlockingIOError when nothing is there, UpstreamFailure.
        """
        if self.failure is not None:
            raise _broken(self.failure)
        left = self._framing.unframed
        if 0 < left < most:
            most = left + 1  # one more would be surplus; for a large buffer the system is asked each time
        try:
            data = self.stream.recv(most)
        except BlockingIOError:
            raise
        except OSError as error:
            raise _broken(error) from None
        if not data:
            self._end_of_stream()
            return b""
        self.wire_bytes += len(data)
        return self._take(data)

    @property
    def unframed(self) -> int:
        """Return how many coming bytes are payload and nothing else, so that the kernel may move them; 0 if it may not."""
        return self._framing.unframed if self.stream.kernel_fd >= 0 else 0

    def fill(self, pipe: Pipe, most: int) -> int:
        """Move at most so many bytes into an empty pipe, if `unframed` allows it; return how many, 0 at the end.

        Raises BlockingIOError when nothing is there, UpstreamFailure.
        """
        if self.failure is not None:
            raise _broken(self.failure)
        left = self._framing.unframed
        try:
            # One more would be surplus.
            moved = pipe.fill(self.stream.kernel_fd, most if most <= left else left + 1)
        except BlockingIOError:
            raise
        except OSError as error:
            raise _broken(error) from None
        if not moved:
            self._end_of_stream()
            return 0
        return self.filled(pipe, moved)

    def filled(self, pipe: Pipe, moved: int) -> int:
        """Note that so many bytes have been moved into a pipe, at most one too many; return how many are of the body."""
        framing = self._framing
        left = framing.unframed
        self.wire_bytes += moved
        if moved > left:
            self.spoiled, self.surplus = True, MORE_THAN_LENGTH
            moved = left
            pipe.shorten(left)
        framing.moved(moved)
        return moved

    def _end_of_stream(self) -> None:
        if not self._framing.end():
            raise UpstreamFailure("error", "upstream prematurely closed connection")

    def _take(self, data: bytes) -> bytes:
        """Return the payload in bytes just read. Raises UpstreamFailure."""
        framing = self._framing
        try:
            piece = framing.feed(data)
        except ChunkError as error:
            raise UpstreamFailure("error", f"upstream sent invalid chunked response: {error}", code="up_bad_body") from None
        if framing.leftover:
            self.spoiled = True
            self.surplus = AFTER_LAST_CHUNK if self._is_chunked else MORE_THAN_LENGTH
        return piece

    def __repr__(self) -> str:
        return f"<response body {self.received}{' finished' if self.finished else ''}>"
