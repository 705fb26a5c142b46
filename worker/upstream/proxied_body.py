"""The rest of a proxied response's body on its way to the client (proxy.md §3.3).

Theory of operation. Bytes that need not be looked at go from socket to socket through a pipe, and Python never sees them; chunks
are read, decoded and framed anew. Nothing is read that the client has no room for.

The purpose of buffering: the upstream is done with a response when we have all of it, however slow the client is. nginx therefore
reads as fast as the upstream can, and a client that is slower than a neighbour's loopback, as all are, costs a temporary file.
Here a client has PATIENCE: only one that has kept a response waiting for that long in total is behind. From then on
`_read_ahead`, which the loop calls when bytes arrive while this task waits for the client, reads the upstream ahead: into memory
up to proxy_buffers, then into a temporary file up to proxy_max_temp_file_size, sent by sendfile. When the client has taken all of
it, it is no longer behind. The kernel's buffers on both sides, some megabytes, are full before there is any wait at all.

If filters change a body it is read piece by piece (`read`), and while their output waits for room they call `wait_for_room`,
which has the same patience: the bytes that are read ahead are those of the upstream, and are changed when the client has room for
more.

Without proxy_buffering, or with proxy_limit_rate, nothing is read ahead.
"""

from __future__ import annotations

from typing import Final, Protocol

from worker.logs import log_request
from worker.loop import Waitable, sleep
from worker.pipes import Pipe, pool
from worker.rates import client_rate
from worker.stream import BIG_CHUNK, CHUNK
from worker.temporary_files import DiskTrouble
from worker.upstream.backlog import WRITE_SIZE, Backlog
from worker.upstream.failing import READING, code_of, warn_of_surplus
from worker.upstream.failure_log import cause_of, log_failure
from worker.upstream.passing import AnswerBody, LiveAttempt, PeerConnection
from worker.upstream.peers import ANSWERED
from wproxy.bodies import Frame, Outlet
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.http import Request

# Seconds that a client may keep a response waiting, all pauses together, before the upstream is read ahead.
PATIENCE: Final = 1.0

# For less than this two splices cost more than a recv and a send.
WORTH_A_PIPE: Final = 65536

# The size of reads for a slow client: this is its cost in memory. (For a fast one it is CHUNK.)
SLOW_PIECE: Final = 16384


class Sink(Protocol):
    """A file that takes a body. size: bytes written."""

    @property
    def size(self) -> int:
        """Return the number of bytes in the file."""

    def write(self, data: bytes | memoryview) -> None:
        """Append all of this. Raises DiskTrouble; `size` counts the bytes written all the same."""

    def take_out(self, pipe: Pipe) -> None:
        """Append the contents of a pipe. Raises DiskTrouble; unwritten bytes stay in the pipe."""


class Unwritten(Exception):
    """A file did not take all that came from the upstream. rest: the bytes that it did not take."""

    def __init__(self, trouble: DiskTrouble, rest: bytes) -> None:
        super().__init__(str(trouble))
        self.rest = rest


def put_away(sink: Sink, piece: bytes) -> None:
    """Append a piece to a file. Raises Unwritten."""
    before = sink.size
    try:
        sink.write(piece)
    except DiskTrouble as trouble:
        raise Unwritten(trouble, piece[sink.size - before :]) from None


class ProxiedBody:
    """The rest of a body (a BodySource). Reading it to the end or closing it gives the connection back.

    is_over: whether the upstream is done; the part that the client has not got yet is in `_backlog`, `_unsent` or `_pipe`, in
    this order, and only one of the last two is in use. may_read_ahead: proxy_buffering for this response. read_rate: bytes per
    second from the upstream, 0 for no limit.
    """

    __slots__ = (
        "_backlog", "_began", "_failure", "_frame", "_has_warned", "_pipe", "_unexpected", "_unsent", "_waited",
        "attempt", "body", "connection", "is_over", "may_read_ahead", "passing", "read_rate", "request", "with_head",
    )  # fmt: skip

    def __init__(self, attempt: LiveAttempt, connection: PeerConnection, body: AnswerBody) -> None:
        request = attempt.request
        self.passing = attempt.passing
        self.request = request
        self.body = body
        self.connection = connection
        self.attempt = attempt
        self.is_over = False
        self.with_head = body.wire_bytes
        self.may_read_ahead = False
        self.read_rate = 0
        self._began = request.client.clock.now
        self._frame: Frame = None
        self._pipe: Pipe | None = None
        self._unsent: memoryview | None = None
        self._backlog: Backlog | None = None
        self._waited = 0.0
        self._has_warned = False
        self._failure: UpstreamFailure | None = None
        self._unexpected = body.channel.unexpected

    async def has_more(self, frame: Frame) -> bool:
        """Whether there is more for the client. frame: how it is to be sent."""
        self._frame = frame
        return not self.is_over or self._failure is not None or bool(self._backlog or self._unsent or self._pipe)

    # In pieces, for filters.

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raises UpstreamFailure, after logging it: the response is cut."""
        while True:
            backlog = self._backlog
            if backlog is not None:
                try:
                    if len(backlog):
                        return backlog.take(CHUNK)
                except EOFError as error:
                    raise self._lost(error) from None
                self._catch_up(backlog)
            if self._failure is not None:
                raise self._failure
            if self.is_over:
                return b""
            try:
                piece = await self._receive_piece()
            except UpstreamFailure as failure:
                self._fail(failure)
                raise
            if piece:
                return piece

    async def _receive_piece(self) -> bytes:
        """Read once; or wait until there is something to read, and return b"". Raises UpstreamFailure."""
        await self._keep_rate()
        # Not BIG_CHUNK: the system is asked for that much each time, and takes it back (four calls and the faults of its pages).
        most = SLOW_PIECE if self._waited else CHUNK
        try:
            piece = self.body.receive(min(most, self.read_rate or most))
        except BlockingIOError:
            piece = None
        if piece is None:
            # While we wait for the upstream nothing is read ahead; while a filter delays the read, it may be.
            await self.body.wait()
            return b""
        if self.body.finished:
            self._end()
        return piece

    async def store(self, sink: Sink) -> int:
        """Move the next bytes into a file, by the kernel where nothing has to be decoded; return how many, 0 at the end.

        Raises UpstreamFailure, logged; Unwritten when the file does not take all of them: it may have got some.
        """
        body = self.body
        while not self.is_over:
            await self._keep_rate()
            pipe = pool.take() if body.unframed >= WORTH_A_PIPE else None
            try:
                if pipe is None:
                    piece = body.receive(min(BIG_CHUNK, self.read_rate or BIG_CHUNK))
                    moved = len(piece)
                else:
                    moved = body.fill(pipe, min(pipe.capacity, self.read_rate or pipe.capacity))
                if body.finished:
                    self._end()
                if pipe is None:
                    put_away(sink, piece)
                else:
                    sink.take_out(pipe)
            except BlockingIOError:
                moved = 0
            except DiskTrouble as trouble:
                raise Unwritten(trouble, pipe.read() if pipe is not None else b"") from None
            except UpstreamFailure as failure:
                self._fail(failure)
                raise
            finally:
                if pipe is not None:
                    pool.give_back(pipe)
            if moved:
                return moved
            if not self.is_over:
                try:
                    await body.wait()
                except UpstreamFailure as failure:
                    self._fail(failure)
                    raise
        return 0

    # By itself.

    async def send(self, outlet: Outlet, frame: Frame, seconds: float, most: int) -> int:
        """Send the next bytes to the client, at most so many; return how many, 0 at the end.

        seconds: how long it may keep us waiting. Raises TimedOut, OSError for errors of the client; UpstreamFailure, logged.
        """
        self._frame = frame
        while True:
            backlog = self._backlog
            try:
                if backlog is not None and len(backlog):
                    return self._send_backlog(backlog, outlet, most)
                if self._unsent is not None:
                    return self._send_piece(self._unsent, outlet, most)
                if self._pipe is not None:
                    return self._send_pipe(self._pipe, outlet, most)
                has_room = True
            except BlockingIOError:
                has_room = False
            if not has_room:
                await self.wait_for_room(outlet, frame, seconds)
                continue
            if backlog is not None:
                self._catch_up(backlog)
            if self._failure is not None:
                raise self._failure
            if self.is_over:
                return 0
            try:
                if self.read_rate:
                    await self._keep_rate()
                if not self._receive(outlet.kernel_fd >= 0):
                    await self.body.wait()
            except UpstreamFailure as failure:
                self._fail(failure)
                raise

    def pass_on(self, outlet: Outlet, request: Request) -> bool:
        """Have the kernel move all of it to the client, if it has come and the client takes it; return whether that was done.

        Otherwise `send` goes on with the rest. The head and what came with it must be out. Raises OSError for errors of the
        client; UpstreamFailure, logged.
        """
        body = self.body
        if body.unframed < WORTH_A_PIPE or outlet.kernel_fd < 0 or self.read_rate or client_rate(request):
            return False
        pipe = pool.take()
        if pipe is None:
            return False
        most = self.passing.buffering.file or pipe.capacity
        try:
            body.fill(pipe, pipe.capacity if pipe.capacity < most else most)
        except BlockingIOError:
            pass
        except UpstreamFailure as failure:
            pool.give_back(pipe)
            self._fail(failure)
            raise
        if body.finished:
            self._end()
        if not pipe.held:
            pool.give_back(pipe)
            return self.is_over
        self._pipe = pipe
        try:
            sent = self._send_pipe(pipe, outlet, pipe.held)
        except BlockingIOError:
            return False
        request.body_bytes_sent += sent
        request.bytes_sent += sent
        return self.is_over and self._pipe is None

    def take_over(self, pipe: Pipe) -> None:
        """Take a pipe into which bytes of the body have been moved, which the body has noted."""
        if self.body.finished:
            self._end()
        if pipe.held:
            self._pipe = pipe
        else:
            pool.give_back(pipe)

    def _receive(self, by_kernel: bool) -> bool:
        """Take the bytes that are there from the upstream; return False when they are to be waited for. Raises UpstreamFailure.

        by_kernel: whether the kernel may move bytes to the client.
        """
        body = self.body
        pipe = None
        # Bytes that need a frame are read, because the frame has to precede them.
        if by_kernel and self._frame is None and body.unframed >= WORTH_A_PIPE:
            pipe = pool.take()
        try:
            if pipe is None:
                most = SLOW_PIECE if self._waited or pool.is_exhausted else CHUNK
                piece = body.receive(min(most, self.read_rate or most))
                if piece:
                    self._unsent = memoryview(piece if self._frame is None else self._frame(piece))
            else:
                # Not more than a file would hold, because they go there when the client is behind.
                most = self.passing.buffering.file or pipe.capacity
                body.fill(pipe, min(pipe.capacity, most, self.read_rate or pipe.capacity))
        except BlockingIOError:
            return False
        finally:
            if pipe is not None:
                if pipe.held:
                    self._pipe = pipe
                else:
                    pool.give_back(pipe)
        if body.finished:
            self._end()
        return True

    def _send_piece(self, piece: memoryview, outlet: Outlet, most: int) -> int:
        sent = outlet.send(piece[:most])
        self._unsent = piece[sent:] if sent < len(piece) else None
        return sent

    def _send_pipe(self, pipe: Pipe, outlet: Outlet, most: int) -> int:
        sent = pipe.drain(outlet.kernel_fd, most)
        if not pipe.held:
            self._pipe = None
            pool.give_back(pipe)
        return sent

    def _send_backlog(self, backlog: Backlog, outlet: Outlet, most: int) -> int:
        try:
            return backlog.send(outlet, most)
        except EOFError as error:
            raise self._lost(error) from None

    def _lost(self, error: EOFError) -> UpstreamFailure:
        """Return the failure when the file that held the rest has been truncated."""
        self.close()
        log_request(self.request, "alert", f"{error} while sending response to client", code="disk")
        self.request.ends("disk", str(error))
        return UpstreamFailure("error", str(error), "sending response to client", "disk")

    async def _keep_rate(self) -> None:
        """Pause if more has been read than proxy_limit_rate allows."""
        rate = self.read_rate
        if rate:
            clock = self.request.client.clock
            allowed = rate * (clock.now - self._began + 1.0) - self.body.received
            if allowed <= 0:
                await sleep(0.02 - allowed / rate)

    # Reading ahead.

    async def wait_for_room(self, outlet: Outlet, frame: Frame, seconds: float) -> None:
        """Wait until the client takes more, or until it is behind. Raises TimedOut."""
        self._frame = frame
        patience = PATIENCE - self._waited
        if self._backlog is not None or not self.may_read_ahead:
            self._waited = PATIENCE
            await outlet.room(seconds)
        elif patience <= 0:
            self.read_ahead()
        else:
            clock = self.request.client.clock
            began = clock.now
            try:
                await outlet.room(min(patience, seconds))
            except TimedOut:
                if seconds <= patience:
                    raise
            self._waited += clock.now - began

    def read_ahead(self) -> None:
        """Start to read as fast as the upstream can, if that is allowed, until the client has caught up."""
        if self._backlog is not None or not self.may_read_ahead:
            return
        self._waited = PATIENCE
        limits = self.passing.buffering
        write_size = limits.write_size or WRITE_SIZE
        exchange = self.request.exchange
        memory = limits.memory if exchange is None else exchange.reserve(limits.memory)
        backlog = Backlog(memory, limits.file, write_size, self.passing.temp_path, self._complain)
        pipe, coming = self._pipe, 0 if self.is_over else self._coming()
        if pipe is not None:
            if backlog.goes_to_file(pipe.held + coming) and pipe.held <= backlog.file_limit:
                backlog.add_from(pipe)
            elif pipe.held <= backlog.memory_limit:
                backlog.add(pipe.read(), 0)
            else:
                # There is no room for it except in the pipe, and so none for more.
                self.may_read_ahead = False
                return
            self._pipe = None
            pool.give_back(pipe)
        elif self._unsent is not None:
            backlog.add(self._unsent, coming)
            self._unsent = None
        self._backlog = backlog
        if not self.is_over:
            upstream = self.body.channel
            upstream.unexpected = self._read_more
            self.passing.group.loop.listen(upstream)

    def _coming(self) -> int:
        """Return how many bytes the upstream has still to send: a lower bound."""
        return self.body.unframed or 1

    def _read_more(self, upstream: Waitable) -> bool:
        """Read bytes that arrived while we wait for the client; return False to be told of no more (Waitable.unexpected)."""
        backlog = self._backlog
        assert backlog is not None
        body = self.body
        coming = self._coming()
        room = backlog.room(coming)
        if room <= 0:
            return False
        try:
            pipe = pool.take() if self._frame is None and body.unframed and backlog.goes_to_file(coming) else None
            if pipe is not None:
                try:
                    body.fill(pipe, min(room, pipe.capacity))
                    backlog.add_from(pipe)
                finally:
                    pool.give_back(pipe)
            else:
                piece = body.receive(min(room, CHUNK))
                if piece:
                    backlog.add(piece if self._frame is None else self._frame(piece), 0 if body.finished else self._coming())
        except BlockingIOError:
            return True
        except UpstreamFailure as failure:
            # The client gets the bytes before the failure.
            self._fail(failure, closes=False)
            self._failure = failure
            return True
        if body.finished:
            self._end()
            return True
        return backlog.room(self._coming()) > 0

    def _catch_up(self, backlog: Backlog) -> None:
        """Note that the client has taken all that was read ahead."""
        self._backlog = None
        backlog.close()
        if backlog.has_failed:
            self.may_read_ahead = False  # do not try a failing disk, and complain, again and again
        if not self.is_over:
            self.body.channel.unexpected = self._unexpected

    def _complain(self, level: str, text: str) -> None:
        if level == "warn" and self._has_warned:
            return  # a client may fall behind many times
        self._has_warned = level == "warn" or self._has_warned
        log_request(self.request, level, f"{text} while reading upstream")

    # The end.

    def _fail(self, failure: UpstreamFailure, closes: bool = True) -> None:
        """Log a failure of the upstream, and give it up."""
        failure.doing = READING
        self.attempt.end_code = code = code_of(failure)
        self.request.ends(code, cause_of(self.passing, failure))
        log_failure(self.passing, self.request, failure)
        if closes:
            self.close()
        else:
            self._close_upstream()

    def _end(self) -> None:
        """End the upstream's part: its connection goes back to the pool, or is closed."""
        self.is_over = True
        body, request, attempt, connection = self.body, self.request, self.attempt, self.connection
        # As in `_count_bytes`.
        attempt.response_length = size = body.wire_bytes
        attempt.bytes_received += size - self.with_head
        request.upstream_trailers = body.trailers
        body.channel.unexpected = self._unexpected
        if body.surplus:
            warn_of_surplus(request, body.surplus)
        head = attempt.head
        assert head is not None
        if body.spoiled:
            connection.room = 0
        if attempt.upload is not None:
            attempt.end_upload()
        attempt.response_time = request.client.clock.now - attempt.started
        self.passing.group.take_back(attempt.live_peer, connection, head.keepalive_timeout, attempt)
        if attempt.at_end is not None:
            attempt.at_end()

    def close(self) -> None:
        """Give up all unread and unsent bytes; the connection cannot be used again."""
        if not self.is_over:
            self._close_upstream()
        if self._pipe is not None:
            pool.give_back(self._pipe)
            self._pipe = None
        if self._backlog is not None:
            self._backlog.close()
            self._backlog = None
        self._unsent = None
        self.may_read_ahead = False

    def _close_upstream(self) -> None:
        self.is_over = True
        self._count_bytes()
        attempt = self.attempt
        attempt.response_time = self.request.client.clock.now - attempt.started
        self.passing.group.release(attempt.live_peer, ANSWERED, attempt)
        attempt.close_connection()
        if attempt.at_end is not None:
            attempt.at_end()

    def _count_bytes(self) -> None:
        """Count the bytes of the body so far, for the logs; those that came with the head are in bytes_received already."""
        self.attempt.response_length = self.body.wire_bytes
        self.attempt.bytes_received += self.body.wire_bytes - self.with_head

    def __repr__(self) -> str:
        return f"<proxied body of {self.attempt.peer}: {self.body}, {self._backlog or self._pipe or 'nothing waits'}>"
