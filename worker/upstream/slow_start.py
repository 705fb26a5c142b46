"""slow_start: a peer that returns after a rest gets its share of requests little by little.

Its weight grows from nothing to the configured value, in so many seconds. Weights are small whole numbers, so in a group with
slow_start all of them are multiplied by FINENESS: proportions stay, and there are values between 0 and 1.
"""

from __future__ import annotations

from worker.upstream.live_peer import LivePeer

FINENESS = 100


def warm_up(peers: list[LivePeer], now: float) -> None:
    """Give every peer its weight at this time, in seconds."""
    second = int(now)
    for peer in peers:
        if not peer.slow_start:
            continue
        if not peer.health.may_serve(second):
            peer.rested = True
            continue
        if peer.rested and not peer.health.fails:
            peer.begin_warming(now)
        since = peer.health.healthy_since
        if since > peer.healthy_since:
            # All workers let it grow from the moment that a check has found it healthy, whether they saw it rest or not.
            peer.healthy_since = since
            peer.begin_warming(since)
        if peer.warm_since is not None:
            grow(peer, now - peer.warm_since)


def grow(peer: LivePeer, elapsed: float) -> None:
    """Set the weight after so many seconds."""
    if elapsed >= peer.slow_start:
        peer.warm_since = None
        peer.weight = peer.full_weight
    else:
        peer.weight = max(1, int(peer.full_weight * elapsed / peer.slow_start))
    peer.effective_weight = peer.weight
