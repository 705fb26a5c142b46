"""The pool's view of a connection to a peer, whatever its protocol."""

from __future__ import annotations

from worker.stream import Stream


class Pooled:
    """A connection to a peer between two requests.

    requests: the number of requests sent on it. opened, released, expires: in seconds of the loop's clock. room: the number of
    requests that it can take now; with none it is closed instead of being kept.
    """

    __slots__ = ("expires", "opened", "released", "requests", "room", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.opened = stream.loop.clock.now
        self.requests = 0
        self.released = 0.0
        self.expires = 0.0
        self.room = 1

    def is_quiet(self) -> bool:
        """Whether the connection is open and nothing unrequested has arrived."""
        return self.stream.is_quiet()

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.stream}: {self.requests} requests, room for {self.room}>"
