"""The peers to choose from at one time: the primaries of a group, or its backups (nginx: ngx_http_upstream_rr_peers_t)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from wproxy.http import Request

if TYPE_CHECKING:
    from worker.upstream.live_peer import LivePeer

# The number of unusable peers that a method by key or by chance may hit before round robin takes over.
MOST_MISSES: Final = 20


class Tier:
    """Peers in the order of the configuration, including those that are down or draining: they keep their places in a map."""

    __slots__ = ("able", "is_backup", "peers", "points", "total_weight", "upper_bounds")

    def __init__(self, peers: Iterable[LivePeer], is_backup: bool = False) -> None:
        self.peers = list(peers)
        self.is_backup = is_backup
        self.arrange()

    def arrange(self) -> None:
        """Compute everything that depends on weights and on down peers; to be called when either has changed."""
        self.able = [peer for peer in self.peers if not (peer.down or peer.draining)]
        self.upper_bounds = list(accumulate(peer.weight for peer in self.peers))
        self.total_weight = self.upper_bounds[-1] if self.peers else 0
        # The ring of consistent hashing, made on first use: points, and the peers that share each.
        self.points: tuple[list[int], list[list[LivePeer]]] | None = None

    def usable(self, tried: int, now: int) -> list[LivePeer]:
        """Return the peers that this request may still try."""
        return [
            peer
            for peer in self.able
            if not peer.bit & tried and peer.health.may_serve(now) and not (peer.max_conns and peer.connections >= peer.max_conns)
        ]

    def is_usable(self, peer: LivePeer, now: int) -> bool:
        """Whether a request that has not tried the peer may be sent there."""
        return not (peer.down or peer.draining) and peer.may_serve(now)

    def at(self, number: int) -> LivePeer:
        """Return the peer whose share of all weights, laid end to end, contains this number."""
        return self.peers[bisect_right(self.upper_bounds, number % self.total_weight)]

    def first_usable(self, numbers: Iterable[int], tried: int, now: int) -> LivePeer | None:
        """Return the first usable peer for these numbers; None after too many misses.

        nginx continues with the numbers of a request where its last try left off. Here they start over for each try, and the
        number of an earlier try is not a miss: the same peers are met in the same order.
        """
        misses = 0
        chosen_before = tried
        for number in numbers:
            peer = self.at(number)
            if not peer.bit & tried:
                if self.is_usable(peer, now):
                    return peer
            elif peer.bit & chosen_before:
                chosen_before &= ~peer.bit
                continue
            misses += 1
            if misses > MOST_MISSES:
                break
        return None

    def __repr__(self) -> str:
        return f"<{'backups' if self.is_backup else 'primaries'} {self.peers}>"


Method = Callable[[Tier, Request, int, int], "LivePeer | None"]
