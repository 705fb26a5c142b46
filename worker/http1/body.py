"""Bodies that are still on their way: read piece by piece from a stream, at the pace of whoever asks.

A body begins with what was read together with the head, and ends by length, by the last chunk or with the connection. Both
sides read the same way; they differ in whom a failure blames, so each maps failures to its own.
"""

from __future__ import annotations

from typing import Any

from worker import pipes
from worker.http1.chunked import BodyTooLarge, ChunkedDecoder, ChunkError
from worker.http1.response import CHUNKED, LENGTH, UNTIL_CLOSE
from worker.loop import READ, WRITE, park
from worker.pipes import Pipe
from worker.stream import BIG_CHUNK, CHUNK, Stream
from worker.temporary_files import TemporaryFile
from wproxy.failures import ClientError, ClientGone, TimedOut, UpstreamFailure

BODY_TIMED_OUT = "client timed out (110: Connection timed out) while sending the request body"
MORE_THAN_LENGTH = 'upstream sent more data than specified in "Content-Length" header'
ENDED_EARLY = "client prematurely closed connection while sending the request body"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RequestBody:
    """The body of a request.

    length: what Content-Length says, or -1 when it is chunked. limit: client_max_body_size, 0 for none; timeout:
    client_body_timeout. received: bytes of payload read so far. finished: it has been read to its end, and `leftover` is what
    came after it. data: all of it, when it is in memory; file: the path of its temporary file, when it has one with a name.
    """

    __slots__ = (
        "_decoder",
        "_interim",
        "_pending",
        "collected",
        "data",
        "file",
        "finished",
        "kept",
        "leftover",
        "length",
        "limit",
        "owes_continue",
        "received",
        "stream",
        "timeout",
    )

    def __init__(self, stream: Stream, at_hand: bytes, length: int, owes_continue: bool) -> None:
        self.stream = stream
        self.collected: Any = None  # worker.upstream.outgoing.Outgoing, when it has been read to be sent on
        self.data: bytes | None = None
        self.file: bytes | None = None
        self.kept: TemporaryFile | None = None
        self.length = length
        self.limit = 0
        self.timeout = 60.0
        self.owes_continue = owes_continue and not at_hand  # who sends without waiting needs no answer
        self._interim = CONTINUE
        self.received = 0
        self.finished = False
        self.leftover = b""
        self._pending = at_hand
        self._decoder = ChunkedDecoder() if length < 0 else None

    def take_whole(self) -> bytes | None:
        """The body, when its length is known and all of it was read with the head; otherwise None."""
        length = self.length
        if length < 0 or len(self._pending) < length:
            return None
        data, self._pending = self._pending, b""
        self.received = length
        self.finished = True
        self.leftover = data[length:]
        self.data = data = data[:length]
        return data

    def forget_at_hand(self) -> None:
        """Check what was read with the head of a body that nobody wants, and drop it. Raises ClientError(400)."""
        self.limit = 0
        self.take_at_hand()

    def take_at_hand(self) -> bytes:
        """The payload of what was read with the head; may finish the body. Raises ClientError (400, 413)."""
        data, self._pending = self._pending, b""
        return self._take(data) if data else b""

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises ClientError (400, 408, 413), ClientGone."""
        while not self.finished:
            if self._pending:
                data, self._pending = self._pending, b""
            else:
                data = await self._receive()
            piece = self._take(data)
            if piece:
                return piece
        return b""

    async def read_into(self, file: TemporaryFile) -> int:
        """Append the next piece to a file; how many bytes, 0 at the end. Raises what `read` does, and DiskTrouble.

        Where a length is known and nothing is encrypted the bytes do not pass through Python.
        """
        while self.moves_by_itself():
            pipe = pipes.pool.take()
            if pipe is None:
                break
            try:
                moved = self.fill(pipe)
                file.take_out(pipe)
                return moved
            except BlockingIOError:
                pass  # nothing is there yet: the pipe is not kept for that
            finally:
                pipes.pool.give_back(pipe)
            await self.wait()
        piece = await self.read()
        file.write(piece)
        return len(piece)

    def moves_by_itself(self) -> bool:
        """Whether all that is still to come can be moved by the kernel: nothing is to be decoded, and there is something."""
        return self._decoder is None and not self._pending and not self.finished and self.stream.kernel_fd >= 0

    def fill(self, pipe: Pipe) -> int:
        """Move what has come, as far as it is of this body, into an empty pipe; how many bytes.

        Raises BlockingIOError when nothing has, ClientError(400), ClientGone.
        """
        self._send_continue()
        if self.owes_continue:
            raise BlockingIOError
        left = self.length - self.received
        try:
            moved = pipe.fill(self.stream.fd, min(left, pipe.capacity))
        except BlockingIOError:
            raise
        except OSError:
            raise ClientGone from None
        if not moved:
            raise ClientError(400, ENDED_EARLY)
        self.received += moved
        self.finished = moved == left
        return moved

    def keep_in(self, file: TemporaryFile) -> None:
        """Remember the file that the body is read into, to close it with the request."""
        self.kept = file
        self.file = file.name.encode("utf-8", "surrogateescape")

    def close(self) -> None:
        """Give up the temporary file, if there is one; what has been collected can't be sent any more."""
        if self.kept is not None:
            self.kept.close()

    def _take(self, data: bytes) -> bytes:
        """The payload in bytes just read; notes the end."""
        decoder = self._decoder
        if decoder is None:
            left = self.length - self.received
            if len(data) >= left:
                self.finished = True
                self.leftover = data[left:]
                data = data[:left]
            self.received += len(data)
            return data
        decoder.limit = self.limit
        try:
            piece = decoder.feed(data)
        except ChunkError as error:
            raise ClientError(400, f"client sent invalid chunked body: {error}", level="error") from None
        except BodyTooLarge as error:
            reason = f"client intended to send too large chunked body: {error}"
            raise ClientError(413, reason, "client_max_body_size") from None
        self.received += len(piece)
        if decoder.finished:
            self.finished = True
            self.leftover = decoder.leftover
        return piece

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
                await self.wait()
                continue
            except OSError:
                raise ClientGone from None
            if not data:
                raise ClientError(400, ENDED_EARLY)
            return data

    def _send_continue(self) -> None:
        """Tell a client that waits for it to go on. Raises ClientGone.

        `owes_continue` stays set while its socket has no room: it may have earlier answers to read still.
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
        """Wait until there is something to read, or room for what has to be said first. Raises ClientError(408)."""
        try:
            await park(self.stream, WRITE if self.owes_continue else READ, self.timeout)
        except TimedOut:
            raise ClientError(408, BODY_TIMED_OUT, "client_body_timeout") from None

    def __repr__(self) -> str:
        return f"<request body {self.received} of {self.length}{' finished' if self.finished else ''}>"


_ENDLESS = 1 << 62


def _broken(error: OSError) -> UpstreamFailure:
    return UpstreamFailure("error", f"recv() failed ({error.errno}: {error.strerror})")


class ResponseBody:
    """The body of an upstream's response.

    at_hand: what came with the head. kind, length: as `body_of` tells. received: bytes of payload; wire_bytes: with framing.
    finished: read to its end. spoiled: the connection cannot be used again, because more came than there should be or
    because its end was the end of the body. surplus: what is to be said of more than there should be.
    """

    __slots__ = (
        "_decoder", "_kind", "_left", "_pending", "finished", "received", "spoiled", "stream", "surplus", "timeout", "wire_bytes",
    )  # fmt: skip

    def __init__(self, stream: Stream, at_hand: bytes, kind: int, length: int, timeout: float) -> None:
        self.stream = stream
        self.timeout = timeout
        self.received = 0
        self.finished = False
        self.spoiled = kind == UNTIL_CLOSE
        self.surplus = ""
        self.wire_bytes = len(at_hand)
        self._kind = kind
        self._left = length
        self._pending = at_hand
        self._decoder = ChunkedDecoder() if kind == CHUNKED else None

    def take_at_hand(self) -> bytes:
        """The payload of what came with the head; may finish the body. Raises UpstreamFailure."""
        data, self._pending = self._pending, b""
        return self._take(data)

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises UpstreamFailure."""
        while not self.finished:
            try:
                piece = self.receive()
            except BlockingIOError:
                await self.wait()
                continue
            if piece:
                return piece
        return b""

    @property
    def trailers(self) -> tuple[tuple[bytes, bytes, bytes], ...]:
        """(lower-case name, name, value) of the fields after a chunked body that was read to its end."""
        if self._decoder is None:
            return ()
        return tuple((name.lower(), name, value) for name, value in self._decoder.trailers)

    async def wait(self) -> None:
        """Wait until there is something to be read. Raises UpstreamFailure."""
        try:
            await park(self.stream, READ, self.timeout)
        except TimedOut:
            raise UpstreamFailure("timeout", "upstream timed out (110: Connection timed out)") from None

    def receive(self, most: int = BIG_CHUNK) -> bytes:
        """Read once, at most so many bytes: the payload in them, which may be b"" before the end too.

        Raises BlockingIOError when nothing is there, UpstreamFailure.
        """
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
        """How many of the bytes to come are payload and nothing else, so that the kernel may move them; 0 where it may not."""
        if self.stream.kernel_fd < 0:
            return 0
        if self._kind == LENGTH:
            return self._left
        return 0 if self._decoder is not None else _ENDLESS

    def fill(self, pipe: Pipe, most: int) -> int:
        """Move at most so many bytes into an empty pipe, where `unframed` allows it; how many, and 0 at the end.

        Raises BlockingIOError when nothing is there, UpstreamFailure.
        """
        left = self.unframed
        try:
            moved = pipe.fill(self.stream.fd, most if most < left else left)
        except BlockingIOError:
            raise
        except OSError as error:
            raise _broken(error) from None
        if not moved:
            self._end_of_stream()
            return 0
        self.wire_bytes += moved
        self.received += moved
        if self._kind == LENGTH:
            self._left = left - moved
            if moved == left:
                self.finished = True
                self.spoiled = not self.stream.is_quiet()
        return moved

    def _end_of_stream(self) -> None:
        if self._kind != UNTIL_CLOSE:
            raise UpstreamFailure("error", "upstream prematurely closed connection")
        self.finished = True

    def _take(self, data: bytes) -> bytes:
        if self._kind == LENGTH:
            left = self._left
            if len(data) >= left:
                self.finished = True
                if len(data) > left:
                    self.spoiled = True
                    self.surplus = MORE_THAN_LENGTH
                data = data[:left]
            self._left = left - len(data)
            self.received += len(data)
            return data
        if self._decoder is not None:
            try:
                piece = self._decoder.feed(data)
            except ChunkError as error:
                raise UpstreamFailure("error", f"upstream sent invalid chunked response: {error}") from None
            if self._decoder.finished:
                self.finished = True
                if self._decoder.leftover:
                    self.spoiled = True
                    self.surplus = "upstream sent data after final chunk"
            self.received += len(piece)
            return piece
        self.received += len(data)
        return data

    def __repr__(self) -> str:
        return f"<response body {self.received}{' finished' if self.finished else ''}>"
