"""Smooth weighted round robin (nginx: ngx_http_upstream_get_peer).

While every peer may serve, its turns repeat themselves after so many as all weights together. They are written down then: the
choice of a peer took 13,800 instructions of the 66,800 of a small request with three peers, and takes 1,300.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wproxy.http import Request

if TYPE_CHECKING:
    from worker.upstream.balance.tier import Tier
    from worker.upstream.live_peer import LivePeer

# The most turns that are written down, and weights in them: 0.1 MB, and 3 ms to write.
MOST_TURNS: Final = 1000
MOST_WEIGHTS: Final = 10000


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


class Turn:
    """One of the turns that repeat themselves: its peer, and the current weights of all peers after it."""

    __slots__ = ("following", "peer", "weights")

    following: Turn

    def __init__(self, peer: LivePeer, weights: list[int]) -> None:
        self.peer = peer
        self.weights = weights
        self.following = self


def write_turns(peers: list[LivePeer]) -> Turn | None:
    """Return the last of the coming turns of these peers, which is followed by the first; None if they do not repeat themselves.

    They do unless a peer has just been away: then the others first pay what they have gained meanwhile. The current weights of
    the peers stay as they are.
    """
    present = [peer.current_weight for peer in peers]
    turns: list[Turn] = []
    most = min(MOST_TURNS, MOST_WEIGHTS // len(peers))
    while len(turns) < most:
        turns.append(Turn(smooth(peers), [peer.current_weight for peer in peers]))
        if turns[-1].weights == present:
            for turn, following in zip(turns, [*turns[1:], turns[0]]):
                turn.following = following
            return turns[-1]
    for peer, weight in zip(peers, present):
        peer.current_weight = weight
    return None


def account_bound(tier: Tier, bound: LivePeer, tried: int, now: int) -> None:
    """Count the turn of a request that went to the peer of its session, so that the others get the turns it would have taken.

    Only one turn is counted: otherwise a peer whose sessions take everything would wait forever for requests without one.
    """
    if bound.current_weight > bound.weight - tier.total_weight:
        live = tier.usable(tried, now)
        if bound in live:
            smooth(live, bound)
