"""The states of peers, in the words of nginx's API."""

from __future__ import annotations

from typing import Protocol

from worker.upstream.live_peer import LivePeer
from wproxy.checked_health import HEALTHY, CheckedHealth


class PeerGroup(Protocol):
    """A group, as far as the state of its peers depends on it. is_single: a failure of its only peer counts for nothing."""

    is_single: bool


def state_of(group: PeerGroup, peer: LivePeer, now: int) -> str:
    """Return down, draining, unhealthy, checking, unavail or up."""
    if peer.down:
        return "down"
    if peer.draining:
        return "draining"
    if isinstance(peer.health, CheckedHealth) and peer.health.record.state != HEALTHY:
        return peer.health.record.state
    if not group.is_single and not peer.health.may_serve(now):
        return "unavail"
    return "up"
