"""Balancing by load: fewest connections, or shortest time (ngx_http_upstream_least_conn_module.c, ..._least_time_module.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.upstream.balance.rotation import smooth
from wproxy.http import Request

if TYPE_CHECKING:
    from worker.upstream.balance.tier import Method, Tier
    from worker.upstream.live_peer import LivePeer
    from wproxy.directives.balancing import Balancing

# Returns a peer's load, to be divided by its weight.
Load = Callable[["LivePeer"], int]


def lightest(live: list[LivePeer], loads: list[int]) -> LivePeer:
    """Return the peer with the least load for its weight; equal ones take turns."""
    best, least = live[0], loads[0]
    level: list[LivePeer] = []
    for peer, load in zip(live, loads):
        mine, other = load * best.weight, least * peer.weight
        if mine < other:
            best, least, level = peer, load, [peer]
        elif mine == other:
            level.append(peer)
    return smooth(level) if len(level) > 1 else best


def least_conn(tier: Tier, request: Request, tried: int, now: int) -> LivePeer | None:
    """Return the peer with the fewest connections for its weight."""
    live = tier.usable(tried, now)
    return lightest(live, [peer.connections + peer.elsewhere for peer in live]) if live else None


def least_time(balancing: Balancing) -> Method:
    """Return a method that picks the shortest estimated time for the weight: to the first byte, or to the last."""
    estimate = estimator(balancing)
    inflight = balancing.inflight

    def choose(tier: Tier, request: Request, tried: int, now: int) -> LivePeer | None:
        live = tier.usable(tried, now)
        if not live:
            return None
        milliseconds = int(request.client.clock.now * 1000)
        if inflight:
            for peer in live:
                peer.times.look_at_inflight(milliseconds)
        peer = lightest(live, [estimate(peer, now) for peer in live])
        peer.times.chosen(now, peer.health.fail_timeout)
        if inflight:
            peer.times.begin(milliseconds)
        return peer

    return choose


def estimator(balancing: Balancing) -> Callable[[LivePeer, int], int]:
    """Return a function that estimates how long a peer will take for one more request, in milliseconds."""
    by_header = balancing.measure == "header"

    def estimate(peer: LivePeer, now: int) -> int:
        times = peer.times
        usual = times.header if by_header else times.last_byte
        return bucket(times.faded(usual, now, peer.health.fail_timeout)) * (1 + peer.connections + peer.elsewhere)

    return estimate


def bucket(milliseconds: int) -> int:
    """Round a time up to a multiple of 20, so that similar times are equal; beyond 5 s all are equally bad."""
    return 5000 if milliseconds > 5000 else milliseconds + 20 - milliseconds % 20
