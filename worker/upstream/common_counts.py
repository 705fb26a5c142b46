"""`zone`: max_conns, least_conn, least_time and random two with the active requests of all workers, not just of this one.

Without `zone` every worker counts by itself, as in nginx: max_conns=N lets N times the number of workers through. With it a limit
holds for the whole server. This costs such a group a look at the rows of all workers for each choice (0.5 us per peer), so only
groups that need the counts do it.

A request that finds no room is not told when another worker's request ends: `queue` checks at intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.upstream.live_peer import LivePeer
    from wproxy.config.model import Upstream

# The methods that use the number of active requests.
_COUNTING = ("least_conn", "least_time", "random two")
# The `max_conns` of a peer that other workers have filled: it is true, and any number of requests is too many.
FULL = -1


def counts_in_common(upstream: Upstream) -> bool:
    """Whether the workers of this upstream have to share their numbers of active requests."""
    if upstream.zone is None:
        return False
    return upstream.balancing.method in _COUNTING or any(line.max_conns for line in upstream.server)


def look_around(peers: Iterable[LivePeer]) -> None:
    """Update the counts of other workers, and the room that is left for us."""
    for peer in peers:
        assert peer.under_way is not None
        peer.elsewhere = elsewhere = peer.under_way.elsewhere()
        if peer.peer.max_conns:
            peer.max_conns = max(peer.peer.max_conns - elsewhere, 0) or FULL


def enter(peer: LivePeer) -> bool:
    """Count one more request at a peer; return False if others were faster and there is no room left."""
    assert peer.under_way is not None
    peer.under_way.tell(peer.connections + 1)
    limit = peer.peer.max_conns
    if limit and peer.connections + 1 + peer.under_way.elsewhere() > limit:
        leave(peer)
        return False
    return True


def leave(peer: LivePeer) -> None:
    """Publish our present count at a peer."""
    assert peer.under_way is not None
    peer.under_way.tell(peer.connections)
