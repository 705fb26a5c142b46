"""The clients of a worker: the connected ones, their counts, and whether it still accepts more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from worker.loop import Task
from wproxy.failures import ClientGone, Drained
from wproxy.http import Request


class ClientConnection(Protocol):
    """One client's connection, whatever its protocol: everything that the worker has to know of it. Times are the loop's."""

    task: Task

    @property
    def idle(self) -> bool:
        """Whether it waits for a request of which nothing has arrived."""

    @property
    def idle_since(self) -> float:
        """Return the time at which it began to wait for a request, if it does."""

    @property
    def waits(self) -> bool:
        """Whether it counts as waiting: it is idle, or all has been sent and its end is awaited."""

    @property
    def is_reading(self) -> bool:
        """Whether a part of a request has arrived, and not all of its head; as in nginx also after a head that was refused."""

    @property
    def begun(self) -> int:
        """The number of its requests that have begun to arrive and are not over."""

    def may_leave(self, now: float) -> bool:
        """Whether it may be closed at once because nothing is lost by that."""

    @property
    def under_way(self) -> Sequence[Request]:
        """Return the requests that it has now."""

    def drain(self, now: float) -> None:
        """Close after the active request; at once if there is none."""

    def cut(self, reason: ClientGone) -> None:
        """End its requests now, for this reason."""


def _nothing() -> None:
    """Do nothing."""


class HTTP2Counts:
    """The counts of HTTP/2 connections, where counters are shown. resets: by code."""

    __slots__ = ("resets_received", "resets_sent", "streams")

    def __init__(self) -> None:
        self.streams = 0
        self.resets_sent: Counter[int] = Counter()
        self.resets_received: Counter[int] = Counter()


class Clients:
    """The clients of one worker.

    accepted, refused, requests: counts since the start. open: connections accepted and not yet closed, including those whose task
    has not run yet. held: work for clients that goes on without them. draining: whether connections close after their request.
    tallies: for each listener the connections accepted and refused; None where no counters are shown.
    before_close: called before a client can see its connection end, so that its requests are in the logs by then. http2: what is
    counted of HTTP/2; None where no counters are shown.
    """

    __slots__ = (
        "accepted",
        "before_close",
        "connections",
        "draining",
        "held",
        "http2",
        "on_last",
        "open",
        "refused",
        "requests",
        "tallies",
    )

    def __init__(self, on_last: Callable[[], None] = _nothing, before_close: Callable[[], object] = _nothing) -> None:
        """on_last: called when the last one has gone while the worker drains."""
        self.accepted = 0
        self.refused = 0
        self.http2: HTTP2Counts | None = None
        self.tallies: dict[str, list[int]] | None = None
        self.requests = 0
        self.open = 0
        self.held = 0
        self.draining = False
        self.connections: set[ClientConnection] = set()
        self.on_last = on_last
        self.before_close = before_close

    def ended(self, connection: ClientConnection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self.open -= 1
        if self.draining:
            self._end_if_last()

    def hold(self) -> None:
        """Have a worker that drains wait for work that goes on without its client, until `let_go`."""
        self.held += 1

    def let_go(self) -> None:
        """Note that such work is done."""
        self.held -= 1
        self._end_if_last()

    def _end_if_last(self) -> None:
        if self.draining and not self.open and not self.held:
            self.on_last()

    def drain(self, now: float) -> None:
        """Let all of them close after their active requests."""
        self.draining = True
        for connection in self.connections:
            connection.drain(now)
        self._end_if_last()

    def cut(self, reason: str) -> None:
        """End all requests that are still under way, for this reason."""
        for connection in list(self.connections):
            connection.cut(Drained(reason))

    def count(self) -> tuple[int, int, int, int]:
        """Return the number of clients, of those with a part of a request, of those being answered, and of those that wait.

        The end of a connection whose head was refused is awaited, and it is among those with a part as well: so it is in nginx.
        """
        waiting = sum(connection.waits for connection in self.connections)
        reading = sum(connection.is_reading for connection in self.connections)
        both = sum(connection.waits and connection.is_reading for connection in self.connections)
        return len(self.connections), reading, len(self.connections) - reading - waiting + both, waiting

    @property
    def begun(self) -> int:
        """The number of requests so far, from the first byte of their heads on. (It never falls.)"""
        return self.requests + sum(connection.begun for connection in self.connections)

    def count_tunnels(self) -> int:
        """Return the number of requests that have become tunnels."""
        return sum(request.status == 101 for connection in self.connections for request in connection.under_way)

    def __repr__(self) -> str:
        return f"<clients: {len(self.connections)} connected{', draining' if self.draining else ''}>"
