"""The body of a request that comes in DATA frames.

Its window is what a client may send before anybody reads: http2_body_preread_size. It opens again as the reader takes bytes, so a
stream holds no more than that, whether its reader is a disk or an upstream. A body that is being buffered gets a larger window,
because its reader never makes it wait (nginx: recv_window in ngx_http_v2_read_request_body).
"""

from __future__ import annotations

from typing import Final, Protocol

from worker.http2.abuse import Progress
from worker.http2.windows import DEFAULT_WINDOW, MAX_WINDOW, ReceiveWindow
from worker.loop import Loop, Task, park
from wproxy.failures import BodyBrokenOff, ClientError
from wproxy.request_body import RequestBody

BODY_TIMED_OUT: Final = "client timed out (110: Connection timed out) while sending the request body"
# The window of a stream whose body is being buffered.
WIDE: Final = 1 << 20
# Pieces that are kept apart until they are read. Frames of two bytes would take 25 times the memory of what they carry.
MOST_PIECES: Final = 64


class BodyStream(Protocol):
    """The stream that a body comes on, as the body sees it."""

    def widen(self, increment: int) -> None:
        """Let the client send so many bytes more."""

    def ask_to_continue(self) -> None:
        """Tell the client that its body is wanted."""


class HTTP2RequestBody(RequestBody):
    """The body of one request. window: the bytes that the client may send, None before any have come."""

    __slots__ = (
        "_arrived",
        "_fault",
        "_has_ended",
        "_limit",
        "_loop",
        "_pieces",
        "_progress",
        "_stream",
        "_taken",
        "_waiter",
        "_window_size",
        "window",
    )

    def __init__(
        self, loop: Loop, stream: BodyStream, length: int, owes_continue: bool, window: int, timeout: float = 60.0, limit: int = 0
    ) -> None:
        """window: http2_body_preread_size. limit: client_max_body_size; 0 for none."""
        # Like its parent, without the call.
        self.after = self.collected = self.data = self.file = self.kept = None
        self.length = length
        self.timeout = timeout
        self.is_passed_on = self.was_missed = False
        self.owes_continue = owes_continue
        self.window: ReceiveWindow | None = None
        self._window_size = window
        self._loop = loop
        self._stream = stream
        self._pieces: list[bytes] = []
        self._arrived = self._taken = 0
        self._has_ended = False
        self._fault: ClientError | None = None
        self._limit = limit
        self._waiter: Task | None = None
        self._progress: Progress | None = None  # once it has been waited for

    # The client's side.

    def feed_all(self, data: bytes) -> bool:
        """Take the payload of a frame that is all of the body, and ends it; return False if there were others, or it is wrong.

        Most small bodies come so. One frame fits any window.
        """
        size = len(data)
        if self._arrived or 0 <= self.length != size or not size or self._waiter is not None:
            return False
        self._arrived = size
        self._pieces.append(data)
        self._has_ended = True
        self.owes_continue = False
        return True

    def feed(self, data: bytes, flow: int, number: int) -> None:
        """Take the payload of a frame of stream `number`; flow: the bytes of the frame, padding included.

        Raises ConnectionFault, ClientError.
        """
        self._opened_window().take(flow, "client", number)
        padding = flow - len(data)
        if padding:
            self._give_back(padding)
        self._arrived += len(data)
        if 0 <= self.length < self._arrived:
            raise ClientError(400, 'client sent more bytes of a body than its "Content-Length" header says', code="cl_bad_body")
        if data:
            if len(self._pieces) >= MOST_PIECES:
                self._pieces = [b"".join(self._pieces)]
            self._pieces.append(data)
            if self._progress is not None:
                self._progress.moves(len(data), self._loop.clock.now)
            self._wake()

    def end(self) -> None:
        """Note that nothing follows. Raises ClientError."""
        if self._arrived < self.length:
            raise ClientError(400, 'client sent fewer bytes of a body than its "Content-Length" header says', code="cl_bad_body")
        self._has_ended = True
        self.owes_continue = False
        self._wake()

    def break_off(self, fault: ClientError) -> None:
        """Raise this for the reader, when it has read what came before."""
        self._fault = fault
        self._wake()

    def cut_off(self, reason: str) -> None:
        """Note that the client is gone: what is missing never comes."""
        if not self._has_ended:
            self.break_off(BodyBrokenOff(reason))

    def let_all_come(self) -> None:
        """Make room for all that the client has left, which is dropped: its answer is complete.

        curl 7.88 sends on after an answer of 2xx or 3xx, and reads no more: without room it would wait for ever. The frame goes
        out before those of the answer.
        """
        window = self._opened_window()
        if not 0 <= self.length - self._arrived <= window.left:
            increment = window.widen(MAX_WINDOW)
            if increment:
                self._stream.widen(increment)

    def _opened_window(self) -> ReceiveWindow:
        """Return the window, which is made when it is needed."""
        if self.window is None:
            self.window = ReceiveWindow(self._window_size, DEFAULT_WINDOW)
        return self.window

    def _wake(self) -> None:
        if self._waiter is not None:
            self._loop.wake(self._waiter)

    def close(self) -> None:
        """Give up what nobody will read. Frames in the traceback of a fault have this body."""
        self.collected = None
        if self.kept is not None:
            self.kept.close()
        if self._pieces:
            self._pieces.clear()
        self._fault = None

    # The reader's side.

    @property
    def received(self) -> int:
        """Return the number of bytes of payload that have been read."""
        return self._taken

    @property
    def wire_bytes(self) -> int:
        """Return the number of bytes of payload that have come, as they count in $request_length."""
        return self._arrived

    @property
    def finished(self) -> bool:
        """Whether it has been read to its end."""
        return self._has_ended and not self._pieces

    @property
    def limit(self) -> int:
        """Return client_max_body_size; 0 for none."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        """Apply this limit to the rest."""
        self._limit = limit

    def take_whole(self) -> bytes | None:
        """Return the body if all of it is here and fits the limit; otherwise None."""
        if not self._has_ended or (self._limit and self._arrived > self._limit):
            return None
        pieces = self._pieces
        self.data = data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._taken += len(data)
        return data

    def take_at_hand(self) -> bytes:
        """Return the payload that is here already. Raises ClientError(413)."""
        if not self._pieces:
            return b""
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        return self._take(data)

    async def read(self) -> bytes:
        """Return what has come, b"" at the end. Raises ClientError (400, 408, 413)."""
        if not self._has_ended:
            increment = self._opened_window().widen(DEFAULT_WINDOW if self.is_passed_on else WIDE)
            if increment:
                self._stream.widen(increment)
        while not self._pieces:
            if self._fault is not None:
                raise self._fault
            if self._has_ended:
                return b""
            await self.wait()
        return self.take_at_hand()

    async def wait(self) -> None:
        """Wait until something has come. Raises ClientError(408)."""
        if self.owes_continue:
            self.owes_continue = False
            self._stream.ask_to_continue()
        clock = self._loop.clock
        progress = self._progress = self._progress or Progress()
        progress.waits(clock.now)
        deadline = clock.now + self.timeout
        self._waiter = self._loop.current()
        try:
            await park(None, 0, self.timeout)
        finally:
            self._waiter = None
        is_quiet = not self._pieces and self._fault is None and not self._has_ended
        if progress.is_too_slow(clock.now) or (is_quiet and clock.now >= deadline):
            raise ClientError(408, BODY_TIMED_OUT, "client_body_timeout")

    def _take(self, data: bytes) -> bytes:
        """Count bytes as read, and let the client send as many more. Raises ClientError(413)."""
        if self._limit and self._taken + len(data) > self._limit:
            reason = f"client intended to send too large body: {self._taken}+{len(data)} bytes"
            raise ClientError(413, reason, "client_max_body_size")
        self._taken += len(data)
        self._give_back(len(data))
        return data

    def _give_back(self, count: int) -> None:
        if not self._has_ended:
            increment = self._opened_window().give_back(count)
            if increment:
                self._stream.widen(increment)
