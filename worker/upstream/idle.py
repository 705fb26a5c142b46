"""The connections to peers that wait for their next request, at most `keepalive` for all peers of a group together.

Each peer has its own in a list, the one released last at the end: it is used first, for it has the best chance to stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.upstream.manner import Manner
from worker.upstream.pooled import Pooled
from wproxy.config.model import Upstream
from wproxy.http import Clock

if TYPE_CHECKING:
    from worker.upstream.live_peer import LivePeer


class IdleConnections:
    """Those of one group, which is one: a call between the two would cost every request 0.1 us."""

    peers: list[LivePeer]

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self.clock = clock
        self.keepalive: int = upstream.keepalive
        self.is_local = upstream.keepalive.is_local  # locations do not share connections
        # How each connection was opened, by descriptor; None while there is only one manner, which is then `common_manner`.
        self.manners: dict[int, Manner] | None = None
        self.common_manner: Manner | None = None
        # Where none are kept, no connection may serve twice: one comparison for both.
        self.keepalive_requests = upstream.keepalive_requests if self.keepalive else 0
        self.keepalive_time = upstream.keepalive_time
        self.keepalive_timeout = upstream.keepalive_timeout
        self.idle_count = 0

    def allow_manner(self, manner: Manner | None) -> None:
        """Connections are opened in this manner from now on, among others; None: each request may have another."""
        if self.manners is not None:
            return
        if manner is not None and self.common_manner in (None, manner):
            self.common_manner = manner
        else:
            self.manners = {}  # what is open already was opened in the common manner

    def take_idle(self, peer: LivePeer, must_stand: bool, manner: Manner) -> Pooled | None:
        """Return the connection to this peer that was released last, or None: one that was opened in this manner.

        must_stand: look first whether it has been closed meanwhile: 1.7 us, for requests that cannot be sent twice.
        """
        idle = peer.idle
        if self.manners is not None:
            return self._take_alike(peer, must_stand, manner)
        while idle:
            self.idle_count -= 1
            connection = idle.pop()
            if not must_stand or connection.is_quiet():
                return connection
            connection.close()
        return None

    def _take_alike(self, peer: LivePeer, must_stand: bool, manner: Manner) -> Pooled | None:
        """Return the same among those that were opened in this manner."""
        assert self.manners is not None
        for connection in reversed(list(peer.idle)):
            if self.manners.get(connection.stream.fd, self.common_manner) != manner:
                continue
            self.idle_count -= 1
            peer.idle.remove(connection)
            if not must_stand or connection.is_quiet():
                return connection
            connection.close()
        return None

    def opened(self, peer: LivePeer, connection: Pooled, manner: Manner) -> None:
        """Take note of a connection that has been opened in this manner."""
        if self.manners is not None:
            self.manners[connection.stream.fd] = manner
        connection.stream.unexpected = lambda stream: self.lost(peer, connection)

    def lost(self, peer: LivePeer, connection: Pooled) -> bool:
        """Close an idle connection on which something came that nobody reads; return whether it was idle."""
        if connection not in peer.idle:
            return False
        # End of file, an error, or bytes that nobody asked for: whatever it is, no request may be sent on it any more.
        peer.idle.remove(connection)
        self.idle_count -= 1
        connection.close()
        return True

    def close_expired(self) -> None:
        """Close the idle connections whose time is over; called about once a second."""
        now = self.clock.now
        for peer in self.peers:
            expired = [connection for connection in peer.idle if connection.expires <= now]
            for connection in expired:
                peer.idle.remove(connection)
                self.idle_count -= 1
                connection.close()

    def close_idle(self) -> None:
        """Close all idle connections and keep none from now on: the worker is leaving."""
        self.keepalive = self.keepalive_requests = 0
        for peer in self.peers:
            while peer.idle:
                peer.idle.pop().close()
        self.idle_count = 0

    def _close_oldest(self) -> None:
        owner = min((peer for peer in self.peers if peer.idle), key=lambda peer: peer.idle[0].released)
        self.idle_count -= 1
        owner.idle.pop(0).close()

    def __repr__(self) -> str:
        return f"<{self.idle_count} idle connections>"
