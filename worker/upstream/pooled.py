"""The pool's view of a connection to a peer, whatever its protocol: one request after another, or several at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from worker.loop import Event, Loop
from worker.stream import Stream
from wproxy.native import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
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

    def watch(self, arrived: Callable[[], bool], changed: Callable[[], None]) -> None:
        """Have these called by the connection: it is in the pool's care from now on.

        arrived: when something arrives that no request waits for; returns whether the connection was idle. changed: when a
        request has joined or left a connection that several share, or its room has changed.
        """
        self.stream.unexpected = lambda stream: arrived()

    def join(self) -> Pooled:
        """Return what the next request uses: this connection, unless several may share it."""
        return self

    def is_quiet(self) -> bool:
        """Whether the connection is open and nothing unrequested has arrived."""
        return self.stream.is_quiet()

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.stream}: {self.requests} requests, room for {self.room}>"


@mypyc_attr(allow_interpreted_subclasses=True)
class SharedPooled(Pooled, ABC):
    """A connection that several requests may use at once; each of them joins it, and leaves it at its end.

    most: how many may use it at once; 0 when it cannot be used again. users: how many do. is_idle, is_offered: whether it is
    among the idle ones of its peer, or among those that further requests may join.
    """

    __slots__ = ("_changed", "is_idle", "is_offered", "most", "users")

    def __init__(self, stream: Stream, most: int) -> None:
        super().__init__(stream)
        self.most = self.room = most
        self.users = 0
        self.is_idle = self.is_offered = False
        self._changed: Callable[[], None] | None = None

    def watch(self, arrived: Callable[[], bool], changed: Callable[[], None]) -> None:
        """Have `changed` called. What arrives is read whether the connection is idle or not."""
        self._changed = changed

    def join(self) -> Pooled:
        """Return what one more request uses of the connection."""
        self.requests += 1
        self.users += 1
        self.is_idle = False
        use = self.begin()
        if self.is_offered or self.most > self.users:
            self.count_room()
        else:
            self.room = 0  # it is in no list, and belongs in none
        return use

    def left(self) -> None:
        """Note that a request has left; without a pool the last one closes the connection."""
        self.users = users = self.users - 1
        room = self.most - users
        self.room = room if room > 0 else 0
        changed = self._changed
        if changed is not None:
            changed()
        elif not users:
            self.close()

    def count_room(self) -> None:
        """Work out the room anew, and tell the pool of the change."""
        self.room = max(0, self.most - self.users)
        if self._changed is not None:
            self._changed()

    @abstractmethod
    def begin(self) -> Pooled:
        """Return a new request's use of the connection."""


class Opening:
    """A connection on its way, for which requests wait that will share it (worker.upstream.opening).

    manner: how it is opened. waiting: the requests that wait; most: how many may. over: set when there is an outcome, which is
    the connection or a failure.
    """

    __slots__ = ("connection", "failure", "manner", "most", "over", "waiting")

    def __init__(self, loop: Loop, manner: object, most: int) -> None:
        self.manner = manner
        self.most = most
        self.waiting = 0
        self.over = Event(loop)
        self.connection: SharedPooled | None = None
        self.failure: Exception | None = None

    def __repr__(self) -> str:
        return f"<opening for {self.waiting} requests>"
