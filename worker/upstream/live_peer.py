"""A peer in one worker: its changing weight, its health, its active requests, and its idle connections."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from dataclasses import replace

from worker.resolver.records import Place
from worker.upstream.pooled import Opening, Pooled, SharedPooled
from worker.upstream.times import Times
from wproxy.config.model import Peer
from wproxy.directives.upstream import UpstreamServer
from wproxy.health import Health
from wproxy.native import mypyc_attr
from wproxy.peer_counters import PeerCounters
from wproxy.shared import SharedWords
from wproxy.under_way import UnderWay


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class LivePeer:
    """A peer at work. `bit` marks it in the set of peers that a request has tried.

    down: it gets no requests. draining: it gets only requests that are bound to it. Both, and the weight, may be changed while it
    works; then `Group.arrange` must be called. sid: the id that binds sessions to it. is_near: whether its address is one of
    loopback. elsewhere: its active requests in other workers, and under_way their source, if they count
    (worker.upstream.common_counts).
    """

    __slots__ = (
        "bit",
        "connections",
        "counters",
        "current_weight",
        "down",
        "draining",
        "effective_weight",
        "elsewhere",
        "family",
        "full_weight",
        "health",
        "healthy_since",
        "idle",
        "is_gone",
        "is_near",
        "line",
        "max_conns",
        "name",
        "openings",
        "peer",
        "place",
        "rested",
        "server",
        "shared",
        "sid",
        "slow_start",
        "sockaddr",
        "step",
        "times",
        "under_way",
        "warm_since",
        "weight",
    )

    def __init__(
        self,
        peer: Peer,
        number: int,
        place: Place,
        health: Health,
        line: UpstreamServer | None = None,
        count: Callable[[SharedWords, int], PeerCounters] = PeerCounters,
    ) -> None:
        """number: its place in the group. place: that of its shared record. line: the `server` line it comes from.

        count: makes its counters.
        """
        self.peer = peer
        self.place = place
        self.line = line
        self.is_gone = False  # its name no longer has this address: active requests end, and no new ones come
        self.name = peer.name
        self.server = peer.server
        self.bit = 1 << number
        self.weight = self.effective_weight = self.full_weight = peer.weight
        self.current_weight = 0
        self.step = 1  # the step by which a lowered weight recovers
        self.connections = 0
        self.elsewhere = 0
        self.under_way: UnderWay | None = None
        self.max_conns = peer.max_conns
        self.down = peer.down
        self.draining = line is not None and line.drain
        self.slow_start = line.slow_start if line is not None else 0.0
        self.counters = count(place.shared, place.record)
        self.rested = False  # it has been seen resting, and has not recovered yet
        self.warm_since: float | None = None  # the time since which its weight has been growing
        self.sid = sid_of(line, peer.name)
        self.times = Times()
        self.health = health
        self.healthy_since = 0.0  # the known start of its good health
        self.idle: list[Pooled] = []  # the last released one is at the end, and is used first
        self.shared: list[SharedPooled] = []  # those in use that have room for further requests
        self.openings: list[Opening] = []  # those on their way that requests will share
        address = peer.address
        self.is_near = not address.is_unix and (address.host.startswith("127.") or address.host == "::1")
        self.sockaddr: bytes | tuple[str, int]
        if address.is_unix:
            self.family, self.sockaddr = int(socket.AF_UNIX), os.fsencode(address.host)
        else:
            self.family = int(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET)
            self.sockaddr = (address.host, address.port)

    def obey(self, line: UpstreamServer, now: float) -> None:
        """Apply the present form of a line, except the weight, which may depend on the address. The group is then formed anew."""
        was_away = self.down or self.draining
        self.peer = replace(self.peer, max_conns=line.max_conns)
        self.max_conns = line.max_conns
        self.health.max_fails, self.health.fail_timeout = line.max_fails, line.fail_timeout
        self.slow_start = line.slow_start
        self.down, self.draining = line.down, line.drain
        self.sid = sid_of(line, self.name)
        if not self.slow_start:
            self.warm_since = None
            self.weight = self.effective_weight = self.full_weight
        elif was_away and not (self.down or self.draining):
            self.begin_warming(now)

    def begin_warming(self, now: float) -> None:
        """Return to service after a rest: with slow_start its weight grows from now on (worker.upstream.slow_start)."""
        self.rested = False
        if self.slow_start:
            self.warm_since = now
            self.current_weight = 0

    def may_serve(self, now: int) -> bool:
        """Whether a request may be sent to the peer: it is not resting, and has room."""
        return self.health.may_serve(now) and not (self.max_conns and self.connections >= self.max_conns)

    def __repr__(self) -> str:
        return f"<peer {self.name} active={self.connections} idle={len(self.idle)} {self.health}>"


def sid_of(line: UpstreamServer | None, name: str) -> bytes:
    """Return the id that binds sessions to a peer of that line and that name."""
    route = line.route.encode("utf-8", "surrogateescape") if line is not None else b""
    return route or hashlib.md5(name.encode(), usedforsecurity=False).hexdigest().encode()
