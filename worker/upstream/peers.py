"""The peers of one upstream as a worker sees them: their weights in motion, their health and their idle connections."""

from __future__ import annotations

import socket
from collections.abc import Callable

from worker.stream import Stream
from worker.upstream.balance import BALANCE
from wproxy.config.model import Peer, Upstream
from wproxy.health import Health
from wproxy.http import Clock
from wproxy.shared import SharedWords


class LivePeer:
    """A peer at work. `bit` marks it in the set of peers that a request has tried."""

    __slots__ = (
        "bit",
        "connections",
        "current_weight",
        "effective_weight",
        "family",
        "health",
        "idle",
        "max_conns",
        "name",
        "peer",
        "sockaddr",
        "weight",
    )

    def __init__(self, peer: Peer, number: int, health: Health) -> None:
        self.peer = peer
        self.name = peer.name
        self.bit = 1 << number
        self.weight = self.effective_weight = peer.weight
        self.current_weight = 0
        self.connections = 0
        self.max_conns = peer.max_conns
        self.health = health
        self.idle: list[Stream] = []  # the one released last is at the end, and is used first
        address = peer.address
        self.sockaddr: str | tuple[str, int]
        if address.is_unix:
            self.family, self.sockaddr = socket.AF_UNIX, address.host
        else:
            self.family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
            self.sockaddr = (address.host, address.port)

    def may_serve(self, now: int) -> bool:
        """Whether a request may be sent there: it does not rest, and has room."""
        return self.health.may_serve(now) and not (self.max_conns and self.connections >= self.max_conns)

    def __repr__(self) -> str:
        return f"<peer {self.name} active={self.connections} idle={len(self.idle)} {self.health}>"


class Group:
    """An upstream at work in one worker: picks peers and keeps idle connections, at most `keepalive` for all peers together."""

    def __init__(self, upstream: Upstream, shared: SharedWords, clock: Clock, log: Callable[[str, str], None]) -> None:
        self.name = upstream.name
        self.clock = clock
        self.log = log
        self.keepalive = upstream.keepalive
        self.keepalive_requests = upstream.keepalive_requests
        self.keepalive_time = upstream.keepalive_time
        self.keepalive_timeout = upstream.keepalive_timeout
        self.idle_count = 0
        peers = [
            LivePeer(
                peer,
                number,
                Health(shared.words, shared.peer_offset(peer.record), peer.max_fails, peer.fail_timeout),
            )
            for number, peer in enumerate(upstream.peers)
        ]
        able = [peer for peer in peers if not peer.peer.down]
        self.peers = peers
        self.primaries = [peer for peer in able if not peer.peer.backup]
        self.backups = [peer for peer in able if peer.peer.backup]
        self.tries = len(able)
        # One address and no backup: failures do not count against it, for there is nowhere else to go (proxy.md §4.2).
        self.is_single = len(peers) == 1
        self.sole = able[0] if self.is_single and able and not able[0].max_conns else None
        self.balance = BALANCE["round_robin"]

    # Choosing.

    def pick(self, tried: int) -> LivePeer | None:
        """A peer that is not among `tried` (bits), backups when no primary can serve; None when there is none left.

        The peer counts one more connection until it is released.
        """
        if self.sole is not None:
            if tried:
                return None
            peer: LivePeer | None = self.sole
        else:
            now = int(self.clock.now)
            peer = self._pick_from(self.primaries, tried, now)
            if peer is None and self.backups:
                peer = self._pick_from(self.backups, tried, now)
            if peer is not None:
                peer.health.choose(now)
        if peer is not None:
            peer.connections += 1
        return peer

    def _pick_from(self, peers: list[LivePeer], tried: int, now: int) -> LivePeer | None:
        if self.is_single:
            live = [peer for peer in peers if not tried and not (peer.max_conns and peer.connections >= peer.max_conns)]
        else:
            live = [peer for peer in peers if not peer.bit & tried and peer.may_serve(now)]
        return self.balance(live) if live else None

    # Releasing.

    def count_failure(self, peer: LivePeer) -> None:
        """An attempt failed in a way that speaks against the peer."""
        peer.connections -= 1
        if self.is_single:
            return
        rests = peer.health.count_failure(int(self.clock.now))
        if peer.health.max_fails:
            peer.effective_weight = max(0, peer.effective_weight - peer.weight // peer.health.max_fails)
        if rests:
            self.log("warn", f'upstream server temporarily disabled: {peer.name} in upstream "{self.name}"')

    def count_success(self, peer: LivePeer) -> None:
        """An attempt ended in a way that does not speak against the peer."""
        peer.connections -= 1
        if not self.is_single and peer.health.fails:
            peer.health.count_success()

    # Idle connections.

    def take_idle(self, peer: LivePeer, must_stand: bool) -> Stream | None:
        """The connection to this peer that was released last, or None.

        must_stand: look first whether it has been closed meanwhile: 1.7 us, for requests that cannot be sent twice.
        """
        idle = peer.idle
        while idle:
            self.idle_count -= 1
            stream = idle.pop()
            if not must_stand or stream.is_quiet():
                return stream
            stream.close()
        return None

    def take_back(self, peer: LivePeer, stream: Stream, announced: float | None) -> None:
        """An attempt succeeded: keep its connection, or close it when it has served enough or there is no room for it.

        announced: seconds after which the upstream said it would close; it is given up a second before that.
        """
        # `count_success` for the common group of one peer, without the call.
        if self.is_single:
            peer.connections -= 1
        else:
            self.count_success(peer)
        now = self.clock.now
        if stream.requests >= self.keepalive_requests or now - stream.opened > self.keepalive_time or not self.keepalive:
            stream.close()
            return
        timeout = self.keepalive_timeout
        if announced is not None and announced - 1.0 < timeout:
            timeout = announced - 1.0
            if timeout <= 0:
                stream.close()
                return
        if self.idle_count >= self.keepalive:
            self._close_oldest()
        stream.released = now
        stream.expires = now + timeout
        self.idle_count += 1
        peer.idle.append(stream)

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
        self.keepalive = 0
        for peer in self.peers:
            while peer.idle:
                peer.idle.pop().close()
        self.idle_count = 0

    def _close_oldest(self) -> None:
        owner = min((peer for peer in self.peers if peer.idle), key=lambda peer: peer.idle[0].released)
        self.idle_count -= 1
        owner.idle.pop(0).close()

    def __repr__(self) -> str:
        return f"<group {self.name} idle={self.idle_count} {self.peers}>"
