"""Balancing methods: from the peers that can serve, choose one. Each is a function in BALANCE."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.upstream.peers import LivePeer


def round_robin(live: list[LivePeer]) -> LivePeer:
    """Smooth weighted round robin: everybody gains its weight, the richest is chosen and pays the total (proxy.md §5).

    A weight that failures have lowered recovers by one each time.
    """
    if len(live) == 1 and live[0].effective_weight == live[0].weight:
        return live[0]  # gains its weight and pays it
    total = 0
    best = live[0]
    richest = None
    for peer in live:
        peer.current_weight += peer.effective_weight
        total += peer.effective_weight
        if peer.effective_weight < peer.weight:
            peer.effective_weight += 1
        if richest is None or peer.current_weight > richest:
            best, richest = peer, peer.current_weight
    best.current_weight -= total
    return best


BALANCE: dict[str, Callable[[list[LivePeer]], LivePeer]] = {"round_robin": round_robin}
