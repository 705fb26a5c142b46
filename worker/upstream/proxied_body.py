"""The rest of a proxied response's body on its way to the client (proxy.md §3.3).

Theory of operation. What needs no look goes from socket to socket through a pipe, and Python sees no byte of it; what is framed
in chunks is read, decoded and framed anew. Nothing is read that the client has no room for.

What buffering is for: the upstream is done with a response when we have all of it, however slow the client is. nginx therefore
reads as fast as the upstream can, and a client that is slower than a neighbour's loopback, as all are, costs a temporary file.
Here a client has PATIENCE: only one that has kept a response waiting for so long in all is behind. From then on the upstream
is read ahead by `_read_ahead`, which the loop calls when bytes come while this task waits for the client: into memory up to
proxy_buffers, then into a temporary file up to proxy_max_temp_file_size, sent by sendfile. When the client has taken all of
it, it is not behind any more. The kernel's buffers on both sides, some megabytes, are full before anybody waits at all.

Where filters change a body it is read piece by piece (`read`), and while what they made of it waits for room they say so
(`wait_for_room`), which has the same patience: what is read ahead is what the upstream sent, and is changed when the client has
room for more.

Without proxy_buffering, or with proxy_limit_rate, nothing is read ahead.
"""

from __future__ import annotations

from worker.logs import log_request
from worker.loop import sleep
from worker.pipes import Pipe, pool
from worker.stream import BIG_CHUNK, CHUNK, Stream
from worker.upstream.backlog import WRITE_SIZE, Backlog
from worker.upstream.failing import READING, warn_of_surplus
from worker.upstream.failure_log import cause_of, log_failure
from worker.upstream.passing import AnswerBody, LiveAttempt, PeerConnection
from worker.upstream.peers import ANSWERED
from wproxy.bodies import Frame, Outlet
from wproxy.failures import TimedOut, UpstreamFailure

# Seconds that a client may keep a response waiting, all pauses together, before it is read ahead.
PATIENCE = 1.0

# Two splices for less than this cost more than a recv and a send.
WORTH_A_PIPE = 65536

# What is read at once for a client that takes it slowly: this is what it costs in memory. (For a quick one it is CHUNK.)
SLOW_PIECE = 16384


class ProxiedBody:
    """The rest of a body (a BodySource). Whoever reads it to the end or closes it gives the connection back.

    is_over: the upstream has given all it will; what of it the client has not got yet is in `_backlog`, `_unsent` or `_pipe`,
    in this order, and only one of the last two is in use. may_read_ahead: proxy_buffering, as this response has it. read_rate:
    bytes a second from the upstream, 0 for no limit.
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
        self._unexpected = body.stream.unexpected

    async def has_more(self, frame: Frame) -> bool:
        """Return whether the client has not got all there is. frame: how it is to be sent."""
        self._frame = frame
        return not self.is_over or self._failure is not None or bool(self._backlog or self._unsent or self._pipe)

    # In pieces, for filters.

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises UpstreamFailure, after logging it: the response is cut."""
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
        """Read once, or wait until there is something to be read, and b"". Raises UpstreamFailure."""
        await self._keep_rate()
        most = SLOW_PIECE if self._waited else BIG_CHUNK
        try:
            piece = self.body.receive(min(most, self.read_rate or most))
        except BlockingIOError:
            # While we wait for the upstream nothing is read ahead; while a filter puts this off, it may be.
            await self.body.wait()
            return b""
        if self.body.finished:
            self._end()
        return piece

    # By itself.

    async def send(self, outlet: Outlet, frame: Frame, seconds: float, most: int) -> int:
        """Send the next bytes to the client, at most so many; how many, 0 at the end.

        seconds: how long it may keep us waiting. Raises TimedOut, OSError for what the client did; UpstreamFailure, logged.
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
            except BlockingIOError:
                await self.wait_for_room(outlet, frame, seconds)
                continue
            if backlog is not None:
                self._catch_up(backlog)
            if self._failure is not None:
                raise self._failure
            if self.is_over:
                return 0
            try:
                await self._keep_rate()
                self._receive(outlet.kernel_fd >= 0)
            except BlockingIOError:
                try:
                    await self.body.wait()
                except UpstreamFailure as failure:
                    self._fail(failure)
                    raise
            except UpstreamFailure as failure:
                self._fail(failure)
                raise

    def _receive(self, by_kernel: bool) -> None:
        """Take from the upstream what is there. Raises BlockingIOError, UpstreamFailure.

        by_kernel: the kernel may move bytes to the client.
        """
        body = self.body
        pipe = None
        # What is to be framed is read, for its frame has to be put before it.
        if by_kernel and self._frame is None and body.unframed >= WORTH_A_PIPE:
            pipe = pool.take()
        if pipe is None:
            most = SLOW_PIECE if self._waited or pool.is_exhausted else CHUNK
            piece = body.receive(min(most, self.read_rate or most))
            if piece:
                self._unsent = memoryview(piece if self._frame is None else self._frame(piece))
        else:
            try:
                # Not more than a file would hold, for there it goes when the client is behind.
                most = self.passing.buffering.file or pipe.capacity
                body.fill(pipe, min(pipe.capacity, most, self.read_rate or pipe.capacity))
            finally:
                if pipe.held:
                    self._pipe = pipe
                else:
                    pool.give_back(pipe)
        if body.finished:
            self._end()

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
        """Somebody has cut the file short in which the rest was."""
        self.close()
        log_request(self.request, "alert", f"{error} while sending response to client")
        return UpstreamFailure("error", str(error), "sending response to client")

    async def _keep_rate(self) -> None:
        """Let time pass where more has been read than proxy_limit_rate allows."""
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
        """From now on read as fast as the upstream can, where that is allowed, until the client has caught up."""
        if self._backlog is not None or not self.may_read_ahead:
            return
        self._waited = PATIENCE
        limits = self.passing.buffering
        write_size = limits.write_size or WRITE_SIZE
        backlog = Backlog(limits.memory, limits.file, write_size, self.passing.temp_path, self._complain)
        pipe, coming = self._pipe, 0 if self.is_over else self._coming()
        if pipe is not None:
            if backlog.goes_to_file(pipe.held + coming) and pipe.held <= backlog.file_limit:
                backlog.add_from(pipe)
            elif pipe.held <= backlog.memory_limit:
                backlog.add(pipe.read(), 0)
            else:
                # There is no room for it but in the pipe, and so none for more.
                self.may_read_ahead = False
                return
            self._pipe = None
            pool.give_back(pipe)
        elif self._unsent is not None:
            backlog.add(self._unsent, coming)
            self._unsent = None
        self._backlog = backlog
        if not self.is_over:
            upstream = self.body.stream
            upstream.unexpected = self._read_more
            upstream.loop.listen(upstream)

    def _coming(self) -> int:
        """How many bytes the upstream has still to send: at least."""
        return self.body.unframed or 1

    def _read_more(self, upstream: Stream) -> bool:
        """Something came while we wait for the client; False: we do not want to be told of more (Stream.unexpected)."""
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
            # The client gets what came before.
            self._fail(failure, closes=False)
            self._failure = failure
            return True
        if body.finished:
            self._end()
            return True
        return backlog.room(self._coming()) > 0

    def _catch_up(self, backlog: Backlog) -> None:
        """The client has taken all that was read ahead."""
        self._backlog = None
        backlog.close()
        if backlog.has_failed:
            self.may_read_ahead = False  # the disk is not tried, and complained of, again and again
        if not self.is_over:
            self.body.stream.unexpected = self._unexpected

    def _complain(self, level: str, text: str) -> None:
        if level == "warn" and self._has_warned:
            return  # a client may fall behind many times
        self._has_warned = level == "warn" or self._has_warned
        log_request(self.request, level, f"{text} while reading upstream")

    # The end.

    def _fail(self, failure: UpstreamFailure, closes: bool = True) -> None:
        """Log a failure of the upstream, and give it up."""
        failure.doing = READING
        self.request.end_cause = cause_of(self.passing, failure)
        log_failure(self.passing, self.request, failure)
        if closes:
            self.close()
        else:
            self._close_upstream()

    def _end(self) -> None:
        """The upstream is done: its connection goes back to the pool, or is closed."""
        self.is_over = True
        self._count_bytes()
        body = self.body
        self.request.upstream_trailers = body.trailers
        body.stream.unexpected = self._unexpected
        if body.surplus:
            warn_of_surplus(self.request, body.surplus)
        attempt, connection, head = self.attempt, self.connection, self.attempt.head
        assert head is not None
        if body.spoiled:
            connection.room = 0
        attempt.end_upload()
        attempt.response_time = self.request.client.clock.now - attempt.started
        self.passing.group.take_back(attempt.live_peer, connection, head.keepalive_timeout, attempt)
        if attempt.at_end is not None:
            attempt.at_end()

    def close(self) -> None:
        """Give up what has not been read and what has not been sent; the connection cannot be used again."""
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
        """What of the body has come, for the logs; what came with the head is in bytes_received already."""
        self.attempt.response_length = self.body.wire_bytes
        self.attempt.bytes_received += self.body.wire_bytes - self.with_head

    def __repr__(self) -> str:
        return f"<proxied body of {self.attempt.peer}: {self.body}, {self._backlog or self._pipe or 'nothing waits'}>"
