"""The clients of a worker: those that are connected, what has been counted, and whether it still takes more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from worker.loop import Task


class ClientConnection(Protocol):
    """One client's connection, whatever protocol it speaks: all that the worker has to know of it.

    idle: it waits for a request of which nothing has come. idle_since: since when, in seconds of the loop's clock.
    """

    task: Task
    idle: bool

    @property
    def idle_since(self) -> float:
        """The time at which it began to wait for a request, if it does."""

    @property
    def is_reading(self) -> bool:
        """Whether a part of a request has come, and not yet all of its head."""

    def may_leave(self, now: float) -> bool:
        """Return whether it may be closed at once because nothing is lost by that."""

    def drain(self, now: float) -> None:
        """Leave after what is under way; at once if nothing is."""


def _nothing() -> None:
    """Do nothing."""


class Clients:
    """The clients of one worker.

    accepted, requests: counts since the start. open: connections accepted and not yet closed, also those whose task has not run
    for the first time. draining: no further request is waited for. before_close: called before a client can see its connection
    end, so that what it has had is in the logs by then.
    """

    __slots__ = ("accepted", "before_close", "connections", "draining", "on_last", "open", "requests")

    def __init__(self, on_last: Callable[[], None] = _nothing, before_close: Callable[[], object] = _nothing) -> None:
        """on_last: called when the last one has gone while the worker drains."""
        self.accepted = 0
        self.requests = 0
        self.open = 0
        self.draining = False
        self.connections: set[ClientConnection] = set()
        self.on_last = on_last
        self.before_close = before_close

    def ended(self, connection: ClientConnection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self.open -= 1
        if self.draining and not self.open:
            self.on_last()

    def drain(self, now: float) -> None:
        """Let all of them leave after what is under way."""
        self.draining = True
        for connection in self.connections:
            connection.drain(now)
        if not self.open:
            self.on_last()

    def count(self) -> tuple[int, int, int]:
        """Return how many there are, of how many a part of a request has come, and how many are idle."""
        idle = sum(connection.idle for connection in self.connections)
        reading = sum(connection.is_reading for connection in self.connections)
        return len(self.connections), reading, idle

    def __repr__(self) -> str:
        return f"<clients: {len(self.connections)} connected{', draining' if self.draining else ''}>"
