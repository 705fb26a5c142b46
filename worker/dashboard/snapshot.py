"""The state of the whole server as plain values: what the dashboard and `wproxy top` show.

Counts only grow, and the reader makes rates and percentiles of two snapshots. Everything with a name is in an object by that
name, so that a change is a small patch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

from worker.counters.counting import Counting
from worker.loop import give_way
from worker.services import Services
from worker.upstream.report import report_peer
from wproxy.counters.buckets import BOUNDS
from wproxy.counters.totals import CounterReader, RequestTotals, Transition, combined
from wproxy.end_causes import END_CAUSES
from wproxy.shared import (
    HEAD_ATTEMPTS,
    HEAD_GENERATION,
    HEAD_OUTCOME,
    HEAD_RELOADED,
    HEAD_STARTED,
    STATE_NAMES,
    WORKER_ACCEPTED,
    WORKER_ACTIVE,
    WORKER_GENERATION,
    WORKER_PID,
    WORKER_READING,
    WORKER_REQUESTS,
    WORKER_ROLE,
    WORKER_STARTED,
    WORKER_STATE,
    WORKER_WAITING,
)
from wproxy.version import VERSION

# The seconds of failures that are grouped by cause, and how many failures and transitions are listed.
RECENT = 600.0
MOST_FAILURES = 50
MOST_CHANGES = 8

# Peers and locations that are read before the loop turns: 3 ms.
AT_ONCE = 48

Values = dict[str, Any]
Item = TypeVar("Item")


async def snapshot(services: Services, counting: Counting | None) -> Values:
    """Return the state of the whole server: this worker's part as of now, others' as of their last publication.

    counting: None where nothing is counted: then only upstreams, connections and workers are shown. The loop turns between pieces
    of it: a thousand peers take 50 ms.
    """
    for group in services.groups.values():
        group.publish()
    if counting is not None:
        for _ in counting.publishing():
            await give_way()
    reader = None if counting is None else counting.reader
    rows = [] if reader is None else [row async for row in in_pieces(reader.requests())]
    changes: dict[int, list[Transition]] = {}
    for change in () if reader is None else reader.transitions():
        changes.setdefault(change.record, []).append(change)
    peer_names = peer_names_of(services)
    failures = [] if reader is None else reader.failures()
    by_server: dict[str, list[RequestTotals]] = {}
    for names, totals in rows:
        by_server.setdefault(names.server, []).append(totals)
    now = services.loop.clock.wall
    return {
        "head": head_of(services),
        "now": round(now, 3),
        "bounds": list(BOUNDS),
        "totals": {**counts_of(combined([totals for _, totals in rows])), **connections_of(services)},
        "servers": {server: counts_of(combined(found)) for server, found in by_server.items()},
        "locations": {f"{names.server} {names.location}": counts_of(totals) for names, totals in rows},
        "causes": causes_of(failures, peer_names, now),
        "failures": [failure_of(failure, peer_names) for failure in failures[-MOST_FAILURES:]][::-1],
        "upstreams": await upstreams_of(services, reader, changes),
        "limits": {name: totals._asdict() for name, totals in (() if reader is None else reader.limits())},
        "resolvers": resolvers_of(reader),
        "certificates": {f"{server} {file}": ends for server, file, ends in (() if counting is None else counting.certificates)},
        "caches": {name: cache_of(cache.status()) for name, cache in services.caches.items()},
        "workers": workers_of(services, reader),
    }


def head_of(services: Services) -> Values:
    """Return the version and the life of the server."""
    shared = services.shared
    has_failed = shared.head(HEAD_ATTEMPTS) > 0 and not shared.head(HEAD_OUTCOME)
    return {
        "version": VERSION,
        "started": shared.head(HEAD_STARTED),
        "generation": shared.head(HEAD_GENERATION),
        "reloaded": shared.head(HEAD_RELOADED),
        "reload_error": shared.message() if has_failed else "",
    }


def connections_of(services: Services) -> Values:
    """Return the connections of clients."""
    active, reading, writing, waiting = services.process.count_connections()
    accepted = sum(slot.get(WORKER_ACCEPTED) for slot in services.shared.workers())
    return {"connections": active, "reading": reading, "writing": writing, "waiting": waiting, "accepted": accepted}


def counts_of(totals: RequestTotals) -> Values:
    """Return what was counted of requests."""
    return {
        "requests": totals.requests,
        "active": totals.active,
        "received": totals.received,
        "sent": totals.sent,
        "classes": totals.classes(),
        "codes": {code: count for code, count in totals.codes.items() if count},
        "ends": {code: count for code, count in totals.causes.items() if count},
        "buckets": list(totals.times.buckets),
    }


def peer_names_of(services: Services) -> dict[int, str]:
    """Return the names of peers, with their upstream, by their record in the shared memory."""
    return {
        peer.place.record: f"{group.name} {peer.name}"
        for group in services.groups.values()
        for peer in group.peers
        if peer.place.shared is services.shared
    }


def causes_of(failures: list[Any], peer_names: dict[int, str], now: float) -> Values:
    """Return the end causes of the last minutes: how often, and what to do."""
    found: Counter[str] = Counter()
    blamed: dict[str, Counter[str]] = {}
    for failure in failures:
        if failure.at > now - RECENT:
            found[failure.cause] += 1
            who = peer_names.get(failure.record, "") if failure.cause.startswith(("up_", "tun_")) else ""
            blamed.setdefault(failure.cause, Counter())[who] += 1
    return {
        code: {
            "count": count,
            "who": ", ".join(name for name, _ in blamed[code].most_common(3) if name),
            "when": END_CAUSES[code].when if code in END_CAUSES else "",
            "fix": END_CAUSES[code].fix if code in END_CAUSES else "",
        }
        for code, count in found.most_common()
    }


def failure_of(failure: Any, peer_names: dict[int, str]) -> Values:
    """Return one failed request."""
    return {
        "at": round(failure.at, 3),
        "cause": failure.cause,
        "status": failure.status,
        "peer": peer_names.get(failure.record, "") if failure.record else "",
        "ms": round(failure.seconds * 1000),
        "path": failure.path,
        "trace_id": failure.trace_id,
        "worker": failure.worker,
    }


async def in_pieces(items: Iterable[Item]) -> AsyncIterator[Item]:
    """Yield all of these, and let the loop turn in between."""
    for number, item in enumerate(items, 1):
        yield item
        if not number % AT_ONCE:
            await give_way()


async def upstreams_of(services: Services, reader: CounterReader | None, changes: dict[int, list[Transition]]) -> Values:
    """Return the upstreams with their peers; those of a proxy_pass without a block, too."""
    found: Values = {}
    now = int(services.loop.clock.now)
    known = services.edits.upstreams
    for upstream in services.configuration.upstreams:
        group = services.groups[upstream.name]
        ids: dict[int, int] = {}
        if upstream.name in known:
            ids = {id(each.line): each.id for each in services.edits.present(known[upstream.name]) if each.line is not None}
            ids.update(group.renewal.added_ids())
        peers: Values = {}
        async for peer in in_pieces(group.peers):
            number = ids.get(id(peer.line), -1)
            shown = report_peer(group, peer, number, now)
            shown["history"] = []
            if reader is not None and peer.place.shared is services.shared:
                measures = reader.peer(peer.place.record)
                if any(measures.response_times.buckets):
                    shown["buckets"] = list(measures.response_times.buckets)
                    shown["classes"] = list(measures.responses)
                shown["idle"] = measures.idle
                shown["causes"] = {code: count for code, count in measures.causes.items() if count}
                shown["history"] = [change_of(change) for change in changes.get(peer.place.record, ())[-MOST_CHANGES:]]
            peers[peer.name] = shown
        found[upstream.name] = {
            "method": upstream.balancing.method,
            "is_block": upstream.name in known,
            "peers": peers,
            "queue": len(group.queue) if group.queue is not None else None,
        }
    return found


def change_of(change: Transition) -> Values:
    """Return a change of a peer's state."""
    return {
        "at": round(change.at, 3),
        "from": change.before,
        "to": change.after,
        "cause": change.cause,
        "failures": change.failures,
        "worker": change.worker,
    }


def resolvers_of(reader: CounterReader | None) -> Values:
    """Return the lookups of resolvers: the number of questions, and how many ended in which way."""
    return {
        name: {
            "questions": totals.names + totals.services,
            "results": {word: count for word, count in totals.results.items() if count},
        }
        for name, totals in (() if reader is None else reader.resolvers())
    }


def cache_of(status: Values) -> Values:
    """Return a cache's size and limit in bytes, and its responses by status."""
    responses = {name: part["responses"] for name, part in status.items() if isinstance(part, dict) and "responses" in part}
    return {"size": status.get("size", 0), "max_size": status.get("max_size") or 0, "responses": responses}


def workers_of(services: Services, reader: CounterReader | None) -> Values:
    """Return the workers by their slots."""
    measured = {} if reader is None else {each.slot: each for each in reader.workers()}
    found: Values = {}
    for slot in services.shared.workers():
        if slot.get(WORKER_ROLE):
            continue  # not a worker, but the manager of caches or its loader
        totals = measured.get(slot.index)
        state = slot.get(WORKER_STATE)
        found[str(slot.index)] = {
            "pid": slot.get(WORKER_PID),
            "state": STATE_NAMES[state] if state < len(STATE_NAMES) else str(state),
            "generation": slot.get(WORKER_GENERATION),
            "started": slot.get(WORKER_STARTED),
            "connections": slot.get(WORKER_ACTIVE),
            "reading": slot.get(WORKER_READING),
            "waiting": slot.get(WORKER_WAITING),
            "requests": slot.get(WORKER_REQUESTS),
            "cpu": round(totals.cpu_seconds, 2) if totals is not None else 0.0,
            "memory": totals.resident_bytes if totals is not None else 0,
            "descriptors": totals.descriptors if totals is not None else 0,
        }
    return found
