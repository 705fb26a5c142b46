"""A connection to a peer that several requests use at once: the part that is the same whatever the protocol's frames are.

Each request has a `PeerConnection` of its own, a `Use`: it is never kept, and its `close` leaves the connection to the others.
The pool keeps the connection, and gives it to further requests as long as it has room (`IdleConnections.take_idle`).

Reading: no task waits for the stream. What arrives is read in the loop's event pass, handed out by `receive`, and told to the
task of each request by its `Channel`. Writing: the frames of all requests go out in the order in which they are written. What the
socket does not take is put aside and sent by a task of its own, and requests wait on their channels until that has gone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from worker.channel import Channel
from worker.loop import WRITE, park
from worker.stream import CHUNK, HEAD_CHUNK, Stream
from worker.upstream.failing import READING_HEAD, SENDING, call_failed, failure_of
from worker.upstream.passing import PeerConnection
from worker.upstream.pooled import SharedPooled
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.native import mypyc_attr

# Bytes put aside for the socket from which on a request waits before it writes more.
HIGH_WATER = 65536
# Seconds for which a peer that has been heard is taken to be there without a look at the socket: what comes is told by the loop.
RECENT = 0.01


@mypyc_attr(allow_interpreted_subclasses=True)
class SharedConnection(SharedPooled):
    """The socket's side of such a connection.

    uses: those of the requests that use it now. send_timeout: the seconds without progress after which the peer is given up.
    failure: the reason of its end, if it has failed.
    """

    __slots__ = ("_heard_at", "_most_read", "_unsent", "failure", "send_timeout", "uses")

    def __init__(self, stream: Stream, most: int, send_timeout: float) -> None:
        super().__init__(stream, most)
        self.send_timeout = send_timeout
        self.uses: dict[Use, None] = {}  # in the order in which they joined
        self.failure: UpstreamFailure | None = None
        self._unsent = bytearray()
        self._most_read = HEAD_CHUNK
        self._heard_at = -RECENT
        stream.send_without_delay()
        stream.unexpected = self._heard
        stream.loop.listen(stream)  # a peer that speaks first may have done so already, when nobody listened

    def is_quiet(self) -> bool:
        """Read what has arrived, unless the peer has just been heard; return whether the connection can take a request then.

        A look costs 1.7 us. It is to spare requests that cannot be sent twice a peer that left long ago, or that was never there;
        one that leaves at this moment may do so as well a moment later, and says which requests it has not begun.
        """
        stream = self.stream
        if stream.loop.clock.now - self._heard_at >= RECENT and not stream.is_quiet():
            self._heard(stream)
        return stream.fd >= 0 and self.room > 0

    def close(self) -> None:
        """Close the connection; requests that still use it fail."""
        if self.stream.fd >= 0:
            self.fail(failure_of("error", "upstream prematurely closed connection", READING_HEAD))

    def fail(self, failure: UpstreamFailure) -> None:
        """Give up the connection: all that use it fail for this reason."""
        self.failure = failure
        self.most = 0
        self._unsent.clear()
        self.stream.close()
        for use in list(self.uses):
            use.own_channel.may_read()
            use.own_channel.may_write()
        self.count_room()

    def check(self) -> None:
        """Raise UpstreamFailure if the connection has failed: each request gets a failure of its own."""
        failure = self.failure
        if failure is not None:
            raise failure_of(failure.kind, failure.reason, failure.doing, failure.code)

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Hand out bytes that have arrived. Raises UpstreamFailure when the connection is broken."""

    def _heard(self, stream: Stream) -> bool:
        try:
            most = self._most_read
            data = stream.recv(most)
            self._heard_at = stream.loop.clock.now
            if not data:
                raise failure_of("error", "upstream prematurely closed connection", READING_HEAD)
            # Much comes at once only where bodies do.
            self._most_read = CHUNK if len(data) == most else HEAD_CHUNK
            self.receive(data)
        except BlockingIOError:
            pass
        except OSError as error:
            self.fail(failure_of("error", call_failed("recv()", error), READING_HEAD, "up_reset"))
        except UpstreamFailure as failure:
            self.fail(failure)
        return True

    @property
    def is_full(self) -> bool:
        """Whether so much is put aside for the socket that requests should wait."""
        return len(self._unsent) > HIGH_WATER

    def send(self, data: bytes) -> None:
        """Send bytes, now or as soon as the socket takes them. Raises UpstreamFailure if the connection has failed."""
        if self.failure is not None:
            self.check()
        try:
            self._write(data)
        except OSError as error:
            self.fail(failure_of("error", call_failed("send()", error), SENDING))
            self.check()

    def try_to_send(self, data: bytes) -> bool:
        """Send bytes that no request depends on; return False if the upstream takes none any more."""
        try:
            self._write(data)
        except OSError:
            return False
        return True

    def _write(self, data: bytes) -> None:
        """Send bytes, now or as soon as the socket takes them. Raises OSError."""
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self.stream.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self.stream.loop.spawn(self._send_rest(), f"sending on {self.stream}")

    async def _send_rest(self) -> None:
        """Send what was put aside."""
        stream, unsent = self.stream, self._unsent
        try:
            while unsent:
                try:
                    sent = stream.send(bytes(unsent[:CHUNK]))
                except BlockingIOError:
                    sent = 0
                if not sent:  # no waiting in `except`: see docs/compiled.md
                    await park(stream, WRITE, self.send_timeout)
                    continue
                del unsent[:sent]
                if len(unsent) <= HIGH_WATER:
                    for use in list(self.uses):
                        use.own_channel.may_write()
        except TimedOut:
            self.fail(failure_of("timeout", "upstream timed out (110: Connection timed out)", SENDING))
        except OSError as error:
            self.fail(failure_of("error", call_failed("send()", error), SENDING))


@mypyc_attr(allow_interpreted_subclasses=True)
class Use(PeerConnection, ABC):
    """One request's use of a shared connection.

    It is never kept, so that it has no `room`: to close it is to leave the connection. own_channel: the same as
    `channel`, by its own type, which an attribute of a compiled class cannot change.
    """

    __slots__ = ("own_channel", "shared")

    def __init__(self, shared: SharedConnection) -> None:
        super().__init__(shared.stream)
        self.shared = shared
        self.channel = self.own_channel = Channel(shared.stream.loop)
        self.requests = shared.requests
        self.room = 0
        shared.uses[self] = None

    def close(self) -> None:
        """Leave the connection to the others; doing so twice is allowed."""
        if self in self.shared.uses:
            del self.shared.uses[self]
            self.shared.left()

    async def wait_to_send(self, seconds: float) -> None:
        """Wait until the connection takes more. Raises TimedOut, UpstreamFailure."""
        while self.shared.is_full:
            await park(self.channel, WRITE, seconds)
        self.shared.check()
