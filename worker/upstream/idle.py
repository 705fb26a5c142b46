"""The idle connections to peers, at most `keepalive` for all peers of a group together.

Further ones are closed late: those that a burst of requests has opened serve it as long as it lasts, and go when they have been
idle for SURPLUS_KEPT seconds. (A thousand clients with `keepalive 64` opened a connection for each request: in one turn of the
loop all of their requests take connections before any answer gives one back.) There are none while the worker has little room.

Each peer has its own list, with the last released one at the end: it is used first, because it is the most likely to be still
open. A connection that several requests share is idle when none uses it; as long as it is in use and has room for more it is in
another list of its peer, and comes before the idle ones.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from worker.loop import READ
from worker.upstream.manner import Manner
from worker.upstream.pooled import Pooled, SharedPooled
from wproxy.config.model import Upstream
from wproxy.http import Clock

if TYPE_CHECKING:
    from worker.loop import Loop
    from worker.upstream.live_peer import LivePeer

# Connections beyond `keepalive`: the most of a group, and the seconds for which each may be idle.
MOST_SURPLUS: Final = 4096
SURPLUS_KEPT: Final = 0.4

# A connection that has been idle for less than so many seconds is not about to be closed by a peer that has had enough of it.
LATELY: Final = 0.5


class IdleConnections:
    """The idle connections of one group, which is a subclass: a call between the two would cost every request 0.1 us.

    The slots, here and there: beyond 30 attributes CPython 3.11 finds a method of an object by two searches, each time.
    """

    __slots__ = (
        "clock",
        "common_manner",
        "idle_count",
        "is_local",
        "keepalive",
        "keepalive_requests",
        "keepalive_time",
        "keepalive_timeout",
        "loop",
        "manners",
        "peers",
        "takes_with_care",
    )
    peers: list[LivePeer]
    loop: Loop

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self.clock = clock
        self.keepalive: int = upstream.keepalive
        self.is_local = upstream.keepalive.is_local  # locations do not share connections
        # The manner in which each connection was opened, by descriptor; None while there is only one manner, `common_manner`.
        self.manners: dict[int, Manner] | None = None
        self.common_manner: Manner | None = None
        # Whether taking one is more than taking the last: there are several manners, or shared connections.
        self.takes_with_care = False
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
            self.takes_with_care = True

    def take_idle(self, peer: LivePeer, must_stand: bool, manner: Manner) -> Pooled | None:
        """Return what a request may use of an open connection to this peer that was opened in this manner, or None.

        must_stand: it must not have been closed meanwhile, for requests that cannot be sent twice. The events of this turn
        have told that of those that were idle when it began and wait for events. Any other is asked, which takes 1.7 us, or the
        one that has been idle for longest is taken, if that is not long.
        """
        if self.takes_with_care:
            return self._take_with_care(peer, must_stand, manner)
        idle = peer.idle
        while idle:
            self.idle_count -= 1
            connection = idle.pop()
            if must_stand:
                now = self.clock.now
                if connection.released == now and idle and now > idle[0].released > now - LATELY:
                    idle.append(connection)
                    connection = idle.pop(0)
                if not (connection.released < now and connection.stream.armed & READ) and not connection.is_quiet():
                    connection.close()
                    continue
            return connection
        return None

    def _take_with_care(self, peer: LivePeer, must_stand: bool, manner: Manner) -> Pooled | None:
        """Return the same: a shared one that has room, or the last released one, of those that were opened in this manner."""
        for shared in peer.shared:
            if self._is_alike(shared, manner):
                return shared.join()
        idle = peer.idle
        while idle:
            place = self._last_alike(idle, manner) if self.manners is not None else len(idle) - 1
            if place < 0:
                break
            self.idle_count -= 1
            connection = idle.pop(place)
            if not must_stand or connection.is_quiet():
                return connection.join()
            connection.close()
        return None

    def _last_alike(self, idle: list[Pooled], manner: Manner) -> int:
        """Return the index of the last connection that was opened in this manner; -1 if there is none."""
        return next((place for place in range(len(idle) - 1, -1, -1) if self._is_alike(idle[place], manner)), -1)

    def _is_alike(self, connection: Pooled, manner: Manner) -> bool:
        """Whether a connection was opened in this manner."""
        return self.manners is None or self.manners.get(connection.stream.fd, self.common_manner) == manner

    def opened(self, peer: LivePeer, connection: Pooled, manner: Manner) -> None:
        """Record a connection that was opened in this manner, before its first request joins it."""
        if self.manners is not None:
            self.manners[connection.stream.fd] = manner
        changed = partial(self.shared_changed, peer, connection)  # type: ignore[arg-type]  # called by a shared one only
        connection.watch(partial(self.lost, peer, connection), changed)

    def shared_changed(self, peer: LivePeer, connection: SharedPooled) -> None:
        """Put a shared connection where it belongs, after requests have joined or left it, or its room has changed."""
        is_used = connection.users > 0
        is_worn = not connection.most or peer.is_gone or self.is_worn(connection)
        may_be_shared = is_used and connection.room > 0 and not is_worn
        if may_be_shared != connection.is_offered:
            connection.is_offered = may_be_shared
            if may_be_shared:
                peer.shared.append(connection)
            else:
                peer.shared.remove(connection)
        is_idle = not is_used and not is_worn
        if is_idle != connection.is_idle:
            connection.is_idle = is_idle
            if is_idle:
                self.keep(peer, connection, self.keepalive_timeout)
            elif connection in peer.idle:  # otherwise it is being closed for the sake of others, or of its age
                peer.idle.remove(connection)
                self.idle_count -= 1
        if is_worn and not is_used:
            connection.close()

    def is_worn(self, connection: Pooled) -> bool:
        """Whether a connection has served enough requests, or for long enough."""
        return connection.requests >= self.keepalive_requests or self.clock.now - connection.opened > self.keepalive_time

    def keep(self, peer: LivePeer, connection: Pooled, seconds: float) -> None:
        """Keep an idle connection for so many seconds, at the expense of the oldest one if there are enough."""
        if self.idle_count >= self.keepalive and not self.may_exceed():
            self._close_oldest()
        now = self.clock.now
        connection.released = now
        connection.expires = now + seconds
        self.idle_count += 1
        peer.idle.append(connection)

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
        self.close_surplus(now - SURPLUS_KEPT)

    def may_exceed(self) -> bool:
        """Whether one more than `keepalive` may be idle for a moment."""
        return self.idle_count < self.keepalive + MOST_SURPLUS and self.loop.has_plenty()

    def close_surplus(self, since: float) -> None:
        """Close those beyond `keepalive` that have been idle since that time, the oldest first."""
        while self.idle_count > self.keepalive:
            owner = self._owner_of_oldest()
            if owner.idle[0].released > since:
                return
            self.idle_count -= 1
            owner.idle.pop(0).close()

    def close_idle(self) -> None:
        """Close all idle connections and keep none from now on: the worker is exiting."""
        self.keepalive = self.keepalive_requests = 0
        for peer in self.peers:
            while peer.idle:
                peer.idle.pop().close()
        self.idle_count = 0

    def _close_oldest(self) -> None:
        self.idle_count -= 1
        self._owner_of_oldest().idle.pop(0).close()

    def _owner_of_oldest(self) -> LivePeer:
        return min((peer for peer in self.peers if peer.idle), key=lambda peer: peer.idle[0].released)

    def __repr__(self) -> str:
        return f"<{self.idle_count} idle connections>"
