"""The API's report on an upstream: its peers, with the counts of all workers about each."""

from __future__ import annotations

from typing import Any

from worker.services import Services
from worker.upstream.live_peer import LivePeer
from worker.upstream.peers import Group
from worker.upstream.states import state_of
from wproxy.checked_health import CheckedHealth
from wproxy.config.model import Upstream
from wproxy.edits.servers import time_text
from wproxy.peer_counters import read_totals


def report_upstream(services: Services, upstream: Upstream) -> dict[str, Any]:
    """Return an upstream by the names of nginx's API; counters are at most half a second old, the health is current."""
    group = services.groups[upstream.name]
    ids = {id(each.line): each.id for each in services.edits.present(upstream) if each.line is not None}
    ids.update(group.renewal.added_ids())
    group.publish()
    now = int(services.loop.clock.now)
    peers = [report_peer(group, peer, ids[id(peer.line)], now) for peer in group.peers]
    shown: dict[str, Any] = {"peers": peers, "method": upstream.balancing.method}
    if services.counting is not None:
        from worker.upstream.report_counts import add_counts  # only where counters are shown

        add_counts(shown, services, services.counting, group)
    if upstream.state:
        shown["state_file"] = services.configuration.path(upstream.state)
    return shown


def report_peer(group: Group, peer: LivePeer, number: int, now: int) -> dict[str, Any]:
    """Return one peer. id: that of its server, which several peers of one name share. Times are in milliseconds."""
    totals = read_totals(peer.place.shared, peer.place.record)
    service = {"service": peer.line.service} if peer.line is not None and peer.line.service else {}
    return {
        "id": number,
        "server": peer.name,
        **service,
        "name": peer.server,
        "backup": peer.peer.backup,
        "weight": peer.full_weight // peer.step,
        "state": state_of(group, peer, now),
        "active": totals.active,
        "max_conns": peer.peer.max_conns,  # that of the live peer is the share that other workers leave us
        "requests": totals.requests,
        "header_time": round(totals.header_time * 1000),
        "response_time": round(totals.response_time * 1000),
        "sent": totals.sent,
        "received": totals.received,
        "fails": totals.failures,
        "max_fails": peer.health.max_fails,
        "fail_timeout": time_text(peer.health.fail_timeout),
        "slow_start": time_text(peer.slow_start),
        "health_checks": checks_of(peer),
    }


def checks_of(peer: LivePeer) -> dict[str, Any]:
    """Return the results of active checks, if there are any."""
    if not isinstance(peer.health, CheckedHealth):
        return {"checks": 0, "fails": 0}
    record = peer.health.record
    found: dict[str, Any] = {"checks": record.checks, "fails": record.failed}
    if record.last_check:
        found["last_passed"] = record.last_passed
    return found
