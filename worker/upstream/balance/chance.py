"""By chance (nginx: ngx_http_upstream_random_module.c). Two at random, and the better of them, is nearly as good as the best of
all, and workers that know nothing of each other do not all run to the same peer."""

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
    """Numbers below the total, for ever."""
    while True:
        yield int(random() * total)


def random_peer(tier: Tier, request: Request, tried: int, now: int) -> LivePeer | None:
    """Any peer, by weight."""
    if len(tier.peers) < 2 or tier.is_backup:
        return round_robin(tier, request, tried, now)
    return tier.first_usable(random_numbers(tier.total_weight), tried, now) or round_robin(tier, request, tried, now)


def random_two(balancing: Balancing) -> Method:
    """Of two peers at random, the one with less load for its weight; the second when they are level."""
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
    """The requests under way there."""
    return peer.connections + peer.elsewhere
