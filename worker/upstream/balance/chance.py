"""Balancing by chance (nginx: ngx_http_upstream_random_module.c). The better of two random peers is nearly as good as the best
of all, and workers that know nothing of each other do not all pick the same peer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import random
from typing import TYPE_CHECKING

from worker.upstream.balance.load import estimator
from worker.upstream.balance.rotation import round_robin
from worker.upstream.balance.tier import MOST_MISSES
from wproxy.http import Request

if TYPE_CHECKING:
    from worker.upstream.balance.tier import Method, Tier
    from worker.upstream.live_peer import LivePeer
    from wproxy.directives.balancing import Balancing


def random_numbers(total: int) -> Iterator[int]:
    """Yield random numbers below the total, forever."""
    while True:
        yield int(random() * total)


def random_peer(tier: Tier, request: Request, tried: int, now: int) -> LivePeer | None:
    """Return any peer, by weight."""
    if len(tier.peers) < 2 or tier.is_backup:
        return round_robin(tier, request, tried, now)
    return tier.first_usable(random_numbers(tier.total_weight), tried, now) or round_robin(tier, request, tried, now)


def random_two(balancing: Balancing) -> Method:
    """Return a method that picks the less loaded of two random peers, by weight; the second if they are equal."""
    load: Callable[[LivePeer, int], int] = estimator(balancing) if balancing.measure else connections

    def choose(tier: Tier, request: Request, tried: int, now: int) -> LivePeer | None:
        if len(tier.peers) < 2 or tier.is_backup:
            return round_robin(tier, request, tried, now)
        first: LivePeer | None = None
        numbers = random_numbers(tier.total_weight)
        for _ in range(MOST_MISSES + 1):
            peer = tier.at(next(numbers))
            if peer is first or peer.bit & tried or not tier.is_usable(peer, now):
                continue
            if first is None:
                first = peer
                continue
            if load(peer, now) * first.weight > load(first, now) * peer.weight:
                peer = first
            peer.times.chosen(now, peer.health.fail_timeout)
            return peer
        return round_robin(tier, request, tried, now)

    return choose


def connections(peer: LivePeer, now: int) -> int:
    """Return the number of active requests at a peer."""
    return peer.connections + peer.elsewhere
