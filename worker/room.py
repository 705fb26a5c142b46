"""Room for connections: the limit of a worker, and the clients that are closed when it gets tight (nginx: ngx_get_connection and
ngx_drain_connections in src/core/ngx_connection.c).

`worker_connections` counts everything that the loop watches: clients, connections to upstreams even when idle, questions to name
servers, listening sockets and our own two channels. When a sixteenth or less is left, connections to upstreams that are kept
for a moment beyond `keepalive` are closed; if it still is no more, an eighth of the idle clients, at most 32, is closed,
starting with the longest idle; a client that has not sent anything yet is idle, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import nsmallest

from worker.client.clients import ClientConnection
from worker.loop import Loop


def _nothing() -> None:
    """Do nothing."""


class Room:
    """The room of one worker.

    connections: the clients; the set may change. complain: gets a level and a text.
    """

    def __init__(
        self, loop: Loop, limit: int, connections: Iterable[ClientConnection], complain: Callable[[str, str], None]
    ) -> None:
        self._limit = limit
        self.let_go: Callable[[], None] = _nothing  # closes what is only perhaps of use
        self.uncounted = 0  # streams that control us: the bell of edits, the socket of the API
        self._loop = loop
        loop.roomy = limit - limit // 16 - 1
        self._connections = connections
        self._complain = complain
        self._warned = -1
        self._refusal = f"{limit} worker_connections are not enough"

    @property
    def limit(self) -> int:
        """Return how many streams there may be."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        """Allow so many from now on."""
        self._limit = limit
        self._loop.roomy = limit - limit // 16 - 1

    def lacks(self) -> str:
        """Return why there is no room for one more, "" when there is; idle clients have been closed if it was tight."""
        count = self._loop.stream_count
        limit = self.limit + self.uncounted
        tight = limit - self.limit // 16  # a sixteenth or less is left
        if count() >= tight:
            self.let_go()
            if count() >= tight:
                self.close_idle()
            if count() >= limit:
                return self._refusal
        return ""

    def has_plenty(self) -> bool:
        """Whether at least half of it is left."""
        return self._loop.stream_count() <= self.limit // 2

    def close_idle(self, cause: str = "") -> None:
        """Close an eighth of the clients that only wait for their next request, the longest waiting first.

        cause: the obstacle for others, if it is not the limit.
        """
        now = self._loop.clock.now
        idle = [connection for connection in self._connections if connection.may_leave(now)]
        if not idle:
            return
        if self._warned != int(now):
            self._warned = int(now)
            self._complain("warn", f"{cause or self._refusal}, reusing connections")
        for connection in nsmallest(max(1, min(32, len(idle) // 8)), idle, key=lambda connection: connection.idle_since):
            self._loop.cancel(connection.task)
