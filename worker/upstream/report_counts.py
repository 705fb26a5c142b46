"""The part of the API's report on an upstream that is counted only where counters are shown: times, responses, and why a peer is
down since when.
"""

from __future__ import annotations

from typing import Any

from worker.counters.counting import Counting
from worker.services import Services
from worker.upstream.instant import instant
from worker.upstream.peers import Group
from wproxy.counters import layout as at
from wproxy.counters.totals import Histogram, PeerMeasures, Transition
from wproxy.http import Clock

Json = dict[str, Any]
# The bounds of nginx Plus's response_time_hist, in milliseconds.
BOUNDS = (5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
_MOST_CHANGES = 20


def add_counts(shown: Json, services: Services, counting: Counting, group: Group) -> None:
    """Add the counts of an upstream and its peers to the report on it, whose peers are in the order of the group's."""
    counting.publish()
    changes: dict[int, list[Transition]] = {}
    for change in counting.reader.transitions():
        changes.setdefault(change.record, []).append(change)
    reader = counting.reader.since_reset()
    totals = reader.upstream(group.name)
    idle = 0
    clock = services.loop.clock
    for peer, found in zip(group.peers, shown["peers"], strict=True):
        is_shared = peer.place.shared is services.shared
        record = peer.place.record if is_shared else 0
        measures = reader.peer(record)
        if is_shared:
            subtract_baseline(found, counting, record)
        idle += measures.idle
        found["responses"] = {f"{number}xx": count for number, count in enumerate(measures.responses, 1)}
        found["responses"]["codes"] = {code: count for code, count in measures.codes.items() if code.isdigit()}
        found["responses"]["total"] = sum(measures.responses)
        found["unavail"] = measures.unavailable
        found["health_checks"]["unhealthy"] = measures.unhealthy
        if measures.selected:
            found["selected"] = instant(measures.selected + clock.offset)
        found["ssl"] = ssl_json(measures.tls)
        found["response_time_hist"] = histogram_json(measures.response_times)
        found |= downtime_json(measures, found["state"], clock)
        found |= history_json(changes.get(record, []) if is_shared else [], found["state"])
    shown["keepalive"] = idle
    shown["zombies"] = group.renewal.count_busy()
    if group.upstream.zone is not None:
        shown["zone"] = group.upstream.zone.name
    if group.queue is not None:
        shown["queue"] = {"size": totals.queued, "max_size": group.queue.limit, "overflows": totals.queue_full}


def subtract_baseline(found: Json, counting: Counting, record: int) -> None:
    """Leave out of the report on a peer what was counted before the last DELETE."""
    base = at.PEERS_BASE + record * at.PEER_WORDS + at.BASE_REQUESTS
    before = counting.plan.memory.baseline(at.OF_ALL, base, 6)
    checks = found["health_checks"]
    for (where, name), count in zip(
        (*((found, name) for name in ("requests", "fails", "received", "sent")), (checks, "checks"), (checks, "fails")), before
    ):
        where[name] = max(0, where[name] - count)


_OF_CERTIFICATES = ("expired_cert", "revoked_cert", "hostname_mismatch", "other")


def ssl_json(counts: dict[str, int]) -> Json:
    """Return the handshakes with a peer in nginx Plus's shape."""
    failures = {name: counts[name] for name in _OF_CERTIFICATES}
    return {**{name: count for name, count in counts.items() if name not in failures}, "verify_failures": failures}


def histogram_json(times: Histogram) -> Json:
    """Return a histogram in nginx Plus's buckets, which are not cumulative; durations in milliseconds."""
    counts = times.up_to([bound / 1000 for bound in BOUNDS])
    buckets = [count - before for before, count in zip([0, *counts], counts)]
    return {
        "count": counts[-1],
        "sum": round(times.seconds * 1000),
        "buckets": dict(zip([*map(str, BOUNDS), "inf"], buckets, strict=True)),
    }


def downtime_json(measures: PeerMeasures, state: str, clock: Clock) -> Json:
    """Return for how long a peer has got no requests altogether (in milliseconds), and since when, if that is so now."""
    since = measures.down_since
    running = max(0.0, clock.now - since) if since else 0.0
    shown: Json = {"downtime": round((measures.downtime + running) * 1000)}
    return shown | ({"downstart": instant(since + clock.offset)} if since and state != "up" else {})


def history_json(changes: list[Transition], state: str) -> Json:
    """Return the last changes of a peer's state, and why it is down. changes: those that are remembered, oldest first."""
    shown: Json = {"history": [change_json(change) for change in changes[-_MOST_CHANGES:]]}
    if changes and changes[-1].after != "up" and state != "up":
        shown["reason"] = changes[-1].cause
    return shown


def change_json(change: Transition) -> Json:
    """Return one change of a peer's state."""
    return {
        "at": instant(change.at),
        "from": change.before,
        "to": change.after,
        "cause": change.cause,
        "fails": change.failures,
        "worker": change.worker,
    }
