"""DELETE of the API: counts that begin anew (nginx's commercial ngx_http_api_module resets statistics so).

    DELETE  /9/processes, connections, ssl, http/requests
    DELETE  /9/http/server_zones/NAME, location_zones/NAME, limit_reqs/NAME, limit_conns/NAME, upstreams/NAME
    DELETE  /9/resolvers/NAME

What was counted by then is kept as a baseline that the API subtracts, for all workers and across reloads; /metrics and the
dashboard go on, so that no rate is wrong. Counts that a worker has not published yet, of the last half second, may come after.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.content import api_status
from worker.content.api_request import NO_PATH, Outcome, needs_writing, only_get
from worker.counters.counting import Counting
from worker.services import Services
from worker.upstream.report import checks_of
from wproxy.counters import layout as at
from wproxy.counters.layout import LIMITS, OF_ALL, OF_LOCATION_ZONES, REQUESTS, RESOLVERS, UPSTREAMS, Table
from wproxy.counters.totals import CounterReader, combined
from wproxy.edits.parameters import Refused
from wproxy.http import Request
from wproxy.peer_counters import read_totals


def reset_counts(request: Request, services: Services, parts: list[str], may_write: bool) -> Outcome:
    """Have the counts at a path below /9 begin anew. Raises Refused."""
    deed = _deed(services, parts)
    if deed is None:
        if not parts or parts[0] not in api_status.ROOT:
            raise NO_PATH
        return only_get("DELETE", None)
    needs_writing(request, "DELETE", ("DELETE",), may_write)
    counting = services.counting
    if counting is None:
        raise Refused(405, "nothing is counted here: no location has api, metrics or dashboard", "MethodDisabled")
    for group in services.groups.values():
        group.publish()
    counting.publish()
    deed(counting)
    return 204, None


Deed = Callable[[Counting], None]


def _deed(services: Services, parts: list[str]) -> Deed | None:
    """Return what makes the counts at a path begin anew; None where there is nothing to reset. Raises Refused."""
    match parts:
        case ["processes"]:
            return lambda counting: _set(counting, at.BASE_RESPAWNED, [api_status.respawned(services)])
        case ["connections"]:
            return lambda counting: _set(counting, at.BASE_ACCEPTED, list(api_status.taken(services)))
        case ["http", "requests"]:
            return lambda counting: _set(counting, at.BASE_BEGUN, [api_status.begun(services)])
        case ["ssl"]:
            return _reset_handshakes
        case ["http", "server_zones", name]:
            return lambda counting: _reset_zone(counting, "server_zone", name, OF_ALL)
        case ["http", "location_zones", name]:
            return lambda counting: _reset_zone(counting, "location_zone", name, OF_LOCATION_ZONES)
        case ["http", "limit_reqs" | "limit_conns" as kind, name]:
            code = api_status.COLLECTIONS[kind][1]
            return lambda counting: _reset_row(counting.reader, LIMITS, counting.plan.limits, name, code)
        case ["resolvers", name]:
            code = api_status.COLLECTIONS["resolvers"][1]
            return lambda counting: _reset_row(counting.reader, RESOLVERS, counting.plan.resolvers, name, code)
        case ["http", "upstreams", name]:
            return lambda counting: _reset_upstream(counting, services, name)
    return None


def _set(counting: Counting, word: int, counts: list[int]) -> None:
    counting.plan.memory.set_baseline(OF_ALL, word, counts)


def _reset_handshakes(counting: Counting) -> None:
    """Reset the handshakes of all servers together; those of each zone are its own."""
    _set(counting, at.BASE_HANDSHAKES, list(combined([totals for _, totals in counting.reader.requests()]).tls.counts()))


def _reset_zone(counting: Counting, kind: str, name: str, baseline: int) -> None:
    """Reset a zone of requests. Raises Refused."""
    rows = [row for names, row in counting.plan.requests.items() if getattr(names, kind) == name]
    if not rows:
        raise Refused(404, f'{kind.replace("_", " ")} "{name}" not found', api_status.COLLECTIONS[f"{kind}s"][1])
    for row in filter(None, rows):  # row 0 has those of others, too
        counting.reader.reset(REQUESTS.base + row * REQUESTS.words, REQUESTS.words, baseline)


def _reset_row(reader: CounterReader, table: Table, rows: dict[str, int], name: str, code: str) -> None:
    """Reset the row of a name. Raises Refused."""
    row = rows.get(name)
    if row is None:
        raise Refused(404, f'{table.kind} zone "{name}" not found', code)
    if row:
        reader.reset(table.base + row * table.words, table.words)


def _reset_upstream(counting: Counting, services: Services, name: str) -> None:
    """Reset an upstream and its peers."""
    group = services.groups[name]
    row = counting.plan.upstreams.get(name, 0)
    if row:
        counting.reader.reset(UPSTREAMS.base + row * UPSTREAMS.words, UPSTREAMS.words)
    for peer in group.peers:
        if peer.place.shared is not services.shared:
            continue
        base = at.PEERS_BASE + peer.place.record * at.PEER_WORDS
        counting.reader.reset(base, at.PEER_WORDS)
        totals, checks = read_totals(peer.place.shared, peer.place.record), checks_of(peer)
        counts = [totals.requests, totals.failures, totals.received, totals.sent, checks["checks"], checks["fails"]]
        _set(counting, base + at.BASE_REQUESTS, counts)
