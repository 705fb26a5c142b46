"""The metrics of the whole server as families of Prometheus: a function for each group of families, in the order of the page.

Each yields from time to time, when the page may be interrupted so that the loop turns. Numbers are those of all workers: this
one's as of now, others' as of their last publication, half a second ago at most.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.connection_totals import read_totals
from worker.counters.reading import Pauses, PeerReading, Reading
from worker.upstream.live_peer import LivePeer
from worker.upstream.peers import Group
from worker.upstream.states import state_of
from wproxy.checked_health import CheckedHealth
from wproxy.counters.exposition import COUNTER, GAUGE, HISTOGRAM, INFO, Labels, escaped, labels
from wproxy.counters.layout import (
    CONNECTIONS_NEW,
    CONNECTIONS_REUSED,
    DOWNTIME,
    HEADER_TIME,
    PEER_CAUSES,
    RESPONSES,
)
from wproxy.counters.totals import RequestTotals, causes_in, changes_in, combined, down_since, histogram_in
from wproxy.peer_counters import read_traffic
from wproxy.shared import (
    HEAD_EXITS_ASKED,
    HEAD_EXITS_CRASHED,
    HEAD_EXITS_HUNG,
    HEAD_EXITS_KILLED,
    HEAD_GENERATION,
    HEAD_OUTCOME,
    HEAD_RELOADED,
    HEAD_RELOADS,
    HEAD_RELOADS_FAILED,
    HEAD_RESPAWNED,
    HEAD_STARTED,
    HEAD_UPGRADES,
    STATE_NAMES,
    WORKER_PID,
    WORKER_ROLE,
    WORKER_STATE,
)
from wproxy.version import VERSION

PEER_STATES = ("up", "down", "draining", "unhealthy", "checking", "unavail")
# The names of HTTP/2's codes by their numbers (RFC 9113, 7); the last one is for others.
H2_CODES = (
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED"),
    *("FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"),
    *("INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED", "other"),
)


def write_page(reading: Reading) -> Pauses:
    """Write all families; yields where the loop may turn."""
    for write in FAMILIES:
        yield from write(reading)
    reading.page.end()


# The server.


def about_server(reading: Reading) -> Pauses:
    """Write what the program is and what its configuration has been through."""
    shared, page = reading.services.shared, reading.page
    page.samples("wproxy_build_info", INFO, "The version of wproxy.", [(labels(version=VERSION), 1)])
    for name, word, text in (
        ("wproxy_start_time_seconds", HEAD_STARTED, "Unix time of the start."),
        ("wproxy_config_generation", HEAD_GENERATION, "The number of the configuration that serves, 1 after the start."),
        ("wproxy_config_last_reload_timestamp_seconds", HEAD_RELOADED, "Unix time of the last load that serves."),
    ):
        page.samples(name, GAUGE, text, [("", shared.head(word))])
    text = "Whether the last load of a configuration came to serve."
    page.samples("wproxy_config_last_reload_successful", GAUGE, text, [("", shared.head(HEAD_OUTCOME))])
    results = (("ok", HEAD_RELOADS), ("failed", HEAD_RELOADS_FAILED))
    reloads = [(labels(result=result), shared.total(word)) for result, word in results]
    page.samples("wproxy_config_reloads_total", COUNTER, "Reloads.", reloads)
    exits = [(labels(how=how), shared.total(word)) for how, word in _EXITS]
    page.samples("wproxy_worker_exits_total", COUNTER, "Ends of workers and other processes of the master.", exits)
    text = "Workers that ended without having been told to, and were replaced."
    page.samples("wproxy_worker_respawns_total", COUNTER, text, [("", shared.total(HEAD_RESPAWNED))])
    page.samples(
        "wproxy_upgrades_total", COUNTER, "Upgrades of the program, also failed ones.", [("", shared.total(HEAD_UPGRADES))]
    )
    yield


_EXITS = (
    ("asked", HEAD_EXITS_ASKED),
    ("crashed", HEAD_EXITS_CRASHED),
    ("killed", HEAD_EXITS_KILLED),
    ("hung", HEAD_EXITS_HUNG),
)


def workers(reading: Reading) -> Pauses:
    """Write the states of workers and what each one uses."""
    shared, page = reading.services.shared, reading.page
    states = dict.fromkeys(STATE_NAMES, 0)
    for slot in range(shared.slots):
        worker = shared.worker(slot)
        is_worker = worker.get(WORKER_PID) and not worker.get(WORKER_ROLE)
        if is_worker and worker.get(WORKER_STATE) < len(STATE_NAMES):
            states[STATE_NAMES[worker.get(WORKER_STATE)]] += 1
    page.samples("wproxy_workers", GAUGE, "Workers, by state.", [(labels(state=name), count) for name, count in states.items()])
    found = [(labels(worker=str(each.slot)), each) for each in reading.counting.reader.workers()]
    page.samples(
        "wproxy_worker_cpu_seconds_total",
        COUNTER,
        "Processor time of the workers with this index.",
        [(label, each.cpu_seconds) for label, each in found],
    )
    alive = [(label, each) for label, each in found if each.is_alive]
    memory = [(label, each.resident_bytes) for label, each in alive]
    page.samples("wproxy_worker_resident_memory_bytes", GAUGE, "Memory of a worker.", memory)
    descriptors = [(label, each.descriptors) for label, each in alive]
    page.samples("wproxy_worker_open_fds", GAUGE, "Open descriptors of a worker.", descriptors)
    if page.family("wproxy_loop_lag_seconds", HISTOGRAM, "How late timers of a worker were."):
        for label, each in found:
            page.histogram("wproxy_loop_lag_seconds", label, each.lag)
    text = "Streams that HTTP/2 clients opened."
    page.samples("wproxy_http2_streams_total", COUNTER, text, [("", sum(each.streams for _, each in found))])
    resets = []
    for by, column in (("us", [each.resets_sent for _, each in found]), ("client", [each.resets_received for _, each in found])):
        for code, count in zip(H2_CODES, map(sum, zip(*column))):
            if count:
                resets.append((labels(by=by, code=code), count))
    page.samples("wproxy_http2_resets_total", COUNTER, "Streams of HTTP/2 that were reset, by whom and why.", resets)
    columns = zip(*(each.lost_lines for _, each in found))
    lost = [(labels(log=log), sum(column)) for log, column in zip(("access", "error"), columns)]
    page.samples("wproxy_log_lines_lost_total", COUNTER, "Lines of logs that could not be written.", lost)
    if reading.services.configuration.exporter is not None:
        columns = zip(*(each.spans for _, each in found))
        spans = [(labels(result=result), sum(column)) for result, column in zip(("sent", "failed", "dropped"), columns)]
        text = "Spans of traces: that the collector took, that it did not, and for which there was no room."
        page.samples("wproxy_otel_spans_total", COUNTER, text, spans)
    if reading.services.links:
        text = "How often a Redis at which machines count together stopped answering in time, in all workers."
        page.samples("wproxy_sync_silences_total", COUNTER, text, [("", sum(each.sync_silences for _, each in found))])
    yield


def connections(reading: Reading) -> Pauses:
    """Write the connections of clients, also by the names of nginx-prometheus-exporter."""
    page, totals = reading.page, read_totals(reading.services)
    found = reading.counting.reader.workers()
    active, busy, writing, waiting = reading.services.process.count_connections()
    tunnels = sum(each.tunnels for each in found)
    listeners = list(reading.counting.reader.listeners())
    text = "Connections of clients, by the listener that took them."
    taken = [(labels(listener=address), count) for address, count, _ in listeners]
    page.samples("wproxy_connections_accepted_total", COUNTER, text, taken)
    text = "Connections of clients that were refused."
    turned_away = [(labels(listener=address, reason="no_room"), count) for address, _, count in listeners]
    page.samples("wproxy_connections_refused_total", COUNTER, text, turned_away)
    states = (("reading", busy), ("writing", max(writing - tunnels, 0)), ("waiting", waiting), ("tunnel", tunnels))
    text = "Connections of clients, by state."
    page.samples("wproxy_connections", GAUGE, text, [(labels(state=state), count) for state, count in states])
    if reading.settings.compat != "none":
        values = {"accepted": totals.accepted, "handled": totals.handled, "active": active, "reading": busy, "writing": writing}
        values |= {"waiting": waiting, "requests": totals.requests, "up": 1, "dropped": totals.refused}
        for oss, plus_name, kind, text, value in _EXPORTER:
            name = oss if reading.settings.compat == "oss" else plus_name
            if name:
                page.samples(name, kind, text, [("", values[value])])
    yield


# The exporter's names, for nginx and for nginx Plus ("": it has none): then the type, what it is, and the value.
_EXPORTER = (
    ("nginx_connections_accepted", "nginxplus_connections_accepted", COUNTER, "Accepted client connections.", "accepted"),
    ("nginx_connections_active", "nginxplus_connections_active", GAUGE, "Active client connections.", "active"),
    ("nginx_connections_handled", "", COUNTER, "Handled client connections.", "handled"),
    ("nginx_connections_reading", "", GAUGE, "Connections of which the request's head is read.", "reading"),
    ("nginx_connections_waiting", "nginxplus_connections_idle", GAUGE, "Idle client connections.", "waiting"),
    ("nginx_connections_writing", "nginxplus_http_requests_current", GAUGE, "Requests that are answered.", "writing"),
    ("", "nginxplus_connections_dropped", COUNTER, "Dropped client connections.", "dropped"),
    ("nginx_http_requests_total", "nginxplus_http_requests_total", COUNTER, "Requests.", "requests"),
    ("nginx_up", "nginxplus_up", GAUGE, "Whether the server answers.", "up"),
)


# Requests.


def read_requests(reading: Reading) -> Pauses:
    """Read the rows of requests, and put those together that are not told apart."""
    groups: dict[Labels, list[RequestTotals]] = {}
    zones = reading.settings.zones
    for number, (names, totals) in enumerate(reading.counting.reader.requests()):
        reading.everything.append((names, totals))
        if zones == "locations":
            label = labels(server=names.server, location=names.location)
        elif zones == "servers":
            label = labels(server=names.server)
        elif names.server_zone or names.location_zone:
            label = labels(server=names.server_zone, location=names.location_zone)
        else:
            continue
        groups.setdefault(label, []).append(totals)
        if names in reading.counting.exemplars:
            reading.exemplars.setdefault(label, {}).update(reading.counting.exemplars[names])
        if not number % 16:
            yield
    for label, some in groups.items():
        reading.rows.append((label, some[0] if len(some) == 1 else combined(some)))
        yield


def requests(reading: Reading) -> Pauses:
    """Write what was counted of requests."""
    page, rows = reading.page, reading.rows

    def by_key(key: str, counts: Callable[[RequestTotals], dict[str, int]]) -> list[tuple[Labels, float]]:
        found: list[tuple[Labels, float]] = []
        for label, each in rows:
            comma = "," if label else ""
            found += [(f'{label}{comma}{key}="{value}"', count) for value, count in counts(each).items()]
        return found

    text = "Requests that have ended, by status; 499 and 444 are connections that ended without an answer."
    page.samples("wproxy_http_requests_total", COUNTER, text, by_key("code", lambda each: each.codes))
    yield
    name = "wproxy_http_request_duration_seconds"
    if page.family(name, HISTOGRAM, "Time from the first byte of a request to the last of its response, without tunnels."):
        for label, each in rows:
            page.histogram(name, label, each.times, reading.exemplars.get(label))
            yield
    for name, kind, text, value in _OF_REQUESTS:
        page.samples(name, kind, text, [(label, value(each)) for label, each in rows])
        yield
    text = "Requests that ended badly, by cause (docs/end-causes.md)."
    page.samples("wproxy_http_ends_total", COUNTER, text, by_key("cause", lambda each: each.causes))
    yield


_OF_REQUESTS: tuple[tuple[str, str, str, Callable[[RequestTotals], int]], ...] = (
    ("wproxy_http_request_bytes_total", COUNTER, "Bytes of requests.", lambda each: each.received),
    ("wproxy_http_response_bytes_total", COUNTER, "Bytes of responses.", lambda each: each.sent),
    ("wproxy_http_requests_in_progress", GAUGE, "Requests under way.", lambda each: each.active),
    ("wproxy_http_requests_discarded_total", COUNTER, "Requests without a response.", lambda each: each.discarded),
)


def handshakes(reading: Reading) -> Pauses:
    """Write what was counted of TLS: by server, whatever else is told apart."""
    page = reading.page
    servers: dict[str, list[RequestTotals]] = {}
    for names, each in reading.everything:
        if any(each.tls.counts()):
            servers.setdefault(names.server, []).append(each)
    found = [(labels(server=server), combined(rows).tls) for server, rows in servers.items()]
    samples: list[tuple[Labels, float]] = []
    for label, tls in found:
        samples += [(f'{label},result="ok",resumed="no"', tls.full), (f'{label},result="ok",resumed="yes"', tls.resumed)]
        samples.append((f'{label},result="failed",resumed="no"', tls.failed))
    page.samples("wproxy_tls_handshakes_total", COUNTER, "Handshakes of clients, also those that resume a session.", samples)
    refused = [
        (f'{label},reason="{reason}"', count)
        for label, tls in found
        for reason, count in (
            *(("no_cert", tls.no_certificate), ("expired_cert", tls.expired)),
            *(("revoked_cert", tls.revoked), ("other", tls.unverified)),
        )
        if count
    ]
    text = "Handshakes of clients whose certificate, or lack of one, their requests are refused for."
    page.samples("wproxy_tls_verify_failures_total", COUNTER, text, refused)
    if found and page.family("wproxy_tls_handshake_seconds", HISTOGRAM, "Time of handshakes that succeeded."):
        for label, tls in found:
            page.histogram("wproxy_tls_handshake_seconds", label, tls.times)
    name, text = "wproxy_tls_certificate_expiry_timestamp_seconds", "Unix time at which a server's certificate expires."
    page.samples(
        name, GAUGE, text, [(labels(server=server, file=file), at) for server, file, at in reading.counting.certificates]
    )
    yield


# Upstreams.


def read_peers(reading: Reading) -> Pauses:
    """Read the counts of all peers."""
    services, reader = reading.services, reading.counting.reader
    now, alive = int(services.loop.clock.now), reader.slots.alive()
    for group in services.groups.values():
        names: dict[str, int] = {}
        upstream = labels(upstream=group.name)
        for peer in group.peers:
            times = names[peer.name] = names.get(peer.name, 0) + 1
            shown = peer.name if times == 1 else f"{peer.name} ({times})"  # two servers with one address are two peers
            reading.peers.append(read_peer(reading, group, peer, shown, f'{upstream},peer="{escaped(shown)}"', now, alive))
            yield


def read_peer(
    reading: Reading, group: Group, peer: LivePeer, name: str, label: Labels, now: int, alive: list[int]
) -> PeerReading:
    """Return what was counted of a peer."""
    place = peer.place
    checks = (0, 0)
    if isinstance(peer.health, CheckedHealth):
        checks = peer.health.record.checks, peer.health.record.failed
    active, received, sent = read_traffic(place.shared, place.record)
    record = place.record if place.shared is reading.services.shared else 0
    words = reading.counting.reader.peer_words(record, alive)
    return PeerReading(group, peer, name, label, state_of(group, peer, now), active, received, sent, words, checks)


def peers(reading: Reading) -> Pauses:
    """Write the counts of peers."""
    page, found = reading.page, reading.peers
    name, text = "wproxy_upstream_responses_total", "Responses of peers, by class."
    if found and page.family(name, COUNTER, text):
        for peer in found:
            for number, count in enumerate(peer.words[RESPONSES : RESPONSES + 5], 1):
                if count:
                    page.lines.append(f'{name}{{{peer.labels},class="{number}xx"}} {count}')
            yield
    name, text = "wproxy_upstream_failures_total", "Attempts at peers that got no response, by cause (docs/end-causes.md)."
    page.samples(
        name,
        COUNTER,
        text,
        [
            (f'{peer.labels},cause="{cause}"', count)
            for peer in found
            for cause, count in causes_in(peer.words, PEER_CAUSES).items()
        ],
    )
    yield
    name = "wproxy_upstream_header_duration_seconds"
    if found and page.family(name, HISTOGRAM, "Time from the choice of a peer to the head of its response."):
        for peer in found:
            page.histogram(name, peer.labels, histogram_in(peer.words, HEADER_TIME))
            yield
    name, text = (
        "wproxy_upstream_connections_total",
        "Connections that responses came on: opened for the request, or kept from before.",
    )
    samples: list[tuple[Labels, float]] = []
    for peer in found:
        samples.append((f'{peer.labels},state="new"', peer.words[CONNECTIONS_NEW]))
        samples.append((f'{peer.labels},state="reused"', peer.words[CONNECTIONS_REUSED]))
    page.samples(name, COUNTER, text, samples)
    yield
    for name, kind, text, value in _OF_PEERS:
        page.samples(name, kind, text, [(peer.labels, value(peer)) for peer in found])
        yield
    name, text = "wproxy_upstream_peer_transitions_total", "Changes of a peer's state, by the state afterwards and the cause."
    if found and page.family(name, COUNTER, text):
        for peer in found:
            for after, cause, count in changes_in(peer.words):
                page.lines.append(f'{name}{{{peer.labels},to="{after}",cause="{cause}"}} {count}')
            yield
    name, text = "wproxy_upstream_peer_downtime_seconds_total", "Time for which a peer got no requests because of its failures."
    now = reading.services.loop.clock.now
    page.samples(name, COUNTER, text, [(peer.labels, downtime_of(peer.words, now)) for peer in found])
    yield
    checked = [peer for peer in found if peer.checks[0]]
    samples = [(f'{peer.labels},result="passed"', peer.checks[0] - peer.checks[1]) for peer in checked]
    samples += [(f'{peer.labels},result="failed"', peer.checks[1]) for peer in checked]
    page.samples("wproxy_upstream_health_checks_total", COUNTER, "Active health checks.", samples)
    yield


_OF_PEERS: tuple[tuple[str, str, str, Callable[[PeerReading], float]], ...] = (
    ("wproxy_upstream_peer_up", GAUGE, "Whether a peer gets requests.", lambda peer: int(peer.state == "up")),
    ("wproxy_upstream_active", GAUGE, "Requests under way at a peer.", lambda peer: peer.active),
    ("wproxy_upstream_idle_connections", GAUGE, "Connections to a peer that are kept.", lambda peer: peer.idle),
    ("wproxy_upstream_received_bytes_total", COUNTER, "Bytes from a peer.", lambda peer: peer.received),
    ("wproxy_upstream_sent_bytes_total", COUNTER, "Bytes to a peer.", lambda peer: peer.sent),
)


def upstreams(reading: Reading) -> Pauses:
    """Write the counts of upstreams."""
    page, reader = reading.page, reading.counting.reader
    groups = list(reading.services.groups.values())
    found = [(labels(upstream=group.name), reader.upstream(group.name)) for group in groups]
    yield
    states: dict[tuple[str, str], int] = {(group.name, state): 0 for group in groups for state in PEER_STATES}
    for peer in reading.peers:
        states[peer.group.name, peer.state] += 1
    samples: list[tuple[Labels, float]] = [(labels(upstream=name, state=state), count) for (name, state), count in states.items()]
    page.samples("wproxy_upstream_peers", GAUGE, "Peers of an upstream, by state.", samples)
    for name, text, times in (
        (
            "wproxy_upstream_connect_duration_seconds",
            "Time to open a connection, with TLS.",
            [(label, each.connect_times) for label, each in found],
        ),
        (
            "wproxy_upstream_response_duration_seconds",
            "Time from the choice of a peer to the end of its response.",
            [(label, each.response_times) for label, each in found],
        ),
    ):
        if found and page.family(name, HISTOGRAM, text):
            for label, each in times:
                page.histogram(name, label, each)
                yield
    retries = [(f'{label},cause="{cause}"', count) for label, each in found for cause, count in each.retries.items()]
    page.samples("wproxy_upstream_retries_total", COUNTER, "Further attempts, by the cause of the failure before.", retries)
    denied = [(f'{label},reason="{reason}"', count) for label, each in found for reason, count in each.denied.items() if count]
    page.samples("wproxy_upstream_retries_denied_total", COUNTER, "Failures after which no other peer was tried.", denied)
    text = "Requests for which there was no peer."
    page.samples("wproxy_upstream_no_peer_total", COUNTER, text, [(label, each.no_live) for label, each in found])
    queues = {group.name for group in groups if group.queue is not None}
    queued = [pair for group, pair in zip(groups, found) if group.name in queues]
    page.samples("wproxy_upstream_queue_length", GAUGE, "Requests that wait.", [(label, each.queued) for label, each in queued])
    samples = [(f'{label},reason="full"', each.queue_full) for label, each in queued]
    samples += [(f'{label},reason="timeout"', each.queue_timed_out) for label, each in queued]
    page.samples("wproxy_upstream_queue_rejected_total", COUNTER, "Requests that waited in vain, or could not wait.", samples)
    yield


def downtime_of(words: list[int], now: float) -> float:
    """Return for how many seconds a peer got no requests, by its row, until now."""
    since = down_since(words)
    return round(words[DOWNTIME] / 1e6 + (max(0.0, now - since) if since else 0.0), 3)


# Limits, resolvers.


def resolvers(reading: Reading) -> Pauses:
    """Write the lookups of resolvers."""
    samples = [
        (labels(resolver=name, result=result), count)
        for name, totals in reading.counting.reader.resolvers()
        for result, count in totals.results.items()
        if count
    ]
    reading.page.samples("wproxy_resolver_responses_total", COUNTER, "Lookups of names and services, by result.", samples)
    yield


def limits(reading: Reading) -> Pauses:
    """Write the decisions of limits."""
    kinds = {zone.name: "req" if zone.rate else "conn" for zone in reading.services.configuration.limit_zones}
    samples: dict[str, list[tuple[Labels, float]]] = {"req": [], "conn": []}
    for zone, decisions in reading.counting.reader.limits():
        for result, count in decisions._asdict().items():
            if kinds[zone] == "req" or not result.startswith("delayed"):
                samples[kinds[zone]].append((labels(zone=zone, result=result), count))
    for kind, found in samples.items():
        text = f"Decisions of limit_{kind}, by zone."
        reading.page.samples(f"wproxy_limit_{kind}_total", COUNTER, text, found)
    yield


def plus(reading: Reading) -> Pauses:
    """Write the families of nginx Plus's exporter, if they are wanted."""
    if reading.settings.compat == "plus":
        from worker.counters.plus import write_plus

        yield from write_plus(reading)


def caches(reading: Reading) -> Pauses:
    """Write the counts of caches, which they keep by themselves."""
    shown = {name: cache.status() for name, cache in reading.services.caches.items()}
    yield
    responses: list[tuple[Labels, float]] = []
    sent: list[tuple[Labels, float]] = []
    for name, status in shown.items():
        for word, counts in status.items():
            if isinstance(counts, dict):
                responses.append((labels(cache=name, status=word), counts["responses"]))
                sent.append((labels(cache=name, status=word), counts["bytes"]))
    page, text = reading.page, "Responses of locations with a cache, by $upstream_cache_status."
    page.samples("wproxy_cache_responses_total", COUNTER, text, responses)
    page.samples("wproxy_cache_bytes_total", COUNTER, "Bytes of these responses.", sent)
    sizes = [(labels(cache=name), status["size"]) for name, status in shown.items()]
    page.samples("wproxy_cache_size_bytes", GAUGE, "Bytes in a cache.", sizes)
    most = [(labels(cache=name), status["max_size"]) for name, status in shown.items() if "max_size" in status]
    page.samples("wproxy_cache_max_size_bytes", GAUGE, "Bytes that a cache may have.", most)
    yield


FAMILIES: tuple[Callable[[Reading], Pauses], ...] = (
    about_server,
    workers,
    connections,
    read_requests,
    requests,
    handshakes,
    read_peers,
    peers,
    upstreams,
    limits,
    resolvers,
    caches,
    plus,
)
