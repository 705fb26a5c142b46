"""A peer as one worker sees it: its weight in motion, its health, what is under way there, and its idle connections."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import replace

from worker.resolver.records import Place
from worker.upstream.pooled import Pooled
from worker.upstream.times import Times
from wproxy.config.model import Peer
from wproxy.directives.upstream import UpstreamServer
from wproxy.health import Health
from wproxy.peer_counters import PeerCounters
from wproxy.under_way import UnderWay


class LivePeer:
    """A peer at work. `bit` marks it in the set of peers that a request has tried.

    down: gets nothing. draining: gets only what is bound to it. Both, and the weight, may be changed while it works; the group
    is to be told then (`Group.arrange`). sid: what binds sessions to it. elsewhere: requests under way there in other workers,
    and under_way what tells, where they count (worker.upstream.common_counts).
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
        "line",
        "max_conns",
        "name",
        "peer",
        "place",
        "rested",
        "server",
        "sid",
        "slow_start",
        "sockaddr",
        "step",
        "times",
        "under_way",
        "warm_since",
        "weight",
    )

    def __init__(self, peer: Peer, number: int, place: Place, health: Health, line: UpstreamServer | None = None) -> None:
        """number: its place in the group. place: of its record. line: what is said of it."""
        self.peer = peer
        self.place = place
        self.line = line
        self.is_gone = False  # its address is no longer that of its name: what is under way ends, and nothing more comes
        self.name = peer.name
        self.server = peer.server
        self.bit = 1 << number
        self.weight = self.effective_weight = self.full_weight = peer.weight
        self.current_weight = 0
        self.step = 1  # what a lowered weight recovers by
        self.connections = 0
        self.elsewhere = 0
        self.under_way: UnderWay | None = None
        self.max_conns = peer.max_conns
        self.down = peer.down
        self.draining = line is not None and line.drain
        self.slow_start = line.slow_start if line is not None else 0.0
        self.counters = PeerCounters(place.shared, place.record)
        self.rested = False  # it has been seen resting, and not yet recovered
        self.warm_since: float | None = None  # since when its weight has been growing
        self.sid = sid_of(line, peer.name)
        self.times = Times()
        self.health = health
        self.healthy_since = 0.0  # what is known of its health's
        self.idle: list[Pooled] = []  # the one released last is at the end, and is used first
        address = peer.address
        self.sockaddr: str | tuple[str, int]
        if address.is_unix:
            self.family, self.sockaddr = socket.AF_UNIX, address.host
        else:
            self.family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
            self.sockaddr = (address.host, address.port)

    def obey(self, line: UpstreamServer, now: float) -> None:
        """Be what a line says now, but for the weight, which the address may have a word in. The group is formed anew then."""
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
        """Be back after a rest: with slow_start its weight grows from now on (worker.upstream.slow_start)."""
        self.rested = False
        if self.slow_start:
            self.warm_since = now
            self.current_weight = 0

    def may_serve(self, now: int) -> bool:
        """Whether a request may be sent there: it does not rest, and has room."""
        return self.health.may_serve(now) and not (self.max_conns and self.connections >= self.max_conns)

    def __repr__(self) -> str:
        return f"<peer {self.name} active={self.connections} idle={len(self.idle)} {self.health}>"


def sid_of(line: UpstreamServer | None, name: str) -> bytes:
    """What binds sessions to a peer of that line and that name."""
    route = line.route.encode("utf-8", "surrogateescape") if line is not None else b""
    return route or hashlib.md5(name.encode(), usedforsecurity=False).hexdigest().encode()
