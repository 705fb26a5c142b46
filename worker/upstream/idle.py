"""The idle connections to peers, at most `keepalive` for all peers of a group together.

Each peer has its own list, with the last released one at the end: it is used first, because it is the most likely to be still
open.
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
    """The idle connections of one group, which is a subclass: a call between the two would cost every request 0.1 us."""

    peers: list[LivePeer]

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self.clock = clock
        self.keepalive: int = upstream.keepalive
        self.is_local = upstream.keepalive.is_local  # locations do not share connections
        # The manner in which each connection was opened, by descriptor; None while there is only one manner, `common_manner`.
        self.manners: dict[int, Manner] | None = None
        self.common_manner: Manner | None = None
        # If none are kept, no connection may serve twice: one comparison covers both.
        self.keepalive_requests = upstream.keepalive_requests if self.keepalive else 0
        self.keepalive_time = upstream.keepalive_time
        self.keepalive_timeout = upstream.keepalive_timeout
        self.idle_count = 0

    def allow_manner(self, manner: Manner | None) -> None:
        """Note that connections may be opened in this manner from now on; None: each request may have another one."""
        if self.manners is not None:
            return
        if manner is not None and self.common_manner in (None, manner):
            self.common_manner = manner
        else:
            self.manners = {}  # the open ones were opened in the common manner

    def take_idle(self, peer: LivePeer, must_stand: bool, manner: Manner) -> Pooled | None:
        """Return the last released connection to this peer that was opened in this manner, or None.

        must_stand: first check whether it has been closed meanwhile: 1.7 us, for requests that cannot be sent twice.
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
        """Record a connection that was opened in this manner."""
        if self.manners is not None:
            self.manners[connection.stream.fd] = manner
        connection.stream.unexpected = lambda stream: self.lost(peer, connection)

    def lost(self, peer: LivePeer, connection: Pooled) -> bool:
        """Close an idle connection on which something arrived; return whether it was idle."""
        if connection not in peer.idle:
            return False
        if connection.is_quiet():
            return True  # something of the stream's own, as when TLS renews its keys
        # End of file, an error, or unrequested bytes: in any case no request may be sent on it any more.
        peer.idle.remove(connection)
        self.idle_count -= 1
        connection.close()
        return True

    def close_expired(self) -> None:
        """Close the expired idle connections; called about once a second."""
        now = self.clock.now
        for peer in self.peers:
            expired = [connection for connection in peer.idle if connection.expires <= now]
            for connection in expired:
                peer.idle.remove(connection)
                self.idle_count -= 1
                connection.close()

    def close_idle(self) -> None:
        """Close all idle connections and keep none from now on: the worker is exiting."""
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
