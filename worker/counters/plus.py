"""The series of nginx-prometheus-exporter for nginx Plus (`metrics compat=plus`), for dashboards that were made for it.

Their values are those of the API (`worker.content.api_status`), with the exporter's names and labels. What wproxy does not have
is left out: stream, the licence.
"""

from __future__ import annotations

from typing import Any

from worker.content import api_status
from worker.counters.reading import Pauses, PeerReading, Reading
from worker.upstream.report import checks_of
from wproxy.counters.exposition import COUNTER, GAUGE, Labels, escaped, labels
from wproxy.counters.layout import PEER_CODES, PEER_TLS_FULL, PEER_TLS_REASONS, RESPONSES, UNAVAILABLE, UNHEALTHY
from wproxy.counters.totals import codes_in
from wproxy.peer_counters import read_totals

STATES = {"up": 1, "draining": 2, "down": 3, "unavail": 4, "checking": 5, "unhealthy": 6}
Json = dict[str, Any]
Series = tuple[tuple[str, str, str], ...]  # the path in the API's object, with dots; the type; what it is

_ZONE: Series = (
    ("requests", COUNTER, "Client requests."),
    ("discarded", COUNTER, "Requests without a response."),
    ("received", COUNTER, "Bytes from clients."),
    ("sent", COUNTER, "Bytes to clients."),
)
_TLS: Series = (
    ("ssl.handshakes", COUNTER, "Successful handshakes."),
    ("ssl.handshakes_failed", COUNTER, "Failed handshakes."),
    ("ssl.session_reuses", COUNTER, "Handshakes that resumed a session."),
)
_SERVER_ZONE: Series = (("processing", GAUGE, "Requests under way."), *_ZONE, *_TLS)
_LIMIT: Series = tuple(
    (name, COUNTER, "Decisions of a limit.") for name in ("passed", "delayed", "rejected", "delayed_dry_run", "rejected_dry_run")
)
_RESOLVER: Series = (
    *((f"requests.{name}", COUNTER, "Questions of a resolver.") for name in ("name", "srv", "addr")),
    *(
        (f"responses.{name}", COUNTER, "Lookups of a resolver, by result.")
        for name in ("noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "timedout", "unknown")
    ),
)
_CACHE: Series = (
    ("size", GAUGE, "Bytes in the cache."),
    ("max_size", GAUGE, "Bytes that the cache may have."),
    ("cold", GAUGE, "Whether the cache is still being read."),
    *(
        (f"{status}.{what}", COUNTER, "Responses of a cache.")
        for status in ("hit", "stale", "updating", "revalidated", "miss", "expired", "bypass")
        for what in ("responses", "bytes", "responses_written", "bytes_written")
    ),
)
_WORKER: Series = (
    ("connections.accepted", COUNTER, "Accepted client connections."),
    ("connections.dropped", COUNTER, "Dropped client connections."),
    ("connections.active", GAUGE, "Active client connections."),
    ("connections.idle", GAUGE, "Idle client connections."),
    ("http.requests.total", COUNTER, "Requests."),
    ("http.requests.current", GAUGE, "Requests under way."),
)


def write_plus(reading: Reading) -> Pauses:
    """Write all of them but those about connections, which other pages have as well."""
    services = reading.services
    reader = reading.counting.reader
    everything = {"ssl": api_status.ssl_json(api_status.handshakes(reader))}
    write_series(reading, "nginxplus", _TLS, [("", everything)])
    yield
    servers = labelled("server_zone", api_status.server_zones(reader))
    write_series(reading, "nginxplus_server_zone", _SERVER_ZONE, servers)
    write_responses(reading, "nginxplus_server_zone", servers)
    yield
    locations = labelled("location_zone", api_status.location_zones(reader))
    write_series(reading, "nginxplus_location_zone", _ZONE, locations)
    write_responses(reading, "nginxplus_location_zone", locations)
    yield
    write_series(reading, "nginxplus_limit_request", _LIMIT, labelled("zone", api_status.limit_reqs(reader)))
    write_series(reading, "nginxplus_limit_connection", _LIMIT, labelled("zone", api_status.limit_conns(reader)))
    write_series(reading, "nginxplus_resolver", _RESOLVER, labelled("resolver", api_status.resolvers(reader)))
    yield
    caches = {name: cache.status() for name, cache in services.caches.items()}
    write_series(reading, "nginxplus_cache", _CACHE, labelled("zone", caches))
    yield
    workers = [(labels(id=str(each["id"]), pid=str(each["pid"])), each) for each in api_status.workers(services).values()]
    write_series(reading, "nginxplus_worker", _WORKER, workers)
    yield
    yield from write_upstreams(reading)


def labelled(label: str, values: dict[str, Json]) -> list[tuple[Labels, Json]]:
    """Return objects by name with the name as a label."""
    return [(labels(**{label: name}), value) for name, value in values.items()]


def write_series(reading: Reading, prefix: str, series: Series, objects: list[tuple[Labels, Json]]) -> None:
    """Write one value of each of the objects as a family; what an object does not have is left out."""
    for path, kind, text in series:
        words = path.split(".")
        samples = [(label, value) for label, found in objects if (value := value_at(found, words)) is not None]
        # The exporter's names have no dots, and connections of workers are one connection.
        name = "_".join(words[1:] if words[0] in ("requests", "responses") and len(words) > 1 else words)
        reading.page.samples(f"{prefix}_{name.replace('connections_', 'connection_')}", kind, text, samples)


def value_at(found: Json, words: list[str]) -> float | None:
    """Return the number at a path in an object; None if there is none."""
    value: Any = found
    for word in words:
        value = value.get(word) if isinstance(value, dict) else None
    return int(value) if isinstance(value, bool) else value


def write_responses(reading: Reading, prefix: str, zones: list[tuple[Labels, Json]]) -> None:
    """Write the responses of zones by class, and by status."""
    classes: list[tuple[Labels, float]] = []
    codes: list[tuple[Labels, float]] = []
    for label, zone in zones:
        responses = zone["responses"]
        classes += [(f'{label},code="{number}xx"', responses[f"{number}xx"]) for number in range(1, 6)]
        codes += [(f'{label},code="{code}"', count) for code, count in responses["codes"].items()]
    reading.page.samples(f"{prefix}_responses", COUNTER, "Responses to clients, by class.", classes)
    reading.page.samples(f"{prefix}_responses_codes", COUNTER, "Responses to clients, by status.", codes)


# Upstreams.


def write_upstreams(reading: Reading) -> Pauses:
    """Write the counts of upstreams and their peers, a family at a time."""
    known, groups = reading.services.edits.upstreams, reading.services.groups
    idle = dict.fromkeys(known, 0)
    peers: list[tuple[Labels, PeerReading, Json]] = []
    for peer in reading.peers:
        if peer.group.name not in known:  # nginx Plus shows blocks with a zone, and no other targets
            continue
        label = f'{labels(upstream=peer.group.name)},server="{escaped(peer.name)}"'
        peers.append((label, peer, values_of(peer)))
        idle[peer.group.name] += peer.idle
        yield
    page = reading.page
    text = "Idle connections to an upstream that are kept."
    page.samples("nginxplus_upstream_keepalive", GAUGE, text, [(labels(upstream=name), count) for name, count in idle.items()])
    text = "Removed servers that still have requests."
    page.samples(
        "nginxplus_upstream_zombies", GAUGE, text, [(labels(upstream=name), groups[name].renewal.count_busy()) for name in idle]
    )
    for name, kind, text in _PEER:
        page.samples(f"nginxplus_upstream_server_{name}", kind, text, [(label, values[name]) for label, _, values in peers])
        yield
    samples: list[tuple[Labels, float]] = []
    for label, peer, _ in peers:
        counts = peer.words[RESPONSES : RESPONSES + 5]
        samples += [(f'{label},code="{number}xx"', count) for number, count in enumerate(counts, 1)]
    page.samples("nginxplus_upstream_server_responses", COUNTER, "Responses of a server, by class.", samples)
    yield
    codes = [
        (f'{label},code="{code}"', count)
        for label, peer, _ in peers
        for code, count in codes_in(peer.words, PEER_CODES).items()
        if code.isdigit()
    ]
    page.samples("nginxplus_upstream_server_responses_codes", COUNTER, "Responses of a server, by status.", codes)
    yield


_PEER: Series = (
    ("state", GAUGE, "The state: 1 up, 2 draining, 3 down, 4 unavail, 5 checking, 6 unhealthy."),
    ("active", GAUGE, "Requests under way at a server."),
    ("limit", GAUGE, "Its max_conns; 0 for no limit."),
    ("requests", COUNTER, "Requests to a server."),
    ("sent", COUNTER, "Bytes to a server."),
    ("received", COUNTER, "Bytes from a server."),
    ("fails", COUNTER, "Attempts that failed."),
    ("unavail", COUNTER, "How often a server began to rest."),
    ("header_time", GAUGE, "Average time to the head of a response, in milliseconds."),
    ("response_time", GAUGE, "Average time to the end of a response, in milliseconds."),
    ("health_checks_checks", COUNTER, "Health checks."),
    ("health_checks_fails", COUNTER, "Failed health checks."),
    ("health_checks_unhealthy", COUNTER, "How often a server was found unhealthy."),
    ("ssl_handshakes", COUNTER, "Successful handshakes with a server."),
    ("ssl_handshakes_failed", COUNTER, "Failed handshakes with a server."),
    ("ssl_session_reuses", COUNTER, "Handshakes with a server that resumed a session."),
)


def values_of(reading: PeerReading) -> Json:
    """Return what the exporter shows of a peer."""
    peer = reading.peer
    totals = read_totals(peer.place.shared, peer.place.record)
    checks = checks_of(peer)
    full, resumed, failed = reading.words[PEER_TLS_FULL:PEER_TLS_REASONS]
    return {
        "state": STATES.get(reading.state, 0),
        "active": totals.active,
        "limit": peer.peer.max_conns,
        "requests": totals.requests,
        "sent": totals.sent,
        "received": totals.received,
        "fails": totals.failures,
        "unavail": reading.words[UNAVAILABLE],
        "header_time": round(totals.header_time * 1000),
        "response_time": round(totals.response_time * 1000),
        "health_checks_checks": checks["checks"],
        "health_checks_fails": checks["fails"],
        "health_checks_unhealthy": reading.words[UNHEALTHY],
        "ssl_handshakes": full + resumed,
        "ssl_handshakes_failed": failed,
        "ssl_session_reuses": resumed,
    }
