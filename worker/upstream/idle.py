"""The connections to peers that wait for their next request, at most `keepalive` for all peers of a group together.

Each peer has its own in a list, the one released last at the end: it is used first, for it has the best chance to stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.stream import Stream
from wproxy.config.model import Location, Upstream
from wproxy.http import Clock

if TYPE_CHECKING:
    from worker.upstream.live_peer import LivePeer


class IdleConnections:
    """Those of one group, which is one: a call between the two would cost every request 0.1 us."""

    peers: list[LivePeer]

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self.clock = clock
        self.keepalive: int = upstream.keepalive
        # With `keepalive N local`: the location that opened each connection, by descriptor.
        self.homes: dict[int, Location] | None = {} if upstream.keepalive.is_local else None
        # Where none are kept, no connection may serve twice: one comparison for both.
        self.keepalive_requests = upstream.keepalive_requests if self.keepalive else 0
        self.keepalive_time = upstream.keepalive_time
        self.keepalive_timeout = upstream.keepalive_timeout
        self.idle_count = 0

    def take_idle(self, peer: LivePeer, must_stand: bool, location: Location) -> Stream | None:
        """The connection to this peer that was released last, or None.

        must_stand: look first whether it has been closed meanwhile: 1.7 us, for requests that cannot be sent twice.
        """
        idle = peer.idle
        if self.homes is not None:
            return self._take_own(peer, must_stand, location)
        while idle:
            self.idle_count -= 1
            stream = idle.pop()
            if not must_stand or stream.is_quiet():
                return stream
            stream.close()
        return None

    def _take_own(self, peer: LivePeer, must_stand: bool, location: Location) -> Stream | None:
        """The same among those that this location has opened."""
        assert self.homes is not None
        for stream in reversed(list(peer.idle)):
            if self.homes[stream.fd] is not location:
                continue
            self.idle_count -= 1
            peer.idle.remove(stream)
            if not must_stand or stream.is_quiet():
                return stream
            stream.close()
        return None

    def opened(self, stream: Stream, location: Location) -> None:
        """A location has opened a connection."""
        if self.homes is not None:
            self.homes[stream.fd] = location

    def lost(self, peer: LivePeer, stream: Stream) -> bool:
        """Something came on a connection that nobody reads: close it if it is idle. True when it was."""
        if stream not in peer.idle:
            return False
        # End of file, an error, or bytes that nobody asked for: whatever it is, no request may be sent on it any more.
        peer.idle.remove(stream)
        self.idle_count -= 1
        stream.close()
        return True

    def close_expired(self) -> None:
        """Close the idle connections whose time is over; called about once a second."""
        now = self.clock.now
        for peer in self.peers:
            expired = [stream for stream in peer.idle if stream.expires <= now]
            for stream in expired:
                peer.idle.remove(stream)
                self.idle_count -= 1
                stream.close()

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
