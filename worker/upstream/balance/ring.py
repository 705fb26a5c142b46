"""Consistent hashing: adding or removing a server moves only its own share of the keys (nginx: ngx_http_upstream_hash_module.c).

Every server has 160 points for each unit of weight on a ring of 2**32; a key belongs to the first point at or after its own
number (ketama, with crc32, like Cache::Memcached::Fast). Addresses of one server share its points and take turns.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING
from zlib import crc32

from worker.upstream.balance.rotation import round_robin, smooth
from worker.upstream.balance.tier import MOST_MISSES
from wproxy.http import Request

if TYPE_CHECKING:
    from worker.upstream.balance.tier import Method, Tier
    from worker.upstream.live_peer import LivePeer
    from wproxy.directives.balancing import Balancing

POINTS_PER_WEIGHT = 160


def host_and_port(server: str) -> tuple[bytes, bytes]:
    """Return the name of a server on the ring, as it was written: without a port if none was."""
    text = server.encode("utf-8", "surrogateescape")
    if text[:5].lower() == b"unix:":
        return text[5:], b""
    host, colon, port = text.rpartition(b":")
    if colon and (port.isdigit() or not port):
        return host, port
    return text, b""


def points_of(server: str, weight: int) -> Iterator[int]:
    """Yield the points of a server on the ring."""
    host, port = host_and_port(server)
    base = crc32(host + b"\0" + port)
    point = 0
    for _ in range(POINTS_PER_WEIGHT * weight):
        point = crc32(point.to_bytes(4, "little"), base)
        yield point


def ring_of(peers: list[LivePeer]) -> tuple[list[int], list[list[LivePeer]]]:
    """Return the points in order, and for each its peers."""
    sharing: dict[str, list[LivePeer]] = {}
    for peer in peers:
        sharing.setdefault(peer.server, []).append(peer)
    owners: dict[int, list[LivePeer]] = {}
    for server, together in sharing.items():
        for point in points_of(server, max(peer.weight for peer in together)):
            owners.setdefault(point, together)
    points = sorted(owners)
    return points, [owners[point] for point in points]


def consistent_hash(balancing: Balancing) -> Method:
    """Return a method that picks the peer at the key's place on the ring; an empty key belongs to none."""
    evaluate = balancing.key.evaluate

    def choose(tier: Tier, request: Request, tried: int, now: int) -> LivePeer | None:
        key = evaluate(request)
        if not key or len(tier.peers) < 2 or tier.is_backup:
            return round_robin(tier, request, tried, now)
        if tier.points is None:
            tier.points = ring_of(tier.peers)
        points, owners = tier.points
        place = bisect_left(points, crc32(key))
        for step in range(MOST_MISSES + 1):
            together = owners[(place + step) % len(points)]
            live = [peer for peer in together if not peer.bit & tried and tier.is_usable(peer, now)]
            if live:
                return smooth(live)
        return round_robin(tier, request, tried, now)

    return choose
