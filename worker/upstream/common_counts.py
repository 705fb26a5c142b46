"""`zone`: max_conns, least_conn, least_time and random two by what all workers have under way, not this one alone.

Without `zone` every worker counts for itself, as nginx's do: max_conns=N lets N times the workers through. With it a limit holds
for the whole server. It costs such a group a look at the rows of all workers for each choice (0.5 us for a peer), so only
groups that have something to count for do it.

A request that finds no room does not hear of it when another worker's ends: `queue` looks for itself now and then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.upstream.live_peer import LivePeer
    from wproxy.config.model import Upstream

# The methods that go by requests under way.
_COUNTING = ("least_conn", "least_time", "random two")
# `max_conns` of a peer that others have filled: true, and any number of requests is too many.
FULL = -1


def counts_in_common(upstream: Upstream) -> bool:
    """Whether the workers of this upstream have to tell each other what they have under way."""
    if upstream.zone is None:
        return False
    return upstream.balancing.method in _COUNTING or any(line.max_conns for line in upstream.server)


def look_around(peers: Iterable[LivePeer]) -> None:
    """Bring up to date what other workers have under way, and what room that leaves us."""
    for peer in peers:
        assert peer.under_way is not None
        peer.elsewhere = elsewhere = peer.under_way.elsewhere()
        if peer.peer.max_conns:
            peer.max_conns = max(peer.peer.max_conns - elsewhere, 0) or FULL


def enter(peer: LivePeer) -> bool:
    """Have one request more there; False when others were quicker and there is no room any more."""
    assert peer.under_way is not None
    peer.under_way.tell(peer.connections + 1)
    limit = peer.peer.max_conns
    if limit and peer.connections + 1 + peer.under_way.elsewhere() > limit:
        leave(peer)
        return False
    return True


def leave(peer: LivePeer) -> None:
    """Tell how many we have there now."""
    assert peer.under_way is not None
    peer.under_way.tell(peer.connections)
