"""The body of an HTTP/1 client's request on its way: read piece by piece, at the pace of the reader.

It begins with the bytes that were read together with the head; its framing (worker/http1/framing.py) determines its end.
"""

from __future__ import annotations

from typing import Final

from worker.http1.chunked import BodyTooLarge, ChunkError
from worker.http1.framing import Framing
from worker.http1.response import CHUNKED, LENGTH
from worker.loop import READ, WRITE, park
from worker.stream import BIG_CHUNK, CHUNK, Stream
from wproxy.failures import BodyBrokenOff, ClientError, ClientGone, TimedOut
from wproxy.request_body import KernelPipe, RequestBody

BODY_TIMED_OUT: Final = "client timed out (110: Connection timed out) while sending the request body"
ENDED_EARLY: Final = "client prematurely closed connection"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class HTTP1RequestBody(RequestBody):
    """The body of an HTTP/1 request: bytes of the connection, up to an end that its framing tells."""

    __slots__ = ("_framing", "_interim", "_limit", "_pending", "_taken", "stream")

    def __init__(self, stream: Stream, at_hand: bytes, length: int, owes_continue: bool, limit: int = 0) -> None:
        # Like RequestBody.__init__, without the call.
        self.after = self.collected = self.data = self.file = self.kept = None
        self.length = length
        self.timeout = 60.0
        self.is_passed_on = self.was_missed = False
        self.owes_continue = owes_continue and not at_hand  # a client that sends without waiting needs no 100
        self.stream = stream
        self._interim = CONTINUE
        self._pending = at_hand
        self._taken = 0
        self._limit = limit
        self._framing: Framing | None = None  # a body that is here as a whole needs none

    @property
    def framing(self) -> Framing:
        """Return what tells the end of the body among the bytes of the connection."""
        framing = self._framing
        if framing is None:
            framing = self._framing = Framing(CHUNKED) if self.length < 0 else Framing(LENGTH, self.length)
            framing.limit = self._limit
            if self.after is not None:
                framing.moved(self.length)
                framing.leftover = self.after
        return framing

    @property
    def received(self) -> int:
        """Return the number of bytes of payload that have been read."""
        return self.framing.received

    @property
    def wire_bytes(self) -> int:
        """Return the number of bytes read, with framing; those that `forget_at_hand` dropped do not count (as in nginx)."""
        leftover = self.after  # as a property it costs 1,000 instructions
        return self._taken - len(self.framing.leftover if leftover is None else leftover)

    @property
    def finished(self) -> bool:
        """Whether it has been read to its end."""
        return self.after is not None or self.framing.finished

    @property
    def leftover(self) -> bytes:
        """Return the bytes after its end."""
        return self.framing.leftover if self.after is None else self.after

    @property
    def limit(self) -> int:
        """Return client_max_body_size; 0 for none."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        """Apply this limit to the rest."""
        self._limit = limit
        if self._framing is not None:
            self._framing.limit = limit

    def take_whole(self) -> bytes | None:
        """Return the body, when its length is known and all of it was read with the head; otherwise None."""
        length, data = self.length, self._pending
        if length < 0 or len(data) < length or self._framing is not None:
            return None
        self._pending = b""
        self._taken = len(data)
        self.after = data[length:]
        self.data = data = data[:length]
        return data

    def forget_at_hand(self) -> None:
        """Check the bytes that were read with the head of an unwanted body, and drop them. Raises ClientError(400)."""
        self.limit = 0
        data, self._pending = self._pending, b""
        if data:
            self._take(data)
            self._taken += len(self.leftover)  # as if it were not there at all

    def take_at_hand(self) -> bytes:
        """Return the payload that was read with the head; this may finish the body. Raises ClientError (400, 413)."""
        data, self._pending = self._pending, b""
        if not data:
            return b""
        piece = self._take(data)
        self._taken += len(data)
        return piece

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raises ClientError (400, 408, 413), ClientGone."""
        while not self.finished:
            piece = self.take_at_hand() if self._pending else self._take(await self._receive())
            if piece:
                return piece
        return b""

    def moves_by_itself(self) -> bool:
        """Whether the kernel can move all of the rest: there is some, and nothing has to be decoded."""
        return self.framing.unframed > 0 and not self._pending and self.stream.kernel_fd >= 0

    def fill(self, pipe: KernelPipe) -> int:
        """Move the bytes of this body that have arrived into an empty pipe; return how many.

        Raises BlockingIOError when there are none, ClientError(400), ClientGone.
        """
        self._send_continue()
        if self.owes_continue:
            raise BlockingIOError
        try:
            moved = pipe.fill(self.stream.kernel_fd, min(self.framing.unframed, pipe.capacity))
        except BlockingIOError:
            raise
        except OSError as error:
            raise _broken_off(error) from None
        if not moved:
            raise BodyBrokenOff(ENDED_EARLY)
        self.framing.moved(moved)
        self._taken += moved
        return moved

    def _take(self, data: bytes) -> bytes:
        """Return the payload in bytes just read. Raises ClientError (400, 413)."""
        try:
            return self.framing.feed(data)
        except ChunkError as error:
            raise ClientError(400, f"client sent invalid chunked body: {error}", level="error", code="cl_bad_body") from None
        except BodyTooLarge as excess:
            reason = f"client intended to send too large chunked body: {excess}"
            raise ClientError(413, reason, "client_max_body_size") from None

    async def _receive(self) -> bytes:
        stream = self.stream
        while True:
            self._send_continue()
            if self.owes_continue:
                await self.wait()
                continue
            try:
                data = stream.recv(CHUNK if self.length < BIG_CHUNK else BIG_CHUNK)
            except BlockingIOError:
                data = None
            except OSError as error:
                raise _broken_off(error) from None
            if data is None:
                await self.wait()
                continue
            if not data:
                raise BodyBrokenOff(ENDED_EARLY)
            self._taken += len(data)
            return data

    def _send_continue(self) -> None:
        """Tell a waiting client to continue. Raises ClientGone.

        `owes_continue` stays set while its socket has no room: it may still have earlier answers to read.
        """
        while self.owes_continue:
            try:
                sent = self.stream.send(self._interim)
            except BlockingIOError:
                return
            except OSError:
                raise ClientGone from None
            self._interim = self._interim[sent:]
            self.owes_continue = bool(self._interim)

    async def wait(self) -> None:
        """Wait until there is something to read, or room for the 100 that must be sent first. Raises ClientError(408)."""
        try:
            await park(self.stream, WRITE if self.owes_continue else READ, self.timeout)
        except TimedOut:
            raise ClientError(408, BODY_TIMED_OUT, "client_body_timeout") from None


def _broken_off(error: OSError) -> BodyBrokenOff:
    of_tls: str = getattr(error, "text", "")  # a TlsFailure's
    return BodyBrokenOff(of_tls or f"recv() failed ({error.errno}: {error.strerror})")
