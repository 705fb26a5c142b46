"""Smooth weighted round robin (nginx: ngx_http_upstream_get_peer)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wproxy.http import Request

if TYPE_CHECKING:
    from worker.upstream.balance.tier import Tier
    from worker.upstream.live_peer import LivePeer


def smooth(live: list[LivePeer], bound: LivePeer | None = None) -> LivePeer:
    """Let every peer gain its weight; choose the one with the most (the first of several), which pays the total.

    A weight that failures have lowered recovers by a step each time. bound: the peer to choose in any case.
    """
    best = live[0]
    if len(live) == 1 and best.effective_weight == best.weight:
        return best  # gains its weight and pays it
    total = 0
    richest = None
    for peer in live:
        effective = peer.effective_weight
        current = peer.current_weight = peer.current_weight + effective
        total += effective
        if effective < peer.weight:
            peer.effective_weight = min(effective + peer.step, peer.weight)
        if richest is None or current > richest:
            best, richest = peer, current
    if bound is not None:
        best = bound
    best.current_weight -= total
    return best


def round_robin(tier: Tier, request: Request | None, tried: int, now: int) -> LivePeer | None:
    """Return the next peer in turn."""
    # `usable`, inlined to save the call.
    live = [
        peer
        for peer in tier.able
        if not peer.bit & tried and peer.health.may_serve(now) and not (peer.max_conns and peer.connections >= peer.max_conns)
    ]
    return smooth(live) if live else None


def account_bound(tier: Tier, bound: LivePeer, tried: int, now: int) -> None:
    """Count the turn of a request that went to the peer of its session, so that the others get the turns it would have taken.

    Only one turn is counted: otherwise a peer whose sessions take everything would wait forever for requests without one.
    """
    if bound.current_weight > bound.weight - tier.total_weight:
        live = tier.usable(tried, now)
        if bound in live:
            smooth(live, bound)
