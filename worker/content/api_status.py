"""The read side of the API: the server, connections, zones of requests, limits, workers (nginx Plus: ngx_http_api_module).

    GET /9/nginx, processes, connections, ssl, slabs                 an object
    GET /9/workers, /9/workers/ID                                    a list; one
    GET /9/resolvers, /NAME                                          lookups by name of status_zone; one
    GET /9/http/requests                                             an object
    GET /9/http/server_zones, location_zones, limit_reqs, limit_conns, /NAME       all by name; one

What is counted only where counters are shown is empty elsewhere; so are parts of nginx Plus that wproxy does not have. An
`?fields=a,b` leaves other fields out; an empty one leaves the names.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from worker.connection_totals import read_totals
from worker.content.api_request import NO_PATH, Outcome, only_get
from worker.services import Services
from worker.upstream.instant import instant
from wproxy.edits.parameters import Refused
from wproxy.http import Request
from wproxy.shared import (
    HEAD_GENERATION,
    HEAD_RELOADED,
    HEAD_RESPAWNED,
    WORKER_ACCEPTED,
    WORKER_ACTIVE,
    WORKER_PID,
    WORKER_REQUESTS,
    WORKER_ROLE,
    WORKER_WAITING,
)
from wproxy.version import VERSION

if TYPE_CHECKING:
    from worker.counters.counting import Counting
    from wproxy.counters.totals import CounterReader, RequestTotals, TlsTotals, WorkerTotals

Json = dict[str, Any]
# What the API has at its root and below http, in nginx Plus's order.
ROOT = ("nginx", "processes", "connections", "slabs", "http", "resolvers", "ssl", "workers")
HTTP = ("requests", "server_zones", "location_zones", "caches", "limit_conns", "limit_reqs", "keyvals", "upstreams")
# Statuses of requests that ended without a response.
_UNANSWERED = ("444", "499", "none")


def answer_status(request: Request, services: Services, method: str, parts: list[str]) -> Outcome:
    """Answer a path below /9 that only tells. Raises Refused."""
    only_get(method, None)
    if services.counting is not None:
        services.counting.publish()
    match parts:
        case [name] if name in _OBJECTS:
            return 200, chosen(request, _OBJECTS[name](request, services))
        case ["http", "requests"]:
            return 200, chosen(request, requests(services))
        case ["workers", *rest]:
            return 200, answer_workers(request, services, rest)
        case ["slabs"] | ["http", "keyvals"]:
            return 200, {}
        case ["resolvers" as kind, *rest] | ["http", kind, *rest] if (
            kind in COLLECTIONS and len(rest) < 2 and parts.count("resolvers") == (parts[0] != "http")
        ):
            make, code = COLLECTIONS[kind]
            found = {} if services.counting is None else make(reader_of(services.counting, kind))
            if not rest:
                return 200, chosen_of_each(request, found)
            if rest[0] not in found:
                raise Refused(404, f'{kind.removesuffix("s").replace("_", " ")} "{rest[0]}" not found', code)
            return 200, chosen(request, found[rest[0]])
    raise NO_PATH


def reader_of(counting: Counting, kind: str) -> CounterReader:
    """Return what reads a collection as of its last DELETE."""
    from wproxy.counters.layout import OF_ALL, OF_LOCATION_ZONES

    return counting.reader.since_reset(OF_LOCATION_ZONES if kind == "location_zones" else OF_ALL)


# Objects.


def about_nginx(request: Request, services: Services) -> Json:
    """Return what the program is."""
    shared = services.shared
    return {
        "version": VERSION,
        "build": "wproxy",
        "address": request.client.server_address.host,
        "generation": shared.head(HEAD_GENERATION),
        "load_timestamp": instant(shared.head(HEAD_RELOADED)),
        "timestamp": instant(services.loop.clock.wall),
        "pid": os.getpid(),
        "ppid": os.getppid(),
    }


def processes(request: Request, services: Services) -> Json:
    """Return how many workers had to be replaced."""
    return {"respawned": max(0, respawned(services) - baseline(services, "BASE_RESPAWNED"))}


def respawned(services: Services) -> int:
    """Return how many workers had to be replaced, ever."""
    return services.shared.total(HEAD_RESPAWNED)


def baseline(services: Services, word: str) -> int:
    """Return what is subtracted since a DELETE. word: its name among the words of a baseline."""
    return baselines(services, word, 1)[0]


def baselines(services: Services, word: str, size: int) -> list[int]:
    """Return the same of several words, from that one on."""
    if services.counting is None:
        return [0] * size
    from wproxy.counters import layout

    return services.counting.plan.memory.baseline(layout.OF_ALL, getattr(layout, word), size)


def connections(request: Request, services: Services) -> Json:
    """Return the connections of clients."""
    accepted, dropped = (max(0, now - then) for now, then in zip(taken(services), baselines(services, "BASE_ACCEPTED", 2)))
    active, _, _, waiting = services.process.count_connections()
    return {"accepted": accepted, "dropped": dropped, "active": active - waiting, "idle": waiting}


def taken(services: Services) -> tuple[int, int]:
    """Return how many connections were accepted, and dropped, ever."""
    totals = read_totals(services)
    return totals.accepted, totals.refused


def requests(services: Services) -> Json:
    """Return the number of requests so far, and of those under way."""
    _, reading, writing, _ = services.process.count_connections()
    return {"total": max(0, begun(services) - baseline(services, "BASE_BEGUN")), "current": reading + writing}


def begun(services: Services) -> int:
    """Return the number of requests ever begun."""
    return read_totals(services).requests


def ssl(request: Request, services: Services) -> Json:
    """Return the handshakes with clients of all servers."""
    if services.counting is None:
        return {}
    tls = handshakes(services.counting.reader)
    before = baselines(services, "BASE_HANDSHAKES", len(tls.counts()))
    return ssl_json(tls.minus(before))


def handshakes(reader: CounterReader) -> TlsTotals:
    """Return the handshakes of all servers together, ever."""
    from wproxy.counters.totals import combined

    return combined([totals for _, totals in reader.requests()]).tls


def ssl_json(tls: TlsTotals) -> Json:
    """Return handshakes as JSON."""
    return {
        "handshakes": tls.full + tls.resumed,
        "handshakes_failed": tls.failed,
        "session_reuses": tls.resumed,
        "no_common_protocol": tls.no_common_protocol,
        "no_common_cipher": tls.no_common_cipher,
        "handshake_timeout": tls.timed_out,
        "peer_rejected_cert": tls.rejected_certificate,
        "verify_failures": {
            "no_cert": tls.no_certificate,
            "expired_cert": tls.expired,
            "revoked_cert": tls.revoked,
            "other": tls.unverified,
        },
    }


_OBJECTS: dict[str, Callable[[Request, Services], Json]] = {
    "nginx": about_nginx,
    "processes": processes,
    "connections": connections,
    "ssl": ssl,
}

# Workers.


def answer_workers(request: Request, services: Services, rest: list[str]) -> Any:
    """Return all workers, or one. Raises Refused."""
    found = workers(services)
    if not rest:
        return [chosen(request, worker) for worker in found.values()]
    if len(rest) > 1:
        raise NO_PATH
    if rest[0] not in found:
        raise Refused(404, f'worker "{rest[0]}" not found', "WorkerNotFound")
    return chosen(request, found[rest[0]])


def workers(services: Services) -> dict[str, Json]:
    """Return all workers, by their number."""
    shared = services.shared
    services.process.count_connections()  # what is shown is published, so that no other worker shows less
    measured = {} if services.counting is None else {each.slot: each for each in services.counting.reader.workers()}
    found: dict[str, Json] = {}
    for index in range(max(shared.slots, shared.slot + 1)):
        slot = shared.worker(index)
        if slot.get(WORKER_ROLE):
            continue  # not a worker, but the manager of caches or its loader
        if index == shared.slot:
            active, _, _, waiting = services.clients.count()
            accepted, begun, pid = services.clients.accepted, services.clients.begun, os.getpid()
        elif slot.get(WORKER_PID):
            active, waiting = slot.get(WORKER_ACTIVE), slot.get(WORKER_WAITING)
            accepted, begun, pid = slot.get(WORKER_ACCEPTED), slot.get(WORKER_REQUESTS), slot.get(WORKER_PID)
        else:
            continue
        busy = max(0, active - waiting)
        found[str(index)] = {
            "id": index,
            "pid": pid,
            "connections": {"accepted": accepted, "dropped": dropped_by(measured.get(index)), "active": busy, "idle": waiting},
            "http": {"requests": {"total": begun, "current": busy}},
        }
    return found


def dropped_by(totals: WorkerTotals | None) -> int:
    """Return the connections that workers of a slot have refused, as far as that is counted."""
    return 0 if totals is None else totals.refused_connections


# Collections.


def server_zones(reader: CounterReader) -> dict[str, Json]:
    """Return the zones of servers."""
    return {
        name: {"processing": totals.active, **zone_json(totals, totals.active), "ssl": ssl_json(totals.tls)}
        for name, totals in _zones(reader, "server_zone").items()
    }


def location_zones(reader: CounterReader) -> dict[str, Json]:
    """Return the zones of locations."""
    return {name: zone_json(totals, 0) for name, totals in _zones(reader, "location_zone").items()}


def _zones(reader: CounterReader, kind: str) -> dict[str, RequestTotals]:
    """Return what was counted, by the names of status_zone."""
    from wproxy.counters.totals import combined

    found: dict[str, list[RequestTotals]] = {}
    for names, totals in reader.requests():
        zone = getattr(names, kind)
        if zone:
            found.setdefault(zone, []).append(totals)
    return {name: combined(rows) for name, rows in found.items()}


def zone_json(totals: RequestTotals, processing: int) -> Json:
    """Return a zone. Its requests are those that have ended and those under way."""
    codes = {code: count for code, count in totals.codes.items() if code not in _UNANSWERED}
    classes = [0, 0, 0, 0, 0]
    for code, count in codes.items():
        classes[int(code[0]) - 1] += count
    answered: Json = {f"{number}xx": count for number, count in enumerate(classes, 1)}
    answered["codes"] = {code: count for code, count in codes.items() if code.isdigit()}
    answered["total"] = sum(classes)
    return {
        "requests": totals.requests + processing,
        "responses": answered,
        "discarded": totals.discarded,
        "received": totals.received,
        "sent": totals.sent,
    }


def limit_reqs(reader: CounterReader) -> dict[str, Json]:
    """Return the decisions of zones of limit_req."""
    return _limits(reader, True)


def limit_conns(reader: CounterReader) -> dict[str, Json]:
    """Return the decisions of zones of limit_conn."""
    return _limits(reader, False)


def _limits(reader: CounterReader, are_rates: bool) -> dict[str, Json]:
    kinds = reader.plan.are_rates
    return {
        zone: {decision: count for decision, count in counts._asdict().items() if are_rates or not decision.startswith("delayed")}
        for zone, counts in reader.limits()
        if kinds[zone] == are_rates
    }


def resolvers(reader: CounterReader) -> dict[str, Json]:
    """Return the lookups of resolvers with a status_zone."""
    return {
        name: {"requests": {"name": totals.names, "srv": totals.services, "addr": 0}, "responses": totals.results}
        for name, totals in reader.resolvers()
        if name in reader.plan.resolver_zones
    }


COLLECTIONS: dict[str, tuple[Callable[[CounterReader], dict[str, Json]], str]] = {
    "server_zones": (server_zones, "ServerZoneNotFound"),
    "location_zones": (location_zones, "LocationZoneNotFound"),
    "limit_reqs": (limit_reqs, "LimitReqNotFound"),
    "limit_conns": (limit_conns, "LimitConnNotFound"),
    "resolvers": (resolvers, "ResolverZoneNotFound"),
}

# Fields.


def asked_fields(request: Request) -> list[str] | None:
    """Return the fields that a request asks for; None for all."""
    given = parse_qs((request.args or b"").decode("latin-1"), keep_blank_values=True)
    if "fields" not in given:
        return None
    return [field for field in given["fields"][-1].split(",") if field]


def chosen(request: Request, value: Any) -> Any:
    """Return an object with the fields that a request asks for."""
    fields = asked_fields(request)
    if not fields or not isinstance(value, dict):
        return value
    return {name: value[name] for name in fields if name in value}


def chosen_of_each(request: Request, values: dict[str, Json]) -> Any:
    """Return objects by name, each with the fields that a request asks for; their names if it asks for none."""
    if asked_fields(request) == []:
        return list(values)
    return {name: chosen(request, value) for name, value in values.items()}
