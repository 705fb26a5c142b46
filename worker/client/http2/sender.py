"""The sending half of an HTTP/2 connection: frames of all its streams, put together into few system calls.

Frames are collected and go out at the end of the turn in which they were made: the answers of several streams, and the pieces of
one, leave in one send. What the socket does not take stays here. Beyond FULL bytes no stream may make more DATA and nothing is
read from the client, so that neither a slow reader nor a flood of frames that must be answered can use memory.

Frames about the connection (SETTINGS, PING, RST_STREAM, WINDOW_UPDATE) go before the DATA that waits.
"""

from __future__ import annotations

from typing import Final, Protocol

from worker.stream import Stream

# Bytes that may wait for the socket before streams have to.
FULL: Final = 65536


_NOTHING: Final = memoryview(b"")


class Owner(Protocol):
    """The connection of a sender, as far as the sender calls it."""

    def has_room(self) -> None:
        """Let what waits go on: called after each flush, and after a failure."""


class Sender:
    """The outgoing bytes of one connection.

    unsent: bytes that wait for the socket, or for the end of this turn. progressed_at: the time at which the socket last took
    some, or at which the first of these bytes came. failure: the error of the socket, after which everything is dropped.
    """

    __slots__ = ("_begun", "_is_called", "_owner", "_pieces", "_stream", "_urgent", "failure", "progressed_at", "unsent")

    def __init__(self, stream: Stream, owner: Owner) -> None:
        self._stream = stream
        self._owner: Owner | None = owner
        self._begun = _NOTHING  # a rest that goes before everything else
        self._urgent: list[bytes] | None = None
        self._pieces: list[bytes | memoryview] = []
        self._is_called = False
        self.unsent = 0
        self.progressed_at = 0.0
        self.failure: OSError | None = None

    def part(self) -> None:
        """Call nobody any more: the connection is over."""
        self._owner = None
        if self.failure is not None:  # frames in its traceback have the connection
            self.failure.__traceback__ = self.failure.__context__ = None

    @property
    def is_blocked(self) -> bool:
        """Whether the socket has refused bytes; others only wait for the end of this turn."""
        return bool(self._begun)

    def is_full(self) -> bool:
        """Whether streams have to wait."""
        return self.unsent >= FULL

    def write(self, data: bytes | memoryview) -> None:
        """Send frames of a stream, or a part of one: its bytes are put together with others when they go."""
        self._pieces.append(data)
        if self._is_called and self.unsent:
            self.unsent += len(data)
        else:
            self._count(len(data))

    def write_first(self, data: bytes) -> None:
        """Send a frame about the connection, before the frames of streams that have not begun to go."""
        self._add_urgent(data)
        self._count(len(data))

    def _add_urgent(self, data: bytes) -> None:
        if self._urgent is None:
            self._urgent = [data]
        else:
            self._urgent.append(data)

    def _count(self, size: int) -> None:
        if not self.unsent:
            self.progressed_at = self._stream.loop.clock.now
        self.unsent += size
        if not self._is_called and not self._begun:
            # At the end of this turn. Where bytes wait for the socket already, the connection's task sends them on.
            self._is_called = True
            self._stream.loop.spawn(self._flush_later(), "flush")

    async def _flush_later(self) -> None:
        self._is_called = False
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes. Its failure is kept for the task of the connection."""
        if self.failure is not None or not self.unsent:
            return
        while self.unsent:
            if self._begun:
                data = self._begun
            else:
                pieces = [*self._urgent, *self._pieces] if self._urgent else self._pieces
                data = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                self._urgent, self._pieces = None, []
            try:
                sent = self._stream.send(data)
            except BlockingIOError:
                self._begun = data
                break
            except OSError as error:
                self.fail(error)
                break
            self.unsent -= sent
            self.progressed_at = self._stream.loop.clock.now
            self._begun = data[sent:] if sent < len(data) else _NOTHING  # an empty piece of it would keep all of it in memory
        if self._owner is not None:
            self._owner.has_room()

    def write_last(self, data: bytes) -> None:
        """Send a frame about the connection at once, as far as the socket takes it: nothing waits for the end of this turn."""
        self._add_urgent(data)
        self.unsent += len(data)
        self.flush()

    def fail(self, error: OSError) -> None:
        """Drop everything: the connection is broken."""
        self.failure = error
        self._begun = _NOTHING
        self._urgent, self._pieces = None, []
        self.unsent = 0

    def __repr__(self) -> str:
        return f"<sender: {self.unsent} bytes unsent>"
